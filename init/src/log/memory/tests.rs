//! Logs in memory: their files, their bound, and what is told of what is lost.

use std::os::unix::fs::PermissionsExt;

use super::super::reader::Reader;
use super::super::segment::PAGE;
use super::*;

const NOW: Stamp = Stamp::from_micros(1_000_000_000_000_000);
const BUDGET: u64 = 1 << 20;

fn name(text: &str) -> ServiceName {
    ServiceName::new(text).unwrap()
}

fn read(directory: &Path, log: &str) -> String {
    let found = Reader::new(&[directory.to_owned()], &name(log)).read();
    String::from_utf8(found.unwrap().lines).unwrap()
}

/// What all files of a directory take.
fn taken(directory: &Path) -> u64 {
    let files = fs::read_dir(directory).unwrap();
    files
        .map(|it| room_of(it.unwrap().metadata().unwrap().len()))
        .sum()
}

#[test]
fn a_log_is_bounded_and_its_newest_lines_are_kept() {
    let directory = tempfile::tempdir().unwrap();
    let mut memory = Memory::open(directory.path(), BUDGET, None);
    let mut written = String::new();
    for number in 0..60_000 {
        let line = format!("{number:>40}\n");
        memory.append(&name("x"), line.as_bytes(), NOW);
        written.push_str(&line);
    }
    let kept = read(directory.path(), "x");
    assert!(written.ends_with(&kept));
    assert!(
        kept.len() as u64 > BUDGET - SEGMENT_MAX - PAGE,
        "{}",
        kept.len()
    );
    assert!(taken(directory.path()) <= BUDGET);
    assert_eq!(memory.take_lost(), 0, "nobody expects them to be on a disk");
    let files = names_in(directory.path()).unwrap();
    let path = directory.path().join(file_name(&files[0].0, files[0].1));
    let mode = fs::metadata(path).unwrap().permissions();
    assert_eq!(mode.mode() & 0o777, 0o640);
}

#[test]
fn a_flood_pushes_out_nobody_else() {
    let directory = tempfile::tempdir().unwrap();
    let mut memory = Memory::open(directory.path(), BUDGET, None);
    for quiet in 0..10 {
        memory.append(&name(&format!("quiet{quiet}")), b"heard\n", NOW);
    }
    for _ in 0..300 {
        memory.append(&name("flood"), "0123456789\n".repeat(1000).as_bytes(), NOW);
        assert!(memory.room <= BUDGET);
    }
    for quiet in 0..10 {
        assert_eq!(read(directory.path(), &format!("quiet{quiet}")), "heard\n");
    }
    assert!(read(directory.path(), "flood").len() as u64 > BUDGET / 2);
    assert_eq!(taken(directory.path()), memory.room);
}

#[test]
fn very_many_logs_are_bounded_too() {
    let directory = tempfile::tempdir().unwrap();
    let mut memory = Memory::open(directory.path(), BUDGET, None);
    for round in 0..3 {
        for log in 0..200 {
            let lines = format!("{round} {log}\n").repeat(1000);
            memory.append(&name(&format!("x{log}")), lines.as_bytes(), NOW);
            assert!(memory.room <= BUDGET);
        }
    }
    assert_eq!(taken(directory.path()), memory.room);
    // What comes after is read after what was, though all of that has gone.
    memory.append(&name("x0"), b"last\n", NOW);
    assert!(read(directory.path(), "x0").ends_with("last\n"));
}

#[test]
fn one_batch_larger_than_all_is_spread() {
    let directory = tempfile::tempdir().unwrap();
    let mut memory = Memory::open(directory.path(), BUDGET, None);
    let batch = "0123456789\n".repeat(200_000);
    memory.append(&name("x"), batch.as_bytes(), NOW);
    assert!(batch.ends_with(&read(directory.path(), "x")));
    assert!(taken(directory.path()) <= BUDGET);
}

#[test]
fn a_further_logger_goes_on_and_takes_a_torn_line_away() {
    let directory = tempfile::tempdir().unwrap();
    for (before, whole) in [("torn", ""), ("one\ntorn", "one\n"), ("one\n", "one\n")] {
        fs::write(directory.path().join("x"), "zero\n").unwrap();
        fs::write(directory.path().join("x=3"), before).unwrap();
        let mut memory = Memory::open(directory.path(), BUDGET, None);
        memory.append(&name("x"), b"next\n", NOW);
        let text = fs::read_to_string(directory.path().join("x=3")).unwrap();
        assert_eq!(text, format!("{whole}next\n"));
        assert_eq!(taken(directory.path()), memory.room);
    }
}

#[test]
fn what_is_lost_is_counted_and_told() {
    let directory = tempfile::tempdir().unwrap();
    let away = directory.path().join("log");
    let mut memory = Memory::open(&away, BUDGET, None);
    memory.append(&name("x"), b"one\ntwo\n", NOW);
    memory.append(&name("x"), b"three\n", NOW);
    assert_eq!((memory.take_lost(), memory.take_lost()), (3, 0));
    fs::create_dir(&away).unwrap();
    memory.append(&name("x"), b"four\n", NOW);
    memory.append(&name("x"), b"five\n", NOW);
    assert_eq!(
        read(&away, "x"),
        "2001-09-09T01:46:40.000000Z!3 lines (14 bytes) lost before this: \
         No such file or directory (os error 2)\nfour\nfive\n"
    );
}

#[test]
fn grave_lines_are_known() {
    let line = |text: &str| format!("{NOW} fine\n{NOW}{text}\n").into_bytes();
    for (text, grave) in [
        (" <3>no", true),
        ("~<0>panic", true),
        (" <4>hm", false),
        (" 3", false),
    ] {
        assert_eq!(has_grave_line(&line(text)), grave, "{text}");
    }
}
