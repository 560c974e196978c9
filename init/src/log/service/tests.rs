//! The logger with real pipes and sockets: in a thread, and in a process that is killed.

use std::fs;
use std::io::Write;
use std::os::fd::{AsFd, AsRawFd};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread::{self, JoinHandle};

use super::super::lines::{Line, Mark, TEXT_MAX};
use super::super::memory::SEGMENT_MAX;
use super::super::reader::Reader;
use super::*;

/// PID 1's end of the socket, and a logger behind the other end.
struct Served {
    directory: tempfile::TempDir,
    control: OwnedFd,
    thread: JoinHandle<Result<(), Error>>,
}

impl Served {
    fn new() -> Self {
        Self::with(tempfile::tempdir().unwrap(), Settings::default())
    }

    fn with(directory: tempfile::TempDir, settings: Settings) -> Self {
        let (control, theirs) = kernel::unix::seqpacket_pair().unwrap();
        let log_dir = directory.path().join("log");
        let thread = thread::spawn(move || {
            let mut logger = Logger::new(&log_dir, theirs, &settings)?;
            match logger.serve()? {
                Next::Renew => {
                    logger.leave();
                    Ok(())
                }
                Next::GoOn | Next::End => logger.finish(),
            }
        });
        Self {
            directory,
            control,
            thread,
        }
    }

    /// Makes a pipe, hands its read end over, gives both ends.
    fn pipe(&self, name: &str) -> (OwnedFd, File) {
        self.limited_pipe(name, OwnLimit::default())
    }

    fn limited_pipe(&self, name: &str, limit: OwnLimit) -> (OwnedFd, File) {
        let (reader, writer) = pipe::pair().unwrap();
        hand_over_limited(&self.control, name, &reader, limit);
        (reader, File::from(writer))
    }

    /// Closes the socket, waits for the logger, gives the directory of the logs.
    fn end(self) -> tempfile::TempDir {
        drop(self.control);
        self.thread.join().unwrap().unwrap();
        self.directory
    }
}

fn hand_over(control: &OwnedFd, name: &str, reader: &OwnedFd) {
    hand_over_limited(control, name, reader, OwnLimit::default());
}

fn hand_over_limited(control: &OwnedFd, name: &str, reader: &OwnedFd, limit: OwnLimit) {
    let message = Message::Take(ServiceName::new(name).unwrap(), limit).encode();
    while !kernel::unix::send_with_fds(control, &message, &[reader.as_fd()]).unwrap() {
        thread::yield_now();
    }
}

/// Mark and text of every line that is kept.
fn logged(directory: &Path, name: &str) -> Vec<(Mark, String)> {
    let name = ServiceName::new(name).unwrap();
    let found = Reader::new(&[directory.join("log")], &name).read().unwrap();
    assert!(found.lines.is_empty() || found.lines.ends_with(b"\n"));
    found
        .lines
        .split_inclusive(|byte| *byte == b'\n')
        .map(|line| Line::parse(line.strip_suffix(b"\n").unwrap()))
        .inspect(|line| assert!(!line.stamp.is_empty(), "{line:?}"))
        .map(|line| (line.mark, String::from_utf8_lossy(line.text).into_owned()))
        .collect()
}

fn texts(directory: &Path, name: &str) -> Vec<String> {
    logged(directory, name)
        .into_iter()
        .map(|(_, text)| text)
        .collect()
}

#[test]
fn lines_come_in_order_from_each_pipe() {
    let served = Served::new();
    let (_keep_a, mut a) = served.pipe("a");
    let (_keep_b, mut b) = served.pipe("b");
    for number in 0..100 {
        writeln!(a, "a{number}").unwrap();
        writeln!(b, "b{number}").unwrap();
    }
    write!(a, "no newline").unwrap();
    let directory = served.end();
    let mut expect: Vec<String> = (0..100).map(|number| format!("a{number}")).collect();
    expect.push("no newline".into());
    assert_eq!(texts(directory.path(), "a"), expect);
    assert_eq!(texts(directory.path(), "b").len(), 100);
}

