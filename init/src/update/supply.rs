//! The chunks of one bundle, by way of a fetching child: a new one takes the place of one that stalls,
//! dies or loses its server, and goes on with the chunks that are missing. Not here: what the child does
//! (`fetch`).

use std::collections::VecDeque;
use std::fs::File;
use std::io::Read;
use std::ops::Range;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, SyncSender, channel, sync_channel};
use std::time::{Duration, Instant};

use kernel::block::Buffer;
use mounts::bundle::{BundleError, CHUNK_SIZES, Front};
use mounts::fetch::words::{Fault, FaultKind, Order, Said};
use mounts::install::Failure;
use mounts::keyring::Basis;

use super::words::{hear, say};

/// How long a server may be silent.
const SILENCE: Duration = Duration::from_secs(30);
/// Tries in a row that bring no chunk, before it is given up.
const TRIES: u32 = 6;
/// The pause after the first of them; it doubles.
const PAUSE: Duration = Duration::from_secs(1);
/// How often whoever waits looks up.
const TURN: Duration = Duration::from_millis(200);

/// Where a bundle comes from.
#[derive(Debug)]
pub(super) enum Origin {
    /// A server.
    Url(String),
    /// A file or a pipe.
    Passed(OwnedFd),
}

/// Who is told of what goes on, and may call it off.
pub(super) trait Listener {
    /// `false` calls it off.
    fn goes_on(&mut self) -> bool;
    /// Something went wrong, and is tried again.
    fn trouble(&mut self, words: &str);
}

/// What a child has sent.
enum Sent {
    Said(Said),
    Content(u32, Buffer),
    Gone,
}

/// A child at work.
struct Worker {
    child: Child,
    socket: UnixStream,
    sent: Receiver<Sent>,
    /// Takes memory back that has been used.
    back: Sender<Buffer>,
}

impl Drop for Worker {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The supply of one installation.
pub(super) struct Supply {
    origin: Origin,
    basis: Basis,
    worker: Option<Worker>,
    /// The head that was checked first; every other child must show the same.
    head: Vec<u8>,
    /// What is still to come, in order.
    left: VecDeque<Range<u32>>,
    /// Tries in a row that brought nothing.
    vain: u32,
}

impl Supply {
    pub(super) fn new(origin: Origin, basis: Basis) -> Self {
        Self {
            origin,
            basis,
            worker: None,
            head: Vec::new(),
            left: VecDeque::new(),
            vain: 0,
        }
    }

    /// Fetches and checks links, header and table.
    pub(super) fn open(&mut self, listener: &mut impl Listener) -> Result<Front, Failure> {
        loop {
            let head = match self.start(listener) {
                Ok(head) => head,
                Err(fault) => {
                    self.after(fault, listener)?;
                    continue;
                }
            };
            // It may be anything: whoever has shown it has no say.
            let (mut keyring, _) = self.basis.keyring();
            let checked = Front::read(&head, &mut keyring).map_err(Failure::Bundle)?;
            self.head = head;
            return Ok(checked);
        }
    }

    /// Announces the chunks that [`Supply::chunk`] will be asked for.
    pub(super) fn want(&mut self, runs: &[Range<u32>]) -> Result<(), Failure> {
        self.left = runs.iter().cloned().collect();
        self.send_order()
            .map_err(|fault| Failure::Source(fault.words))
    }

    /// Passes the next chunk, of so many bytes, to `taken`.
    pub(super) fn chunk(
        &mut self,
        number: u32,
        length: u32,
        listener: &mut impl Listener,
        taken: impl FnOnce(&[u8]) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        loop {
            match self.next(listener) {
                Ok(Some((sent, content))) if sent == number && content.len() == length as usize => {
                    self.vain = 0;
                    self.passed(number);
                    let stored = taken(&content);
                    if let Some(worker) = &self.worker {
                        // One that has ended needs no memory.
                        let _ = worker.back.send(content);
                    }
                    return stored;
                }
                Ok(_) => return Err(Failure::Source("the fetching child lost its place".into())),
                Err(fault) => self.again(fault, listener)?,
            }
        }
    }

    /// Nothing follows the last chunk.
    pub(super) fn finish(&mut self, listener: &mut impl Listener) -> Result<(), Failure> {
        loop {
            match self.next(listener) {
                Ok(None) => {
                    self.worker = None;
                    return Ok(());
                }
                Ok(Some(_)) => return Err(Failure::Bundle(BundleError::Trailing)),
                Err(fault) => self.again(fault, listener)?,
            }
        }
    }

    fn passed(&mut self, number: u32) {
        if let Some(run) = self.left.front_mut() {
            run.start = number.saturating_add(1);
            if run.start >= run.end {
                self.left.pop_front();
            }
        }
    }

    /// Goes on with another child, as far as that makes sense.
    fn again(&mut self, fault: Fault, listener: &mut impl Listener) -> Result<(), Failure> {
        self.after(fault, listener)?;
        let started = self.start(listener).and_then(|head| {
            if head == self.head {
                self.send_order()
            } else {
                Err(Fault::lasting(
                    "the server has another bundle now; begin again",
                ))
            }
        });
        match started {
            Ok(()) => Ok(()),
            // The next call meets the silence of no child, and comes back here.
            Err(fault) if fault.kind == FaultKind::Lasting => Err(Failure::Source(fault.words)),
            Err(fault) => self.again(fault, listener),
        }
    }

