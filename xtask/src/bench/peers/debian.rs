//! Inits that Debian packages: which packages, which of their programs run, and n services in each
//! one's own words. Where one needs scripts to get going, `run` of `xtask/bench` stands in for them.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use initramfs::archive::Entry;

use super::contestant::{Kit, Prepared};
use super::layers;
use crate::{cache, command};

/// One of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Debian {
    Busybox,
    Runit,
    S6,
    Finit,
    Systemd,
    OpenRc,
}

/// Libraries that systemd and systemctl load.
const SYSTEMD: &[&str] = &[
    "systemd",
    "libsystemd-shared",
    "libsystemd0",
    "libc6",
    "libcap2",
    "libselinux1",
    "liblzma5",
    "liblz4-1",
    "libzstd1",
    "libblkid1",
    "libgcrypt20",
    "libgpg-error0",
    "libmount1",
    "libssl3",
    "libacl1",
    "libaudit1",
    "libcap-ng0",
    "libpam0g",
    "libseccomp2",
    "libkmod2",
    "libpcre2-8-0",
    "libcrypt1",
    "libapparmor1",
    "libip4tc2",
    "libcryptsetup12",
    "libidn2-0",
    "libunistring2",
];
const OPENRC: &[&str] = &[
    "openrc",
    "libeinfo1",
    "librc1",
    "libc6",
    "libselinux1",
    "libpcre2-8-0",
    "libpam0g",
    "libaudit1",
    "libcap-ng0",
    "busybox-static",
];

impl Debian {
    pub(super) const ALL: [Self; 6] = [
        Self::Busybox,
        Self::Runit,
        Self::S6,
        Self::Finit,
        Self::Systemd,
        Self::OpenRc,
    ];

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Busybox => "busybox",
            Self::Runit => "runit",
            Self::S6 => "s6",
            Self::Finit => "finit",
            Self::Systemd => "systemd",
            Self::OpenRc => "openrc",
        }
    }

    pub(super) const fn label(self) -> &'static str {
        match self {
            Self::Busybox => "busybox init (Debian 12)",
            Self::Runit => "runit (Debian 12), no shell",
            Self::S6 => "s6 (Debian 12), no shell",
            Self::Finit => "finit (Debian 12)",
            Self::Systemd => "systemd (Debian 12), bare",
            Self::OpenRc => "OpenRC (Debian 12), supervise-daemon",
        }
    }

    pub(super) const fn dependencies(self) -> &'static str {
        match self {
            Self::Busybox | Self::Runit | Self::S6 => "no",
            Self::Finit | Self::Systemd | Self::OpenRc => "yes",
        }
    }

    const fn packages(self) -> &'static [&'static str] {
        match self {
            Self::Busybox => &["busybox-static"],
            Self::Runit => &["runit", "libc6"],
            Self::S6 => &["s6", "libs6-2.11", "libskarnet2.13", "libc6"],
            Self::Finit => &[
                "finit",
                "finit-plugins",
                "libite5",
                "libuev3",
                "libcrypt1",
                "libc6",
                "busybox-static",
            ],
            Self::Systemd => SYSTEMD,
            Self::OpenRc => OPENRC,
        }
    }

    /// The programs that do the work; the first is PID 1.
    const fn programs(self) -> &'static [&'static str] {
        match self {
            Self::Busybox => &["usr/bin/busybox"],
            Self::Runit => &["usr/sbin/runit", "usr/bin/runsvdir", "usr/bin/runsv"],
            Self::S6 => &["usr/bin/s6-svscan", "usr/bin/s6-supervise"],
            Self::Finit => &["usr/sbin/finit"],
            Self::Systemd => &["usr/lib/systemd/systemd", "usr/bin/systemctl"],
            Self::OpenRc => &[
                "usr/sbin/openrc-init",
                "usr/sbin/openrc",
                "usr/sbin/openrc-run",
                "usr/sbin/supervise-daemon",
                "usr/bin/busybox",
            ],
        }
    }

    /// The root with n services.
    pub(super) fn prepare(self, kit: &Kit, n: u32, prepared: &mut Prepared) -> Result<()> {
        let root = kit.packages.unpacked(self.packages())?;
        add_tree(&root, "", prepared)?;
        prepared.size = closure(&root, self.programs())?;
        let program = self
            .programs()
            .first()
            .map_or(String::new(), |it| format!("/{it}"));
        prepared.words(&[&program]);
        match self {
            Self::Busybox => busybox(n, prepared),
            Self::Runit => runit(n, prepared),
            Self::S6 => s6(n, prepared),
            Self::Finit => finit(n, prepared),
            Self::Systemd => systemd(n, prepared),
            Self::OpenRc => openrc(n, prepared),
        }
        Ok(())
    }
}

