//! One boot: the verified root, the service graph, `sharkctl`, and reloads that are refused.

use anyhow::{Context as _, ensure};
use machine::scenario::{ask, ask_json, booted, field, spec, tell, until};
use machine::{Machine, Output};
use serde_json::Value;

#[test]
fn a_verified_root_with_a_running_service_graph() -> anyhow::Result<()> {
    let mut machine = booted(&spec(None)?)?;
    every_service_is_up(&mut machine)?;
    the_root_is_read_only_on_verity(&mut machine)?;
    the_boot_tells_slot_reason_and_timings(&mut machine)?;
    confinement_is_real(&mut machine)?;
    restart_of_sshd_and_exporter(&mut machine)?;
    a_killed_service_comes_back(&mut machine)?;
    what_detached_is_stopped_too(&mut machine)?;
    what_ignores_sigterm_is_killed(&mut machine)?;
    logs_survive_a_restart(&mut machine)?;
    syslog_and_the_kernel_are_logged(&mut machine)?;
    a_bad_reload_changes_nothing(&mut machine)?;
    a_good_reload_adds_a_service(&mut machine)?;
    operators_change_files_and_scripts_find_their_names(&mut machine)?;
    causes_and_times_are_told(&mut machine)?;
    let status = machine.power_off(machine::scenario::ANSWER)?;
    ensure!(status.success(), "QEMU ended with {status}");
    Ok(())
}

fn services(machine: &mut Machine) -> anyhow::Result<Vec<Value>> {
    let list = ask_json(machine, "sharkctl list --json")?;
    field(&list, "/services")?
        .as_array()
        .cloned()
        .context("services is no list")
}

fn status(machine: &mut Machine, name: &str) -> anyhow::Result<Value> {
    let answer = ask_json(machine, &format!("sharkctl status {name} --json || true"))?;
    Ok(answer.get("service").cloned().unwrap_or(answer))
}

fn pid(machine: &mut Machine, name: &str) -> anyhow::Result<u64> {
    let status = status(machine, name)?;
    field(&status, "/pid")?
        .as_u64()
        .with_context(|| format!("{name} has no pid: {status}"))
}

/// Pids in the cgroup of a service.
fn members(machine: &mut Machine, name: &str) -> anyhow::Result<Vec<String>> {
    let output = tell(
        machine,
        &format!("find /sys/fs/cgroup/services/{name} -name cgroup.procs -exec cat {{}} +"),
    )?;
    Ok(output
        .text()
        .split_whitespace()
        .map(str::to_owned)
        .collect())
}

fn every_service_is_up(machine: &mut Machine) -> anyhow::Result<()> {
    let services = services(machine)?;
    ensure!(
        services.len() > 8,
        "only {} services: {services:?}",
        services.len()
    );
    for service in &services {
        let state = field(service, "/state")?.as_str();
        let name = field(service, "/name")?.as_str();
        // The updater is started by its first call.
        let expect = if name == Some("update") {
            "listening"
        } else {
            "up"
        };
        ensure!(state == Some(expect), "not {expect}: {service}");
    }
    for name in ["sshd", "chronyd", "getty", "node-exporter"] {
        ensure!(
            services
                .iter()
                .any(|s| s.get("name").and_then(Value::as_str) == Some(name)),
            "there is no {name}"
        );
    }
    let whole = ask_json(machine, "sharkctl status --json")?;
    ensure!(
        whole.is_object(),
        "`sharkctl status --json` is no object: {whole}"
    );
    Ok(())
}

fn the_root_is_read_only_on_verity(machine: &mut Machine) -> anyhow::Result<()> {
    let mount = ask(machine, "grep ' / ' /proc/self/mounts")?;
    ensure!(
        mount.starts_with("/dev/dm-0 / erofs ro"),
        "the root is {mount}"
    );
    let verity = ask(machine, "dmsetup status shark-root-a")?;
    ensure!(verity.contains("verity V"), "dm-verity says {verity}");
    let write = tell(machine, "touch /usr/x")?;
    ensure!(write.status != 0, "/usr can be written");
    ask(machine, "touch /etc/x && test -f /etc/x && rm /etc/x")?;
    let foreign = ask(machine, "find /usr /etc -name '*systemd*'")?;
    ensure!(
        foreign.is_empty(),
        "there is systemd in the root: {foreign}"
    );
    let data = ask(machine, "grep ' /var ' /proc/self/mounts")?;
    ensure!(data.contains(" ext4 rw"), "/var is {data}");
    // 32 MiB in the image: grown to its partition at the first boot.
    let size: u64 = ask(machine, "df -k /var | tail -n 1 | awk '{print $2}'")?.parse()?;
    ensure!(size > 256 * 1024, "/var has {size} KiB only");
    Ok(())
}

