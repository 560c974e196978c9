//! Sends lines on to syslog daemons: a thread and a queue for each, so that the loop never waits for one of
//! them. What a queue has no room for is dropped, counted and told. Not here: the messages (`services`).

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, UdpSocket};
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use services::id::ServiceName;
use services::log::forward::{Line, Target};
use services::log::priority::Priority;

use super::entry::{Before, Entry};
use super::lines::Mark;
use super::stamp::Stamp;

/// Bytes of lines that wait for one daemon.
const QUEUE_MAX: usize = 1 << 20;
/// After a failure the same message is tried again after so long.
const RETRY: Duration = Duration::from_secs(5);
/// How long a connection may take, and a write to it.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long what waits may take at the end, if the daemon is there.
const LAST: Duration = Duration::from_millis(500);
const STACK: usize = 256 * 1024;

/// The way to one daemon, as the loop sees it.
#[derive(Debug)]
pub(super) struct Forwarder {
    queue: Sender<Batch>,
    shared: Arc<Shared>,
}

/// Some lines of one log.
#[derive(Debug)]
struct Batch {
    name: ServiceName,
    lines: Vec<u8>,
}

#[derive(Debug, Default)]
struct Shared {
    /// Bytes that wait.
    waiting: AtomicUsize,
    /// Lines that were dropped and not told yet.
    dropped: AtomicU64,
    /// The last attempt has failed.
    failing: AtomicBool,
}

impl Forwarder {
    /// Starts the thread of one daemon.
    ///
    /// # Errors
    /// No thread can be made.
    pub(super) fn start(target: Target, most: Priority, tell: fn(&str)) -> io::Result<Self> {
        let (queue, batches) = channel();
        let shared = Arc::new(Shared::default());
        let mut sending = Sending {
            target,
            most,
            tell,
            shared: Arc::clone(&shared),
            before: BTreeMap::new(),
            socket: None,
        };
        thread::Builder::new()
            .name("forwarder".to_owned())
            .stack_size(STACK)
            .spawn(move || sending.run(&batches))?;
        Ok(Self { queue, shared })
    }

    /// Hands lines over, if there is room for them.
    pub(super) fn offer(&self, name: &ServiceName, lines: &[u8]) {
        let waiting = self
            .shared
            .waiting
            .fetch_add(lines.len(), Ordering::Relaxed);
        let batch = Batch {
            name: name.clone(),
            lines: lines.to_vec(),
        };
        if waiting + lines.len() > QUEUE_MAX || self.queue.send(batch).is_err() {
            self.shared
                .waiting
                .fetch_sub(lines.len(), Ordering::Relaxed);
            let count = lines.iter().filter(|byte| **byte == b'\n').count() as u64;
            self.shared.dropped.fetch_add(count, Ordering::Relaxed);
        }
    }

    /// Gives what waits a moment to go, if it can.
    pub(super) fn end(&self) {
        let until = Instant::now() + LAST;
        while self.shared.waiting.load(Ordering::Relaxed) > 0
            && !self.shared.failing.load(Ordering::Relaxed)
            && Instant::now() < until
        {
            thread::sleep(Duration::from_millis(5));
        }
    }
}

/// The way to one daemon, as its thread sees it.
struct Sending {
    target: Target,
    most: Priority,
    tell: fn(&str),
    shared: Arc<Shared>,
    before: BTreeMap<ServiceName, Before>,
    socket: Option<Socket>,
}

enum Socket {
    Unix(UnixDatagram),
    Udp(UdpSocket),
    Tcp(TcpStream),
}

impl Sending {
    fn run(&mut self, batches: &Receiver<Batch>) {
        while let Ok(batch) = batches.recv() {
            let host = host();
            let mut before = self.before.remove(&batch.name).unwrap_or_default();
            for entry in before.all(&batch.lines) {
                if entry.priority <= self.most {
                    let message = message(&self.target, &host, batch.name.as_str(), &entry);
                    self.send_at_last(&message);
                }
            }
            let length = batch.lines.len();
            self.before.insert(batch.name, before);
            self.shared.waiting.fetch_sub(length, Ordering::Relaxed);
            self.tell_dropped(&host);
        }
    }

    /// Tells the daemon, and here, how many lines it has not got.
    fn tell_dropped(&mut self, host: &str) {
        let dropped = self.shared.dropped.swap(0, Ordering::Relaxed);
        if dropped == 0 {
            return;
        }
        let text = format!("{dropped} lines dropped: they could not be sent as fast as they came");
        (self.tell)(&format!("{}: {text}", self.target));
        let stamp = Stamp::now().to_string();
        let line = Line {
            of_kernel: false,
            priority: Priority::Warning,
            stamp: &stamp,
            host,
            name: "shark-log",
            pid: None,
            text: text.as_bytes(),
        };
        self.send_at_last(&line.message(&self.target));
    }

