//! Everything of sd_notify(3), said by libsystemd itself: a C program that is linked to it, and
//! systemd-notify(1). Not here: the same without libsystemd (`notify`).
//!
//! `cargo xtask test` fetches both and names the directory where they are unpacked; without it, those
//! of this machine are taken, if it has any.

use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde_json::json;

use crate::machine::{Machine, Surroundings, possible};
use crate::surroundings::runs_as_root;

/// Where packages with libsystemd and systemd-notify are unpacked.
const UNPACKED: &str = "SHARK_TEST_LIBSYSTEMD";
const SOURCE: &str = "tests/namespace/sd_client.c";

/// What was found, and the client built with it.
struct Tools {
    dir: tempfile::TempDir,
    notify: PathBuf,
    /// For programs of the unpacked packages.
    libraries: String,
}

/// The file below one of the library directories of `root`.
fn library(root: &Path, name: &str) -> Option<PathBuf> {
    let parents = ["usr/lib", "lib"].map(|dir| root.join(dir));
    let dirs = parents.iter().filter_map(|dir| fs::read_dir(dir).ok());
    let found = dirs.flatten().flatten().map(|dir| dir.path().join(name));
    found.filter(|path| path.is_file()).min()
}

/// Builds the client; says what is missing if something is.
fn tools() -> Option<Tools> {
    if !possible() {
        return None;
    }
    let unpacked = std::env::var_os(UNPACKED);
    let root = PathBuf::from(unpacked.clone().unwrap_or("/".into()));
    let programs = ["usr/bin", "bin"].map(|dir| root.join(dir).join("systemd-notify"));
    let notify = programs.into_iter().find(|path| path.is_file());
    let header = root.join("usr/include/systemd/sd-daemon.h").is_file();
    let found = library(&root, "libsystemd.so.0").filter(|_| header);
    let (Some(found), Some(notify)) = (found, notify) else {
        let what = format!("no libsystemd-dev or systemd-notify in {}", root.display());
        assert!(unpacked.is_none(), "{what}, which {UNPACKED} names");
        eprintln!("NOT TESTED: {what}: `cargo xtask test` fetches them");
        return None;
    };
    let libraries = found.parent().unwrap();
    let dir = tempfile::tempdir().unwrap();
    let built = Command::new("cc")
        .args(["-Wall", "-Werror", "-o"])
        .arg(dir.path().join("client"))
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join(SOURCE))
        .arg("-I")
        .arg(root.join("usr/include"))
        .arg(&found)
        .arg(format!("-Wl,-rpath,{}", libraries.display()))
        .args(["-Wl,--allow-shlib-undefined"])
        .output();
    match built {
        Ok(output) => assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        ),
        Err(error) => {
            eprintln!("NOT TESTED: cannot run cc: {error}");
            return None;
        }
    }
    let triple = libraries.file_name().unwrap();
    let others = ["usr/lib", "lib"].map(|dir| root.join(dir).join(triple));
    let shared = libraries.join("systemd");
    let all = [&shared].into_iter().chain(&others);
    let all: Vec<String> = all.map(|dir| dir.display().to_string()).collect();
    Some(Tools {
        dir,
        notify,
        libraries: all.join(":"),
    })
}

fn make_fifo(dir: &Path) {
    let made = Command::new("mkfifo").arg(dir.join("fifo")).status();
    assert!(made.unwrap().success());
}

/// The client as the service `sd` of a machine.
struct Client {
    machine: Machine,
    answers: usize,
}

impl Client {
    /// Boots with the client as the only service; `first` is said before anything else.
    fn boot(tools: &Tools, first: &str, more: &str) -> Self {
        let service = Self::service(tools, first, more);
        Self::boot_prepared(Surroundings::Whole, first, &service, make_fifo)
    }

    /// The file of its service.
    fn service(tools: &Tools, first: &str, more: &str) -> String {
        let mut words = String::new();
        let client = tools.dir.path().join("client");
        for word in [
            &*client.display().to_string(),
            "@DIR@/fifo",
            "@DIR@/answers",
            first,
        ] {
            if !word.is_empty() {
                write!(words, "\"{word}\", ").unwrap();
            }
        }
        format!(
            "type = \"notify\"\nexec = [{words}]\nenv.LD_LIBRARY_PATH = \"{}\"\n{more}",
            tools.libraries
        )
    }

