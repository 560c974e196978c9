//! Calendar expressions against tables, and against a matcher that knows nothing of sets.

use proptest::prelude::*;

use super::*;

/// `2026-11-25 04:00:00` as seconds since 1970, by another way than the module's.
fn at(text: &str) -> i64 {
    let mut numbers = text
        .split(['-', ' ', ':'])
        .map(|it| it.parse::<i64>().unwrap());
    let mut next = || numbers.next().unwrap();
    let (year, month, day) = (next(), next(), next());
    let (hour, minute, second) = (next(), next(), next());
    days(year, month, day) * DAY + hour * 3600 + minute * 60 + second
}

/// Days since 1970, counted in years from March on, so that the leap day is the last of a year.
fn days(year: i64, month: i64, day: i64) -> i64 {
    let (y, m) = if month > 2 {
        (year, month - 3)
    } else {
        (year - 1, month + 9)
    };
    365 * y + y / 4 - y / 100 + y / 400 + (153 * m + 2) / 5 + day - 1 - 719_468
}

fn check(expression: &str, after: &str, expected: &[&str]) {
    let calendar: Calendar = expression.parse().unwrap();
    let mut now = at(after);
    for next in expected {
        now = calendar.next_after(now).unwrap();
        assert_eq!(now, at(next), "{expression}: {next}");
        assert!(calendar.names(now));
    }
}

#[test]
fn the_words() {
    check(
        "minutely",
        "2026-11-25 04:00:30",
        &["2026-11-25 04:01:00", "2026-11-25 04:02:00"],
    );
    check("hourly", "2026-11-25 23:00:00", &["2026-11-26 00:00:00"]);
    check("daily", "2026-12-31 00:00:00", &["2027-01-01 00:00:00"]);
    check(
        "weekly",
        "2026-11-25 12:00:00",
        &["2026-11-30 00:00:00", "2026-12-07 00:00:00"],
    );
    check(
        "monthly",
        "2026-11-01 00:00:00",
        &["2026-12-01 00:00:00", "2027-01-01 00:00:00"],
    );
    check(
        "quarterly",
        "2026-11-25 00:00:00",
        &["2027-01-01 00:00:00", "2027-04-01 00:00:00"],
    );
    check(
        "semiannually",
        "2026-02-01 00:00:00",
        &["2026-07-01 00:00:00"],
    );
    check("yearly", "2026-01-01 00:00:00", &["2027-01-01 00:00:00"]);
    check("annually", "2026-06-01 00:00:00", &["2027-01-01 00:00:00"]);
}

#[test]
fn days_of_the_week() {
    check(
        "Mon..Fri 04:00",
        "2026-11-26 12:00:00",
        &["2026-11-27 04:00:00", "2026-11-30 04:00:00"],
    );
    check(
        "Sat..Mon",
        "2026-11-25 00:00:00",
        &[
            "2026-11-28 00:00:00",
            "2026-11-29 00:00:00",
            "2026-11-30 00:00:00",
            "2026-12-05 00:00:00",
        ],
    );
    check(
        "sunday,WED 06:30:15",
        "2026-11-25 06:30:15",
        &["2026-11-29 06:30:15", "2026-12-02 06:30:15"],
    );
    check(
        "Fri *-*-13",
        "2026-11-25 00:00:00",
        &["2027-08-13 00:00:00"],
    );
}

#[test]
fn ends_of_months_and_leap_years() {
    check(
        "*-*-31",
        "2026-01-31 00:00:00",
        &["2026-03-31 00:00:00", "2026-05-31 00:00:00"],
    );
    check(
        "*-*~01 23:59:59",
        "2024-01-31 23:59:59",
        &["2024-02-29 23:59:59", "2024-03-31 23:59:59"],
    );
    check(
        "02~02",
        "2025-01-01 00:00:00",
        &["2025-02-27 00:00:00", "2026-02-27 00:00:00"],
    );
    check("02-29", "2024-02-29 00:00:00", &["2028-02-29 00:00:00"]);
    check("02-29", "2096-02-29 00:00:00", &["2104-02-29 00:00:00"]);
    check("*-*-*", "2026-12-31 23:59:59", &["2027-01-01 00:00:00"]);
    check("Mon 02-29", "2024-02-29 00:00:00", &["2044-02-29 00:00:00"]);
}

#[test]
fn lists_ranges_and_steps() {
    check(
        "*:0/20",
        "2026-11-25 04:20:00",
        &["2026-11-25 04:40:00", "2026-11-25 05:00:00"],
    );
    check(
        "*:*:*/30",
        "2026-11-25 04:20:00",
        &["2026-11-25 04:20:30", "2026-11-25 04:21:00"],
    );
    check(
        "09..17/4,23:05",
        "2026-11-25 09:05:00",
        &[
            "2026-11-25 13:05:00",
            "2026-11-25 17:05:00",
            "2026-11-25 23:05:00",
            "2026-11-26 09:05:00",
        ],
    );
    check(
        "2028/10-06-10..12 UTC",
        "2026-11-25 09:05:00",
        &[
            "2028-06-10 00:00:00",
            "2028-06-11 00:00:00",
            "2028-06-12 00:00:00",
            "2038-06-10 00:00:00",
        ],
    );
    check(
        "10:10..20,50:59",
        "2026-11-25 10:20:59",
        &["2026-11-25 10:50:59"],
    );
}

