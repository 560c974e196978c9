//! Images of a small system, a few MB, that the boots of the slots are tried with: slot a holds one
//! version, slot b another, and slot b misbehaves as the kernel command line asks. Not here: what
//! the system is made of (`tests-qemu/small`), and what is asked of it (`tests-qemu/tests`).

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use machine::Image;
use machine::image::SmallImages;

use super::apt::Apt;
use super::key::ImageKey;
use super::{
    DataFilesystem, ImageOptions, Loader, busybox, make_folder, root, small_bundles, small_loaders,
    vmlinux,
};
use crate::arch::Arch;
use crate::build::{self, Programs};
use crate::cache::{self, Hasher};
use crate::setup::{self, Need};
use crate::{command, paths};

/// The layers of the system, from the top of the checkout.
const LAYERS: &str = "tests-qemu/small";
/// Bytes that no program needs, to be read, or damaged, at leisure.
const BALLAST: usize = 2 << 20;
/// MiB of a root partition.
const ROOT_SIZE: u64 = 32;
/// MiB of the data partition.
const DATA_SIZE: u64 = 64;
/// The same on btrfs, which is made with 256 and grows.
const BTRFS_SIZE: u64 = 320;

/// Makes the images for this machine's architecture, and one for arm64.
pub(crate) fn make() -> Result<SmallImages> {
    let arch = Arch::host();
    let place = paths::arch_output(arch).join("small");
    setup::need(&[Need::Test])?;
    let (trees, bundles, uefi) = {
        let _lock = paths::lock()?;
        let maker = Maker::open(arch, place.clone())?;
        let trees = Trees::assemble(&maker)?;
        let bundles = small_bundles::make(&trees.update, &trees.unproven, &maker.signer)?;
        let uefi = small_loaders::Trees::assemble(&maker)?;
        (trees, bundles, uefi)
    };
    let u_boot = {
        let _lock = paths::lock()?;
        let arm = Arch::Aarch64;
        let place = paths::arch_output(arm).join("small");
        small_loaders::Trees::assemble(&Maker::open(arm, place)?)?
    };
    let rescue_key = rescue_key(&place)?;
    let options = |b: &Path, rescue_ssh: Option<PathBuf>| ImageOptions {
        arch,
        rescue_ssh,
        root: Some(trees.a.clone()),
        root_b: Some(b.to_path_buf()),
        kernel: "generic".into(),
        version: "1".into(),
        version_b: Some("2".into()),
        security_version_b: Some(2),
        root_size: Some(ROOT_SIZE),
        data_size: DATA_SIZE,
        ..ImageOptions::default()
    };
    let image = |b: &Path, rescue_ssh: Option<PathBuf>| make_folder(&options(b, rescue_ssh));
    // Made after a rotation: signed by the key that came in, and begun with the links that say so.
    let rotated = make_folder(&ImageOptions {
        key: Some(bundles.join("successor.key")),
        keyring: Some(bundles.join("rotation.links")),
        ..options(&trees.b, None)
    })?;
    let btrfs = make_folder(&ImageOptions {
        data_filesystem: DataFilesystem::Btrfs,
        data_size: BTRFS_SIZE,
        ..options(&trees.b, None)
    })?;
    let slots = image(&trees.b, None)?;
    Ok(SmallImages {
        uefi: uefi.images(arch, Loader::Uefi)?,
        u_boot: u_boot.images(Arch::Aarch64, Loader::UBoot)?,
        kernel: vmlinux::of(&Image::load(&slots)?.kernel)?,
        slots,
        rotated,
        btrfs,
        bundles,
        without_init: image(&trees.without_init, None)?,
        init_not_executable: image(&trees.init_not_executable, None)?,
        rescue_ssh: image(&trees.b, Some(rescue_key.with_extension("pub")))?,
        rescue_key,
    })
}

/// A key that the ssh server of rescue lets in, made on first use beside `place`: its public half is
/// in the file with `.pub` behind the name.
fn rescue_key(place: &Path) -> Result<PathBuf> {
    let key = place.with_file_name("small-rescue-key");
    if !key.exists() {
        command::run(
            command::new("ssh-keygen")
                .args(["-q", "-t", "ed25519", "-N", "", "-C", "rescue", "-f"])
                .arg(&key),
        )?;
    }
    Ok(key)
}

/// Directories to make slots of.
struct Trees {
    a: PathBuf,
    b: PathBuf,
    without_init: PathBuf,
    init_not_executable: PathBuf,
    /// What the bundles hold: version 3, and a version with services that do not fit together.
    update: PathBuf,
    unproven: PathBuf,
}