    fn boot_prepared(
        surroundings: Surroundings,
        first: &str,
        service: &str,
        prepare: impl FnOnce(&Path),
    ) -> Self {
        let machine = Machine::boot_prepared(surroundings, &[("sd.toml", service)], prepare);
        Self {
            machine,
            answers: usize::from(!first.is_empty()),
        }
    }

    /// Has the client do something, and waits for its answer.
    fn ask(&mut self, command: &str) -> String {
        self.tell(command);
        let answers = self.machine.path("answers");
        let number = self.answers;
        self.answers += 1;
        self.machine.wait(&format!("the answer to {command}"), || {
            let text = fs::read_to_string(&answers).ok()?;
            let whole = text.rsplit_once('\n')?.0;
            whole.lines().nth(number).map(str::to_owned)
        })
    }

    /// Has the client do something that it may not live to answer.
    fn tell(&self, command: &str) {
        let mut fifo = fs::OpenOptions::new()
            .write(true)
            .open(self.machine.path("fifo"))
            .unwrap();
        writeln!(fifo, "{command}").unwrap();
    }

    fn say(&mut self, text: &str) {
        assert_eq!(self.ask(&format!("say {text}")), "say 1", "{text}");
        self.settle();
    }

    /// All that was said has been acted on when the barrier is passed: nothing is waited for after.
    fn settle(&mut self) {
        assert_eq!(self.ask("barrier"), "barrier 1");
    }

    fn status(&self, key: &str) -> serde_json::Value {
        self.machine.status("sd")[key].clone()
    }

    fn store(&mut self, command: &str) {
        assert_eq!(self.ask(&format!("store {command}")), "store 1");
        self.settle();
    }

    /// Descriptors that PID 1 has open.
    fn descriptors(&self) -> usize {
        let dir = format!("/proc/{}/fd", self.machine.host_pid());
        fs::read_dir(dir).unwrap().count()
    }
}

#[test]
fn what_libsystemd_says_of_a_service_is_understood() {
    let Some(tools) = tools() else { return };
    let more = "[watchdog]\ntimeout = \"1h\"\n[restart]\ndelay = \"1ms\"\n";
    let mut sd = Client::boot(&tools, "", more);
    sd.say("READY=1|STATUS=by libsystemd");
    assert_eq!(sd.status("state"), "up");
    assert_eq!(sd.status("statusText"), "by libsystemd");
    assert_eq!(sd.ask("watchdog"), "watchdog 3600000000");
    sd.say("WATCHDOG=1");
    assert_eq!(sd.status("watchdogUs"), 3_600_000_000_u64);
    sd.say("WATCHDOG_USEC=1800000000");
    assert_eq!(sd.status("watchdogUs"), 1_800_000_000);
    sd.say("RELOADING=1|MONOTONIC_USEC=1");
    assert_eq!(sd.status("reason"), "reads its configuration again");
    sd.say("READY=1");
    assert_eq!(sd.status("reason"), json!(null));
    let before = sd.descriptors();
    assert_eq!(sd.ask("flood 253"), "flood 1");
    sd.settle();
    assert_eq!(sd.status("statusText"), "flooded");
    // A client's own descriptor comes and goes.
    sd.machine
        .wait("there are no more descriptors than before", || {
            (sd.descriptors() <= before).then_some(())
        });
    let first = sd.machine.pid("sd").unwrap();
    let child = sd.ask("mainpid");
    let child: u64 = child.strip_prefix("mainpid ").unwrap().parse().unwrap();
    assert_eq!(sd.machine.pid("sd"), Some(child));
    assert_ne!(child, first);
    // What it fails for, and how: the end of the adopted process is the end of the run.
    sd.say("BUSERROR=org.example.Broken|ERRNO=5|EXIT_STATUS=3");
    sd.machine.kill("SEGV", child);
    let console = |sd: &Client, what: &str| {
        sd.machine.wait(&format!("init says {what}"), || {
            sd.machine.console().contains(what).then_some(())
        });
    };
    console(&sd, "it was killed by signal 11 (it said EXIT_STATUS=3)");
    sd.machine.wait_state("sd", "starting");
    sd.say("READY=1");
    sd.say("STOPPING=1");
    assert_eq!(sd.status("state"), "stopping");
    sd.tell("exit 0");
    sd.machine.wait_state("sd", "down");
}

