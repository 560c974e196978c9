//! The updater as a service: calls come in over the socket that init has opened, one installation runs
//! at a time, and after a while without either it ends. Not here: the protocol (`services::update`), an
//! installation (`job`).

use std::io::Write;
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use kernel::unix::{peer, peer_groups, recv_with_fds};
use mounts::install::Failure;
use mounts::keyring;
use mounts::manifest::{self, Manifest};
use mounts::slot::Slot;
use services::control::Frames;
use services::update::{
    Call, Key, Reply, SlotStatus, Status, UpdateError, decode_call, encode_answer,
};
use services::users::Accounts;

use super::disk;
use super::job::{self, Board, Booted, Shared};
use super::keys;
use super::supply::Origin;
use crate::outer::Outer;
use crate::paths::Paths;
use crate::record::{self, UpdateStep};

/// Connections at once.
const CLIENTS_MAX: usize = 16;
/// How long it stays without anything to do.
const IDLE: Duration = Duration::from_secs(10);
const TURN: Duration = Duration::from_millis(100);
/// How long a client may take to say what it wants.
const CALL_WITHIN: Duration = Duration::from_secs(10);
/// How long a client may take to read what it is told.
const READ_WITHIN: Duration = Duration::from_secs(10);
/// Shortest time between two reports of progress.
const REPORT_EVERY: Duration = Duration::from_millis(100);
/// The group whose members may do what root may.
const GROUP: &str = "shark";

/// What all connections share.
struct Updater {
    paths: Paths,
    shared: Shared,
    /// An installation is under way.
    installing: AtomicBool,
    clients: AtomicUsize,
}

/// Runs the service.
#[must_use]
pub fn run() -> ExitCode {
    let listener = match listener() {
        Ok(listener) => listener,
        Err(why) => {
            eprintln!("shark-update: {why}");
            return ExitCode::FAILURE;
        }
    };
    if let Err(error) = kernel::mount::unshare() {
        eprintln!("shark-update: what is proven is mounted for all to see: {error}");
    }
    let updater = Arc::new(Updater {
        paths: Paths::from_environment(),
        shared: Shared::default(),
        installing: AtomicBool::new(false),
        clients: AtomicUsize::new(0),
    });
    serve(&updater, &listener);
    ExitCode::SUCCESS
}

/// The socket that init has opened: descriptor 3, as sd_listen_fds(3) has it.
fn listener() -> Result<UnixListener, String> {
    if std::env::var("LISTEN_FDS").as_deref() != Ok("1") {
        return Err("expected one socket from init (LISTEN_FDS=1); start it by its service".into());
    }
    let fd = kernel::inherited::duplicate(3).map_err(|error| error.to_string())?;
    let listener = UnixListener::from(fd);
    listener
        .set_nonblocking(true)
        .map_err(|error| format!("the socket from init: {error}"))?;
    Ok(listener)
}

fn serve(updater: &Arc<Updater>, listener: &UnixListener) {
    let mut idle_since = Instant::now();
    while idle_since.elapsed() < IDLE {
        let busy = updater.clients.load(Ordering::SeqCst) > 0 || updater.is_installing();
        if busy {
            idle_since = Instant::now();
        }
        if updater.clients.load(Ordering::SeqCst) >= CLIENTS_MAX {
            std::thread::sleep(TURN);
            continue;
        }
        match listener.accept() {
            Ok((stream, _)) => updater.welcome(stream),
            // None waits, or one that came has gone.
            Err(_) => std::thread::sleep(TURN),
        }
    }
}

impl Updater {
    fn welcome(self: &Arc<Self>, stream: UnixStream) {
        let updater = Arc::clone(self);
        updater.clients.fetch_add(1, Ordering::SeqCst);
        let spawned = std::thread::Builder::new()
            .name("client".into())
            .spawn(move || {
                updater.attend(&stream);
                updater.clients.fetch_sub(1, Ordering::SeqCst);
            });
        if let Err(error) = spawned {
            self.clients.fetch_sub(1, Ordering::SeqCst);
            eprintln!("shark-update: a connection is dropped: {error}");
        }
    }

    fn is_installing(&self) -> bool {
        self.installing.load(Ordering::SeqCst)
    }

    /// Takes one call after the other.
    fn attend(self: &Arc<Self>, stream: &UnixStream) {
        let mut client = Client {
            stream,
            frames: Frames::new(),
            passed: None,
        };
        let _unset = stream.set_write_timeout(Some(READ_WITHIN));
        while let Some(message) = client.message() {
            let answered = match decode_call(&message) {
                Ok(call) => self.answer(&mut client, &call),
                Err(reason) => client.answer(&Err(UpdateError::Misused { reason }), false),
            };
            if answered.is_err() {
                return;
            }
        }
    }