#[test]
fn junk_and_long_lines() {
    let served = Served::new();
    let (_keep, mut writer) = served.pipe("x");
    let mut junk: Vec<u8> = (0..=255).collect();
    junk.extend(vec![b'y'; TEXT_MAX + 10]);
    junk.extend(b"\nend\n");
    writer.write_all(&junk).unwrap();
    let directory = served.end();
    let lines = logged(directory.path(), "x");
    let marks: Vec<Mark> = lines.iter().map(|(mark, _)| *mark).collect();
    assert_eq!(
        marks,
        [Mark::Line, Mark::Line, Mark::Continuation, Mark::Line]
    );
    assert_eq!(
        lines[0].1,
        "\\x00\u{1}\u{2}\u{3}\u{4}\u{5}\u{6}\u{7}\u{8}\t"
    );
    assert_eq!(lines[3].1, "end");
}

#[test]
fn ten_floods_are_bounded_and_starve_nobody() {
    let served = Served::new();
    let floods: Vec<_> = (0..10)
        .map(|number| {
            let name = format!("flood{number}");
            let (keep, mut writer) = served.limited_pipe(&name, OwnLimit::NONE);
            thread::spawn(move || {
                for line in 0..20_000 {
                    writeln!(
                        writer,
                        "line {line} of a flood, quite long, to fill the file"
                    )
                    .unwrap();
                }
                keep
            })
        })
        .collect();
    let (_keep, mut quiet) = served.pipe("quiet");
    writeln!(quiet, "heard").unwrap();
    let log = served.directory.path().join("log/quiet");
    let began = Instant::now();
    while fs::read(&log).map_or(true, |bytes| bytes.is_empty()) {
        assert!(began.elapsed() < Duration::from_secs(30), "starved");
        thread::sleep(Duration::from_millis(1));
    }
    let _keep: Vec<_> = floods
        .into_iter()
        .map(|flood| flood.join().unwrap())
        .collect();
    let directory = served.end();
    for number in 0..10 {
        let lines = texts(directory.path(), &format!("flood{number}"));
        let first: usize = lines[0].split(' ').nth(1).unwrap().parse().unwrap();
        for (offset, line) in lines.iter().enumerate() {
            assert!(
                line.starts_with(&format!("line {} ", first + offset)),
                "{line}"
            );
        }
        assert_eq!(first + lines.len(), 20_000);
    }
    for entry in fs::read_dir(directory.path().join("log")).unwrap() {
        assert!(entry.unwrap().metadata().unwrap().len() <= SEGMENT_MAX);
    }
}

/// Marks and texts of one log, where notes stand for the number of lines that they tell of.
fn kept_and_dropped(directory: &Path, name: &str) -> (Vec<String>, usize) {
    let (mut kept, mut dropped) = (Vec::new(), 0);
    for (mark, text) in logged(directory, name) {
        match mark {
            Mark::Note => {
                let (count, words) = text.split_once(' ').unwrap();
                assert!(
                    words.starts_with("lines dropped before this: more than "),
                    "{text}"
                );
                dropped += count.parse::<usize>().unwrap();
            }
            _ => kept.push(text),
        }
    }
    (kept, dropped)
}

#[test]
fn lines_beyond_the_limit_are_dropped_counted_and_told() {
    const LINES: usize = 50_000;
    let served = Served::new();
    let (_keep, mut flood) = served.pipe("flood");
    let (_keep, mut quiet) = served.pipe("quiet");
    let within = |millis| OwnLimit {
        burst: Some(10),
        burst_within: Some(Duration::from_millis(millis)),
    };
    let (keep, mut often) = served.limited_pipe("often", within(50));
    for line in 0..LINES {
        writeln!(flood, "line {line}").unwrap();
    }
    writeln!(quiet, "heard").unwrap();
    let some = || texts(served.directory.path(), "often").len();
    for part in 0..2 {
        let before = some();
        for line in 0..50 {
            writeln!(often, "line {}", 50 * part + line).unwrap();
        }
        while some() == before {
            thread::sleep(Duration::from_millis(1));
        }
        thread::sleep(Duration::from_millis(100));
    }
    // What there is more of a line goes with its beginning.
    hand_over_limited(&served.control, "often", &keep, within(3_600_000));
    thread::sleep(Duration::from_millis(100));
    let long = "x".repeat(3 * TEXT_MAX);
    for _ in 0..10 {
        writeln!(often, "{long}").unwrap();
    }
    // Told without a further line.
    let began = Instant::now();
    let told = |text: &String| text.contains("dropped before this");
    while !texts(served.directory.path(), "flood").iter().any(told) {
        assert!(began.elapsed() < Duration::from_secs(30), "not told");
        thread::sleep(Duration::from_millis(10));
    }
    let directory = served.end();
    let (kept, dropped) = kept_and_dropped(directory.path(), "flood");
    let usual = Limit::default().burst as usize;
    assert_eq!((kept.len(), dropped), (usual, LINES - usual));
    assert_eq!(kept.last().unwrap(), &format!("line {}", usual - 1));
    assert_eq!(texts(directory.path(), "quiet"), ["heard"]);
    let (kept, more) = kept_and_dropped(directory.path(), "often");
    assert_eq!(kept.len() + more, 130);
    let lines = kept.iter().filter(|it| it.starts_with("line ")).count();
    assert!((11..100).contains(&lines), "{lines}");
    assert!(kept.len() - lines <= 10, "{}", kept.len());
    let log = directory.path().join("log");
    assert_eq!(super::super::dropped::read(&log), (dropped + more) as u64);
}

