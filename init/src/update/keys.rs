//! The keys that may sign an update: those that stage1 boots by, and what links of keys have made of them.
//! Not here: what a link means (`mounts::keyring`), and what is signed (`mounts::bundle`).

use std::fs;
use std::path::Path;

use mounts::handover::KeyFacts;
use mounts::keyring::{Basis, Entry, Keyring, Link, LinkId, Named, Origin, SignedLink, Trust};
use mounts::manifest::{self, PublicKey};
use mounts::slot::Slot;
use services::update::{Key, KeyState};

use super::disk;
use super::job::Booted;
use crate::record;

/// Where the root has the keys that its image was made with, each a file `NAME.pub`. Where stage1 tells
/// none of its own, these are the first of the keyring.
pub(super) const DIRECTORY: &str = "/usr/lib/shark/keys";
/// Longest key file that is read.
const FILE_MAX: usize = 4096;
/// Where a key comes from that the machine came with.
const IMAGE: &str = "image";

/// Whom this machine trusts.
#[derive(Clone, Debug, Default)]
pub(super) struct Trusting {
    /// Of what the keyring is made.
    pub(super) basis: Basis,
    pub(super) keyring: Keyring,
    /// The links that are kept.
    pub(super) chain: Vec<u8>,
    /// What is wrong with what was found.
    pub(super) problems: Vec<String>,
}

impl Trusting {
    /// Writes the links that count to the disk, as far as they are not there, and has the record say so.
    ///
    /// # Errors
    /// For people.
    pub(super) fn keep(&mut self, booted: &Booted) -> Result<(), String> {
        if booted.keys.trusted.is_empty() && !self.basis.chains.is_empty() {
            return Err(
                "the initramfs of this machine knows no links of keys, and would boot nothing that they \
                 let in; it needs a newer one"
                    .to_owned(),
            );
        }
        let kept = record::keep_links(&booted.record, &booted.identity, self.basis.clone());
        (self.keyring, self.chain) = kept?;
        Ok(())
    }
}

/// All keys and links that this machine has.
pub(super) fn gather(booted: &Booted) -> Trusting {
    let (mut chains, mut problems) = record::links(&booted.record);
    for slot in Slot::ALL {
        // Behind the manifest lie those by which the slot was trusted. A slot need not have one.
        if let Ok(bytes) = disk::signed_manifest(&booted.disk, slot)
            && let Ok((links, _)) = mounts::keyring::split(manifest::after(&bytes))
            && !links.is_empty()
        {
            chains.push(bytes_of(&links));
        }
    }
    let state = record::load(&booted.record);
    let basis = Basis {
        image: image(booted),
        chains,
        needed: state
            .record()
            .map_or_else(LinkId::default, |record| record.key_link),
    };
    let (keyring, passed) = basis.keyring();
    problems.extend(passed);
    if let Some(lost) = keyring.lost() {
        problems.push(format!("what is new {lost}"));
    }
    Trusting {
        basis,
        keyring,
        chain: Vec::new(),
        problems,
    }
}

/// The keys that the machine came with.
fn image(booted: &Booted) -> Link {
    if !booted.keys.trusted.is_empty() {
        return booted.keys.clone();
    }
    let trusted = files(DIRECTORY)
        .into_iter()
        .filter_map(|(name, read)| {
            Some(Named {
                name,
                key: read.ok()?,
            })
        })
        .collect();
    Link {
        trusted,
        ..Link::default()
    }
}

/// What the initramfs says of keys, as stage1 has told it.
pub(super) fn of_initramfs(trusted: &[KeyFacts], revoked: &[KeyFacts], sequence: u32) -> Link {
    let named = |facts: &KeyFacts| {
        Some(Named {
            name: facts.name.clone(),
            key: PublicKey::parse(&facts.key).ok()?,
        })
    };
    Link {
        sequence,
        trusted: trusted.iter().filter_map(named).collect(),
        revoked: revoked.iter().filter_map(named).collect(),
    }
}

