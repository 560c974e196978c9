//! Daemons of Debian's packages under the service files of `examples/daemons`: each starts, is ready
//! when it can be used, reads its configuration again, is restarted, comes back from a crash and
//! stops in its own way. One boot for all of them: it is their start that takes long.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use machine::image::DAEMONS_VARIABLE;
use machine::scenario::{ANSWER, accel, ask, ask_json, booted_within, field, tell, until};
use machine::spec::{Disk, Spec};
use machine::{Image, Machine};
use serde_json::Value;

/// PostgreSQL makes its cluster, and prometheus is large.
const FIRST_START: Duration = Duration::from_secs(600);

/// A daemon, and what it is to show.
struct Daemon {
    name: &'static str,
    /// Uses it, as its users do.
    question: &'static str,
    /// Is in the answer.
    answer: &'static str,
    /// What it has to say about a reload, where it can.
    reload: Option<&'static str>,
    /// What tells that it was asked to stop in the way it understands.
    farewell: Farewell,
}

/// How a daemon takes its leave.
enum Farewell {
    /// It writes so.
    Says(&'static str),
    /// It removes this file, which one that is killed leaves behind.
    Removes(&'static str),
}

const DAEMONS: &[Daemon] = &[
    Daemon {
        name: "nginx",
        question: "wget -q -O - http://127.0.0.1:80/",
        answer: "nginx answers",
        reload: Some("reconfiguring"),
        farewell: Farewell::Says("(SIGQUIT) received"),
    },
    Daemon {
        name: "haproxy",
        question: "wget -q -O - http://127.0.0.1:8080/",
        answer: "nginx answers",
        reload: Some("Loading success"),
        farewell: Farewell::Says("All workers exited"),
    },
    Daemon {
        name: "postgresql",
        question: "su postgres -s /bin/sh -c \
                   \"/usr/lib/postgresql/15/bin/psql -h /run/postgresql -Atc 'select 40 + 2'\"",
        answer: "42",
        reload: Some("reloading configuration files"),
        farewell: Farewell::Says("database system is shut down"),
    },
    Daemon {
        name: "redis",
        question: "redis-cli ping",
        answer: "PONG",
        reload: None,
        farewell: Farewell::Says("ready to exit"),
    },
    Daemon {
        name: "mosquitto",
        question: "mosquitto_pub -t shark -m swims -r && mosquitto_sub -t shark -C 1 -W 20",
        answer: "swims",
        reload: Some("Reloading config"),
        farewell: Farewell::Says("terminating"),
    },
    Daemon {
        name: "prometheus",
        question: "wget -q -O - http://127.0.0.1:9090/-/ready",
        answer: "Ready",
        reload: Some("Completed loading of configuration file"),
        farewell: Farewell::Says("See you next time!"),
    },
    Daemon {
        name: "chrony",
        question: "chronyc -n tracking",
        answer: "Reference ID",
        reload: None,
        farewell: Farewell::Removes("/run/chrony/chronyd.pid"),
    },
    Daemon {
        name: "openssh",
        question: "ssh -p 2222 -o StrictHostKeyChecking=no root@127.0.0.1 'echo logged in'",
        answer: "logged in",
        reload: Some("Received SIGHUP; restarting"),
        farewell: Farewell::Says("Received signal 15; terminating"),
    },
];

#[test]
fn daemons_of_debian_live_as_their_makers_meant() -> anyhow::Result<()> {
    let image = Image::named_by(DAEMONS_VARIABLE)?;
    let spec = Spec {
        memory: 1024,
        ..Spec::new(&image, accel(image.arch), Disk::Fresh(image.disk.clone()))
    };
    let mut machine = booted_within(&spec, FIRST_START)?;
    ask(
        &mut machine,
        "mkdir -p -m 700 /root/.ssh && ssh-keygen -q -t ed25519 -N '' -f /root/.ssh/id_ed25519 && \
         cp /root/.ssh/id_ed25519.pub /root/.ssh/authorized_keys",
    )?;
    for daemon in DAEMONS {
        daemon
            .lives(&mut machine)
            .with_context(|| daemon.name.to_owned())?;
    }
    a_restart_of_openssh_ends_no_session(&mut machine)?;
    prometheus_is_told_of_init_and_services(&mut machine)?;
    let status = machine.power_off(ANSWER)?;
    ensure!(status.success(), "QEMU ended with {status}");
    Ok(())
}

impl Daemon {
    fn lives(&self, machine: &mut Machine) -> anyhow::Result<()> {
        self.answers(machine).context("after the boot")?;
        let first = self.pid(machine)?;
        if let Some(words) = self.reload {
            ask(machine, &format!("sharkctl reload {}", self.name))?;
            self.logs(machine, words).context("reload")?;
            // OpenSSH executes itself anew, and for a moment nobody listens.
            until(machine, self.question, |it| {
                it.status == 0 && it.text().contains(self.answer)
            })
            .context("after a reload")?;
            let pid = self.pid(machine)?;
            ensure!(pid == first, "the reload made {pid} of {first}");
        }
        ask(machine, &format!("sharkctl restart {}", self.name))?;
        self.answers(machine).context("right after a restart")?;
        let second = self.pid(machine)?;
        ensure!(second != first, "after the restart it still is {first}");
        self.comes_back(machine, second)?;
        self.stops(machine)
    }

    /// At once: whoever was told that it is up can use it.
    fn answers(&self, machine: &mut Machine) -> anyhow::Result<()> {
        let answer = ask(machine, self.question)?;
        ensure!(
            answer.contains(self.answer),
            "`{}` is answered with {answer}",
            self.question
        );
        Ok(())
    }

    fn comes_back(&self, machine: &mut Machine, pid: u64) -> anyhow::Result<()> {
        ask(machine, &format!("kill -9 {pid}"))?;
        until(
            machine,
            &format!("sharkctl status {} --json || true", self.name),
            |output| {
                let status: Value = serde_json::from_str(&output.text()).unwrap_or_default();
                let status = status.get("service").cloned().unwrap_or(status);
                status.get("state").is_some_and(|state| state == "up")
                    && status.get("pid").and_then(Value::as_u64) != Some(pid)
                    && status.get("restarts").and_then(Value::as_u64) >= Some(1)
            },
        )
        .context("after a crash")?;
        self.answers(machine).context("after a crash")
    }

    fn stops(&self, machine: &mut Machine) -> anyhow::Result<()> {
        ask(machine, &format!("sharkctl stop {}", self.name))?;
        let status = self.status(machine)?;
        ensure!(field(&status, "/state")? == "down", "{status}");
        let left = tell(
            machine,
            &format!(
                "cat /sys/fs/cgroup/services/{}/cgroup.procs 2>/dev/null",
                self.name
            ),
        )?;
        ensure!(left.text().trim().is_empty(), "left: {}", left.text());
        match self.farewell {
            Farewell::Says(words) => self.logs(machine, words),
            Farewell::Removes(file) => ask(machine, &format!("test ! -e {file}")).map(drop),
        }
        .context("stop")?;
        let log = tell(machine, "dmesg | grep 'did not stop in time'")?;
        ensure!(!log.text().contains(self.name), "{}", log.text());
        ask(machine, &format!("sharkctl start {}", self.name))?;
        self.answers(machine).context("right after a start")
    }

    fn logs(&self, machine: &mut Machine, words: &str) -> anyhow::Result<()> {
        let found = format!("sharkctl logs {} | grep -F '{words}'", self.name);
        until(machine, &found, |output| output.status == 0).map(drop)
    }

    fn status(&self, machine: &mut Machine) -> anyhow::Result<Value> {
        let answer = ask_json(
            machine,
            &format!("sharkctl status {} --json || true", self.name),
        )?;
        Ok(answer.get("service").cloned().unwrap_or(answer))
    }

    fn pid(&self, machine: &mut Machine) -> anyhow::Result<u64> {
        let status = self.status(machine)?;
        field(&status, "/pid")?
            .as_u64()
            .with_context(|| format!("no pid: {status}"))
    }
}

/// The two examples that tell a monitoring system: what asks init itself, and what reads a file. promtool
/// has nothing to say against the text, and a real prometheus knows of each service by both ways.
fn prometheus_is_told_of_init_and_services(machine: &mut Machine) -> anyhow::Result<()> {
    for (name, text) in [
        (
            "metrics",
            include_str!("../../examples/patterns/metrics.toml"),
        ),
        (
            "metrics-file",
            include_str!("../../examples/patterns/metrics-file.toml"),
        ),
    ] {
        let path = format!("/etc/shark/services/{name}.toml");
        ask(machine, &format!("cat > {path} <<'END'\n{text}END"))?;
    }
    ask(machine, "sharkctl reload")?;
    let lint = "sharkctl metrics --format prometheus | promtool check metrics 2>&1";
    let said = ask(machine, lint)?;
    ensure!(said.trim().is_empty(), "promtool: {said}");
    for job in ["shark", "node"] {
        let query = format!(
            "wget -q -O - 'http://127.0.0.1:9090/api/v1/query?query=shark_service_up%7Bservice%3D%22nginx%22%2Cjob%3D%22{job}%22%7D'"
        );
        until(machine, &query, |it| it.text().contains("\"1\"]"))
            .with_context(|| format!("what prometheus knows by {job}"))?;
    }
    // It is scraped as what it says it is.
    let kind = "printf 'GET /metrics HTTP/1.1\\r\\nAccept: application/openmetrics-text\\r\\n\\r\\n' | \
                nc -w 60 127.0.0.1 9101";
    let answer = ask(machine, kind)?;
    ensure!(
        answer.contains("Content-Type: application/openmetrics-text") && answer.contains("# EOF"),
        "{answer}"
    );
    ask(
        machine,
        "rm /etc/shark/services/metrics.toml /etc/shark/services/metrics-file.toml",
    )?;
    ask(machine, "sharkctl reload").map(drop)
}

/// A stop of the service is a stop of the server alone (`stop.scope`).
fn a_restart_of_openssh_ends_no_session(machine: &mut Machine) -> anyhow::Result<()> {
    ask(
        machine,
        "ssh -p 2222 root@127.0.0.1 'echo $$ > /run/session; exec sleep 1000' \
         </dev/null >/dev/null 2>&1 & while [ ! -s /run/session ]; do sleep 0.2; done",
    )?;
    ask(machine, "sharkctl restart openssh")?;
    ask(machine, "kill -0 $(cat /run/session)").context("the session was ended")?;
    Ok(())
}
