//! U-Boot's environment as it is kept in two files: what one of them holds, which of them counts, and
//! where the next one is written.
//!
//! A copy is a CRC-32 of the data, a byte that tells the newer copy, and the data, to the end of the
//! file: `name=value`, each with a zero behind it, and one more zero. The CRC does not cover that byte.
//! It counts up with each copy and goes from 255 to 0. The older copy is always the one that is written
//! over, so that one that is torn costs nothing. Not here: the files, and what the names mean
//! ([`super::uboot`]).

use std::collections::BTreeMap;

use crc::{CRC_32_ISO_HDLC, Crc};

/// Bytes that a copy has, which is also said in the boot script and in `fw_env.config`.
pub const SIZE: usize = 0x4000;
/// CRC and the byte that counts.
const HEAD: usize = 5;

const CRC32: Crc<u32> = Crc::<u32>::new(&CRC_32_ISO_HDLC);

/// Names and values. Those that are not ours are kept as they are, and need be no text.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Environment(BTreeMap<Vec<u8>, Vec<u8>>);

/// A whole copy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Copy {
    /// Counts the copies.
    pub serial: u8,
    /// What it holds.
    pub environment: Environment,
}

/// What of two copies counts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pair {
    /// The newest environment; an empty one where no copy is whole.
    pub environment: Environment,
    /// Whether one was whole.
    pub whole: bool,
    /// The copy to be written next, 0 or 1.
    pub next: usize,
    /// And its serial.
    pub serial: u8,
}

impl Environment {
    /// The value of a name; nothing for one that is no text.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        let value = self.0.get(name.as_bytes())?;
        std::str::from_utf8(value).ok()
    }

    /// Gives a name a value; an empty one takes the name away, as U-Boot has it.
    ///
    /// # Errors
    /// The name is empty or has an `=`, or one of both has a zero.
    pub fn set(&mut self, name: &str, value: &str) -> Result<(), String> {
        let is_name = !name.is_empty() && !name.contains(['=', '\0']);
        if !is_name || value.contains('\0') {
            return Err(format!(
                "{name:?}={value:?} cannot be in the environment of U-Boot"
            ));
        }
        if value.is_empty() {
            self.0.remove(name.as_bytes());
        } else {
            self.0.insert(name.into(), value.into());
        }
        Ok(())
    }

    /// The copy with this serial.
    ///
    /// # Errors
    /// It has no room for all of it.
    pub fn encode(&self, serial: u8) -> Result<Vec<u8>, String> {
        let mut bytes = vec![0; HEAD];
        for (name, value) in &self.0 {
            bytes.extend_from_slice(name);
            bytes.push(b'=');
            bytes.extend_from_slice(value);
            bytes.push(0);
        }
        // Behind the last one is one more zero.
        if bytes.len() >= SIZE {
            return Err(format!(
                "the environment of U-Boot has no room: {} of {SIZE} bytes are taken",
                bytes.len().saturating_add(1)
            ));
        }
        bytes.resize(SIZE, 0);
        let sum = CRC32.checksum(bytes.get(HEAD..).unwrap_or_default());
        let head = sum.to_le_bytes().into_iter().chain([serial]);
        for (place, byte) in bytes.iter_mut().zip(head) {
            *place = byte;
        }
        Ok(bytes)
    }
}

impl Copy {
    /// Reads a copy; nothing when it is not whole.
    #[must_use]
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        if bytes.len() != SIZE {
            return None;
        }
        let (sum, rest) = bytes.split_first_chunk::<4>()?;
        let (serial, data) = rest.split_first()?;
        if CRC32.checksum(data) != u32::from_le_bytes(*sum) {
            return None;
        }
        let mut environment = Environment::default();
        for line in data.split(|byte| *byte == 0) {
            if line.is_empty() {
                break;
            }
            // What has no name or no value, U-Boot passes over too.
            let Some(at) = line.iter().position(|byte| *byte == b'=') else {
                continue;
            };
            let (name, value) = (line.get(..at)?, line.get(at.saturating_add(1)..)?);
            if !name.is_empty() && !value.is_empty() {
                environment.0.insert(name.to_vec(), value.to_vec());
            }
        }
        Some(Self {
            serial: *serial,
            environment,
        })
    }
}

impl Pair {
    /// What two copies come to.
    #[must_use]
    pub fn of(copies: [Option<Copy>; 2]) -> Self {
        let (newest, next) = match copies {
            [None, None] => return Self::default(),
            [Some(only), None] => (only, 1),
            [None, Some(only)] => (only, 0),
            [Some(first), Some(second)] if is_newer(second.serial, first.serial) => (second, 0),
            [Some(first), Some(_)] => (first, 1),
        };
        Self {
            environment: newest.environment,
            whole: true,
            next,
            serial: newest.serial.wrapping_add(1),
        }
    }
}

