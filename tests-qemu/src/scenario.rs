//! What every scenario starts with: the image under test on a disk of its own, a boot that has to
//! be good, questions that have to be answered. Not here: the scenarios (`tests/`).

use std::path::Path;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use serde_json::Value;

use crate::accel::Accel;
use crate::agent::Output;
use crate::image::Image;
use crate::machine::{Boot, Machine};
use crate::overlay::Overlay;
use crate::spec::{Arch, Disk, Spec};

/// How long a boot may take under emulation on a busy machine.
pub const BOOT: Duration = Duration::from_secs(180);

/// How long one question may take.
pub const ANSWER: Duration = Duration::from_secs(120);

/// As much of the patience is taken by one answer at most: while the machine stands still, nobody gets on.
const LOOK: Duration = Duration::from_secs(10);

/// A machine with the image under test and this disk.
///
/// # Errors
/// When there is no image.
pub fn spec(disk: Option<&Path>) -> anyhow::Result<Spec> {
    let image = Image::from_environment()?;
    let disk = disk.map_or(Disk::Fresh(image.disk.clone()), |path| {
        Disk::Kept(path.to_owned())
    });
    Ok(Spec::new(&image, accel(image.arch), disk))
}

/// The accelerator, found out once for this machine's architecture; others are translated.
#[must_use]
pub fn accel(arch: Arch) -> Accel {
    static ACCEL: OnceLock<Accel> = OnceLock::new();
    if !arch.is_native() {
        return Accel::probe(arch).0;
    }
    *ACCEL.get_or_init(|| Accel::probe(arch).0)
}

/// Boots, and does not go on unless the boot is good.
///
/// # Errors
/// When it is not; the console's last lines are in the error.
pub fn booted(spec: &Spec) -> anyhow::Result<Machine> {
    booted_within(spec, BOOT)
}

/// The same, for a machine with more to do until its boot is good.
///
/// # Errors
/// When it is not good by then; the console's last lines are in the error.
pub fn booted_within(spec: &Spec, patience: Duration) -> anyhow::Result<Machine> {
    let machine = Machine::quiet(spec, Overlay::default())?;
    match machine.boot(0, Instant::now() + patience) {
        Boot::Good => Ok(machine),
        other => bail!(
            "the boot is not good: {other:?}; the console's last lines:\n{}",
            machine.console.tail(60)
        ),
    }
}

/// Asks, and has to be told with status 0.
///
/// # Errors
/// When the status is another.
pub fn ask(machine: &mut Machine, command: &str) -> anyhow::Result<String> {
    let output = tell(machine, command)?;
    ensure!(
        output.status == 0,
        "`{command}` ended with {}: {}{}",
        output.status,
        output.text(),
        String::from_utf8_lossy(&output.err)
    );
    Ok(output.text())
}

/// Asks; any status will do.
///
/// # Errors
/// When the machine does not answer.
pub fn tell(machine: &mut Machine, command: &str) -> anyhow::Result<Output> {
    machine.shell(command, ANSWER)
}

/// Asks for JSON.
///
/// # Errors
/// When the answer is none.
pub fn ask_json(machine: &mut Machine, command: &str) -> anyhow::Result<Value> {
    let text = ask(machine, command)?;
    serde_json::from_str(&text).with_context(|| format!("`{command}` printed no JSON: {text}"))
}

/// How long `command` takes, the mean of some, on the guest's clock, which counts in hundredths of a second.
///
/// # Errors
/// When it fails.
pub fn mean(machine: &mut Machine, command: &str, times: u32) -> anyhow::Result<Duration> {
    let text = ask(
        machine,
        &format!(
            "a=$(cut -d' ' -f1 /proc/uptime); for i in $(seq {times}); do {command} || exit; done; \
             b=$(cut -d' ' -f1 /proc/uptime); echo $b $a | awk '{{print ($1-$2)/{times}}}'"
        ),
    )?;
    Ok(Duration::try_from_secs_f64(text.trim().parse()?)?)
}

/// Asks again until the answer is as it should be.
///
/// # Errors
/// When it is not within [`ANSWER`]; the last answer is in the error.
pub fn until(
    machine: &mut Machine,
    command: &str,
    right: impl Fn(&Output) -> bool,
) -> anyhow::Result<Output> {
    let mut left = ANSWER;
    loop {
        let began = Instant::now();
        let output = tell(machine, command)?;
        if right(&output) {
            return Ok(output);
        }
        ensure!(
            !left.is_zero(),
            "`{command}` still says: {} {}",
            output.status,
            output.text()
        );
        left = left.saturating_sub(began.elapsed().min(LOOK));
    }
}

/// Lets the guest work for so long by its clock: in many short pauses, since a machine that stands still
/// lets a long one pass with nothing done.
///
/// # Errors
/// When the machine does not answer.
pub fn pause(machine: &mut Machine, time: Duration) -> anyhow::Result<()> {
    let halves = time.as_millis().div_ceil(500);
    let command = format!("for i in $(seq {halves}); do sleep 0.5; done");
    ask(machine, &command).map(drop)
}

/// A text field of a JSON object.
///
/// # Errors
/// When there is none.
pub fn field<'a>(value: &'a Value, pointer: &str) -> anyhow::Result<&'a Value> {
    value
        .pointer(pointer)
        .with_context(|| format!("no {pointer} in {value}"))
}
