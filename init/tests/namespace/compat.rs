//! The names of other inits' commands against a real init: exit statuses and shapes as their manual pages
//! have them. Not here: what installers do with them (`installers`), and what needs no init (tested beside
//! the code).

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};

use crate::machine::{Machine, possible};

/// What a command printed, and its exit status.
#[derive(Debug)]
pub(crate) struct Ran {
    status: i32,
    pub(crate) out: String,
    err: String,
}

impl Ran {
    #[track_caller]
    pub(crate) fn expect(&self, status: i32, out: &str, err: &str) -> &Self {
        assert!(
            self.status == status && self.out.contains(out) && self.err.contains(err),
            "expected {status}, {out:?}, {err:?}: {self:?}"
        );
        self
    }

    #[track_caller]
    pub(crate) fn says(&self, status: i32, out: &str) {
        assert_eq!((self.status, self.out.as_str()), (status, out), "{self:?}");
    }
}

/// A machine whose scripts find the other names, and whose /etc/systemd/system is empty and their own.
pub(crate) struct Scripts {
    pub(crate) machine: Machine,
    /// Keeps the directory for the others.
    keeper: Child,
}

impl Scripts {
    pub(crate) fn new(services: &[(&str, &str)]) -> Self {
        let machine = Machine::boot(services);
        let script = "mkdir -p /etc/systemd/system 2>/dev/null; mount -t tmpfs none /etc/systemd/system && \
                      echo there && exec sleep 1000";
        let mut keeper = Command::new("unshare")
            .args(["-rm", "sh", "-c", script])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        let mut said = BufReader::new(keeper.stdout.take().unwrap());
        said.read_line(&mut line).unwrap();
        assert_eq!(line, "there\n");
        let scripts = Self { machine, keeper };
        let sharkctl = env!("CARGO_BIN_EXE_sharkctl");
        let install = format!("{sharkctl} compat install {}", scripts.names().display());
        scripts.run(&install).expect(0, "/systemctl -> ", "");
        scripts
            .run(&install)
            .expect(0, "all names are there already", "");
        scripts
    }

    fn names(&self) -> PathBuf {
        self.machine.path("names")
    }

    /// A line for the shell.
    pub(crate) fn run(&self, line: &str) -> Ran {
        let layers = ["services", "run/services", "admin"];
        let layers = layers.map(|it| self.machine.path(it).display().to_string());
        let keeper = self.keeper.id().to_string();
        let output = Command::new("nsenter")
            .args([
                "-t",
                &keeper,
                "-U",
                "-m",
                "--preserve-credentials",
                "sh",
                "-c",
                line,
            ])
            .env("SHARK_SERVICE_PATH", layers.join(":"))
            .env("SHARK_RUNTIME_DIR", self.machine.path("run"))
            .env(
                "PATH",
                format!("{}:/usr/sbin:/usr/bin:/sbin:/bin", self.names().display()),
            )
            .output()
            .unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let ran = Ran {
            status: output.status.code().unwrap(),
            out: text(&output.stdout),
            err: text(&output.stderr),
        };
        eprintln!("$ {line}\n{}{}[{}]", ran.out, ran.err, ran.status);
        ran
    }
}

impl Drop for Scripts {
    fn drop(&mut self) {
        let _gone = self.keeper.kill();
        let _reaped = self.keeper.wait();
    }
}

pub(crate) const SLEEP: &str = "description = \"Web\"\nexec = \"/bin/sleep 1000\"\n";

fn machine() -> Scripts {
    let said = "exec = [\"/bin/sh\", \"-c\", \"echo one; echo '<3>two'; exec sleep 1000\"]\n";
    let scripts = Scripts::new(&[
        ("web.toml", SLEEP),
        (
            "off.toml",
            "exec = \"/bin/sleep 1000\"\nwanted-by = []\nwants = [\"once\"]\nreload = \"HUP\"\n",
        ),
        (
            "bad.toml",
            "exec = \"/bin/false\"\nwanted-by = []\nrestart.policy = \"never\"\n",
        ),
        ("said.toml", said),
        ("once.toml", "type = \"oneshot\"\nexec = \"/bin/true\"\n"),
        (
            "timed.toml",
            "type = \"oneshot\"\nexec = \"/bin/true\"\ntimer.on-boot = \"100h\"\n",
        ),
        ("tty@.toml", "exec = \"/bin/sleep 100%i\"\n"),
    ]);
    scripts.machine.wait("its lines are there", || {
        scripts.machine.log("said").contains("two").then_some(())
    });
    scripts
}