    /// After a fault: pauses, or gives up.
    fn after(&mut self, fault: Fault, listener: &mut impl Listener) -> Result<(), Failure> {
        self.worker = None;
        if !listener.goes_on() {
            return Err(Failure::Cancelled);
        }
        self.vain = self.vain.saturating_add(1);
        let gives_up = match &self.origin {
            Origin::Url(_) => self.vain >= TRIES,
            // What has been read of a pipe does not come again.
            Origin::Passed(_) => true,
        };
        match fault.kind {
            FaultKind::Refused => return Err(Failure::Refused(fault.words)),
            FaultKind::Lasting => return Err(Failure::Source(fault.words)),
            FaultKind::Passing | FaultKind::Short if gives_up => {
                return Err(Failure::Source(fault.words));
            }
            FaultKind::Passing | FaultKind::Short => {}
        }
        listener.trouble(&fault.words);
        let pause = PAUSE.saturating_mul(1 << (self.vain - 1).min(16));
        let until = Instant::now() + pause;
        while Instant::now() < until {
            if !listener.goes_on() {
                return Err(Failure::Cancelled);
            }
            std::thread::sleep(TURN);
        }
        Ok(())
    }

    /// Starts a child and waits for the head.
    fn start(&mut self, listener: &mut impl Listener) -> Result<Vec<u8>, Fault> {
        let mut worker = spawn(&self.origin)?;
        let url = match &self.origin {
            Origin::Url(url) => Some(url.clone()),
            Origin::Passed(_) => None,
        };
        let basis = self.basis.clone();
        say(&mut worker.socket, &Order::Open { url, basis }).map_err(Fault::passing)?;
        self.worker = Some(worker);
        match self.hear(listener)? {
            Sent::Said(Said::Head(head)) => Ok(head),
            Sent::Said(_) | Sent::Content(..) | Sent::Gone => Err(died()),
        }
    }

    fn send_order(&mut self) -> Result<(), Fault> {
        let runs = self.left.iter().map(|run| (run.start, run.end)).collect();
        let worker = self.worker.as_mut().ok_or_else(died)?;
        say(&mut worker.socket, &Order::Send(runs)).map_err(Fault::passing)
    }

    /// The next chunk; none when all have come and nothing follows.
    fn next(&mut self, listener: &mut impl Listener) -> Result<Option<(u32, Buffer)>, Fault> {
        match self.hear(listener)? {
            Sent::Content(number, content) => Ok(Some((number, content))),
            Sent::Said(Said::Done) => Ok(None),
            Sent::Said(_) | Sent::Gone => Err(died()),
        }
    }

    /// What the child says next that is more than a sign of life.
    fn hear(&mut self, listener: &mut impl Listener) -> Result<Sent, Fault> {
        let mut last = Instant::now();
        loop {
            let worker = self.worker.as_ref().ok_or_else(died)?;
            match worker.sent.recv_timeout(TURN) {
                Ok(Sent::Said(Said::Heard)) => last = Instant::now(),
                Ok(Sent::Said(Said::Lacking(words))) => {
                    eprintln!("shark-update: the fetching child is confined less: {words}");
                }
                Ok(Sent::Said(Said::Failed(fault))) => return Err(fault),
                Ok(sent) => return Ok(sent),
                Err(RecvTimeoutError::Disconnected) => return Err(died()),
                Err(RecvTimeoutError::Timeout) => {}
            }
            if !listener.goes_on() {
                return Err(Fault::lasting("called off"));
            }
            let is_server = matches!(self.origin, Origin::Url(_));
            if is_server && last.elapsed() > SILENCE {
                let seconds = SILENCE.as_secs();
                return Err(Fault::passing(format!(
                    "the server sent nothing for {seconds} s"
                )));
            }
        }
    }
}

fn died() -> Fault {
    Fault::passing("the fetching child ended without a word; see the log of the updater")
}

fn spawn(origin: &Origin) -> Result<Worker, Fault> {
    let failed =
        |error: std::io::Error| Fault::passing(format!("start the fetching child: {error}"));
    let (ours, theirs) = UnixStream::pair().map_err(failed)?;
    let input = match origin {
        Origin::Url(_) => Stdio::null(),
        Origin::Passed(fd) => Stdio::from(fd.try_clone().map_err(failed)?),
    };
    let child = Command::new("/proc/self/exe")
        .arg("fetch")
        .env_clear()
        .stdin(input)
        .stdout(Stdio::from(OwnedFd::from(theirs)))
        .spawn()
        .map_err(failed)?;
    // One chunk waits while another is written.
    let (to, sent) = sync_channel(1);
    let (back, used) = channel();
    let reader = File::from(OwnedFd::from(ours.try_clone().map_err(failed)?));
    let worker = Worker {
        child,
        socket: ours,
        sent,
        back,
    };
    std::thread::Builder::new()
        .name("supply".into())
        .spawn(move || pass_on(reader, &to, &used))
        .map_err(failed)?;
    Ok(worker)
}

/// Passes on what the child sends, until it ends or nobody listens.
fn pass_on(mut from: File, to: &SyncSender<Sent>, used: &Receiver<Buffer>) {
    let [_, largest] = CHUNK_SIZES;
    loop {
        let sent = match hear(&mut from) {
            Ok(Some(Said::Chunk { number, length })) if length <= largest => {
                let mut content = used.try_recv().unwrap_or_default();
                content.resize(length as usize);
                match from.read_exact(&mut content) {
                    Ok(()) => Sent::Content(number, content),
                    Err(_) => Sent::Gone,
                }
            }
            Ok(Some(said)) => Sent::Said(said),
            Ok(None) | Err(_) => Sent::Gone,
        };
        let is_over = matches!(sent, Sent::Gone);
        if to.send(sent).is_err() || is_over {
            return;
        }
    }
}
