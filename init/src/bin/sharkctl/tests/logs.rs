//! `logs`: one, several and all, what is asked of their lines, and following. Not here: how a line is
//! printed (tested beside the code that does it).

use std::fs;
use std::io::Write;
use std::path::Path;

use init::log::boot;

use super::server::{Server, machine};
use super::{Ran, run};

#[test]
fn logs() {
    let server = Server::new(machine);
    server
        .run("logs up")
        .expect(0, "", "up has written nothing");
    server
        .run("logs none")
        .expect(3, "", "there is no service `none`");
    server
        .run("logs ../up")
        .expect(2, "", "starts with a letter");
    let log = server.directory.path().join("log");
    std::fs::create_dir(&log).unwrap();
    std::fs::write(log.join("up"), "2026-11-23T03:43:19.123456Z one\n").unwrap();
    std::fs::write(log.join("up=1"), "2026-11-23T03:43:20.123456Z two\x1b\n").unwrap();
    let both = "2026-11-23T03:43:19.123456Z one\n2026-11-23T03:43:20.123456Z two\\x1b\n";
    assert_eq!(server.run("logs up").out, both);
    assert_eq!(server.run("logs -n 1 up").out, both.split_at(32).1);
    assert!(server.run("logs --raw up").out.ends_with("two\x1b\n"));
    let json = server.run("logs -n1 up --json").json();
    assert_eq!(json["message"], "two\u{1b}");
}

/// Standard output that a reader closes once it has seen a text.
struct ClosedAfter<'a> {
    seen: Vec<u8>,
    last: &'a [u8],
    log: &'a Path,
}

