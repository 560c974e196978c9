//! The initramfs of an image: stage1, the modules it may need to reach a disk and a root, the keys
//! it trusts, and shell and sharkctl for the rescue console. Not here: the archive format
//! (`initramfs`), and the network of rescue (`rescue`).

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, anyhow};
use initramfs::archive::{Archive, Entry};
use mounts::keyring::Link;
use mounts::modules::{IndexFiles, ModuleIndex, module_name};

use super::linux::Linux;
use super::rescue::RescueSsh;
use crate::command;

/// Modules worth having before there is a root; a kernel that lacks one, or has it built in, is
/// fine. What they depend on comes along.
const MODULES: &[&str] = &[
    // Disks of virtual machines.
    "virtio_pci",
    "virtio_mmio",
    "virtio_blk",
    "virtio_scsi",
    "hv_storvsc",
    "vmw_pvscsi",
    "xen_blkfront",
    // Disks of real ones.
    "nvme",
    "ahci",
    "sd_mod",
    "mmc_block",
    "sdhci_pci",
    "sdhci_acpi",
    "sdhci_iproc",
    "dw_mmc_pltfm",
    "usb_storage",
    "uas",
    "xhci_pci",
    "ehci_pci",
    "pcie_brcmstb",
    // What lies on them.
    "dm_mod",
    "dm_verity",
    "erofs",
    "squashfs",
    "overlay",
    "ext4",
    "crc32c_generic",
    "crc32c_intel",
    "crct10dif_pclmul",
    "sha256_generic",
    "sha256_ssse3",
    "sha256_arm64",
    "sha2_ce",
    "lz4_decompress",
    // A network and a console channel without udev in the root.
    "virtio_net",
    "virtio_console",
    "virtio_rng",
    // Watchdogs.
    "i6300esb",
    "iTCO_wdt",
    "softdog",
    // Where the last words of a crash are kept.
    "ramoops",
    "efi_pstore",
];

/// Network cards, for an image whose rescue console has an ssh server. Cards whose firmware comes in
/// a package of its own are not among them.
const NETWORK_MODULES: &[&str] = &[
    // Of virtual machines.
    "vmxnet3",
    "hv_netvsc",
    "xen_netfront",
    "ena",
    "gve",
    // Of real ones.
    "e1000",
    "e1000e",
    "igb",
    "igc",
    "ixgbe",
    "i40e",
    "ice",
    "r8169",
    "realtek",
    "atlantic",
    "genet",
    "broadcom",
    "macb",
    "stmmac_pci",
    "dwmac_rk",
    // On USB.
    "asix",
    "ax88179_178a",
    "cdc_ether",
    "cdc_ncm",
    "lan78xx",
    "r8152",
    "smsc95xx",
];

/// What goes into the archive beside the modules.
pub(super) struct Parts<'a> {
    pub(super) stage1: &'a Path,
    /// Shows and sets the boot record at the rescue console.
    pub(super) sharkctl: &'a Path,
    /// A static busybox.
    pub(super) busybox: &'a Path,
    /// Name and text of each trusted public key.
    pub(super) keys: &'a [(String, String)],
    /// The link of keys that these are as of.
    pub(super) link: Option<&'a Link>,
    /// An ssh server for the rescue console.
    pub(super) rescue_ssh: Option<&'a RescueSsh>,
    pub(super) linux: &'a Linux,
    /// Modules beside those that every image has.
    pub(super) more_modules: &'a [&'a str],
}

/// Writes the compressed initramfs to `target`.
pub(super) fn write(parts: &Parts<'_>, target: &Path) -> Result<()> {
    let archive = archive(parts)?;
    let plain = target.with_extension("cpio");
    fs::write(&plain, archive).with_context(|| format!("cannot write {}", plain.display()))?;
    // One thread, because the number of threads must not show in the bytes.
    command::run(
        command::new("zstd")
            .args(["-q", "-f", "-12", "--single-thread", "--rm"])
            .arg(&plain)
            .arg("-o")
            .arg(target),
    )
}

