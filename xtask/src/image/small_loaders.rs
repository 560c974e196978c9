//! The small system as firmware and an outer loader start it: an image with a kernel for each slot, and
//! bundles that bring another one. Not here: what is asked of them (`tests-qemu/tests/loaders`).

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use initramfs::archive::Archive;
use machine::image::LoaderImages;
use mounts::loader::INITRAMFS_IN_ROOT;

use super::bundle::{self, BundleForm};
use super::small::{self, Maker};
use super::{ImageOptions, Loader, make_folder, root};
use crate::arch::Arch;
use crate::paths;

/// MiB of a root partition.
const ROOT_SIZE: u64 = 64;
/// MiB of the data partition.
const DATA_SIZE: u64 = 64;
/// As the other boots of the small system have it; `panic=1` for kernels that are to die.
const WORDS: &str = "gpt quiet panic=1 cryptomgr.notests";

/// The trees of the system.
pub(super) struct Trees {
    first: PathBuf,
    update: PathBuf,
    dies: PathBuf,
}

impl Trees {
    /// Assembles them.
    pub(super) fn assemble(maker: &Maker) -> Result<Self> {
        let tree = |name: &str, slot: &str, version: &str| {
            let tree = maker.tree(name, slot, version, None)?;
            root::lay_over(&small::layers().join("loaders"), &tree)?;
            add_agent(&tree)?;
            Ok::<PathBuf, anyhow::Error>(tree)
        };
        let trees = Self {
            first: tree("loader-first", "a", "1")?,
            update: tree("loader-update", "b", "3")?,
            dies: tree("loader-dies", "b", "4")?,
        };
        add_dead_initramfs(&trees.dies)?;
        Ok(trees)
    }

    /// Makes image and bundles of them.
    pub(super) fn images(&self, arch: Arch, loader: Loader) -> Result<LoaderImages> {
        let console = machine::Arch::from(arch).console();
        let options = |tree: &Path, version: &str| ImageOptions {
            arch,
            root: Some(tree.to_path_buf()),
            kernel: "cloud".into(),
            loader,
            cmdline: Some(format!("console={console} {WORDS}")),
            version: version.into(),
            root_size: Some(ROOT_SIZE),
            data_size: DATA_SIZE,
            ..ImageOptions::default()
        };
        let form = BundleForm::default();
        Ok(LoaderImages {
            image: make_folder(&options(&self.first, "1"))?,
            update: bundle::make(&options(&self.update, "3"), form)?,
            dies: bundle::make(&options(&self.dies, "4"), form)?,
        })
    }
}

/// What the trees have beside the small system: the agent, which no overlay can bring.
fn add_agent(tree: &Path) -> Result<()> {
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
fn add_dead_initramfs(tree: &Path) -> Result<()> {
    let from = tree.with_extension("cpio");
    fs::write(&from, Archive::new().finish()).context("cannot write an empty initramfs")?;
    root::add_file(&from, &tree.join(INITRAMFS_IN_ROOT.trim_start_matches('/')))?;
    fs::remove_file(&from).context("cannot remove an intermediate file")
}
