//! Sockets: which services have some, and when they are open, seen from outside: by what the core asks for
//! and what it announces.

use std::collections::BTreeSet;

use fastrand::Rng;
use services::definition::{Listen, Socket};
use services::id::{ServiceId, ServiceName};
use services::supervisor::Supervisor;
use services::supervisor::event::{Action, Change};

use crate::invariants::{Invariant, Verdict, ensure};

/// Where the sockets of services are.
#[derive(Default)]
pub(crate) struct Sockets {
    /// Whose are open, or may be.
    open: BTreeSet<ServiceName>,
    /// Whose were closed, and nothing was announced since that they are closed for.
    closed: BTreeSet<ServiceName>,
    /// The machine goes down.
    pub(crate) ending: bool,
}

impl Sockets {
    pub(crate) fn action(&mut self, action: &Action, core: &Supervisor) -> Verdict {
        match action {
            Action::Spawn { run } | Action::Listen { run } => {
                if let Some(definition) = core.definition(run.service)
                    && !definition.sockets.is_empty()
                {
                    self.open.insert(definition.name.clone());
                }
                Ok(())
            }
            Action::Unlisten { service } => {
                let name = name(*service, core);
                let name = name.ok_or_else(|| Invariant::KnownIds.broken(&"Unlisten"))?;
                let open = self.open.remove(&name);
                ensure(open, Invariant::Sockets, &name)?;
                self.closed.insert(name);
                Ok(())
            }
            Action::Announce { service, change } => match name(*service, core) {
                Some(name) => self.announced(&name, change),
                None => Ok(()),
            },
            _ => Ok(()),
        }
    }

    fn announced(&mut self, name: &ServiceName, change: &Change) -> Verdict {
        match change {
            // What does not even die of being killed keeps them, and the machine goes down with both.
            Change::Failed { .. } if self.ending => Ok(()),
            Change::Down | Change::Failed { .. } | Change::Skipped { .. } => {
                let told = format!("{name} is {change:?}, and its sockets are open");
                self.closed.remove(name);
                ensure(!self.open.contains(name), Invariant::Sockets, &told)
            }
            Change::Up
            | Change::Starting
            | Change::Stopping
            | Change::Killed
            | Change::Armed
            | Change::Listening
            | Change::Backoff { .. } => {
                let told = format!("{name} is {change:?}, and its sockets were closed");
                ensure(!self.closed.contains(name), Invariant::Sockets, &told)
            }
        }
    }

    /// All actions of an event have been looked at.
    pub(crate) fn told(&self) -> Verdict {
        let name = self.closed.first();
        let told = name.map_or("", |name| name.as_str());
        ensure(name.is_none(), Invariant::Sockets, &told)
    }
}

fn name(id: ServiceId, core: &Supervisor) -> Option<ServiceName> {
    core.name(id).map(|name| ServiceName::new(name).unwrap())
}

/// For some of those that run a program.
pub(crate) fn sockets(rng: &mut Rng, program: bool) -> Vec<Socket> {
    let some = program && rng.u8(0..4) == 0;
    let socket = Socket {
        name: "main".into(),
        listen: Listen::Unix("/run/s".into()),
        mode: 0o666,
        owner: None,
        backlog: 4096,
        reuse_port: false,
        remove_on_stop: false,
    };
    some.then_some(socket).into_iter().collect()
}