#[test]
fn systemctl_tells_as_its_manual_page_says() {
    if !possible() {
        return;
    }
    let scripts = machine();
    scripts.machine.call("WaitBoot", json!({})).unwrap();
    let run = |line: &str| scripts.run(line);
    // Table "LSB return codes" of systemctl(1): 0 active, 3 not active, 4 no such unit.
    run("systemctl is-active web.service").says(0, "active\n");
    run("systemctl is-active off").says(3, "inactive\n");
    run("systemctl is-active nobody").says(4, "inactive\n");
    run("systemctl is-active --quiet off").says(3, "");
    run("systemctl is-active web off nobody").says(0, "active\ninactive\ninactive\n");
    run("systemctl is-active multi-user.target default.target").says(0, "active\nactive\n");
    run("systemctl is-active once").says(0, "active\n");
    run("systemctl is-active var-lib.mount").says(4, "inactive\n");
    run("systemctl status web").expect(0, "● web.service - Web\n     Loaded: loaded (", "");
    run("systemctl status web --no-pager -l").expect(0, "     Active: active (running) since ", "");
    run("systemctl status off").expect(3, "○ off.service - ", "");
    run("systemctl status nobody").expect(4, "", "Unit nobody.service could not be found.\n");
    run("systemctl status said").expect(0, " said: two\n", "");
    run("systemctl is-enabled web").says(0, "enabled\n");
    run("systemctl is-enabled off").says(1, "disabled\n");
    run("systemctl is-enabled nobody").expect(
        1,
        "",
        "Failed to get unit file state for nobody.service: ",
    );
    run("systemctl is-failed web").says(1, "active\n");
    run("systemctl is-system-running").says(0, "running\n");
    run("systemctl show -p ActiveState,SubState,LoadState web").says(
        0,
        "ActiveState=active\nSubState=running\nLoadState=loaded\n",
    );
    run("systemctl show --property=MainPID --value off").says(0, "0\n");
    run("systemctl show nobody -p LoadState --value").says(0, "not-found\n");
    run("systemctl show once -p SubState -p Type").says(0, "SubState=exited\nType=oneshot\n");
    run("systemctl cat web").expect(0, "/services/web.toml\ndescription = \"Web\"\n", "");
    run("systemctl cat nobody").expect(1, "", "No files found for nobody.");
    run("systemctl --version").expect(0, "systemd 252 (", "");
    let units = run("systemctl list-units --no-pager");
    units.expect(
        0,
        "  UNIT           LOAD   ACTIVE SUB     DESCRIPTION\n",
        "",
    );
    units.expect(0, "\n  web.service    loaded active running Web\n", "");
    assert!(!units.out.contains("off.service"), "{units:?}");
    run("systemctl list-units --all --plain --no-legend 'of*'")
        .says(0, "off.service loaded inactive dead\n");
    run("systemctl list-units --type=service --state=running --plain --no-legend").expect(
        0,
        "\nweb.service  loaded active running Web\n",
        "",
    );
    let json = run("systemctl list-units web.service -o json");
    let json: Value = serde_json::from_str(&json.out).unwrap();
    assert_eq!(json[0]["unit"], "web.service");
    run("systemctl list-unit-files --no-legend web.service").says(0, "web.service enabled  -\n");

    run("systemctl frobnicate").expect(1, "", "Unknown command verb frobnicate.");
    run("systemctl isolate x.target").expect(1, "", "Shark init does not support it");
    run("systemctl --user start web").expect(1, "", "--user is not supported");
    run("systemctl --frobnicate").expect(1, "", "unrecognized option '--frobnicate'");
    run("systemctl start").expect(1, "", "Too few arguments.");
    run("systemctl start --wait off").expect(1, "", "--wait is not supported");
}

