//! Logs on a real disk: kept over a cut of power, and no way for a flood, a full disk or a lost logger to
//! delay anybody else. How long restarts and the end take before and during is printed. Not here: the
//! logger by itself, which is tested beside its code, and in namespaces.

use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use machine::disk::DiskCopy;
use machine::scenario::{ANSWER, ask, booted, spec, until};
use machine::{Image, Machine};

const FLOOD: &str = include_str!("../floods/flood@.toml");
/// How many write as fast as they can.
const FLOODS: usize = 10;
/// Restarts that are timed.
const TIMES: usize = 5;
/// So many times as long may something take beside ten floods: they have their share of the one processor.
const SLOWER: u32 = 5;
/// What a restart may take beyond that: the clock that times it counts in hundredths of a second.
const A_MOMENT: Duration = Duration::from_millis(300);
/// Longer than lines may take to the disk, and what the guest needs for it.
const FLUSHED: u32 = 8;

#[test]
fn logs_outlive_a_cut_of_power() -> anyhow::Result<()> {
    let disk = DiskCopy::of(&Image::from_environment()?.disk)?;
    let mut machine = booted(&spec(Some(disk.path()))?)?;
    ask(&mut machine, "logger -t before 'long before the cut'")?;
    ask(&mut machine, &format!("sleep {FLUSHED}"))?;
    ask(
        &mut machine,
        "logger -p daemon.err -t grave 'just before the cut'; sleep 2",
    )?;
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

#[test]
fn logs_that_flood_fill_the_disk_or_lose_their_logger_delay_nobody() -> anyhow::Result<()> {
    let mut machine = booted(&spec(None)?)?;
    let end_before = end_time(machine)?;
    machine = booted(&spec(None)?)?;
    ask(
        &mut machine,
        &format!(
            "mkdir -p /etc/shark/services && cat > '/etc/shark/services/flood@.toml' <<'END'\n{FLOOD}END"
        ),
    )?;
    let before = restart_time(&mut machine)?;
    println!("restart: {before:?} with nothing else to do");
    let check = |what: &str, time: Duration| {
        println!("restart: {time:?} {what}");
        ensure!(
            time <= before * SLOWER + A_MOMENT,
            "a restart takes {time:?} {what}, and took {before:?}"
        );
        Ok(())
    };

    ask(&mut machine, &format!("kill -9 {LOGGER}"))?;
    check("with a logger that was killed", restart_time(&mut machine)?)?;
    ask(&mut machine, &format!("kill -STOP {LOGGER}"))?;
    check(
        "with a logger that was stopped",
        restart_time(&mut machine)?,
    )?;

    let floods: Vec<String> = (0..FLOODS).map(|it| format!("flood@{it}")).collect();
    let floods = floods.join(" ");
    ask(
        &mut machine,
        &format!("for it in {floods}; do sharkctl start $it; done"),
    )?;
    check("beside ten floods", restart_time(&mut machine)?)?;
    ask(&mut machine, &format!("kill -STOP {LOGGER}"))?;
    check(
        "beside ten floods and a stopped logger",
        restart_time(&mut machine)?,
    )?;
    let size = "du -sk /var/lib/shark/log | cut -f1";
    let kept: u64 = ask(&mut machine, size)?.trim().parse()?;
    ensure!((1..=72 * 1024).contains(&kept), "{kept} KiB on the disk");
    let quiet = ask(&mut machine, "sharkctl logs init -n 200")?;
    ensure!(
        quiet.contains("is up"),
        "the floods have pushed out init's: {quiet}"
    );

    // Nobody may write there any more.
    ask(
        &mut machine,
        "dd if=/dev/zero of=/var/lib/full bs=1M 2>/dev/null || true",
    )?;
    until(
        &mut machine,
        "sharkctl logs kernel | grep 'logs stay in memory'",
        |it| it.status == 0,
    )?;
    check(
        "beside ten floods and a full disk",
        restart_time(&mut machine)?,
    )?;
    let lost = "sharkctl metrics | grep ^shark_log_dropped";
    let told = until(&mut machine, lost, |it| {
        it.text()
            .split_whitespace()
            .last()
            .is_some_and(|it| it != "0")
    })?;
    println!("{}", told.text());
    ask(&mut machine, "rm /var/lib/full")?;
    until(
        &mut machine,
        "sharkctl logs kernel | grep 'kept on the disk again'",
        |it| it.status == 0,
    )?;
    let end = end_time(machine)?;
    println!("power-off: {end_before:?} with nothing else to do, {end:?} beside ten floods");
    ensure!(
        end <= end_before * SLOWER,
        "a power-off takes {end:?} beside ten floods, and took {end_before:?}"
    );
    Ok(())
}

/// The number of the logger, for a shell in the guest.
const LOGGER: &str = "$(for it in /proc/[0-9]*; do \
    tr '\\0' ' ' < $it/cmdline 2>/dev/null | grep -q '^[^ ]* log' && echo ${it#/proc/}; done | tail -n 1)";

/// How long `sharkctl restart` of a small service takes, the median of some, on the guest's clock.
fn restart_time(machine: &mut Machine) -> anyhow::Result<Duration> {
    let mut times = Vec::new();
    for _ in 0..TIMES {
        let text = ask(
            machine,
            "a=$(cut -d' ' -f1 /proc/uptime); sharkctl restart detached >/dev/null && \
             b=$(cut -d' ' -f1 /proc/uptime) && echo $b $a | awk '{print $1-$2}'",
        )?;
        times.push(Duration::try_from_secs_f64(text.trim().parse()?)?);
    }
    times.sort();
    times.get(TIMES / 2).copied().context("no times")
}

/// Switches off, and gives how long that took.
fn end_time(mut machine: Machine) -> anyhow::Result<Duration> {
    let began = Instant::now();
    let status = machine.power_off(ANSWER)?;
    ensure!(status.success(), "QEMU ended with {status}");
    Ok(began.elapsed())
}
