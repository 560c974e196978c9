//! Logs on a real disk: kept over a cut of power, and no way for a flood, a full disk or a lost logger to
//! delay anybody else. How long restarts and the end take before and during is printed. Not here: the
//! logger by itself, which is tested beside its code, and in namespaces.

use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use machine::disk::DiskCopy;
use machine::scenario::{ANSWER, ask, ask_json, booted, field, mean, pause, spec, until};
use machine::{Accel, Image, Machine, Spec};

const FLOOD: &str = include_str!("../floods/flood@.toml");
/// How many write as fast as they can.
const FLOODS: usize = 10;
/// Restarts that are timed.
const TIMES: u32 = 30;
/// So many times as long may something take beside ten floods: they have their share of the one processor.
const SLOWER: u32 = 3;
/// What the end may take beyond that: it is timed from outside, on a host that has other work.
const A_MOMENT: Duration = Duration::from_secs(3);
/// Longer than lines may take to the disk, and what the guest needs for it.
const FLUSHED: Duration = Duration::from_secs(8);
/// The same for grave ones, which do not wait.
const FLUSHED_AT_ONCE: Duration = Duration::from_secs(2);

#[test]
fn logs_outlive_a_cut_of_power() -> anyhow::Result<()> {
    let disk = DiskCopy::of(&Image::from_environment()?.disk)?;
    let mut machine = booted(&spec(Some(disk.path()))?)?;
    ask(&mut machine, "logger -t before 'long before the cut'")?;
    pause(&mut machine, FLUSHED)?;
    ask(
        &mut machine,
        "logger -p daemon.err -t grave 'just before the cut'",
    )?;
    pause(&mut machine, FLUSHED_AT_ONCE)?;
    machine.cut_power();
    drop(machine);
    let mut machine = booted(&spec(Some(disk.path()))?)?;
    let former = ask(&mut machine, "sharkctl logs --boot -1")?;
    for text in [
        "long before the cut",
        "just before the cut",
        "Linux version",
    ] {
        ensure!(former.contains(text), "`{text}` is gone: {former}");
    }
    let boots = ask(&mut machine, "sharkctl logs --list-boots")?;
    println!("{boots}");
    ensure!(boots.lines().count() == 3, "{boots}");
    let status = machine.power_off(ANSWER)?;
    ensure!(status.success(), "QEMU ended with {status}");
    // The end of a boot is in its log too.
    let mut machine = booted(&spec(Some(disk.path()))?)?;
    let former = ask(&mut machine, "sharkctl logs --boot -1 init")?;
    ensure!(former.contains("all services are down"), "{former}");
    Ok(())
}

/// Prints more than is kept of it.
const TORRENT: &str = "type = \"oneshot\"\nexec = [\"/bin/sh\", \"-c\", \"exec seq 1 100000\"]\n\
    wanted-by = []\n";

#[test]
fn logs_keep_so_many_lines_and_count_the_others() -> anyhow::Result<()> {
    let mut machine = booted(&spec(None)?)?;
    ask(
        &mut machine,
        &format!(
            "mkdir -p /etc/shark/services && cat > /etc/shark/services/torrent.toml <<'END' && \
             sharkctl reload\n{TORRENT}END"
        ),
    )?;
    let took = mean(&mut machine, "sharkctl start torrent >/dev/null", 1)?;
    println!("100,000 lines: {took:?}");
    let told = until(&mut machine, "sharkctl logs torrent | tail -n 1", |it| {
        it.text().contains("dropped before this")
    })?;
    println!("{}", told.text());
    let lines = ask(
        &mut machine,
        "sharkctl logs torrent | grep -v dropped | wc -l; sharkctl logs torrent | grep -v dropped | tail -n 1",
    )?;
    ensure!(
        lines.starts_with("10000\n") && lines.trim_end().ends_with(" 10000"),
        "{lines}"
    );
    let notes = ask(&mut machine, "sharkctl logs torrent | grep dropped")?;
    let counts = notes.lines().filter_map(|line| {
        let (_, note) = line.split_once('!')?;
        note.split(' ').next()?.parse::<u64>().ok()
    });
    ensure!(counts.sum::<u64>() == 90_000, "{notes}");
    let metrics = ask(&mut machine, "sharkctl metrics | grep ^shark_log_dropped")?;
    ensure!(metrics.trim_end().ends_with(" 90000"), "{metrics}");
    let status = machine.power_off(ANSWER)?;
    ensure!(status.success(), "QEMU ended with {status}");
    Ok(())
}

