//! What an image is made of, as people say it on a command line.

use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use machine::image::Firmware;
use mounts::loader::Kind;
use mounts::slot::Slot;
use mounts::superblock;

use crate::arch::Arch;

/// Who starts kernel and initramfs, and chooses between the slots.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Loader {
    /// The same kernel is started each time, and the boot record alone chooses
    Record,
    /// A loader that reads priority, tries and success of the slots in the partition table
    Gpt,
    /// systemd-boot, started by UEFI firmware, with a kernel for each slot
    Uefi,
    /// U-Boot, by a boot script, with a kernel for each slot
    UBoot,
}

impl Loader {
    /// What chooses besides the record.
    pub(crate) fn kind(self) -> Option<Kind> {
        match self {
            Self::Record => None,
            Self::Gpt => Some(Kind::Gpt),
            Self::Uefi => Some(Kind::Uefi),
            Self::UBoot => Some(Kind::UBoot),
        }
    }

    /// What starts it in a virtual machine; nothing where QEMU starts the kernel.
    pub(crate) fn firmware(self) -> Option<Firmware> {
        match self {
            Self::Record | Self::Gpt => None,
            Self::Uefi => Some(Firmware::Efi),
            Self::UBoot => Some(Firmware::UBoot),
        }
    }
}

/// What data lie on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum DataFilesystem {
    /// Checked before it is mounted; what an update copies of the state takes room
    Ext4,
    /// The copy shares its blocks; images with it do not have the same bytes when they are made twice
    Btrfs,
}

impl DataFilesystem {
    /// The same, as stage1 calls it.
    pub(crate) fn kind(self) -> superblock::Kind {
        match self {
            Self::Ext4 => superblock::Kind::Ext4,
            Self::Btrfs => superblock::Kind::Btrfs,
        }
    }
}

/// Options of every command that makes an image.
#[derive(Args, Clone, Debug)]
pub(crate) struct ImageOptions {
    /// Architecture of the image
    #[arg(long, value_enum, default_value_t = Arch::host())]
    pub(crate) arch: Arch,

    /// Add a Debian package, with what it depends on; may be repeated
    #[arg(long = "package", value_name = "NAME")]
    pub(crate) packages: Vec<String>,

    /// Lay the files of DIR over the root before it is sealed; may be repeated
    #[arg(long, value_name = "DIR")]
    pub(crate) files: Vec<PathBuf>,

    /// Add the service files of DIR (to /usr/lib/shark/services); may be repeated
    #[arg(long, value_name = "DIR")]
    pub(crate) services: Vec<PathBuf>,

    /// Make slot a of DIR as it is, instead of the base system; slot b too, unless --root-b says
    /// otherwise
    #[arg(long, value_name = "DIR", conflicts_with_all = ["packages", "files", "services"])]
    pub(crate) root: Option<PathBuf>,

    /// Make slot b of DIR as it is
    #[arg(long, value_name = "DIR")]
    pub(crate) root_b: Option<PathBuf>,

    /// Kernel: Debian's `cloud`, `generic` or `rt`, or a kernel image, a linux-image package, or a
    /// directory with one unpacked; `generic` has more drivers than `cloud`
    #[arg(long, value_name = "cloud|generic|rt|PATH", default_value = "cloud")]
    pub(crate) kernel: String,

    /// Outer loader that chooses between the slots; with `uefi` and `u-boot` a bundle brings
    /// kernel and initramfs along
    #[arg(long, value_enum, default_value_t = Loader::Record)]
    pub(crate) loader: Loader,

    /// Kernel command line that the loader's entries have; without it, the console, `panic=5` and
    /// `gpt`
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    pub(crate) cmdline: Option<String>,

    /// Sign with this key (Ed25519, PKCS#8, PEM) instead of keys/shark-image.key, which is made on
    /// first use
    #[arg(long, value_name = "PATH")]
    pub(crate) key: Option<PathBuf>,

    /// Trust this key as well: a `.pub` file, 64 hexadecimal digits; may be repeated
    #[arg(long, value_name = "PATH")]
    pub(crate) trust: Vec<PathBuf>,

    /// Begin with the keys as the last of these links says (`cargo xtask keyring`); a bundle brings the
    /// links, for devices that do not have them yet
    #[arg(long, value_name = "PATH", conflicts_with = "trust")]
    pub(crate) keyring: Option<PathBuf>,

