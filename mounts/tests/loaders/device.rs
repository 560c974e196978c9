//! A device whose loader has a kernel for each slot: firmware, stage1, PID 1 and updater reduced to
//! what they do with record and loader, over a partition that loses power.

use mounts::loader::agree::{Verdict, compare};
use mounts::loader::boot_loader_spec::{BootLoaderSpec, OneShot};
use mounts::loader::uboot::UBoot;
use mounts::loader::{self, Entry, Kind, Loader, Source, Standing, entries};
use mounts::slot::Slot;
use mounts::slot::account::{self, Running};
use mounts::slot::decide::{self, Circumstances};
use mounts::slot::judge::{Evidence, Stamp, judge};
use mounts::slot::record::{Ended, Record};
use mounts::slot::region::{REGION_SIZE, RecordState, newest};
use mounts::slot::update::{self, System};
use mounts::verity::RootHash;

use crate::fat::{Fat, Loss};
use crate::script;

const NOW: Stamp = Stamp { unix: 9 };
/// How often the machine may start until somebody has arrived.
const STARTS: u32 = 4;

/// Whether a kernel comes as far as stage1. Its bytes say so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kernel {
    Works,
    Dies,
}

impl Kernel {
    fn bytes(self, serial: u32) -> Vec<u8> {
        format!("{self:?} {serial} {}", "k".repeat(64)).into_bytes()
    }
}

struct Bytes(Vec<u8>);

impl Source for Bytes {
    fn read(&mut self, offset: u64, into: &mut [u8]) -> Result<usize, String> {
        let rest = &self.0[usize::try_from(offset).unwrap().min(self.0.len())..];
        let count = rest.len().min(into.len());
        into[..count].copy_from_slice(&rest[..count]);
        Ok(count)
    }
}

struct Variable<'a>(&'a mut Option<String>);

impl OneShot for Variable<'_> {
    fn set(&mut self, pattern: &str) {
        *self.0 = Some(pattern.to_owned());
    }

    fn clear(&mut self) {
        *self.0 = None;
    }
}

/// Somebody has arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Arrived {
    pub(crate) slot: Slot,
    /// With this slot's kernel.
    pub(crate) kernel: Slot,
    /// After so many starts.
    pub(crate) starts: u32,
}

#[derive(Clone, Debug)]
pub(crate) struct Device {
    /// systemd-boot or U-Boot.
    kind: Kind,
    pub(crate) fat: Fat,
    one_shot: Option<String>,
    /// Whether the firmware keeps variables.
    pub(crate) has_variables: bool,
    pub(crate) record: Record,
    serial: u32,
    boot: u8,
    /// The firmware starts this slot's entry, whatever it was told.
    pub(crate) obstinate: Option<Slot>,
    /// Whether the firmware removes the old name of an entry before it makes the new one.
    pub(crate) removes_first: bool,
}

impl Device {
    /// Slot a runs and is committed; slot b holds what the image has brought.
    pub(crate) fn new(kind: Kind) -> Self {
        let system = |byte| Some((RootHash::new([byte; 32]), 1));
        let mut device = Self {
            kind,
            fat: Fat::default(),
            one_shot: None,
            has_variables: true,
            record: Record::for_image(system(1), system(2)),
            serial: 0,
            boot: 0,
            obstinate: None,
            removes_first: false,
        };
        for (slot, rank) in [(Slot::A, 2), (Slot::B, 1)] {
            let name = entries::Name {
                rank,
                slot,
                count: None,
            };
            let text = entries::content(name, Kind::Uefi, "console=ttyS0");
            match kind {
                Kind::Uefi => device.fat.put(&name.path(), text.as_bytes()),
                // Without an environment, it is a before b.
                Kind::UBoot | Kind::Gpt => {}
            }
            let kernel = Kernel::Works.bytes(0);
            device.fat.put(&entries::kernel_path(slot), &kernel);
            device.fat.put(&entries::initramfs_path(slot), &kernel);
        }
        let arrived = device.start().unwrap();
        assert_eq!((arrived.slot, arrived.starts), (Slot::A, 1));
        device.commit(Slot::A).unwrap();
        device
    }

    fn with_loader<T>(
        &mut self,
        act: impl FnOnce(&mut dyn Loader) -> Result<T, String>,
    ) -> Result<T, String> {
        let mut none = None;
        let variable = if self.has_variables {
            &mut self.one_shot
        } else {
            &mut none
        };
        match self.kind {
            Kind::Uefi => act(&mut BootLoaderSpec::new(&mut self.fat, Variable(variable))),
            Kind::UBoot => act(&mut UBoot::new(&mut self.fat)),
            Kind::Gpt => panic!("it has no files"),
        }
    }

