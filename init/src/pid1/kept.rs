//! Descriptors in PID 1's frozen state: written as their numbers, which are the same after execve(2),
//! and taken out of what came over it when the state is read. Not here: which descriptors there are.
//!
//! `#[serde(with = "kept")]` is for a field that is an `OwnedFd`, [`Kept`] for one in a collection. A
//! place that holds a descriptor and says neither does not compile.
//!
//! After a crash a number may name nothing any more, or something else: what was frozen is a moment
//! older than the crash. Whoever reads looks at what it got; for one that is not there, it gets
//! /dev/null.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fs::File;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;

use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

thread_local! {
    /// What came over execve(2) and nobody has taken yet.
    static INHERITED: RefCell<BTreeMap<RawFd, OwnedFd>> = const { RefCell::new(BTreeMap::new()) };
}

/// Lets the state that is read next find its descriptors.
pub(super) fn offer(descriptors: BTreeMap<RawFd, OwnedFd>) {
    INHERITED.with_borrow_mut(|inherited| *inherited = descriptors);
}

/// Takes one out by its number.
pub(super) fn take(number: RawFd) -> Option<OwnedFd> {
    INHERITED.with_borrow_mut(|inherited| inherited.remove(&number))
}

/// Both ends of every pipe once more: should the state turn out to be of no use, what services write
/// to must not have been closed with it.
pub(super) fn spare_pipes() -> Vec<OwnedFd> {
    INHERITED.with_borrow(|inherited| {
        let pipes = inherited.iter().filter(|(number, _)| {
            let link = std::fs::read_link(format!("/proc/self/fd/{number}"));
            link.is_ok_and(|link| link.to_string_lossy().starts_with("pipe:"))
        });
        pipes.filter_map(|(_, fd)| fd.try_clone().ok()).collect()
    })
}

/// Offers these too.
pub(super) fn add(descriptors: Vec<OwnedFd>) {
    INHERITED.with_borrow_mut(|inherited| {
        inherited.extend(descriptors.into_iter().map(|fd| (fd.as_raw_fd(), fd)));
    });
}

/// What nobody has taken.
pub(super) fn rest() -> BTreeMap<RawFd, OwnedFd> {
    INHERITED.take()
}

pub(super) fn serialize<S: Serializer>(fd: &OwnedFd, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_i32(fd.as_raw_fd())
}

pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<OwnedFd, D::Error> {
    match take(i32::deserialize(deserializer)?) {
        Some(fd) => Ok(fd),
        None => File::open("/dev/null")
            .map(OwnedFd::from)
            .map_err(D::Error::custom),
    }
}

/// A descriptor in a collection.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Kept(#[serde(with = "self")] pub(super) OwnedFd);

impl From<OwnedFd> for Kept {
    fn from(fd: OwnedFd) -> Self {
        Self(fd)
    }
}

impl AsFd for Kept {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// The same for a stream.
pub(super) mod stream {
    use super::{AsRawFd, Deserializer, OwnedFd, Serializer, UnixStream};

    pub(crate) fn serialize<S: Serializer>(
        stream: &UnixStream,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.serialize_i32(stream.as_raw_fd())
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<UnixStream, D::Error> {
        super::deserialize(deserializer).map(|fd: OwnedFd| UnixStream::from(fd))
    }
}

/// What is told to clients is JSON, and leaves out what is absent: postcard could not read it again.
pub(super) mod as_json {
    use serde::de::{DeserializeOwned, Error};
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub(crate) fn serialize<T: Serialize, S: Serializer>(
        value: &T,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        let text = serde_json::to_string(value).map_err(serde::ser::Error::custom)?;
        serializer.serialize_str(&text)
    }

    pub(crate) fn deserialize<'de, T: DeserializeOwned, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<T, D::Error> {
        let text = String::deserialize(deserializer)?;
        serde_json::from_str(&text).map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_descriptor_is_found_by_its_number_once() {
        let (read, _write) = kernel::pipe::pair().unwrap();
        let number = read.as_raw_fd();
        let bytes = postcard::to_allocvec(&Kept(read.try_clone().unwrap())).unwrap();
        let kept: Kept = {
            let of: i32 = postcard::from_bytes(&bytes).unwrap();
            offer(BTreeMap::from([(of, read)]));
            postcard::from_bytes(&bytes).unwrap()
        };
        assert_eq!(kept.0.as_raw_fd(), number);
        let nothing: Kept = postcard::from_bytes(&bytes).unwrap();
        let path = std::fs::read_link(format!("/proc/self/fd/{}", nothing.0.as_raw_fd()));
        assert_eq!(path.unwrap(), std::path::Path::new("/dev/null"));
        assert!(rest().is_empty());
    }
}
