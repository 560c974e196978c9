//! `cargo xtask image`: from packages, programs and options to a disk, a kernel and an initramfs in
//! a directory of their own. Here is the order of the steps and what each result depends on; each
//! step has a module.

mod apt;
pub(crate) mod bundle;
mod check;
mod config;
pub(crate) mod daemons;
mod disk;
pub(crate) mod imported;
mod initrd;
mod key;
pub(crate) mod keyring;
mod linux;
mod loader;
mod loose;
mod options;
mod rescue;
mod root;
mod slots;
pub(crate) mod small;
mod small_bundles;
mod small_loaders;
mod vmlinux;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use clap::Args;
use machine::Image;
use mounts::keyring::Named;
use mounts::slot::Slot;

use self::apt::{Apt, Package};
use self::bundle::BundleForm;
use self::key::ImageKey;
use self::keyring::Links;
use self::linux::Linux;
use self::loader::BootFiles;
pub(crate) use self::loose::{Packages, bare_kernel, original_files};
pub(crate) use self::options::{DataFilesystem, ImageOptions, Loader};
use self::rescue::RescueSsh;
use crate::arch::Arch;
use crate::build::{self, Programs};
use crate::cache::{self, Hasher, Key};
use crate::setup::{self, Need};
use crate::{command, paths};

/// How many finished images, and intermediate results of each kind, are kept for an architecture.
const KEEP: usize = 16;

/// What the project promises of the base image with the cloud kernel, compressed.
const BASE_LIMIT: u64 = 50_000_000;

/// Arguments of `cargo xtask image`.
#[derive(Args)]
pub(crate) struct ImageArgs {
    #[command(flatten)]
    options: ImageOptions,
}

/// The command itself: makes the image and prints where it is.
pub(crate) fn run(args: &ImageArgs) -> Result<()> {
    let folder = make_folder(&args.options)?;
    for path in cache::sorted_entries(&folder)? {
        let size = fs::metadata(&path)?.len();
        eprintln!(
            "{size:>12}  {}",
            path.file_name().unwrap_or_default().to_string_lossy()
        );
    }
    println!("{}", folder.display());
    Ok(())
}

/// Makes the image and returns its parts. With nothing changed since last time, nothing is made.
pub(crate) fn make(options: &ImageOptions) -> Result<Image> {
    Image::load(&make_folder(options)?)
}

/// Makes the image and returns the folder with its parts and their index, `image.json`.
pub(crate) fn make_folder(options: &ImageOptions) -> Result<PathBuf> {
    setup::need(&[Need::Image])?;
    match options.loader {
        Loader::Record | Loader::Gpt => {}
        Loader::Uefi => setup::need(&[Need::Loader])?,
        Loader::UBoot if options.arch != Arch::Aarch64 => {
            bail!(
                "--loader u-boot: its script starts kernels of aarch64 alone; give --arch aarch64"
            )
        }
        Loader::UBoot => setup::need(&[Need::Loader, Need::BootScript])?,
    }
    match options.data_filesystem {
        DataFilesystem::Ext4 => {}
        DataFilesystem::Btrfs => setup::need(&[Need::Btrfs])?,
    }
    let _lock = paths::lock()?;
    let inputs = Inputs::gather(options)?;
    let output = paths::arch_output(options.arch);
    let sealed = inputs.sealed_roots(&paths::cache())?;
    let key = inputs.image_key(&sealed)?;
    let place = output.join(format!("image-{}", key.short()));
    let folder = inputs.folder(&sealed, key, &place)?;
    cache::prune(&output, "image-", KEEP)?;
    cache::prune(&paths::cache(), "root-", KEEP)?;
    cache::prune(&paths::cache(), "boot-", KEEP)?;
    Ok(folder)
}

/// Makes the image once more, out of the way, and compares it with the one in `first`; then a bundle of
/// the same system, twice as well.
///
/// # Errors
/// Names the first part that differs; both are left for a look.
pub(crate) fn check_reproducible(options: &ImageOptions, first: &Path) -> Result<()> {
    let first_bundle = bundle::make(options, BundleForm::default())?;
    let _lock = paths::lock()?;
    let inputs = Inputs::gather(options)?;
    let place = paths::output().join("again");
    cache::remove(&place)?;
    paths::make_dir(&place)?;
    let sealed = inputs.sealed_roots(&place)?;
    let key = inputs.image_key(&sealed)?;
    let second = inputs.folder(&sealed, key, &place.join("image"))?;
    for path in cache::sorted_entries(first)? {
        let name = path.file_name().unwrap_or_default();
        // The index says where it is, and that differs.
        if name != machine::image::INDEX {
            command::run(command::new("cmp").arg(&path).arg(second.join(name)))
                .context("not reproducible: the same inputs gave other bytes")?;
        }
    }
    let [sealed, _] = &sealed;
    bundle::check_reproducible(&inputs, sealed, &first_bundle, &place)?;
    cache::remove(&place)
}

