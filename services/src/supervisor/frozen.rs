//! The supervisor's whole state as bytes, in parts, so that only what has changed is written again:
//! what PID 1 keeps of itself to go on after it has been replaced, or has crashed. Not here: where
//! the parts are kept (`journal`, the shell), and what the kernel knows better by then (the shell).
//!
//! A part is frozen between two events, when the queue is empty. What follows from other state is not
//! frozen: who has a role in the boot, what the boot waits for, the rules of a definition.
//!
//! Whoever adds state derives serde's traits for it. A field of [`Supervisor`] itself is either named
//! in [`Supervisor::freeze_part`] or left out there by name: it does not compile otherwise.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;
use std::sync::OnceLock;

use serde::Serialize;

use crate::file::{self, Source};
use crate::graph::{Graph, MAX_SERVICES};
use crate::id::ServiceName;
use crate::journal::{self, Full, JournalError, Key, Writer};
use crate::notify::Message;
use crate::time::Time;

use super::Supervisor;
use super::actions::{self, Actions};
use super::boot::Boot;
use super::event::{Action, Command, Event, RequestId};
use super::gate::Marks;
use super::requests::Requests;
use super::schedule::Clock;
use super::service::{BootMark, Kept, Service, Shared};
use super::shutdown::Shutdown;
use super::table::{Changes, Table};
use super::timers::{Due, TimerChanges, Timers, Turned};
use super::topology::Topology;

