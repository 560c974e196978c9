//! Which process belongs to which run, and what PID 1 holds for each service: cgroup, log pipe,
//! pidfd. Not here: any system call but the closing of a descriptor, and any decision.
//!
//! The core speaks of runs, the kernel of pids; this is the only place where both are known.

use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::OwnedFd;

use serde::{Deserialize, Serialize};
use services::definition::CgroupLimits;
use services::id::{RunId, ServiceId};
use services::log::limit::OwnLimit;
use services::time::Time;

use super::executed::Executing;
use super::kept::{self, Kept};
use super::ready_line::ReadyLine;
use super::sockets::Held;
use super::store::Store;

/// On whose behalf a process runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Owner {
    /// The main process of a run.
    Main(RunId),
    /// The reload command of a run.
    Reload(RunId),
    /// The loader child.
    Loader,
    /// The logger child.
    Logger,
    /// The probe of the health of a run.
    Probe(RunId),
    /// The recorder child.
    Recorder,
    /// The scrub child.
    Scrub,
    /// The budget child.
    Budget,
    /// The timers child.
    Timers,
}

/// A command that runs beside a main process.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Beside {
    /// Its number, and that of its process group.
    pub(super) pid: u32,
    /// Names it without ever meaning another one.
    #[serde(with = "kept")]
    pub(super) pidfd: OwnedFd,
    /// Where it leaves words: a probe that is a part of init does.
    pub(super) words: Option<Kept>,
}

/// The search for the main process of a forking service.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Seek {
    /// When it is given up; `None`: it has not begun.
    pub(super) until: Option<Time>,
    /// Who it was at the last look: number, when it started, and for how many looks more it has been so.
    pub(super) candidate: Option<(u32, u64, u32)>,
}

/// The run of a service that has not emptied yet.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Live {
    /// Which one.
    pub(super) run: RunId,
    /// The main process; stays here after its end, to name what is left of the run.
    pub(super) pid: u32,
    /// Process group and session of the run: the number of its first process.
    pub(super) group: u32,
    /// Names the main process without ever meaning another one.
    #[serde(with = "kept")]
    pub(super) pidfd: OwnedFd,
    /// Whether the main process has ended and that has been told.
    pub(super) ended: bool,
    /// Whether the main process was named by the service (`MAINPID=`) and may be another's child.
    pub(super) adopted: bool,
    /// Of a forking service whose main process has not been found yet: how the search goes.
    pub(super) seek: Option<Seek>,
    /// The reload command that is running.
    pub(super) reload: Option<Beside>,
    /// The probe that is running.
    pub(super) probe: Option<Beside>,
    /// Where it says that it is ready, until it has, where it does so by a descriptor.
    pub(super) ready_line: Option<ReadyLine>,
    /// Its starter is about to execute the program.
    pub(super) executing: Option<Executing>,
    /// It was born beside the services, and its starter has not said yet that it is in its cgroup.
    pub(super) entering: bool,
}

/// The pipe from a service to the logger. PID 1 keeps both ends, so that neither a dead service nor
/// a dead logger loses a byte.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct LogPipe {
    /// Goes to the logger.
    #[serde(with = "kept")]
    pub(super) read: OwnedFd,
    /// Goes to the service.
    #[serde(with = "kept")]
    pub(super) write: OwnedFd,
    /// Whether the present logger has it. After a thaw it is handed over again, which harms nobody.
    #[serde(skip)]
    pub(super) handed: bool,
    /// How many lines of it are kept.
    pub(super) limit: OwnLimit,
    /// Bytes that were taken out of it while there was no logger, and that no logger was told of.
    #[serde(skip)]
    pub(super) lost: u64,
}