/// Everything an image is made of.
struct Inputs<'a> {
    options: &'a ImageOptions,
    programs: Programs,
    /// Those of the base system, where a slot holds it.
    packages: Vec<(Package, PathBuf)>,
    linux: Linux,
    busybox: PathBuf,
    host_busybox: PathBuf,
    rescue_ssh: Option<RescueSsh>,
    signer: ImageKey,
    /// Links of keys that it begins with.
    links: Option<Links>,
    /// Services with problems are no hindrance.
    unchecked: bool,
    /// Kernel and initramfs that each root holds.
    boot: Option<BootFiles>,
    apt: Apt,
}

impl<'a> Inputs<'a> {
    fn gather(options: &'a ImageOptions) -> Result<Self> {
        let programs = build::programs(options.arch)?;
        let apt = Apt::open(options.arch, options.update)?;
        let packages = if Slot::ALL
            .iter()
            .any(|slot| options.root_of(*slot).is_none())
        {
            let extra = options.packages.iter().map(String::as_str);
            let names: Vec<&str> = root::BASE_PACKAGES.iter().copied().chain(extra).collect();
            apt.fetch(&names)?
        } else {
            Vec::new()
        };
        let linux = linux::prepare(&options.kernel, options.arch, &apt)?;
        let busybox = busybox(&apt)?;
        let host_busybox = if options.arch == Arch::host() {
            busybox.clone()
        } else {
            self::busybox(&Apt::open(Arch::host(), false)?)?
        };
        let rescue_ssh = match &options.rescue_ssh {
            Some(keys) => Some(RescueSsh::prepare(keys, &apt)?),
            None => None,
        };
        let signer = ImageKey::open(options.key.as_deref())?;
        let links = match &options.keyring {
            Some(path) => Some(keyring::open(path, &signer)?),
            None => None,
        };
        let mut inputs = Self {
            options,
            programs,
            packages,
            linux,
            busybox,
            host_busybox,
            rescue_ssh,
            signer,
            links,
            unchecked: false,
            boot: None,
            apt,
        };
        inputs.boot = inputs.boot_files()?;
        Ok(inputs)
    }

    /// Debian's systemd-boot, unpacked.
    fn systemd_boot(&self) -> Result<PathBuf> {
        let packages = self.apt.fetch(&["systemd-boot-efi"])?;
        let package = packages
            .iter()
            .find(|(it, _)| it.name == "systemd-boot-efi");
        let (package, file) = package.context("apt resolved systemd-boot-efi to something else")?;
        let mut hasher = Hasher::new("systemd-boot");
        hasher.text(&package.id());
        let dir = paths::cache().join(format!("systemd-boot-{}", hasher.finish().short()));
        cache::directory(dir, "unpacking systemd-boot", |fresh| {
            apt::unpack(file, fresh, &["./usr/share"])
        })
    }

    /// Name and text of each key that may sign updates.
    fn trusted(&self) -> Result<Vec<(String, String)>> {
        if let Some(links) = &self.links {
            let text = |it: &Named| (it.name.clone(), it.key.to_text());
            return Ok(links.last.trusted.iter().map(text).collect());
        }
        let mut keys = vec![(self.signer.name.clone(), self.signer.public.to_text())];
        for path in &self.options.trust {
            keys.push(key::public(path)?);
        }
        Ok(keys)
    }

    /// The sealed roots of both slots, each in a directory of its own below `place`. Slots that
    /// hold the same share one.
    fn sealed_roots(&self, place: &Path) -> Result<[Sealed; 2]> {
        let [a, b] = Slot::ALL;
        Ok([self.sealed_root(a, place)?, self.sealed_root(b, place)?])
    }

    fn root_key(&self, slot: Slot) -> Result<Key> {
        let mut hasher = Hasher::new("root");
        recipe(&mut hasher)?;
        hasher.text(self.options.arch.name());
        if let Some(boot) = &self.boot {
            hasher.bytes(&boot.key.0);
        }
        if let Some(dir) = self.options.root_of(slot) {
            hasher.text("directory").tree(dir).context("--root")?;
            return Ok(hasher.finish());
        }
        hasher.text(&self.options.version);
        hasher.bytes(&self.linux.key.0);
        hasher
            .file(&self.programs.init)?
            .file(&self.programs.sharkctl)?
            .file(&self.programs.updater)?
            .text(&format!("{:?} {}", self.trusted()?, self.unchecked));
        for (package, _) in &self.packages {
            hasher.text(&package.id());
        }
        hasher.text("files");
        for dir in &self.options.files {
            hasher.tree(dir).context("--files")?;
        }
        hasher.text("services");
        for dir in &self.options.services {
            hasher.tree(dir).context("--services")?;
        }
        Ok(hasher.finish())
    }

