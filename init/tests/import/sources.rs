//! Scripts for OpenRC of the simple supervised kind: some upstream sources have them, and Debian's packages
//! of them do not install them. Each is put where its build would put it, imported, and checked: what of it
//! is lost, what the service file says, and that every line is named. Not here: whose text it is, which
//! `cargo xtask test` fetches.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::{is_refused, names_every_line, sharkctl};

/// Where the files of `sources.txt` are, in a directory for each package.
const SOURCES: &str = "SHARK_TEST_SOURCES";

struct Script {
    package: &'static str,
    script: &'static str,
    /// Its file of variables.
    variables: Option<&'static str>,
    /// Its name as a service.
    name: &'static str,
    /// What its build puts in.
    built: &'static [(&'static str, &'static str)],
    /// The start of each line that is lost, or lost in part.
    lost: &'static [&'static str],
    /// Lines of the service file.
    file: &'static [&'static str],
}

const OF_NOHANG: &[(&str, &str)] = &[
    (":TARGET_SBINDIR:", "/usr/sbin"),
    (":TARGET_SYSCONFDIR:", "/etc"),
];

const CONVERTED: [Script; 5] = [
    Script {
        package: "docker.io",
        script: "engine/contrib/init/openrc/docker.initd",
        variables: Some("engine/contrib/init/openrc/docker.confd"),
        name: "docker",
        built: &[],
        // It says where output goes, among others.
        lost: &["start_stop_daemon_args"],
        file: &[
            "exec = \"/usr/bin/dockerd -p /run/docker.pid\"",
            "reload = \"HUP\"",
            "timeout = \"60s\"",
            "nofile = 1048576",
            "nproc = \"unlimited\"",
        ],
    },
    Script {
        package: "keepalived",
        script: "keepalived/etc/openrc/keepalived",
        variables: None,
        name: "keepalived",
        built: &[],
        lost: &["after firewall"],
        file: &[
            "type = \"forking\"",
            "exec = \"/sbin/keepalived\"",
            "pid-file = \"/var/run/keepalived.pid\"",
            "requires = [\"loopback\"]",
        ],
    },
    Script {
        package: "nagios-nrpe",
        script: "startup/openrc-init.in",
        variables: Some("startup/openrc-conf.in"),
        name: "nrpe",
        built: &[
            ("@sysconfdir@", "/etc/nagios"),
            ("@sbindir@", "/usr/sbin"),
            ("@piddir@", "/run/nagios"),
        ],
        lost: &[],
        file: &[
            "type = \"forking\"",
            "exec = \"/usr/sbin/nrpe --config=/etc/nagios/nrpe.cfg --daemon\"",
            "pid-file = \"/run/nagios/nrpe.pid\"",
            "reload = \"HUP\"",
        ],
    },
    Script {
        package: "nohang",
        script: "openrc/nohang.in",
        variables: None,
        name: "nohang",
        built: OF_NOHANG,
        lost: &[],
        file: &["exec = \"/usr/sbin/nohang --monitor --config /etc/nohang/nohang.conf\""],
    },
    Script {
        package: "nohang",
        script: "openrc/nohang-desktop.in",
        variables: None,
        name: "nohang-desktop",
        built: OF_NOHANG,
        lost: &[],
        file: &["exec = \"/usr/sbin/nohang --monitor --config /etc/nohang/nohang-desktop.conf\""],
    },
];

/// Package, script, and what keeps it from being a file.
const REFUSED: [(&str, &str, &[&str]); 3] = [
    (
        "cloud-init",
        "sysvinit/gentoo/cloud-final",
        &["function `start`"],
    ),
    (
        "i2pd",
        "contrib/openrc/i2pd.openrc",
        &["`start_pre` would not be run"],
    ),
    (
        "nagios4",
        "startup/openrc-init.in",
        &[
            "`start_pre` would not be run",
            "`stop_pre` would not be run",
        ],
    ),
];

fn sources() -> Option<PathBuf> {
    let sources = std::env::var_os(SOURCES).map(PathBuf::from);
    if sources.is_none() {
        eprintln!("NOT TESTED: {SOURCES} names no sources: `cargo xtask test` fetches them");
    }
    sources
}

#[test]
fn scripts_that_say_all_by_variables_are_imported() {
    let Some(sources) = sources() else { return };
    for script in CONVERTED {
        let directory = tempfile::tempdir().unwrap();
        converts(&script, &sources, directory.path());
    }
}

fn converts(it: &Script, sources: &Path, place: &Path) {
    let (root, out) = (place.join("root"), place.join("out"));
    let install = |file: &str, directory: &str| {
        let text = fs::read_to_string(sources.join(it.package).join(file)).unwrap();
        let text = it
            .built
            .iter()
            .fold(text, |text, (from, to)| text.replace(from, to));
        fs::create_dir_all(root.join(directory)).unwrap();
        let path = root.join(directory).join(it.name);
        fs::write(&path, text).unwrap();
        path
    };
    let script = install(it.script, "etc/init.d");
    let variables = it.variables.map(|file| install(file, "etc/conf.d"));
    let services = root.join("usr/lib/shark/services");
    fs::create_dir_all(&services).unwrap();
    fs::write(
        services.join("loopback.toml"),
        "exec = \"/bin/true\"\ntype = \"oneshot\"\n",
    )
    .unwrap();
    let words = ["--json", "import", "--map", "net=loopback", "--root"].map(Path::new);
    let mut arguments = words.to_vec();
    arguments.extend([&root, Path::new("--output"), &out, &script]);
    let ran = sharkctl(&arguments);
    assert_eq!(ran.status.code(), Some(0), "{}: {ran:?}", it.name);
    let report: Value = serde_json::from_slice(&ran.stdout).unwrap();
    names_every_line(&report, &script);
    if let Some(variables) = &variables {
        names_every_line(&report, variables);
    }
    let lines = report["lines"].as_array().unwrap();
    let lost = lines.iter().filter(|line| line["fate"] == "lost");
    let lost: Vec<&str> = lost.map(|line| line["text"].as_str().unwrap()).collect();
    println!("{}: {} lines, lost: {lost:?}", it.name, lines.len());
    assert_eq!(lost.len(), it.lost.len(), "{}: {lost:?}", it.name);
    for (lost, expect) in lost.iter().zip(it.lost) {
        assert!(lost.starts_with(expect), "{lost}");
    }
    let file = fs::read_to_string(out.join(it.name).with_extension("toml")).unwrap();
    for expect in it.file {
        assert!(file.lines().any(|line| line == *expect), "{expect}: {file}");
    }
    let verified = sharkctl(&[Path::new("verify"), &services, &out]);
    assert!(verified.status.success(), "{verified:?}");
}

#[test]
fn scripts_that_say_it_in_commands_are_refused() {
    let Some(sources) = sources() else { return };
    for (package, script, expect) in REFUSED {
        let root = sources.join(package);
        is_refused(&root, &root.join(script), expect);
    }
}
