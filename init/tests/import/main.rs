//! Units of Debian's packages, imported by `sharkctl import`: each converts, `sharkctl verify` accepts
//! what comes of it, and the account names every line. Not here: what becomes of single lines, which
//! the unit tests of `services::import` say.
//!
//! `cargo xtask test` fetches the packages of `packages.txt` and names the directory where their units
//! are.
#![allow(
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test ends by a panic where something is not as it must be"
)]

mod sources;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;

/// Where units are, in a directory for each package.
const UNITS: &str = "SHARK_TEST_UNITS";
const LIST: &str = include_str!("packages.txt");
/// Packages that come to at least one service file.
const LEAST: usize = 70;

fn sharkctl(arguments: &[&Path]) -> Output {
    let program = env!("CARGO_BIN_EXE_sharkctl");
    let output = Command::new(program).args(arguments).output();
    output.unwrap()
}

/// What one package came to.
struct Told {
    files: usize,
    refused: usize,
    carried: usize,
    lost: usize,
    irrelevant: usize,
}

#[test]
fn units_of_debians_packages_are_imported_and_every_line_is_named() {
    let Some(units) = std::env::var_os(UNITS) else {
        eprintln!("NOT TESTED: {UNITS} names no units: `cargo xtask test` fetches them");
        return;
    };
    let packages = LIST
        .lines()
        .filter(|line| !line.starts_with('#') && !is_of_others(line));
    let mut with_files = 0;
    for package in packages {
        let root = Path::new(&units).join(package);
        let told = import(package, &root);
        let Told {
            files,
            refused,
            carried,
            lost,
            irrelevant,
        } = told;
        println!(
            "{package}: {files} service files, {refused} units without; {carried} lines carried over, \
             {lost} lost, {irrelevant} irrelevant"
        );
        with_files += usize::from(files > 0);
    }
    println!("{with_files} packages with service files");
    assert!(with_files >= LEAST, "{with_files} of at least {LEAST}");
}

/// Scripts of OpenRC that packages install, and some of what keeps each from being a file here: none is of the
/// kind that says all by variables, as some in the sources of packages are (`sources`).
const SCRIPTS: [(&str, &str, &[&str]); 3] = [
    (
        "openrc",
        "etc/init.d/agetty",
        &["RC_SVCNAME#*.", "start_pre"],
    ),
    (
        "gnunet",
        "usr/share/gnunet/services/openrc/gnunet.initd",
        &["function `start`", "function `stop`"],
    ),
    (
        "cdist",
        "usr/lib/python3/dist-packages/cdist/conf/type/__consul_agent/files/consul.sys-openrc",
        &["function `start`", "start_pre"],
    ),
];

/// The one service directory of s6 in Debian's packages.
const OF_S6: (&str, &str) = (
    "json2file-go",
    "usr/share/doc/json2file-go/examples/init-alternatives/s6/json2file-go",
);

fn is_of_others(package: &str) -> bool {
    let has_script = SCRIPTS.iter().any(|(name, _, _)| *name == package);
    is_of_runit(package) || has_script || package == OF_S6.0
}

fn is_of_runit(package: &str) -> bool {
    package.starts_with("runit")
}

#[test]
fn service_directories_of_debians_packages_are_imported() {
    let Some(units) = std::env::var_os(UNITS) else {
        eprintln!(
            "NOT TESTED: {UNITS} names no service directories: `cargo xtask test` fetches them"
        );
        return;
    };
    let packages = LIST.lines().filter(|line| is_of_runit(line));
    let mut files = 0;
    for package in packages {
        let told = import(package, &Path::new(&units).join(package));
        println!(
            "{package}: {} service files, {} without",
            told.files, told.refused
        );
        files += told.files;
    }
    assert!(files >= 28, "{files}");
}

#[test]
fn scripts_of_openrc_are_imported_or_refused_for_what_they_do() {
    let Some(units) = std::env::var_os(UNITS) else {
        eprintln!("NOT TESTED: {UNITS} names no scripts: `cargo xtask test` fetches them");
        return;
    };
    for (package, script, expect) in SCRIPTS {
        let root = Path::new(&units).join(package);
        is_refused(&root, &root.join(script), expect);
    }
}

