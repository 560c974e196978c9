//! U-Boot: a boot script that starts the slots in the order of its environment, and counts the boots of
//! the first one while it is on trial.
//!
//! `shark_order` names the slots that may be started, the first one first. While `upgrade_available` is
//! 1, the script adds one to `bootcount` before it starts the first one, and when that is more than
//! `bootlimit` it starts the second one instead. A slot that was never blessed is on trial, or not in
//! the order. Not here: the script (`xtask`), the form of the environment ([`super::environment`]), the
//! calls ([`BootFiles`]).

use super::environment::{Copy, Pair, SIZE};
use super::files::{self, BootFiles};
use super::{Entry, Loader, Source, Standing};
use crate::slot::Slot;

/// The two copies of the environment. U-Boot's own, where a board keeps one, has other names.
pub const COPIES: [&str; 2] = ["shark/uboot.env", "shark/uboot-redund.env"];

/// Slots that may be started, as in `b a`.
pub const ORDER: &str = "shark_order";
/// The kernel command line, without what names loader and slot.
pub const OPTIONS: &str = "shark_bootargs";
const TRIAL: &str = "upgrade_available";
const COUNT: &str = "bootcount";
const LIMIT: &str = "bootlimit";

/// How often a slot is tried.
const TRIES: u32 = 1;

/// The environment on a partition.
#[derive(Debug)]
pub struct UBoot<F> {
    files: F,
}

/// What the environment says of the slots.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Plan {
    /// Those that may be started; each once.
    order: Vec<Slot>,
    trial: Option<Trial>,
}

/// Of the first one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Trial {
    count: u32,
    limit: u32,
}

impl Trial {
    fn is_over(self) -> bool {
        self.count >= self.limit
    }
}

impl Plan {
    /// As the script reads it: without an order, it is a and b.
    fn of(pair: &Pair) -> Self {
        let value = |name| pair.environment.get(name);
        let mut order = Vec::new();
        for word in value(ORDER).unwrap_or_default().split_ascii_whitespace() {
            let slot = Slot::ALL.into_iter().find(|slot| slot.as_str() == word);
            order.extend(slot.filter(|slot| !order.contains(slot)));
        }
        if order.is_empty() {
            order = Slot::ALL.into();
        }
        // Hexadecimal, as U-Boot has it.
        let number = |name| value(name).and_then(|text| u32::from_str_radix(text, 16).ok());
        let trial = (value(TRIAL) == Some("1")).then(|| Trial {
            count: number(COUNT).unwrap_or(0),
            limit: number(LIMIT).unwrap_or(TRIES),
        });
        Self { order, trial }
    }

    fn entry(&self, slot: Slot) -> Entry {
        match (
            self.order.iter().position(|it| *it == slot),
            self.trial.map(Trial::is_over),
        ) {
            (None, _) => Entry::Absent,
            (Some(0), Some(false)) => Entry::Armed,
            (Some(0), Some(true)) => Entry::Tried,
            (Some(_), _) => Entry::Blessed,
        }
    }

    fn next(&self) -> Option<Slot> {
        let second = self.order.get(1).filter(|_| {
            let over = self.trial.map(Trial::is_over);
            over == Some(true)
        });
        second.or(self.order.first()).copied()
    }

    /// `slot` first, and behind it the other one if that has been blessed.
    fn with_first(&self, slot: Slot, trial: Option<Trial>) -> Self {
        let mut order = vec![slot];
        let other = slot.other();
        if self.entry(other) == Entry::Blessed {
            order.push(other);
        }
        Self { order, trial }
    }

    fn without(&self, slot: Slot) -> Option<Self> {
        let rest = self.order.iter().filter(|it| **it != slot);
        let order: Vec<Slot> = rest.copied().collect();
        let trial = self.trial.filter(|_| self.order.first() != Some(&slot));
        (!order.is_empty()).then_some(Self { order, trial })
    }
}

impl<F: BootFiles> UBoot<F> {
    /// The loader of the partition with these files.
    pub const fn new(files: F) -> Self {
        Self { files }
    }

    fn read(&mut self) -> Result<Pair, String> {
        let [first, second] = COPIES;
        Ok(Pair::of([self.copy(first)?, self.copy(second)?]))
    }

    /// A copy; nothing where there is none, or none that is whole.
    fn copy(&mut self, path: &str) -> Result<Option<Copy>, String> {
        if !files::exists(&mut self.files, path)? {
            return Ok(None);
        }
        // What cannot be read is no copy either: the other one counts, and this one is written over.
        let bytes = files::bytes(&mut self.files, path, SIZE).ok().flatten();
        Ok(bytes.as_deref().and_then(Copy::parse))
    }

