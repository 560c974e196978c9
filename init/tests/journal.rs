//! What `sharkctl logs --export` prints, read by the tools of others: systemd-journal-remote(8) makes a
//! journal of it, and journalctl(1) shows that. Not here: the format byte by byte (`init::log::export`).
//!
//! `cargo xtask test` fetches both and names the directory where they are unpacked; without it, those
//! of this machine are taken, if it has any.
#![allow(
    clippy::unwrap_used,
    reason = "a test fails by panicking, in its helpers too"
)]

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use init::log::boot;
use init::log::memory::Memory;
use init::log::stamp::Stamp;
use serde_json::Value;
use services::id::ServiceName;

/// Where packages with the tools are unpacked.
const UNPACKED: &str = "SHARK_TEST_LIBSYSTEMD";

/// The tools, and where their libraries are.
struct Tools {
    remote: PathBuf,
    journalctl: PathBuf,
    libraries: String,
}

/// Finds them; says what is missing if something is.
fn tools() -> Option<Tools> {
    let unpacked = std::env::var_os(UNPACKED);
    let root = PathBuf::from(unpacked.clone().unwrap_or("/".into()));
    let find = |paths: [&str; 2]| {
        paths
            .map(|path| root.join(path))
            .into_iter()
            .find(|it| it.is_file())
    };
    let remote = find([
        "usr/lib/systemd/systemd-journal-remote",
        "lib/systemd/systemd-journal-remote",
    ]);
    let journalctl = find(["usr/bin/journalctl", "bin/journalctl"]);
    let (Some(remote), Some(journalctl)) = (remote, journalctl) else {
        let what = format!(
            "no systemd-journal-remote or journalctl in {}",
            root.display()
        );
        assert!(unpacked.is_none(), "{what}, which {UNPACKED} names");
        eprintln!("NOT TESTED: {what}: `cargo xtask test` fetches them");
        return None;
    };
    let libraries = if unpacked.is_some() {
        library_path(&root)
    } else {
        String::new()
    };
    Some(Tools {
        remote,
        journalctl,
        libraries,
    })
}

/// The directories of libraries below `root`, each with that of systemd's own.
fn library_path(root: &Path) -> String {
    let mut found = Vec::new();
    for parent in ["usr/lib", "lib"] {
        for entry in fs::read_dir(root.join(parent)).into_iter().flatten() {
            let path = entry.unwrap().path();
            found.push(path.join("systemd").display().to_string());
            found.push(path.display().to_string());
        }
    }
    found.join(":")
}

impl Tools {
    fn run(&self, program: &Path, arguments: &[&OsStr], input: &[u8]) -> Output {
        use std::io::Write as _;
        let mut child = Command::new(program)
            .args(arguments)
            .env("LD_LIBRARY_PATH", &self.libraries)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(input).unwrap();
        let output = child.wait_with_output().unwrap();
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{}: {told}", program.display());
        output
    }

    /// What journalctl shows of the journal, one object an entry.
    fn shown(&self, journal: &Path, arguments: &[&str]) -> Vec<Value> {
        let directory = journal.parent().unwrap();
        let mut all: Vec<&OsStr> = vec!["-D".as_ref(), directory.as_ref()];
        all.extend(["-o", "json", "--no-pager"].map(OsStr::new));
        all.extend(arguments.iter().map(OsStr::new));
        let output = self.run(&self.journalctl, &all, b"");
        let text = String::from_utf8(output.stdout).unwrap();
        text.lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }
}

/// Logs of two services and of the kernel as the logger writes them: with priorities, a byte that is no
/// UTF-8, a cut line, a message of syslog(3), and a clock that is set back in between.
fn write_logs(directory: &Path) {
    fs::create_dir(directory).unwrap();
    boot::note(directory).unwrap();
    let now = Stamp::now();
    let at = |seconds: u64| Stamp::from_micros(now.as_micros() - seconds * 1_000_000);
    let mut memory = Memory::open(directory, 8 << 20, None);
    let mut append = |name: &str, line: &[u8]| {
        memory.append(&ServiceName::new(name).unwrap(), line, now);
    };
    append("web", format!("{} <3>no room\n", at(9)).as_bytes());
    append("db", format!("{} ready: \u{e9}\ttab\n", at(8)).as_bytes());
    let bytes = [at(7).to_string().as_bytes(), b" \xff\x1b[m\n"].concat();
    append("web", &bytes);
    append(
        "web",
        format!("{} first\n{}+second\n", at(6), at(6)).as_bytes(),
    );
    append("web", format!("{} set back\n", at(3600)).as_bytes());
    append("db", format!("{} last\n", at(2)).as_bytes());
    append(
        "web",
        format!("{}@<5>php[42]: by syslog\n", at(1)).as_bytes(),
    );
    append("kernel", format!("{}~<4>hot\n", at(0)).as_bytes());
}

#[test]
fn other_tools_read_the_export() {
    let Some(tools) = tools() else {
        return;
    };
    let directory = tempfile::tempdir().unwrap();
    let logs = directory.path().join("log");
    write_logs(&logs);
    let exported = Command::new(env!("CARGO_BIN_EXE_sharkctl"))
        .args(["logs", "--export", "--socket"])
        .arg(directory.path().join("io.shark.Init"))
        .output()
        .unwrap();
    assert!(exported.status.success(), "{exported:?}");
    let journal = directory.path().join("all.journal");
    let arguments: [&OsStr; 3] = ["-o".as_ref(), journal.as_ref(), "-".as_ref()];
    tools.run(&tools.remote, &arguments, &exported.stdout);

    let all = tools.shown(&journal, &[]);
    let messages: Vec<&Value> = all.iter().map(|entry| &entry["MESSAGE"]).collect();
    let text = |text: &str| Value::from(text);
    let bytes = Value::from(b"\xff\x1b[m".to_vec());
    let expect = [
        text("no room"),
        text("ready: \u{e9}\ttab"),
        bytes,
        text("first"),
        text("second"),
        text("set back"),
        text("last"),
        text("by syslog"),
        text("hot"),
    ];
    let expect: Vec<&Value> = expect.iter().collect();
    assert_eq!(messages, expect);
    let id = boot::of(&logs).unwrap();
    assert!(
        all.iter().all(|entry| entry["_BOOT_ID"] == id.as_str()),
        "{all:?}"
    );
    assert_eq!(all[4]["SHARK_KIND"], "continuation");
    assert_eq!(tools.shown(&journal, &["-u", "db"]).len(), 2);
    assert_eq!(tools.shown(&journal, &["-t", "web"]).len(), 5);
    let by_syslog = tools.shown(&journal, &["-t", "php"]);
    assert_eq!((by_syslog.len(), &by_syslog[0]["_PID"]), (1, &"42".into()));
    assert_eq!(by_syslog[0]["_SYSTEMD_UNIT"], "web.service");
    assert_eq!(tools.shown(&journal, &["_TRANSPORT=kernel"]).len(), 1);
    let grave = tools.shown(&journal, &["-p", "err"]);
    assert_eq!(grave.len(), 1);
    assert_eq!(grave[0]["MESSAGE"], "no room");
}
