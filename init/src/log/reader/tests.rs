//! Reading logs back, while they are written, moved and forgotten.

use std::fs;

use super::super::memory::Memory;
use super::super::stamp::Stamp;
use super::*;

fn name() -> ServiceName {
    ServiceName::new("x").unwrap()
}

fn reader(directory: &tempfile::TempDir) -> Reader {
    Reader::new(&[directory.path().into()], &name())
}

fn read(reader: &mut Reader) -> (String, bool) {
    let found = reader.read().unwrap();
    (String::from_utf8(found.lines).unwrap(), found.gap)
}

#[test]
fn nothing_there_yet() {
    let directory = tempfile::tempdir().unwrap();
    let mut reader = reader(&directory);
    assert_eq!(read(&mut reader), (String::new(), false));
    fs::write(directory.path().join("x"), "a\n").unwrap();
    assert_eq!(read(&mut reader), ("a\n".into(), false));
    assert_eq!(read(&mut reader), (String::new(), false));
}

#[test]
fn a_line_is_given_when_it_is_whole() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("x");
    fs::write(&path, "a\nhal").unwrap();
    let mut reader = reader(&directory);
    let found = reader.read().unwrap();
    assert_eq!(
        (&*found.lines, found.unfinished, found.torn),
        (&b"a\n"[..], true, 0)
    );
    fs::write(&path, "a\nhalf\nb\n").unwrap();
    assert_eq!(read(&mut reader).0, "half\nb\n");
    // Emptied by hand: begins anew.
    fs::write(&path, "c\n").unwrap();
    assert_eq!(read(&mut reader).0, "c\n");
}

#[test]
fn torn_lines_are_left_out_and_counted() {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("x"), "a\nb\0\0\nc\nto").unwrap();
    fs::write(directory.path().join("x=1"), "d\n\0\0\0").unwrap();
    let found = reader(&directory).read().unwrap();
    assert_eq!(String::from_utf8(found.lines).unwrap(), "a\nc\nd\n");
    assert_eq!((found.torn, found.unfinished, found.gap), (2, true, false));
}

#[test]
fn following_loses_nothing_over_files() {
    let directory = tempfile::tempdir().unwrap();
    let mut memory = Memory::open(directory.path(), 1 << 20, None);
    let mut reader = reader(&directory);
    let (mut written, mut seen) = (String::new(), String::new());
    for number in 0..60_000 {
        let line = format!("{number:>40}\n");
        memory.append(&name(), line.as_bytes(), Stamp::now());
        written.push_str(&line);
        if number % 3000 == 0 {
            let (lines, gap) = read(&mut reader);
            assert!(!gap);
            seen.push_str(&lines);
        }
    }
    seen.push_str(&read(&mut reader).0);
    assert!(written.len() > 2 << 20);
    assert_eq!(seen, written);
}

#[test]
fn too_slow_a_reader_is_told() {
    let directory = tempfile::tempdir().unwrap();
    let mut memory = Memory::open(directory.path(), 1 << 20, None);
    memory.append(&name(), b"first\n", Stamp::now());
    let mut reader = reader(&directory);
    assert_eq!(read(&mut reader).0, "first\n");
    memory.append(
        &name(),
        "0123456789\n".repeat(120_000).as_bytes(),
        Stamp::now(),
    );
    let (lines, gap) = read(&mut reader);
    assert!(gap && lines.ends_with("\n0123456789\n"));
}

#[test]
fn a_file_that_moves_is_read_on_where_it_is() {
    let directory = tempfile::tempdir().unwrap();
    let places = ["memory", "disk"].map(|it| directory.path().join(it));
    for place in &places {
        fs::create_dir(place).unwrap();
    }
    let mut reader = Reader::new(&places, &name());
    fs::write(places[0].join("x"), "one\ntwo\n").unwrap();
    fs::write(places[1].join("x"), "one\n").unwrap();
    assert_eq!(read(&mut reader).0, "one\ntwo\n");
    fs::write(places[1].join("x"), "one\ntwo\nthree\n").unwrap();
    fs::remove_file(places[0].join("x")).unwrap();
    fs::write(places[0].join("x=1"), "four\n").unwrap();
    assert_eq!(read(&mut reader), ("three\nfour\n".into(), false));
}

#[test]
fn tail() {
    let check = |lines: &str, count, expect: &str| {
        assert_eq!(last_lines(lines.as_bytes(), count), expect.as_bytes());
    };
    check("a\nb\nc\n", 0, "");
    check("a\nb\nc\n", 1, "c\n");
    check("a\nb\nc\n", 2, "b\nc\n");
    check("a\nb\nc\n", 3, "a\nb\nc\n");
    check("a\nb\nc\n", 9, "a\nb\nc\n");
    check("\n\n", 1, "\n");
    check("", 5, "");
}
