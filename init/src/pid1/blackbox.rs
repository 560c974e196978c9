//! PID 1's black box: its state in a memory file, written again where it has changed, at the end of
//! each stage of a turn. The program that takes its place begins with it, whether it was asked to or
//! PID 1 has crashed. Not here: reading it (`resume`), and what the supervisor's own part of it is
//! (`services::supervisor::frozen`).
//!
//! What is frozen are the values themselves, by serde. Whoever adds a field to them derives, or it does
//! not compile; whoever adds a field to [`Init`] names it in `resume`.

use std::os::fd::{AsFd, AsRawFd};

use kernel::successor::{self, Memory};
use serde::{Deserialize, Serialize};
use services::journal::{Full, Key, Writer};
use services::supervisor::frozen::{Copying, SHELL_KINDS, pack_into};

use super::Init;
use super::heard;
use super::noted::Noted;
use super::say::Level;
use super::table::Changed;
use crate::ending::soft::Previous;

/// Least and most bytes of it.
const SIZE_MIN: usize = 64 << 10;
pub(super) const SIZE_MAX: usize = 128 << 20;

/// A box is begun with so many bytes for each service, whose records take less than a third of them.
const A_SERVICE: usize = 2 << 10;

/// So many places are added to the next box in a turn.
const AT_ONCE: u32 = 8;

/// The number of the layout: of the supervisor's part, and of the types of the shell that are frozen,
/// told by their source. A program of another number does not read it.
pub(super) fn layout() -> u32 {
    services::supervisor::frozen::layout() ^ SHELL
}

/// Of the files in which the frozen types of the shell are.
const SHELL: u32 = hash(&[
    include_bytes!("table.rs"),
    include_bytes!("clients.rs"),
    include_bytes!("connection.rs"),
    include_bytes!("boot.rs"),
    include_bytes!("gate/keeper.rs"),
    include_bytes!("recorder.rs"),
    include_bytes!("loader.rs"),
    include_bytes!("logger.rs"),
    include_bytes!("overflow.rs"),
    include_bytes!("later.rs"),
    include_bytes!("errands.rs"),
    include_bytes!("ready_line.rs"),
    include_bytes!("executed.rs"),
    include_bytes!("sockets.rs"),
    include_bytes!("store.rs"),
    include_bytes!("heard.rs"),
    include_bytes!("timekeeper.rs"),
    include_bytes!("blackbox.rs"),
]);

/// FNV-1a, while this is compiled.
#[allow(long_running_const_eval, reason = "some hundred kilobytes, once")]
const fn hash(files: &[&[u8]]) -> u32 {
    let mut hash: u32 = 0x811c_9dc5;
    let mut files = files;
    while let [file, rest @ ..] = files {
        let mut bytes = *file;
        while let [byte, rest @ ..] = bytes {
            hash = (hash ^ *byte as u32).wrapping_mul(0x0100_0193);
            bytes = rest;
        }
        files = rest;
    }
    hash
}

/// What of PID 1 a record is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub(super) enum Kind {
    Start = SHELL_KINDS,
    Status,
    Place,
    Process,
    Clients,
    Boot,
    Gate,
    Recorder,
    Loader,
    Logger,
    Chores,
    Watchdog,
    Timekeeper,
}

impl Kind {
    pub(super) const fn key(self, index: u32) -> Key {
        Key {
            kind: self as u32,
            index,
        }
    }
}

/// What stays as it was at the start.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Start {
    pub(super) listener: i32,
    pub(super) notify: heard::Frozen,
    pub(super) masks: Vec<String>,
    pub(super) rescue: bool,
    pub(super) last_good: bool,
    pub(super) cgroups: Option<String>,
    pub(super) verbose: bool,
    pub(super) debug: bool,
    pub(super) previous: Previous,
}

/// What is small and in no other record.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Status {
    pub(super) control_group: Option<u32>,
    pub(super) shutting_down: bool,
    pub(super) machine_seed: u64,
    pub(super) stored_count: u32,
}

/// The watchdog, which is not left alone for a moment.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Watched {
    pub(super) fd: i32,
    pub(super) path: String,
    pub(super) seconds: u32,
}

/// The box.
#[derive(Debug)]
pub(super) struct BlackBox {
    memory: Memory,
    writer: Writer,
    size: usize,
    status: Status,
    /// How much of it was in use when it held each thing once.
    whole: usize,
    /// The one that will take its place.
    next: Option<Box<Next>>,
}

