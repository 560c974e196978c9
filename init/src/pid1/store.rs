//! Descriptors that services have given into safe keeping (`FDSTORE=1` of sd_notify(3)): what is kept,
//! for how long, and what is let go. Not here: how they reach the next run (`passed`).
//!
//! They outlive the runs of their service, and go when it is down for good. Each is watched for the
//! end of its other side, so that none is kept that leads nowhere; before one is closed it is watched
//! no longer, since the service may have it open still, and the loop would hear of it for ever.

use std::os::fd::{AsFd, OwnedFd};

use kernel::Errno;
use kernel::epoll::{Poller, Readiness};
use serde::{Deserialize, Serialize};
use services::id::{RunId, ServiceId};
use services::notify::Keep;

use super::Init;
use super::kept;
use super::passed::Passed;
use super::say::Level;
use super::turn;

/// Most descriptors that are kept for all services together.
const ALL_MAX: usize = 4096;

/// One that is kept.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Stored {
    name: Box<str>,
    #[serde(with = "kept")]
    fd: OwnedFd,
    /// By which its hangup is known.
    number: u32,
    /// Whether the loop watches it.
    watched: bool,
}

/// Those of one service, the oldest first.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Store(Vec<Stored>);

impl Store {
    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// Their names.
    pub(super) fn names(&self) -> Vec<String> {
        self.0.iter().map(|it| it.name.to_string()).collect()
    }

    /// As the next run gets them.
    pub(super) fn passed(&self) -> Vec<Passed<'_>> {
        let all = self.0.iter();
        all.map(|it| (&*it.name, it.fd.as_fd())).collect()
    }

    fn has(&self, fd: &OwnedFd) -> bool {
        self.0.iter().any(|it| kernel::same::same(&it.fd, fd))
    }

    /// Lets go of those that `unwanted` names; how many.
    fn let_go(&mut self, poller: &Poller, unwanted: impl Fn(&Stored) -> bool) -> usize {
        let before = self.0.len();
        self.0.retain(|stored| {
            let going = unwanted(stored);
            if going && stored.watched {
                // Fails only where it is not watched.
                let _watched_no_more = poller.remove(&stored.fd);
            }
            !going
        });
        before.saturating_sub(self.0.len())
    }

    /// Lets go of the youngest, down to `most`.
    fn shorten(&mut self, poller: &Poller, most: usize) {
        let keep: Vec<u32> = self.0.iter().take(most).map(|it| it.number).collect();
        self.let_go(poller, |stored| !keep.contains(&stored.number));
    }

    /// Keeps one; an error is for people.
    fn keep(
        &mut self,
        poller: &Poller,
        keep: &Keep,
        fd: OwnedFd,
        number: u32,
    ) -> Result<(), String> {
        let mut watched = keep.poll;
        if keep.poll {
            match poller.add(&fd, turn::STORED | u64::from(number), Readiness::NONE) {
                Ok(()) => {}
                // A file has no other side that could go.
                Err(error) if error.errno == Errno::PERM => watched = false,
                Err(error) => return Err(error.to_string()),
            }
        }
        self.0.push(Stored {
            name: keep.name.as_str().into(),
            fd,
            number,
            watched,
        });
        Ok(())
    }
}

impl Init {
    /// Keeps descriptors for the service of `run`, as far as its file lets it have any.
    pub(super) fn keep_descriptors(&mut self, run: RunId, keep: &Keep, fds: Vec<OwnedFd>) {
        let Ok(definition) = self.definition(run.service) else {
            return;
        };
        let program = definition.kind.program();
        let most = program.map_or(0, |program| usize::from(program.fd_store_max));
        let mut all: usize = self.table.places().map(|place| place.store.len()).sum();
        for fd in fds {
            self.table.stored_count = self.table.stored_count.wrapping_add(1);
            let number = self.table.stored_count;
            let Some(place) = self.table.get(run.service) else {
                return;
            };
            let store = &mut place.store;
            if store.has(&fd) {
                continue;
            }
            let kept = if store.len() >= most {
                Err(format!("its `fd-store.max` is {most}"))
            } else if all >= ALL_MAX {
                Err(format!("{ALL_MAX} are kept for all services together"))
            } else {
                store.keep(&self.poller, keep, fd, number)
            };
            match kept {
                Ok(()) => all = all.saturating_add(1),
                Err(why) => {
                    let name = &definition.name;
                    let line = format!("{name}: a descriptor is not kept: {why}");
                    self.say(Level::Warning, &line);
                }
            }
        }
    }

