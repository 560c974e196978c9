//! Timers over power-offs: what the simulated kernel has kept of former boots, and in the reference model
//! what follows from that, and what has to be kept; and by how much a timer is put off. Not here: when a
//! time has come (`lying`).

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use fastrand::Rng;
use services::definition::{Definition, Relations, Timer};
use services::graph::Graph;
use services::id::{ServiceId, ServiceName};
use services::supervisor::Supervisor;
use services::supervisor::event::Event;
use services::time::Time;

use crate::entry::{Entry, Life};
use crate::invariants::{Invariant, Verdict, ensure};
use crate::kernel::{Kernel, micros};
use crate::model::Model;
use crate::world::EPOCH;

/// When each service was started last, by the clock of the machine.
type Starts = BTreeMap<ServiceName, i64>;

/// What former boots have kept: of some services nothing, of some a time that is still to come.
pub(crate) fn kept_before(seed: u64) -> Starts {
    let mut rng = Rng::with_seed(seed ^ 0x0066_6f72_6d65_7200);
    let names = (0..11).map(|index| ServiceName::new(&format!("s{index}")).unwrap());
    let known: Vec<ServiceName> = names.filter(|_| rng.u8(0..4) > 0).collect();
    let mut ago = || rng.i64(-300..30);
    known.into_iter().map(|it| (it, EPOCH + ago())).collect()
}

impl Kernel {
    pub(crate) fn remember(&mut self, name: ServiceName, unix_seconds: i64) {
        self.kept.insert(name, unix_seconds);
    }

    /// Tells what has been kept, unless it cannot be read.
    pub(crate) fn recall(&mut self, now: Time) {
        self.recalls += 1;
        let mut rng = Rng::with_seed(self.seed() ^ self.recalls);
        let lost = !self.calm && (self.starves(now) || rng.u8(0..8) == 0);
        let starts = (!lost).then(|| self.kept.clone().into_iter().collect());
        let at = now + micros(&mut rng, 3_000_000);
        self.at(at, Event::StartsRecalled { starts });
    }
}

/// What is to be kept, and what is known of former boots.
#[derive(Default)]
pub(crate) struct Former {
    /// Tells machines apart.
    pub(crate) seed: u64,
    /// The boot has settled.
    settled: bool,
    /// It has been asked for, and not told yet.
    asked: bool,
    /// Starts of the latest event that are to be kept.
    owed: BTreeSet<(ServiceName, i64)>,
    /// Those that were told to be kept.
    kept: BTreeSet<(ServiceName, i64)>,
}

impl Former {
    pub(crate) fn settles(&mut self) {
        self.settled = true;
    }

    pub(crate) fn forget_event(&mut self) {
        self.owed.clear();
        self.kept.clear();
    }
}

impl Entry {
    pub(crate) fn persistent(&self) -> bool {
        let timer = self.definition.timer.as_ref();
        timer.is_some_and(|it| it.persistent)
    }

    /// By how much times of its timer are put off.
    pub(crate) fn delay(&self) -> Duration {
        self.delay.map_or(Duration::ZERO, |(_, delay)| delay)
    }

    /// The same in whole seconds.
    pub(crate) fn delay_seconds(&self) -> i64 {
        i64::try_from(self.delay().as_secs()).unwrap()
    }

    /// It is always the same, so it is looked at once: of a supervisor that has nothing else to do.
    pub(crate) fn find_delay(&mut self, seed: u64) {
        let Some(timer) = &self.definition.timer else {
            return;
        };
        let most = timer.random_delay;
        if self.delay.is_none_or(|(of, _)| of != most) {
            self.delay = Some((most, delay_of(seed, &self.definition, most)));
        }
    }

    /// Points of the calendar up to this one are done with, where that is reckoned anew.
    pub(crate) fn done_by(&self, seconds: i64) -> i64 {
        let ran = self.ran.filter(|at| self.persistent() && *at <= seconds);
        ran.unwrap_or(seconds) - self.delay_seconds()
    }
}

fn delay_of(seed: u64, of: &Definition, most: Duration) -> Duration {
    if most.is_zero() {
        return most;
    }
    let wait = Duration::from_secs(1);
    let target = ServiceName::new("default").unwrap();
    let alone = Definition {
        relations: Relations {
            wanted_by: vec![target.clone()],
            ..Relations::default()
        },
        timer: Some(Box::new(Timer {
            on_boot: Some(wait),
            every: None,
            calendar: Vec::new(),
            persistent: false,
            random_delay: most,
        })),
        ..of.clone()
    };
    let mut core = Supervisor::new(Graph::from_definitions(vec![alone]).unwrap());
    let now = Time::default();
    core.handle_event(Event::Machine { seed }, now);
    core.handle_event(Event::Boot { target }, now);
    let (at, _) = core.poll_timeout().unwrap();
    at.since(now + wait)
}