/// A service file whose service has of everything something that one can have that runs.
const SAMPLE: &str = "\
description = \"a\"
exec = \"/bin/a b\"
type = \"notify\"
reload = \"/bin/r\"
env = { A = \"b\" }
runtime-dirs = [\"a\"]
[health]
exec = \"/bin/h\"
[watchdog]
timeout = \"1min\"
";

/// And one whose service waits for its timer.
const WAITING: &str = "\
exec = \"/bin/b\"
[timer]
every = \"1h\"
on-calendar = [\"daily\"]
";

/// One that fails, and one that is left failed for it: each with its reason, the other with whom to blame.
const FAILS: &str = "\
exec = \"/bin/d\"
restart.policy = \"never\"
";
const BLAMES: &str = "\
exec = \"/bin/c\"
requires = [\"d\"]
";

/// The number of the layout: programs that lay out a sample alike read each other's state. It is
/// found, and not counted by hand, so that nobody can forget to.
#[must_use]
pub fn layout() -> u32 {
    /// Found once: a boot asks for it twice, before anything is started.
    static FOUND: OnceLock<u32> = OnceLock::new();
    *FOUND.get_or_init(|| crc32c::crc32c(&sample_of_all()))
}

fn sample_of_all() -> Vec<u8> {
    let source = |name: &str, text: &str| Source {
        path: format!("/sample/{name}.toml"),
        layer: 0,
        text: text.to_owned(),
    };
    let sources = [
        source("a", SAMPLE),
        source("b", WAITING),
        source("c", BLAMES),
        source("d", FAILS),
    ];
    let sample = file::load(&sources, None).graph.and_then(sample);
    sample.unwrap_or_default()
}

/// A supervisor in the middle of its life, as bytes.
fn sample(graph: Graph) -> Option<Vec<u8>> {
    let name = |text: &str| ServiceName::new(text).ok();
    let at = |seconds| Time::from_nanos(1_000_000_000_u64.saturating_mul(seconds));
    let mut supervisor = Supervisor::new(graph);
    let target = name("default")?;
    supervisor.handle_event(Event::ClockSet { unix_nanos: 1 }, at(1));
    supervisor.handle_event(Event::Boot { target }, at(1));
    let run = supervisor.current_run(supervisor.lookup("a")?)?;
    supervisor.handle_event(Event::Spawned { run }, at(2));
    let message = Message::Ready;
    let from_main = true;
    let ready = Event::Notified {
        run,
        message,
        from_main,
    };
    supervisor.handle_event(ready, at(3));
    let run = supervisor.current_run(supervisor.lookup("d")?)?;
    let cause = "absent".to_owned();
    supervisor.handle_event(Event::SpawnFailed { run, cause }, at(3));
    let request = RequestId(7);
    let command = Command::Reload(name("a")?);
    supervisor.handle_event(Event::Request { request, command }, at(4));
    let mut room = vec![0; 1 << 16];
    let mut writer = Writer::begin(&mut room, 0).ok()?;
    supervisor.freeze_all(&mut writer, &mut room).ok()?;
    room.truncate(writer.used());
    Some(room)
}

/// Most places: as many services as there may be, and as many that a reload has removed.
const PLACES_MAX: usize = 2 * MAX_SERVICES + 1;

/// A part of the state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// A place of the table, and the service in it, without its definition.
    Place(u32),
    /// The definitions of the service in that place.
    Definition(u32),
    /// All timers.
    Timers,
    /// Relations between places, and the free places.
    Relations,
    /// What is asked for and has not been taken.
    Actions,
    /// What is small and changes often: requests, boot, shutdown, time.
    Rest,
}

/// Kinds of records of the supervisor; the shell has others.
const PLACE: u32 = 1;
const DEFINITION: u32 = 2;
const TIMERS: u32 = 3;
const TIMER_CHANGES: u32 = 4;
const RELATIONS: u32 = 5;
const REST: u32 = 6;
const ACTIONS: u32 = 7;
const ACTION_CHANGES: u32 = 8;

/// Kinds of records from here on are the shell's.
pub const SHELL_KINDS: u32 = 16;

impl Part {
    const fn key(self) -> Key {
        let (kind, index) = match self {
            Self::Place(index) => (PLACE, index),
            Self::Definition(index) => (DEFINITION, index),
            Self::Timers => (TIMERS, 0),
            Self::Relations => (RELATIONS, 0),
            Self::Actions => (ACTIONS, 0),
            Self::Rest => (REST, 0),
        };
        Key { kind, index }
    }
}

/// How far a copy of the whole state is that is made bit by bit.
#[derive(Debug, Default)]
pub struct Copying {
    done: u32,
}

/// Why records are not the state of a supervisor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ThawError {
    /// They are no journal, or one of another version.
    Journal(JournalError),
    /// The record of this kind and index is not what it should be.
    Record {
        /// The kind.
        kind: u32,
        /// The index.
        index: u32,
        /// What is wrong.
        cause: String,
    },
    /// There is none of this.
    Missing(&'static str),
}

impl fmt::Display for ThawError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Journal(error) => error.fmt(f),
            Self::Record { kind, index, cause } => {
                write!(f, "record {index} of kind {kind} cannot be read: {cause}")
            }
            Self::Missing(what) => write!(f, "the state is not whole: no {what}"),
        }
    }
}

impl std::error::Error for ThawError {}

impl From<JournalError> for ThawError {
    fn from(error: JournalError) -> Self {
        Self::Journal(error)
    }
}

/// [`Part::Rest`], as it is read.
type Rest = (Requests, Boot, Shutdown, Clock, Time, u64, Vec<u32>);

/// Writes `value` into `room`.
///
/// # Errors
/// [`Full`].
pub fn pack_into<T: Serialize>(value: &T, room: &mut [u8]) -> Result<usize, Full> {
    match postcard::to_slice(value, room) {
        Ok(used) => Ok(used.len()),
        Err(_) => Err(Full),
    }
}