/// With all that keeps it from being a file, and each of its lines named once.
fn is_refused(root: &Path, script: &Path, expect: &[&str]) {
    let words = ["--json", "import", "--from", "openrc", "--root"].map(Path::new);
    let mut arguments = words.to_vec();
    arguments.extend([root, script]);
    let ran = sharkctl(&arguments);
    assert_eq!(ran.status.code(), Some(1));
    let report: Value = serde_json::from_slice(&ran.stdout).unwrap();
    let why = report["refused"][0]["why"].to_string();
    println!("{}: no file: {why}", script.display());
    for expect in expect {
        assert!(why.contains(expect), "{why}");
    }
    names_every_line(&report, script);
}

/// Every line of `script` that is no comment is named once.
fn names_every_line(report: &Value, script: &Path) {
    let text = fs::read_to_string(script).unwrap();
    for (at, line) in text.lines().enumerate() {
        if line.trim().is_empty() || line.trim().starts_with('#') {
            continue;
        }
        let at = at as u64 + 1;
        let covers = |it: &&Value| {
            let of_script = it["file"].as_str() == script.to_str();
            of_script && it["line"].as_u64().unwrap() <= at && at <= it["last"].as_u64().unwrap()
        };
        let named = report["lines"].as_array().unwrap().iter();
        assert_eq!(named.filter(covers).count(), 1, "{at}: {line}");
    }
}

#[test]
fn a_service_directory_of_s6_is_imported() {
    let Some(units) = std::env::var_os(UNITS) else {
        eprintln!("NOT TESTED: {UNITS} names no directories: `cargo xtask test` fetches them");
        return;
    };
    let (package, directory) = OF_S6;
    let root = Path::new(&units).join(package);
    let out = tempfile::tempdir().unwrap();
    let words = ["--json", "import", "--from", "s6", "--root"].map(Path::new);
    let mut arguments = words.to_vec();
    let directory = root.join(directory);
    arguments.extend([&root, Path::new("--output"), out.path(), &directory]);
    let ran = sharkctl(&arguments);
    assert_eq!(ran.status.code(), Some(0), "{ran:?}");
    let report: Value = serde_json::from_slice(&ran.stdout).unwrap();
    let fates: BTreeMap<&str, &str> = report["lines"]
        .as_array()
        .unwrap()
        .iter()
        .map(|it| {
            let text = |key: &str| it[key].as_str().unwrap();
            let file = text("file").rsplit_once("json2file-go/").unwrap().1;
            (file, text("fate"))
        })
        .collect();
    let expect = BTreeMap::from([("run", "carried"), ("log/run", "lost")]);
    assert_eq!(fates, expect);
    let verified = sharkctl(&[Path::new("verify"), out.path()]);
    assert!(verified.status.success(), "{verified:?}");
}

/// The first of these directories that there is.
fn import(package: &str, root: &Path) -> Told {
    let directories = [
        "lib/systemd/system",
        "usr/lib/systemd/system",
        "usr/share/runit/sv",
        "etc/sv",
    ];
    // A package with units of systemd may have service directories too, which do not count then.
    let directories = match is_of_runit(package) {
        true => &directories[2..],
        false => &directories[..2],
    };
    let mut directories = directories.iter().map(|it| root.join(it));
    // The package runit has an empty one.
    let has_some =
        |it: &PathBuf| fs::read_dir(it).is_ok_and(|mut entries| entries.next().is_some());
    let directory = directories.find(has_some);
    let directory = directory.unwrap_or_else(|| panic!("{package} has no units"));
    let out = tempfile::tempdir().unwrap();
    let words = ["--json", "import", "--root"].map(Path::new);
    let [json, verb, root_option] = words;
    let output = Path::new("--output");
    let ran = sharkctl(&[
        json,
        verb,
        root_option,
        root,
        output,
        out.path(),
        &directory,
    ]);
    let text = String::from_utf8(ran.stdout).unwrap();
    let report: Value = serde_json::from_str(&text)
        .unwrap_or_else(|error| panic!("{package}: {error}: {text}{:?}", ran.stderr));
    let list = |key: &str| report[key].as_array().unwrap().clone();
    let (made, refused) = (list("made").len(), list("refused").len());
    assert_eq!(list("problems"), Vec::<Value>::new(), "{package}");
    let expect = if refused == 0 { 0 } else { 1 };
    assert_eq!(ran.status.code(), Some(expect), "{package}: {text}");
    let written = fs::read_dir(out.path()).unwrap().count();
    assert_eq!(written, made, "{package}");
    if made > 0 {
        let verified = sharkctl(&[Path::new("verify"), out.path()]);
        let text = String::from_utf8_lossy(&verified.stdout);
        assert!(verified.status.success(), "{package}: {text}");
    }
    let entries = list("lines");
    match is_of_runit(package) {
        true => check_files(&directory, &entries),
        false => check_account(package, &directory, &entries),
    }
    let count = |fate: &str| entries.iter().filter(|it| it["fate"] == fate).count();
    Told {
        files: made,
        refused,
        carried: count("carried"),
        lost: count("lost"),
        irrelevant: count("irrelevant"),
    }
}