#[test]
fn what_is_past_or_before_everything() {
    let once: Calendar = "2026-11-25 04:00".parse().unwrap();
    assert_eq!(once.next_after(at("2026-11-25 04:00:00")), None);
    assert_eq!(once.next_after(i64::MIN), Some(at("2026-11-25 04:00:00")));
    assert_eq!(once.next_after(i64::MAX), None);
    let daily: Calendar = "daily".parse().unwrap();
    assert_eq!(daily.next_after(at("2225-12-31 00:00:00")), None);
    assert_eq!(daily.next_after(-5), Some(0));
}

#[test]
fn mistakes_are_named() {
    let refused = |text: &str, words: &str| {
        let error = text.parse::<Calendar>().unwrap_err().to_string();
        assert!(error.contains(words), "{text}: {error}");
    };
    refused("", "empty");
    refused(&"*".repeat(TEXT_MAX + 1), "longer than");
    refused(
        "Mondai 04:00",
        "`Mondai`, which is no day of the week; monday?",
    );
    refused("every day", "`every`");
    refused("25:00", "`25` where 0 to 23 can stand");
    refused("04:60", "`60` where 0 to 59 can stand");
    refused("*-13-01", "`13` where 1 to 12 can stand");
    refused("*-*-00", "`00` where 1 to 31 can stand");
    refused("1969-*-*", "`1969` where 1970");
    refused("*:0/0", "`0/0`");
    refused("5..3:00", "`5..3`");
    refused("+4:00", "`+4`");
    refused("04", "neither a date");
    refused("2026-11-25-01", "neither a date");
    refused("1:2:3:4", "neither a date");
    refused("04:00 Europe/Berlin", "time zone `Europe/Berlin`");
    refused("04:00 05:00", "`05:00` where nothing more can follow");
    refused("04:00 UTC 1", "`1` where nothing more can follow");
    refused("02-30", "no day that ever comes");
    refused("*-02~30", "no day that ever comes");
    refused("Mon,", "no day of the week");
}

/// Parts of expressions: what is written, and whether a number is meant.
#[derive(Clone, Debug)]
struct Part(u32, u32, u32);

impl Part {
    fn text(&self) -> String {
        format!("{}..{}/{}", self.0, self.1, self.2)
    }

    fn has(&self, number: i64) -> bool {
        let (first, last, step) = (i64::from(self.0), i64::from(self.1), i64::from(self.2));
        (first..=last).contains(&number) && (number - first) % step == 0
    }
}

fn part(least: u32, most: u32) -> impl Strategy<Value = Part> {
    (least..=most, least..=most, 1..=most).prop_map(|(a, b, step)| Part(a.min(b), a.max(b), step))
}

proptest! {
    #[test]
    fn the_next_one_is_named_and_none_before_it_is(
        month in part(1, 12), day in part(1, 28), hour in part(0, 23), minute in part(0, 59),
        after in 0_i64..4_000_000_000,
    ) {
        let text = format!("{}-{} {}:{}", month.text(), day.text(), hour.text(), minute.text());
        let calendar: Calendar = text.parse().unwrap();
        let next = calendar.next_after(after).unwrap();
        prop_assert!(next > after);
        let named = |second: i64| {
            // Found by trying months: as unlike the module as can be.
            let number = second.div_euclid(DAY);
            let near = 1970 + number / 366 - 1;
            let months = (near..near + 3).flat_map(|year| (1..=12).map(move |it| (year, it)));
            let begun = months.take_while(|(year, of_year)| days(*year, *of_year, 1) <= number);
            let (year, of_year) = begun.last().unwrap();
            second % 60 == 0
                && month.has(of_year)
                && day.has(number - days(year, of_year, 1) + 1)
                && hour.has(second.rem_euclid(DAY) / 3600)
                && minute.has(second.rem_euclid(3600) / 60)
        };
        prop_assert!(named(next), "{text} does not name {next}");
        // Minutes about both ends, and days between.
        let before = (1..60).map(|minute| next - minute * 60);
        let behind = (1..60).map(|minute| (after / 60 + minute) * 60);
        let between = (1..400).map(|day| next - day * DAY);
        for second in before.chain(behind).chain(between) {
            if second > after && second < next {
                prop_assert!(!named(second), "{text} names {second}, before {next}");
            }
        }
    }

    #[test]
    fn no_text_makes_it_panic(text in "[-~*/.,: 0-9a-zA-Z]{0,30}", after in any::<i64>()) {
        if let Ok(calendar) = text.parse::<Calendar>()
            && let Some(next) = calendar.next_after(after)
        {
            prop_assert!(next > after);
            prop_assert!(calendar.names(next));
        }
    }
}
