//! Services that take all they can get: processes, memory, descriptors, the processor. The others and
//! PID 1 go on beside them, and each is stopped like any other. How long a restart, a question and a page
//! take before and during is printed, and so is how much of the processor PID 1 needs for a turn of its
//! loop. The machine's clock counts instructions, so that these figures repeat.

use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use machine::Machine;
use machine::accel::Accel;
use machine::scenario::{ANSWER, ask, ask_json, booted, field, mean, spec, until};
use machine::spec::Spec;
use serde_json::Value;

const HOGS: [(&str, &str); 5] = [
    ("fork-bomb", include_str!("../hogs/fork-bomb.toml")),
    ("memory-hog", include_str!("../hogs/memory-hog.toml")),
    (
        "descriptor-hog",
        include_str!("../hogs/descriptor-hog.toml"),
    ),
    ("throttled-hog", include_str!("../hogs/throttled-hog.toml")),
    ("lightest-hog", include_str!("../hogs/lightest-hog.toml")),
];

/// As many processes as it may have, and no room for a probe.
const FULL: &str = include_str!("../hogs/full.toml");

/// So many times as long may a restart take beside the hogs, and a turn of PID 1.
const SLOWER: u32 = 2;
/// So many times as long a page, which has one share in four of the processor then.
const SLOWEST: u32 = 6;
/// The longest that an answer of PID 1 may take: it waits for nobody's turn but its own and sharkctl's.
const ANSWERED: Duration = Duration::from_millis(100);

#[test]
fn hogs_of_processes_memory_and_descriptors_disturb_nobody() -> anyhow::Result<()> {
    let mut machine = booted(&Spec {
        accel: Accel::Counted,
        ..spec(None)?
    })?;
    for (name, text) in HOGS.into_iter().chain([("full", FULL)]) {
        ask(
            &mut machine,
            &format!(
                "mkdir -p /etc/shark/services && cat > /etc/shark/services/{name}.toml <<'END'\n{text}END"
            ),
        )?;
    }
    ask(&mut machine, "sharkctl reload")?;
    let before = Latency::measured(&mut machine)?;
    let quiet = turns(&mut machine)?;
    let others = pids(&mut machine)?;
    for (name, _) in HOGS {
        ask(&mut machine, &format!("sharkctl start {name}"))?;
    }
    each_has_what_it_may(&mut machine)?;
    top_shows_who_takes_what(&mut machine)?;
    watch_moves(&mut machine)?;
    let during = Latency::measured(&mut machine)?;
    nobody_moved(&mut machine)?;
    println!("before the hogs {before:?}");
    println!("beside the hogs {during:?}");
    ensure!(
        during.restart <= before.restart * SLOWER && during.page <= before.page * SLOWEST,
        "it takes {during:?} beside the hogs, and took {before:?}"
    );
    ensure!(
        during.list <= ANSWERED,
        "PID 1 stood still beside the hogs: {during:?}, and before {before:?}"
    );
    let beside = turns(&mut machine)?.since(&quiet);
    println!(
        "a turn of PID 1, of the processor: {:?} before the hogs, {:?} beside them",
        quiet.mean(),
        beside.mean()
    );
    ensure!(
        beside.count > 0 && beside.mean() <= quiet.mean() * SLOWER,
        "a turn of PID 1 takes more of the processor: {quiet:?}, then {beside:?}"
    );
    ensure!(
        others == pids(&mut machine)?,
        "a service was restarted beside the hogs: {others:?}"
    );
    for (name, _) in HOGS {
        ask(&mut machine, &format!("sharkctl stop {name}"))?;
        let left = ask(
            &mut machine,
            &format!("cat /sys/fs/cgroup/services/{name}/cgroup.procs 2>/dev/null || true"),
        )?;
        ensure!(left.is_empty(), "{name} still lives: {left}");
    }
    a_full_service_says_so(&mut machine)?;
    println!("after the hogs {:?}", Latency::measured(&mut machine)?);
    bytes_of_disks_are_counted_once_somebody_asks(&mut machine)?;
    let status = machine.power_off(ANSWER)?;
    ensure!(status.success(), "QEMU ended with {status}");
    Ok(())
}

/// Each has run into its limit, and the limit has held.
fn each_has_what_it_may(machine: &mut Machine) -> anyhow::Result<()> {
    until(
        machine,
        "cat /sys/fs/cgroup/services/fork-bomb/pids.events",
        |it| counted(&it.text(), "max") > 0,
    )
    .context("the fork bomb")?;
    until(
        machine,
        "cat /sys/fs/cgroup/services/memory-hog/memory.events",
        |it| counted(&it.text(), "oom_kill") > 0,
    )
    .context("the memory hog")?;
    until(
        machine,
        "ls /proc/$(sharkctl status descriptor-hog --json | sed -n 's/.*\"pid\": *\\([0-9]*\\).*/\\1/p' | head -n 1)/fd | wc -l",
        |it| it.text().trim().parse::<u32>().is_ok_and(|open| open > 5000),
    )
    .context("the descriptor hog")?;
    for name in ["throttled-hog", "lightest-hog"] {
        until(machine, &format!("sharkctl status {name} --json"), |it| {
            it.text().contains("\"good\"")
        })
        .with_context(|| format!("the probes of {name}"))?;
    }
    Ok(())
}

