//! The sockets of services: opened before a run, kept over restarts and over reloads that do not change
//! them, watched for the first traffic of a lazy service. Not here: how they are made
//! (`kernel::listen`), and what traffic leads to (the core).
//!
//! PID 1 never reads or accepts from them.

use std::os::fd::{AsFd, OwnedFd};

use kernel::epoll::Readiness;
use kernel::listen::{self, Access, Local};
use serde::{Deserialize, Serialize};
use services::definition::{Definition, Listen, Socket};
use services::id::{RunId, ServiceId};
use services::supervisor::event::Event;

use super::Init;
use super::kept;
use super::passed::Passed;
use super::say::Level;
use super::turn;

/// Most sockets of all services together: they must leave descriptors for everything else.
const TOTAL_MAX: usize = 4096;
/// Permissions of directories that are made for a socket.
const DIRECTORY_MODE: u32 = 0o755;

/// A socket that is open.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Held {
    /// As it was asked for.
    pub(super) socket: Socket,
    #[serde(with = "kept")]
    pub(super) fd: OwnedFd,
    /// It is watched for traffic.
    pub(super) watched: bool,
}

/// What a run finds open, in the order of its sockets.
pub(super) fn passed(held: &[Held]) -> Vec<Passed<'_>> {
    let held = held.iter();
    held.map(|it| (it.socket.name.as_str(), it.fd.as_fd()))
        .collect()
}

impl Init {
    /// Opens the sockets of a service; those that are open as they are now asked for stay.
    ///
    /// # Errors
    /// Which one cannot be opened, and why. Those before it stay open.
    pub(super) fn open_sockets(
        &mut self,
        service: ServiceId,
        definition: &Definition,
    ) -> Result<(), String> {
        let place = self.table.place(service, definition.name.as_str());
        if place.sockets.is_empty() && definition.sockets.is_empty() {
            return Ok(());
        }
        self.unwatch_sockets(service);
        let Some(place) = self.table.get(service) else {
            return Ok(());
        };
        let mut open = std::mem::take(&mut place.sockets);
        // First what is to go, whose address another may want.
        open.retain(|held| definition.sockets.contains(&held.socket));
        let others: usize = self.table.places().map(|place| place.sockets.len()).sum();
        let mut outcome = Ok(());
        let mut sockets = Vec::with_capacity(definition.sockets.len());
        for socket in &definition.sockets {
            if let Some(at) = open.iter().position(|held| held.socket == *socket) {
                sockets.push(open.swap_remove(at));
                continue;
            }
            if outcome.is_err() {
                continue;
            }
            if others + sockets.len() >= TOTAL_MAX {
                outcome = Err(format!(
                    "all services together have {TOTAL_MAX} sockets already"
                ));
                continue;
            }
            match make(socket) {
                Ok(fd) => sockets.push(Held {
                    socket: socket.clone(),
                    fd,
                    watched: false,
                }),
                Err(error) => outcome = Err(format!("socket {}: {error}", socket.name)),
            }
        }
        if let Some(place) = self.table.get(service) {
            place.sockets = sockets;
        }
        outcome
    }

    /// Opens the sockets of a lazy service and watches them.
    pub(super) fn listen(&mut self, run: RunId) {
        match self.try_listen(run) {
            Ok(()) => self.tell(Event::Listening { run }),
            Err(cause) => {
                self.unwatch_sockets(run.service);
                self.tell(Event::SpawnFailed { run, cause });
            }
        }
    }

    fn try_listen(&mut self, run: RunId) -> Result<(), String> {
        let definition = self.definition(run.service)?;
        self.open_sockets(run.service, &definition)?;
        let Some(place) = self.table.get(run.service) else {
            return Ok(());
        };
        for held in &mut place.sockets {
            let token = turn::socket_token(run.service.index);
            self.poller
                .add(&held.fd, token, Readiness::READ)
                .map_err(|error| format!("socket {}: {error}", held.socket.name))?;
            held.watched = true;
        }
        Ok(())
    }

    /// Goes on watching what a former program of this process has watched.
    pub(super) fn watch_sockets(&mut self) {
        let mut failed = Vec::new();
        for place in self.table.places() {
            let token = turn::socket_token(place.service.index);
            for held in place.sockets.iter().filter(|held| held.watched) {
                failed.extend(self.poller.add(&held.fd, token, Readiness::READ).err());
            }
        }
        for error in failed {
            self.say(Level::Error, &error.to_string());
        }
    }

    /// There is traffic: who takes it is the service's affair, so that nobody watches any longer.
    pub(super) fn socket_ready(&mut self, index: u32) {
        let mut places = self.table.places();
        let place = places.find(|place| place.service.index == index);
        let Some(service) = place.map(|place| place.service) else {
            return;
        };
        drop(places);
        self.unwatch_sockets(service);
        self.tell(Event::Traffic { service });
    }

    /// The service stays down: closes its sockets.
    pub(super) fn unlisten(&mut self, service: ServiceId) {
        self.unwatch_sockets(service);
        let Some(place) = self.table.get(service) else {
            return;
        };
        for held in std::mem::take(&mut place.sockets) {
            let path = held.socket.listen.path();
            let Some(path) = path.filter(|_| held.socket.remove_on_stop) else {
                continue;
            };
            if let Err(error) = listen::remove(path) {
                self.say(Level::Warning, &error.to_string());
            }
        }
    }

    /// A run of the service may hold them too, so that closing them alone would not end the watch.
    fn unwatch_sockets(&mut self, service: ServiceId) {
        let Some(place) = self.table.get(service) else {
            return;
        };
        let mut failed = Vec::new();
        for held in place.sockets.iter_mut().filter(|held| held.watched) {
            held.watched = false;
            failed.extend(self.poller.remove(&held.fd).err());
        }
        for error in failed {
            self.say(Level::Error, &error.to_string());
        }
    }
}

fn make(socket: &Socket) -> kernel::Result<OwnedFd> {
    if let Some((parent, _)) = socket.listen.path().and_then(|path| path.rsplit_once('/'))
        && !parent.is_empty()
    {
        kernel::files::make_dirs(parent, DIRECTORY_MODE)?;
    }
    let ids = socket.owner.as_ref().and_then(|it| it.ids.as_ref());
    let access = Access {
        mode: socket.mode,
        owner: ids.map(|ids| (ids.uid, ids.gid)),
    };
    let local = |path: &str, kind| listen::local(path, kind, access, socket.backlog);
    match &socket.listen {
        Listen::Tcp(address) => listen::tcp(*address, socket.backlog, socket.reuse_port),
        Listen::Udp(address) => listen::udp(*address, socket.reuse_port),
        Listen::Unix(path) => local(path, Local::Stream),
        Listen::UnixDatagram(path) => local(path, Local::Datagram),
        Listen::UnixSeqpacket(path) => local(path, Local::Seqpacket),
        Listen::Fifo(path) => listen::fifo(path, access),
    }
}
