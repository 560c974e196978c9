//! The image with daemons of Debian's packages under service files that `sharkctl import` makes of
//! their own units, that a boot tries them with. Not here: what is asked of them
//! (`tests-qemu/tests/imported.rs`), and their accounts and configuration (`tests-qemu/imported`).

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::{ImageOptions, Packages, make_folder};
use crate::arch::Arch;
use crate::cache::{self, Hasher};
use crate::{build, command, paths};

/// Accounts and configuration, as short as can be.
const FILES: &str = "tests-qemu/imported/files";
/// What the units mean by the network, and what maintainer scripts would do.
const SERVICES: &str = "tests-qemu/imported/services";
/// Units that are known to `sharkctl import` by the services that the base image has.
const BASE: &str = "xtask/root";

/// Packages, and the units of them that are imported.
const IMPORTED: &[(&str, &[&str])] = &[
    ("dnsmasq", &["dnsmasq.service"]),
    ("haproxy", &["haproxy.service"]),
    ("haveged", &["haveged.service"]),
    ("lighttpd", &["lighttpd.service"]),
    ("lldpd", &["lldpd.service"]),
    ("mosquitto", &["mosquitto.service"]),
    ("nginx-common", &["nginx.service"]),
    ("openssh-server", &["ssh.service"]),
    (
        "prometheus-node-exporter",
        &["prometheus-node-exporter.service"],
    ),
    ("redis-server", &["redis-server.service"]),
    ("rsyslog", &["rsyslog.service"]),
    ("uuid-runtime", &["uuidd.service", "uuidd.socket"]),
    ("vsftpd", &["vsftpd.service"]),
];
/// Packages besides: what units start, and what the boot asks with.
const BESIDE: &[&str] = &["mosquitto-clients", "nginx", "redis-tools"];
/// Names that their units give to what is there before them.
const BEFORE: [&str; 4] = [
    "network.target",
    "network-online.target",
    "remote-fs.target",
    "nss-user-lookup.target",
];

/// Makes it, for this machine's architecture.
pub(crate) fn make() -> Result<PathBuf> {
    let packages: Vec<&str> = IMPORTED.iter().map(|(package, _)| *package).collect();
    let units = Packages::open(Arch::host())?.services(&packages)?;
    let services = import(&units)?;
    let all = packages.iter().chain(BESIDE);
    make_folder(&ImageOptions {
        packages: all.map(|name| (*name).to_owned()).collect(),
        services: vec![services, paths::workspace().join(SERVICES)],
        files: vec![paths::workspace().join(FILES)],
        ..ImageOptions::default()
    })
}

/// The directory with what `sharkctl import` makes of the units.
fn import(units: &Path) -> Result<PathBuf> {
    let programs = build::programs(Arch::host())?;
    let mut hasher = Hasher::new("imported services");
    hasher.file(&programs.sharkctl)?;
    let own = paths::workspace().join(SERVICES);
    for file in cache::sorted_entries(&own)? {
        hasher.file(&file)?;
    }
    for (package, names) in IMPORTED {
        hasher.texts(&[package]).texts(names);
    }
    let place = paths::cache().join(format!("imported-{}", hasher.finish().short()));
    cache::directory(place, "importing units", |fresh| {
        let mut import = command::new(&programs.sharkctl);
        import.args(["import", "--quiet", "--root"]);
        import.arg(paths::workspace().join(BASE));
        import.arg("--output").arg(fresh);
        for name in BEFORE {
            import.arg("--map").arg(format!("{name}=network"));
        }
        // `network` is known by its file, which is in the image but not among what is made.
        let network = fresh.join("network.toml");
        std::fs::copy(own.join("network.toml"), &network)?;
        for (package, names) in IMPORTED {
            let directory = units.join(package).join("lib/systemd/system");
            import.args(names.iter().map(|name| directory.join(name)));
        }
        // The account is long, and a test of its own looks at it.
        import.stdout(std::process::Stdio::null());
        command::run(&mut import).context("units of Debian's packages cannot be imported")?;
        Ok(std::fs::remove_file(&network)?)
    })
}
