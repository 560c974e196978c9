//! What an image has for an outer loader with a kernel for each slot: kernel and initramfs in the root
//! itself, signed with it, and copies of them with the loader on the EFI system partition. Not here: the
//! partition (`disk`), the form of an entry (`mounts::loader`).

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, bail};
use mounts::loader::bits::Mark;
use mounts::loader::entries::{self, Name};
use mounts::loader::environment::Environment;
use mounts::loader::{INITRAMFS_IN_ROOT, KERNEL_IN_ROOT, Kind, uboot};
use mounts::slot::Slot;
use mounts::superblock;

use super::initrd;
use super::root;
use super::{Inputs, Loader};
use crate::arch::Arch;
use crate::cache::{self, Hasher, Key};
use crate::{command, paths};

/// What systemd-boot is told: the first entry, at once, and nobody at the keyboard changes it.
const SETTINGS: &str = "timeout 0\neditor no\nauto-entries no\nauto-firmware no\n";

/// What U-Boot runs, with a place for the kernel command line.
const BOOT_SCRIPT: &str = include_str!("u_boot.txt");

/// Kernel and initramfs as a root holds them.
#[derive(Clone, Debug)]
pub(super) struct BootFiles {
    pub(super) kernel: PathBuf,
    pub(super) initramfs: PathBuf,
    pub(super) key: Key,
}

/// A file of the EFI system partition, and where it comes from.
#[derive(Clone, Debug)]
pub(super) struct EspFile {
    /// `EFI/BOOT/BOOTX64.EFI`.
    pub(super) path: String,
    pub(super) from: PathBuf,
}

impl BootFiles {
    /// Those of the image with these inputs.
    pub(super) fn make(inputs: &Inputs<'_>) -> Result<Self> {
        let mut hasher = Hasher::new("boot files");
        super::recipe(&mut hasher)?;
        hasher.bytes(&inputs.initrd_key()?.0);
        let key = hasher.finish();
        let dir = paths::cache().join(format!("boot-{}", key.short()));
        let dir = cache::directory(dir, "writing the initramfs", |fresh| {
            inputs.write_initrd(&fresh.join("initramfs"))?;
            super::copy(&inputs.linux.image, &fresh.join("kernel"))
        })?;
        Ok(Self {
            kernel: dir.join("kernel"),
            initramfs: dir.join("initramfs"),
            key,
        })
    }

    /// Lays them into `tree`, which keeps what it has of its own.
    pub(super) fn lay(&self, tree: &Path) -> Result<()> {
        for (from, path) in [
            (&self.kernel, KERNEL_IN_ROOT),
            (&self.initramfs, INITRAMFS_IN_ROOT),
        ] {
            let to = tree.join(path.trim_start_matches('/'));
            if !to.exists() {
                root::add_file(from, &to)?;
            }
        }
        Ok(())
    }
}

/// The modules that the way to the loader needs.
pub(super) fn modules(kind: Option<Kind>) -> &'static [&'static str] {
    match kind {
        Some(Kind::Uefi | Kind::UBoot) => initramfs::outer::MODULES,
        Some(Kind::Gpt) | None => &[],
    }
}

/// Attribute bits of the root partition of a slot: slot a is booted, slot b may try once.
pub(super) fn marks(kind: Option<Kind>, slot: Slot) -> u64 {
    match (kind, slot) {
        (Some(Kind::Gpt), Slot::A) => Mark::blessed(true).attributes(),
        (Some(Kind::Gpt), Slot::B) => Mark::armed(false).attributes(),
        (Some(Kind::Uefi | Kind::UBoot) | None, _) => 0,
    }
}

/// What the loader says on the kernel command line, where it is QEMU that starts the kernel.
pub(super) fn words(kind: Option<Kind>) -> String {
    match kind {
        Some(kind @ Kind::Gpt) => format!("shark.loader={kind}"),
        Some(Kind::Uefi | Kind::UBoot) | None => String::new(),
    }
}

