//! No way for a flood, a full disk or a lost logger to delay anybody else. How long boots, restarts and the
//! end take before and during is printed. Not here: what becomes of the lines (`main`, `power`).

use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use machine::disk::DiskCopy;
use machine::scenario::{ANSWER, ask, ask_json, booted, field, mean, spec, until};
use machine::{Accel, Image, Machine, Spec};

use crate::install;

const FLOOD: &str = include_str!("../../floods/flood@.toml");
/// How many write as fast as they can.
const FLOODS: usize = 10;
/// Restarts that are timed.
const TIMES: u32 = 30;
/// So many times as long may something take beside ten floods: they have their share of the one processor.
const SLOWER: u32 = 3;
/// What the end may take beyond that: it is timed from outside, on a host that has other work.
const A_MOMENT: Duration = Duration::from_secs(3);

#[test]
fn logs_that_flood_fill_the_disk_or_lose_their_logger_delay_nobody() -> anyhow::Result<()> {
    let disk = DiskCopy::of(&Image::from_environment()?.disk)?;
    let mut machine = counted(&disk)?;
    install(&mut machine, "flood@", FLOOD)?;
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
    want_floods(&mut machine)?;
    // So little is full soon, also on a clock that counts instructions.
    ask(&mut machine, "echo 'memory = \"1M\"' > /etc/shark/log.toml")?;
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

/// Sends a signal to each logger as soon as there is one, from the beginning of the boot to its end: whoever
/// is ordered after it is started later, and stopped before it. It executes nothing to do so, to take little of
/// the processor.
fn slayer(signal: &str) -> String {
    format!(
        "exec = [\"/bin/sh\", \"-c\", '''\n\
         mkfifo /run/slayer; exec 3<>/run/slayer\n\
         while :; do\n  \
           read -r all </proc/1/task/1/children\n  \
           for it in $all; do\n    \
             line=; read -r line </proc/$it/cmdline\n    \
             case $line in *logmachine) kill -{signal} $it;; esac\n  \
           done 2>/dev/null\n  \
           read -t 0.02 -u 3 none\n\
         done''']\n\
         before = [\"hostname\", \"loopback\", \"machine-id\", \"sysctl\", \"var\"]\n"
    )
}

#[test]
fn logs_whose_logger_never_lives_delay_no_boot_and_no_end() -> anyhow::Result<()> {
    let disk = DiskCopy::of(&Image::from_environment()?.disk)?;
    let mut machine = counted(&disk)?;
    let boot = boot_time(&mut machine)?;
    let restart = restart_time(&mut machine)?;
    install(&mut machine, "flood@", FLOOD)?;
    install(&mut machine, "slayer", &slayer("KILL"))?;
    let end = end_time(machine)?;
    println!("boot: {boot:?}, restart: {restart:?}, power-off: {end:?} with nothing else to do");
    let killed = "logger ended";
    let lifeless = |when: &str, told: &str, then: &dyn Fn(&mut Machine) -> anyhow::Result<()>| {
        let mut machine = counted(&disk)?;
        as_ever("boot", boot, boot_time(&mut machine)?, when)?;
        restart_as_ever(&mut machine, restart, when)?;
        let count = ask(&mut machine, &format!("dmesg | grep -c '{told}'"))?;
        let count: u32 = count.trim().parse()?;
        println!("{count} times until then: {told}");
        ensure!(count > 2, "loggers live {when}");
        then(&mut machine)?;
        end_as_ever(machine, end, when)
    };
    lifeless(
        "with a logger that is killed whenever there is one",
        killed,
        &|machine| install(machine, "slayer", &slayer("STOP")),
    )?;
    lifeless(
        "with a logger that is stopped whenever there is one",
        "the logger is stopped: killing it",
        &|machine| {
            install(machine, "slayer", &slayer("KILL"))?;
            want_floods(machine)
        },
    )?;
    lifeless(
        "beside ten floods, with a logger that is killed whenever there is one",
        killed,
        &|machine| {
            let lost = "sharkctl metrics | grep ^shark_log_lost_bytes_total";
            let lost = until(machine, lost, |it| !it.text().trim_end().ends_with(" 0"))?;
            println!("{}", lost.text().trim_end());
            Ok(())
        },
    )
}

/// From the next boot on, ten of them are wanted by it.
fn want_floods(machine: &mut Machine) -> anyhow::Result<()> {
    for flood in 0..FLOODS {
        install(
            machine,
            &format!("flood@{flood}"),
            "wanted-by = [\"default\"]\n",
        )?;
    }
    Ok(())
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
    install(&mut machine, "talker", TALKER)?;
    ask(&mut machine, "sharkctl reload")?;
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