    /// Version of the system, for people
    #[arg(long = "image-version", value_name = "VERSION", default_value = env!("CARGO_PKG_VERSION"))]
    pub(crate) version: String,

    /// The same of slot b, where it is another system
    #[arg(long = "image-version-b", value_name = "VERSION", requires = "root_b")]
    pub(crate) version_b: Option<String>,

    /// Security version, told in the manifest and the boot record; stage1 compares it only where
    /// the boot record cannot be read
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(crate) security_version: u32,

    /// The same of slot b, where it is another system
    #[arg(long, value_name = "N", requires = "root_b")]
    pub(crate) security_version_b: Option<u32>,

    /// Bring up the network and an ssh server at the rescue console, for the holders of these keys
    /// (as in authorized_keys); without it rescue has a console only
    #[arg(long, value_name = "AUTHORIZED_KEYS")]
    pub(crate) rescue_ssh: Option<PathBuf>,

    /// Size of each root partition; without it, what the root needs now and half as much again,
    /// 256 at least
    #[arg(long, value_name = "MIB", value_parser = clap::value_parser!(u64).range(16..=65_536))]
    pub(crate) root_size: Option<u64>,

    /// Size of the data partition; its filesystem grows to it on first boot
    #[arg(long, value_name = "MIB", default_value_t = 512, value_parser = clap::value_parser!(u64).range(32..=1_048_576))]
    pub(crate) data_size: u64,

    /// Filesystem of the data partition; a bundle that brings an initramfs needs the same
    #[arg(long, value_enum, default_value_t = DataFilesystem::Ext4)]
    pub(crate) data_filesystem: DataFilesystem,

    /// Ask Debian for newer packages; otherwise images are made of those that were newest last time
    #[arg(long)]
    pub(crate) update: bool,
}

impl ImageOptions {
    /// Version and security version of a slot's system.
    pub(crate) fn versions(&self, slot: Slot) -> (&str, u32) {
        let of_b = self.root_b.is_some() && slot == Slot::B;
        let (version, security) = if of_b {
            (self.version_b.as_deref(), self.security_version_b)
        } else {
            (None, None)
        };
        (
            version.unwrap_or(&self.version),
            security.unwrap_or(self.security_version),
        )
    }

    /// The directory that a slot is made of; `None` is the base system.
    pub(crate) fn root_of(&self, slot: Slot) -> Option<&Path> {
        match slot {
            Slot::A => self.root.as_deref(),
            Slot::B => self.root_b.as_deref().or(self.root.as_deref()),
        }
    }
}

impl Default for ImageOptions {
    /// What the command line means when nothing is said.
    fn default() -> Self {
        Self {
            arch: Arch::host(),
            packages: Vec::new(),
            files: Vec::new(),
            services: Vec::new(),
            root: None,
            root_b: None,
            kernel: "cloud".into(),
            loader: Loader::Record,
            cmdline: None,
            key: None,
            trust: Vec::new(),
            keyring: None,
            version: env!("CARGO_PKG_VERSION").into(),
            version_b: None,
            security_version: 1,
            security_version_b: None,
            rescue_ssh: None,
            root_size: None,
            data_size: 512,
            data_filesystem: DataFilesystem::Ext4,
            update: false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::FromArgMatches as _;

    #[test]
    fn slot_b_is_what_slot_a_is_unless_it_is_said() {
        let mut options = ImageOptions {
            root: Some("/a".into()),
            version: "1".into(),
            ..ImageOptions::default()
        };
        assert_eq!(options.root_of(Slot::B), Some(Path::new("/a")));
        assert_eq!(options.versions(Slot::B), ("1", 1));
        options.root_b = Some("/b".into());
        options.version_b = Some("2".into());
        options.security_version_b = Some(5);
        assert_eq!(options.root_of(Slot::A), Some(Path::new("/a")));
        assert_eq!(options.root_of(Slot::B), Some(Path::new("/b")));
        assert_eq!(options.versions(Slot::A), ("1", 1));
        assert_eq!(options.versions(Slot::B), ("2", 5));
    }

    #[test]
    fn the_default_is_the_command_line_without_options() {
        let command = ImageOptions::augment_args(clap::Command::new("test"));
        let parsed = ImageOptions::from_arg_matches(&command.get_matches_from(["test"])).unwrap();
        assert_eq!(
            format!("{parsed:?}"),
            format!("{:?}", ImageOptions::default())
        );
    }
}
