//! The kernel of an image and its modules: from a Debian package by name, from a package file, from
//! an unpacked package, or a bare kernel. Not here: which modules the initramfs takes (`initrd`).

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use super::apt::{self, Apt};
use super::config;
use crate::arch::Arch;
use crate::cache::{self, Hasher, Key};
use crate::{command, paths};

/// An unpacked kernel.
#[derive(Clone, Debug)]
pub(super) struct Linux {
    /// The compressed kernel.
    pub(super) image: PathBuf,
    /// Its modules, in a directory named after its release and with depmod's files; a bare kernel
    /// has none.
    pub(super) modules: Option<PathBuf>,
    /// Tells it from other kernels.
    pub(super) key: Key,
}

/// Prepares the kernel that `choice` names: `cloud`, `generic`, `rt`, or a path.
pub(super) fn prepare(choice: &str, arch: Arch, apt: &Apt) -> Result<Linux> {
    match choice {
        "cloud" | "generic" | "rt" => {
            let name = match choice {
                "generic" => format!("linux-image-{}", arch.debian()),
                flavour => format!("linux-image-{flavour}-{}", arch.debian()),
            };
            let packages = apt.fetch(&[&name])?;
            // The name is that of a package which only depends on the one with the kernel.
            let Some((package, file)) = packages.iter().find(|(package, _)| {
                package.name.starts_with("linux-image-") && package.name != name
            }) else {
                bail!("the Debian package {name} depends on no package with a kernel");
            };
            from_package(file, &package.id())
        }
        path => from_path(Path::new(path)),
    }
}

fn from_path(path: &Path) -> Result<Linux> {
    if path.is_dir() {
        return unpacked(path);
    }
    if !path.is_file() {
        bail!(
            "--kernel {}: not `cloud`, `generic` or `rt`, and there is no such file; \
             give a kernel image, a linux-image package, or a directory with one unpacked",
            path.display()
        );
    }
    if path.extension().is_some_and(|extension| extension == "deb") {
        return from_package(
            path,
            &path.file_stem().unwrap_or_default().to_string_lossy(),
        );
    }
    let mut hasher = Hasher::new("kernel");
    hasher.file(path)?;
    Ok(Linux {
        image: path.to_path_buf(),
        modules: None,
        key: hasher.finish(),
    })
}

fn from_package(file: &Path, id: &str) -> Result<Linux> {
    let mut hasher = Hasher::new("kernel package");
    hasher
        .text(id)
        .bytes(&fs::metadata(file)?.len().to_le_bytes());
    let key = hasher.finish();
    let dir = paths::cache().join(format!("linux-{}", key.short()));
    let dir = cache::directory(dir, &format!("unpacking the kernel {id}"), |fresh| {
        apt::unpack(file, fresh, &["./usr/share", "./boot/System.map-*"])?;
        for modules in releases(fresh)? {
            let release = modules.file_name().unwrap_or_default().to_owned();
            // Debian's packages carry no index; their maintainer scripts make it.
            let mut depmod = command::new("depmod");
            depmod.env("PATH", command::path_with_sbin());
            command::run(depmod.arg("-b").arg(fresh).arg(release))?;
        }
        Ok(())
    })?;
    Ok(Linux {
        key,
        ..unpacked(&dir)?
    })
}

/// A directory with boot/vmlinuz-RELEASE and lib/modules/RELEASE.
fn unpacked(dir: &Path) -> Result<Linux> {
    config::check(dir)?;
    let is_kernel = |path: &PathBuf| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        name.starts_with("vmlinuz-") || name.starts_with("vmlinux-")
    };
    let boot = dir.join("boot");
    let Some(image) = cache::sorted_entries(&boot)?.into_iter().rfind(is_kernel) else {
        bail!("there is no vmlinuz-* in {}", boot.display());
    };
    let modules = releases(dir)?.pop();
    let mut hasher = Hasher::new("unpacked kernel");
    hasher.file(&image)?;
    if let Some(modules) = &modules {
        let index = modules.join("modules.dep");
        hasher
            .file(&index)
            .with_context(|| format!("no index of modules; run: depmod -b {}", dir.display()))?;
    }
    Ok(Linux {
        image,
        modules,
        key: hasher.finish(),
    })
}

fn releases(dir: &Path) -> Result<Vec<PathBuf>> {
    for modules in ["lib/modules", "usr/lib/modules"] {
        let modules = dir.join(modules);
        if modules.is_dir() {
            return cache::sorted_entries(&modules);
        }
    }
    Ok(Vec::new())
}