#[test]
fn logs_that_flood_fill_the_disk_or_lose_their_logger_delay_nobody() -> anyhow::Result<()> {
    let disk = DiskCopy::of(&Image::from_environment()?.disk)?;
    let mut machine = counted(&disk)?;
    ask(
        &mut machine,
        &format!(
            "mkdir -p /etc/shark/services && cat > '/etc/shark/services/flood@.toml' <<'END'\n{FLOOD}END"
        ),
    )?;
    let end = end_time(machine)?;
    println!("power-off: {end:?} with nothing else to do");
    let mut machine = counted(&disk)?;
    let boot = boot_time(&mut machine)?;
    let before = restart_time(&mut machine)?;
    println!("restart: {before:?} with nothing else to do");
    let kill = |signal: &str| format!("kill -{signal} {LOGGER}");
    ask(&mut machine, &kill("KILL"))?;
    restart_as_ever(&mut machine, before, "with a logger that was killed")?;
    ask(&mut machine, &kill("STOP"))?;
    restart_as_ever(&mut machine, before, "with a logger that was stopped")?;
    ask(&mut machine, &kill("STOP"))?;
    end_as_ever(machine, end, "with a logger that was stopped")?;

    // From now on ten of them are wanted by the boot.
    let mut machine = counted(&disk)?;
    for flood in 0..FLOODS {
        ask(
            &mut machine,
            &format!("echo 'wanted-by = [\"default\"]' > /etc/shark/services/flood@{flood}.toml"),
        )?;
    }
    end_time(machine)?;
    let mut machine = counted(&disk)?;
    as_ever("boot", boot, boot_time(&mut machine)?, "beside ten floods")?;
    restart_as_ever(&mut machine, before, "beside ten floods")?;
    ask(&mut machine, &kill("STOP"))?;
    restart_as_ever(
        &mut machine,
        before,
        "beside ten floods and a stopped logger",
    )?;
    floods_are_bounded(&mut machine)?;
    with_a_full_disk(&mut machine, before)?;
    end_as_ever(machine, end, "beside ten floods and a full disk")?;
    let mut machine = counted(&disk)?;
    let full = boot_time(&mut machine)?;
    as_ever("boot", boot, full, "beside ten floods and a full disk")?;
    with_room_again(&mut machine)?;
    end_as_ever(machine, end, "beside ten floods")
}

/// What ten floods leave of the disk, and of others' logs.
fn floods_are_bounded(machine: &mut Machine) -> anyhow::Result<()> {
    let kept = ask(machine, "du -sk /var/lib/shark/log | cut -f1")?;
    let kept: u64 = kept.trim().parse()?;
    ensure!((1..=72 * 1024).contains(&kept), "{kept} KiB on the disk");
    let quiet = ask(machine, "sharkctl logs init")?;
    ensure!(
        quiet.contains("default is up"),
        "the floods have pushed out init's lines: {quiet}"
    );
    Ok(())
}

/// Lines that are not taken by the disk are counted, and the next ones are when there is room again.
fn with_a_full_disk(machine: &mut Machine, before: Duration) -> anyhow::Result<()> {
    ask(
        machine,
        "dd if=/dev/zero of=/var/lib/full bs=1M 2>/dev/null || true",
    )?;
    let told = |text: &str| format!("sharkctl logs kernel | grep '{text}'");
    until(machine, &told("logs stay in memory"), |it| it.status == 0)?;
    restart_as_ever(machine, before, "beside ten floods and a full disk")?;
    let dropped = "sharkctl metrics | grep ^shark_log_dropped";
    let dropped = until(machine, dropped, |it| {
        it.text()
            .split_whitespace()
            .last()
            .is_some_and(|it| it != "0")
    })?;
    println!("{}", dropped.text());
    Ok(())
}

/// The same after a boot.
fn with_room_again(machine: &mut Machine) -> anyhow::Result<()> {
    let told = |text: &str| format!("sharkctl logs kernel | grep '{text}'");
    until(machine, &told("logs stay in memory"), |it| it.status == 0)?;
    ask(machine, "rm /var/lib/full")?;
    until(machine, &told("kept on the disk again"), |it| {
        it.status == 0
    })?;
    Ok(())
}

/// Prints more than a pipe and a budget hold, and all of it is kept.
const TALKER: &str = "type = \"oneshot\"\nexec = [\"/bin/sh\", \"-c\", \"exec seq 1 500000\"]\n\
    wanted-by = []\nlog.burst = 0\n";
/// How long it may take on its own, and beside a logger that has to be found out.
const TALKED: Duration = Duration::from_secs(20);

