//! What is logged and comes through no pipe: messages of syslog(3), and the log of the kernel. Each sender
//! has a rate; what is beyond it is dropped, counted and told. Not here: what the bytes mean
//! (`services::log`) and the loop (`service`).

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _};
use std::os::fd::AsFd;
use std::os::unix::fs::{OpenOptionsExt, symlink};
use std::path::{Path, PathBuf};

use kernel::error::Error;
use kernel::unix::NotifySocket;
use services::graph::MAX_SERVICES;
use services::id::ServiceName;
use services::log::kmsg::{self, Record};
use services::log::syslog::{self, Message};
use services::time::{Duration, Time};

use super::dropped;
use super::lines::{Mark, write_note, write_text};
use super::memory::Memory;
use super::stamp::Stamp;
use crate::pid1::sender::service_of_cgroup;
use crate::rate::Rate;

/// Log of messages that come from no service.
const OUTSIDERS: &str = "syslog";
/// Log of the kernel.
const KERNEL: &str = "kernel";
/// Where the C library looks for a syslog.
const DEV_LOG: &str = "/dev/log";
/// In the directory of logs: the number of the kernel's record that is next.
const NEXT_RECORD: &str = "=kernel";
/// O_NONBLOCK of fcntl(2), the same number on every architecture we build for.
const NONBLOCK: i32 = 0o4000;

/// Longest message and longest record that are taken whole.
const MESSAGE_MAX: usize = 16 * 1024;
/// Taken of each in one turn.
const TOGETHER: usize = 64;
/// Messages of one sender at once, and how long it takes until one more may come.
const BURST: u32 = 1000;
const EVERY: Duration = Duration::from_millis(5);
/// The kernel says a lot while it starts.
const KERNEL_BURST: u32 = 5000;

/// Opens what there is, keeps what comes.
pub(super) struct Beside {
    directory: PathBuf,
    syslog: Option<NotifySocket>,
    kernel: Option<Kernel>,
    logs: BTreeMap<ServiceName, Kept>,
    buffer: Vec<u8>,
    /// Messages of this boot that were dropped and told.
    dropped: u64,
}

/// The kernel's log.
struct Kernel {
    file: File,
    /// The record that is next.
    next: u64,
    /// When this logger began: what PID 1 says from then on is in its own log.
    since_us: u64,
}

/// What is known of a log: how much it may still take.
struct Kept {
    name: ServiceName,
    rate: Rate,
    burst: u32,
}

impl Beside {
    /// None of it yet.
    pub(super) fn new(directory: &Path) -> Self {
        Self {
            directory: directory.to_owned(),
            syslog: None,
            kernel: None,
            logs: BTreeMap::new(),
            buffer: vec![0; MESSAGE_MAX],
            dropped: dropped::read(directory),
        }
    }

    /// Takes the socket for syslog(3).
    pub(super) fn take_syslog_socket(&mut self, socket: NotifySocket) {
        self.syslog = Some(socket);
    }

    /// Opens the log of the kernel.
    pub(super) fn open_kernel(path: &str) -> io::Result<File> {
        OpenOptions::new()
            .read(true)
            .custom_flags(NONBLOCK)
            .open(path)
    }

    /// Takes the log of the kernel, from where the last logger has stopped.
    pub(super) fn take_kernel_log(&mut self, file: File) {
        let next = fs::read_to_string(self.directory.join(NEXT_RECORD));
        self.kernel = Some(Kernel {
            file,
            next: next.ok().and_then(|it| it.trim().parse().ok()).unwrap_or(0),
            since_us: kernel::clock::monotonic() / 1000,
        });
    }

    /// What the loop waits for, where there is one.
    pub(super) fn syslog(&self) -> Option<&NotifySocket> {
        self.syslog.as_ref()
    }

    /// What the loop waits for, where there is one.
    pub(super) fn kernel(&self) -> Option<impl AsFd> {
        self.kernel.as_ref().map(|kernel| &kernel.file)
    }

