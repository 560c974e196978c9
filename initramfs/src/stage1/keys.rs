//! Whom stage1 trusts: the keys of the initramfs, and the links that were found on the state partition.
//! Not here: what a link makes of the keys (`mounts::keyring`), and what is signed (`root`).

use std::fs;
use std::path::Path;

use mounts::handover::KeyFacts;
use mounts::keyring::{Basis, Keyring, Named, copies, split};
use mounts::manifest::{self, PublicKey};

use super::record::Ledger;
use super::report::Report;

/// Where the initramfs keeps the keys that may sign manifests.
pub(crate) const KEYS: &str = "/etc/shark/keys";

/// Whom stage1 trusts.
#[derive(Clone, Debug, Default)]
pub(crate) struct Trusted {
    image: Vec<Named>,
    pub(crate) keyring: Keyring,
}

impl Trusted {
    /// Gathers keys and links. What is wrong with any is reported, and the others still count.
    pub(crate) fn gather(ledger: &mut Ledger, report: &mut Report) -> Self {
        let image = of_directory(Path::new(KEYS), report);
        let (chains, problems) = copies::chains(&ledger.links());
        for problem in problems {
            report.warn(format!("keys: {problem}"));
        }
        let basis = Basis {
            image,
            chains,
            needed: ledger.key_links(),
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

    /// For init: the keys of the initramfs.
    pub(crate) fn facts(&self) -> Vec<KeyFacts> {
        let facts = |named: &Named| KeyFacts {
            name: named.name.clone(),
            key: named.key.to_string(),
        };
        self.image.iter().map(facts).collect()
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
    }
}
