//! Boots of the small system, whose slots hold different versions: what the scenarios of rollback
//! begin with, and what each of them asks of the history afterwards. Not here: the record of a disk
//! from outside (`record`).

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use mounts::slot::Slot;
use mounts::slot::record::{Ended, PastBoot, Record, Stage};
use serde_json::Value;

use crate::disk::DiskCopy;
use crate::image::{Image, SmallImages};
use crate::machine::{Boot, Machine};
use crate::overlay::Overlay;
use crate::scenario::{ANSWER, BOOT, accel, ask, ask_json, field};
use crate::spec::{Disk, Spec};

/// On the command line of every boot: few words on the console, a panic that does not wait, and no
/// tests of the kernel's own algorithms, which are a tenth of an emulated boot.
const WORDS: &str = "quiet panic=1 cryptomgr.notests";

/// How long a boot may take that follows others which fail.
pub const BOOTS: Duration = Duration::from_secs(300);

/// A device with the small system in both slots.
pub struct Device {
    /// Its disk.
    pub disk: DiskCopy,
    image: Image,
}

impl Device {
    /// One that was never booted; slot b does what the command line asks.
    ///
    /// # Errors
    /// When there is no image.
    pub fn new() -> anyhow::Result<Self> {
        let small = SmallImages::from_environment()?;
        Self::of(&small, &small.slots)
    }

    /// One from another image of the small system.
    ///
    /// # Errors
    /// When there is no image.
    pub fn of(small: &SmallImages, folder: &Path) -> anyhow::Result<Self> {
        let image = Image {
            kernel: small.kernel.clone(),
            ..Image::load(folder)?
        };
        Ok(Self {
            disk: DiskCopy::of(&image.disk)?,
            image,
        })
    }

    /// One whose slot b is on trial with so many tries, as after an update.
    ///
    /// # Errors
    /// When there is no image.
    pub fn with_b_on_trial(tries: u8) -> anyhow::Result<Self> {
        let device = Self::new()?;
        device.disk.put_b_on_trial(tries)?;
        Ok(device)
    }

    /// The machine around the disk. Its memory outlives a reset, so that evidence does.
    #[must_use]
    pub fn spec(&self, words: &str) -> Spec {
        let disk = Disk::Kept(self.disk.path().to_owned());
        Spec {
            append: format!("{WORDS} {words}"),
            no_reboot: false,
            ..Spec::new(&self.image, accel(self.image.arch), disk)
        }
    }

    /// Powers it on.
    ///
    /// # Errors
    /// When QEMU cannot be started.
    pub fn power_on(&self, words: &str) -> anyhow::Result<Machine> {
        start(&self.spec(words), Overlay::default())
    }

    /// Powers it on and waits until a boot is committed, however the ones before it ended.
    ///
    /// # Errors
    /// When none is.
    pub fn committed(&self, words: &str) -> anyhow::Result<Machine> {
        let machine = self.power_on(words)?;
        commits(&machine, 0)?;
        Ok(machine)
    }
}

/// Powers a machine on, with an agent that waits for the verdict.
///
/// # Errors
/// When QEMU cannot be started.
pub fn start(spec: &Spec, overlay: Overlay) -> anyhow::Result<Machine> {
    Machine::quiet(spec, overlay.with_verdict())
}

/// A gate that stays open for so long after all is good, where a boot has to end before it is passed: the
/// two seconds of the small system are over at once in a machine that stands still.
#[must_use]
pub fn long_soak(seconds: u32, deadline: u32) -> Overlay {
    Overlay::default().with_file(
        "shark/services/default.toml.d/soak.toml",
        format!("[gate]\nsoak = \"{seconds}s\"\ndeadline = \"{deadline}s\"\n"),
    )
}

/// Waits until a boot is committed, however the ones before it ended.
///
/// # Errors
/// When none is; the console's last lines are in the error.
pub fn commits(machine: &Machine, from: usize) -> anyhow::Result<()> {
    match machine.good_at_last(from, Instant::now() + BOOTS) {
        Boot::Good => Ok(()),
        other => bail!(
            "no boot was committed: {other:?}; the console's last lines:\n{}",
            machine.console.tail(60)
        ),
    }
}

/// Waits for the next boot's end at the rescue console.
///
/// # Errors
/// When it ends elsewhere; the console's last lines are in the error.
pub fn goes_to_rescue(machine: &Machine, from: usize) -> anyhow::Result<String> {
    match machine.good_at_last(from, Instant::now() + BOOTS) {
        Boot::Rescue(line) => Ok(line),
        other => bail!(
            "{other:?} instead of rescue; the console's last lines:\n{}",
            machine.console.tail(60)
        ),
    }
}

/// The slot that runs.
///
/// # Errors
/// When the machine does not say.
pub fn running(machine: &mut Machine) -> anyhow::Result<String> {
    let boot = ask_json(machine, "sharkctl boot --json")?;
    let slot = field(&boot, "/slot")?.as_str();
    Ok(slot
        .with_context(|| format!("no slot in {boot}"))?
        .to_owned())
}