/// Every line of every unit that is no comment is named once; what is not carried over has a reason.
fn check_account(package: &str, directory: &Path, entries: &[Value]) {
    let mut named: BTreeMap<(String, u64), Vec<String>> = BTreeMap::new();
    for entry in entries {
        let file = entry["file"].as_str().unwrap();
        let (line, last) = (
            entry["line"].as_u64().unwrap(),
            entry["last"].as_u64().unwrap(),
        );
        for line in line..=last {
            let unit = entry["unit"].as_str().unwrap().to_owned();
            named.entry((file.to_owned(), line)).or_default().push(unit);
        }
        let reasons = entry["why"].as_array().unwrap();
        match entry["fate"].as_str().unwrap() {
            "carried" => assert!(!entry["into"].as_array().unwrap().is_empty(), "{entry}"),
            "lost" | "irrelevant" => assert!(!reasons.is_empty(), "{entry}"),
            other => panic!("{package}: {other}"),
        }
    }
    for path in unit_files(directory) {
        let text = fs::read_to_string(&path).unwrap();
        let mut lines = 0;
        for (at, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with(['#', ';']) {
                continue;
            }
            lines += 1;
            let place = (path.to_str().unwrap().to_owned(), at as u64 + 1);
            let units = named.get(&place).cloned().unwrap_or_default();
            let once: BTreeSet<&String> = units.iter().collect();
            // An instance with drop-ins of its own has the lines of its template once more.
            assert!(
                !units.is_empty() && once.len() == units.len(),
                "{place:?}: {line}: {units:?}"
            );
        }
        assert!(lines > 0, "{}", path.display());
    }
}

/// Units and drop-ins that are files of their own, and not other names of some.
fn unit_files(directory: &Path) -> Vec<PathBuf> {
    let suffixes = [
        "service", "socket", "timer", "target", "path", "mount", "conf",
    ];
    let mut files = Vec::new();
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        let kind = path.symlink_metadata().unwrap().file_type();
        let suffix = path.extension().and_then(|it| it.to_str());
        if kind.is_dir() && suffix == Some("d") {
            files.extend(unit_files(&path));
        } else if kind.is_file() && suffix.is_some_and(|it| suffixes.contains(&it)) {
            files.push(path);
        }
    }
    files
}

/// Every file of every service directory is named once.
fn check_files(directory: &Path, entries: &[Value]) {
    let mut count = 0;
    let mut ahead = vec![directory.to_owned()];
    while let Some(next) = ahead.pop() {
        for entry in fs::read_dir(next).unwrap() {
            let path = entry.unwrap().path();
            if path.symlink_metadata().unwrap().is_dir() {
                ahead.push(path);
                continue;
            }
            let named = entries
                .iter()
                .filter(|it| it["file"] == path.to_str().unwrap());
            assert_eq!(named.count(), 1, "{}", path.display());
            count += 1;
        }
    }
    assert_eq!(count, entries.len());
}