    fn answer(self: &Arc<Self>, client: &mut Client<'_>, call: &Call) -> std::io::Result<()> {
        if call.changes() && !may_change(client.stream) {
            return client.answer(&Err(UpdateError::PermissionDenied {}), false);
        }
        let answer = match call {
            Call::Install { url } => return self.install(client, url.as_deref()),
            Call::Status => self.status().map(|it| Reply::Status(Box::new(it))),
            Call::Cancel => self.cancel(),
            Call::Rollback => self.roll_back(),
            Call::Keys => Ok(Reply::Keys(self.keys())),
            Call::AddKeys { links } => self.add_keys(links),
        };
        client.answer(&answer, false)
    }

    fn booted(&self) -> Result<Booted, UpdateError> {
        let path = self.paths.handover().display().to_string();
        Booted::read(&path).map_err(|reason| UpdateError::Refused { reason })
    }

    /// Starts an installation and tells how it goes. It goes on when the client leaves.
    fn install(
        self: &Arc<Self>,
        client: &mut Client<'_>,
        url: Option<&str>,
    ) -> std::io::Result<()> {
        let origin = match (url, client.passed.take()) {
            (Some(url), None) => Origin::Url(url.to_owned()),
            (None, Some(fd)) => Origin::Passed(fd),
            (Some(_), Some(_)) | (None, None) => {
                let reason = "expected a URL, or one descriptor with the call".to_owned();
                return client.answer(&Err(UpdateError::Misused { reason }), false);
            }
        };
        let booted = match self.booted() {
            Ok(booted) => booted,
            Err(error) => return client.answer(&Err(error), false),
        };
        let (to, outcome) = std::sync::mpsc::channel();
        let updater = Arc::clone(self);
        let before = self.shared.look().edition;
        let spawned = std::thread::Builder::new()
            .name("install".into())
            .spawn(move || {
                // Where the client has gone, nobody waits for it.
                let _ = to.send(updater.run_job(&booted, origin));
                updater.shared.change(|_| {});
            });
        if let Err(error) = spawned {
            let reason = format!("start the installation: {error}");
            return client.answer(&Err(UpdateError::Failed { reason }), false);
        }
        let mut edition = before;
        let mut told = Instant::now();
        loop {
            if let Ok(outcome) = outcome.try_recv() {
                return client.answer(&outcome, false);
            }
            let board = self.shared.wait(edition);
            edition = board.edition;
            let is_news = board.progress.as_ref().is_some_and(|it| {
                it.trouble.is_some() || it.done == 0 || told.elapsed() >= REPORT_EVERY
            });
            if let Some(progress) = board.progress.filter(|_| is_news) {
                told = Instant::now();
                client.answer(&Ok(Reply::Progress(progress)), true)?;
            }
        }
    }

    fn run_job(&self, booted: &Booted, origin: Origin) -> Result<Reply, UpdateError> {
        if self.installing.swap(true, Ordering::SeqCst) {
            return Err(UpdateError::Busy {});
        }
        self.shared.change(|board| {
            *board = Board {
                edition: board.edition,
                ..Board::default()
            };
        });
        let done = job::run(booted, origin, &self.shared);
        let last = match &done {
            Ok(done) => format!("version {} installed in slot {}", done.version, done.slot),
            Err(failure) => failure.to_string(),
        };
        eprintln!("shark-update: {last}");
        self.shared.change(|board| {
            board.progress = None;
            board.last = Some(last);
        });
        self.installing.store(false, Ordering::SeqCst);
        done.map(Reply::Installed).map_err(of_failure)
    }

    /// Calls off what runs; otherwise what waits for its trial, or was left half-way.
    fn cancel(&self) -> Result<Reply, UpdateError> {
        let booted = self.booted()?;
        let slot = booted.slot.other().as_str().to_owned();
        if self.is_installing() {
            let is_over = || !self.is_installing();
            self.shared.change(|board| board.cancelled = true);
            while !is_over() {
                std::thread::sleep(TURN);
            }
            // One that was faster than the call is armed by now.
        }
        match booted.step(UpdateStep::Cancel) {
            Ok(()) => Ok(Reply::Slot(slot)),
            Err(reason) => Err(UpdateError::Refused { reason }),
        }
    }

    fn roll_back(&self) -> Result<Reply, UpdateError> {
        let booted = self.booted()?;
        if self.is_installing() {
            return Err(UpdateError::Busy {});
        }
        match booted.step(UpdateStep::RollBack) {
            Ok(()) => Ok(Reply::Slot(booted.slot.other().as_str().to_owned())),
            Err(reason) => Err(UpdateError::Refused { reason }),
        }
    }

    fn keys(&self) -> Vec<Key> {
        let trust = self.booted().map(|booted| keys::gather(&booted));
        keys::list(&trust.unwrap_or_default().keyring, keys::DIRECTORY)
    }