fn the_boot_tells_slot_reason_and_timings(machine: &mut Machine) -> anyhow::Result<()> {
    let boot = ask_json(machine, "sharkctl boot --json")?;
    ensure!(field(&boot, "/slot")? == "a", "{boot}");
    ensure!(field(&boot, "/state")? == "ready", "{boot}");
    ensure!(
        field(&boot, "/rootHash")?
            .as_str()
            .is_some_and(|h| h.len() == 64),
        "{boot}"
    );
    ensure!(
        !field(&boot, "/why")?
            .as_str()
            .unwrap_or_default()
            .is_empty(),
        "{boot}"
    );
    let timings = field(&boot, "/timings")?.as_array().context("no timings")?;
    let times: Vec<u64> = timings
        .iter()
        .filter_map(|t| t.get("us")?.as_u64())
        .collect();
    ensure!(
        times.len() > 5 && times.is_sorted(),
        "timings are not in order: {timings:?}"
    );
    let text = ask(machine, "sharkctl boot")?;
    ensure!(text.contains("slot"), "{text}");
    Ok(())
}

fn confinement_is_real(machine: &mut Machine) -> anyhow::Result<()> {
    let pid = pid(machine, "limited")?;
    let cgroup = ask(
        machine,
        "cd /sys/fs/cgroup/services/limited && cat memory.max pids.max cpu.weight",
    )?;
    ensure!(
        cgroup.split_whitespace().eq(["67108864", "32", "50"]),
        "limits of the cgroup: {cgroup}"
    );
    let limits = ask(
        machine,
        &format!("grep -E 'open files|core file' /proc/{pid}/limits"),
    )?;
    ensure!(limits.contains(" 512 "), "limits of the process: {limits}");
    let status = ask(
        machine,
        &format!("grep -E '^(Uid|SigBlk|SigIgn|Umask):' /proc/{pid}/status"),
    )?;
    ensure!(status.contains("65534"), "runs as {status}");
    ensure!(status.contains("0027"), "umask: {status}");
    ensure!(
        status.matches("0000000000000000").count() == 2,
        "signals of PID 1 were inherited: {status}"
    );
    let owner = ask(machine, "stat -c %u /run/limited /var/lib/limited")?;
    ensure!(
        owner.split_whitespace().eq(["65534", "65534"]),
        "its directories belong to {owner}"
    );
    // The kernel never takes the machine's PID 1, whose children need not set what they inherit.
    let oom = ask(
        machine,
        &format!("cat /proc/1/oom_score_adj /proc/{pid}/oom_score_adj"),
    )?;
    ensure!(
        oom.split_whitespace().eq(["0", "0"]),
        "oom_score_adj: {oom}"
    );
    // Of those that work for PID 1, the one that stays.
    let logger = ask(
        machine,
        "for it in /proc/[0-9]*; do \
         test \"$(tr '\\0' ' ' <$it/cmdline)\" = '/proc/self/exe log machine ' && cat $it/oom_score_adj; \
         done; true",
    )?;
    ensure!(
        logger.trim() == "-1000",
        "oom_score_adj of the logger: {logger}"
    );
    let own = ask(machine, "cat /proc/1/cgroup")?;
    ensure!(own == "0::/", "PID 1 is in {own}");
    let passed = ask(machine, "cat /sys/fs/cgroup/cgroup.subtree_control")?;
    ensure!(
        ["cpu", "memory", "pids"]
            .iter()
            .all(|it| passed.split_whitespace().any(|word| word == *it)),
        "passed down from the root: {passed}"
    );
    Ok(())
}

