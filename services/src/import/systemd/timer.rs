//! Keys of `[Timer]` as the timer of the service. Not here: calendar expressions (`crate::calendar`).

use super::super::draft::Value;
use super::super::report::Outcome;
use super::group::Group;
use super::set::Parsed;
use super::syntax::{Assignment, Line};
use super::values::{boolean, span};
use crate::calendar::{Calendar, CalendarError};
use crate::file::CALENDAR_MAX;
use crate::time::Duration;
use crate::units::duration_text;

impl Group<'_> {
    pub(super) fn timer_key(&mut self, unit: &Parsed<'_>, it: &Assignment) -> Option<Outcome> {
        let value = it.value.as_str();
        Some(match it.key.as_str() {
            "OnCalendar" => self.on_calendar(value),
            "OnBootSec" => self.once("timer.on-boot", value),
            "OnStartupSec" => self.once("timer.on-boot", value),
            "OnActiveSec" => self
                .once("timer.on-boot", value)
                .look("it counts from the boot, not from when the timer is taken up"),
            "OnUnitActiveSec" => self.every(value),
            "OnUnitInactiveSec" => self
                .every(value)
                .look("it counts from the last start, not from the last end"),
            "Persistent" => match boolean(value) {
                Some(true) if has_calendar(unit) => self.put("timer.persistent", Value::Flag(true)),
                Some(true) => Outcome::irrelevant("there is no OnCalendar= that it could be for"),
                Some(false) => Outcome::irrelevant("is so without the key"),
                None => Outcome::lost("is neither yes nor no"),
            },
            "RandomizedDelaySec" if has_calendar(unit) || has_start(unit) => {
                self.random_delay(value)
            }
            "RandomizedDelaySec" => Outcome::lost("only calendar and boot times are put off here"),
            "FixedRandomDelay" => match boolean(value) {
                Some(true) => Outcome::irrelevant("a delay is always the same here"),
                _ => Outcome::lost("a delay is always the same here"),
            },
            "AccuracySec" => Outcome::irrelevant("it is started in the second that is named"),
            "RemainAfterElapse" => {
                Outcome::irrelevant("a timer stays as long as its service is wanted")
            }
            "Unit" => Outcome::irrelevant("the timer is a part of the service it starts"),
            "WakeSystem" => match boolean(value) {
                Some(false) => Outcome::irrelevant("is so here"),
                _ => Outcome::lost("no timer wakes the machine"),
            },
            _ => return None,
        })
    }

    fn on_calendar(&mut self, value: &str) -> Outcome {
        let text = match calendar(value) {
            Ok(text) => text,
            Err(why) => return Outcome::lost(why.to_string()),
        };
        if self.draft.texts("timer.on-calendar").len() >= CALENDAR_MAX {
            return Outcome::lost(format!("a service has at most {CALENDAR_MAX} expressions"));
        }
        self.draft.add("timer.on-calendar", &text);
        let outcome = Outcome::carried("timer.on-calendar");
        match text.ends_with("UTC") || text == "minutely" {
            true => outcome,
            false => outcome.look("its times are those of UTC here, and local ones there"),
        }
    }

    fn once(&mut self, key: &str, value: &str) -> Outcome {
        if self.draft.has(key) {
            return Outcome::lost("a service has one such time");
        }
        match span(value) {
            Some(Some(time)) => self.put(key, Value::Text(duration_text(time))),
            Some(None) | None => Outcome::lost("is no span of time"),
        }
    }

    fn every(&mut self, value: &str) -> Outcome {
        match span(value) {
            Some(Some(time)) if time >= Duration::from_secs(1) => self.once("timer.every", value),
            Some(Some(_)) => Outcome::lost("is less than a second"),
            Some(None) | None => Outcome::lost("is no span of time"),
        }
    }

    fn random_delay(&mut self, value: &str) -> Outcome {
        let Some(Some(most)) = span(value) else {
            return Outcome::lost("is no span of time");
        };
        let seconds = most.as_millis() / 1000;
        match u64::try_from(seconds) {
            Ok(0) => Outcome::irrelevant("delays are whole seconds"),
            Ok(seconds) => {
                let most = duration_text(Duration::from_secs(seconds));
                self.put("timer.random-delay", Value::Text(most))
                    .look("the delay is the same each time, and another one on each machine")
            }
            Err(_) => Outcome::lost("is too long"),
        }
    }

    /// What cannot be without a time, where none was carried over.
    pub(super) fn check_timer(&mut self) {
        let has = |key: &str| self.draft.has(key);
        let put_off = has("timer.on-calendar") || has("timer.on-boot");
        if !put_off && !has("timer.every") {
            self.block(false, "none of the times of its timer can be said here");
        }
    }
}

fn says(unit: &Parsed<'_>, key: impl Fn(&Assignment) -> bool) -> bool {
    let mut lines = unit.lines.iter().filter_map(Line::assignment);
    lines.any(|it| it.section == "Timer" && key(it))
}

/// Whether it has a calendar expression that can be said here.
fn has_calendar(unit: &Parsed<'_>) -> bool {
    says(unit, |it| {
        it.key == "OnCalendar" && calendar(&it.value).is_ok()
    })
}

fn has_start(unit: &Parsed<'_>) -> bool {
    let keys = ["OnBootSec", "OnStartupSec", "OnActiveSec"];
    says(unit, |it| {
        keys.contains(&it.key.as_str()) && matches!(span(&it.value), Some(Some(_)))
    })
}

/// The expression in one spacing, if it is one.
fn calendar(value: &str) -> Result<String, CalendarError> {
    let text = value.split_whitespace().collect::<Vec<_>>().join(" ");
    text.parse::<Calendar>().map(|_| text)
}