#[test]
fn a_service_that_finds_itself_broken_is_ended() {
    let Some(tools) = tools() else { return };
    let mut sd = Client::boot(&tools, "", "[restart]\npolicy = \"never\"\n");
    sd.say("READY=1");
    sd.tell("say WATCHDOG=trigger");
    sd.machine.wait_state("sd", "failed");
    assert_eq!(sd.status("reason"), "watchdog: it found itself broken");
}

#[test]
fn a_service_that_is_silent_for_too_long_is_ended() {
    let Some(tools) = tools() else { return };
    let more = "[watchdog]\ntimeout = \"1s\"\nsignal = \"KILL\"\n[restart]\npolicy = \"never\"\n";
    let sd = Client::boot(&tools, "", more);
    // That it may not live to answer.
    sd.tell("say READY=1");
    sd.machine.wait_state("sd", "failed");
    assert_eq!(sd.status("reason"), "watchdog: no sign of life within 1s");
}

#[test]
fn a_start_is_given_the_time_it_asks_for() {
    let Some(tools) = tools() else { return };
    let first = "say EXTEND_TIMEOUT_USEC=60000000";
    let mut sd = Client::boot(&tools, first, "start-timeout = \"5s\"\n");
    sd.machine.wait_state("sd", "starting");
    std::thread::sleep(Duration::from_secs(6));
    sd.say("READY=1");
    assert_eq!(
        (sd.status("state"), sd.status("restarts")),
        (json!("up"), json!(0))
    );
}

#[test]
fn a_stop_is_given_the_time_it_asks_for() {
    let Some(tools) = tools() else { return };
    let more = "stop.timeout = \"2s\"\nrestart.policy = \"never\"\n";
    let mut sd = Client::boot(&tools, "", more);
    sd.say("READY=1");
    sd.say("STOPPING=1|EXTEND_TIMEOUT_USEC=60000000");
    std::thread::sleep(Duration::from_secs(3));
    assert_eq!(sd.status("state"), "stopping", "{}", sd.machine.console());
    sd.tell("exit 0");
    sd.machine.wait_state("sd", "down");
    let console = sd.machine.console();
    assert!(!console.contains("did not stop in time"), "{console}");
}

/// Neither one of another service nor one that is not there.
#[test]
fn a_service_cannot_take_a_process_of_another_for_its_main_one() {
    let Some(tools) = tools() else { return };
    let mut sd = Client::boot(&tools, "", "");
    sd.say("READY=1");
    sd.machine
        .write_service("other.toml", "exec = \"/bin/sleep 1000\"\n");
    sd.machine.call("ReloadAll", json!({})).unwrap();
    sd.machine.on("Start", "other").unwrap();
    let own = sd.machine.pid("sd");
    let other = sd.machine.pid("other").unwrap();
    for pid in [other, 999_999] {
        sd.say(&format!("MAINPID={pid}"));
        assert_eq!(sd.machine.pid("sd"), own);
    }
    sd.machine.on("Stop", "sd").unwrap();
    assert_eq!(sd.machine.pid("other"), Some(other), "it is left alone");
}

#[test]
fn descriptors_are_kept_for_the_next_run() {
    let Some(tools) = tools() else { return };
    let mut sd = Client::boot(&tools, "", "fd-store.max = 2\n");
    sd.say("READY=1");
    assert_eq!(sd.ask("listen"), "listen 0");
    sd.store("memfd FDSTORE=1|FDNAME=state");
    sd.store("again FDSTORE=1|FDNAME=other");
    assert_eq!(sd.status("stored"), json!(["state"]), "one is kept once");
    sd.store("pipe FDSTORE=1");
    sd.store("pipe FDSTORE=1|FDNAME=more");
    assert_eq!(
        sd.status("stored"),
        json!(["state", "stored"]),
        "two at most"
    );
    assert!(sd.machine.console().contains("its `fd-store.max` is 2"));
    assert_eq!(sd.ask("hangup"), "hangup 0");
    sd.machine.wait("the pipe is let go", || {
        (sd.status("stored") == json!(["state"])).then_some(())
    });
    // Another init keeps it, and so does one that goes on after a crash of its own.
    sd.machine.call("Reexec", json!({})).unwrap();
    assert_eq!(sd.status("stored"), json!(["state"]));
    sd.machine.kill("SEGV", 1);
    sd.machine.wait("init has crashed", || {
        sd.machine.log("init").contains("signal 11").then_some(())
    });
    // A service may close its own: it is kept all the same, over a crash.
    sd.machine.kill("KILL", sd.machine.pid("sd").unwrap());
    sd.machine.wait("the next run", || {
        (sd.status("restarts") == 1).then_some(())
    });
    sd.say("READY=1");
    assert_eq!(sd.ask("listen"), "listen 1 state=kept");
    sd.say("FDSTOREREMOVE=1|FDNAME=nobody");
    assert_eq!(sd.status("stored"), json!(["state"]));
    sd.say("FDSTOREREMOVE=1|FDNAME=state");
    assert_eq!(sd.status("stored"), json!(null));
    sd.store("pipe FDSTORE=1|FDNAME=quiet|FDPOLL=0");
    assert_eq!(sd.ask("hangup"), "hangup 0");
    sd.settle();
    assert_eq!(sd.status("stored"), json!(["quiet"]), "nobody looks");
    // Kept over a restart, not over a stop.
    sd.machine.on("Stop", "sd").unwrap();
    assert_eq!(sd.status("stored"), json!(null));
}