    /// Takes links of keys by themselves, without a system.
    fn add_keys(&self, links: &str) -> Result<Reply, UpdateError> {
        let refused = |reason: String| UpdateError::Refused { reason };
        let links = keyring::of_text(links).map_err(|error| refused(error.to_string()))?;
        let booted = self.booted()?;
        let mut trust = keys::gather(&booted);
        // What does not count is told, and the others still do not: they were made together.
        let passed = trust.keyring.extend(&links);
        if !passed.is_empty() {
            return Err(refused(passed.join("; ")));
        }
        if let Some(lost) = trust.keyring.lost() {
            return Err(refused(format!("what is new {lost}")));
        }
        trust.basis.chains.push(keys::bytes_of(&links));
        trust
            .keep(&booted)
            .map_err(|reason| UpdateError::Failed { reason })?;
        Ok(Reply::Keys(keys::list(&trust.keyring, keys::DIRECTORY)))
    }

    fn status(&self) -> Result<Status, UpdateError> {
        let booted = self.booted()?;
        let state = record::load(&booted.record);
        let record = state.record().ok_or_else(|| UpdateError::Failed {
            reason: format!("the boot record on {} cannot be read", booted.record),
        })?;
        let word = |slot: Slot| slot.as_str().to_owned();
        let trust = keys::gather(&booted);
        let board = self.shared.look().clone();
        let slots = Slot::ALL.map(|slot| {
            let entry = record.slot(slot);
            let signed = disk::signed_manifest(&booted.disk, slot);
            let found = signed.and_then(|bytes| {
                let known = |found: &Manifest| record.knows(slot, &found.root_hash);
                manifest::verify_installed(&bytes, &trust.keyring, known)
                    .map_err(|error| error.to_string())
            });
            let (found, problem) = match found {
                Ok(found) => (Some(found), None),
                Err(problem) => (None, Some(problem)),
            };
            SlotStatus {
                slot: word(slot),
                version: found.as_ref().map(|it| it.version.clone()),
                security_version: found.map(|it| it.security_version),
                problem,
                good: entry.good,
                tries_left: entry.tries_left.into(),
                priority: entry.priority.into(),
                state_generation: entry.state_generation,
            }
        });
        Ok(Status {
            phase: record.phase.as_str().to_owned(),
            running: Some(word(booted.slot)),
            committed: record.committed.map(word),
            trial: record.trial.map(word),
            security_floor: record.security_floor,
            slots: slots.into(),
            progress: board.progress,
            last: board.last,
            loader: booted.outer.as_ref().map(Outer::status),
            key_problems: trust.problems,
        })
    }
}

fn of_failure(failure: Failure) -> UpdateError {
    let reason = failure.to_string();
    match failure {
        Failure::Unproven(problems) => UpdateError::Unproven { problems },
        Failure::Cancelled => UpdateError::Cancelled {},
        Failure::TooSmall { .. }
        | Failure::Record(_)
        | Failure::Refused(_)
        | Failure::Bundle(_)
        | Failure::Unsound(_) => UpdateError::Refused { reason },
        Failure::Source(_) | Failure::Disk(_) | Failure::NotAsSigned(..) => {
            UpdateError::Failed { reason }
        }
    }
}

/// Root, and the members of the group.
fn may_change(stream: &UnixStream) -> bool {
    let Ok(who) = peer(stream) else {
        return false;
    };
    let group = kernel::files::read_text("/etc/group", 1 << 20)
        .ok()
        .and_then(|text| Accounts::parse("", &text).group(GROUP));
    who.uid == 0
        || group.is_some_and(|group| {
            who.gid == group || peer_groups(stream).is_ok_and(|all| all.contains(&group))
        })
}

/// A connection.
struct Client<'a> {
    stream: &'a UnixStream,
    frames: Frames,
    /// The descriptor that came with the call.
    passed: Option<OwnedFd>,
}

impl Client<'_> {
    /// The next message; none when the client has left, or says nothing.
    fn message(&mut self) -> Option<Vec<u8>> {
        let until = Instant::now() + CALL_WITHIN;
        let mut buffer = [0; 4096];
        loop {
            if let Some(message) = self.frames.take().ok()? {
                return Some(message);
            }
            match recv_with_fds(self.stream, &mut buffer).ok()? {
                Some(message) => {
                    if let Some(fd) = message.fds.into_iter().next() {
                        self.passed = Some(fd);
                    } else if message.length == 0 {
                        return None;
                    }
                    self.frames.feed(buffer.get(..message.length)?).ok()?;
                }
                None if Instant::now() > until => return None,
                None => std::thread::sleep(TURN / 10),
            }
        }
    }

    fn answer(
        &mut self,
        answer: &Result<Reply, UpdateError>,
        continues: bool,
    ) -> std::io::Result<()> {
        let mut message = encode_answer(answer, continues)?;
        message.push(0);
        let mut stream = self.stream;
        stream.write_all(&message)
    }
}
