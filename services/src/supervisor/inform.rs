//! What is told of a service in words. Not here: the type (`crate::status`).

use crate::control::metrics::StateCount;
use crate::definition::{BootRole, Kind};
use crate::id::ServiceId;
use crate::status::{RoleName, ServiceStatus, StateName};
use crate::time::Time;

use super::Supervisor;
use super::event::ExitStatus;
use super::service::{Desired, Reloading, Service, State};

impl Supervisor {
    pub(super) fn describe(&self, id: ServiceId) -> Option<ServiceStatus> {
        let (index, service) = self.table.by_id(id)?;
        let definition = service.definition()?;
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
            reason: self.reason_of(index, service),
            status_text: service.status_text.as_deref().map(str::to_owned),
            pid: None,
            restarts: service.restarts,
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
    pub(super) fn reason(&self, index: u32) -> String {
        let noted = self.table.get(index).and_then(|s| s.reason.as_deref());
        noted.unwrap_or("it failed").into()
    }

    fn reason_of(&self, index: u32, service: &Service) -> Option<String> {
        match service.state {
            State::Waiting { on, .. } if on != index => {
                Some(format!("waits for {}", self.name_of(on)))
            }
            State::Leaving { on, .. } if on != index => {
                Some(format!("waits until {} is down", self.name_of(on)))
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
                Some(words) => Some(format!("not ready: {words}")),
                None => service.reason.as_deref().map(str::to_owned),
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
                let noted = service.reason.as_deref().map(str::to_owned);
                let masked = super::begin::masked(service);
                match service.state.active() && !service.skipped {
                    // It has become masked since it was started.
                    true => {
                        noted.or(masked.map(|by| format!("{by}, and runs on until it is stopped")))
                    }
                    false => masked.or(noted),
                }
            }
        }
    }
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