    fn sealed_root(&self, slot: Slot, place: &Path) -> Result<Sealed> {
        let key = self.root_key(slot)?;
        let dir = place.join(format!("root-{}", key.short()));
        let dir = match self.options.root_of(slot) {
            Some(given) => {
                let what = format!("sealing {}", given.display());
                cache::directory(dir, &what, |fresh| {
                    self.check(given)?;
                    self.seal_given(given, fresh, key)
                })?
            }
            None => {
                let what = format!(
                    "assembling the root from {} Debian packages (about 20 s)",
                    self.packages.len()
                );
                cache::directory(dir, &what, |fresh| self.base_root(key, fresh))?
            }
        };
        Ok(Sealed {
            image: dir.join("root.erofs"),
            key,
        })
    }

    /// A root as it was given, with kernel and initramfs where the loader takes them from there.
    fn seal_given(&self, given: &Path, fresh: &Path, key: Key) -> Result<()> {
        let image = fresh.join("root.erofs");
        let Some(boot) = &self.boot else {
            return slots::seal(given, &image, key);
        };
        let tree = fresh.join("tree");
        root::lay_over(given, &tree)?;
        boot.lay(&tree)?;
        slots::seal(&tree, &image, key)?;
        cache::remove(&tree)
    }

    /// The base system with what the user lays over it.
    fn base_root(&self, key: Key, fresh: &Path) -> Result<()> {
        let debs: Vec<PathBuf> = self.packages.iter().map(|(_, file)| file.clone()).collect();
        let tree = fresh.join("tree");
        paths::make_dir(&tree)?;
        root::assemble(
            &root::Parts {
                debs: &debs,
                programs: &self.programs,
                host_busybox: &self.host_busybox,
                modules: self.linux.modules.as_deref(),
                services: &self.options.services,
                files: &self.options.files,
                version: &self.options.version,
                native: self.options.arch == Arch::host(),
                keys: &self.trusted()?,
            },
            &tree,
        )?;
        self.check(&tree)?;
        if !self.unchecked {
            root::compile_graph(&tree)?;
        }
        if let Some(boot) = &self.boot {
            boot.lay(&tree)?;
        }
        let image = fresh.join("root.erofs");
        slots::seal(&tree, &image, key)?;
        cache::remove(&tree)?;
        self.report_size(&image)
    }

    fn check(&self, tree: &Path) -> Result<()> {
        if self.unchecked {
            return Ok(());
        }
        check::services(tree)
    }

    fn report_size(&self, image: &Path) -> Result<()> {
        let size = fs::metadata(image)?.len();
        let mut zstd = command::new("zstd");
        let compressed =
            command::output(zstd.args(["-q", "-9", "-T0", "-c"]).arg(image))?.len() as u64;
        command::step(&format!(
            "the root has {size} bytes, {compressed} compressed"
        ));
        // The modules of the other kernels are as large as everything else together.
        if self.options.kernel == "cloud"
            && self.options.packages.is_empty()
            && self.options.files.is_empty()
            && self.boot.is_none()
            && compressed > BASE_LIMIT
        {
            bail!("that is more than the {BASE_LIMIT} bytes that the base image may have");
        }
        Ok(())
    }

    fn image_key(&self, sealed: &[Sealed; 2]) -> Result<Key> {
        let mut hasher = Hasher::new("image");
        for (slot, sealed) in Slot::ALL.into_iter().zip(sealed) {
            let (version, security_version) = self.options.versions(slot);
            hasher.bytes(&sealed.key.0).text(version);
            hasher.bytes(&security_version.to_le_bytes());
        }
        hasher.bytes(&self.initrd_key()?.0);
        hasher
            .text(&self.signer.name)
            .text(&self.signer.public.to_text());
        hasher.text(&format!(
            "{:?} {:?} {:?}",
            self.options.loader, self.options.cmdline, self.links
        ));
        hasher.text(&format!(
            "{:?} {} {:?}",
            self.options.root_size, self.options.data_size, self.options.data_filesystem
        ));
        Ok(hasher.finish())
    }

