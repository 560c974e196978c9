//! What `sharkctl update install` shows of an installation: a bar on a terminal, lines of JSON where they
//! are asked for, and nothing before the end elsewhere. The updater is one that tells what it is told to.
// The whole file is a test; clippy takes only what is marked `#[test]` for one.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::io::{Read, Write};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};
use services::update::{Installed, Progress, Reply, Step, encode_answer};

fn progress(step: Step, done: u64, total: u64, trouble: Option<&str>) -> Reply {
    Reply::Progress(Progress {
        step,
        done,
        total,
        trouble: trouble.map(str::to_owned),
    })
}

/// What an installation tells.
fn told() -> Vec<Reply> {
    vec![
        progress(Step::Fetching, 0, 0, None),
        progress(Step::Writing, 0, 4 << 20, None),
        progress(
            Step::Writing,
            1 << 20,
            4 << 20,
            Some("the server is asleep"),
        ),
        progress(Step::Writing, 3 << 20, 4 << 20, None),
        progress(Step::Checking, 2 << 20, 4 << 20, None),
        progress(Step::Proving, 0, 0, None),
        Reply::Installed(Installed {
            slot: "b".to_owned(),
            version: "3".to_owned(),
            security_version: 2,
            kept: 0,
            written: 4 << 20,
        }),
    ]
}

/// What a terminal has shown so far.
type Shown = Arc<Mutex<String>>;

/// What a terminal shows of each of it, in this order.
const WORDS: [&[&str]; 7] = [
    &["fetching the header"],
    &["writing"],
    &[
        "sharkctl: the server is asleep; trying again",
        "writing",
        "1.00 MiB/4.00 MiB",
    ],
    &["3.00 MiB/4.00 MiB"],
    &["reading back", "2.00 MiB/4.00 MiB"],
    &["proving the new system"],
    &["version 3 is installed in slot b"],
];

/// The first of the words, each behind the one before, that is not there.
fn missing<'w>(shown: &str, words: impl Iterator<Item = &'w str>) -> Option<&'w str> {
    let mut rest = shown;
    for word in words {
        let Some((_, after)) = rest.split_once(word) else {
            return Some(word);
        };
        rest = after;
    }
    None
}

/// Answers one call with all of it. Where there is a terminal, each report is there until it is shown, and
/// for a moment more: a bar is not drawn at every chance.
fn updater(directory: &Path, terminal: Option<Shown>) {
    let listener = UnixListener::bind(directory.join("io.shark.Update")).unwrap();
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut byte = [1];
        while byte != [0] {
            stream.read_exact(&mut byte).unwrap();
        }
        for (number, reply) in told().into_iter().enumerate() {
            let more = matches!(reply, Reply::Progress(_));
            let mut message = encode_answer(&Ok(reply), more).unwrap();
            message.push(0);
            stream.write_all(&message).unwrap();
            let words = || WORDS.iter().take(number + 1).copied().flatten().copied();
            let is_shown = |shown: &Shown| missing(&shown.lock().unwrap(), words()).is_none();
            let moment = Duration::from_millis(150);
            let mut tries = 0..400;
            while terminal.as_ref().is_some_and(|it| !is_shown(it)) && tries.next().is_some() {
                std::thread::sleep(moment);
            }
            std::thread::sleep(moment);
        }
    });
}

/// Reads all that there is, and shows how far it is.
fn read(mut from: impl Read, shown: &Shown) {
    let mut piece = [0; 4096];
    while let Ok(count @ 1..) = from.read(&mut piece) {
        let text = String::from_utf8_lossy(&piece[..count]);
        shown.lock().unwrap().push_str(&text);
    }
}

/// Runs it, on a terminal of its own by script(1) or on none; what it has printed.
fn install(options: &str, on_terminal: bool) -> Output {
    let directory = tempfile::tempdir().unwrap();
    let shown = Shown::default();
    let waits = on_terminal && options.is_empty();
    updater(directory.path(), waits.then(|| Arc::clone(&shown)));
    let line = format!(
        "{} --socket {}/io.shark.Init {options} update install http://h/x",
        env!("CARGO_BIN_EXE_sharkctl"),
        directory.path().display()
    );
    let mut command = if on_terminal {
        let mut script = Command::new("script");
        let sized = format!("stty cols 100 rows 24; exec {line}");
        script.args(["--quiet", "--return", "--command", &sized, "/dev/null"]);
        script.env("TERM", "xterm");
        script
    } else {
        let mut shell = Command::new("sh");
        shell.args(["-c", &line]);
        shell
    };
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    read(child.stdout.take().unwrap(), &shown);
    let mut output = child.wait_with_output().unwrap();
    output.stdout = shown.lock().unwrap().clone().into_bytes();
    output
}

#[test]
fn on_a_terminal_it_shows_how_far_it_is() {
    let output = install("", true);
    let shown = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{shown}");
    let missing = missing(&shown, WORDS.iter().copied().flatten().copied());
    assert_eq!(missing, None, "not shown in its turn: {shown:?}");
    // None is drawn with what belongs to another step.
    let mixed =
        |it: &&str| it.contains("reading back") && it.contains("3.00 MiB") || it.contains("/0 B");
    assert_eq!(shown.split('\r').find(mixed), None);
}

#[test]
fn elsewhere_it_tells_its_troubles_and_its_end() {
    let output = install("", false);
    let [out, err] = [output.stdout, output.stderr].map(|it| String::from_utf8(it).unwrap());
    assert!(output.status.success(), "{err}");
    assert_eq!(err, "sharkctl: the server is asleep; trying again\n");
    assert_eq!(out.lines().count(), 1, "{out}");
    assert!(out.starts_with("version 3 is installed"), "{out}");
}

#[test]
fn in_json_each_report_is_a_line() {
    for on_terminal in [false, true] {
        let output = install("--json", on_terminal);
        let out = String::from_utf8(output.stdout).unwrap();
        assert!(output.status.success() && output.stderr.is_empty(), "{out}");
        let lines: Vec<Value> = out
            .lines()
            .map(|line| {
                serde_json::from_str(line).unwrap_or_else(|error| panic!("{line}: {error}"))
            })
            .collect();
        assert_eq!(lines.len(), told().len(), "{out}");
        let written = json!({"progress": {"step": "writing", "done": 3 << 20, "total": 4 << 20}});
        assert_eq!(lines.get(3), Some(&written));
        let trouble = lines.get(2).and_then(|it| it.pointer("/progress/trouble"));
        assert_eq!(trouble, Some(&json!("the server is asleep")));
        let slot = lines.last().and_then(|it| it.pointer("/installed/slot"));
        assert_eq!(slot, Some(&json!("b")));
    }
}