/// Makes trees of the small system.
pub(super) struct Maker {
    programs: Programs,
    busybox: PathBuf,
    host_busybox: PathBuf,
    signer: ImageKey,
    /// Where they lie.
    place: PathBuf,
}

impl Maker {
    /// For this architecture; what was at `place` is removed.
    fn open(arch: Arch, place: PathBuf) -> Result<Self> {
        let programs = build::programs(arch)?;
        let busybox = busybox(&Apt::open(arch, false)?)?;
        let host_busybox = match arch == Arch::host() {
            true => busybox.clone(),
            false => self::busybox(&Apt::open(Arch::host(), false)?)?,
        };
        cache::remove(&place)?;
        Ok(Self {
            programs,
            busybox,
            host_busybox,
            signer: ImageKey::open(None)?,
            place,
        })
    }

    /// A tree with what makes it slot `slot`, and a layer `own` that comes before init.
    pub(super) fn tree(
        &self,
        name: &str,
        slot: &str,
        version: &str,
        own: Option<&str>,
    ) -> Result<PathBuf> {
        let layers = layers();
        let tree = self.place.join(name);
        paths::make_dir(&tree)?;
        root::assemble_bare(
            &root::BareParts {
                programs: &self.programs,
                busybox: &self.busybox,
                host_busybox: &self.host_busybox,
                version,
            },
            &tree,
        )?;
        root::lay_over(&layers.join("shared"), &tree)?;
        root::add_updater(&self.programs, &self.signer.trusted(), &tree)?;
        write(&tree.join("usr/lib/test/slot"), &format!("{slot}\n"))?;
        fs::write(tree.join("usr/lib/test/ballast"), ballast())
            .context("cannot write the ballast")?;
        if let Some(own) = own {
            rename(&tree.join("usr/sbin/init"), &tree.join("usr/lib/test/init"))?;
            root::lay_over(&layers.join(own), &tree)?;
        }
        Ok(tree)
    }
}

/// The layers of the system.
pub(super) fn layers() -> PathBuf {
    paths::workspace().join(LAYERS)
}

impl Trees {
    fn assemble(maker: &Maker) -> Result<Self> {
        let trees = Self {
            a: maker.tree("a", "a", "1", None)?,
            b: maker.tree("b", "b", "2", Some("b"))?,
            without_init: maker.tree("without-init", "b", "2", None)?,
            init_not_executable: maker.tree("init-not-executable", "b", "2", None)?,
            update: maker.tree("update", "b", "3", None)?,
            unproven: maker.tree("unproven", "b", "3", None)?,
        };
        root::lay_over(&layers().join("unproven"), &trees.unproven)?;
        foreign(&trees.unproven.join("usr/lib/test/foreign"))?;
        let init = "usr/sbin/init";
        fs::remove_file(trees.without_init.join(init)).context("cannot take init away")?;
        fs::set_permissions(
            trees.init_not_executable.join(init),
            fs::Permissions::from_mode(0o644),
        )
        .context("cannot change the mode of init")?;
        Ok(trees)
    }
}

/// The head of an ELF program for a machine that no slot is for (RISC-V).
fn foreign(path: &Path) -> Result<()> {
    let mut head = vec![0; 64];
    head.splice(..6, *b"\x7fELF\x02\x01");
    head.splice(18..20, 243_u16.to_le_bytes());
    fs::write(path, head)
        .and_then(|()| fs::set_permissions(path, fs::Permissions::from_mode(0o755)))
        .with_context(|| format!("cannot write {}", path.display()))
}

/// The same bytes each time, and none that compress.
fn ballast() -> Vec<u8> {
    let mut bytes = Vec::with_capacity(BALLAST);
    let mut block = 0u64;
    while bytes.len() < BALLAST {
        let mut hasher = Hasher::new("ballast");
        hasher.bytes(&block.to_le_bytes());
        bytes.extend_from_slice(&hasher.finish().0);
        block += 1;
    }
    bytes
}

fn write(path: &Path, text: &str) -> Result<()> {
    fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
}

fn rename(from: &Path, to: &Path) -> Result<()> {
    fs::rename(from, to)
        .with_context(|| format!("cannot rename {} to {}", from.display(), to.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ballast_is_of_its_size_and_no_two_blocks_of_it_are_equal() {
        let bytes = ballast();
        assert_eq!(bytes.len(), BALLAST);
        let mut blocks: Vec<&[u8]> = bytes.chunks(4096).collect();
        blocks.sort_unstable();
        blocks.dedup();
        assert_eq!(blocks.len(), BALLAST / 4096);
    }
}
