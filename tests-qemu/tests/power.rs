//! Reboots and power-offs: what was written is there again, and the data filesystem is clean every
//! time.

use std::time::Instant;

use anyhow::ensure;
use machine::Image;
use machine::disk::DiskCopy;
use machine::machine::Boot;
use machine::scenario::{ANSWER, BOOT, ask, booted, spec};

/// How often the machine is switched off.
const TIMES: u32 = 5;

#[test]
fn etc_is_kept_and_data_is_clean_after_every_power_off() -> anyhow::Result<()> {
    let disk = DiskCopy::of(&Image::from_environment()?.disk)?;
    for time in 1..=TIMES {
        let mut machine = booted(&spec(Some(disk.path()))?)?;
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