fn busybox(n: u32, prepared: &mut Prepared) {
    let lines =
        layers::services(n).map(|(number, _)| format!("::respawn:/bench/service {number}\n"));
    prepared.text("etc/inittab", lines.collect());
    prepared.words(&["/usr/bin/busybox", "init"]);
}

fn runit(n: u32, prepared: &mut Prepared) {
    for (number, _) in layers::services(n) {
        prepared.link(&format!("service/{number}/run"), "/bench/service");
    }
    for stage in ["1", "2", "3"] {
        prepared
            .entries
            .retain(|(path, _)| *path != format!("etc/runit/{stage}"));
        prepared.link(&format!("etc/runit/{stage}"), "/bench/run");
    }
    prepared.text(
        "etc/runit/2.argv",
        "/usr/bin/runsvdir\n-P\n/service\n".into(),
    );
}

fn s6(n: u32, prepared: &mut Prepared) {
    for (number, _) in layers::services(n) {
        prepared.link(&format!("service/{number}/run"), "/bench/service");
    }
    // More than it takes by itself.
    prepared.words(&["/usr/bin/s6-svscan", "-c", "1000", "/service"]);
}

/// It tells services apart by program and id, so each has an id; that one is up it learns from the
/// file with its pid, by a plugin.
fn finit(n: u32, prepared: &mut Prepared) {
    let mut text = String::from("runlevel 2\nhost bench\n");
    for (number, needs) in layers::services(n) {
        let needs = needs.map_or(String::new(), |it| format!("<pid/s:{it}> "));
        text.push_str(&format!(
            "service [2] name:s :{number} {needs}pid:/run/s{number}.pid /bench/service {number} -- s{number}\n"
        ));
    }
    prepared
        .entries
        .retain(|(path, _)| path != "etc/finit.conf" && !path.starts_with("etc/finit.d/"));
    prepared.text("etc/finit.conf", text);
    prepared.text("etc/fstab", String::new());
    prepared.link("var/run", "/run");
    applets(prepared);
}

fn systemd(n: u32, prepared: &mut Prepared) {
    let place = "etc/systemd/system";
    let mut wants = String::new();
    for (number, needs) in layers::services(n) {
        wants.push_str(&format!(" s{number}.service"));
        let needs = needs.map_or(String::new(), |it| {
            format!("Requires=s{it}.service\nAfter=s{it}.service\n")
        });
        let text = format!(
            "[Unit]\nDefaultDependencies=no\nStartLimitIntervalSec=0\n{needs}[Service]\n\
             ExecStart=/bench/service {number}\nRestart=always\nRestartSec=0\n\
             MemoryAccounting=yes\nTasksAccounting=yes\nCPUAccounting=yes\n"
        );
        prepared.text(&format!("{place}/s{number}.service"), text);
    }
    let own = format!("{place}/default.target");
    prepared
        .entries
        .retain(|(path, _)| !path.ends_with("/default.target"));
    prepared.text(
        &own,
        format!("[Unit]\nDefaultDependencies=no\nRequires={wants}\n"),
    );
    prepared
        .entries
        .retain(|(path, _)| path != "etc/machine-id");
    prepared.text(
        "etc/machine-id",
        "0123456789abcdef0123456789abcdef\n".into(),
    );
    prepared.text("etc/os-release", "ID=bench\nNAME=bench\n".into());
    prepared.text("etc/passwd", "root:x:0:0::/root:/bin/sh\n".into());
    prepared.text("etc/group", "root:x:0:\n".into());
    prepared.extras = vec![("reload", "/usr/bin/systemctl\ndaemon-reload".into())];
}

fn openrc(n: u32, prepared: &mut Prepared) {
    for (number, needs) in layers::services(n) {
        let needs = needs.map_or(String::new(), |it| format!("depend() {{ need s{it}; }}\n"));
        let text = format!(
            "#!/sbin/openrc-run\nsupervisor=supervise-daemon\ncommand=/bench/service\n\
             command_args={number}\nrespawn_max=0\n{needs}"
        );
        prepared.entries.push((
            format!("etc/init.d/s{number}"),
            Entry::file(0o755, text.into_bytes()),
        ));
        prepared.link(
            &format!("etc/runlevels/default/s{number}"),
            &format!("/etc/init.d/s{number}"),
        );
    }
    prepared.text("etc/passwd", "root:x:0:0::/root:/bin/sh\n".into());
    prepared.text("etc/group", "root:x:0:\ntty:x:5:\nuucp:x:10:\n".into());
    // Where Debian's version looks for more dependencies, each time.
    prepared.text("etc/insserv.conf", String::new());
    prepared
        .entries
        .push(("etc/insserv.conf.d".to_owned(), Entry::directory(0o755)));
    prepared.link("var/run", "/run");
    prepared.text("etc/fstab", String::new());
    applets(prepared);
}