    /// Lets go of what is kept for `service` under `name`.
    pub(super) fn drop_descriptors(&mut self, service: ServiceId, name: &str) {
        if let Some(place) = self.table.get(service) {
            place.store.let_go(&self.poller, |it| &*it.name == name);
        }
    }

    /// The service is down for good, or its file lets it have fewer.
    pub(super) fn limit_store(&mut self, service: ServiceId, most: usize) {
        if let Some(place) = self.table.get(service) {
            place.store.shorten(&self.poller, most);
        }
    }

    /// Goes on watching what a former program of this process has watched.
    pub(super) fn watch_stored(&mut self) {
        for place in self.table.places() {
            for stored in place.store.0.iter_mut().filter(|stored| stored.watched) {
                let token = turn::STORED | u64::from(stored.number);
                let added = self.poller.add(&stored.fd, token, Readiness::NONE);
                stored.watched = added.is_ok();
            }
        }
    }

    /// The other side of a kept descriptor has gone.
    pub(super) fn stored_hung_up(&mut self, number: u32) {
        let poller = &self.poller;
        let mut gone = None;
        for place in self.table.places() {
            if place.store.let_go(poller, |it| it.number == number) > 0 {
                gone = Some(place.name.clone());
            }
        }
        if let Some(name) = gone {
            let line = format!("{name}: the other side of a kept descriptor has gone; let go");
            self.say(Level::Info, &line);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kernel::epoll::Events;
    use services::notify::FdName;
    use std::time::Duration;

    fn keep(name: &str, poll: bool) -> Keep {
        Keep {
            name: FdName::new(name.as_bytes()).unwrap(),
            poll,
        }
    }

    fn heard(poller: &Poller) -> Vec<u64> {
        let mut events = Events::new();
        poller.wait(&mut events, Some(Duration::ZERO)).unwrap();
        events.iter().map(|(token, _)| token).collect()
    }

    #[test]
    fn a_hangup_is_heard_once_and_only_where_it_is_asked_for() {
        let poller = Poller::new().unwrap();
        let mut store = Store::default();
        let (one, one_end) = kernel::pipe::pair().unwrap();
        let (two, two_end) = kernel::pipe::pair().unwrap();
        let still_open = one.try_clone().unwrap();
        store.keep(&poller, &keep("one", true), one, 1).unwrap();
        store.keep(&poller, &keep("two", false), two, 2).unwrap();
        assert!(store.has(&still_open));
        assert_eq!(heard(&poller), [0; 0]);
        drop((one_end, two_end));
        assert_eq!(heard(&poller), [turn::STORED | 1]);
        assert_eq!(store.let_go(&poller, |it| it.number == 1), 1);
        // The pipe is open here, as it may be in the service, and is watched no longer.
        assert_eq!(heard(&poller), [0; 0]);
        assert!(!store.has(&still_open));
        assert_eq!(store.names(), ["two"]);
    }

    #[test]
    fn the_youngest_go_first_and_a_file_needs_no_watch() {
        let poller = Poller::new().unwrap();
        let mut store = Store::default();
        let file = || OwnedFd::from(tempfile::tempfile().unwrap());
        for (number, name) in [(1, "a"), (2, "b"), (3, "a")] {
            store
                .keep(&poller, &keep(name, true), file(), number)
                .unwrap();
        }
        let names: Vec<&str> = store.passed().iter().map(|(name, _)| *name).collect();
        assert_eq!(names, ["a", "b", "a"]);
        store.shorten(&poller, 2);
        assert_eq!(store.names(), ["a", "b"]);
        store.let_go(&poller, |it| &*it.name == "a");
        store.shorten(&poller, 2);
        assert_eq!(store.names(), ["b"]);
    }
}