/// What is held for one service.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Place {
    /// The service; its generation too.
    pub(super) service: ServiceId,
    /// Its name: of its cgroup and of its log.
    pub(super) name: Box<str>,
    /// Its log pipe, from the first start on.
    pub(super) log: Option<LogPipe>,
    /// The watch on its cgroup's events, while it has a cgroup; made anew after a thaw.
    pub(super) watch: Option<i32>,
    /// The limits that its cgroup was given.
    pub(super) limits: Option<CgroupLimits>,
    /// Bytes of memory that the cgroup above keeps for it, as last written there.
    pub(super) reserve: u64,
    /// OOM kills of its cgroup that have been told.
    pub(super) oom_kills: u64,
    /// The inode of its cgroup, from the first start on.
    pub(super) cgroup: Option<u64>,
    /// Whether all in its cgroup may have been killed at once since that was made. Kernels of today (6.18)
    /// kill whoever is born in it afterwards as well (`CLONE_INTO_CGROUP` after `cgroup.kill`).
    #[serde(skip, default = "not_known")]
    pub(super) killed: bool,
    /// The run in hand.
    pub(super) live: Option<Live>,
    /// Its sockets, from the first start on until it stays down.
    pub(super) sockets: Vec<Held>,
    /// Descriptors that are kept for its next run.
    pub(super) store: Store,
    /// Directories below /run that go with its end.
    pub(super) runtime_dirs: Box<[String]>,
    /// Whether its run may have credentials, which go with the run.
    pub(super) credentials: bool,
}

/// Of a cgroup that may be another program's work.
const fn not_known() -> bool {
    true
}

/// All processes and services that PID 1 knows.
#[derive(Debug, Default)]
pub(super) struct Table {
    owners: BTreeMap<u32, Owner>,
    /// Each beside the map, whose nodes have room for twice as many as are in them.
    places: BTreeMap<u32, Box<Place>>,
    watches: BTreeMap<i32, u32>,
    /// Numbers of processes that have been reaped and are about to be told.
    pub(super) untold: Vec<u32>,
    /// Counts the descriptors that were kept.
    pub(super) stored_count: u32,
    changed: Changed,
}

/// What may have changed since that was last asked.
#[derive(Debug, Default)]
pub(super) struct Changed {
    /// Places, by index.
    pub(super) places: BTreeSet<u32>,
    /// Processes, by number.
    pub(super) processes: BTreeSet<u32>,
}

impl Table {
    /// The place of `service`, made for it where there is none.
    pub(super) fn place(&mut self, service: ServiceId, name: &str) -> &mut Place {
        let fresh = || Place {
            service,
            name: name.into(),
            log: None,
            watch: None,
            limits: None,
            reserve: 0,
            oom_kills: 0,
            cgroup: None,
            killed: not_known(),
            live: None,
            sockets: Vec::new(),
            store: Store::default(),
            runtime_dirs: Box::default(),
            credentials: false,
        };
        self.changed.places.insert(service.index);
        let place = self
            .places
            .entry(service.index)
            .or_insert_with(|| Box::new(fresh()));
        if place.service != service {
            **place = fresh();
        }
        place
    }

    /// The place of `service`, if it has one.
    pub(super) fn get(&mut self, service: ServiceId) -> Option<&mut Place> {
        let place = self.places.get_mut(&service.index);
        let place = place.filter(|place| place.service == service)?.as_mut();
        self.changed.places.insert(service.index);
        Some(place)
    }

    /// All places, for what is not frozen of them.
    pub(super) fn places(&mut self) -> impl Iterator<Item = &mut Place> {
        self.places.values_mut().map(Box::as_mut)
    }

    /// The run in hand, if it is still `run`.
    pub(super) fn live(&mut self, run: RunId) -> Option<&mut Live> {
        self.get(run.service)?
            .live
            .as_mut()
            .filter(|live| live.run == run)
    }

    /// The run of the service in place `index` that has not said yet that it is ready, and where it
    /// will.
    pub(super) fn ready_line(&mut self, index: u32) -> Option<(RunId, &mut ReadyLine)> {
        let live = self.places.get_mut(&index)?.live.as_mut()?;
        Some((live.run, live.ready_line.as_mut()?))
    }

