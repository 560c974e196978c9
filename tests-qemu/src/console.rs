//! The serial console of a machine: kept whole, watched for lines, copied to whoever listens. Not
//! here: what is typed into it.

use std::io::{Read, Write};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// What the console has printed so far. Clones share it.
#[derive(Clone, Default)]
pub struct Console {
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    more: Condvar,
}

#[derive(Default)]
struct State {
    text: String,
    ended: bool,
}

/// Why a wait came to nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Missed {
    /// The deadline passed.
    Deadline,
    /// The machine ended first.
    Ended,
}

impl Console {
    /// Reads `source` to its end in a thread, and copies it to `copy`.
    pub fn follow(&self, source: impl Read + Send + 'static, copy: impl Write + Send + 'static) {
        let console = self.clone();
        std::thread::spawn(move || console.pump(source, copy));
    }

    fn pump(&self, mut source: impl Read, mut copy: impl Write) {
        let mut buffer = [0u8; 4096];
        loop {
            let count = match source.read(&mut buffer) {
                Ok(0) | Err(_) => break,
                Ok(count) => count,
            };
            let part = buffer.get(..count).unwrap_or_default();
            // A listener that has gone away is no reason to stop watching.
            let _ = copy.write_all(part).and_then(|()| copy.flush());
            self.lock().text.push_str(&String::from_utf8_lossy(part));
            self.shared.more.notify_all();
        }
        self.lock().ended = true;
        self.shared.more.notify_all();
    }

    /// All that has been printed.
    #[must_use]
    pub fn text(&self) -> String {
        self.lock().text.clone()
    }

    /// How much has been printed, to wait for what comes after.
    #[must_use]
    pub fn position(&self) -> usize {
        self.lock().text.len()
    }

    /// The first line, at or after `from`, that contains one of `patterns`.
    ///
    /// # Errors
    /// [`Missed`] when it did not come.
    pub fn wait_for(
        &self,
        patterns: &[&str],
        from: usize,
        deadline: Instant,
    ) -> Result<String, Missed> {
        let mut state = self.lock();
        loop {
            if let Some(line) = find(&state.text, patterns, from) {
                return Ok(line);
            }
            if state.ended {
                return Err(Missed::Ended);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left == Duration::ZERO {
                return Err(Missed::Deadline);
            }
            let waited = self.shared.more.wait_timeout(state, left);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// The last `count` lines, for an error message.
    #[must_use]
    pub fn tail(&self, count: usize) -> String {
        let text = self.text();
        let lines: Vec<&str> = text.lines().collect();
        lines
            .get(lines.len().saturating_sub(count)..)
            .unwrap_or_default()
            .join("\n")
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.shared
            .state
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// Only whole lines count: half of one may still become another.
fn find(text: &str, patterns: &[&str], from: usize) -> Option<String> {
    let rest = text.get(from..)?;
    let whole = rest.rfind('\n').and_then(|end| rest.get(..end))?;
    let line = whole
        .lines()
        .find(|line| patterns.iter().any(|p| line.contains(p)))?;
    Some(line.trim_end().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_for_whole_lines_only() {
        let console = Console::default();
        console.follow(&b"one\ntwo is he"[..], std::io::sink());
        let soon = Instant::now() + Duration::from_secs(5);
        assert_eq!(console.wait_for(&["one"], 0, soon), Ok("one".to_owned()));
        assert_eq!(console.wait_for(&["two"], 0, soon), Err(Missed::Ended));
        assert_eq!(console.tail(1), "two is he");
    }

    #[test]
    fn what_was_printed_before_the_position_does_not_count() {
        let console = Console::default();
        console.follow(&b"boot\nboot again\n"[..], std::io::sink());
        let soon = Instant::now() + Duration::from_secs(5);
        assert_eq!(
            console.wait_for(&["boot"], 5, soon),
            Ok("boot again".to_owned())
        );
    }
}
