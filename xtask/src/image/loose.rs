//! Debian packages by name and without what they depend on, unpacked beside each other: other
//! people's inits, to be measured. And the bare kernel that measures them. Not here: what is run.

use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::{Context, Result};

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

/// Where packages have descriptions of services.
const DESCRIPTIONS: [&str; 8] = [
    "lib/systemd/system",
    "usr/lib/systemd/system",
    "etc/init.d",
    "etc/sv",
    "usr/share/runit/sv",
    // For OpenRC, of gnunet and cdist; for s6, of json2file-go.
    "usr/share/gnunet/services/openrc",
    "usr/lib/python3/dist-packages/cdist/conf/type/__consul_agent/files",
    "usr/share/doc/json2file-go/examples/init-alternatives",
];

impl Packages {
    /// A directory with the descriptions of services of these packages, in one of its own for each.
    pub(crate) fn services(&self, names: &[&str]) -> Result<PathBuf> {
        let mut hasher = Hasher::new("descriptions of services");
        hasher.texts(names).texts(&DESCRIPTIONS);
        let dir = paths::cache().join(format!("services-{}", hasher.finish().short()));
        cache::directory(dir, "fetching packages for their services", |fresh| {
            let debs = fresh.join("debs");
            paths::make_dir(&debs)?;
            self.apt.download_alone(names, &debs)?;
            for deb in cache::sorted_entries(&debs)? {
                let file = deb.file_name().unwrap_or_default().to_string_lossy();
                let name = file.split('_').next().unwrap_or_default();
                let (all, root) = (fresh.join("all"), fresh.join(name));
                paths::make_dir(&all)?;
                apt::unpack(
                    &deb,
                    &all,
                    &["./usr/share/[!dgr]*", "./usr/bin", "./usr/sbin"],
                )?;
                for part in DESCRIPTIONS {
                    if all.join(part).is_dir() {
                        paths::make_dir(root.join(part).parent().unwrap_or(&root))?;
                        std::fs::rename(all.join(part), root.join(part))?;
                    }
                }
                cache::remove(&all)?;
            }
            cache::remove(&debs)
        })
    }
}

/// A directory with these files of sources that Debian has packages of, in one of its own for each
/// package: some descriptions of services are in the sources, and in no package that is installed.
pub(crate) fn original_files(files: &[(&str, &str)]) -> Result<PathBuf> {
    let mut hasher = Hasher::new("files of sources");
    for (package, file) in files {
        hasher.texts(&[*package, *file]);
    }
    let dir = paths::cache().join(format!("sources-{}", hasher.finish().short()));
    cache::directory(dir, "fetching sources for their services", |fresh| {
        let apt = Apt::of_sources()?;
        let archives = fresh.join("archives");
        paths::make_dir(&archives)?;
        let mut fetched: BTreeMap<&str, PathBuf> = BTreeMap::new();
        for (package, file) in files {
            let archive = match fetched.get(package) {
                Some(archive) => archive.clone(),
                None => apt.download_original(package, &archives)?,
            };
            let place = fresh.join(package).join(file);
            paths::make_dir(place.parent().unwrap_or(fresh))?;
            let mut tar = command::new("tar");
            tar.args(["-x", "-O", "--wildcards", "-f"]).arg(&archive);
            // Below a directory with the version in its name.
            let text = command::text(tar.arg(format!("*/{file}")))?;
            std::fs::write(&place, text)
                .with_context(|| format!("cannot write {}", place.display()))?;
            fetched.insert(package, archive);
        }
        cache::remove(&archives)
    })
}

/// Debian's cloud kernel without its decompressor.
pub(crate) fn bare_kernel(arch: Arch) -> Result<PathBuf> {
    let _lock = paths::lock()?;
    command::step("preparing the kernel");
    let linux = linux::prepare("cloud", arch, &Apt::open(arch, false)?)?;
    vmlinux::of(&linux.image)
}
