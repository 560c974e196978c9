//! Record and outer loader of a simulated device, in every order in which power can be lost between
//! their writes: each call is the last one, what was not durable is lost, kept or torn in every
//! combination, and the way back is cut again. What must hold afterwards is in [`Life::settles`].
// The whole file is a test; clippy takes only what is marked `#[test]` for one.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod bits;
mod device;
mod fat;
mod script;

use mounts::loader::{Entry, Kind};
use mounts::slot::Slot;
use mounts::slot::record::Ended;

use device::{Arrived, Device, Kernel};
use fat::{CUT, Loss, Torn};

/// What an operator does with a device, from a committed boot of slot a on.
#[derive(Clone, Copy, Debug)]
enum Life {
    /// An update that works.
    Update,
    /// One whose kernel dies before stage1.
    Dies,
    /// One that fails its gate.
    Fails,
    /// One that is called off.
    Cancelled,
    /// One that works, and is taken back.
    TakenBack,
}

const LIVES: [Life; 5] = [
    Life::Update,
    Life::Dies,
    Life::Fails,
    Life::Cancelled,
    Life::TakenBack,
];

impl Life {
    fn live(self, device: &mut Device) -> Result<(), String> {
        let kernel = match self {
            Self::Dies => Kernel::Dies,
            Self::Update | Self::Fails | Self::Cancelled | Self::TakenBack => Kernel::Works,
        };
        device.install(Slot::A, kernel)?;
        match self {
            Self::Cancelled => device.cancel(Slot::A)?,
            Self::Update | Self::Dies | Self::Fails | Self::TakenBack => {}
        }
        device.end(Slot::A)?;
        let arrived = device.start()?;
        match self {
            Self::Update | Self::TakenBack => {
                assert_eq!(came(arrived), (Slot::B, 1));
                device.commit(Slot::B)?;
            }
            Self::Dies => {
                assert_eq!(came(arrived), (Slot::A, 2));
                let newest = device.record.history.newest().unwrap();
                assert_eq!((newest.slot, newest.ended), (Slot::B, Ended::NeverArrived));
                device.commit(Slot::A)?;
            }
            Self::Fails => {
                assert_eq!(came(arrived), (Slot::B, 1));
                device.fail(Slot::B)?;
                assert_eq!(came(device.start()?), (Slot::A, 1));
                device.commit(Slot::A)?;
            }
            Self::Cancelled => {
                assert_eq!(came(arrived), (Slot::A, 1));
                device.commit(Slot::A)?;
            }
        }
        if let Self::TakenBack = self {
            device.roll_back(Slot::B)?;
            device.end(Slot::B)?;
            assert_eq!(came(device.start()?), (Slot::A, 1));
            device.commit(Slot::A)?;
        }
        Ok(())
    }

    /// What the gate makes of a boot.
    fn judged(self, device: &mut Device, slot: Slot) -> Result<(), String> {
        match (self, slot) {
            (Self::Fails, Slot::B) => device.fail(slot),
            _ => device.commit(slot),
        }
    }

    /// From wherever the power went, the device comes up, is found good, and stays so: kernel and root
    /// of one slot, the loader where the record is, and not one restart more.
    fn settles(self, device: &mut Device) {
        let arrived = device.start().unwrap();
        assert_eq!(arrived.kernel, arrived.slot, "{arrived:?}");
        if let Self::Fails = self
            && arrived.slot == Slot::B
        {
            device.fail(Slot::B).unwrap();
            return Self::Dies.settles(device);
        }
        let is_b = arrived.slot == Slot::B;
        assert!(
            !is_b || !matches!(self, Self::Dies),
            "a dead kernel arrived"
        );
        device.commit(arrived.slot).unwrap();
        let standing = device.standing();
        assert_eq!(standing.next, Some(arrived.slot), "{standing:?}");
        assert_eq!(standing.entry(arrived.slot), Entry::Blessed);
        device.end(arrived.slot).unwrap();
        let again = device.start().unwrap();
        assert_eq!(came(again), (arrived.slot, 1));
        device.commit(again.slot).unwrap();
        assert_eq!(device.record.redirects, 0);
        // The next update works as if nothing had been.
        let other = again.slot.other();
        device.install(again.slot, Kernel::Works).unwrap();
        device.end(again.slot).unwrap();
        assert_eq!(came(device.start().unwrap()), (other, 1));
    }
}