    /// Writes the older copy.
    fn write(&mut self, pair: &Pair, plan: &Plan) -> Result<(), String> {
        let mut environment = pair.environment.clone();
        let order: Vec<&str> = plan.order.iter().map(|slot| slot.as_str()).collect();
        environment.set(ORDER, &order.join(" "))?;
        environment.set(TRIAL, if plan.trial.is_some() { "1" } else { "0" })?;
        let Trial { count, limit } = plan.trial.unwrap_or(Trial {
            count: 0,
            limit: TRIES,
        });
        environment.set(COUNT, &format!("{count:x}"))?;
        environment.set(LIMIT, &format!("{limit:x}"))?;
        let bytes = environment.encode(pair.serial)?;
        let [first, second] = COPIES;
        let path = if pair.next == 0 { first } else { second };
        self.files.write(path, 0, &bytes)?;
        self.files.sync()?;
        let back = files::bytes(&mut self.files, path, SIZE)?;
        if back.as_deref() != Some(&*bytes) {
            return Err(format!("{path}: what is read back is not what was written"));
        }
        Ok(())
    }

    fn put_first(&mut self, slot: Slot, trial: Option<Trial>) -> Result<(), String> {
        files::has_kernel(&mut self.files, slot)?;
        let pair = self.read()?;
        let plan = Plan::of(&pair).with_first(slot, trial);
        self.write(&pair, &plan)
    }

    /// Takes a slot out of the order, where it is in it.
    fn take(&mut self, slot: Slot) -> Result<(), String> {
        let pair = self.read()?;
        let plan = Plan::of(&pair);
        if plan.entry(slot) == Entry::Absent {
            return Ok(());
        }
        let rest = plan.without(slot).ok_or_else(|| {
            format!("slot {slot} stays in the order of U-Boot, as there is no other")
        })?;
        self.write(&pair, &rest)
    }
}

impl<F: BootFiles> Loader for UBoot<F> {
    fn standing(&mut self) -> Result<Standing, String> {
        let plan = Plan::of(&self.read()?);
        Ok(Standing {
            next: plan.next(),
            entries: Slot::ALL.map(|slot| plan.entry(slot)),
        })
    }

    /// The slot leaves the order first, so that none starts a kernel that is half there.
    fn place(
        &mut self,
        slot: Slot,
        kernel: &mut dyn Source,
        initramfs: &mut dyn Source,
    ) -> Result<(), String> {
        self.take(slot)?;
        files::place(&mut self.files, slot, kernel, initramfs)
    }

    fn arm(&mut self, slot: Slot) -> Result<(), String> {
        let fresh = Trial {
            count: 0,
            limit: TRIES,
        };
        self.put_first(slot, Some(fresh))
    }

    fn bless(&mut self, slot: Slot) -> Result<(), String> {
        self.put_first(slot, None)
    }

    fn withdraw(&mut self, slot: Slot) -> Result<(), String> {
        self.take(slot)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::loader::environment::Environment;

    fn plan(values: &[(&str, &str)]) -> Plan {
        let mut environment = Environment::default();
        for (name, value) in values {
            environment.set(name, value).unwrap();
        }
        Plan::of(&Pair {
            environment,
            ..Pair::default()
        })
    }

    #[test]
    fn the_environment_tells_what_is_started() {
        use Entry::{Absent, Armed, Blessed, Tried};
        let on = |order, count| plan(&[(ORDER, order), (TRIAL, "1"), (COUNT, count), (LIMIT, "1")]);
        for (plan, next, entries) in [
            (plan(&[]), Slot::A, [Blessed, Blessed]),
            (plan(&[(ORDER, "b")]), Slot::B, [Absent, Blessed]),
            (plan(&[(ORDER, "b x b a")]), Slot::B, [Blessed, Blessed]),
            (
                plan(&[(ORDER, "b a"), (TRIAL, "0"), (COUNT, "7")]),
                Slot::B,
                [Blessed, Blessed],
            ),
            (on("b a", "0"), Slot::B, [Blessed, Armed]),
            (on("b a", "1"), Slot::A, [Blessed, Tried]),
            (on("b a", "2"), Slot::A, [Blessed, Tried]),
            (on("b a", "a"), Slot::A, [Blessed, Tried]),
            (on("b a", "?"), Slot::B, [Blessed, Armed]),
            (on("b", "1"), Slot::B, [Absent, Tried]),
            (
                plan(&[(ORDER, "b a"), (TRIAL, "1")]),
                Slot::B,
                [Blessed, Armed],
            ),
        ] {
            assert_eq!(plan.next(), Some(next), "{plan:?}");
            assert_eq!(Slot::ALL.map(|slot| plan.entry(slot)), entries, "{plan:?}");
        }
    }

    #[test]
    fn what_was_never_blessed_does_not_stay_behind_another() {
        let tried = plan(&[(ORDER, "b a"), (TRIAL, "1"), (COUNT, "1")]);
        let blessed = tried.with_first(Slot::A, None);
        assert_eq!(blessed, plan(&[(ORDER, "a")]));
        let blessed = tried.with_first(Slot::B, None);
        assert_eq!(blessed, plan(&[(ORDER, "b a")]));
        assert_eq!(tried.without(Slot::B), Some(plan(&[(ORDER, "a")])));
        assert_eq!(plan(&[(ORDER, "a")]).without(Slot::A), None);
        let alone = tried.without(Slot::A).unwrap();
        assert_eq!(alone.entry(Slot::B), Entry::Tried);
    }
}