impl Supervisor {
    /// Adds what has changed since it was last asked to a journal. The commit is the caller's.
    ///
    /// # Errors
    /// [`Full`]: then all of it belongs into a new journal ([`Self::freeze_all`]).
    pub fn freeze_changes(&mut self, writer: &mut Writer, room: &mut [u8]) -> Result<(), Full> {
        let timers = self.timers.take_changes();
        let quiet = !self.table.is_changed() && self.frozen_at == self.events;
        if quiet && !self.actions.is_changed() {
            return Ok(());
        }
        let Changes {
            touched,
            redefined,
            related,
            all,
        } = self.table.take_changes();
        if all {
            return self.freeze_all(writer, room);
        }
        for index in touched {
            self.freeze_part(Part::Place(index), writer, room)?;
        }
        for index in redefined {
            self.freeze_part(Part::Definition(index), writer, room)?;
        }
        if related {
            self.freeze_part(Part::Relations, writer, room)?;
        }
        match timers {
            TimerChanges::All => self.freeze_part(Part::Timers, writer, room)?,
            TimerChanges::Some(changes) if changes.is_empty() => {}
            TimerChanges::Some(changes) => {
                let key = Key {
                    kind: TIMER_CHANGES,
                    index: 0,
                };
                writer.record(room, key, |free| pack_into(&changes, free))?;
            }
        }
        match self.actions.changes() {
            Some(changes) if self.actions.is_changed() => {
                let key = Key {
                    kind: ACTION_CHANGES,
                    index: 0,
                };
                writer.record(room, key, |free| pack_into(&changes, free))?;
            }
            Some(_) => {}
            None => self.freeze_part(Part::Actions, writer, room)?,
        }
        self.actions.written();
        if quiet {
            return Ok(());
        }
        self.freeze_rest(writer, room)
    }

    /// Adds the whole state to a journal. The commit is the caller's.
    ///
    /// # Errors
    /// [`Full`].
    pub fn freeze_all(&mut self, writer: &mut Writer, room: &mut [u8]) -> Result<(), Full> {
        self.copy_parts(writer, room)?;
        let _told = (self.table.take_changes(), self.timers.take_changes());
        self.actions.written();
        self.freeze_rest(writer, room)
    }

    /// Adds some of the whole state to a journal: `count` more places, or one of the other parts. What
    /// changes meanwhile is to be added as well; nothing may be left to [`Self::freeze_changes`] when
    /// this is called. Whether it was the last of it; the commit is the caller's.
    ///
    /// # Errors
    /// [`Full`].
    pub fn freeze_some(
        &self,
        copying: &mut Copying,
        count: u32,
        writer: &mut Writer,
        room: &mut [u8],
    ) -> Result<bool, Full> {
        let places = self.table.indices().end;
        let rest = [Part::Timers, Part::Actions, Part::Relations, Part::Rest];
        let first = copying.done;
        if first < places {
            copying.done = first.saturating_add(count).min(places);
            for index in first..copying.done {
                self.freeze_part(Part::Place(index), writer, room)?;
                self.freeze_part(Part::Definition(index), writer, room)?;
            }
            return Ok(false);
        }
        copying.done = first.saturating_add(1);
        let number = first.saturating_sub(places) as usize;
        if let Some(part) = rest.get(number) {
            self.freeze_part(*part, writer, room)?;
        }
        Ok(number + 1 >= rest.len())
    }

    fn copy_parts(&self, writer: &mut Writer, room: &mut [u8]) -> Result<(), Full> {
        for index in self.table.indices() {
            self.freeze_part(Part::Place(index), writer, room)?;
            self.freeze_part(Part::Definition(index), writer, room)?;
        }
        self.freeze_part(Part::Timers, writer, room)?;
        self.freeze_part(Part::Actions, writer, room)?;
        self.freeze_part(Part::Relations, writer, room)
    }

    fn freeze_rest(&mut self, writer: &mut Writer, room: &mut [u8]) -> Result<(), Full> {
        self.freeze_part(Part::Rest, writer, room)?;
        self.frozen_at = self.events;
        Ok(())
    }