/// Where there is no room for a probe, its words say that, and nobody is moved there in spite of it.
fn a_full_service_says_so(machine: &mut Machine) -> anyhow::Result<()> {
    ask(machine, "sharkctl start full")?;
    until(machine, "sharkctl status full --json", |it| {
        it.text().contains("has as many processes as it may")
    })?;
    ask(machine, "sharkctl stop full")?;
    Ok(())
}

/// The kernel's trace of processes that change their cgroup.
const MOVES: &str = "/sys/kernel/tracing/events/cgroup/cgroup_attach_task/enable";

fn watch_moves(machine: &mut Machine) -> anyhow::Result<()> {
    let mount = "mount -t tracefs tracefs /sys/kernel/tracing";
    ask(machine, &format!("{mount} && echo 1 > {MOVES}"))?;
    Ok(())
}

/// Meanwhile no process has changed its cgroup, probes included. Whoever does holds locks that everybody needs who
/// makes a process, PID 1 before all, until it has its turn in the new one: an answer in some hundreds takes as
/// long, so that the answers alone would rarely show it.
fn nobody_moved(machine: &mut Machine) -> anyhow::Result<()> {
    ask(machine, &format!("echo 0 > {MOVES}"))?;
    let moved = ask(
        machine,
        "grep cgroup_attach_task: /sys/kernel/tracing/trace || true",
    )?;
    ensure!(moved.is_empty(), "processes changed their cgroup:\n{moved}");
    Ok(())
}

/// The hogs are above all others in what they take, with figures in every column.
fn top_shows_who_takes_what(machine: &mut Machine) -> anyhow::Result<()> {
    // The fork bomb begins anew now and then, and has few processes for a moment.
    let until = Instant::now() + ANSWER;
    loop {
        let top = ask_json(machine, "sharkctl top --interval 3s --once --json")?;
        match figures_of_hogs(&top) {
            Err(_) if Instant::now() < until => {}
            told => break told?,
        }
    }
    let table = ask(machine, "sharkctl top -n 2 --interval 500ms --sort memory")?;
    println!("{table}");
    Ok(())
}

fn figures_of_hogs(top: &Value) -> anyhow::Result<()> {
    let names = HOGS.map(|(name, _)| name);
    let services = field(top, "/services")?.as_array().context("no services")?;
    let of = |name: &str, key: &str| {
        let mut found = services
            .iter()
            .filter(|it| it.get("service") == Some(&name.into()));
        let value = found.next().and_then(|it| it.pointer(key)?.as_u64());
        value.with_context(|| format!("{name} has no {key}: {top}"))
    };
    for key in ["/tasks", "/memoryBytes", "/cpu"] {
        let most = services
            .iter()
            .max_by_key(|it| it.pointer(key).and_then(Value::as_u64));
        let most = most.and_then(|it| it.get("service")?.as_str());
        ensure!(
            most.is_some_and(|most| names.contains(&most)),
            "{key}: {most:?}: {top}"
        );
    }
    ensure!(of("fork-bomb", "/tasks")? > 30, "few tasks: {top}");
    ensure!(
        of("descriptor-hog", "/memoryBytes")? > 1 << 20,
        "little memory: {top}"
    );
    for key in ["/pressure/cpu", "/pressure/memory", "/pressure/io"] {
        of("fork-bomb", key)?;
    }
    ensure!(of("fork-bomb", "/pressure/cpu")? > 0, "nobody waits: {top}");
    for key in ["/readBytesPerSecond", "/writtenBytesPerSecond"] {
        of("descriptor-hog", key)?;
    }
    Ok(())
}