    /// Everything of the image, in `folder`.
    fn folder(&self, sealed: &[Sealed; 2], key: Key, folder: &Path) -> Result<PathBuf> {
        let what = "writing hash trees, manifests, initramfs and disk (about 10 s)";
        cache::directory(folder.to_path_buf(), what, |fresh| {
            self.write(sealed, key, fresh, folder)
        })
    }

    /// Writes the parts into `dir`, which will be called `folder` when it is complete.
    fn write(&self, sealed: &[Sealed; 2], key: Key, dir: &Path, folder: &Path) -> Result<()> {
        let mut made = Vec::new();
        for (slot, sealed) in Slot::ALL.into_iter().zip(sealed) {
            let (version, security_version) = self.options.versions(slot);
            let release = slots::Release {
                version: version.to_owned(),
                security_version,
                architecture: self.options.arch.dps(),
            };
            let image = slots::make(slot.as_str(), &sealed.image, dir, &release, &self.signer)?;
            made.push((slot, image));
        }
        self.write_initrd(&dir.join("initrd.img"))?;
        let esp_dir = dir.join("esp");
        paths::make_dir(&esp_dir)?;
        let esp = match &self.boot {
            Some(boot) => loader::esp_files(self, boot, &esp_dir)?,
            None => Vec::new(),
        };
        copy(&self.linux.image, &dir.join("vmlinuz"))?;
        let [root, _] = sealed;
        fs::hard_link(&root.image, dir.join("root.erofs"))
            .or_else(|_| fs::copy(&root.image, dir.join("root.erofs")).map(drop))
            .context("cannot put the root beside the disk")?;
        let mut largest = 0;
        for sealed in sealed {
            largest = largest.max(fs::metadata(&sealed.image)?.len());
        }
        let disk = disk::Parts {
            slots: &made,
            architecture: self.options.arch.dps(),
            root_mib: self.options.root_size.unwrap_or_else(|| room_for(largest)),
            data_mib: self.options.data_size,
            data_filesystem: self.options.data_filesystem.kind(),
            loader: self.options.loader.kind(),
            esp: &esp,
            key,
        };
        disk::write(&disk, &dir.join("disk.img"))?;
        cache::remove(&esp_dir)?;
        for intermediate in ["esp.img", "state.img", "data.img"] {
            fs::remove_file(dir.join(intermediate))
                .with_context(|| format!("cannot remove {intermediate}"))?;
        }
        let index = Image {
            arch: self.options.arch.into(),
            disk: folder.join("disk.img"),
            kernel: folder.join("vmlinuz"),
            initrd: folder.join("initrd.img"),
            words: loader::words(self.options.loader.kind()),
            firmware: self.options.loader.firmware(),
        };
        let text = serde_json::to_string_pretty(&index)?;
        fs::write(dir.join(machine::image::INDEX), text + "\n").context("cannot write the index")
    }
}

/// A root as an image file.
struct Sealed {
    image: PathBuf,
    key: Key,
}

/// MiB of a root partition that shall also take the next versions of a root with `bytes` bytes.
fn room_for(bytes: u64) -> u64 {
    let with_room = (bytes + bytes / 2).div_ceil(1 << 20);
    with_room.next_multiple_of(64).max(256)
}

/// The code that makes images is an input of what it makes.
fn recipe(hasher: &mut Hasher) -> Result<()> {
    let workspace = paths::workspace();
    hasher.tree(&root::overlay())?;
    hasher.tree(&workspace.join("xtask/src/image"))?;
    hasher.tree(&workspace.join("mounts/src"))?;
    hasher.file(&workspace.join("initramfs/src/archive.rs"))?;
    Ok(())
}

/// The static busybox of apt's architecture.
fn busybox(apt: &Apt) -> Result<PathBuf> {
    let packages = apt.fetch(&["busybox-static"])?;
    let (package, file) = packages
        .iter()
        .find(|(package, _)| package.name == "busybox-static")
        .context("apt resolved busybox-static to something else")?;
    let mut hasher = Hasher::new("busybox");
    hasher.text(&package.id());
    let dir = paths::cache().join(format!("busybox-{}", hasher.finish().short()));
    let dir = cache::directory(dir, "unpacking busybox", |fresh| {
        apt::unpack(file, fresh, &["./usr/share"])
    })?;
    Ok(dir.join("bin/busybox"))
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    fs::copy(from, to)
        .map(drop)
        .with_context(|| format!("cannot copy {} to {}", from.display(), to.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_root_partition_has_room_for_a_larger_root() {
        assert_eq!(room_for(1 << 20), 256);
        assert_eq!(room_for(200 << 20), 320);
    }
}
