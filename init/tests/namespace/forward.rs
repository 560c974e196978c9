//! Lines that are sent on arrive at a real rsyslogd(8), by each of the ways. Not here: the messages byte by
//! byte (`services::log::forward`), and a daemon that does not read (`init::log::forwarder`).
//!
//! `cargo xtask test` fetches rsyslog and names the directory where it is unpacked; without it, that of
//! this machine is taken, if it has one.

use std::fs;
use std::net::{TcpListener, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use crate::machine::{Machine, Surroundings, possible};

/// Where packages are unpacked.
const UNPACKED: &str = "SHARK_TEST_LIBSYSTEMD";

/// Says something once its file is there.
const SPEAKER: &str = "exec = [\"/bin/sh\", \"-c\", \"while [ ! -e @DIR@/out/go ]; do sleep 0.05; done; \
    echo '<3>no room: é'; echo plain; echo '<7>detail'; exec sleep 1000\"]\n";

/// Where rsyslog is; says so if it is not.
fn found() -> Option<PathBuf> {
    let unpacked = std::env::var_os(UNPACKED);
    let root = PathBuf::from(unpacked.clone().unwrap_or("/".into()));
    if root.join("usr/sbin/rsyslogd").is_file() {
        return Some(root);
    }
    assert!(unpacked.is_none(), "no rsyslogd in {}", root.display());
    eprintln!("NOT TESTED: no rsyslogd: `cargo xtask test` fetches it");
    None
}

/// One that runs until the test has ended.
struct Daemon(Child);

impl Daemon {
    /// Has it write what it gets by each way to the file `got`.
    fn start(root: &Path, machine: &Machine, (udp, tcp): (u16, u16)) -> Self {
        let at = |name: &str| machine.path(name).display().to_string();
        let text = format!(
            "module(load=\"imudp\") input(type=\"imudp\" address=\"127.0.0.1\" port=\"{udp}\")\n\
             module(load=\"imtcp\") input(type=\"imtcp\" address=\"127.0.0.1\" port=\"{tcp}\")\n\
             module(load=\"imuxsock\" SysSock.Use=\"off\") input(type=\"imuxsock\" Socket=\"{}\")\n\
             template(name=\"all\" type=\"string\" string=\"%inputname% \
             %syslogfacility-text%.%syslogseverity-text% %timestamp:::date-year% %app-name%[%procid%] %msg%\\n\")\n\
             action(type=\"omfile\" file=\"{}\" template=\"all\")\n",
            at("out/socket"),
            at("out/got"),
        );
        fs::write(machine.path("rsyslog.conf"), text).unwrap();
        let libraries: Vec<String> = fs::read_dir(root.join("usr/lib"))
            .unwrap()
            .map(|entry| entry.unwrap().path().display().to_string())
            .collect();
        let modules = libraries.iter().map(|it| PathBuf::from(it).join("rsyslog"));
        let modules = modules.into_iter().find(|it| it.is_dir()).unwrap();
        let mut command = Command::new(root.join("usr/sbin/rsyslogd"));
        command
            .args([
                "-n",
                "-f",
                &at("rsyslog.conf"),
                "-i",
                &at("rsyslog.pid"),
                "-M",
            ])
            .arg(modules)
            .env("LD_LIBRARY_PATH", libraries.join(":"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(fs::File::create(machine.path("rsyslog.err")).unwrap());
        Self(command.spawn().unwrap())
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _gone = self.0.kill();
        let _reaped = self.0.wait();
    }
}

#[test]
fn lines_arrive_at_a_real_rsyslog() {
    let Some(root) = possible().then(found).flatten() else {
        return;
    };
    let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
    let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
    let ports = (
        udp.local_addr().unwrap().port(),
        tcp.local_addr().unwrap().port(),
    );
    drop((udp, tcp));
    let services = [("speaker.toml", SPEAKER)];
    let machine = Machine::boot_prepared(Surroundings::Whole, &services, |dir| {
        let settings = format!(
            "forward = [\"udp://127.0.0.1:{}\", \"tcp://127.0.0.1:{}\", \"unix:{}\"]\n",
            ports.0,
            ports.1,
            dir.join("out/socket").display()
        );
        fs::write(dir.join("run/log.toml"), settings).unwrap();
    });
    // Until it is there, lines wait.
    machine.wait("they cannot be sent yet", || {
        machine.console().contains("lines wait").then_some(())
    });
    let _daemon = Daemon::start(&root, &machine, ports);
    machine.wait("rsyslogd listens", || {
        machine.path("out/socket").exists().then_some(())
    });
    fs::write(machine.path("out/go"), "").unwrap();
    let got = machine.wait("all has come by each way", || {
        let got = fs::read_to_string(machine.path("out/got")).unwrap_or_default();
        let ways = ["imudp", "imtcp", "imuxsock"];
        let plain = |way| {
            got.lines()
                .any(|line| line.starts_with(way) && line.ends_with(" plain"))
        };
        ways.into_iter().all(plain).then_some(got)
    });
    for (way, pid) in [("imudp", "-"), ("imtcp", "-"), ("imuxsock", "-")] {
        // rsyslog has the blank after the name in the text of some ways, and of others not.
        let words = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
        let line = |rest: &str| {
            let mut lines = got.lines().filter(|line| line.starts_with(way));
            lines.any(|line| words(line).ends_with(rest))
        };
        assert!(line(&format!("speaker[{pid}] no room: é")), "{way}: {got}");
        assert!(!got.contains("detail"), "{got}");
    }
    assert!(got.contains("daemon.err "), "{got}");
}