fn restart_of_sshd_and_exporter(machine: &mut Machine) -> anyhow::Result<()> {
    for (name, restart) in [
        ("sshd", "sharkctl service restart sshd"),
        ("node-exporter", "sharkctl restart node-exporter"),
    ] {
        let before = pid(machine, name)?;
        let old = members(machine, name)?;
        ask(machine, restart)?;
        let after = pid(machine, name)?;
        ensure!(before != after, "{name} still has pid {before}");
        for pid in old {
            let left = tell(machine, &format!("cat /proc/{pid}/cgroup"))?;
            ensure!(
                left.status != 0,
                "{name}: {pid} of its old cgroup still lives, in {}",
                left.text()
            );
        }
    }
    until(
        machine,
        "wget -q -O - http://127.0.0.1:9100/metrics | grep -c ^node_",
        |o| o.text().parse::<u32>().is_ok_and(|n| n > 10),
    )?;
    until(machine, "nc 127.0.0.1 22 </dev/null", |o| {
        o.text().starts_with("SSH-2.0")
    })?;
    Ok(())
}

fn a_killed_service_comes_back(machine: &mut Machine) -> anyhow::Result<()> {
    let before = pid(machine, "limited")?;
    ask(machine, &format!("kill -9 {before}"))?;
    until(machine, "sharkctl status limited --json", |o| {
        let status: Value = serde_json::from_slice(&o.out).unwrap_or_default();
        let service = status.get("service").unwrap_or(&status);
        service.get("state").and_then(Value::as_str) == Some("up")
            && service.get("pid").and_then(Value::as_u64) != Some(before)
    })?;
    Ok(())
}

fn what_detached_is_stopped_too(machine: &mut Machine) -> anyhow::Result<()> {
    let sleeping = "ps | grep 'sleep 10000[123]' | grep -v 'sh -c' | wc -l";
    until(machine, sleeping, |it| it.text().trim() == "3").context("its three processes")?;
    let found = members(machine, "detached")?;
    ensure!(found.len() == 3, "its three processes: {found:?}");
    ask(machine, "sharkctl stop detached")?;
    let left = tell(machine, "ps | grep 'sleep 10000[123]' | grep -v grep")?;
    ensure!(left.text().is_empty(), "left over: {}", left.text());
    let down = status(machine, "detached")?;
    ensure!(field(&down, "/state")? == "down", "{down}");
    ensure!(
        tell(machine, "sharkctl status detached")?.status != 0,
        "status of a service that is down succeeds"
    );
    ask(machine, "sharkctl start detached")?;
    Ok(())
}

fn what_ignores_sigterm_is_killed(machine: &mut Machine) -> anyhow::Result<()> {
    let seconds: f64 = ask(machine, "a=$(cut -d' ' -f1 /proc/uptime); sharkctl stop stubborn >/dev/null; b=$(cut -d' ' -f1 /proc/uptime); echo $b $a | awk '{print $1-$2}'")?.parse()?;
    ensure!(
        seconds >= 2.0,
        "stop.timeout is 2 s, and the stop took {seconds} s"
    );
    let killed = "sharkctl logs init --grep 'stubborn: did not stop in time and was killed'";
    until(machine, killed, |it| it.text().contains("stubborn"))?;
    ensure!(members(machine, "stubborn")?.is_empty(), "it still lives");
    ask(machine, "sharkctl start stubborn")?;
    Ok(())
}

fn logs_survive_a_restart(machine: &mut Machine) -> anyhow::Result<()> {
    // A line of before shows that it follows: what comes now is new to it.
    let followed =
        |count: usize| move |o: &Output| o.text().matches("limited started").count() >= count;
    ask(
        machine,
        "sharkctl logs -n 1 -f limited > /run/followed & echo $! > /run/follower",
    )?;
    until(machine, "cat /run/followed", followed(1))?;
    ask(machine, "sharkctl restart limited")?;
    until(machine, "cat /run/followed", followed(2))?;
    ask(machine, "kill $(cat /run/follower)")?;
    let output = until(machine, "sharkctl logs limited", |o| {
        o.text().matches("limited started").count() >= 3
    })?;
    ensure!(output.status == 0, "logs ended with {}", output.status);
    let missing = tell(machine, "sharkctl logs nobody-knows-me")?;
    ensure!(
        missing.status == 3,
        "logs of an unknown service ended with {}",
        missing.status
    );
    Ok(())
}

