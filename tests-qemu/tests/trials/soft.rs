//! User space that begins again, in the same root and in another one, while the kernel and the
//! watchdog go on.

use std::time::Instant;

use anyhow::ensure;
use machine::Machine;
use machine::machine::Boot;
use machine::overlay::Overlay;
use machine::scenario::{ANSWER, BOOT, ask, ask_json, field, tell, until};
use machine::slots::{Device, commits, running, start};
use mounts::slot::Slot;
use mounts::slot::record::Reason;

/// Seconds that the watchdog waits.
const PATIENCE: u64 = 20;
const NEXT: &str = "/run/nextroot";

/// Another system: another init, told apart by its last word, and another set of services.
const PREPARE: &str = "set -e
cp -a /usr /bin /sbin /lib /etc /run/nextroot/ 2>/dev/null || cp -a /usr /bin /sbin /etc /run/nextroot/
rm -rf /run/nextroot/usr/lib/shark/services/vital.toml
printf 'exec = \"/usr/bin/sleep 100000\"\\n' > /run/nextroot/usr/lib/shark/services/newcomer.toml
printf another >> /run/nextroot$(readlink /proc/1/exe)";

#[test]
fn user_space_begins_again_in_the_same_root_and_in_another() -> anyhow::Result<()> {
    let device = Device::new()?;
    let mut spec = device.spec(&format!("shark.watchdog={PATIENCE}"));
    spec.watchdog = true;
    let mut machine = start(&spec, Overlay::default())?;
    commits(&machine, 0)?;
    let kernel = kernel(&mut machine)?;

    what_is_no_root_is_refused(&mut machine)?;

    // In the same root: the boot stays committed, what was mounted meanwhile is gone.
    ask(
        &mut machine,
        "mkdir -p /run/mine && mount -t tmpfs mine /run/mine && \
         echo 0123456789abcdef0123456789abcdef > /etc/machine-id",
    )?;
    begins_again(&mut machine)?;
    ensure!(kernel == self::kernel(&mut machine)?, "another kernel runs");
    ensure!(running(&mut machine)? == "a", "slot b runs");
    let boot = ask_json(&mut machine, "sharkctl boot --json")?;
    ensure!(field(&boot, "/committed")? == true, "{boot}");
    ensure!(
        tell(&mut machine, "grep /run/mine /proc/self/mounts")?.status != 0,
        "what was mounted stays so"
    );
    is_up(&mut machine, "vital", true)?;

    // In another one.
    ask(&mut machine, &format!("mount -t tmpfs next {NEXT}"))?;
    ask(&mut machine, PREPARE)?;
    machine.send("sharkctl soft-reboot")?;
    begun(&mut machine)?;
    ensure!(kernel == self::kernel(&mut machine)?, "another kernel runs");
    let exe = ask(&mut machine, "tail -c 7 /proc/1/exe")?;
    ensure!(exe == "another", "init ends with {exe:?}");
    let root = ask(&mut machine, "grep ' / ' /proc/self/mounts")?;
    ensure!(root.starts_with("next / tmpfs"), "{root}");
    is_up(&mut machine, "newcomer", true)?;
    is_up(&mut machine, "vital", false)?;
    let gate = ask(&mut machine, "sharkctl boot")?;
    ensure!(gate.contains("another root than the slot's"), "{gate}");
    // The watchdog has gone all the way along, and is fed.
    let boot = ask_json(&mut machine, "sharkctl boot --json")?;
    let watchdog = field(&boot, "/watchdog")?.as_str().unwrap_or_default();
    ensure!(watchdog.contains("i6300ESB"), "it is {watchdog:?}");
    std::thread::sleep(std::time::Duration::from_secs(PATIENCE + 3));
    ensure!(kernel == self::kernel(&mut machine)?, "it was reset");
    let said = ask(&mut machine, "dmesg")?;
    ensure!(!said.contains("did not stop"), "it was closed:\n{said}");

    machine.power_off(ANSWER)?;
    let record = device.disk.record()?;
    ensure!(
        record.committed == Some(Slot::A) && record.reason == Reason::Ended,
        "{record:?}"
    );
    Ok(())
}

/// What only a kernel that starts makes anew.
fn kernel(machine: &mut Machine) -> anyhow::Result<String> {
    ask(machine, "cat /proc/sys/kernel/random/boot_id")
}

fn is_up(machine: &mut Machine, name: &str, expect: bool) -> anyhow::Result<()> {
    let command = format!("sharkctl status {name}");
    if expect {
        return until(machine, &command, |it| it.status == 0).map(drop);
    }
    let status = tell(machine, &command)?;
    ensure!(status.status != 0, "{name}: {}", status.text());
    Ok(())
}

/// Nothing is stopped for it: the same processes run afterwards.
fn what_is_no_root_is_refused(machine: &mut Machine) -> anyhow::Result<()> {
    let vital = "sharkctl status vital --json";
    let before = ask_json(machine, vital)?;
    let refused = |machine: &mut Machine, why: &str| {
        let output = tell(machine, "sharkctl soft-reboot")?;
        let words = String::from_utf8_lossy(&output.err).into_owned();
        ensure!(
            output.status != 0 && words.contains(NEXT) && words.contains(why),
            "{}: {words}",
            output.status
        );
        Ok(())
    };
    ask(machine, &format!("mkdir -p {NEXT}/usr"))?;
    refused(machine, "is no mount point")?;
    ask(machine, &format!("mount -t tmpfs empty {NEXT}"))?;
    refused(machine, "no root with an init")?;
    ask(
        machine,
        &format!("mkdir {NEXT}/sbin && echo text > {NEXT}/sbin/init"),
    )?;
    refused(machine, "Permission denied")?;
    ask(machine, &format!("chmod +x {NEXT}/sbin/init"))?;
    refused(machine, "this is no program")?;
    ask(machine, &format!("umount {NEXT} && rmdir {NEXT}/usr"))?;
    let after = ask_json(machine, vital)?;
    ensure!(
        before.pointer("/service/pid") == after.pointer("/service/pid"),
        "before {before}, after {after}"
    );
    Ok(())
}

fn begins_again(machine: &mut Machine) -> anyhow::Result<()> {
    machine.send("sharkctl soft-reboot")?;
    begun(machine)?;
    until(machine, "sharkctl status vital", |it| it.status == 0)?;
    Ok(())
}

/// The agent of the next user space reports, and no kernel has started for it.
fn begun(machine: &mut Machine) -> anyhow::Result<()> {
    let position = machine.console.position();
    let boot = machine.boot(position, Instant::now() + BOOT);
    ensure!(
        matches!(boot, Boot::Good | Boot::Bad(_)),
        "{boot:?} after a soft reboot:\n{}",
        machine.console.tail(60)
    );
    Ok(())
}
