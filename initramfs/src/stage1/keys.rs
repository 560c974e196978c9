//! Whom stage1 trusts: the keys of the initramfs, and the links that were found on the state partition.
//! Not here: what a link makes of the keys (`mounts::keyring`), and what is signed (`root`).

use std::fs;
use std::path::Path;

use mounts::handover::{Handover, KeyFacts};
use mounts::keyring::{Basis, Keyring, Link, Named, copies, split};
use mounts::manifest::{self, PublicKey};

use super::record::Ledger;
use super::report::Report;

/// Where the initramfs keeps the keys that may sign manifests.
pub(crate) const KEYS: &str = "/etc/shark/keys";
/// What it has there beside keys when it was made later than a link: what that says.
const LINK: &str = "link";

/// Whom stage1 trusts.
#[derive(Clone, Debug, Default)]
pub(crate) struct Trusted {
    image: Link,
    pub(crate) keyring: Keyring,
}

impl Trusted {
    /// Gathers keys and links. What is wrong with any is reported, and the others still count.
    pub(crate) fn gather(ledger: &mut Ledger, report: &mut Report) -> Self {
        let image = of_initramfs(Path::new(KEYS), report);
        let (chains, problems) = copies::chains(&ledger.links());
        for problem in problems {
            report.warn(format!("keys: {problem}"));
        }
        let basis = Basis {
            image,
            chains,
            needed: ledger.key_link(),
        };
        let (keyring, passed) = basis.keyring();
        for why in passed {
            report.warn(format!("keys: passed over: {why}"));
        }
        if let Some(lost) = keyring.lost() {
            report.warn(format!("keys: what is new {lost}"));
        }
        report.step(&format!(
            "keys: {} known, by link {}",
            keyring.entries().len(),
            keyring.sequence()
        ));
        Self {
            image: basis.image,
            keyring,
        }
    }

    /// The same with the links that follow the manifest in a signature partition: they are there for the
    /// case that those on the state partition are lost.
    pub(crate) fn with_links_of(&self, signature: &[u8]) -> Keyring {
        let mut keyring = self.keyring.clone();
        if let Ok((links, _)) = split(manifest::after(signature)) {
            // What does not count here was reported with the others.
            let _passed = keyring.extend(&links);
        }
        keyring
    }

    /// For init: what the initramfs says.
    pub(crate) fn tell(&self, facts: &mut Handover) {
        let told = |keys: &[Named]| {
            let fact = |named: &Named| KeyFacts {
                name: named.name.clone(),
                key: named.key.to_string(),
            };
            keys.iter().map(fact).collect()
        };
        facts.keys = told(&self.image.trusted);
        facts.revoked_keys = told(&self.image.revoked);
        facts.key_links = self.image.sequence;
    }
}

/// What the initramfs says: as of a link, where it was made with one, otherwise its keys.
fn of_initramfs(directory: &Path, report: &mut Report) -> Link {
    let path = directory.join(LINK);
    let read = match fs::read(&path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
        other => Some(other),
    };
    let link = read.map(|read| {
        let json = read.map_err(|error| error.to_string())?;
        Link::of_json(&json).map_err(|error| error.to_string())
    });
    match link {
        Some(Ok(link)) => return link,
        Some(Err(error)) => report.warn(format!("keys: {}: {error}", path.display())),
        None => {}
    }
    Link {
        trusted: of_directory(directory, report),
        ..Link::default()
    }
}

/// The keys of a directory. A file that is no key is reported and passed over.
fn of_directory(directory: &Path, report: &mut Report) -> Vec<Named> {
    let mut paths: Vec<_> = match fs::read_dir(directory) {
        Ok(entries) => entries.flatten().map(|entry| entry.path()).collect(),
        Err(error) => {
            report.warn(format!("keys: read {}: {error}", directory.display()));
            return Vec::new();
        }
    };
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "pub"));
    paths.sort();
    let mut keys = Vec::new();
    for path in paths {
        let read = fs::read_to_string(&path).map_err(|error| error.to_string());
        match read.and_then(|text| PublicKey::parse(&text).map_err(|error| error.to_string())) {
            Ok(key) => {
                let name = path.file_stem().unwrap_or_default();
                let name = name.to_string_lossy().into_owned();
                keys.push(Named { name, key });
            }
            Err(error) => report.warn(format!("keys: {}: {error}", path.display())),
        }
    }
    keys
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_that_are_no_keys_are_told_and_the_others_count() {
        let dir = tempfile::tempdir().unwrap();
        let good = "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a\n";
        for (name, text) in [("b.pub", good), ("a.pub", "none"), ("readme", good)] {
            fs::write(dir.path().join(name), text).unwrap();
        }
        let mut report = Report::default();
        let keys = of_directory(dir.path(), &mut report);
        assert_eq!(keys.len(), 1);
        assert_eq!((keys[0].name.as_str(), report.notes().len()), ("b", 1));
        assert!(of_directory(Path::new("/none/such"), &mut report).is_empty());
        assert_eq!(report.notes().len(), 2);
        // An initramfs that was made later than a link says what that does.
        assert_eq!(of_initramfs(dir.path(), &mut report).trusted, keys);
        let link = Link {
            sequence: 3,
            trusted: keys.clone(),
            revoked: Vec::new(),
        };
        fs::write(dir.path().join(LINK), link.to_json().unwrap()).unwrap();
        let before = report.notes().len();
        assert_eq!(of_initramfs(dir.path(), &mut report), link);
        assert_eq!(report.notes().len(), before);
        fs::write(dir.path().join(LINK), "{}").unwrap();
        let image = of_initramfs(dir.path(), &mut report);
        assert_eq!((image.sequence, image.trusted), (0, keys));
        assert!(report.notes().len() > before);
        let mut facts = Handover::new(mounts::handover::Mode::Disk);
        let trusted = Trusted {
            image: link,
            keyring: Keyring::default(),
        };
        trusted.tell(&mut facts);
        assert_eq!((facts.keys.len(), facts.key_links), (1, 3));
    }
}