    fn freeze_part(&self, part: Part, writer: &mut Writer, room: &mut [u8]) -> Result<(), Full> {
        let Self {
            table,
            topology,
            timers,
            requests,
            boot,
            // Found again by `mark_roles`.
            marks: _,
            shutdown,
            clock,
            // Empty between two events.
            queue: _,
            actions,
            now,
            events,
            // About the freezing itself.
            frozen_at: _,
        } = self;
        writer.record(room, part.key(), |free| match part {
            Part::Place(index) => pack_into(&table.occupant(index), free),
            Part::Definition(index) => {
                let service = table.get(index);
                let kept = service.map(|service| Bytes(&service.kept.packed));
                let next = service.and_then(|service| service.next.as_deref());
                pack_into(&(kept, next.map(|next| Bytes(&next.packed))), free)
            }
            Part::Timers => pack_into(timers.set(), free),
            Part::Relations => pack_into(&(topology, table.free()), free),
            Part::Actions => pack_into(actions.all(), free),
            Part::Rest => pack_into(
                &(requests, boot, shutdown, clock, now, events, table.dying()),
                free,
            ),
        })
    }
}

/// Bytes that are copied and not looked at one by one.
struct Bytes<'a>(&'a [u8]);

impl Serialize for Bytes<'_> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(self.0)
    }
}

/// A supervisor that is being put together again, record by record.
#[derive(Debug, Default)]
pub struct Thawing {
    places: BTreeMap<u32, (u32, Option<Service>)>,
    definitions: BTreeMap<u32, (Kept, Option<Kept>)>,
    shared: Shared,
    timers: BTreeSet<(Time, Due)>,
    timer_changes: Vec<Turned>,
    relations: Option<(Topology, Vec<u32>)>,
    actions: VecDeque<Action>,
    rest: Option<Rest>,
}

impl Thawing {
    /// Takes in one record, in the order of the journal. Those of the shell are none of its.
    ///
    /// # Errors
    /// [`ThawError::Record`].
    pub fn take(&mut self, key: Key, bytes: &[u8]) -> Result<(), ThawError> {
        let Key { kind, index } = key;
        let wrong = |cause: &str| ThawError::Record {
            kind,
            index,
            cause: cause.to_owned(),
        };
        let unpack = |error: postcard::Error| wrong(&error.to_string());
        if index as usize >= PLACES_MAX {
            return Err(wrong("there are not so many places"));
        }
        match kind {
            PLACE => {
                let place: Option<(u32, Option<Service>)> =
                    postcard::from_bytes(bytes).map_err(unpack)?;
                let place = place.ok_or_else(|| wrong("there is no such place"))?;
                self.places.insert(index, place);
            }
            DEFINITION => {
                let (kept, next): (Option<&[u8]>, Option<&[u8]>) =
                    postcard::from_bytes(bytes).map_err(unpack)?;
                let Some(kept) = kept else {
                    self.definitions.remove(&index);
                    return Ok(());
                };
                let shared = &mut self.shared;
                let kept = Kept::unpack(kept, shared).map_err(|it| wrong(&it))?;
                let next = next
                    .map(|next| Kept::unpack(next, shared))
                    .transpose()
                    .map_err(|it| wrong(&it))?;
                self.definitions.insert(index, (kept, next));
            }
            TIMERS => {
                self.timers = postcard::from_bytes(bytes).map_err(unpack)?;
                self.timer_changes.clear();
            }
            TIMER_CHANGES => {
                let changes: Vec<Turned> = postcard::from_bytes(bytes).map_err(unpack)?;
                self.timer_changes.extend(changes);
            }
            ACTIONS => self.actions = postcard::from_bytes(bytes).map_err(unpack)?,
            ACTION_CHANGES => {
                let (taken, added) = postcard::from_bytes(bytes).map_err(unpack)?;
                actions::apply(&mut self.actions, taken, added);
            }
            RELATIONS => self.relations = Some(postcard::from_bytes(bytes).map_err(unpack)?),
            REST => self.rest = Some(postcard::from_bytes(bytes).map_err(unpack)?),
            _ => {}
        }
        Ok(())
    }