#[test]
fn logs_whose_disk_hangs_keep_nobody_waiting() -> anyhow::Result<()> {
    let mut machine = booted(&spec(None)?)?;
    ask(
        &mut machine,
        &format!(
            "mkdir -p /etc/shark/services && cat > /etc/shark/services/talker.toml <<'END' && \
             sharkctl reload\n{TALKER}END"
        ),
    )?;
    let before = restart_time(&mut machine)?;
    let logger = ask(&mut machine, &format!("echo {LOGGER}"))?;
    let logger = logger.trim();
    // Whoever writes there now waits, and does not even die of SIGKILL.
    ask(&mut machine, "busybox fsfreeze --freeze /var")?;
    ask(&mut machine, "logger -p daemon.err -t grave 'as it froze'")?;
    until(
        &mut machine,
        &format!("cut -d' ' -f3 /proc/{logger}/task/*/stat"),
        |it| it.text().contains('D'),
    )?;
    restart_as_ever(&mut machine, before, "beside a disk that hangs")?;
    ask(&mut machine, &format!("kill -KILL {logger}"))?;
    let took = mean(&mut machine, "sharkctl start talker >/dev/null", 1)?;
    println!("500,000 lines beside a disk that hangs, and a logger that was killed: {took:?}");
    ensure!(took < TALKED, "{took:?}");
    restart_as_ever(
        &mut machine,
        before,
        "beside a disk that hangs and a new logger",
    )?;
    ask(&mut machine, &format!("test -d /proc/{logger}"))?;
    let kept = "sharkctl logs talker | tail -n 1";
    until(&mut machine, kept, |it| {
        it.text().trim_end().ends_with(" 500000")
    })?;
    ask(&mut machine, "busybox fsfreeze --unfreeze /var")?;
    until(&mut machine, &format!("test ! -d /proc/{logger}"), |it| {
        it.status == 0
    })?;
    let on_disk = "grep -h ' 500000$' /var/lib/shark/log/*/talker*";
    until(&mut machine, on_disk, |it| it.status == 0)?;
    let status = machine.power_off(ANSWER)?;
    ensure!(status.success(), "QEMU ended with {status}");
    Ok(())
}

/// Prints how long something has taken, and lets it be as long as it may.
fn as_ever(what: &str, before: Duration, now: Duration, when: &str) -> anyhow::Result<()> {
    println!("{what}: {now:?} {when}, {before:?} before");
    ensure!(
        now <= before * SLOWER,
        "a {what} takes {now:?} {when}, and took {before:?}"
    );
    Ok(())
}

fn end_as_ever(machine: Machine, before: Duration, when: &str) -> anyhow::Result<()> {
    let now = end_time(machine)?;
    as_ever("power-off", before + A_MOMENT, now, when)
}

fn restart_as_ever(machine: &mut Machine, before: Duration, when: &str) -> anyhow::Result<()> {
    as_ever("restart", before, restart_time(machine)?, when)
}

/// From init's beginning until all services were up, on the guest's clock.
fn boot_time(machine: &mut Machine) -> anyhow::Result<Duration> {
    let boot = ask_json(machine, "sharkctl boot --json")?;
    let timings = field(&boot, "/timings")?.as_array().context("no list")?;
    let at = |name: &str| {
        let mark = timings.iter().find(|it| it["name"] == name);
        let micros = mark.and_then(|it| it["us"].as_u64());
        micros.with_context(|| format!("no {name} in {boot}"))
    };
    Ok(Duration::from_micros(
        at("ready")?.saturating_sub(at("init")?),
    ))
}

/// The number of the logger, for a shell in the guest.
const LOGGER: &str = "$(for it in /proc/[0-9]*; do \
    tr '\\0' ' ' < $it/cmdline 2>/dev/null | grep -q '^[^ ]* log' && echo ${it#/proc/}; done | tail -n 1)";

/// How long `sharkctl restart` of a small service takes.
fn restart_time(machine: &mut Machine) -> anyhow::Result<Duration> {
    mean(machine, "sharkctl restart detached >/dev/null", TIMES)
}

/// Boots a machine whose clock counts instructions: what it measures repeats whatever the host does.
fn counted(disk: &DiskCopy) -> anyhow::Result<Machine> {
    let spec = spec(Some(disk.path()))?;
    booted(&Spec {
        accel: Accel::Counted,
        ..spec
    })
}

/// Switches off, and gives how long that took.
fn end_time(mut machine: Machine) -> anyhow::Result<Duration> {
    let began = Instant::now();
    let status = machine.power_off(ANSWER)?;
    ensure!(status.success(), "QEMU ended with {status}");
    Ok(began.elapsed())
}