fn syslog_and_the_kernel_are_logged(machine: &mut Machine) -> anyhow::Result<()> {
    // From before init, and from now.
    let first = until(
        machine,
        "sharkctl logs kernel --grep '^Linux version' --json",
        |it| !it.out.is_empty(),
    )?;
    let first: Value = serde_json::from_str(&first.text())?;
    ensure!(field(&first, "/kind")? == "kernel", "{first}");
    ask(machine, "echo '<4>said by a test' > /dev/kmsg")?;
    until(machine, "sharkctl logs kernel -p warning", |o| {
        o.text().contains("said by a test")
    })?;
    let doubled = ask(
        machine,
        "sharkctl logs kernel --grep 'shark: audit' | wc -l",
    )?;
    ensure!(doubled.trim() == "0", "what init says is there twice");
    ask(machine, "logger -p daemon.err -t probe 'no room'")?;
    let all = until(
        machine,
        "sharkctl logs -p err --grep '^no room$' --json",
        |o| o.text().contains("no room"),
    )?;
    let sent: Value = serde_json::from_str(&all.text())?;
    ensure!(field(&sent, "/program")? == "probe", "{sent}");
    Ok(())
}

const BAD: [(&str, &str, &str); 4] = [
    ("unknown", "exec = \"/bin/true\"\nrestat = 1\n", "restart"),
    (
        "circle",
        "exec = \"/bin/true\"\nafter = [\"circle2\"]\n",
        "circle",
    ),
    (
        "lonely",
        "exec = \"/bin/true\"\nrequires = [\"no-such-thing\"]\n",
        "no-such-thing",
    ),
    (
        "unit",
        "exec = \"/bin/true\"\n[cgroup]\nmemory-max = \"512X\"\n",
        "512X",
    ),
];

fn a_bad_reload_changes_nothing(machine: &mut Machine) -> anyhow::Result<()> {
    let before = services(machine)?;
    let folder = "/etc/shark/services";
    ask(
        machine,
        &format!(
            "mkdir -p {folder} && printf 'exec = \"/bin/true\"\\nafter = [\"circle\"]\\n' > {folder}/circle2.toml"
        ),
    )?;
    for (name, text, _) in BAD {
        ask(
            machine,
            &format!("cat > {folder}/{name}.toml <<'END'\n{text}END"),
        )?;
    }
    let verify = tell(
        machine,
        &format!("sharkctl verify /usr/lib/shark/services {folder}"),
    )?;
    ensure!(verify.status != 0, "verify accepted it");
    let reload = tell(machine, "sharkctl reload")?;
    ensure!(reload.status != 0, "reload accepted it");
    for output in [verify, reload] {
        let words = format!("{}{}", output.text(), String::from_utf8_lossy(&output.err));
        for (name, _, word) in BAD {
            let place = format!("{folder}/{name}.toml:");
            ensure!(
                words
                    .lines()
                    .any(|l| l.contains(&place) && l.contains(word)),
                "{place} {word} is not in:\n{words}"
            );
        }
    }
    let pids = |all: &[Value]| -> Vec<(Option<Value>, Option<Value>)> {
        all.iter()
            .map(|s| (s.get("name").cloned(), s.get("pid").cloned()))
            .collect()
    };
    ensure!(
        pids(&before) == pids(&services(machine)?),
        "a refused reload changed something"
    );
    ask(machine, &format!("rm {folder}/*.toml"))?;
    Ok(())
}

fn a_good_reload_adds_a_service(machine: &mut Machine) -> anyhow::Result<()> {
    let before = pid(machine, "sshd")?;
    ask(
        machine,
        "echo 'exec = \"/bin/sleep 100009\"' > /etc/shark/services/added.toml && sharkctl reload",
    )?;
    until(machine, "sharkctl status added", |o| o.status == 0)?;
    ensure!(
        before == pid(machine, "sshd")?,
        "a reload restarted sshd, which had not changed"
    );
    ask(
        machine,
        "rm /etc/shark/services/added.toml && sharkctl reload",
    )?;
    until(machine, "sharkctl status added", |o| o.status == 3)?;
    Ok(())
}