/// A box that is being filled while another is in use: a little in each turn, and all that changes
/// meanwhile. To write everything at once would hold up the loop.
#[derive(Debug)]
struct Next {
    memory: Memory,
    writer: Writer,
    size: usize,
    supervisor: Option<Copying>,
    table: Changed,
}

/// A box, and room for one more record in it.
struct Pen<'a> {
    writer: &'a mut Writer,
    room: &'a mut [u8],
    all: bool,
}

impl Pen<'_> {
    fn put<T: Serialize>(&mut self, kind: Kind, index: u32, value: &T) -> Result<(), Full> {
        let write = |free: &mut [u8]| pack_into(value, free);
        self.writer.record(self.room, kind.key(index), write)
    }

    fn put_changed<T: Serialize>(&mut self, kind: Kind, value: &mut Noted<T>) -> Result<(), Full> {
        if value.take_changed() || self.all {
            self.put(kind, 0, &**value)?;
        }
        Ok(())
    }
}

impl Init {
    /// Notes what has changed. Where nothing has, it costs next to nothing.
    pub(super) fn note(&mut self) {
        let Some(mut black_box) = self.black_box.take() else {
            return;
        };
        let before = black_box.writer.used();
        if self.write_to(&mut black_box, false).is_err() {
            return self.renew_black_box(black_box.size);
        }
        if black_box.writer.used() > before {
            self.fill_next(&mut black_box, before);
        }
        self.black_box = Some(black_box);
    }

    /// Goes on with the next box once the present one is nearly full; `before`: where in the present one
    /// the latest records begin.
    fn fill_next(&mut self, black_box: &mut BlackBox, before: usize) {
        let BlackBox {
            memory,
            writer,
            size,
            whole,
            next,
            ..
        } = black_box;
        let Some(filled) = next else {
            if writer.used() > *size / 3 * 2 {
                // It is not missed until the present one is full, and then one is made at once.
                *next = self.begin_next(*size, *whole).ok().map(Box::new);
            }
            return;
        };
        let latest = memory.room().get(before..writer.used());
        let copied = filled
            .writer
            .copy(filled.memory.room(), latest.unwrap_or_default());
        match copied.and_then(|()| self.fill(filled)) {
            Ok(false) => {}
            Ok(true) => {
                if let Some(filled) = next.take() {
                    let filled = *filled;
                    successor::keep(filled.memory.as_fd());
                    black_box.whole = filled.writer.used();
                    black_box.memory = filled.memory;
                    black_box.writer = filled.writer;
                    black_box.size = filled.size;
                }
            }
            Err(Full) => *next = None,
        }
    }

    fn begin_next(&self, size: usize, whole: usize) -> Result<Next, Full> {
        let size = if whole > size / 3 {
            (whole * 4).next_power_of_two().min(SIZE_MAX)
        } else {
            size
        };
        let mut memory = Memory::new("black box", size).map_err(|_| Full)?;
        memory.set_history(self.crashes).map_err(|_| Full)?;
        let writer = Writer::begin(memory.room(), self.layout)?;
        Ok(Next {
            memory,
            writer,
            size,
            supervisor: self.supervisor.as_ref().map(|_| Copying::default()),
            table: self.table.everything(),
        })
    }

