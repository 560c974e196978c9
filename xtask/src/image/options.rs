//! What an image is made of, as people say it on a command line.

use std::path::PathBuf;

use clap::Args;

use crate::arch::Arch;

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

    /// Kernel: Debian's `cloud` or `rt`, or a kernel image, a linux-image package, or a directory
    /// with one unpacked
    #[arg(long, value_name = "cloud|rt|PATH", default_value = "cloud")]
    pub(crate) kernel: String,

    /// Sign with this key (Ed25519, PKCS#8, PEM) instead of keys/shark-image.key, which is made on
    /// first use
    #[arg(long, value_name = "PATH")]
    pub(crate) key: Option<PathBuf>,

    /// Version of the system, for people
    #[arg(long = "image-version", value_name = "VERSION", default_value = env!("CARGO_PKG_VERSION"))]
    pub(crate) version: String,

    /// Security version, told in the manifest and the boot record; stage1 does not compare it yet
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(crate) security_version: u32,

    /// Size of each root partition; without it, what the root needs now and half as much again,
    /// 256 at least
    #[arg(long, value_name = "MIB", value_parser = clap::value_parser!(u64).range(16..=65_536))]
    pub(crate) root_size: Option<u64>,

    /// Size of the data partition; its filesystem grows to it on first boot
    #[arg(long, value_name = "MIB", default_value_t = 512, value_parser = clap::value_parser!(u64).range(32..=1_048_576))]
    pub(crate) data_size: u64,

    /// Ask Debian for newer packages; otherwise images are made of those that were newest last time
    #[arg(long)]
    pub(crate) update: bool,
}

impl Default for ImageOptions {
    /// What the command line means when nothing is said.
    fn default() -> Self {
        Self {
            arch: Arch::host(),
            packages: Vec::new(),
            files: Vec::new(),
            services: Vec::new(),
            kernel: "cloud".into(),
            key: None,
            version: env!("CARGO_PKG_VERSION").into(),
            security_version: 1,
            root_size: None,
            data_size: 512,
            update: false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::FromArgMatches as _;

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