#[test]
fn a_replaced_pipe_ends_its_line_and_is_read_to_its_end() {
    let served = Served::new();
    let (old_keep, mut old) = served.pipe("x");
    write!(old, "half").unwrap();
    hand_over(&served.control, "x", &old_keep);
    let log = served.directory.path().join("log/x");
    // The same pipe again changes nothing: the half line is still one with what follows.
    write!(old, " and half\nlast").unwrap();
    while fs::read(&log).map_or(true, |bytes| bytes.is_empty()) {
        thread::sleep(Duration::from_millis(1));
    }
    let (_keep, mut new) = served.pipe("x");
    while !fs::read_to_string(&log).unwrap().contains("last") {
        thread::sleep(Duration::from_millis(1));
    }
    writeln!(old, "after").unwrap();
    drop((old, old_keep));
    writeln!(new, "new").unwrap();
    let directory = served.end();
    let mut lines = texts(directory.path(), "x");
    lines[2..].sort();
    assert_eq!(lines, ["half and half", "last", "after", "new"]);
}

#[test]
fn one_that_is_followed_by_another_leaves_everything_where_it_is() {
    let served = Served::new();
    let (keep, mut writer) = served.pipe("x");
    write!(writer, "one\nhalf").unwrap();
    while texts(served.directory.path(), "x").is_empty() {
        thread::sleep(Duration::from_millis(1));
    }
    let message = Message::Renew.encode();
    assert!(kernel::unix::send_with_fds(&served.control, &message, &[]).unwrap());
    served.thread.join().unwrap().unwrap();
    writeln!(writer, " a line").unwrap();
    let next = Served::with(served.directory, Settings::default());
    hand_over(&next.control, "x", &keep);
    let directory = next.end();
    assert_eq!(texts(directory.path(), "x"), ["one", "half a line"]);
}

#[test]
fn a_closed_pipe_is_forgotten_and_a_bad_message_is_survived() {
    let served = Served::new();
    let (reader, mut writer) = served.pipe("x");
    writeln!(writer, "one").unwrap();
    drop((reader, writer));
    let (reader, _writer) = pipe::pair().unwrap();
    for bad in [&b"../x"[..], &[b'n'; 200], b"\xff"] {
        assert!(kernel::unix::send_with_fds(&served.control, bad, &[reader.as_fd()]).unwrap());
    }
    assert!(kernel::unix::send_with_fds(&served.control, b"x", &[]).unwrap());
    let (_keep, mut writer) = served.pipe("x");
    writeln!(writer, "two").unwrap();
    let directory = served.end();
    assert_eq!(texts(directory.path(), "x"), ["one", "two"]);
    let written = super::super::segment::list(&[directory.path().join("log")]).unwrap();
    assert!(written.into_keys().eq([ServiceName::new("x").unwrap()]));
    assert!(boot::of(&directory.path().join("log")).is_some());
}