fn archive(parts: &Parts<'_>) -> Result<Vec<u8>> {
    let mut archive = Archive::new();
    for dir in ["dev", "proc", "sys", "run", "sysroot", "tmp", "root"] {
        archive.add(dir, Entry::directory(0o755))?;
    }
    // Until devtmpfs is mounted, this is where the kernel opens stage1's standard streams.
    archive.add("dev/console", Entry::character_device(0o600, 5, 1))?;
    // Without a console, Rust's runtime opens it in place of each standard descriptor.
    archive.add("dev/null", Entry::character_device(0o666, 1, 3))?;
    archive.add("init", Entry::file(0o755, read(parts.stage1)?))?;
    archive.add("bin/busybox", Entry::file(0o755, read(parts.busybox)?))?;
    archive.add("bin/sh", Entry::symlink("busybox"))?;
    archive.add("bin/sharkctl", Entry::file(0o755, read(parts.sharkctl)?))?;
    for (name, text) in parts.keys {
        let path = format!("etc/shark/keys/{name}.pub");
        archive.add(&path, Entry::file(0o644, text.as_bytes().to_vec()))?;
    }
    if let Some(link) = parts.link {
        let json = link.to_json().map_err(|error| anyhow!("{error}"))?;
        archive.add("etc/shark/keys/link", Entry::file(0o644, json))?;
    }
    let mut modules = MODULES.to_vec();
    if let Some(ssh) = parts.rescue_ssh {
        ssh.add(&mut archive)?;
        modules.extend(NETWORK_MODULES);
    }
    modules.extend(parts.more_modules);
    if let Some(directory) = &parts.linux.modules {
        add_modules(&mut archive, directory, &modules)?;
    }
    Ok(archive.finish())
}

fn add_modules(archive: &mut Archive, modules: &Path, wanted: &[&str]) -> Result<()> {
    let release = modules.file_name().unwrap_or_default().to_string_lossy();
    let text = |name: &str| {
        let path = modules.join(name);
        fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))
    };
    let (dep, builtin) = (text("modules.dep")?, text("modules.builtin")?);
    let (softdep, alias) = (text("modules.softdep")?, text("modules.alias")?);
    let index = ModuleIndex::parse(IndexFiles {
        dep: &dep,
        builtin: &builtin,
        softdep: &softdep,
        alias: &alias,
    })
    .map_err(|error| anyhow::anyhow!("{}: {error}", modules.display()))?;
    let packed = index.load_order(wanted).paths;
    let names: Vec<String> = packed.iter().map(|path| module_name(path)).collect();

    let mut add = |name: &str, content: Vec<u8>| {
        let path = format!("lib/modules/{release}/{name}");
        archive.add(&path, Entry::file(0o644, content))
    };
    for path in &packed {
        add(path, read(&modules.join(path))?)?;
    }
    add("modules.dep", index.render_dep(&packed).into_bytes())?;
    add("modules.builtin", builtin.into_bytes())?;
    // `alias PATTERN MODULE` and `softdep MODULE ...`: lines about others would only be read in vain.
    add(
        "modules.alias",
        keep_lines(&alias, &names, |line| line.rsplit(' ').next()).into_bytes(),
    )?;
    add(
        "modules.softdep",
        keep_lines(&softdep, &names, |line| line.split(' ').nth(1)).into_bytes(),
    )?;
    Ok(())
}

fn keep_lines(text: &str, names: &[String], module: impl Fn(&str) -> Option<&str>) -> String {
    text.lines()
        .filter(|line| module(line).is_some_and(|it| names.contains(&module_name(it))))
        .map(|line| format!("{line}\n"))
        .collect()
}

fn read(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).with_context(|| format!("cannot read {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_lines_about_packed_modules_are_kept() {
        let names = ["virtio_blk".to_owned()];
        let alias = "# Aliases\nalias virtio:d00000002v* virtio_blk\nalias pci:v* e1000\n";
        assert_eq!(
            keep_lines(alias, &names, |line| line.rsplit(' ').next()),
            "alias virtio:d00000002v* virtio_blk\n"
        );
        let softdep = "softdep virtio-blk pre: crc32c\nsoftdep btrfs pre: crc32c\n";
        assert_eq!(
            keep_lines(softdep, &names, |line| line.split(' ').nth(1)),
            "softdep virtio-blk pre: crc32c\n"
        );
    }

    #[test]
    fn no_module_is_named_twice() {
        let mut names = [MODULES, NETWORK_MODULES].concat();
        let all = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), all);
    }
}
