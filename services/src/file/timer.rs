//! `[timer]`: its expressions, and what only several of its keys together can get wrong. Not here: the
//! expressions themselves (`crate::calendar`).

use super::build::Build;
use super::draft::TimerDraft;
use super::keys::KEYS;
use super::value::Value;
use crate::calendar::{CALENDAR, Calendar};
use crate::definition::{RestartPolicy, Timer};
use crate::time::Duration;

/// Most expressions of one service: all are looked at for each next start.
pub(crate) const CALENDAR_MAX: usize = 16;

/// A list of calendar expressions.
pub(super) fn calendar(value: &mut Value<'_, '_>) -> Option<Vec<Calendar>> {
    let mut count = 0;
    value.list_of(
        &format!("a list of at most {CALENDAR_MAX}, each {CALENDAR}"),
        |text| {
            count += 1;
            match text.parse::<Calendar>() {
                Ok(_) if count > CALENDAR_MAX => Err("is one too many".to_owned()),
                Ok(calendar) => Ok(calendar),
                Err(error) => Err(error.to_string()),
            }
        },
    )
}

impl Build<'_> {
    /// When it is started, where that is written.
    pub(super) fn timer(&mut self) -> Option<Box<Timer>> {
        let written = |key: &&super::keys::Key| self.draft.written.contains_key(key.name);
        let mut keys = KEYS.iter().filter(|key| key.is_in("timer"));
        let first = keys.find(written)?.name;
        let TimerDraft {
            on_boot,
            every,
            calendar,
            persistent,
            random_delay,
        } = std::mem::take(&mut self.draft.timer);
        let timer = Timer {
            on_boot,
            every,
            calendar: calendar.unwrap_or_default(),
            persistent: persistent.unwrap_or(false),
            random_delay: random_delay.unwrap_or(Duration::ZERO),
        };
        self.check_timer(&timer, first);
        Some(Box::new(timer))
    }

    fn check_timer(&mut self, timer: &Timer, first: &str) {
        const TIMES: [&str; 3] = ["timer.on-boot", "timer.every", "timer.on-calendar"];
        if !TIMES.iter().any(|key| self.written(key)) && self.well_formed {
            let message = "stands in a [timer] that says no time";
            self.tell(
                first,
                message,
                "one of on-boot, every and on-calendar beside it",
            );
        }
        let calendar = self.written("timer.on-calendar");
        if calendar && timer.calendar.is_empty() && timer.on_boot.or(timer.every).is_none() {
            let message = "is empty, and there is no on-boot and no every";
            self.tell("timer.on-calendar", message, "at least one time");
        }
        if timer.persistent && !calendar {
            let message = "makes up for points of the calendar, and the timer has none";
            self.tell("timer.persistent", message, "on-calendar beside it");
        }
        let put_off = calendar || timer.on_boot.is_some();
        if self.written("timer.random-delay") && !put_off {
            let message = "puts off on-boot and on-calendar, and the timer has neither";
            self.tell("timer.random-delay", message, "one of them beside it");
        }
        if self.draft.policy == Some(RestartPolicy::Always) {
            let message = "would run it without end, and it has a [timer] that says when it runs";
            self.tell("restart.policy", message, "`on-failure` or `never`");
        }
        for key in ["boot.essential", "boot.wanted"] {
            let set = match key {
                "boot.essential" => self.draft.essential,
                _ => self.draft.wanted,
            };
            if set == Some(true) {
                let message = "has no meaning for a service that waits for its [timer]: the boot is \
                               judged while it does not run";
                self.tell(key, message, "a service without a timer");
            }
        }
    }
}