impl Model {
    /// A start that must outlive a power-off, where its file says so.
    pub(crate) fn note_for_later(&mut self, name: &ServiceName) {
        let seconds = self.civil.seconds(self.now);
        let Some(entry) = self.entries.get_mut(name) else {
            return;
        };
        if entry.definition.timer.is_some() {
            entry.ran = Some(seconds);
        }
        if entry.persistent() {
            self.former.owed.insert((name.clone(), seconds));
        }
    }

    /// What former boots have left; `None`: it cannot be read.
    pub(crate) fn starts_recalled(&mut self, starts: Option<&[(ServiceName, i64)]>) {
        let seconds = self.civil.seconds(self.now);
        self.former.asked = false;
        for (name, entry) in &mut self.entries {
            if !entry.persistent() || entry.plan.is_none() || entry.recalled {
                continue;
            }
            entry.recalled = true;
            let Some(starts) = starts.filter(|_| entry.ran.is_none()) else {
                continue;
            };
            match starts.iter().find(|(it, _)| it == name) {
                Some((_, at)) => {
                    entry.ran = Some(*at);
                    let done = entry.done_by(seconds);
                    entry.plan.iter_mut().for_each(|it| it.done = done);
                }
                // Seen for the first time.
                None => {
                    self.former.owed.insert((name.clone(), seconds));
                }
            }
        }
    }

    /// It is told to be kept.
    pub(crate) fn remembers(&mut self, id: ServiceId, seconds: i64, core: &Supervisor) -> Verdict {
        let name = core.name(id).map(|name| ServiceName::new(name).unwrap());
        ensure(name.is_some(), Invariant::KnownIds, &"RememberStart")?;
        self.former.kept.extend(name.map(|name| (name, seconds)));
        Ok(())
    }

    /// What former boots have left is asked for.
    pub(crate) fn recalls(&mut self) -> Verdict {
        // A reload may have made it so, from the end of its run on.
        let soon = |it: &Entry| {
            let next = it.next.as_ref().and_then(|it| it.timer.as_ref());
            next.is_some_and(|it| it.persistent)
        };
        let unknown = |it: &Entry| (it.persistent() || soon(it)) && !it.recalled;
        let right = self.former.settled && !std::mem::replace(&mut self.former.asked, true);
        let some = self.entries.values().any(unknown);
        ensure(right && some, Invariant::Remembered, &"it is asked for")
    }

    /// All actions of an event have been looked at.
    pub(crate) fn all_is_kept(&self) -> Verdict {
        let Former { owed, kept, .. } = &self.former;
        let told = format!("{kept:?} is kept, it should be {owed:?}");
        ensure(owed == kept, Invariant::Remembered, &told)
    }

    /// After a long calm, nothing is to be asked for.
    pub(crate) fn all_is_recalled(&self) -> Verdict {
        for (name, entry) in &self.entries {
            let known = entry.recalled || !entry.persistent() || entry.plan.is_none();
            ensure(known || !self.former.settled, Invariant::Remembered, name)?;
        }
        Ok(())
    }

    /// Who lies in wait and is put off says that it comes then.
    pub(crate) fn is_put_off(
        &self,
        name: &ServiceName,
        entry: &Entry,
        core: &Supervisor,
    ) -> Verdict {
        let Some((most, delay)) = entry.delay.filter(|(most, _)| !most.is_zero()) else {
            return Ok(());
        };
        let bounded = delay <= most && delay.subsec_nanos() == 0;
        ensure(bounded, Invariant::Delayed, name)?;
        if !matches!(entry.life, Life::Lying) {
            return Ok(());
        }
        let status = core.lookup(name.as_str()).and_then(|id| core.status(id));
        let next = status.and_then(|it| it.timer?.next_us);
        let rings = entry.rings(self.boot, self.civil);
        let rings = rings.map(|at| at.max(self.now).as_nanos() / 1000);
        let told = format!("{name}: next {next:?}, it should be {rings:?}");
        ensure(next == rings, Invariant::Delayed, &told)
    }
}