    /// Whoever sends a message is refused from now on.
    pub(super) fn close_syslog(&mut self) {
        self.syslog = None;
    }

    /// The kernel's log is read no more.
    pub(super) fn close_kernel(&mut self) {
        self.kernel = None;
    }

    /// Takes messages of syslog(3).
    pub(super) fn read_syslog(&mut self, memory: &mut Memory) -> Result<(), Error> {
        for _ in 0..TOGETHER {
            let Some(socket) = &self.syslog else {
                return Ok(());
            };
            let Some(datagram) = socket.look(&mut self.buffer)? else {
                return Ok(());
            };
            let bytes = self.buffer.get(..datagram.length).unwrap_or_default();
            let message = syslog::parse(bytes);
            let mut text = head(&message, datagram.sender.pid);
            text.extend_from_slice(message.text);
            if datagram.truncated {
                text.extend_from_slice(b" [cut: it was longer]");
            }
            self.keep(
                memory,
                &sender(datagram.sender.pid),
                Mark::Syslog,
                &text,
                Stamp::now(),
            );
            if let Some(socket) = &self.syslog {
                // Now that it is written.
                socket.receive(&mut [])?;
            }
        }
        Ok(())
    }

    /// Takes records of the kernel's log.
    pub(super) fn read_kernel(&mut self, memory: &mut Memory) -> io::Result<()> {
        let before = self.kernel.as_ref().map(|kernel| kernel.next);
        for _ in 0..TOGETHER {
            let Some(record) = self.next_record()? else {
                break;
            };
            let Some(kernel) = &mut self.kernel else {
                break;
            };
            if record.sequence < kernel.next {
                continue;
            }
            let gone = record.sequence - kernel.next;
            let first = kernel.next == 0;
            kernel.next = record.sequence.saturating_add(1);
            let is_own = record.facility == kmsg::DAEMON
                && record.text.starts_with(b"shark: ")
                && record.micros > kernel.since_us;
            if gone > 0 && !first {
                self.count_dropped(gone);
                self.note(
                    memory,
                    KERNEL,
                    &format!("{gone} records are gone: the kernel had no room for them"),
                );
            }
            if !is_own {
                self.keep_record(memory, &record);
            }
        }
        let now = self.kernel.as_ref().map(|kernel| kernel.next);
        if let (true, Some(next)) = (now != before, now) {
            // Not written, the next logger tells some of it again.
            let _ = fs::write(self.directory.join(NEXT_RECORD), format!("{next}\n"));
        }
        Ok(())
    }

    fn next_record(&mut self) -> io::Result<Option<Record>> {
        loop {
            let Some(kernel) = &mut self.kernel else {
                return Ok(None);
            };
            match kernel.file.read(&mut self.buffer) {
                Ok(0) => return Ok(None),
                Ok(count) => {
                    let bytes = self.buffer.get(..count).unwrap_or_default();
                    if let Some(record) = kmsg::parse(bytes) {
                        return Ok(Some(record));
                    }
                }
                // Overtaken (EPIPE): the numbers of the records tell how many are gone.
                Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
                Err(error) => return Err(error),
            }
        }
    }

    fn keep_record(&mut self, memory: &mut Memory, record: &Record) {
        let ago = (kernel::clock::monotonic() / 1000).saturating_sub(record.micros);
        let stamp = Stamp::from_micros(Stamp::now().as_micros().saturating_sub(ago));
        let mut text = format!("<{}>", record.priority.number()).into_bytes();
        text.extend_from_slice(&record.text);
        self.keep(memory, KERNEL, Mark::Kernel, &text, stamp);
    }

    /// Keeps one message in a log, if it is not one too many.
    fn keep(&mut self, memory: &mut Memory, name: &str, mark: Mark, text: &[u8], stamp: Stamp) {
        let Some(kept) = self.log(name) else {
            return;
        };
        let Some(dropped) = kept.rate.take(now()) else {
            return;
        };
        let mut out = Vec::new();
        kept.tell(dropped, &mut out);
        write_text(&mut out, &stamp.to_string(), mark, text);
        memory.append(&kept.name, &out, stamp);
        self.count_dropped(dropped);
    }

