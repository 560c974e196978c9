//! Brings logs from memory to a disk: a thread of the logger, and what it shares with the loop. However
//! slow, full or dead the disk is, the loop goes on, and what waits is bounded by the budget of memory.
//! Not here: what is on the disk (`shelf`).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use services::id::ServiceName;

use super::shelf::{Kept, Refused, Shelf};

/// After a refusal the disk is tried again after so long, or when something has been mounted.
const RETRY: Duration = Duration::from_secs(10);
/// Least time between two goes, however urgent.
const PAUSE: Duration = Duration::from_millis(200);
/// The thread calls nothing that needs more.
const STACK: usize = 256 * 1024;

/// What the loop and the thread know of each other. Nobody holds the lock while waiting for anything
/// else.
#[derive(Debug, Default)]
pub struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    /// Logs with lines that are not on the disk.
    waiting: BTreeSet<ServiceName>,
    /// Some of it is to be there at once.
    urgent: bool,
    /// Something has been mounted.
    look: bool,
    /// This machine has no disk for logs.
    absent: bool,
    ending: bool,
    ended: bool,
    kept: BTreeMap<ServiceName, Kept>,
}

/// Something to do.
struct Work {
    /// Logs with new lines.
    names: BTreeSet<ServiceName>,
    /// Something has been mounted since the last time.
    mounted: bool,
    /// It is the last time.
    last: bool,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// There are new lines in a log.
    pub(super) fn written(&self, name: &ServiceName, urgent: bool) {
        let mut state = self.lock();
        let new = !state.waiting.contains(name);
        if new {
            state.waiting.insert(name.clone());
        }
        let wake = (new && state.waiting.len() == 1) || (urgent && !state.urgent);
        state.urgent |= urgent;
        drop(state);
        if wake {
            self.changed.notify_all();
        }
    }

    /// Something has been mounted: the disk may be there now.
    pub(super) fn look_again(&self) {
        self.lock().look = true;
        self.changed.notify_all();
    }

    /// How many bytes of the file with this number are on the disk.
    pub(super) fn kept(&self, name: &ServiceName, number: u32) -> u64 {
        match self.lock().kept.get(name) {
            Some(kept) if kept.number > number => u64::MAX,
            Some(kept) if kept.number == number => kept.bytes,
            Some(_) | None => 0,
        }
    }

    /// Files with lower numbers are on the disk and in memory no more.
    pub(super) fn freed(&self, name: &ServiceName) -> u32 {
        self.lock().kept.get(name).map_or(0, |kept| kept.freed)
    }

    /// Whether what is lost in memory could have been on a disk.
    pub(super) fn expects_disk(&self) -> bool {
        !self.lock().absent
    }

    /// Has the thread do what is left and end, and waits for that, but not for ever.
    pub(super) fn end(&self, patience: Duration) {
        let until = Instant::now() + patience;
        let mut state = self.lock();
        state.ending = true;
        self.changed.notify_all();
        while !state.ended {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            let waited = self.changed.wait_timeout(state, left);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Waits until there is something to do.
    fn work(&self, flush: Duration, since: Instant, refused: bool) -> Work {
        let mut state = self.lock();
        while !state.ending && !state.look && (state.waiting.is_empty() || state.absent) {
            let woken = self.changed.wait(state);
            state = woken.unwrap_or_else(PoisonError::into_inner);
        }
        let began = Instant::now();
        while !state.ending && !state.look {
            let due = match (refused, state.urgent) {
                (true, _) => since + RETRY,
                (false, true) => since + PAUSE,
                (false, false) => began + flush,
            };
            let left = due.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            let waited = self.changed.wait_timeout(state, left);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        state.urgent = false;
        Work {
            names: std::mem::take(&mut state.waiting),
            mounted: std::mem::take(&mut state.look),
            last: state.ending,
        }
    }

    fn done(&self, names: BTreeSet<ServiceName>, outcome: &Result<(), Refused>) {
        let mut state = self.lock();
        state.absent = matches!(outcome, Err(Refused::Absent));
        if outcome.is_err() {
            state.waiting.extend(names);
        }
    }

    fn note(&self, name: &ServiceName, kept: Kept) {
        self.lock().kept.insert(name.clone(), kept);
    }
}

/// Starts the thread. `tell` is told when the disk is refused, and when it is taken again.
///
/// # Errors
/// No thread can be made.
pub(super) fn start(shelf: Shelf, flush: Duration, tell: fn(&str)) -> std::io::Result<Arc<Shared>> {
    let shared = Arc::new(Shared::default());
    let own = Arc::clone(&shared);
    thread::Builder::new()
        .name("keeper".to_owned())
        .stack_size(STACK)
        .spawn(move || {
            // A disk that hangs keeps this thread beyond the end of the logger, whom PID 1 knows by its
            // socket.
            if let Err(error) = kernel::inherited::leave_to_others() {
                tell(&error.to_string());
            }
            run(&own, shelf, flush, tell);
            own.lock().ended = true;
            own.changed.notify_all();
        })?;
    Ok(shared)
}

fn run(shared: &Shared, mut shelf: Shelf, flush: Duration, tell: fn(&str)) {
    let mut refused: Option<String> = None;
    let mut since = Instant::now();
    loop {
        let work = shared.work(flush, since, refused.is_some());
        let outcome = shelf.keep(&work.names, &mut |name, kept| shared.note(name, kept));
        let cause = match &outcome {
            Ok(()) | Err(Refused::Absent) => None,
            Err(Refused::Forbidden(cause)) if work.mounted => {
                tell(&format!(
                    "{cause}: starting anew, since something was mounted"
                ));
                // What it may write to was said before that. It may end at any moment.
                std::process::exit(0);
            }
            Err(Refused::Failed(cause) | Refused::Forbidden(cause)) => Some(cause.clone()),
        };
        match (&refused, &cause) {
            (None, Some(cause)) => tell(&format!("logs stay in memory: {cause}")),
            (Some(_), None) => tell("logs are kept on the disk again"),
            (None, None) | (Some(_), Some(_)) => {}
        }
        refused = cause;
        shared.done(work.names, &outcome);
        since = Instant::now();
        if work.last {
            return;
        }
    }
}