#[test]
fn systemctl_lists_as_its_manual_page_says() {
    if !possible() {
        return;
    }
    let scripts = machine();
    scripts.machine.call("WaitBoot", json!({})).unwrap();
    let run = |line: &str| scripts.run(line);
    run("systemctl list-timers").expect(
        0,
        "\n\n1 timers listed.\nPass --all to see loaded but inactive timers, too.\n",
        "",
    );
    let timers = run("systemctl list-timers --no-legend timed.timer");
    timers.expect(0, " UTC 4d 3h left - ", "");
    timers.expect(0, " timed.timer timed.service\n", "");
    run("systemctl list-timers --no-legend 'x*'").says(0, "");
    let json = run("systemctl list-timers -o json");
    let json: Value = serde_json::from_str(&json.out).unwrap();
    assert_eq!(
        (&json[0]["activates"], &json[0]["last"]),
        (&json!("timed.service"), &Value::Null)
    );
    run("systemctl list-dependencies").says(
        0,
        "default.target\n● ├─once.service\n● ├─said.service\n○ ├─timed.service\n● └─web.service\n",
    );
    run("systemctl list-dependencies off").says(0, "off.service\n● └─once.service\n");
    run("systemctl list-dependencies --after once").says(0, "once.service\n");
    run("systemctl list-dependencies --reverse once.service")
        .says(0, "once.service\n○ ├─off.service\n● └─default.target\n");
    run("systemctl list-dependencies --plain --reverse once")
        .says(0, "once.service\n  off.service\n  default.target\n");
    run("systemctl list-dependencies nobody").expect(1, "", "nobody.service could not be found");
    run("systemctl list-jobs").says(0, "No jobs running.\n");
    run("systemctl preset-all").expect(1, "", "there are no presets");
}

#[test]
fn systemctl_changes_as_its_manual_page_says() {
    if !possible() {
        return;
    }
    let scripts = machine();
    scripts.machine.call("WaitBoot", json!({})).unwrap();
    let run = |line: &str| scripts.run(line);
    run("systemctl start off.service").says(0, "");
    run("systemctl is-active off").says(0, "active\n");
    run("systemctl reload off").says(0, "");
    run("systemctl reload web").expect(
        3,
        "",
        "Job type reload is not applicable for unit web.service.",
    );
    run("systemctl reload-or-restart web").says(0, "");
    run("systemctl stop off").says(0, "");
    run("systemctl reload off").expect(1, "", "off.service is not active, cannot reload.");
    run("systemctl try-restart off").says(0, "");
    run("systemctl is-active off").says(3, "inactive\n");
    run("systemctl restart --no-block web").says(0, "");
    // As of LSB for init scripts: 5, program is not installed.
    run("systemctl start nobody").expect(
        5,
        "",
        "Failed to start nobody.service: Unit nobody.service not found.",
    );
    run("systemctl stop nobody").expect(5, "", "Unit nobody.service not loaded.");
    run("systemctl start bad").expect(0, "", "");
    scripts.machine.wait_state("bad", "failed");
    run("systemctl is-failed bad").says(0, "failed\n");
    run("systemctl is-active bad").says(3, "failed\n");
    run("systemctl status bad").expect(3, "Active: failed (failed) (Result: exit-code)", "");
    run("systemctl is-system-running").says(1, "degraded\n");
    run("systemctl --failed --no-legend --plain").says(0, "bad.service loaded failed failed\n");
    run("systemctl reset-failed bad").says(0, "");
    run("systemctl is-failed bad").says(1, "inactive\n");
    run("systemctl reset-failed nobody").expect(1, "", "not loaded");
    run("systemctl start tty@5").says(0, "");
    run("systemctl is-active tty@5.service").says(0, "active\n");
    run("systemctl stop 'tty@*'").says(0, "");
    run("systemctl is-active tty@5.service").says(3, "inactive\n");

    run("systemctl disable --now web").expect(0, "", "Created ");
    run("systemctl is-enabled web").says(1, "disabled\n");
    run("systemctl is-active web").says(3, "inactive\n");
    run("systemctl enable web").expect(0, "", "Removed ");
    run("systemctl is-active web").says(3, "inactive\n");
    run("systemctl enable web").says(0, "");
    run("systemctl enable nobody").expect(1, "", "Unit file nobody.service does not exist.");
    run("systemctl mask web").expect(0, "", "web.toml -> /dev/null");
    run("systemctl is-enabled web").says(1, "masked\n");
    run("systemctl show -p LoadState web").says(0, "LoadState=masked\n");
    run("systemctl start web").expect(
        1,
        "",
        "Failed to start web.service: Unit web.service is masked.",
    );
    run("systemctl unmask web && systemctl start web").says(0, "");
    run("systemctl daemon-reload").says(0, "");
    scripts.machine.write_service("wrong.toml", "exec = 3\n");
    run("systemctl daemon-reload").expect(1, "", "wrong.toml:1:8: key `exec`");
}

