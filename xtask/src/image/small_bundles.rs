//! Bundles for the small system: one that is right, and others that are refused, each for a reason of
//! its own. Not here: what refuses them (`tests-qemu/tests/updates`).

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use mounts::bundle::CHUNK_SIZES;
use mounts::dps::Architecture;

use super::bundle::{self, BundleForm};
use super::key::ImageKey;
use super::keyring::{self, Change};
use super::recipe;
use super::slots::{self, Release};
use crate::arch::Arch;
use crate::cache::{self, Hasher};
use crate::paths;

/// Bytes that a chunk holds: small, so that there are many.
const CHUNK: u32 = 64 << 10;
/// Bytes of a root that no kernel can mount.
const HOLLOW: usize = 1 << 20;

/// Makes them of two trees and returns their folder. With nothing changed, nothing is made.
pub(super) fn make(update: &Path, unproven: &Path, signer: &ImageKey) -> Result<PathBuf> {
    let mut hasher = Hasher::new("small bundles");
    recipe(&mut hasher)?;
    hasher.tree(update)?.tree(unproven)?;
    hasher.text(&signer.public.to_text());
    let key = hasher.finish();
    let output = paths::arch_output(Arch::host());
    let place = output.join(format!("bundles-{}", key.short()));
    let folder = cache::directory(place, "writing bundles for the tests", |fresh| {
        let images = [("update", update), ("unproven", unproven)];
        for (name, tree) in images {
            slots::seal(tree, &fresh.join(format!("{name}.erofs")), key)?;
        }
        let stranger = ImageKey::fresh(&fresh.join("stranger.key"))?;
        let here = Arch::host().dps();
        let elsewhere = match here {
            Architecture::X86_64 => Architecture::Aarch64,
            Architecture::Aarch64 => Architecture::X86_64,
        };
        let release = |security_version, architecture| Release {
            version: "3".to_owned(),
            security_version,
            architecture,
        };
        let form = |chunk_size| BundleForm {
            chunk_size,
            ..BundleForm::default()
        };
        let place = |name: &str, kind: &str| fresh.join(format!("{name}.{kind}"));
        let packed =
            |name: &str, image: &str, release: &Release, signer: &ImageKey, links: &[u8]| {
                let (image, target) = (place(image, "erofs"), place(name, "bundle"));
                bundle::pack(&image, release, signer, links, form(CHUNK), &target)
            };
        let pack = |name: &str, image: &str, release: &Release, signer: &ImageKey| {
            packed(name, image, release, signer, &[])
        };
        let (image, target) = (place("update", "erofs"), place("coarse", "bundle"));
        let [_, largest] = CHUNK_SIZES;
        let coarse = form(largest);
        bundle::pack(&image, &release(2, here), signer, &[], coarse, &target)?;
        pack("good", "update", &release(2, here), signer)?;
        pack("older", "update", &release(0, here), signer)?;
        pack("elsewhere", "update", &release(2, elsewhere), signer)?;
        pack("stranger", "update", &release(2, here), &stranger)?;
        pack("unproven", "unproven", &release(2, here), signer)?;
        fs::write(place("hollow", "erofs"), vec![0x5a; HOLLOW]).context("cannot write a root")?;
        pack("hollow", "hollow", &release(2, here), signer)?;
        let successor = ImageKey::fresh(&fresh.join("successor.key"))?;
        let links = rotation(signer, &successor)?;
        fs::write(fresh.join("rotation.links"), &links).context("cannot write the links")?;
        pack("successor", "update", &release(2, here), &successor)?;
        packed("rotation", "update", &release(2, here), &successor, &links)
    })?;
    cache::prune(&output, "bundles-", 2)?;
    Ok(folder)
}

/// Two links: `successor` comes in, and then revokes `signer`.
fn rotation(signer: &ImageKey, successor: &ImageKey) -> Result<Vec<u8>> {
    let comes_in = Change {
        trust: vec![successor.named()],
        ..Change::default()
    };
    let (_, first) = keyring::more(&[], signer, &[], &comes_in)?;
    let revokes = Change {
        revoke: vec![signer.named()],
        ..Change::default()
    };
    let (_, both) = keyring::more(&first, successor, &[], &revokes)?;
    Ok(both)
}