/// What scripts expect to be there, by busybox.
fn applets(prepared: &mut Prepared) {
    for applet in [
        "sh",
        "mount",
        "umount",
        "mkdir",
        "rm",
        "ls",
        "cat",
        "grep",
        "sed",
        "awk",
        "uname",
        "mkfifo",
        "chmod",
        "chown",
        "mountpoint",
        "env",
        "id",
        "dmesg",
        "sleep",
        "touch",
        "mktemp",
        "cp",
        "mv",
        "ln",
        "readlink",
        "basename",
        "dirname",
        "expr",
        "test",
        "kill",
        "ps",
        "stty",
        "date",
    ] {
        prepared
            .entries
            .retain(|(path, _)| *path != format!("usr/bin/{applet}"));
        prepared.link(&format!("usr/bin/{applet}"), "busybox");
    }
}

/// Adds everything below `dir` to the root, below `at`.
pub(super) fn add_tree(dir: &Path, at: &str, prepared: &mut Prepared) -> Result<()> {
    for path in cache::sorted_entries(dir)? {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let inside = if at.is_empty() {
            name.into_owned()
        } else {
            format!("{at}/{name}")
        };
        let metadata = fs::symlink_metadata(&path)?;
        let kind = metadata.file_type();
        if kind.is_dir() {
            prepared
                .entries
                .push((inside.clone(), Entry::directory(0o755)));
            add_tree(&path, &inside, prepared)?;
        } else if kind.is_symlink() {
            prepared.link(&inside, &fs::read_link(&path)?.to_string_lossy());
        } else if kind.is_file() {
            let mode = metadata.permissions().mode() & 0o7777;
            let bytes =
                fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
            prepared.entries.push((inside, Entry::file(mode, bytes)));
        }
    }
    Ok(())
}

/// Bytes of the programs and of all libraries that they load.
fn closure(root: &Path, programs: &[&str]) -> Result<u64> {
    let mut open: Vec<PathBuf> = programs.iter().map(|it| root.join(it)).collect();
    let mut seen: Vec<PathBuf> = Vec::new();
    while let Some(path) = open.pop() {
        let path = path
            .canonicalize()
            .with_context(|| format!("there is no {}", path.display()))?;
        if seen.contains(&path) {
            continue;
        }
        let needed = command::text(command::new("readelf").arg("-dl").arg(&path))?;
        for name in needed_libraries(&needed) {
            let dirs = [
                "usr/lib/x86_64-linux-gnu",
                "usr/lib/x86_64-linux-gnu/systemd",
            ];
            let found = dirs
                .iter()
                .map(|dir| root.join(dir).join(&name))
                .find(|it| it.exists());
            open.push(found.with_context(|| format!("{} needs {name}", path.display()))?);
        }
        seen.push(path);
    }
    let sizes = seen.iter().map(|path| Ok(fs::metadata(path)?.len()));
    sizes.sum::<Result<u64>>()
}

/// Names in what readelf says of the dynamic section, and the loader.
fn needed_libraries(text: &str) -> Vec<String> {
    let between = |line: &str, from: &str, to: char| {
        Some(line.split_once(from)?.1.split(to).next()?.to_owned())
    };
    let needed = text
        .lines()
        .filter(|line| line.contains("(NEEDED)"))
        .filter_map(|line| between(line, "[", ']'));
    let loader = text
        .lines()
        .filter_map(|line| between(line, "interpreter: ", ']'))
        .filter_map(|path| Some(path.rsplit_once('/')?.1.to_owned()));
    needed.chain(loader).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn readelf_names_libraries_and_the_loader() {
        let text = "      [Requesting program interpreter: /lib64/ld-linux-x86-64.so.2]\n \
                    0x01 (NEEDED)             Shared library: [libc.so.6]\n";
        assert_eq!(
            needed_libraries(text),
            ["libc.so.6", "ld-linux-x86-64.so.2"]
        );
    }
}