/// What scripts call, the status that they get, and some of what is printed.
const CALLS: &[(&str, u8, &str)] = &[
    ("systemctl is-active sshd.service", 0, "active"),
    ("systemctl is-active nobody", 4, "inactive"),
    ("systemctl is-enabled sshd", 0, "enabled"),
    ("systemctl show -p MainPID --value sshd", 0, ""),
    ("systemctl kill -s CONT --kill-whom=main sshd", 0, ""),
    (
        "systemctl list-units --no-pager --no-legend --plain sshd.service",
        0,
        "sshd.service loaded active running",
    ),
    ("journalctl -u sshd -n 1 -o cat --no-pager", 0, ""),
    ("service sshd status", 0, "sshd is running (pid "),
    ("rc-service sshd status", 0, " * status: started"),
    ("rc-update show", 0, "sshd | default"),
    ("systemctl list-timers --all", 0, " timers listed."),
    ("systemctl list-dependencies", 0, "─sshd.service"),
    (
        "systemctl list-dependencies --reverse sshd.service",
        0,
        "─default.target",
    ),
    ("systemctl list-jobs", 0, "No jobs running."),
    ("systemctl -p CanReload --value show sshd", 0, "no"),
    (
        "systemctl --preset-mode=enable-only preset sshd.service",
        0,
        "",
    ),
    (
        "systemctl isolate rescue.target 2>&1",
        1,
        "does not support",
    ),
    ("journalctl --list-boots --no-pager", 0, "\n  0 "),
    ("journalctl --disk-usage", 0, "take up "),
    ("rc-status", 0, "\n sshd "),
    ("rc-status default", 0, "[  started  ]"),
    ("rc-service sshd --exists", 0, ""),
    ("rc-service --exists nobody", 1, ""),
];

/// What sharkctl writes to /etc counts, also under the names that scripts of others call.
fn operators_change_files_and_scripts_find_their_names(
    machine: &mut Machine,
) -> anyhow::Result<()> {
    ask(machine, "sharkctl mask --now node-exporter")?;
    let refused = tell(machine, "sharkctl start node-exporter 2>&1")?;
    ensure!(
        refused.status == 6
            && refused
                .text()
                .contains("/etc/shark/services/node-exporter.toml"),
        "a masked service: {refused:?}"
    );
    let diff = ask(machine, "sharkctl diff")?;
    ensure!(
        diff.contains("node-exporter: masked by "),
        "no mask: {diff}"
    );
    ask(machine, "sharkctl unmask --now node-exporter")?;
    ask(
        machine,
        "VISUAL='printf \"nice = 3\\n\" >' sharkctl edit --now detached",
    )?;
    ask(
        machine,
        "sharkctl restart detached && rm -r /etc/shark/services/detached.toml.d && sharkctl reload",
    )?;

    ask(machine, "sharkctl compat install /run/names")?;
    let names = "export PATH=/run/names:$PATH;";
    for (line, status, out) in CALLS {
        let output = tell(machine, &format!("{names} {line}"))?;
        ensure!(
            output.status == *status && output.text().contains(out),
            "{line}: expected {status}, {out:?}: {output:?}"
        );
    }
    // Of a script that installs a unit, as that of k3s does.
    let unit = "[Unit]\nDescription=Script\n[Service]\nExecStart=/bin/sleep 100010\nKillMode=process\n\
                [Install]\nWantedBy=multi-user.target\n";
    let steps = format!(
        "{names} mkdir -p /etc/systemd/system && printf '{unit}' > /etc/systemd/system/script.service && \
         systemctl enable script && systemctl daemon-reload && systemctl restart script && \
         systemctl is-active script && systemctl disable --now script && \
         rm /etc/systemd/system/script.service && systemctl daemon-reload"
    );
    ask(machine, &steps)?;
    until(machine, "sharkctl status script", |o| o.status == 3)?;
    Ok(())
}

/// Who ended for want of memory, and what the boot took from the start of the kernel on.
fn causes_and_times_are_told(machine: &mut Machine) -> anyhow::Result<()> {
    let file = "/etc/shark/services/hungry.toml";
    ask(
        machine,
        &format!(
            "cat > {file} <<'END'\nexec = [\"/usr/bin/tail\", \"/dev/zero\"]\nwanted-by = []\n\
             restart.policy = \"never\"\n[cgroup]\nmemory-max = \"16M\"\nEND\n\
             sharkctl reload && sharkctl start hungry"
        ),
    )?;
    until(machine, "sharkctl why hungry", |output| {
        let text = output.text();
        let all = [
            "state: failed for ",
            "it was killed because memory ran out",
            "asked: start hungry",
            "advice: let it have more (cgroup.memory-max",
        ];
        all.iter().all(|words| text.contains(words))
    })?;
    ask(machine, &format!("rm {file} && sharkctl reload"))?;
    let picture = ask(machine, "sharkctl plot")?;
    for bar in ["stage1-root: ", "graph loaded: ", "machine-id: "] {
        let title = format!("<title>{bar}");
        ensure!(picture.contains(&title), "no {title} in {picture}");
    }
    let chain = ask(machine, "sharkctl critical-chain sshd")?;
    ensure!(chain.lines().count() > 2, "sshd waited for nobody: {chain}");
    Ok(())
}