fn came(arrived: Arrived) -> (Slot, u32) {
    assert_eq!(arrived.kernel, arrived.slot);
    (arrived.slot, arrived.starts)
}

/// Every device that is left when the power goes in call `number` of `act`; `None` when there are not
/// so many calls.
fn cut_in(
    device: &Device,
    number: u32,
    act: impl Fn(&mut Device) -> Result<(), String>,
) -> Option<Vec<Device>> {
    let mut device = device.clone();
    device.fat.left = Some(number);
    match act(&mut device) {
        Ok(()) => return None,
        Err(why) => assert!(why.contains(CUT), "{why}"),
    }
    let pending = u32::try_from(device.fat.pending()).unwrap();
    assert!(pending < 8, "{pending} changes at once are too many to try");
    let torn = [None, Some(Torn::Half), Some(Torn::Zeros), Some(Torn::Old)];
    let losses = (0..1 << pending).flat_map(|kept| torn.map(|torn| Loss { kept, torn }));
    let left = losses.map(|loss| {
        let mut left = device.clone();
        left.cut(loss);
        left
    });
    Some(left.collect())
}

/// Devices with each kind of firmware.
fn devices() -> Vec<Device> {
    [(true, false), (true, true), (false, false)]
        .map(|(has_variables, removes_first)| {
            let mut device = Device::new(Kind::Uefi);
            device.has_variables = has_variables;
            device.removes_first = removes_first;
            device
        })
        .into_iter()
        .chain([Device::new(Kind::UBoot)])
        .collect()
}

#[test]
fn every_cut_ends_in_a_boot_that_record_and_loader_agree_on() {
    let mut tried = 0;
    for device in devices() {
        for life in LIVES {
            life.live(&mut device.clone()).unwrap();
            let cuts = (0..).map_while(|number| cut_in(&device, number, |it| life.live(it)));
            for mut left in cuts.flatten() {
                life.settles(&mut left);
                tried += 1;
            }
        }
    }
    assert!(tried > 2000, "only {tried} cuts were tried");
}

#[test]
fn a_second_cut_on_the_way_back_changes_nothing_of_that() {
    let mut tried = 0;
    // One kind of firmware of each loader: these are many.
    let uefi: &[Life] = &[Life::Update, Life::Dies, Life::TakenBack];
    for (kind, lives) in [(Kind::Uefi, uefi), (Kind::UBoot, &[Life::Dies])] {
        let device = Device::new(kind);
        for &life in lives {
            let cuts = (0..).map_while(|number| cut_in(&device, number, |it| life.live(it)));
            // All lost, and all there: the first and the last but the torn ones.
            let ends = cuts.flat_map(|left| {
                let last = left.len() - 4;
                [left[0].clone(), left[last].clone()]
            });
            for left in ends {
                let back = |it: &mut Device| {
                    let arrived = it.start()?;
                    life.judged(it, arrived.slot)
                };
                let again = (0..).map_while(|number| cut_in(&left, number, back));
                for again in again {
                    for mut again in [again[0].clone(), again[again.len() - 4].clone()] {
                        life.settles(&mut again);
                        tried += 1;
                    }
                }
            }
        }
    }
    assert!(tried > 300, "only {tried} pairs of cuts were tried");
}

#[test]
fn a_loader_that_starts_what_it_likes_costs_two_restarts_and_no_loop() {
    let mut device = Device::new(Kind::Uefi);
    device.install(Slot::A, Kernel::Works).unwrap();
    device.end(Slot::A).unwrap();
    device.obstinate = Some(Slot::A);
    // What was never good is not found good with another kernel.
    assert_eq!(came(device.start().unwrap()), (Slot::A, 3));
    let newest = device.record.history.newest().unwrap();
    assert_eq!((newest.slot, newest.ended), (Slot::B, Ended::NeverArrived));

    let mut device = Device::new(Kind::Uefi);
    Life::Update.live(&mut device).unwrap();
    device.end(Slot::B).unwrap();
    device.obstinate = Some(Slot::A);
    for starts in [3, 1, 1] {
        let arrived = device.start().unwrap();
        let expect = Arrived {
            slot: Slot::B,
            kernel: Slot::A,
            starts,
        };
        assert_eq!(arrived, expect);
        device.end(Slot::B).unwrap();
    }
    device.obstinate = None;
    assert_eq!(came(device.start().unwrap()), (Slot::B, 1));
    assert_eq!(device.record.redirects, 0);
}