/// Of programs that end before anybody looks, too: only the cgroup knows of those.
fn bytes_of_disks_are_counted_once_somebody_asks(machine: &mut Machine) -> anyhow::Result<()> {
    let text = "exec = [\"/bin/sh\", \"-c\", \"while rm -f /var/lib/written; do dd if=/dev/zero of=/var/lib/written bs=64k \
                count=4 conv=fsync 2>/dev/null; sleep 0.1; done\"]\nwanted-by = []\n";
    ask(
        machine,
        &format!("cat > /etc/shark/services/writer.toml <<'END'\n{text}END"),
    )?;
    ask(machine, "sharkctl reload && sharkctl start writer")?;
    let stat = "/sys/fs/cgroup/services/writer/io.stat";
    ask(machine, &format!("test ! -e {stat}"))?;
    let top = ask_json(
        machine,
        "sharkctl top --count-io --interval 3s --once --json",
    )?;
    let services = field(&top, "/services")?.as_array().context("none")?;
    let mut written = services.iter().filter_map(|it| {
        (it.get("service")? == "writer").then_some(it.get("writtenBytesPerSecond")?.as_u64()?)
    });
    let written = written.next().context("the writer is not there")?;
    println!("the writer writes {written} bytes a second");
    ensure!(written >= 4096, "it writes more: {top}");
    let figure = "sharkctl metrics | grep '^shark_service_written_bytes_total{service=\"writer\"}'";
    let figure = ask(machine, figure)?;
    let bytes = figure.split_whitespace().last().context("no figure")?;
    ensure!(bytes.parse::<u64>()? >= written, "{figure}");
    ask(
        machine,
        "sharkctl stop writer && rm /etc/shark/services/writer.toml /var/lib/written && sharkctl reload",
    )
    .map(drop)
}

/// The count behind a word of a file such as memory.events (cgroups(7)).
fn counted(text: &str, word: &str) -> u64 {
    let lines = text.lines().filter_map(|line| line.split_once(' '));
    let mut counts = lines.filter(|(key, _)| *key == word);
    counts
        .next()
        .and_then(|(_, count)| count.trim().parse().ok())
        .unwrap_or(0)
}

/// How long each of some questions takes, on the guest's clock, which counts instructions.
#[derive(Debug)]
struct Latency {
    /// `sharkctl restart` of a small service.
    restart: Duration,
    /// `sharkctl list`, the longest of some.
    list: Duration,
    /// A page of a service, which takes its time of the processor itself.
    page: Duration,
}

impl Latency {
    fn measured(machine: &mut Machine) -> anyhow::Result<Self> {
        Ok(Self {
            restart: mean(machine, "sharkctl restart detached >/dev/null", 50)?,
            list: longest(machine, "sharkctl list >/dev/null", 30)?,
            page: mean(
                machine,
                "wget -q -O /dev/null http://127.0.0.1:9100/metrics",
                20,
            )?,
        })
    }
}

/// The longest time that `command` takes in so many tries, a fifth of a second apart.
fn longest(machine: &mut Machine, command: &str, times: u32) -> anyhow::Result<Duration> {
    let script = format!(
        "for i in $(seq {times}); do a=$(cut -d' ' -f1 /proc/uptime); {command} || exit; \
         echo $(cut -d' ' -f1 /proc/uptime) $a; sleep 0.2; done | \
         awk '{{if ($1-$2 > m) m = $1-$2}} END {{print m+0}}'"
    );
    // Seconds of a processor that never rests are long where it is emulated and the host has much to do.
    let told = machine.shell(&script, ANSWER * 5)?;
    ensure!(told.status == 0, "`{script}` ended with {}", told.status);
    Ok(Duration::try_from_secs_f64(told.text().trim().parse()?)?)
}

/// What turns of PID 1's loop have taken of the processor.
#[derive(Debug)]
struct Turns {
    count: u32,
    all: Duration,
}

impl Turns {
    fn since(&self, before: &Self) -> Self {
        Self {
            count: self.count.saturating_sub(before.count),
            all: self.all.saturating_sub(before.all),
        }
    }

    fn mean(&self) -> Duration {
        self.all / self.count.max(1)
    }
}

/// Those since the boot.
fn turns(machine: &mut Machine) -> anyhow::Result<Turns> {
    let metrics = ask_json(machine, "sharkctl metrics --json")?;
    let all = field(&metrics, "/turnCpu/sumNs")?.as_u64();
    let buckets = field(&metrics, "/turnCpu/buckets")?.as_array();
    let counts = buckets.context("no buckets")?.iter();
    let count: u64 = counts.filter_map(Value::as_u64).sum();
    Ok(Turns {
        count: count.try_into()?,
        all: Duration::from_nanos(all.context("no sum")?),
    })
}

/// Main processes of the services that are nobody's business here.
fn pids(machine: &mut Machine) -> anyhow::Result<Vec<(String, u64)>> {
    let list = ask_json(machine, "sharkctl list --json")?;
    let services = field(&list, "/services")?.as_array().context("no list")?;
    let named = services.iter().filter_map(|service| {
        let name = service.get("name").and_then(Value::as_str)?;
        let pid = service.get("pid").and_then(Value::as_u64)?;
        (!name.ends_with("-hog") && name != "fork-bomb" && name != "detached")
            .then(|| (name.to_owned(), pid))
    });
    Ok(named.collect())
}
