//! The image with daemons of Debian's packages, under the service files of `examples/daemons`, that
//! the boots try them with. Not here: what is asked of them (`tests-qemu/tests/daemons.rs`), and
//! their configuration (`tests-qemu/daemons`).

use std::path::PathBuf;

use anyhow::Result;

use super::{ImageOptions, make_folder};
use crate::paths;

/// Their service files, which people take as examples.
const SERVICES: &str = "examples/daemons";
/// Their accounts and configuration, as short as can be.
const FILES: &str = "tests-qemu/daemons";
/// Whose they are.
const PACKAGES: &[&str] = &[
    "haproxy",
    "mosquitto",
    "mosquitto-clients",
    "nginx",
    "openssh-server",
    "postgresql-15",
    "prometheus",
    "redis-server",
];

/// Makes it, for this machine's architecture.
pub(crate) fn make() -> Result<PathBuf> {
    make_folder(&ImageOptions {
        packages: PACKAGES.iter().map(|name| (*name).to_owned()).collect(),
        services: vec![paths::workspace().join(SERVICES)],
        files: vec![paths::workspace().join(FILES)],
        ..ImageOptions::default()
    })
}