    pub(crate) fn standing(&mut self) -> Standing {
        self.with_loader(|loader| loader.standing()).unwrap()
    }

    fn running(&self, slot: Slot) -> Running {
        Running {
            slot: Some(slot),
            boot_id: [self.boot; 16],
            ..Running::default()
        }
    }

    /// Writes the record, which is whole or as it was.
    fn write(&mut self, change: impl FnOnce(&mut Record)) -> Result<(), String> {
        self.fat.call()?;
        change(&mut self.record);
        self.fat.call()
    }

    fn follow(&mut self) -> Result<(), String> {
        self.follow_as(&self.record.clone())
    }

    fn follow_as(&mut self, record: &Record) -> Result<(), String> {
        match loader::wish(record) {
            None => Ok(()),
            Some(wish) => self.with_loader(|it| loader::follow(it, wish)).map(drop),
        }
    }

    pub(crate) fn commit(&mut self, slot: Slot) -> Result<(), String> {
        let running = self.running(slot);
        self.write(|record| account::commit(record, &running, "").unwrap())?;
        self.follow()
    }

    pub(crate) fn fail(&mut self, slot: Slot) -> Result<(), String> {
        let running = self.running(slot);
        self.write(|it| account::fail(it, &running, Ended::GateFailed, 5, "").unwrap())?;
        self.follow()
    }

    /// An orderly end of slot `slot`.
    pub(crate) fn end(&mut self, slot: Slot) -> Result<(), String> {
        let running = self.running(slot);
        self.write(|record| account::end(record, &running, Ended::Reboot, 5).unwrap())
    }

    pub(crate) fn roll_back(&mut self, slot: Slot) -> Result<(), String> {
        let running = self.running(slot);
        self.write(|record| assert!(update::roll_back(record, &running).is_ok()))?;
        self.follow()
    }

    pub(crate) fn cancel(&mut self, slot: Slot) -> Result<(), String> {
        let running = self.running(slot);
        self.write(|record| assert!(update::cancel(record, &running).is_ok()))?;
        self.follow()
    }

    /// Installs a system with this kernel into the other slot than `slot`, as the updater does.
    pub(crate) fn install(&mut self, slot: Slot, kernel: Kernel) -> Result<(), String> {
        self.serial += 1;
        let (running, serial) = (self.running(slot), self.serial);
        let system = System {
            root_hash: RootHash::new([u8::try_from(serial).unwrap() + 8; 32]),
            security_version: 1,
        };
        self.write(|record| assert!(update::begin(record, &running, system).is_ok()))?;
        self.follow()?;
        let bytes = kernel.bytes(serial);
        self.with_loader(|loader| {
            let (mut kernel, mut initramfs) = (Bytes(bytes.clone()), Bytes(bytes));
            loader.place(slot.other(), &mut kernel, &mut initramfs)
        })?;
        self.write(|record| assert!(update::arm(record, &running, system).is_ok()))?;
        self.follow()
    }

    /// The firmware and its boot loader: whose kernel is started, and whether it works.
    fn firmware(&mut self) -> Result<(Slot, Kernel), String> {
        let slot = match self.kind {
            Kind::Uefi => self.systemd_boot()?,
            Kind::UBoot => script::run(&mut self.fat)?,
            Kind::Gpt => panic!("it has no files"),
        };
        let files = self.fat.files();
        let bytes = &files[&entries::kernel_path(slot)];
        assert!(
            bytes.len() > 64 && bytes.ends_with(b"kkkk"),
            "half a kernel was started"
        );
        assert_eq!(files.get(&entries::initramfs_path(slot)), Some(bytes));
        let works = bytes.starts_with(b"Works");
        Ok((slot, if works { Kernel::Works } else { Kernel::Dies }))
    }

