//! Reboots and power-offs: what was written is there again, the data filesystem is clean every time, and
//! a persistent timer makes up for what has gone by, once.

use std::time::{Duration, Instant};

use anyhow::ensure;
use machine::Image;
use machine::disk::DiskCopy;
use machine::machine::{Boot, Machine};
use machine::scenario::{ANSWER, BOOT, ask, booted, spec, until};
use machine::spec::Spec;

/// What the clock says when the machine is switched on, and how often the backup of three in the morning
/// has been made once that boot has settled: one that was missed is made up for, and never two.
const BOOTS: [(&str, u32); 5] = [
    ("2030-03-01T12:00:00", 0),
    ("2030-03-02T12:00:00", 1),
    ("2030-03-05T12:00:00", 2),
    ("2030-03-05T13:00:00", 2),
    ("2030-03-06T02:00:00", 2),
];
const BACKUP: &str = r#"type = "oneshot"
exec = ["/bin/sh", "-c", "echo x >> /var/lib/backups"]
timer.on-calendar = ["03:00"]
timer.persistent = true
"#;

#[test]
fn etc_is_kept_and_data_is_clean_after_every_power_off() -> anyhow::Result<()> {
    let disk = DiskCopy::of(&Image::from_environment()?.disk)?;
    for (time, (clock, backups)) in (1..).zip(BOOTS) {
        let clock = Some(clock.to_owned());
        let spec = spec(Some(disk.path()))?;
        let mut machine = booted(&Spec { clock, ..spec })?;
        backups_are(&mut machine, backups)?;
        if time == 1 {
            begin_backups(&mut machine)?;
        }
        if time > 1 {
            let kept = ask(&mut machine, "cat /etc/kept")?;
            ensure!(
                kept == format!("{}", time - 1),
                "/etc/kept says {kept:?} at boot {time}"
            );
        }
        // Not synced by us: that is what an orderly end is for.
        ask(
            &mut machine,
            &format!(
                "echo {time} > /etc/kept; dd if=/dev/urandom of=/var/lib/noise bs=64k count=20 2>/dev/null"
            ),
        )?;
        let status = machine.power_off(ANSWER)?;
        ensure!(status.success(), "QEMU ended with {status}");
        ensure!(
            !disk.needs_recovery("shark-data")?,
            "power-off {time} left the journal to be replayed"
        );
        let (code, words) = disk.fsck("shark-data")?;
        ensure!(
            code == Some(0),
            "after power-off {time}, e2fsck says:\n{words}"
        );
    }
    Ok(())
}

/// Adds the service, and lets it be three in the morning.
fn begin_backups(machine: &mut Machine) -> anyhow::Result<()> {
    ask(
        machine,
        &format!(
            "mkdir -p /etc/shark/services && cat > /etc/shark/services/backup.toml <<'END'\n{BACKUP}END"
        ),
    )?;
    ask(machine, "sharkctl reload")?;
    ask(machine, "date -u -s '2030-03-02 02:59:58'")?;
    backups_are(machine, 1)
}

fn backups_are(machine: &mut Machine, expect: u32) -> anyhow::Result<()> {
    let command = "cat /var/lib/backups 2>/dev/null | wc -l";
    let right = |text: &str| text.trim().parse() == Ok(expect);
    until(machine, command, |it| right(&it.text()))?;
    // And no more than that: by now whatever was to be made up for has begun.
    std::thread::sleep(Duration::from_secs(2));
    let found = ask(machine, command)?;
    ensure!(right(&found), "{found} backups, and not {expect}");
    Ok(())
}

#[test]
fn ctrl_alt_del_reboots_in_order() -> anyhow::Result<()> {
    let mut spec = spec(None)?;
    spec.no_reboot = false;
    let mut machine = booted(&spec)?;
    ask(&mut machine, "echo before > /etc/kept")?;
    let position = machine.console.position();
    // What the kernel sends PID 1 at Ctrl-Alt-Del, reboot(2).
    machine.send("kill -INT 1")?;
    let boot = machine.boot(position, Instant::now() + BOOT);
    ensure!(
        boot == Boot::Good,
        "{boot:?} after Ctrl-Alt-Del:\n{}",
        machine.console.tail(40)
    );
    let kept = ask(&mut machine, "cat /etc/kept")?;
    ensure!(kept == "before", "/etc/kept says {kept:?}");
    Ok(())
}
