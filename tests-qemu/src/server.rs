//! A web server on the host with one file, which behaves as well or as badly as a scenario asks. The
//! guest reaches it at 10.0.2.2. Not here: the scenarios.

use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};

/// What it does to those who ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Manner {
    /// Gives what is asked for, in ranges too.
    Good,
    /// Knows no ranges: always gives all of it.
    NoRanges,
    /// Closes each connection after so many bytes.
    Drops(u64),
    /// Sends the first so many bytes of the file and then nothing, however often it is asked, until it is to
    /// behave otherwise.
    Stalls(u64),
    /// Says that the file is longer by so many bytes than it is.
    SaysLonger(u64),
    /// Says that the file is shorter by so many bytes than it is.
    SaysShorter(u64),
    /// Is out of order for so many requests.
    Fails(u64),
    /// Has no such file.
    HasNothing,
}

/// The server; it ends with this value.
pub struct Server {
    port: u16,
    shared: Arc<Shared>,
}

struct Shared {
    file: Vec<u8>,
    manner: Mutex<Manner>,
    requests: AtomicU64,
    sent: AtomicU64,
    stalls: AtomicU64,
    over: AtomicBool,
}

impl Server {
    /// Serves `file`.
    ///
    /// # Errors
    /// When there is no port.
    pub fn start(file: Vec<u8>, manner: Manner) -> anyhow::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("no port")?;
        let port = listener.local_addr()?.port();
        let shared = Arc::new(Shared {
            file,
            manner: Mutex::new(manner),
            requests: AtomicU64::new(0),
            sent: AtomicU64::new(0),
            stalls: AtomicU64::new(0),
            over: AtomicBool::new(false),
        });
        let theirs = Arc::clone(&shared);
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                if theirs.over.load(Ordering::SeqCst) {
                    break;
                }
                let shared = Arc::clone(&theirs);
                // A guest that hangs up is no matter of ours.
                std::thread::spawn(move || shared.attend(stream).ok());
            }
        });
        Ok(Self { port, shared })
    }

    /// Where the guest finds the file.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://10.0.2.2:{}/system.bundle", self.port)
    }

    /// Behaves otherwise from now on.
    pub fn change(&self, manner: Manner) {
        *self
            .shared
            .manner
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = manner;
        self.shared.requests.store(0, Ordering::SeqCst);
    }

    /// Waits until a connection stalls that did not when there had been `before` of them.
    ///
    /// # Errors
    /// When none does for long.
    pub fn wait_for_stall(&self, before: u64, patience: Duration) -> anyhow::Result<()> {
        let begun = Instant::now();
        while self.stalls() <= before {
            let sent = self.sent();
            ensure!(begun.elapsed() < patience, "only {sent} bytes were sent");
            std::thread::sleep(Duration::from_millis(100));
        }
        Ok(())
    }

    /// Connections that have stalled so far.
    #[must_use]
    pub fn stalls(&self) -> u64 {
        self.shared.stalls.load(Ordering::SeqCst)
    }

    /// Bytes of the file that were sent so far.
    #[must_use]
    pub fn sent(&self) -> u64 {
        self.shared.sent.load(Ordering::SeqCst)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.shared.over.store(true, Ordering::SeqCst);
        // Wakes the one that accepts; if nobody does any more, that is right too.
        let _ = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port));
    }
}

impl Shared {
    /// Answers one request after the other on a connection.
    fn attend(&self, stream: TcpStream) -> std::io::Result<()> {
        let mut to = stream.try_clone()?;
        let mut from = BufReader::new(stream);
        while let Some(wanted) = range(&mut from)? {
            let number = self.requests.fetch_add(1, Ordering::SeqCst);
            if !self.answer(&mut to, self.manner(), number, wanted)? {
                break;
            }
        }
        Ok(())
    }

