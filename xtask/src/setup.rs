//! The host's tools: what each kind of work needs, as Debian packages, and how they get here.

use std::path::Path;
use std::process::Command;

use anyhow::{Result, bail};
use clap::Args;
use machine::image::Firmware;

use crate::arch::Arch;
use crate::{command, libsystemd};

/// What is about to be done, and so which tools must be there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Need {
    /// Static programs, with the distribution's Rust and musl (x86_64).
    DistributionRust,
    /// Static programs for another architecture, with zig as the linker.
    CrossRust,
    /// A disk image.
    Image,
    /// A virtual machine of that architecture.
    Qemu(Arch),
    /// The tests: other people's tools that look at what we made.
    Test,
    /// Images with an outer loader.
    Loader,
    /// Those with U-Boot's.
    BootScript,
    /// Images whose data lie on btrfs.
    Btrfs,
    /// Virtual machines that this firmware starts.
    Firmware(Firmware),
}

/// A tool: this path, or a program of this name in PATH, shows that its package is installed.
struct Tool {
    shown_by: &'static str,
    package: &'static str,
}

const fn tool(shown_by: &'static str, package: &'static str) -> Tool {
    Tool { shown_by, package }
}

impl Need {
    fn tools(self) -> Vec<Tool> {
        let rust = || {
            vec![
                tool("/usr/bin/rustc", "rustc-web"),
                tool("/usr/bin/cargo", "cargo-web"),
                tool("/usr/lib/rustlib/src/rust/library/std", "rust-web-src"),
            ]
        };
        match self {
            Self::DistributionRust => {
                let mut tools = rust();
                tools.push(tool("musl-gcc", "musl-tools"));
                tools.push(tool("ar", "binutils"));
                tools
            }
            Self::CrossRust => {
                let mut tools = rust();
                tools.push(tool("/usr/bin/python3", "python3"));
                tools.push(tool("/usr/share/python-wheels", "python3-venv"));
                tools
            }
            Self::Image => vec![
                tool("apt-get", "apt"),
                tool("dpkg-deb", "dpkg"),
                tool(
                    "/usr/share/keyrings/debian-archive-keyring.gpg",
                    "debian-archive-keyring",
                ),
                tool("mkfs.erofs", "erofs-utils"),
                tool("veritysetup", "cryptsetup-bin"),
                tool("mkfs.vfat", "dosfstools"),
                tool("mkfs.ext4", "e2fsprogs"),
                tool("zstd", "zstd"),
                tool("depmod", "kmod"),
                tool("lz4", "lz4"),
            ],
            Self::Loader => vec![tool("mcopy", "mtools")],
            Self::BootScript => vec![tool("mkimage", "u-boot-tools")],
            Self::Btrfs => vec![tool("mkfs.btrfs", "btrfs-progs")],
            Self::Firmware(Firmware::Efi) => vec![tool(machine::spec::OVMF_CODE, "ovmf")],
            Self::Firmware(Firmware::UBoot) => vec![tool(machine::spec::U_BOOT, "u-boot-qemu")],
            Self::Test => vec![
                tool("/usr/include/stdio.h", "libc6-dev"),
                tool("apt-get", "apt"),
                tool("cc", "gcc"),
                tool("dpkg-deb", "dpkg"),
                tool("e2fsck", "e2fsprogs"),
                tool("fw_printenv", "libubootenv-tool"),
                tool("git", "git"),
                tool("bash", "bash"),
                tool("fish", "fish"),
                tool("man", "man-db"),
                tool("mandoc", "mandoc"),
                tool("mcopy", "mtools"),
                tool("mkenvimage", "u-boot-tools"),
                tool("python3", "python3"),
                tool(
                    "/usr/lib/python3/dist-packages/prometheus_client",
                    "python3-prometheus-client",
                ),
                tool("script", "bsdutils"),
                tool("sfdisk", "fdisk"),
                tool("sgdisk", "gdisk"),
                tool("ssh", "openssh-client"),
                tool("unshare", "util-linux"),
                tool("xz", "xz-utils"),
                tool("zsh", "zsh"),
            ],
            Self::Qemu(Arch::X86_64) => vec![tool("qemu-system-x86_64", "qemu-system-x86")],
            Self::Qemu(Arch::Aarch64) => vec![tool("qemu-system-aarch64", "qemu-system-arm")],
        }
    }
}

/// Arguments of `cargo xtask setup`.
#[derive(Args)]
pub(crate) struct SetupArgs {
    /// Architecture that images and machines are wanted for
    #[arg(long, value_enum, default_value_t = Arch::host())]
    arch: Arch,
    /// Only say what is missing; exit status 1 when something is
    #[arg(long)]
    check: bool,
}

