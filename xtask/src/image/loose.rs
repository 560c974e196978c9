//! Debian packages by name and without what they depend on, unpacked beside each other: other
//! people's inits, to be measured. And the bare kernel that measures them. Not here: what is run.

use std::path::PathBuf;

use anyhow::Result;

use super::apt::{self, Apt};
use super::{linux, vmlinux};
use crate::arch::Arch;
use crate::cache::{self, Hasher};
use crate::{command, paths};

/// Directories of a merged /usr, and the links to them.
const MERGED: [&str; 4] = ["bin", "sbin", "lib", "lib64"];

/// Debian's packages for one architecture.
pub(crate) struct Packages {
    apt: Apt,
}

impl Packages {
    /// Prepares apt.
    pub(crate) fn open(arch: Arch) -> Result<Self> {
        Ok(Self {
            apt: Apt::open(arch, false)?,
        })
    }

    /// A directory with the files of these packages, from the cache where they are in it.
    pub(crate) fn unpacked(&self, names: &[&str]) -> Result<PathBuf> {
        let mut hasher = Hasher::new("loose packages");
        hasher.texts(names);
        let dir = paths::cache().join(format!("loose-{}", hasher.finish().short()));
        let dir = cache::directory(dir, &format!("unpacking {}", names.join(" ")), |fresh| {
            let (debs, root) = (fresh.join("debs"), fresh.join("root"));
            paths::make_dir(&debs)?;
            for name in MERGED {
                paths::make_dir(&root.join("usr").join(name))?;
                std::os::unix::fs::symlink(format!("usr/{name}"), root.join(name))?;
            }
            self.apt.download_alone(names, &debs)?;
            for deb in cache::sorted_entries(&debs)? {
                apt::unpack(&deb, &root, &["./usr/share", "./usr/lib/*/gconv"])?;
            }
            cache::remove(&debs)
        })?;
        Ok(dir.join("root"))
    }
}

/// Debian's cloud kernel without its decompressor.
pub(crate) fn bare_kernel(arch: Arch) -> Result<PathBuf> {
    let _lock = paths::lock()?;
    command::step("preparing the kernel");
    let linux = linux::prepare("cloud", arch, &Apt::open(arch, false)?)?;
    vmlinux::of(&linux.image)
}
