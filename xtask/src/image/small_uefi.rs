//! The small system as EFI firmware starts it: an image with a kernel for each slot, and bundles that
//! bring another one. Not here: what is asked of them (`tests-qemu/tests/loaders`).

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use initramfs::archive::Archive;
use machine::image::UefiImages;
use mounts::loader::INITRAMFS_IN_ROOT;

use super::bundle::{self, BundleForm};
use super::options::Loader;
use super::{ImageOptions, make_folder, root};
use crate::arch::Arch;
use crate::paths;

/// MiB of a root partition.
const ROOT_SIZE: u64 = 64;
/// MiB of the data partition.
const DATA_SIZE: u64 = 64;
/// As the other boots of the small system have it; `panic=1` for kernels that are to die.
const CMDLINE: &str = "console=ttyS0 gpt quiet panic=1 cryptomgr.notests";

/// The trees of the system.
pub(super) struct Trees {
    pub(super) first: PathBuf,
    pub(super) update: PathBuf,
    pub(super) dies: PathBuf,
}

/// What the trees have beside the small system: the agent, which no overlay can bring.
pub(super) fn add_agent(tree: &Path) -> Result<()> {
    let guest = paths::workspace().join("tests-qemu/guest/agent.sh");
    let script =
        fs::read_to_string(&guest).with_context(|| format!("cannot read {}", guest.display()))?;
    let at = tree.join("usr/lib/test/agent");
    // It waits for the verdict, as where the overlay says so.
    let text = format!("#!/bin/sh\n: >/run/shark/agent.verdict\n{script}");
    fs::write(&at, text)
        .and_then(|()| fs::set_permissions(&at, fs::Permissions::from_mode(0o755)))
        .with_context(|| format!("cannot write {}", at.display()))
}

/// Gives a tree an initramfs in which there is nothing to execute.
pub(super) fn add_dead_initramfs(tree: &Path) -> Result<()> {
    let from = tree.with_extension("cpio");
    fs::write(&from, Archive::new().finish()).context("cannot write an empty initramfs")?;
    root::add_file(&from, &tree.join(INITRAMFS_IN_ROOT.trim_start_matches('/')))?;
    fs::remove_file(&from).context("cannot remove an intermediate file")
}

/// Makes image and bundles of the trees.
pub(super) fn make(trees: &Trees) -> Result<UefiImages> {
    let options = |tree: &Path, version: &str| ImageOptions {
        arch: Arch::host(),
        root: Some(tree.to_path_buf()),
        kernel: "cloud".into(),
        loader: Loader::Uefi,
        cmdline: Some(CMDLINE.into()),
        version: version.into(),
        root_size: Some(ROOT_SIZE),
        data_size: DATA_SIZE,
        ..ImageOptions::default()
    };
    let form = BundleForm::default();
    Ok(UefiImages {
        image: make_folder(&options(&trees.first, "1"))?,
        update: bundle::make(&options(&trees.update, "3"), form)?,
        dies: bundle::make(&options(&trees.dies, "4"), form)?,
    })
}