/// Installs what images, machines and tests need. What building needs depends on the Rust at hand, and is
/// looked after by `cargo xtask build`.
pub(crate) fn run(args: &SetupArgs) -> Result<()> {
    let needs = [
        Need::Image,
        Need::Loader,
        Need::BootScript,
        Need::Btrfs,
        Need::Firmware(Firmware::Efi),
        Need::Firmware(Firmware::UBoot),
        Need::Qemu(args.arch),
        Need::Qemu(Arch::Aarch64),
        Need::Test,
    ];
    let missing = missing(&needs);
    if args.check && !missing.is_empty() {
        bail!(
            "missing: {}\n  {}",
            missing.join(" "),
            install_line(&missing)
        );
    }
    if args.check && !libsystemd::is_here() {
        bail!("missing: libsystemd and programs of systemd for the tests\n  cargo xtask setup");
    }
    need(&needs)?;
    libsystemd::unpacked()?;
    command::step("every tool is here");
    Ok(())
}

/// Makes sure that the tools for all of `needs` are here: installs them when this is root, and
/// otherwise stops with the command to type.
pub(crate) fn need(needs: &[Need]) -> Result<()> {
    let wanted = missing(needs);
    if wanted.is_empty() {
        return Ok(());
    }
    if !command::exists("apt-get") {
        bail!(
            "these Debian packages are missing, and there is no apt-get to install them: {}",
            wanted.join(" ")
        );
    }
    if !is_root() {
        bail!(
            "some tools are missing. Install them with:\n  {}",
            install_line(&wanted)
        );
    }
    command::step(&format!("installing {}", wanted.join(" ")));
    if install(&wanted).is_err() {
        // Most often the lists are older than the packages, or there are none yet.
        command::step("refreshing the package lists first");
        command::run(apt().arg("update"))?;
        install(&wanted)?;
    }
    match missing(needs).as_slice() {
        [] => Ok(()),
        still => bail!(
            "installed, and yet not found: what {} should bring",
            still.join(" ")
        ),
    }
}

fn install(packages: &[&str]) -> Result<()> {
    command::run(
        apt()
            .args(["install", "-y", "--no-install-recommends"])
            .args(packages),
    )
}

/// Fetches packages into a directory, without installing them.
pub(crate) fn download(packages: &[&str], into: &Path) -> Result<()> {
    let fetch = || command::run(apt().arg("download").args(packages).current_dir(into));
    if fetch().is_err() {
        command::step("refreshing the package lists first");
        command::run(apt().arg("update"))?;
        fetch()?;
    }
    Ok(())
}

fn apt() -> Command {
    let mut apt = command::new("apt-get");
    apt.arg("-q").env("DEBIAN_FRONTEND", "noninteractive");
    apt
}

fn install_line(packages: &[&str]) -> String {
    format!(
        "sudo apt-get update && sudo apt-get install --no-install-recommends {}",
        packages.join(" ")
    )
}

fn missing(needs: &[Need]) -> Vec<&'static str> {
    let mut packages: Vec<&str> = needs
        .iter()
        .flat_map(|need| need.tools())
        .filter(|tool| !is_here(tool.shown_by))
        .map(|tool| tool.package)
        .collect();
    packages.sort_unstable();
    packages.dedup();
    packages
}

fn is_here(shown_by: &str) -> bool {
    if shown_by.starts_with('/') {
        Path::new(shown_by).exists()
    } else {
        command::exists(shown_by)
    }
}

fn is_root() -> bool {
    command::text(command::new("id").arg("-u")).is_ok_and(|uid| uid.trim() == "0")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_need_names_packages_and_a_sign_of_each() {
        for need in [
            Need::DistributionRust,
            Need::CrossRust,
            Need::Image,
            Need::Test,
            Need::Loader,
            Need::BootScript,
            Need::Firmware(Firmware::Efi),
            Need::Firmware(Firmware::UBoot),
            Need::Qemu(Arch::X86_64),
            Need::Qemu(Arch::Aarch64),
        ] {
            let tools = need.tools();
            assert!(!tools.is_empty(), "{need:?}");
            for tool in tools {
                assert!(!tool.package.contains(['/', ' ']), "{}", tool.package);
                assert!(!tool.shown_by.is_empty(), "{}", tool.package);
            }
        }
    }

    #[test]
    fn what_is_here_is_not_missing() {
        assert!(is_here("sh"));
        assert!(is_here("/"));
        assert!(!is_here("no-such-program-anywhere"));
    }
}
