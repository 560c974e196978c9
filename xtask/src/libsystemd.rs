//! libsystemd and systemd-notify(1) for the tests of sd_notify(3), systemd-journal-remote(8) with
//! journalctl(1) for those of exported logs, and rsyslogd(8) for those of logs sent on: fetched as Debian packages and unpacked beside the build,
//! never installed, since they would bring another init. Not here: the tests.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Result, bail};

use crate::{cache, command, paths, setup};

/// Tells the tests where they are unpacked.
pub(crate) const VARIABLE: &str = "SHARK_TEST_LIBSYSTEMD";

/// Where they are in the cache; another name for another list.
const DIRECTORY: &str = "libsystemd-3";

/// Them, and what they need of libraries that not every machine has.
const PACKAGES: &[&str] = &[
    "libsystemd-dev",
    "libsystemd0",
    "libsystemd-shared",
    "systemd",
    "systemd-journal-remote",
    "libacl1",
    "libaudit1",
    "libblkid1",
    "libcap-ng0",
    "libcap2",
    "libestr0",
    "libfastjson4",
    "libgcrypt20",
    "libgpg-error0",
    "libip4tc2",
    "libkmod2",
    "liblognorm5",
    "liblz4-1",
    "libmicrohttpd12",
    "libmount1",
    "libpam0g",
    "libpcre2-8-0",
    "libseccomp2",
    "libselinux1",
    "libuuid1",
    "libzstd1",
    "rsyslog",
    "zlib1g",
];

/// The directory where they are unpacked; fetched once.
pub(crate) fn unpacked() -> Result<PathBuf> {
    let target = paths::cache().join(DIRECTORY);
    cache::directory(
        target,
        "fetching libsystemd, programs of systemd, and rsyslog",
        |dir| {
            let debs = dir.join("debs");
            paths::make_dir(&debs)?;
            setup::download(PACKAGES, &debs)?;
            let found = cache::sorted_entries(&debs)?;
            if found.len() < PACKAGES.len() {
                bail!(
                    "apt-get download brought {} packages of {}",
                    found.len(),
                    PACKAGES.len()
                );
            }
            for deb in found {
                command::run(command::new("dpkg-deb").arg("-x").arg(deb).arg(dir))?;
            }
            Ok(fs::remove_dir_all(&debs)?)
        },
    )
}

/// Whether they are there already.
pub(crate) fn is_here() -> bool {
    Path::new(&paths::cache().join(DIRECTORY)).is_dir()
}