#[test]
fn whoever_goes_on_writing_does_not_keep_it_from_ending() {
    let served = Served::new();
    let (keep, mut writer) = served.limited_pipe("x", OwnLimit::NONE);
    let flood = thread::spawn(move || while writeln!(writer, "more").is_ok() {});
    while texts(served.directory.path(), "x").len() <= 100 {
        thread::sleep(Duration::from_millis(1));
    }
    let began = Instant::now();
    let directory = served.end();
    assert!(began.elapsed() < DRAIN_WITHIN + Duration::from_secs(20));
    drop(keep);
    flood.join().unwrap();
    drop(directory);
}

/// What is on the disk of the log of `x`.
fn on_disk(disk: &Path) -> String {
    let boots = boot::kept(disk).unwrap();
    let Some(boot) = boots.first() else {
        return String::new();
    };
    let name = ServiceName::new("x").unwrap();
    let found = Reader::new(std::slice::from_ref(&boot.path), &name)
        .read()
        .unwrap();
    String::from_utf8(found.lines).unwrap()
}

fn settings(disk: &Path, flush: u64) -> Settings {
    Settings {
        directory: Some(disk.into()),
        flush: services::time::Duration::from_secs(flush),
        ..Settings::default()
    }
}

#[test]
fn lines_are_on_the_disk_in_time_and_grave_ones_at_once() {
    let program = std::env::current_exe().unwrap();
    let directory = tempfile::tempdir_in(program.parent().unwrap()).unwrap();
    let disk = directory.path().join("disk");
    let served = Served::with(directory, settings(&disk, 10));
    let (_keep, mut writer) = served.pipe("x");
    let until = |text: &str| {
        let began = Instant::now();
        while !on_disk(&disk).contains(text) {
            assert!(began.elapsed() < Duration::from_secs(60), "{text}");
            thread::sleep(Duration::from_millis(5));
        }
        began.elapsed()
    };
    writeln!(writer, "in time").unwrap();
    assert!(until("in time") > Duration::from_secs(7));
    writeln!(writer, "<3>grave").unwrap();
    assert!(until("grave") < Duration::from_secs(7));
    // What is left is there at the end.
    writeln!(writer, "last").unwrap();
    let directory = served.end();
    assert!(on_disk(&disk).ends_with(" last\n"));
    assert_eq!(
        texts(directory.path(), "x"),
        ["in time", "<3>grave", "last"]
    );
}

#[test]
fn without_its_disk_a_logger_goes_on_and_counts_what_it_loses() {
    let program = std::env::current_exe().unwrap();
    let directory = tempfile::tempdir_in(program.parent().unwrap()).unwrap();
    let disk = directory.path().join("var/disk");
    // Something else is in its place.
    fs::write(directory.path().join("var"), "").unwrap();
    let settings = Settings {
        memory: 512 << 10,
        ..settings(&disk, 1)
    };
    let served = Served::with(directory, settings);
    let (_keep, mut writer) = served.limited_pipe("x", OwnLimit::NONE);
    for number in 0..20_000 {
        writeln!(writer, "{number:0>60}").unwrap();
    }
    writeln!(writer, "and on").unwrap();
    let directory = served.end();
    let lines = logged(directory.path(), "x");
    let notes = lines.iter().filter(|(mark, _)| *mark == Mark::Note);
    let lost: usize = notes
        .map(|(_, text)| text.split(' ').next().unwrap().parse::<usize>().unwrap())
        .sum();
    let kept = lines.iter().filter(|(mark, _)| *mark == Mark::Line).count();
    // The note of the last loss may be yet to come, and some notes are gone with their lines.
    let counted = super::super::dropped::read(&directory.path().join("log"));
    assert!(lost > 0 && counted >= lost as u64, "{counted} {lost}");
    assert!(kept as u64 + counted >= 20_001, "{kept} {counted}");
    assert!(lines.last().unwrap().1.starts_with("and on"));
}

/// Variable that makes [`be_a_logger`] one, below this directory.
const BE_A_LOGGER: &str = "SHARK_TEST_BE_A_LOGGER";

/// Not a test: the process that [`a_killed_logger_loses_nothing_in_the_pipes`] starts and kills.
#[test]
fn be_a_logger() {
    let Ok(directory) = std::env::var(BE_A_LOGGER) else {
        return;
    };
    let control = std::io::stdin().as_fd().try_clone_to_owned().unwrap();
    let mut logger = Logger::new(Path::new(&directory), control, &Settings::default()).unwrap();
    logger.serve().unwrap();
    logger.finish().unwrap();
}