/// Links as they are kept.
pub(super) fn bytes_of(links: &[SignedLink]) -> Vec<u8> {
    let bytes = links.iter().map(SignedLink::as_bytes);
    bytes.collect::<Vec<_>>().concat()
}

/// All keys, for people: those of the keyring, and files of `directory` that are none of them.
pub(super) fn list(keyring: &Keyring, directory: &str) -> Vec<Key> {
    let mut keys: Vec<Key> = keyring.entries().iter().map(told).collect();
    for (name, read) in files(directory) {
        let known = |key: &PublicKey| keyring.entries().iter().any(|it| it.named.key == *key);
        let (key, problem) = match read {
            Ok(key) if known(&key) => continue,
            Ok(key) => (key.to_string(), "stage1 does not know it".to_owned()),
            Err(problem) => (String::new(), problem),
        };
        keys.push(Key {
            source: Path::new(directory)
                .join(format!("{name}.pub"))
                .display()
                .to_string(),
            name,
            key,
            state: KeyState::Unusable,
            link: None,
            problem: Some(problem),
        });
    }
    keys
}

fn told(entry: &Entry) -> Key {
    let (state, link) = match entry.trust {
        Trust::Trusted => (KeyState::Trusted, None),
        Trust::Retired(link) => (KeyState::Retired, Some(link)),
        Trust::Revoked(link) => (KeyState::Revoked, Some(link)),
    };
    Key {
        name: entry.named.name.clone(),
        key: entry.named.key.to_string(),
        source: match entry.origin {
            Origin::Image => IMAGE.to_owned(),
            Origin::Link(number) => format!("link {number}"),
        },
        state,
        link,
        problem: None,
    }
}

/// Name and content of each key file.
fn files(directory: &str) -> Vec<(String, Result<PublicKey, String>)> {
    let mut names: Vec<String> = fs::read_dir(directory)
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| entry.file_name().into_string().ok())
        .filter_map(|name| name.strip_suffix(".pub").map(str::to_owned))
        .collect();
    names.sort();
    names
        .into_iter()
        .map(|name| {
            let read = read(directory, &name);
            (name, read)
        })
        .collect()
}

fn read(directory: &str, name: &str) -> Result<PublicKey, String> {
    let path = Path::new(directory).join(format!("{name}.pub"));
    let text = kernel::files::read_text(&path.display().to_string(), FILE_MAX);
    let text = text.map_err(|error| error.to_string())?;
    PublicKey::parse(&text).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a";
    const OTHER: &str = "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c";

    #[test]
    fn keys_are_listed_with_what_is_wrong_with_them() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().to_str().unwrap();
        fs::write(dir.path().join("b.pub"), format!("{GOOD}\n")).unwrap();
        fs::write(dir.path().join("c.pub"), format!("{OTHER}\n")).unwrap();
        fs::write(dir.path().join("a.pub"), "none").unwrap();
        fs::write(dir.path().join("readme"), "").unwrap();
        let facts = |name: &str, key: &str| KeyFacts {
            name: name.to_owned(),
            key: key.to_owned(),
        };
        let image = of_initramfs(&[facts("x", GOOD), facts("y", "none")], &[], 3);
        let keys = list(&Keyring::begin(&image), path);
        let told: Vec<(&str, KeyState)> = keys
            .iter()
            .map(|key| (key.name.as_str(), key.state))
            .collect();
        assert_eq!(
            told,
            [
                ("x", KeyState::Trusted),
                ("a", KeyState::Unusable),
                ("c", KeyState::Unusable)
            ]
        );
        assert_eq!(
            (keys[0].source.as_str(), &keys[0].problem),
            ("image", &None)
        );
        assert!(keys[1].problem.is_some() && keys[2].source.ends_with("c.pub"));
        assert_eq!(list(&Keyring::default(), "/none/such"), []);
    }
}