    /// The slot that it starts. A parser and an order of its own, after the specification.
    fn systemd_boot(&mut self) -> Result<Slot, String> {
        let one_shot = self.one_shot.take();
        let files = self.fat.files();
        let mut found = Vec::new();
        for (path, bytes) in &files {
            let Some(name) = path.strip_prefix("loader/entries/") else {
                continue;
            };
            let text = String::from_utf8_lossy(bytes);
            let value = |key: &str| text.lines().find_map(|line| line.strip_prefix(key));
            let (Some(stem), Some(linux)) = (name.strip_suffix(".conf"), value("linux ")) else {
                continue;
            };
            let (id, count) = stem.split_once('+').map_or((stem, None), |(id, count)| {
                let (left, done) = count.split_once('-').unwrap_or((count, "0"));
                (
                    id,
                    Some((left.parse::<u32>().unwrap(), done.parse::<u32>().unwrap())),
                )
            });
            let version: u32 = value("version ").unwrap_or("0").parse().unwrap();
            let spent = matches!(count, Some((0, _)));
            let chosen = one_shot
                .as_ref()
                .is_some_and(|it| id.starts_with(it.trim_end_matches('*')));
            let insists = self
                .obstinate
                .is_some_and(|it| linux.starts_with(&format!("/shark/{it}/")));
            let key = (insists, chosen, !spent, version);
            let options = value("options ").unwrap_or_default().to_owned();
            found.push((
                key,
                name.to_owned(),
                id.to_owned(),
                count,
                linux.to_owned(),
                options,
            ));
        }
        found.sort();
        let (_, name, id, count, linux, options) = found.pop().expect("an entry to start");
        if let Some((left, done)) = count.filter(|(left, _)| *left > 0) {
            let counted = format!("{id}+{}-{}.conf", left - 1, done + 1);
            self.rename(&name, &counted)?;
        }
        let slot = if options.contains("shark.loader-slot=a") {
            Slot::A
        } else {
            Slot::B
        };
        assert!(
            linux.starts_with(&format!("/shark/{slot}/")),
            "{linux} {options}"
        );
        Ok(slot)
    }

    /// What the loader does before it starts an entry that is counted.
    fn rename(&mut self, from: &str, to: &str) -> Result<(), String> {
        let path = |name: &str| format!("loader/entries/{name}");
        let bytes = self.fat.files()[&path(from)].clone();
        self.fat.call()?;
        if self.removes_first {
            self.fat.take(&path(from));
            self.fat.call()?;
            self.fat.put(&path(to), &bytes);
        } else {
            self.fat.put(&path(to), &bytes);
            self.fat.call()?;
            self.fat.take(&path(from));
        }
        Ok(())
    }

    /// Powers on until somebody has arrived.
    pub(crate) fn start(&mut self) -> Result<Arrived, String> {
        for starts in 1..=STARTS {
            let (kernel, works) = self.firmware()?;
            if works == Kernel::Dies {
                continue;
            }
            self.boot += 1;
            if let Some(slot) = self.stage1(kernel)? {
                return Ok(Arrived {
                    slot,
                    kernel,
                    starts,
                });
            }
        }
        panic!(
            "nobody has arrived after {STARTS} starts: {:?}",
            self.record
        );
    }

    /// The slot that was charged; none after a redirect.
    fn stage1(&mut self, kernel: Slot) -> Result<Option<Slot>, String> {
        // In memory, until something is written.
        let mut record = self.record.clone();
        judge(&mut record, &Evidence::default(), NOW);
        for (slot, why) in decide::decide(&state(&record), &Circumstances::default()) {
            // To look changes nothing, so that power need not go then.
            let mut device = self.clone();
            device.fat.left = None;
            let tried = || device.standing().entry(slot) == Entry::Tried;
            match compare(&record, slot, kernel, tried) {
                Verdict::Agreed => record.redirects = 0,
                Verdict::GoOn => self.follow_as(&record)?,
                Verdict::NeverArrived => {
                    account::never_arrived(&mut record, slot, "", NOW);
                    continue;
                }
                Verdict::Redirect => {
                    assert!(account::redirect(&mut record, [self.boot; 16]));
                    self.write(|it| *it = record)?;
                    self.follow()?;
                    return Ok(None);
                }
            }
            account::charge(&mut record, slot, &why, [self.boot; 16], NOW);
            self.write(|it| *it = record)?;
            return Ok(Some(slot));
        }
        panic!("no slot is left: {record:?}");
    }

    pub(crate) fn cut(&mut self, loss: Loss) {
        self.fat.cut(loss);
    }
}

/// A disk with this record alone.
fn state(record: &Record) -> RecordState {
    let mut region = vec![0; REGION_SIZE];
    region[..4096].copy_from_slice(&record.encode());
    newest([Ok(&region), Ok(&vec![0; REGION_SIZE])])
}