/// A boot that ended, as the history has to tell it.
#[derive(Clone, Copy, Debug)]
pub struct Told<'a> {
    /// The slot that was booted.
    pub slot: Slot,
    /// How it ended.
    pub ended: Ended,
    /// How far it had come; any will do for `None`.
    pub stage: Option<Stage>,
    /// A part of the cause, in words.
    pub cause: &'a str,
}

impl Told<'_> {
    /// Whether `boot` is it.
    #[must_use]
    pub fn is(&self, boot: &PastBoot) -> bool {
        boot.slot == self.slot
            && boot.ended == self.ended
            && self.stage.is_none_or(|stage| stage == boot.stage)
            && boot.text.as_str().contains(self.cause)
    }

    /// Demands that the history of the running system tells it, as a table and as JSON, with slot,
    /// phase and cause.
    ///
    /// # Errors
    /// When one of the two does not; it is in the error.
    pub fn by(&self, machine: &mut Machine) -> anyhow::Result<()> {
        // `gate-failed` in JSON is `gate failed` for people.
        let ended = self.ended.as_str().replace('-', " ");
        let words = [self.slot.as_str(), &ended, self.cause];
        let stage = self.stage.map_or("", Stage::as_str);
        let table = ask(machine, "sharkctl boot history")?;
        let has = |line: &str| {
            let mut cells = line.split_whitespace();
            words.iter().all(|word| line.contains(word))
                && (stage.is_empty() || cells.any(|cell| cell == stage))
        };
        ensure!(
            table.lines().any(has),
            "the history does not tell of {self:?}:\n{table}"
        );
        let json = ask_json(machine, "sharkctl boot history --json")?;
        let boots = json
            .pointer("/history")
            .unwrap_or(&json)
            .as_array()
            .with_context(|| format!("the history is no list: {json}"))?;
        let text = |boot: &Value, key: &str| {
            let value = boot.get(key).and_then(Value::as_str);
            value.unwrap_or_default().to_owned()
        };
        let is = |boot: &&Value| {
            text(boot, "slot") == self.slot.as_str()
                && text(boot, "ended") == self.ended.as_str()
                && (stage.is_empty() || text(boot, "phase") == stage)
                && text(boot, "text").contains(self.cause)
        };
        ensure!(
            boots.iter().any(|boot| is(&boot)),
            "the history in JSON does not tell of {self:?}: {json}"
        );
        Ok(())
    }

    /// Demands that the record on the disk tells it.
    ///
    /// # Errors
    /// When it does not; its history is in the error.
    pub fn on(&self, record: &Record) -> anyhow::Result<()> {
        let boots: Vec<&PastBoot> = record.history.iter().collect();
        ensure!(
            boots.iter().any(|boot| self.is(boot)),
            "the record does not tell of {self:?}: {boots:?}"
        );
        Ok(())
    }
}

/// Slot b, tried once, fails as `words` ask: slot a runs afterwards, stays committed, and its
/// history tells what became of b.
///
/// # Errors
/// When anything of this is not so.
pub fn b_is_rolled_back(words: &str, told: Told<'_>) -> anyhow::Result<()> {
    rolls_back(&Device::with_b_on_trial(1)?, words, told)
}

/// The same for any device whose slot b has one try left.
///
/// # Errors
/// When anything of this is not so.
pub fn rolls_back(device: &Device, words: &str, told: Told<'_>) -> anyhow::Result<()> {
    rolls_back_with(device, words, Overlay::default(), told)
}

/// The same with other files laid over the system's.
///
/// # Errors
/// When anything of this is not so.
pub fn rolls_back_with(
    device: &Device,
    words: &str,
    overlay: Overlay,
    told: Told<'_>,
) -> anyhow::Result<()> {
    let mut machine = start(&device.spec(words), overlay)?;
    commits(&machine, 0)?;
    ensure!(
        running(&mut machine)? == "a",
        "slot b was committed:\n{}",
        machine.console.tail(40)
    );
    told.by(&mut machine)?;
    machine.power_off(ANSWER)?;
    let record = device.disk.record()?;
    told.on(&record)?;
    ensure!(
        record.committed == Some(Slot::A) && record.slot(Slot::B).tries_left == 0,
        "after the rollback the record says {record:?}"
    );
    Ok(())
}

/// Boots once more after an orderly end, to see that what was settled stays so.
///
/// # Errors
/// When the boot is not good, or of the other slot.
pub fn boots_again(device: &Device, words: &str, slot: &str) -> anyhow::Result<()> {
    let mut machine = start(&device.spec(words), Overlay::default())?;
    let boot = machine.boot(0, Instant::now() + BOOT);
    ensure!(
        boot == Boot::Good,
        "{boot:?}; the console's last lines:\n{}",
        machine.console.tail(60)
    );
    let runs = running(&mut machine)?;
    ensure!(runs == slot, "slot {runs} instead of {slot}");
    machine.power_off(ANSWER)?;
    Ok(())
}