    fn manner(&self) -> Manner {
        *self.manner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the connection is still good.
    fn answer(
        &self,
        to: &mut TcpStream,
        manner: Manner,
        number: u64,
        wanted: Range,
    ) -> std::io::Result<bool> {
        let status = match manner {
            Manner::HasNothing => Some("404 Not Found"),
            Manner::Fails(times) if number < times => Some("503 Service Unavailable"),
            _ => None,
        };
        if let Some(status) = status {
            write!(to, "HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n")?;
            return Ok(true);
        }
        let size = self.file.len() as u64;
        let told = match manner {
            Manner::SaysLonger(more) => size + more,
            Manner::SaysShorter(less) => size - less,
            _ => size,
        };
        let whole = wanted == ALL || manner == Manner::NoRanges;
        let (start, end) = if whole {
            (0, told)
        } else {
            (wanted.0.min(told), wanted.1.min(told))
        };
        let head = if whole {
            "HTTP/1.1 200 OK\r\n".to_owned()
        } else {
            format!(
                "HTTP/1.1 206 Partial Content\r\nContent-Range: bytes {start}-{}/{told}\r\n",
                end.saturating_sub(1)
            )
        };
        write!(to, "{head}Content-Length: {}\r\n\r\n", end - start)?;
        let most = match manner {
            Manner::Drops(bytes) => bytes,
            Manner::Stalls(bytes) => bytes.saturating_sub(start),
            _ => u64::MAX,
        };
        let place = |at: u64| usize::try_from(at.min(size)).unwrap_or(usize::MAX);
        let rest = self.file.get(place(start)..place(end)).unwrap_or_default();
        let cut = usize::try_from(most).unwrap_or(usize::MAX).min(rest.len());
        for piece in rest.get(..cut).unwrap_or_default().chunks(16 << 10) {
            to.write_all(piece)?;
            self.sent.fetch_add(piece.len() as u64, Ordering::SeqCst);
        }
        if cut < rest.len() && matches!(manner, Manner::Stalls(_)) {
            self.stalls.fetch_add(1, Ordering::SeqCst);
            while self.manner() == manner && !self.over.load(Ordering::SeqCst) {
                std::thread::sleep(Duration::from_millis(100));
            }
        }
        Ok(cut == rest.len() && rest.len() as u64 == end - start)
    }
}

/// First byte that is wanted, and the one after the last.
type Range = (u64, u64);

/// What a request without a range wants.
const ALL: Range = (0, u64::MAX);

/// What the next request wants; none when the other side has gone.
fn range(from: &mut impl BufRead) -> std::io::Result<Option<Range>> {
    let mut line = String::new();
    if from.read_line(&mut line)? == 0 {
        return Ok(None);
    }
    let mut wanted = ALL;
    loop {
        line.clear();
        if from.read_line(&mut line)? == 0 {
            return Ok(None);
        }
        let field = line.trim().to_ascii_lowercase();
        if field.is_empty() {
            return Ok(Some(wanted));
        }
        if let Some(range) = field.strip_prefix("range: bytes=") {
            let (first, last) = range.split_once('-').unwrap_or((range, ""));
            let end = last.parse().map_or(u64::MAX, |last: u64| last + 1);
            wanted = (first.parse().unwrap_or(0), end);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    fn get(server: &Server, request: &str) -> String {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, server.port)).unwrap();
        write!(stream, "{request}\r\n\r\n").unwrap();
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        text
    }

    #[test]
    fn it_gives_ranges_and_misbehaves_as_it_is_asked_to() {
        let server = Server::start(b"0123456789".to_vec(), Manner::Good).unwrap();
        let from_7 = "GET /x HTTP/1.1\r\nRange: bytes=7-";
        assert!(get(&server, "GET /x HTTP/1.1").ends_with("10\r\n\r\n0123456789"));
        assert!(get(&server, from_7).contains("bytes 7-9/10\r\n"));
        assert!(get(&server, from_7).ends_with("\r\n789"));
        let from_2 = "GET /x HTTP/1.1\r\nRange: bytes=2-4";
        assert!(get(&server, from_2).contains("bytes 2-4/10\r\nContent-Length: 3\r\n"));
        assert!(get(&server, from_2).ends_with("\r\n234"));
        server.change(Manner::NoRanges);
        assert!(get(&server, from_7).ends_with("\r\n0123456789"));
        server.change(Manner::Drops(4));
        assert!(get(&server, "GET /x HTTP/1.1").ends_with("10\r\n\r\n0123"));
        server.change(Manner::SaysShorter(3));
        assert!(get(&server, "GET /x HTTP/1.1").contains("Content-Length: 7\r\n"));
        server.change(Manner::Fails(1));
        assert!(get(&server, "GET /x HTTP/1.1").contains(" 503 "));
        assert!(get(&server, "GET /x HTTP/1.1").contains(" 200 "));
    }
}