impl Write for ClosedAfter<'_> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.seen.extend_from_slice(bytes);
        if self.seen.ends_with(self.last) {
            return Err(std::io::ErrorKind::BrokenPipe.into());
        }
        // The log goes on, in a further file, while it is followed.
        if self.seen.ends_with(b"one\n") {
            std::fs::write(self.log.with_file_name("up=1"), "two\nthree\n")?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[test]
fn following_a_log_goes_on_over_files_until_nobody_reads() {
    let server = Server::new(machine);
    let log = server.directory.path().join("log");
    std::fs::create_dir(&log).unwrap();
    std::fs::write(log.join("up"), "zero\none\n").unwrap();
    let mut out = ClosedAfter {
        seen: Vec::new(),
        last: b"three\n",
        log: &log.join("up"),
    };
    let socket = server.path().into_os_string();
    let words = ["sharkctl", "logs", "-fn1", "up", "--socket"].map(Into::into);
    let status = super::super::run(
        words.into_iter().chain([socket]),
        &mut out,
        &mut Vec::new(),
        false,
    );
    assert_eq!(
        (status, out.seen.as_slice()),
        (0, &b"one\ntwo\nthree\n"[..])
    );
}

/// A directory with the logs of two services and of init.
fn three() -> Server {
    let server = Server::new(machine);
    let log = server.directory.path().join("log");
    fs::create_dir(&log).unwrap();
    let line = |second, rest| format!("2026-11-23T03:43:{second}.500000Z{rest}\n");
    let web = [line(10, " <3>no room"), line(30, " served")].concat();
    fs::write(log.join("web"), web).unwrap();
    fs::write(log.join("db"), line(20, " <7>Checkpoint")).unwrap();
    fs::write(log.join("init"), line(40, " web is up")).unwrap();
    fs::write(log.join("=boot"), "0123456789abcdef0123456789abcdef\n").unwrap();
    server
}

/// What follows the name of the service in each line.
fn words(ran: &Ran) -> Vec<&str> {
    assert_eq!((ran.status, ran.err.as_str()), (0, ""));
    let lines = ran.out.lines();
    lines.map(|line| &line[28..]).collect()
}

const ALL: [&str; 4] = [
    "web: no room",
    "db: Checkpoint",
    "web: served",
    "init: web is up",
];

#[test]
fn all_logs_are_one_in_the_order_of_time() {
    let server = three();
    assert_eq!(words(&server.run("logs")), ALL);
    assert_eq!(words(&server.run("logs -n 2")), ALL[2..]);
    assert_eq!(words(&server.run("logs db web db")), ALL[..3]);
    assert_eq!(words(&server.run("logs web")), ["no room", "served"]);
    let raw = server.run("logs --raw web db").out;
    assert!(
        raw.starts_with("2026-11-23T03:43:10.500000Z <3>no room\n"),
        "{raw}"
    );
    server
        .run("logs web none")
        .expect(3, "", "there is no service `none`");
    let nowhere = Server::new(machine);
    nowhere.run("logs").expect(0, "", "there are no logs in");
}

#[test]
fn lines_are_chosen_by_time() {
    let server = three();
    let words_of = |options: &str| {
        let ran = server.run(&format!("logs {options}"));
        words(&ran)
            .into_iter()
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    assert_eq!(words_of("--since 2026-11-23T03:43:20.5"), ALL[1..]);
    assert_eq!(words_of("--since 2026-11-23T03:43:20.6"), ALL[2..]);
    assert_eq!(words_of("--until 2026-11-23T03:43:20.5Z"), ALL[..2]);
    assert_eq!(
        words_of("--since 2026-11-23 --until 2026-11-23T03:43:20 web"),
        ["no room"]
    );
    assert_eq!(words_of("--since @1795405400 -n1"), ALL[3..]);
    // The lines are of one day; now is another one, or the machine's clock is far off.
    assert_eq!(words_of("--since -1us"), [""; 0]);
    for (wrong, told) in [
        ("--since soon", "not a time such as"),
        ("--until 2026-02-30", "there is no such day"),
        ("--since -10", "has no unit"),
    ] {
        server.run(&format!("logs {wrong}")).expect(2, "", told);
    }
}

#[test]
fn lines_are_chosen_by_what_they_say() {
    let server = three();
    assert_eq!(
        words(&server.run("logs --grep ^serv|(?i)check")),
        ["db: Checkpoint", "web: served"]
    );
    assert_eq!(
        words(&server.run("logs --grep <3>")),
        [""; 0],
        "no part of the message"
    );
    server
        .run("logs --grep (")
        .expect(2, "", "invalid value '(' for '--grep");
    assert_eq!(words(&server.run("logs --priority err")), ALL[..1]);
    assert_eq!(
        words(&server.run("logs -p 6")),
        ["web: no room", "web: served", "init: web is up"]
    );
    assert_eq!(words(&server.run("logs -p debug")), ALL);
    server.run("logs -p loud").expect(2, "", "not one of emerg");
}

#[test]
fn lines_are_chosen_by_their_boot() {
    let server = three();
    for this in [
        "0",
        "01234567-89ab-cdef-0123-456789abcdef",
        "0123456789abcdef0123456789ABCDEF",
    ] {
        assert_eq!(words(&server.run(&format!("logs --boot {this}"))), ALL);
    }
    for other in ["-1", "ffffffffffffffffffffffffffffffff"] {
        let ran = server.run(&format!("logs --boot {other}"));
        ran.expect(1, "", "only those of the present boot");
    }
    server
        .run("logs --boot 7")
        .expect(2, "", "neither the ID of a boot");
    let json = server.run("logs --json -n1").json();
    assert_eq!(json["boot"], "0123456789abcdef0123456789abcdef");
    assert_eq!(
        (&json["service"], &json["priority"]),
        (&"init".into(), &6.into())
    );
}

#[test]
fn former_boots_are_read_from_the_disk() {
    let server = three();
    let log = server.directory.path().join("log");
    let disk = server.directory.path().join("disk");
    boot::note_disk(&log, Some(&disk)).unwrap();
    let line = |hour, text: &str| format!("2026-11-22T{hour}:00:00.000000Z {text}\n");
    let ids = ["a", "b", "0123456789abcdef"].map(|it| it.repeat(32 / it.len()));
    for (number, id) in ids.iter().enumerate() {
        let path = boot::Kept::new(&disk, 7 + u32::try_from(number).unwrap(), id).path;
        fs::create_dir_all(&path).unwrap();
        let text = line(10 + number, "one") + &line(11 + number, "two") + "torn";
        fs::write(path.join("web"), text).unwrap();
        fs::write(path.join("gone"), line(10 + number, "heard")).unwrap();
    }
    let former = server.run("logs --boot -1 web");
    let expect = "one\n2026-11-22T12:00:00.000000Z two\n";
    assert!(former.out.ends_with(expect), "{}", former.out);
    assert!(
        former.err.contains("1 lines of web are left out"),
        "{}",
        former.err
    );
    let oldest = server.run(&format!("logs --boot {} gone", ids[0]));
    assert_eq!(oldest.out, "2026-11-22T10:00:00.000000Z heard\n");
    server.run("logs -f --boot -1").expect(2, "", "has ended");
    server
        .run("logs --boot -3")
        .expect(1, "", "those of 3 boots");
    // Of the present boot, memory goes before the disk.
    assert_eq!(words(&server.run("logs web db init")), ALL);
    assert_eq!(
        server.run("logs gone").out,
        "2026-11-22T12:00:00.000000Z heard\n"
    );
    let boots = server.run("logs --list-boots").out;
    let rows: Vec<Vec<&str>> = boots
        .lines()
        .map(|it| it.split_whitespace().collect())
        .collect();
    assert_eq!(
        rows[1],
        [
            "-2",
            &ids[0],
            "2026-11-22",
            "10:00:00",
            "2026-11-22",
            "11:00:00"
        ]
    );
    assert_eq!(
        rows[3],
        [
            "0",
            &ids[2],
            "2026-11-22",
            "12:00:00",
            "2026-11-23",
            "03:43:40"
        ]
    );
    let json = server.run("logs --list-boots --json").json();
    assert_eq!(
        (&json["boots"][1]["number"], &json["boots"][1]["boot"]),
        (&(-1).into(), &ids[1].as_str().into())
    );
}

#[test]
fn one_form_at_a_time() {
    for two in ["--raw --export", "--export --json", "--raw --json"] {
        run(&format!("logs {two}")).expect(2, "", "cannot be used with");
    }
}

/// Standard output that gives a service a log while all are followed, and closes after its line.
struct Newcomer<'a> {
    seen: Vec<u8>,
    log: &'a Path,
}

impl Write for Newcomer<'_> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.seen.extend_from_slice(bytes);
        if self.seen.ends_with(b"late: <3>\n") {
            return Err(std::io::ErrorKind::BrokenPipe.into());
        }
        fs::write(
            self.log.join("late"),
            "2026-11-23T03:44:00.000000Z other\n2026-11-23T03:44:01.000000Z <4><3>\n",
        )?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_log_that_comes_to_be_is_followed_too() {
    let server = three();
    let mut out = Newcomer {
        seen: Vec::new(),
        log: &server.directory.path().join("log"),
    };
    let socket = server.path().into_os_string();
    let words = ["sharkctl", "logs", "-f", "--priority=4", "--socket"].map(Into::into);
    let words = words.into_iter().chain([socket]);
    let status = super::super::run(words, &mut out, &mut Vec::new(), false);
    assert_eq!(status, 0);
    let expect =
        "2026-11-23T03:43:10.500000Z web: no room\n2026-11-23T03:44:01.000000Z late: <3>\n";
    assert_eq!(String::from_utf8(out.seen).unwrap(), expect);
}

#[test]
fn following_ends_with_the_time_it_is_asked_for() {
    let server = three();
    let ran = server.run("logs -f --until 2026-11-23T03:43:20.5");
    if init::log::stamp::Stamp::now().as_micros() > 1_795_405_400_500_000 {
        assert_eq!(words(&ran), ALL[..2]);
    }
}