    /// The run of the service in place `index` whose program is about to be executed.
    pub(super) fn executing(&mut self, index: u32) -> Option<(RunId, &Executing)> {
        let live = self.places.get(&index)?.live.as_ref()?;
        Some((live.run, live.executing.as_ref()?))
    }

    /// Notes that `pid` belongs to `owner`.
    pub(super) fn own(&mut self, pid: u32, owner: Owner) {
        self.changed.processes.insert(pid);
        self.owners.insert(pid, owner);
    }

    /// On whose behalf `pid` runs.
    #[must_use]
    pub(super) fn owner(&self, pid: u32) -> Option<Owner> {
        self.owners.get(&pid).copied()
    }

    /// The same, for a process that has ended: its pid means nothing from now on.
    pub(super) fn disown(&mut self, pid: u32) -> Option<Owner> {
        self.changed.processes.insert(pid);
        self.owners.remove(&pid)
    }

    /// Notes the main process of a new run.
    pub(super) fn started(&mut self, run: RunId, pid: u32, pidfd: OwnedFd, entering: bool) {
        self.own(pid, Owner::Main(run));
        if let Some(place) = self.get(run.service) {
            place.live = Some(Live {
                run,
                pid,
                group: pid,
                pidfd,
                ended: false,
                adopted: false,
                seek: None,
                reload: None,
                probe: None,
                ready_line: None,
                executing: None,
                entering,
            });
        }
    }

    /// What is left of an earlier run is of `run` now, which starts beside it.
    pub(super) fn inherit(&mut self, run: RunId) {
        if let Some(live) = self.get(run.service).and_then(|place| place.live.as_mut()) {
            live.run = run;
        }
    }

    /// Makes `pid` the main process of `run`, whose command has ended and left it, with `group`.
    pub(super) fn found(&mut self, run: RunId, pid: u32, group: u32, pidfd: OwnedFd) {
        if let Some(live) = self.live(run) {
            (live.pid, live.group, live.pidfd) = (pid, group, pidfd);
            (live.ended, live.seek) = (false, None);
            self.own(pid, Owner::Main(run));
        }
    }

    /// The run whose first process opened the session `session`.
    pub(super) fn run_of_session(&self, session: u32) -> Option<RunId> {
        self.places
            .values()
            .filter_map(|place| place.live.as_ref())
            .find(|live| live.group == session)
            .map(|live| live.run)
    }

    /// Services whose main process has ended, and that have not emptied.
    pub(super) fn emptying(&self) -> Vec<ServiceId> {
        self.places
            .values()
            .filter(|place| place.live.as_ref().is_some_and(|live| live.ended))
            .map(|place| place.service)
            .collect()
    }

    /// Makes `pid` the main process of `run`, as the service says it is; the former one is then
    /// only one of its processes.
    pub(super) fn adopt(&mut self, run: RunId, pid: u32, pidfd: OwnedFd) -> bool {
        let Some(live) = self.live(run).filter(|live| !live.ended) else {
            return false;
        };
        let former = std::mem::replace(&mut live.pid, pid);
        live.pidfd = pidfd;
        live.adopted = true;
        self.disown(former);
        self.own(pid, Owner::Main(run));
        true
    }

    /// Notes the watch on the cgroup of `service`.
    pub(super) fn watched(&mut self, service: ServiceId, watch: i32) {
        if let Some(place) = self.get(service) {
            place.watch = Some(watch);
            self.watches.insert(watch, service.index);
        }
    }

    /// Whose cgroup a watch is on.
    #[must_use]
    pub(super) fn service_of_watch(&self, watch: i32) -> Option<ServiceId> {
        let index = self.watches.get(&watch)?;
        self.places
            .get(index)
            .filter(|place| place.watch == Some(watch))
            .map(|place| place.service)
    }

