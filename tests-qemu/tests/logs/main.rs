//! Logs on a real disk: kept over a cut of power, and within limits that an operator may change. How little
//! they delay is in `delays`, cuts at moments of chance are in `power`. Not here: the logger by itself, which
//! is tested beside its code, and in namespaces.

mod delays;
mod power;

use std::time::Duration;

use anyhow::ensure;
use machine::disk::DiskCopy;
use machine::scenario::{ANSWER, ask, booted, mean, pause, spec, tell, until};
use machine::{Image, Machine};

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

/// Writes a service file; it counts after a reload, or from the next boot on.
fn install(machine: &mut Machine, name: &str, text: &str) -> anyhow::Result<()> {
    let directory = "/etc/shark/services";
    let command =
        format!("mkdir -p {directory} && cat > '{directory}/{name}.toml' <<'END'\n{text}END");
    ask(machine, &command).map(drop)
}

/// Prints more than is kept of it.
const TORRENT: &str = "type = \"oneshot\"\nexec = [\"/bin/sh\", \"-c\", \"exec seq 1 100000\"]\n\
    wanted-by = []\n";
/// Prints as many lines, all of them at once.
const FEW: &str = "type = \"oneshot\"\nexec = [\"/bin/sh\", \"-c\", \"exec seq 1 20\"]\n\
    wanted-by = []\n";
const FEW_LINES: u64 = 20;

#[test]
fn logs_keep_so_many_lines_and_count_the_others() -> anyhow::Result<()> {
    let mut machine = booted(&spec(None)?)?;
    install(&mut machine, "torrent", TORRENT)?;
    install(&mut machine, "few", FEW)?;
    ask(&mut machine, "sharkctl reload")?;
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
    ensure!(dropped(&notes) == 90_000, "{notes}");
    let metrics = ask(&mut machine, "sharkctl metrics | grep ^shark_log_dropped")?;
    ensure!(metrics.trim_end().ends_with(" 90000"), "{metrics}");
    another_limit_counts_at_a_reload(&mut machine)?;
    let status = machine.power_off(ANSWER)?;
    ensure!(status.success(), "QEMU ended with {status}");
    Ok(())
}

/// How many lines were dropped, by all notes of a log together.
fn dropped(log: &str) -> u64 {
    let counts = log.lines().filter_map(|line| {
        let (_, note) = line.split_once('!')?;
        note.split(' ').next()?.parse::<u64>().ok()
    });
    counts.sum()
}

/// Another log.toml counts after a reload; one with mistakes is refused, and changes nothing.
fn another_limit_counts_at_a_reload(machine: &mut Machine) -> anyhow::Result<()> {
    let write = |text: &str| format!("printf '{text}' > /etc/shark/log.toml");
    let good = write("burst = 5\\nburst-within = \"1s\"\\n");
    let said = ask(machine, &format!("{good} && sharkctl reload"))?;
    println!("{}", said.trim_end());
    few_are_kept(machine, 1, 5)?;
    ask(machine, &write("burst = \"many\"\\n"))?;
    let refused = tell(machine, "sharkctl reload 2>&1")?;
    println!("{}", refused.text().trim_end());
    let told = refused.text().contains("log.toml") && refused.text().contains("burst");
    ensure!(refused.status != 0 && told, "{}", refused.text());
    pause(machine, Duration::from_secs(2))?;
    few_are_kept(machine, 2, 10)?;
    ask(machine, "rm /etc/shark/log.toml && sharkctl reload")?;
    few_are_kept(machine, 3, 10 + FEW_LINES)
}

/// Starts the service once more; after so many times, so many of its lines are there, and the others told.
fn few_are_kept(machine: &mut Machine, times: u64, expect: u64) -> anyhow::Result<()> {
    ask(machine, "sharkctl restart few")?;
    let kept = |log: &str| log.lines().filter(|it| !it.contains("dropped")).count() as u64;
    let log = until(machine, "sharkctl logs few", |it| {
        kept(&it.text()) + dropped(&it.text()) == times * FEW_LINES
    })?;
    let log = log.text();
    ensure!(kept(&log) == expect, "{expect} of {times} times: {log}");
    Ok(())
}