#[test]
fn systemctl_replaces_init_and_ends_the_machine() {
    if !possible() {
        return;
    }
    let mut scripts = machine();
    scripts.machine.call("WaitBoot", json!({})).unwrap();
    let before = scripts.machine.pid("web");
    scripts.run("systemctl daemon-reexec").says(0, "");
    assert_eq!(
        (scripts.machine.pid("web"), before.is_some()),
        (before, true)
    );
    scripts
        .run("systemctl get-default")
        .says(0, "default.target\n");
    scripts.run("systemctl poweroff --no-wall").says(0, "");
    scripts.machine.ended();
    scripts
        .run("systemctl is-active web")
        .expect(1, "", "systemctl: init is not running");
}

/// As a service, since only who is in the namespaces of init knows its processes and cgroups.
#[test]
fn systemctl_sends_signals() {
    if !possible() {
        return;
    }
    let kill = |words: &str| {
        format!(
            "type = \"oneshot\"\nwanted-by = []\n\
             exec = [\"{}\", \"compat\", \"run\", \"systemctl\", \"kill\", {words}]\n\
             env = {{ SHARK_RUNTIME_DIR = \"@DIR@/run\" }}\n",
            env!("CARGO_BIN_EXE_sharkctl")
        )
    };
    let again = "exec = \"/bin/sleep 1000\"\nrestart.delay = \"1ms\"\n";
    let machine = Machine::boot(&[
        ("web.toml", again),
        (
            "main.toml",
            &kill("\"-s\", \"SIGKILL\", \"--kill-whom=main\", \"web\""),
        ),
        ("all.toml", &kill("\"--signal=9\", \"web.service\"")),
        ("wrong.toml", &kill("\"-s\", \"NONE\", \"web\"")),
    ]);
    machine.wait_state("web", "up");
    let ways = match machine.has_cgroups() {
        true => ["main", "all"].as_slice(),
        false => ["main"].as_slice(),
    };
    for way in ways {
        let before = machine.pid("web").unwrap();
        machine.on("Start", way).unwrap();
        machine.wait("it was killed, and is up again", || {
            machine.pid("web").filter(|pid| *pid != before)
        });
    }
    machine.on("Start", "wrong").unwrap_err();
    machine.wait("what is wrong is said", || {
        let log = machine.log("wrong");
        log.contains("Failed to parse signal string NONE")
            .then_some(())
    });
}