    /// Forgets the watch of `service`; the kernel has, or will with the cgroup's directory.
    pub(super) fn unwatched(&mut self, service: ServiceId) {
        if let Some(watch) = self.get(service).and_then(|place| place.watch.take()) {
            self.watches.remove(&watch);
        }
    }

    /// Takes the run that has emptied out of its place. `None` while its main process has not been
    /// told to have ended, or where no run is in hand.
    pub(super) fn emptied(&mut self, service: ServiceId) -> Option<RunId> {
        let place = self.get(service)?;
        let live = place.live.take_if(|live| live.ended)?;
        Some(live.run)
    }

    /// What may have changed since this was last called.
    pub(super) fn take_changed(&mut self) -> Changed {
        std::mem::take(&mut self.changed)
    }

    /// Everything there is, as if it had changed.
    pub(super) fn everything(&self) -> Changed {
        Changed {
            places: self.places.keys().copied().collect(),
            processes: self.owners.keys().copied().collect(),
        }
    }

    /// The place of that index, to be frozen.
    pub(super) fn place_at(&self, index: u32) -> Option<&Place> {
        self.places.get(&index).map(Box::as_ref)
    }

    /// Puts a place back that was frozen. Its watch is gone with the program that had it.
    pub(super) fn put_back(&mut self, mut place: Place) {
        place.watch = None;
        self.changed.places.insert(place.service.index);
        self.places.insert(place.service.index, Box::new(place));
    }

    /// Drops the places that `keep` refuses: of services that are no more.
    pub(super) fn retain(&mut self, keep: impl Fn(&Place) -> bool) {
        let changed = &mut self.changed.places;
        self.places.retain(|index, place| {
            let kept = keep(place);
            if !kept {
                changed.insert(*index);
            }
            kept
        });
        let places = &self.places;
        self.watches.retain(|_, index| places.contains_key(index));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn service(index: u32, generation: u32) -> ServiceId {
        ServiceId { index, generation }
    }

    fn run(service: ServiceId, run: u32) -> RunId {
        RunId { service, run }
    }

    fn fd() -> OwnedFd {
        std::fs::File::open("/dev/null").unwrap().into()
    }

    #[test]
    fn a_run_empties_only_after_its_main_process_has_ended() {
        let mut table = Table::default();
        let sshd = service(3, 1);
        table.place(sshd, "sshd");
        table.started(run(sshd, 1), 77, fd(), false);
        assert_eq!(table.owner(77), Some(Owner::Main(run(sshd, 1))));
        assert_eq!(table.emptied(sshd), None);
        assert_eq!(table.disown(77), Some(Owner::Main(run(sshd, 1))));
        table.live(run(sshd, 1)).unwrap().ended = true;
        assert_eq!(table.emptied(sshd), Some(run(sshd, 1)));
        assert_eq!(table.emptied(sshd), None);
    }

    #[test]
    fn another_occupant_of_a_place_starts_with_nothing() {
        let mut table = Table::default();
        let old = service(0, 1);
        table.place(old, "old");
        table.watched(old, 5);
        assert_eq!(table.service_of_watch(5), Some(old));
        let new = service(0, 2);
        table.place(new, "new");
        assert!(table.get(old).is_none());
        assert_eq!(table.get(new).unwrap().watch, None);
    }

    #[test]
    fn a_named_main_process_takes_the_place_of_the_first() {
        let mut table = Table::default();
        let haproxy = service(1, 1);
        table.place(haproxy, "haproxy");
        table.started(run(haproxy, 4), 10, fd(), false);
        assert!(table.adopt(run(haproxy, 4), 11, fd()));
        assert_eq!(table.owner(10), None);
        assert_eq!(table.owner(11), Some(Owner::Main(run(haproxy, 4))));
        assert!(
            !table.adopt(run(haproxy, 3), 12, fd()),
            "a run of the past has no say"
        );
    }
}
