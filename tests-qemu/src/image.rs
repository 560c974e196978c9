//! An image as `cargo xtask image` leaves it: a folder whose `image.json` names its parts. Not here:
//! how it is made (`xtask`).

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use serde::{Deserialize, Serialize};

use crate::spec::Arch;

/// The file that names the parts.
pub const INDEX: &str = "image.json";

/// The environment variable with the folder of the image to be tested; `cargo xtask test` sets it.
pub const VARIABLE: &str = "SHARK_IMAGE";

/// The environment variable with the index of [`SmallImages`]; `cargo xtask test` sets it.
pub const SMALL_VARIABLE: &str = "SHARK_SMALL_IMAGES";

/// The environment variable with the folder of the image with Debian's daemons; `cargo xtask test`
/// sets it.
pub const DAEMONS_VARIABLE: &str = "SHARK_DAEMONS_IMAGE";

/// The environment variable with the folder of the image with imported units; `cargo xtask test` sets
/// it.
pub const IMPORTED_VARIABLE: &str = "SHARK_IMPORTED_IMAGE";

/// Folders of the images of the small system, with another version in each slot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SmallImages {
    /// The kernel of all of them, in the form that an emulator starts soonest.
    pub kernel: PathBuf,
    /// Slot b misbehaves as the kernel command line asks.
    pub slots: PathBuf,
    /// As `slots`, made after a rotation of keys: it begins with the last of the links in `bundles`.
    pub rotated: PathBuf,
    /// As `slots`, with data on btrfs.
    pub btrfs: PathBuf,
    /// Slot b has no init.
    pub without_init: PathBuf,
    /// The init of slot b may not be executed.
    pub init_not_executable: PathBuf,
    /// The folder of bundles for them, each `NAME.bundle`.
    pub bundles: PathBuf,
    /// As `slots`, with an ssh server at the rescue console.
    pub rescue_ssh: PathBuf,
    /// The private key that it lets in.
    pub rescue_key: PathBuf,
    /// Started by EFI firmware and systemd-boot.
    pub uefi: LoaderImages,
    /// Started by U-Boot, on arm64.
    pub u_boot: LoaderImages,
}

/// The small system as firmware and an outer loader start it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LoaderImages {
    /// Folder of the image; its agent is in the root.
    pub image: PathBuf,
    /// A bundle of another version that works.
    pub update: PathBuf,
    /// One whose initramfs has nothing to execute.
    pub dies: PathBuf,
}

/// The parts of an image.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Image {
    /// Processor it runs on.
    pub arch: Arch,
    /// Whole disk, raw.
    pub disk: PathBuf,
    /// Kernel.
    pub kernel: PathBuf,
    /// Initramfs.
    pub initrd: PathBuf,
    /// Words for the kernel command line.
    #[serde(default)]
    pub words: String,
    /// What starts it from its own disk, which has kernel and initramfs as well.
    #[serde(default)]
    pub firmware: Option<Firmware>,
}

/// What starts a loader, or is one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Firmware {
    /// OVMF.
    Efi,
    /// U-Boot.
    UBoot,
}

impl Image {
    /// Reads the index in `folder`.
    ///
    /// # Errors
    /// When there is none, or it is not one.
    pub fn load(folder: &Path) -> anyhow::Result<Self> {
        let index = folder.join(INDEX);
        let text = fs::read_to_string(&index).with_context(|| {
            format!(
                "cannot read {}: make it with `cargo xtask image`",
                index.display()
            )
        })?;
        serde_json::from_str(&text)
            .with_context(|| format!("{} is not an image index", index.display()))
    }

    /// The image named by [`VARIABLE`].
    ///
    /// # Errors
    /// When the variable is not set, or names no image.
    pub fn from_environment() -> anyhow::Result<Self> {
        Self::named_by(VARIABLE)
    }

    /// The image named by another variable.
    ///
    /// # Errors
    /// When the variable is not set, or names no image.
    pub fn named_by(variable: &str) -> anyhow::Result<Self> {
        let folder = std::env::var_os(variable).with_context(|| {
            format!("{variable} is not set: run these tests with `cargo xtask test`, or set it to the folder that `cargo xtask image` prints")
        })?;
        Self::load(Path::new(&folder))
    }
}

impl SmallImages {
    /// The images named by [`SMALL_VARIABLE`].
    ///
    /// # Errors
    /// When the variable is not set, or is none.
    pub fn from_environment() -> anyhow::Result<Self> {
        let text = std::env::var(SMALL_VARIABLE).with_context(|| {
            format!("{SMALL_VARIABLE} is not set: run these tests with `cargo xtask test`")
        })?;
        serde_json::from_str(&text).with_context(|| format!("{SMALL_VARIABLE}: {text}"))
    }
}