#[test]
fn journalctl_prints_what_a_service_wrote() {
    if !possible() {
        return;
    }
    let scripts = machine();
    scripts.machine.call("WaitBoot", json!({})).unwrap();
    let run = |line: &str| scripts.run(line);
    run("journalctl -u said -o cat --no-pager").says(0, "one\ntwo\n");
    run("journalctl --unit=said.service -n 1 -o cat").says(0, "two\n");
    run("journalctl -u said -p err -o cat").says(0, "two\n");
    run("journalctl -ru said -o cat -b").says(0, "two\none\n");
    run("journalctl -u said -g TWO -o cat").says(0, "-- No entries --\n");
    run("journalctl -u said --since '1 hour ago' -o cat").says(0, "one\ntwo\n");
    run("journalctl -u said --until '1 hour ago'").says(0, "-- No entries --\n");
    run("journalctl -u nobody").says(0, "-- No entries --\n");
    run("journalctl -qu nobody").says(0, "");
    let short = run("journalctl _SYSTEMD_UNIT=said.service");
    short.expect(0, " said: one\n", "");
    let json = run("journalctl -u said -o json -n1");
    let json: Value = serde_json::from_str(&json.out).unwrap();
    assert_eq!(
        (&json["MESSAGE"], &json["_SYSTEMD_UNIT"]),
        (&json!("two"), &json!("said.service"))
    );
    let mut followed = [1, 5, 30]
        .into_iter()
        .map(|it| run(&format!("timeout {it} journalctl -fu said -o cat")));
    let followed = followed.find(|it| !it.out.is_empty());
    followed.unwrap().says(124, "one\ntwo\n");
    run("journalctl -o verbose").expect(1, "", "Unknown output format 'verbose'");
    let boots = run("journalctl --list-boots");
    boots.expect(0, "IDX BOOT ID  ", "");
    boots.expect(0, "\n  0 ", "");
    assert_eq!(boots.out.lines().count(), 2);
    let json = run("journalctl --list-boots -o json");
    let json: Value = serde_json::from_str(&json.out).unwrap();
    assert!(json[0]["first_entry"].as_u64() <= json[0]["last_entry"].as_u64());
    run("journalctl -b -1").expect(1, "", "no logs are kept of that boot");
    run("journalctl --disk-usage").expect(0, "Archived and active journals take up ", "");
    run("journalctl --vacuum-size=1M").expect(1, "", "keeps logs within the size");
}

#[test]
fn scripts_of_other_inits_find_their_commands() {
    if !possible() {
        return;
    }
    let scripts = machine();
    scripts.machine.call("WaitBoot", json!({})).unwrap();
    let run = |line: &str| scripts.run(line);
    // service(8), and LSB for the status.
    run("service web status").expect(0, "web is running (pid ", "");
    run("service off status").says(3, "off is not running.\n");
    run("service off start").says(0, "");
    run("service off reload").says(0, "");
    run("service web reload").expect(3, "", "no `reload`");
    run("service off stop").says(0, "");
    run("service nobody start").expect(1, "", "nobody: unrecognized service");
    run("service nobody status").expect(4, "", "unrecognized service");
    run("service --status-all").expect(0, " [ - ]  off\n", "");
    // rc-service(8), openrc-run(8).
    run("rc-service web status").says(0, " * status: started\n");
    run("rc-service off status").says(3, " * status: stopped\n");
    run("rc-service off start").expect(0, " [ ok ]\n", "");
    run("rc-service off restart && rc-service off stop").expect(0, " [ ok ]\n", "");
    run("rc-service nobody start").expect(1, "", "service `nobody' does not exist");
    run("rc-service -e web").says(0, "");
    run("rc-service --exists nobody").says(1, "");
    run("rc-service --ifexists nobody start").says(0, "");
    run("rc-service --list").expect(0, "web\n", "");
    // rc-status(8).
    let status = run("rc-status");
    status.expect(0, "Runlevel: default\n", "");
    let web = format!("\n web{:63}[  started  ]\n", "");
    status.expect(0, &web, "");
    status.expect(0, "Dynamic Runlevel: manual\n", "");
    assert!(!status.out.contains(" off "), "{status:?}");
    run("rc-service -q off start; rc-status --manual").expect(0, "\n off  ", "");
    run("rc-service -q off stop").expect(0, "", "");
    run("rc-status default").expect(0, "Runlevel: default\n", "");
    run("rc-status -c").says(1, "");
    run("rc-status -l && rc-status --runlevel").says(0, "default\ndefault\n");
    run("rc-status nosuch").expect(1, "", " * runlevel `nosuch' does not exist");
    // rc-update(8).
    run("rc-update add off default").says(0, " * service off added to runlevel default\n");
    run("rc-update add off").expect(0, "already installed in runlevel `default'; skipping", "");
    run("rc-update show default || rc-update show").expect(0, " off | default\n", "");
    run("rc-update del off default").says(0, " * service off removed from runlevel default\n");
    run("rc-update delete off").expect(1, "", "is not in the runlevel `default'");
    run("rc-update add nobody default").expect(1, "", "service `nobody' does not exist");
    run("rc-update add off boot").expect(1, "", "`boot' is not a valid runlevel");
}