#[test]
fn a_sender_that_is_gone_is_known_where_the_kernel_tells() {
    let Some(tools) = tools() else { return };
    let mut sd = Client::boot(&tools, "", "");
    sd.say("READY=1");
    assert_eq!(sd.ask("child STATUS=from the dead"), "child 0");
    sd.settle();
    let told = sd.status("statusText") == "from the dead";
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
    let mut numbers = release.split('.').map(|it| it.parse::<u32>().unwrap_or(0));
    let version = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    if version >= (6, 16) && sd.machine.has_cgroups() {
        assert!(told, "{}", sd.machine.console());
    } else if !told {
        // It may have been read while it was alive; if it was not, that is said.
        let console = sd.machine.console();
        assert!(console.contains("notify: ignored a message"), "{console}");
    }
}

#[test]
fn systemd_notify_is_understood() {
    let Some(tools) = tools() else { return };
    let notify = tools.notify.display();
    let service = format!(
        "type = \"notify\"\nenv.LD_LIBRARY_PATH = \"{}\"\n\
         exec = [\"/bin/sh\", \"-c\", \"{notify} --ready --status=hello; exec sleep 1000\"]\n",
        tools.libraries
    );
    let machine = Machine::boot(&[("sh.toml", &service)]);
    machine.wait_state("sh", "up");
    assert_eq!(machine.status("sh")["statusText"], "hello");
}

/// Its account cannot go where the socket lies, so that it has another one, without a place.
#[test]
fn an_account_that_cannot_reach_the_path_is_heard_by_an_abstract_socket() {
    let Some(tools) = tools() else { return };
    if !runs_as_root() {
        return;
    }
    let set = |path: &Path, mode| {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    };
    set(tools.dir.path(), 0o755);
    let more = "user = \"nobody\"\nfd-store.max = 1\n[watchdog]\ntimeout = \"1h\"\n";
    let service = Client::service(&tools, "", more);
    let mut sd = Client::boot_prepared(Surroundings::Accounts, "", &service, |dir| {
        make_fifo(dir);
        set(&dir.join("fifo"), 0o666);
        set(&dir.join("run"), 0o700);
        set(dir, 0o777);
    });
    // Before it is up, nobody knows its number but the kernel.
    let main = sd.machine.wait("it is started", || sd.machine.pid("sd"));
    sd.say("READY=1|STATUS=from nowhere");
    assert_eq!(sd.status("state"), "up");
    assert_eq!(sd.status("statusText"), "from nowhere");
    let proc = PathBuf::from(format!("/proc/{}", sd.machine.host_pid_of(main)));
    let environment = fs::read(proc.join("environ")).unwrap();
    let mut variables = environment.split(|byte| *byte == 0);
    assert!(
        variables.any(|it| it.starts_with(b"NOTIFY_SOCKET=@")),
        "{}",
        String::from_utf8_lossy(&environment)
    );
    assert_eq!(
        fs::metadata(&proc).unwrap().uid(),
        65534,
        "it has an account"
    );
    // Descriptors come along there too, and another init hears there as well.
    sd.store("memfd FDSTORE=1|FDNAME=state");
    assert_eq!(sd.status("stored"), json!(["state"]));
    sd.machine.call("Reexec", json!({})).unwrap();
    sd.say("STATUS=still");
    assert_eq!(sd.status("statusText"), "still");
    assert_eq!(sd.status("stored"), json!(["state"]));
    assert_eq!(sd.machine.pid("sd"), Some(main));
    let console = sd.machine.console();
    assert!(!console.contains("notify: ignored"), "{console}");
}
