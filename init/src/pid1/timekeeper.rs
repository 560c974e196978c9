//! What the core is told of the machine's clock, and the child that keeps the last starts of services
//! with a persistent timer. Not here: when a service is started (the core), the file (`timers`).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use services::id::{ServiceId, ServiceName};
use services::supervisor::event::{Event, ExitStatus};
use services::time::{Duration, Time};

use super::Init;
use super::errands::{Errand, Order};
use super::say::Level;
use super::table::Owner;
use crate::errand;
use crate::timers::{Kept, Starts};

/// How long the child may wait for its disk.
const PATIENCE: Duration = Duration::from_secs(30);

/// What is to be kept, and the child that keeps it.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Timekeeper {
    /// Starts that no child has been given; at most one a service.
    new: BTreeMap<ServiceName, i64>,
    /// Whether the core waits to be told of former starts.
    asked: bool,
    child: Option<Working>,
}

/// A child at work.
#[derive(Debug, Serialize, Deserialize)]
struct Working {
    errand: Errand,
    /// Whether the core waits for its answer.
    asked: bool,
}

impl Timekeeper {
    /// When the child is given up.
    pub(super) fn deadline(&self) -> Option<Time> {
        self.child.as_ref().and_then(|it| it.errand.deadline())
    }
}

impl Init {
    /// Tells the core what the machine's clock says.
    pub(super) fn tell_clock(&mut self) {
        let now = i128::from(self.now.as_nanos());
        let ahead = i128::from(kernel::clock::unix_nanos()) - i128::from(kernel::clock::boottime());
        if let Ok(unix_nanos) = i64::try_from(ahead + now) {
            self.tell(Event::ClockSet { unix_nanos });
        }
    }

    /// Somebody may have set the machine's clock.
    pub(super) fn clock_ready(&mut self) {
        match self.clock.was_set() {
            Ok(true) => self.tell_clock(),
            Ok(false) => {}
            Err(error) => self.say(Level::Error, &error.to_string()),
        }
    }

    pub(super) fn remember_start(&mut self, service: ServiceId, unix_seconds: i64) {
        let name = self.supervisor.as_ref().and_then(|it| it.name(service));
        if let Some(name) = name.and_then(|name| ServiceName::new(name).ok()) {
            self.timekeeper.new.insert(name, unix_seconds);
            self.send_timers_child();
        }
    }

    pub(super) fn recall_starts(&mut self) {
        self.timekeeper.asked = true;
        self.send_timers_child();
    }

    /// Sends a child with all that is new, unless one is under way.
    fn send_timers_child(&mut self) {
        if self.timekeeper.child.is_some() {
            return;
        }
        let new: Starts = std::mem::take(&mut self.timekeeper.new)
            .into_iter()
            .collect();
        let asked = std::mem::take(&mut self.timekeeper.asked);
        let path = self.paths.timers().display().to_string();
        let begun = errand::pack(&new).and_then(|input| {
            self.send(&Order {
                owner: Owner::Timers,
                words: &["timers", &path],
                input: Some(&input),
                patience: Some(PATIENCE),
                background: false,
            })
        });
        match begun {
            Ok(errand) => self.timekeeper.child = Some(Working { errand, asked }),
            Err(why) => self.starts_kept(asked, Err(why)),
        }
    }

    /// The child has ended.
    pub(super) fn timers_ended(&mut self, status: ExitStatus) {
        if let Some(Working { errand, asked }) = self.timekeeper.child.take() {
            let kept = errand.answer(status).and_then(|it| errand::unpack(&it));
            self.starts_kept(asked, kept);
        }
    }

    /// Gives the child up, when it takes too long.
    pub(super) fn timers_overdue(&mut self) {
        if let Some(Working { errand, asked }) = self.timekeeper.child.take() {
            let why = self.give_up(&errand);
            self.starts_kept(asked, Err(why));
        }
    }

    fn starts_kept(&mut self, asked: bool, kept: Result<Kept, String>) {
        let Kept { starts, problems } = kept.unwrap_or_else(|why| Kept {
            starts: None,
            problems: vec![format!("last starts of timers: {why}")],
        });
        for problem in problems {
            self.say(Level::Warning, &problem);
        }
        if asked {
            self.tell(Event::StartsRecalled { starts });
        }
        if !self.timekeeper.new.is_empty() || self.timekeeper.asked {
            self.send_timers_child();
        }
    }
}