    /// Adds some more of everything; whether it was the last.
    fn fill(&mut self, next: &mut Next) -> Result<bool, Full> {
        if let (Some(supervisor), Some(copying)) = (&self.supervisor, &mut next.supervisor) {
            let (writer, room) = (&mut next.writer, next.memory.room());
            if supervisor.freeze_some(copying, AT_ONCE, writer, room)? {
                next.supervisor = None;
            }
            return Ok(false);
        }
        let mut pen = Pen {
            writer: &mut next.writer,
            room: next.memory.room(),
            all: true,
        };
        for _ in 0..AT_ONCE {
            if let Some(index) = next.table.places.pop_first() {
                pen.put(Kind::Place, index, &self.table.place_at(index))?;
            } else if let Some(pid) = next.table.processes.pop_first() {
                pen.put(Kind::Process, pid, &self.table.owner(pid))?;
            } else {
                self.put_rest(&mut pen)?;
                pen.put(Kind::Status, 0, &self.in_short())?;
                next.writer.commit(next.memory.room())?;
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Begins a box with all there is. Without memory for one PID 1 goes on, and does not survive a
    /// crash of its own.
    pub(super) fn renew_black_box(&mut self, size: usize) {
        let services = self.supervisor.as_ref().map(|it| it.services().count());
        // One that turns out to be too small is written for nothing.
        let expected = services.unwrap_or(0).saturating_mul(A_SERVICE);
        let mut size = size
            .max(expected.next_power_of_two())
            .clamp(SIZE_MIN, SIZE_MAX);
        loop {
            let room = Memory::new("black box", size).and_then(|memory| {
                memory.set_history(self.crashes)?;
                Ok(memory)
            });
            let memory = match room {
                Ok(memory) => memory,
                Err(error) => {
                    let line = format!("a crash of init would not be survived: {error}");
                    return self.say(Level::Error, &line);
                }
            };
            match self.begin(memory, size) {
                // A third is full now, so that it is renewed after twice as much has changed.
                Ok(begun) if begun.writer.used() <= size / 3 || size >= SIZE_MAX => {
                    successor::keep(begun.memory.as_fd());
                    self.black_box = Some(begun);
                    return;
                }
                Ok(begun) => size = (begun.writer.used() * 4).next_power_of_two().min(SIZE_MAX),
                Err(Full) if size >= SIZE_MAX => {
                    let line = "a crash of init would not be survived: too much state";
                    return self.say(Level::Error, line);
                }
                Err(Full) => size = (size * 2).min(SIZE_MAX),
            }
        }
    }

    fn begin(&mut self, mut memory: Memory, size: usize) -> Result<BlackBox, Full> {
        let writer = Writer::begin(memory.room(), self.layout)?;
        let mut black_box = BlackBox {
            memory,
            writer,
            size,
            status: Status::default(),
            whole: 0,
            next: None,
        };
        self.write_to(&mut black_box, true)?;
        black_box.whole = black_box.writer.used();
        Ok(black_box)
    }

    fn write_to(&mut self, black_box: &mut BlackBox, all: bool) -> Result<(), Full> {
        let status = self.in_short();
        let mut pen = Pen {
            writer: &mut black_box.writer,
            room: black_box.memory.room(),
            all,
        };
        match &mut self.supervisor {
            Some(supervisor) if all => supervisor.freeze_all(pen.writer, pen.room)?,
            Some(supervisor) => supervisor.freeze_changes(pen.writer, pen.room)?,
            None => {}
        }
        if all || black_box.status != status {
            pen.put(Kind::Status, 0, &status)?;
            black_box.status = status;
        }
        let changed = self.table.take_changed();
        let changed = if all {
            self.table.everything()
        } else {
            changed
        };
        for index in changed.places {
            pen.put(Kind::Place, index, &self.table.place_at(index))?;
        }
        for pid in changed.processes {
            pen.put(Kind::Process, pid, &self.table.owner(pid))?;
        }
        self.put_rest(&mut pen)?;
        black_box.writer.commit(black_box.memory.room())
    }

    fn in_short(&self) -> Status {
        Status {
            control_group: self.control_group,
            shutting_down: self.shutting_down,
            machine_seed: self.machine_seed,
            stored_count: self.table.stored_count,
        }
    }

    /// What there is one of: what has changed, or all.
    fn put_rest(&mut self, pen: &mut Pen<'_>) -> Result<(), Full> {
        pen.put_changed(Kind::Clients, &mut self.clients)?;
        pen.put_changed(Kind::Boot, &mut self.boot)?;
        pen.put_changed(Kind::Gate, &mut self.gate)?;
        pen.put_changed(Kind::Recorder, &mut self.recorder)?;
        pen.put_changed(Kind::Loader, &mut self.loader)?;
        pen.put_changed(Kind::Logger, &mut self.logger)?;
        pen.put_changed(Kind::Chores, &mut self.chores)?;
        pen.put_changed(Kind::Timekeeper, &mut self.timekeeper)?;
        if pen.all {
            pen.put(Kind::Start, 0, &self.how_it_started())?;
            let watchdog = self.watchdog.as_ref().map(|feeder| Watched {
                fd: feeder.device().as_fd().as_raw_fd(),
                path: feeder.device().path().to_owned(),
                seconds: feeder.seconds(),
            });
            pen.put(Kind::Watchdog, 0, &watchdog)?;
        }
        Ok(())
    }

    fn how_it_started(&self) -> Start {
        Start {
            listener: self.listener.as_fd().as_raw_fd(),
            notify: self.notify_sockets.freeze(),
            masks: self.masks.clone(),
            rescue: self.rescue,
            last_good: self.last_good,
            cgroups: self.cgroups.as_ref().map(|it| it.services().to_owned()),
            verbose: self.say.is_verbose(),
            debug: self.debug,
            previous: self.previous.clone(),
        }
    }

    /// How large the box is, for the next.
    pub(super) fn black_box_size(&self) -> usize {
        self.black_box.as_ref().map_or(SIZE_MIN, |it| it.size)
    }
}