/// The kernel command line that entries have beside what names loader and slot.
pub(super) fn options(arch: Arch, asked: Option<&str>) -> String {
    let console = machine::Arch::from(arch).console();
    asked.map_or_else(|| format!("console={console} panic=5 gpt"), str::to_owned)
}

/// Puts together what the EFI system partition of an image holds; new files go to `dir`.
pub(super) fn esp_files(inputs: &Inputs<'_>, boot: &BootFiles, dir: &Path) -> Result<Vec<EspFile>> {
    let options = options(inputs.options.arch, inputs.options.cmdline.as_deref());
    let mut files = match inputs.options.loader {
        Loader::Uefi => systemd_boot(inputs, &options, dir)?,
        Loader::UBoot => u_boot(inputs.options.arch, &options, dir)?,
        Loader::Record | Loader::Gpt => Vec::new(),
    };
    for slot in Slot::ALL {
        for (path, from) in [
            (entries::kernel_path(slot), &boot.kernel),
            (entries::initramfs_path(slot), &boot.initramfs),
        ] {
            files.push(EspFile {
                path,
                from: from.clone(),
            });
        }
    }
    Ok(files)
}

/// A file with this content, in `dir` until it is copied.
fn made(path: &str, content: impl AsRef<[u8]>, dir: &Path) -> Result<EspFile> {
    let from = dir.join(path.replace('/', "-"));
    fs::write(&from, content).with_context(|| format!("cannot write {}", from.display()))?;
    Ok(EspFile {
        path: path.to_owned(),
        from,
    })
}

/// The loader itself, its settings, and an entry for each slot.
fn systemd_boot(inputs: &Inputs<'_>, options: &str, dir: &Path) -> Result<Vec<EspFile>> {
    let (package, name) = match inputs.options.arch {
        Arch::X86_64 => ("systemd-bootx64.efi", "BOOTX64.EFI"),
        Arch::Aarch64 => ("systemd-bootaa64.efi", "BOOTAA64.EFI"),
    };
    let unpacked = inputs.systemd_boot()?;
    let program = unpacked.join("usr/lib/systemd/boot/efi").join(package);
    if !program.exists() {
        bail!("Debian's systemd-boot-efi has no {package}");
    }
    let mut files = vec![
        EspFile {
            path: format!("EFI/BOOT/{name}"),
            from: program,
        },
        made("loader/loader.conf", SETTINGS, dir)?,
    ];
    for (slot, rank) in [(Slot::A, 2), (Slot::B, 1)] {
        let name = Name {
            rank,
            slot,
            count: None,
        };
        let entry = entries::content(name, Kind::Uefi, options);
        files.push(made(&name.path(), entry, dir)?);
    }
    Ok(files)
}

/// The boot script, and its environment: slot a comes first.
fn u_boot(arch: Arch, options: &str, dir: &Path) -> Result<Vec<EspFile>> {
    if options.contains(['\'', '"', '$', ';', '\\']) {
        bail!(
            "--cmdline {options}: U-Boot's script would take quotes, `$`, `;` and `\\` for its own"
        );
    }
    let text = dir.join("boot.txt");
    fs::write(&text, BOOT_SCRIPT.replace("@BOOTARGS@", options))
        .with_context(|| format!("cannot write {}", text.display()))?;
    let script = dir.join("boot.scr");
    let arch = match arch {
        Arch::X86_64 => "x86_64",
        Arch::Aarch64 => "arm64",
    };
    command::run(
        command::new("mkimage")
            .env("SOURCE_DATE_EPOCH", "0")
            .args(["-A", arch, "-O", "linux", "-T", "script", "-C", "none"])
            .args(["-n", "Shark", "-d"])
            .args([&text, &script]),
    )?;
    let mut environment = Environment::default();
    environment
        .set(uboot::ORDER, "a b")
        .and_then(|()| environment.set(uboot::OPTIONS, options))
        .map_err(|error| anyhow!(error))?;
    let copy = environment.encode(0).map_err(|error| anyhow!(error))?;
    let [first, _] = uboot::COPIES;
    Ok(vec![
        EspFile {
            path: "boot.scr".to_owned(),
            from: script,
        },
        made(first, copy, dir)?,
    ])
}