    /// The supervisor, as it was when the records were written.
    ///
    /// # Errors
    /// [`ThawError::Missing`].
    pub fn finish(mut self) -> Result<Supervisor, ThawError> {
        let (requests, boot, shutdown, clock, now, events, dying) =
            self.rest.ok_or(ThawError::Missing("rest"))?;
        let (topology, free) = self.relations.ok_or(ThawError::Missing("relations"))?;
        let mut occupants = Vec::with_capacity(self.places.len());
        for (expected, (index, (generation, mut service))) in (0u32..).zip(self.places) {
            if index != expected {
                return Err(ThawError::Missing("place between two others"));
            }
            if let Some(service) = &mut service {
                let definition = self.definitions.remove(&index);
                let (kept, next) = definition.ok_or(ThawError::Missing("definition"))?;
                service.kept = kept;
                service.next = next.map(Box::new);
            }
            occupants.push((generation, service));
        }
        let mut supervisor = Supervisor {
            table: Table::thaw(occupants, free, dying),
            topology,
            timers: Timers::thaw(self.timers, self.timer_changes),
            requests,
            boot,
            marks: Marks::default(),
            shutdown,
            clock,
            queue: VecDeque::new(),
            actions: Actions::thaw(self.actions),
            now,
            events,
            frozen_at: events,
        };
        supervisor.look_after_thaw();
        Ok(supervisor)
    }
}

impl Supervisor {
    /// Finds again what follows from the places.
    fn look_after_thaw(&mut self) {
        for index in self.table.indices() {
            let Some(service) = self.table.get_mut(index) else {
                continue;
            };
            service.queued = false;
            if service.boot == BootMark::Pending && !self.boot.settled() {
                self.boot.still_pending(index);
            }
        }
        self.mark_roles();
    }

    /// The whole state as bytes.
    ///
    /// # Errors
    /// [`Full`]: it needs more than `most` bytes.
    pub fn freeze(&mut self, most: usize) -> Result<Vec<u8>, Full> {
        in_room(most, |writer, room| self.freeze_all(writer, room))
    }

    /// The same for a look at it: what has changed stays to be written to a journal.
    ///
    /// # Errors
    /// [`Full`]: it needs more than `most` bytes.
    pub fn snapshot(&self, most: usize) -> Result<Vec<u8>, Full> {
        in_room(most, |writer, room| {
            self.copy_parts(writer, room)?;
            self.freeze_part(Part::Rest, writer, room)
        })
    }

    /// The supervisor whose state [`Self::freeze`] made into `bytes`.
    ///
    /// # Errors
    /// [`ThawError`]; no bytes make it panic.
    pub fn thaw(bytes: &[u8]) -> Result<Self, ThawError> {
        let mut thawing = Thawing::default();
        for (key, body) in journal::read(bytes, layout())? {
            thawing.take(key, body)?;
        }
        thawing.finish()
    }
}

/// What `write` writes, in as much room as it needs.
fn in_room(
    most: usize,
    mut write: impl FnMut(&mut Writer, &mut [u8]) -> Result<(), Full>,
) -> Result<Vec<u8>, Full> {
    let layout = layout();
    let mut size = 4096_usize.min(most);
    loop {
        let mut room = vec![0; size];
        let written = Writer::begin(&mut room, layout).and_then(|mut writer| {
            write(&mut writer, &mut room)?;
            writer.commit(&mut room)?;
            Ok(writer.used())
        });
        match written {
            Ok(used) => {
                room.truncate(used);
                return Ok(room);
            }
            Err(Full) if size >= most => return Err(Full),
            Err(Full) => size = size.saturating_mul(2).min(most),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is not in the sample can be laid out anew without another number.
    #[test]
    fn the_sample_has_reasons_and_whom_they_blame() {
        let sample = sample_of_all();
        let has = |text: &[u8]| sample.windows(text.len()).any(|it| it == text);
        assert!(has(b"absent") && has(b"d, which it requires, failed\x01\x01d"));
    }
}