    /// Sends a message, however long it takes.
    fn send_at_last(&mut self, message: &[u8]) {
        loop {
            match self.send(message) {
                Ok(()) => {
                    if self.shared.failing.swap(false, Ordering::Relaxed) {
                        (self.tell)(&format!("{}: lines are sent again", self.target));
                    }
                    return;
                }
                // No datagram is large enough for it.
                Err(error) if error.raw_os_error() == Some(90) => {
                    self.shared.dropped.fetch_add(1, Ordering::Relaxed);
                    return;
                }
                Err(error) => {
                    self.socket = None;
                    if !self.shared.failing.swap(true, Ordering::Relaxed) {
                        (self.tell)(&format!("{}: {error}: lines wait", self.target));
                    }
                    thread::sleep(RETRY);
                }
            }
        }
    }

    fn send(&mut self, message: &[u8]) -> io::Result<()> {
        if self.socket.is_none() {
            self.socket = Some(connect(&self.target)?);
        }
        match &mut self.socket {
            Some(Socket::Unix(socket)) => socket.send(message).map(|_| ()),
            Some(Socket::Udp(socket)) => socket.send(message).map(|_| ()),
            Some(Socket::Tcp(stream)) => stream.write_all(message),
            None => Ok(()),
        }
    }
}

fn connect(target: &Target) -> io::Result<Socket> {
    match target {
        Target::Unix(path) => unix(path),
        Target::Udp(address) => {
            let any: SocketAddr = match address {
                SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
                SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
            };
            let socket = UdpSocket::bind(any)?;
            socket.connect(address)?;
            Ok(Socket::Udp(socket))
        }
        Target::Tcp(address) => {
            let stream = TcpStream::connect_timeout(address, PATIENCE)?;
            stream.set_write_timeout(Some(PATIENCE))?;
            Ok(Socket::Tcp(stream))
        }
    }
}

fn unix(path: &Path) -> io::Result<Socket> {
    let socket = UnixDatagram::unbound()?;
    socket.connect(path)?;
    socket.set_write_timeout(Some(PATIENCE))?;
    Ok(Socket::Unix(socket))
}

fn host() -> String {
    let name = kernel::files::read_text("/proc/sys/kernel/hostname", 256);
    name.map(|it| it.trim_end().to_owned()).unwrap_or_default()
}

fn message(target: &Target, host: &str, service: &str, entry: &Entry<'_>) -> Vec<u8> {
    let program = entry.program.filter(|it| it.name != "-");
    let line = Line {
        of_kernel: entry.mark == Mark::Kernel,
        priority: entry.priority,
        stamp: entry.stamp,
        host,
        name: program.map_or(service, |it| it.name),
        pid: entry.program.map(|it| it.pid).filter(|pid| *pid != 0),
        text: entry.message,
    };
    line.message(target)
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::net::TcpListener;

    use super::*;

    const LINES: &[u8] = b"2026-11-23T03:43:19.123456Z <3>no room\n\
        2026-11-23T03:43:19.123457Z <7>detail\n\
        2026-11-23T03:43:19.123458Z@<5>su[7]: root\n";

    fn name() -> ServiceName {
        ServiceName::new("web").unwrap()
    }

    #[test]
    fn lines_go_to_a_socket_of_this_machine() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("log");
        let daemon = UnixDatagram::bind(&path).unwrap();
        daemon.set_read_timeout(Some(PATIENCE)).unwrap();
        let forwarder = Forwarder::start(Target::Unix(path), Priority::Info, |_| {}).unwrap();
        forwarder.offer(&name(), LINES);
        let mut buffer = [0; 256];
        for expect in [
            "<27>Nov 23 03:43:19 web: no room",
            "<29>Nov 23 03:43:19 su[7]: root",
        ] {
            let count = daemon.recv(&mut buffer).unwrap();
            assert_eq!(std::str::from_utf8(&buffer[..count]).unwrap(), expect);
        }
        forwarder.end();
        assert_eq!(forwarder.shared.waiting.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn a_daemon_that_does_not_read_delays_nobody_and_what_is_dropped_is_told() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let target = Target::Tcp(listener.local_addr().unwrap());
        let forwarder = Forwarder::start(target, Priority::Debug, |_| {}).unwrap();
        let began = Instant::now();
        let flood = LINES.repeat(1000);
        let offered = 3 * 1000 * 100;
        for _ in 0..100 {
            forwarder.offer(&name(), &flood);
        }
        // Not for the daemon, which takes nothing until it is seen that lines were dropped.
        assert!(began.elapsed() < Duration::from_secs(30), "it waited");
        let dropped = forwarder.shared.dropped.load(Ordering::Relaxed);
        assert!(dropped > 0);
        let (mut stream, _) = listener.accept().unwrap();
        let mut text = Vec::new();
        let mut block = vec![0; 64 * 1024];
        let note = " lines dropped: they could not be sent as fast as they came";
        // The first may come before the last are dropped.
        let mut told = 0;
        while told < dropped {
            let count = stream.read(&mut block).unwrap();
            assert!(count > 0, "{told} of {dropped} are told");
            text.extend_from_slice(&block[..count]);
            let text = String::from_utf8_lossy(&text);
            let notes: Vec<&str> = text.split(note).collect();
            let before = notes.split_last().unwrap().1.iter();
            let counts = before.map(|it| it.rsplit(' ').next().unwrap().parse::<u64>().unwrap());
            told = counts.sum();
        }
        assert!(told < offered, "{told} of {offered}");
    }
}
