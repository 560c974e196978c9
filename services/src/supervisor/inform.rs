//! What is told of a service in words. Not here: the type (`crate::status`).

use crate::control::metrics::StateCount;
use crate::definition::{BootRole, Kind};
use crate::id::{ServiceId, ServiceName};
use crate::status::{RoleName, ServiceStatus, StateName};
use crate::time::Time;

use super::Supervisor;
use super::event::ExitStatus;
use super::reason::Reason;
use super::service::{Desired, Reloading, Service, State};

impl Supervisor {
    pub(super) fn describe(&self, id: ServiceId) -> Option<ServiceStatus> {
        let (index, service) = self.table.by_id(id)?;
        let definition = service.definition()?;
        let told = self.reason_of(index, service);
        let because = told.as_ref().and_then(Reason::because);
        let because = because.filter(|it| self.table.lookup_any(it.as_str()).is_some());
        let because = because.map(ServiceName::to_string);
        let reason = told.map(Reason::into_text);
        let kind = match definition.kind {
            Kind::Target => "target",
            Kind::Simple(_) => "simple",
            Kind::Notify(_) => "notify",
            Kind::Oneshot(_) => "oneshot",
            Kind::Forking(_) => "forking",
        };
        Some(ServiceStatus {
            name: service.name.to_string(),
            description: definition.description,
            kind: kind.into(),
            state: match service.skipped {
                true => StateName::Skipped,
                false => service.state.name(),
            },
            wanted: service.desired == Desired::Up,
            reason,
            because,
            last_failure: service.last_failure.as_deref().map(str::to_owned),
            status_text: service.status_text.as_deref().map(str::to_owned),
            pid: None,
            restarts: service.restarts,
            retry_us: paused_until(service).map(micros),
            since_us: micros(service.since),
            started_us: service.started.map(micros),
            ready_us: service.ready.map(micros),
            memory_bytes: None,
            tasks: None,
            left_running: (service.left && !service.state.active()).then_some(0),
            health: super::probe::status(service),
            watchdog_us: match service.state {
                State::Up { run: Some(_), .. } => super::watchdog::timeout(service),
                State::Up { run: None, .. }
                | State::Down
                | State::Failed
                | State::Armed
                | State::Listening
                | State::Waiting { .. }
                | State::Spawning { .. }
                | State::Starting(_)
                | State::Leaving { .. }
                | State::Stopping { .. }
                | State::Backoff => None,
            }
            .map(|it| u64::try_from(it.as_micros()).unwrap_or(u64::MAX)),
            stored: Vec::new(),
            timer: self.timer_status(service),
            boot_role: match service.role() {
                BootRole::None => None,
                BootRole::Wanted => Some(RoleName::Wanted),
                BootRole::Essential => Some(RoleName::Essential),
                BootRole::Masked => Some(RoleName::Masked),
            },
            source: definition.source,
        })
    }

    /// Restarts of all services together, and how many services are in each state.
    pub(super) fn count_states(&self) -> (u64, Vec<StateCount>) {
        let mut restarts = 0_u64;
        let mut counts: Vec<StateCount> = StateName::ALL
            .into_iter()
            .map(|state| StateCount { state, count: 0 })
            .collect();
        for (_, service) in self.services().filter_map(|id| self.table.by_id(id)) {
            restarts = restarts.saturating_add(u64::from(service.restarts));
            let state = service.state.name();
            if let Some(it) = counts.iter_mut().find(|it| it.state == state) {
                it.count = it.count.saturating_add(1);
            }
        }
        (restarts, counts)
    }

    /// The noted reason, or "it failed" where none was noted.
    pub(super) fn reason(&self, index: u32) -> Reason {
        let noted = self.table.get(index).and_then(|it| it.reason.as_deref());
        noted.cloned().unwrap_or_else(|| "it failed".into())
    }

    fn reason_of(&self, index: u32, service: &Service) -> Option<Reason> {
        match service.state {
            State::Waiting { on, .. } if on != index => {
                Some(self.blaming(on, |it| format!("waits for {it}")))
            }
            State::Leaving { on, .. } if on != index => {
                Some(self.blaming(on, |it| format!("waits until {it} is down")))
            }
            State::Up {
                reload: Reloading::Command | Reloading::Announced,
                ..
            } => Some("reads its configuration again".into()),
            State::Up {
                reload: Reloading::Overdue,
                ..
            } => Some("its reload command does not end".into()),
            State::Starting(_) => match self.not_ready(index) {
                Some(words) => Some(format!("not ready: {words}").into()),
                None => service.reason.as_deref().cloned(),
            },
            State::Waiting { .. }
            | State::Leaving { .. }
            | State::Up {
                reload: Reloading::No,
                ..
            }
            | State::Down
            | State::Failed
            | State::Armed
            | State::Listening
            | State::Spawning { .. }
            | State::Stopping { .. }
            | State::Backoff => {
                let noted = service.reason.as_deref().cloned();
                let masked = super::begin::masked(service);
                match service.state.active() && !service.skipped {
                    // It has become masked since it was started.
                    true => {
                        let goes_on = |by| format!("{by}, and runs on until it is stopped");
                        noted.or(masked.map(|by| goes_on(by).into()))
                    }
                    false => masked
                        .map(Reason::from)
                        .or(noted)
                        .or_else(|| at_rest(service)),
                }
            }
        }
    }
}

/// When its pause is over.
fn paused_until(service: &Service) -> Option<Time> {
    match service.state {
        State::Backoff => service.deadline,
        State::Down
        | State::Failed
        | State::Armed
        | State::Listening
        | State::Waiting { .. }
        | State::Spawning { .. }
        | State::Starting(_)
        | State::Up { .. }
        | State::Leaving { .. }
        | State::Stopping { .. } => None,
    }
}

/// Why one is down of which nothing is noted: what ends well has no reason to be judged by.
fn at_rest(service: &Service) -> Option<Reason> {
    let down = matches!(service.state, State::Down) && service.started.is_some();
    down.then(|| "it ended well, and is not started again".into())
}

/// How a process ended, as a clause.
pub(super) fn ending(status: ExitStatus, out_of_memory: bool) -> String {
    match status {
        ExitStatus::Code(0) => "it ended".into(),
        ExitStatus::Code(code) => format!("it exited with status {code}"),
        ExitStatus::Signal { .. } if out_of_memory => "it was killed because memory ran out".into(),
        ExitStatus::Signal {
            number,
            core_dumped: true,
        } => format!("it was killed by signal {number}, core dumped"),
        ExitStatus::Signal {
            number,
            core_dumped: false,
        } => format!("it was killed by signal {number}"),
    }
}

fn micros(time: Time) -> u64 {
    time.as_nanos() / 1000
}
