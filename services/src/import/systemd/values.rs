//! Values of unit files: truth, spans of time, amounts, signals, exit statuses. Not here: words and
//! specifiers (`words`).

use crate::time::Duration;

pub(super) fn boolean(text: &str) -> Option<bool> {
    match text.to_ascii_lowercase().as_str() {
        "1" | "yes" | "y" | "true" | "t" | "on" => Some(true),
        "0" | "no" | "n" | "false" | "f" | "off" => Some(false),
        _ => None,
    }
}

/// A span of time; `Some(None)` is `infinity`. A number without a unit is seconds.
pub(super) fn span(text: &str) -> Option<Option<Duration>> {
    let text = text.trim();
    if text == "infinity" {
        return Some(None);
    }
    let mut rest = text;
    let mut total: u64 = 0;
    loop {
        let end = rest
            .find(|c: char| !c.is_ascii_digit() && c != '.')
            .unwrap_or(rest.len());
        let (number, after) = rest.split_at_checked(end)?;
        let after = after.trim_start();
        let end = after
            .find(|c: char| c.is_ascii_digit() || c.is_whitespace())
            .unwrap_or(after.len());
        let (unit, after) = after.split_at_checked(end)?;
        total = total.checked_add(scaled(number, unit_nanos(unit)?)?)?;
        rest = after.trim_start();
        if rest.is_empty() {
            return Some(Some(Duration::from_nanos(total)));
        }
    }
}

fn unit_nanos(unit: &str) -> Option<u64> {
    const SECOND: u64 = 1_000_000_000;
    Some(match unit {
        "usec" | "us" | "µs" | "μs" => 1_000,
        "msec" | "ms" => 1_000_000,
        "" | "seconds" | "second" | "sec" | "s" => SECOND,
        "minutes" | "minute" | "min" | "m" => 60 * SECOND,
        "hours" | "hour" | "hr" | "h" => 3_600 * SECOND,
        "days" | "day" | "d" => 86_400 * SECOND,
        "weeks" | "week" | "w" => 604_800 * SECOND,
        "months" | "month" | "M" => 2_629_800 * SECOND,
        "years" | "year" | "y" => 31_557_600 * SECOND,
        _ => return None,
    })
}

/// `number`, which may have a fraction, of a unit.
fn scaled(number: &str, unit: u64) -> Option<u64> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() || fraction.contains('.') {
        return None;
    }
    let mut total = u128::from(whole.parse::<u64>().ok()?) * u128::from(unit);
    let mut scale: u128 = 1;
    // Further digits are less than one of any unit.
    for digit in fraction.chars().take(18) {
        scale *= 10;
        total += u128::from(digit.to_digit(10)?) * u128::from(unit) / scale;
    }
    u64::try_from(total).ok()
}

/// An amount in steps of 1024; `Some(None)` is `infinity`. A percentage is none.
pub(super) fn bytes(text: &str) -> Option<Option<u64>> {
    if text == "infinity" {
        return Some(None);
    }
    let end = text
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(text.len());
    let (number, unit) = text.split_at_checked(end)?;
    let scale = match unit.trim() {
        "" | "B" => 1,
        "K" => 1 << 10,
        "M" => 1 << 20,
        "G" => 1 << 30,
        "T" => 1 << 40,
        "P" => 1 << 50,
        "E" => 1 << 60,
        _ => return None,
    };
    scaled(number, scale).map(Some)
}

/// An exit status by number, or by one of the names of systemd.exec(5).
pub(super) fn exit_status(text: &str) -> Option<i64> {
    const NAMES: [(&str, i64); 24] = [
        ("SUCCESS", 0),
        ("FAILURE", 1),
        ("INVALIDARGUMENT", 2),
        ("NOTIMPLEMENTED", 3),
        ("NOPERMISSION", 4),
        ("NOTINSTALLED", 5),
        ("NOTCONFIGURED", 6),
        ("NOTRUNNING", 7),
        ("USAGE", 64),
        ("DATAERR", 65),
        ("NOINPUT", 66),
        ("NOUSER", 67),
        ("NOHOST", 68),
        ("UNAVAILABLE", 69),
        ("SOFTWARE", 70),
        ("OSERR", 71),
        ("OSFILE", 72),
        ("CANTCREAT", 73),
        ("IOERR", 74),
        ("TEMPFAIL", 75),
        ("PROTOCOL", 76),
        ("NOPERM", 77),
        ("CONFIG", 78),
        ("EXCEPTION", 255),
    ];
    let named = NAMES.iter().find(|(name, _)| *name == text);
    let number = || text.parse::<u8>().ok().map(i64::from);
    named.map(|(_, status)| *status).or_else(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_of_time() {
        let millis = |text| span(text).map(|span| span.map(|it| it.as_millis()));
        assert_eq!(millis("90"), Some(Some(90_000)));
        assert_eq!(millis("5min 20s"), Some(Some(320_000)));
        assert_eq!(millis("1h30m"), Some(Some(5_400_000)));
        assert_eq!(millis("1.5s"), Some(Some(1_500)));
        assert_eq!(millis("2 days"), Some(Some(172_800_000)));
        assert_eq!(millis("1w"), Some(Some(604_800_000)));
        assert_eq!(millis("500ms"), Some(Some(500)));
        assert_eq!(millis("infinity"), Some(None));
        assert_eq!(millis("0"), Some(Some(0)));
        for wrong in ["", "s", "1x", "1.5.5s", "-1", "99999999999999y"] {
            assert_eq!(span(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn amounts_are_in_steps_of_1024() {
        assert_eq!(bytes("512M"), Some(Some(512 << 20)));
        assert_eq!(bytes("1.5K"), Some(Some(1536)));
        assert_eq!(bytes("infinity"), Some(None));
        for wrong in ["20%", "M", "1X", "99999999999E"] {
            assert_eq!(bytes(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn names_and_numbers() {
        assert_eq!(exit_status("TEMPFAIL"), Some(75));
        assert_eq!(exit_status("143"), Some(143));
        assert_eq!(exit_status("SIGTERM"), None);
        assert_eq!(boolean("On"), Some(true));
        assert_eq!(boolean("maybe"), None);
    }
}