fn spawn_logger(directory: &Path) -> (OwnedFd, Child) {
    let (ours, theirs) = kernel::unix::seqpacket_pair().unwrap();
    let child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "log::service::tests::be_a_logger"])
        .env(BE_A_LOGGER, directory.join("log"))
        .stdin(Stdio::from(theirs))
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    (ours, child)
}

#[test]
fn a_killed_logger_loses_nothing_in_the_pipes() {
    let directory = tempfile::tempdir().unwrap();
    let (reader, writer) = pipe::pair().unwrap();
    let mut writer = File::from(writer);
    assert!(reader.as_raw_fd() >= 0);
    for round in 0..5 {
        // While nobody reads, the pipe keeps what is written.
        writeln!(writer, "before {round}").unwrap();
        let (control, mut logger) = spawn_logger(directory.path());
        hand_over(&control, "x", &reader);
        writeln!(writer, "after {round}").unwrap();
        let began = Instant::now();
        while texts_if_any(directory.path()) < 2 * (round + 1) {
            assert!(began.elapsed() < Duration::from_secs(20), "round {round}");
            thread::sleep(Duration::from_millis(2));
        }
        logger.kill().unwrap();
        logger.wait().unwrap();
    }
    let expect: Vec<String> = (0..5)
        .flat_map(|round| [format!("before {round}"), format!("after {round}")])
        .collect();
    assert_eq!(texts(directory.path(), "x"), expect);
    // The end of PID 1 ends a logger by itself.
    let (control, mut logger) = spawn_logger(directory.path());
    hand_over(&control, "x", &reader);
    drop(control);
    assert!(logger.wait().unwrap().success());
}

/// Kills loggers again and again while `x` and `y` write, at moments that `seed` chooses, and gives what
/// is kept of both.
fn killed_at_moments(seed: u64, lines: u32) -> [Vec<u32>; 2] {
    let directory = tempfile::tempdir().unwrap();
    let pipes = ["x", "y"].map(|name| (name, pipe::pair().unwrap()));
    let readers: Vec<_> = pipes
        .iter()
        .map(|(name, (reader, _))| (*name, reader.try_clone().unwrap()))
        .collect();
    let writers = pipes.map(|(_, (reader, writer))| {
        thread::spawn(move || {
            let mut writer = File::from(writer);
            for number in 0..lines {
                // In two pieces, so that there are unfinished lines.
                write!(writer, "{number:0>60}").unwrap();
                writeln!(writer, " end").unwrap();
            }
            (reader, writer)
        })
    });
    let mut random = seed;
    while writers.iter().any(|writer| !writer.is_finished()) {
        let (control, mut logger) = spawn_logger(directory.path());
        for (name, reader) in &readers {
            hand_over(&control, name, reader);
        }
        random = random
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        thread::sleep(Duration::from_micros(5_000 + (random >> 33) % 30_000));
        logger.kill().unwrap();
        logger.wait().unwrap();
    }
    let (control, mut logger) = spawn_logger(directory.path());
    for (name, reader) in &readers {
        hand_over(&control, name, reader);
    }
    drop((control, writers.map(|writer| writer.join().unwrap())));
    assert!(logger.wait().unwrap().success());
    ["x", "y"].map(|name| {
        let texts = texts(directory.path(), name);
        let number = |text: &String| text.strip_suffix(" end").unwrap().parse().unwrap();
        texts.iter().map(number).collect()
    })
}

#[test]
fn loggers_killed_at_any_moment_lose_nothing() {
    const LINES: u32 = 6_000;
    for seed in 1..=3 {
        for kept in killed_at_moments(seed, LINES) {
            let mut all = kept.clone();
            all.sort_unstable();
            all.dedup();
            let gaps: Vec<_> = all.windows(2).filter(|it| it[1] != it[0] + 1).collect();
            assert_eq!((all.len(), gaps), (LINES as usize, vec![]), "seed {seed}");
            // What is there twice is one look's worth for each logger that was killed.
            assert!(kept.len() < 2 * LINES as usize, "seed {seed}");
        }
    }
}

fn texts_if_any(directory: &Path) -> usize {
    if directory.join("log/x").exists() {
        texts(directory, "x").len()
    } else {
        0
    }
}