    /// Counts more that were dropped.
    pub(super) fn count_dropped(&mut self, more: u64) {
        if more > 0 {
            self.dropped = self.dropped.saturating_add(more);
            // Not written now, it is with the next.
            let _ = dropped::write(&self.directory, self.dropped);
        }
    }

    fn note(&mut self, memory: &mut Memory, name: &str, text: &str) {
        if let Some(kept) = self.log(name) {
            let mut out = Vec::new();
            write_note(&mut out, Stamp::now(), text);
            memory.append(&kept.name, &out, Stamp::now());
        }
    }

    /// The log of that name; that of no service, where there are too many.
    fn log(&mut self, name: &str) -> Option<&mut Kept> {
        let full = self.logs.len() > MAX_SERVICES && !self.logs.contains_key(name);
        let name = ServiceName::new(if full { OUTSIDERS } else { name }).ok()?;
        Some(self.logs.entry(name).or_insert_with_key(|name| {
            let burst = match name.as_str() {
                KERNEL => KERNEL_BURST,
                _ => BURST,
            };
            Kept {
                name: name.clone(),
                rate: Rate::new(burst, EVERY),
                burst,
            }
        }))
    }

    /// Whether something has been dropped and not been told yet.
    pub(super) fn owes(&self) -> bool {
        self.logs.values().any(|kept| kept.rate.owes())
    }

    /// Tells what has been dropped.
    pub(super) fn tell_dropped(&mut self, memory: &mut Memory) {
        let mut all: u64 = 0;
        for kept in self.logs.values_mut() {
            let mut out = Vec::new();
            let dropped = kept.rate.owed();
            kept.tell(dropped, &mut out);
            memory.append(&kept.name, &out, Stamp::now());
            all = all.saturating_add(dropped);
        }
        self.count_dropped(all);
    }
}

impl Kept {
    fn tell(&self, dropped: u64, out: &mut Vec<u8>) {
        if dropped > 0 {
            let burst = self.burst;
            let a_second = Duration::from_secs(1).as_millis() / EVERY.as_millis().max(1);
            let note = format!(
                "{dropped} messages dropped before this: more than {burst} at once and {a_second} a second"
            );
            write_note(out, Stamp::now(), &note);
        }
    }
}

fn now() -> Time {
    Time::from_nanos(kernel::clock::boottime())
}

/// What is before the text in the log: priority, name, and the number that the kernel knows.
fn head(message: &Message<'_>, pid: u32) -> Vec<u8> {
    let name = message.name.as_deref().unwrap_or("-");
    format!("<{}>{name}[{pid}]: ", message.priority.number()).into_bytes()
}

/// The service in whose cgroup the sender is; one that has ended already is nobody's.
fn sender(pid: u32) -> String {
    let path = kernel::cgroup::of_process(pid).ok().flatten();
    let service = path.as_deref().and_then(service_of_cgroup);
    service.map_or_else(|| OUTSIDERS.to_owned(), |name| name.to_string())
}