/// Copies files into the FAT filesystem `image`, with `time` as their times.
pub(super) fn fill(image: &Path, files: &[EspFile], time: &str) -> Result<()> {
    let tool = |name: &str| {
        let mut tool = command::new(name);
        tool.env("SOURCE_DATE_EPOCH", time)
            .env("TZ", "UTC")
            .env("MTOOLS_SKIP_CHECK", "1")
            .arg("-i")
            .arg(image);
        tool
    };
    let mut made = Vec::new();
    for file in files {
        let ends = file.path.match_indices('/').map(|(at, _)| at);
        for directory in ends.filter_map(|end| file.path.get(..end)) {
            if !made.contains(&directory) {
                command::run(tool("mmd").arg(format!("::{directory}")))?;
                made.push(directory);
            }
        }
        command::run(
            tool("mcopy")
                .arg(&file.from)
                .arg(format!("::{}", file.path)),
        )?;
    }
    Ok(())
}

impl Inputs<'_> {
    /// The outer loader's files of this image, where its loader has a kernel for each slot.
    pub(super) fn boot_files(&self) -> Result<Option<BootFiles>> {
        let kind = self.options.loader.kind();
        match kind.is_some_and(Kind::has_kernels) {
            true => BootFiles::make(self).map(Some),
            false => Ok(None),
        }
    }

    /// Modules beside those that every initramfs has.
    fn more_modules(&self) -> Vec<&'static str> {
        let loader = modules(self.options.loader.kind()).iter().copied();
        let data = match self.options.data_filesystem.kind() {
            superblock::Kind::Ext4 => None,
            kind @ superblock::Kind::Btrfs => Some(kind.as_str()),
        };
        loader.chain(data).collect()
    }

    /// What the initramfs is made of.
    pub(super) fn initrd_key(&self) -> Result<Key> {
        let mut hasher = Hasher::new("initramfs");
        hasher.bytes(&self.linux.key.0);
        hasher.file(&self.programs.stage1)?.file(&self.busybox)?;
        hasher.file(&self.programs.sharkctl)?;
        if let Some(ssh) = &self.rescue_ssh {
            ssh.hash(&mut hasher);
        }
        hasher.text(&format!("{:?} {:?}", self.trusted()?, self.links));
        hasher.texts(&self.more_modules());
        Ok(hasher.finish())
    }

    /// Writes the initramfs to `target`.
    pub(super) fn write_initrd(&self, target: &Path) -> Result<()> {
        let parts = initrd::Parts {
            stage1: &self.programs.stage1,
            sharkctl: &self.programs.sharkctl,
            busybox: &self.busybox,
            rescue_ssh: self.rescue_ssh.as_ref(),
            keys: &self.trusted()?,
            link: self.links.as_ref().map(|it| &it.last),
            linux: &self.linux,
            more_modules: &self.more_modules(),
        };
        initrd::write(&parts, target)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tree_keeps_the_kernel_it_has() {
        let dir = tempfile::tempdir().unwrap();
        let file = |name: &str, text: &str| {
            let path = dir.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, text).unwrap();
            path
        };
        let boot = BootFiles {
            kernel: file("k", "kernel"),
            initramfs: file("i", "initramfs"),
            key: Key([0; 32]),
        };
        let own = file("tree/usr/lib/shark/boot/initramfs", "own");
        boot.lay(&dir.path().join("tree")).unwrap();
        assert_eq!(fs::read_to_string(&own).unwrap(), "own");
        let kernel = own.with_file_name("kernel");
        assert_eq!(fs::read_to_string(kernel).unwrap(), "kernel");
    }

    #[test]
    fn entries_have_a_console_unless_it_is_said_otherwise() {
        assert_eq!(options(Arch::X86_64, None), "console=ttyS0 panic=5 gpt");
        assert_eq!(options(Arch::Aarch64, Some("quiet")), "quiet");
    }
}