/// As U-Boot has it: the higher one, except that 0 comes behind 255.
fn is_newer(this: u8, that: u8) -> bool {
    match (this, that) {
        (0, 255) => true,
        (255, 0) => false,
        (this, that) => this > that,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn environment(pairs: &[(&str, &str)]) -> Environment {
        let mut environment = Environment::default();
        for (name, value) in pairs {
            environment.set(name, value).unwrap();
        }
        environment
    }

    /// Two files as they are on a partition, and the way of a change to them.
    struct Files([Vec<u8>; 2]);

    impl Files {
        fn pair(&self) -> Pair {
            Pair::of([Copy::parse(&self.0[0]), Copy::parse(&self.0[1])])
        }

        fn write(&mut self, environment: &Environment) {
            let pair = self.pair();
            self.0[pair.next] = environment.encode(pair.serial).unwrap();
        }
    }

    #[test]
    fn a_copy_begins_with_checksum_and_serial() {
        let bytes = environment(&[("b", "2"), ("a", "1=1")]).encode(7).unwrap();
        assert_eq!(bytes.len(), SIZE);
        assert_eq!(bytes[4], 7);
        assert!(bytes[5..].starts_with(b"a=1=1\0b=2\0\0"));
        let copy = Copy::parse(&bytes).unwrap();
        assert_eq!((copy.serial, copy.environment.get("a")), (7, Some("1=1")));
        // The serial is outside of the checksum.
        let mut other = bytes.clone();
        other[4] = 8;
        assert_eq!(Copy::parse(&other).unwrap().environment, copy.environment);
        other[5] ^= 1;
        assert_eq!(Copy::parse(&other), None);
        assert_eq!(Copy::parse(&bytes[..SIZE - 1]), None);
    }

    #[test]
    fn what_cannot_be_in_an_environment_is_refused() {
        let mut it = environment(&[("a", "1")]);
        for (name, value) in [("", "x"), ("a=b", "x"), ("a\0", "x"), ("a", "x\0")] {
            assert!(it.set(name, value).is_err(), "{name:?}={value:?}");
        }
        it.set("a", "").unwrap();
        assert_eq!(it, Environment::default());
        let room = SIZE - HEAD - "a=\0\0".len();
        it.set("a", &"x".repeat(room)).unwrap();
        assert!(it.encode(0).is_ok());
        it.set("a", &"x".repeat(room + 1)).unwrap();
        let error = it.encode(0).unwrap_err();
        assert!(error.contains("no room"), "{error}");
    }

    #[test]
    fn the_newer_copy_counts_and_the_older_one_is_written() {
        let copy = |serial, value| {
            Some(Copy {
                serial,
                environment: environment(&[("v", value)]),
            })
        };
        for (copies, value, next, serial) in [
            ([None, None], None, 0, 0),
            ([copy(4, "a"), None], Some("a"), 1, 5),
            ([None, copy(4, "b")], Some("b"), 0, 5),
            ([copy(4, "a"), copy(5, "b")], Some("b"), 0, 6),
            ([copy(5, "a"), copy(4, "b")], Some("a"), 1, 6),
            ([copy(4, "a"), copy(4, "b")], Some("a"), 1, 5),
            ([copy(255, "a"), copy(0, "b")], Some("b"), 0, 1),
            ([copy(0, "a"), copy(255, "b")], Some("a"), 1, 1),
            ([copy(254, "a"), copy(255, "b")], Some("b"), 0, 0),
        ] {
            let whole = value.is_some();
            let pair = Pair::of(copies);
            assert_eq!(pair.environment.get("v"), value);
            assert_eq!((pair.next, pair.serial, pair.whole), (next, serial, whole));
        }
    }

    /// A cut of power after any number of bytes: over what was there, or of a file that began anew.
    #[test]
    fn a_torn_copy_costs_nothing() {
        let (old, new) = (environment(&[("v", "old")]), environment(&[("v", "new")]));
        let mut files = Files([Vec::new(), Vec::new()]);
        for value in ["oldest", "older"] {
            files.write(&environment(&[("v", value)]));
        }
        files.write(&old);
        let pair = files.pair();
        let bytes = new.encode(pair.serial).unwrap();
        let whole = Copy::parse(&files.0[1 - pair.next]);
        for length in 0..=SIZE {
            for over in [true, false] {
                let kept = files.0[pair.next].get(length..).filter(|_| over);
                let torn = [&bytes[..length], kept.unwrap_or_default()].concat();
                let mut copies = [whole.clone(), whole.clone()];
                copies[pair.next] = Copy::parse(&torn);
                let found = Pair::of(copies);
                // Only the value differs: behind it, the old copy is as the new one.
                let is_new = found.environment == new && length > HEAD;
                assert!(is_new || found.environment == old, "{length} {over}");
                assert!(length < SIZE || is_new);
                if length % 512 == 0 {
                    // And the next change finds its place.
                    let mut after = Files(files.0.clone());
                    after.0[pair.next] = torn;
                    after.write(&environment(&[("v", "next")]));
                    assert_eq!(after.pair().environment.get("v"), Some("next"));
                }
            }
        }
    }

    #[test]
    fn changes_are_each_seen_past_the_last_serial() {
        let mut files = Files([Vec::new(), Vec::new()]);
        for number in 0..600 {
            files.write(&environment(&[("n", &number.to_string())]));
            let pair = files.pair();
            assert_eq!(pair.environment.get("n"), Some(&*number.to_string()));
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(
            pairs in prop::collection::btree_map("[^=\0]{1,12}", "[^\0]{1,40}", 0..20),
            serial: u8,
        ) {
            let mut written = Environment::default();
            for (name, value) in &pairs {
                written.set(name, value).unwrap();
            }
            let copy = Copy::parse(&written.encode(serial).unwrap()).unwrap();
            prop_assert_eq!(&copy.environment, &written);
            prop_assert_eq!(copy.serial, serial);
            for (name, value) in &pairs {
                prop_assert_eq!(written.get(name), Some(value.as_str()));
            }
        }

        #[test]
        fn any_bytes_are_a_copy_or_none(mut data in prop::collection::vec(any::<u8>(), SIZE - HEAD), serial: u8) {
            data.truncate(SIZE - HEAD);
            let head = CRC32.checksum(&data).to_le_bytes();
            let bytes = [&head[..], &[serial], &data].concat();
            let copy = Copy::parse(&bytes).unwrap();
            if let Ok(again) = copy.environment.encode(serial) {
                prop_assert_eq!(Copy::parse(&again), Some(copy));
            }
        }
    }
}