/// Leads /dev/log to the socket, where nobody else has a syslog there.
pub(super) fn lead_dev_log(socket: &Path) -> io::Result<()> {
    match symlink(socket, DEV_LOG) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::os::unix::net::UnixDatagram;

    use super::super::reader::Reader;
    use super::*;

    fn beside() -> (tempfile::TempDir, Beside, Memory, UnixDatagram) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("socket");
        let mut beside = Beside::new(directory.path());
        let socket = NotifySocket::bind(path.to_str().unwrap()).unwrap();
        beside.take_syslog_socket(socket);
        let client = UnixDatagram::unbound().unwrap();
        client.connect(&path).unwrap();
        let memory = Memory::open(directory.path(), 8 << 20, None);
        (directory, beside, memory, client)
    }

    /// All lines of a log, without their stamps.
    fn lines(directory: &tempfile::TempDir, name: &str) -> Vec<String> {
        let name = ServiceName::new(name).unwrap();
        let found = Reader::new(&[directory.path().into()], &name)
            .read()
            .unwrap();
        let text = String::from_utf8(found.lines).unwrap();
        text.lines().map(|line| line[27..].to_owned()).collect()
    }

    #[test]
    fn messages_are_kept_with_who_sent_them() {
        let (directory, mut beside, mut memory, client) = beside();
        let long = "x".repeat(super::super::lines::TEXT_MAX);
        client
            .send(b"<27>Nov 30 12:00:00 web[1]: no room\n")
            .unwrap();
        client.send(b"plain\nand more").unwrap();
        client.send(format!("<14>a: {long}").as_bytes()).unwrap();
        beside.read_syslog(&mut memory).unwrap();
        let pid = std::process::id();
        let found = lines(&directory, OUTSIDERS);
        assert_eq!(found[0], format!("@<3>web[{pid}]: no room"));
        assert_eq!(
            found[1..3],
            [format!("@<5>-[{pid}]: plain"), "+and more".to_owned()]
        );
        let head = format!("<6>a[{pid}]: ");
        assert_eq!(found[4], format!("+{}", &long[..head.len()]));
        assert_eq!(found.len(), 5);
    }

    #[test]
    fn a_flood_is_cut_counted_and_told() {
        let (directory, mut beside, mut memory, client) = beside();
        let mut sent = 0;
        // A moment in which the machine stands still lets more of them through.
        while sent < 2 * BURST || !beside.owes() {
            for _ in 0..8 {
                client
                    .send(format!("<14>flood: {sent}").as_bytes())
                    .unwrap();
                sent += 1;
            }
            beside.read_syslog(&mut memory).unwrap();
        }
        beside.tell_dropped(&mut memory);
        assert!(!beside.owes());
        let found = lines(&directory, OUTSIDERS);
        let (notes, kept): (Vec<_>, Vec<_>) = found.iter().partition(|it| it.starts_with('!'));
        let dropped: usize = notes
            .iter()
            .map(|note| {
                note[1..]
                    .split(' ')
                    .next()
                    .unwrap()
                    .parse::<usize>()
                    .unwrap()
            })
            .sum();
        assert!(kept.len() >= BURST as usize && dropped > 0);
        assert_eq!(kept.len() + dropped, sent as usize, "{notes:?}");
        assert_eq!(dropped::read(directory.path()), dropped as u64);
        assert_eq!(Beside::new(directory.path()).dropped, dropped as u64);
    }

    #[test]
    fn records_of_the_kernel_are_kept_once() {
        let (directory, mut beside, mut memory, _client) = beside();
        // A FIFO that is written a record at a time stands for /dev/kmsg.
        let path = directory.path().join("kmsg").display().to_string();
        let access = kernel::listen::Access {
            mode: 0o600,
            owner: None,
        };
        let _held = kernel::listen::fifo(&path, access).unwrap();
        let mut records = OpenOptions::new().write(true).open(&path).unwrap();
        beside.take_kernel_log(Beside::open_kernel(&path).unwrap());
        let mut say = |beside: &mut Beside, text: &str| {
            records.write_all(text.as_bytes()).unwrap();
            beside.read_kernel(&mut memory).unwrap();
        };
        say(&mut beside, "4,7,1000,-;overheated\n DEVICE=x\n");
        say(&mut beside, "no record");
        say(&mut beside, "29,8,1000,-;shark: before the logger\n");
        say(&mut beside, "29,9,99999999999999,-;shark: in its own log\n");
        say(&mut beside, "6,12,2000,-;later\n");
        let mut next = Beside::new(directory.path());
        next.take_kernel_log(Beside::open_kernel(&path).unwrap());
        say(&mut next, "6,12,2000,-;later\n");
        say(&mut next, "6,13,2000,-;new\n");
        let expect = [
            "~<4>overheated",
            "~<5>shark: before the logger",
            "!2 records are gone: the kernel had no room for them",
            "~<6>later",
            "~<6>new",
        ];
        assert_eq!(lines(&directory, KERNEL), expect);
    }
}
