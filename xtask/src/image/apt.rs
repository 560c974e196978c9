//! Debian packages by name: which ones that means, and their files. apt does it in a directory of
//! its own, so the host's lists and packages are neither used nor changed, and any architecture
//! can be asked for. Not here: what is done with the files (`root`, `linux`).

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::arch::Arch;
use crate::cache::Hasher;
use crate::{command, paths};

/// The Debian release that images are made of, and where its packages are.
const SOURCES: [(&str, &str); 3] = [
    ("http://deb.debian.org/debian", "bookworm"),
    ("http://deb.debian.org/debian", "bookworm-updates"),
    ("http://deb.debian.org/debian-security", "bookworm-security"),
];
const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// Packages that others depend on and a Shark root does not take. apt is told that they are
/// installed, so neither they nor what only they need comes along.
///
/// Other init systems and their helpers; what serves maintainer scripts, which never run here; what
/// busybox stands in for; what makes initramfs images the Debian way.
pub(super) const LEFT_OUT: &[&str] = &[
    "systemd",
    "systemd-sysv",
    "libpam-systemd",
    "sysvinit-core",
    "sysvinit-utils",
    "sysv-rc",
    "init",
    "init-system-helpers",
    "insserv",
    "lsb-base",
    "runit-helper",
    "udev",
    "logrotate",
    "cron",
    "adduser",
    "debconf",
    "ucf",
    "sensible-utils",
    "passwd",
    "dpkg",
    "perl",
    "perl-base",
    "usrmerge",
    "usr-is-merged",
    "base-files",
    "base-passwd",
    "libc-bin",
    "libpam-runtime",
    "bash",
    "dash",
    "coreutils",
    "tar",
    "sed",
    "grep",
    "gzip",
    "findutils",
    "diffutils",
    "mawk",
    "debianutils",
    "util-linux",
    "login",
    "mount",
    "hostname",
    "iproute2",
    "kmod",
    "cpio",
    "tzdata",
    "logsave",
    "initramfs-tools",
    "initramfs-tools-core",
    "klibc-utils",
    "linux-base",
];

/// One package, as apt chose it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Package {
    pub(super) name: String,
    pub(super) version: String,
    architecture: String,
}

impl Package {
    /// `name_version_arch`, which tells it from every other package there ever was.
    pub(super) fn id(&self) -> String {
        format!("{}_{}_{}", self.name, self.version, self.architecture)
    }

    /// Its file name, with the colon of an epoch written as apt does.
    fn file_name(&self) -> String {
        format!("{}.deb", self.id().replace(':', "%3a"))
    }
}

/// apt for one architecture.
pub(super) struct Apt {
    dir: PathBuf,
    debs: PathBuf,
}

impl Apt {
    /// Prepares the directory, and fetches the lists when there are none, or when `update` asks.
    pub(super) fn open(arch: Arch, update: bool) -> Result<Self> {
        Self::prepare(arch.debian(), arch, &sources("deb"), update)
    }

    /// apt for packages of sources. In a directory of its own: their lists are large, and nothing that
    /// is built needs them.
    pub(super) fn of_sources() -> Result<Self> {
        Self::prepare("source", Arch::host(), &sources("deb-src"), false)
    }

    fn prepare(name: &str, arch: Arch, sources: &str, update: bool) -> Result<Self> {
        let apt = Self {
            dir: paths::cache().join("apt").join(name),
            debs: paths::cache().join("debs"),
        };
        paths::make_dir(&apt.dir.join("state/lists/partial"))?;
        paths::make_dir(&apt.debs.join("partial"))?;
        apt.write("apt.conf", &apt.configuration(arch)?)?;
        apt.write("sources.list", sources)?;
        apt.write("status", &status(arch))?;
        if update || !apt.has_lists()? {
            apt.update()?;
        }
        Ok(apt)
    }

    fn write(&self, name: &str, text: &str) -> Result<()> {
        let path = self.dir.join(name);
        fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))
    }

    fn configuration(&self, arch: Arch) -> Result<String> {
        let dir = self.dir.display();
        let mut text = format!(
            r#"Dir::State "{dir}/state";
Dir::State::status "{dir}/status";
Dir::Cache "{dir}";
Dir::Cache::archives "{debs}";
Dir::Etc::sourcelist "{dir}/sources.list";
APT::Architecture "{arch}";
APT::Architectures {{ "{arch}"; }};
APT::Install-Recommends "false";
APT::Sandbox::User "root";
Acquire::Languages "none";
Acquire::Retries "3";
Debug::NoLocking "true";
"#,
            debs = self.debs.display(),
            arch = arch.debian(),
        );
        for name in [
            "main",
            "parts",
            "sourceparts",
            "preferences",
            "preferencesparts",
            "trusted",
            "trustedparts",
        ] {
            let _ = writeln!(text, "Dir::Etc::{name} \"/dev/null\";");
        }
        text.push_str(&host_access()?);
        Ok(text)
    }

    fn command(&self, program: &str) -> Command {
        let mut command = command::new(program);
        command.env("APT_CONFIG", self.dir.join("apt.conf"));
        command
    }

    fn has_lists(&self) -> Result<bool> {
        let lists = crate::cache::sorted_entries(&self.dir.join("state/lists"))?;
        Ok(lists
            .iter()
            .any(|path| path.to_string_lossy().ends_with("_InRelease")))
    }

    fn update(&self) -> Result<()> {
        command::step("fetching Debian's package lists");
        command::run(self.command("apt-get").args([
            "-q",
            "update",
            "-o",
            "APT::Update::Error-Mode=any",
        ]))
    }

    /// The packages that `names` and their dependencies come to, and their files, in the order of
    /// their ids. Downloads what is not here yet; apt checks each download against the signed lists.
    pub(super) fn fetch(&self, names: &[&str]) -> Result<Vec<(Package, PathBuf)>> {
        let first = self.resolve(names)?;
        if self.download(names, &first).is_ok() {
            return Ok(self.files(first));
        }
        // The archive drops the files of old versions some time after the lists name newer ones.
        self.update()?;
        let second = self.resolve(names)?;
        self.download(names, &second)?;
        Ok(self.files(second))
    }

    fn files(&self, packages: Vec<Package>) -> Vec<(Package, PathBuf)> {
        packages
            .into_iter()
            .map(|package| {
                let file = self.debs.join(package.file_name());
                (package, file)
            })
            .collect()
    }

    fn download(&self, names: &[&str], packages: &[Package]) -> Result<()> {
        let is_missing = |package: &&Package| !self.debs.join(package.file_name()).is_file();
        let missing = packages.iter().filter(is_missing).count();
        if missing == 0 {
            return Ok(());
        }
        command::step(&format!("downloading {missing} Debian packages"));
        let install = [
            "-q",
            "-y",
            "--no-install-recommends",
            "--download-only",
            "install",
        ];
        command::run(self.command("apt-get").args(install).args(names))?;
        match packages.iter().find(is_missing) {
            Some(package) => bail!("apt downloaded everything but {}", package.file_name()),
            None => Ok(()),
        }
    }

    /// Downloads these packages, and nothing that they depend on, into `place`.
    pub(super) fn download_alone(&self, names: &[&str], place: &Path) -> Result<()> {
        let download = || {
            let mut apt = self.command("apt-get");
            // Nothing counts as installed here: packages that images leave out can be asked for too.
            apt.args(["-q", "-o", "Dir::State::status=/dev/null", "download"])
                .args(names)
                .current_dir(place);
            command::run(&mut apt)
        };
        if download().is_ok() {
            return Ok(());
        }
        // The archive drops the files of old versions some time after the lists name newer ones.
        self.update()?;
        download()
    }

    /// Downloads the archive of what Debian has taken over as `package` into `place`, alone and without
    /// Debian's changes.
    pub(super) fn download_original(&self, package: &str, place: &Path) -> Result<PathBuf> {
        if let Ok(file) = self.try_original(package, place) {
            return Ok(file);
        }
        self.update()?;
        self.try_original(package, place)
    }

    fn try_original(&self, package: &str, place: &Path) -> Result<PathBuf> {
        let mut apt = self.command("apt-get");
        let text = command::text(apt.args(["-q", "--print-uris", "source", package]))?;
        let is_original = |it: &Download<'_>| {
            let rest = it.file.split_once(".orig.tar.").map(|(_, rest)| rest);
            rest.is_some_and(|rest| !rest.contains('.'))
        };
        let original = parse_uris(&text).find(is_original);
        let original =
            original.with_context(|| format!("apt-get names no archive of {package}"))?;
        let file = place.join(original.file);
        let mut helper = self.command("/usr/lib/apt/apt-helper");
        helper.args(["download-file", original.address]).arg(&file);
        // It checks the sum, which is that of the signed lists.
        command::run(helper.arg(original.sum))?;
        Ok(file)
    }

    /// What apt would install. The answer is kept as long as the lists stay the same: apt needs a
    /// second for it.
    fn resolve(&self, names: &[&str]) -> Result<Vec<Package>> {
        let mut hasher = Hasher::new("resolve");
        hasher.texts(names).texts(LEFT_OUT);
        for list in crate::cache::sorted_entries(&self.dir.join("state/lists"))? {
            if list.to_string_lossy().ends_with("_InRelease") {
                hasher.file(&list)?;
            }
        }
        let kept = self
            .dir
            .join(format!("resolved-{}", hasher.finish().short()));
        let text = match fs::read_to_string(&kept) {
            Ok(text) => text,
            Err(_) => {
                let simulate = ["-q", "-s", "--no-install-recommends", "install"];
                let text = command::text(self.command("apt-get").args(simulate).args(names))
                    .with_context(|| format!("cannot resolve the packages {}", names.join(" ")))?;
                fs::write(&kept, &text)
                    .with_context(|| format!("cannot write {}", kept.display()))?;
                text
            }
        };
        parse_simulation(&text)
    }
}

/// A file that apt would download.
struct Download<'t> {
    address: &'t str,
    file: &'t str,
    sum: &'t str,
}

/// Reads the lines `'ADDRESS' FILE SIZE SUM` of apt-get.
fn parse_uris(text: &str) -> impl Iterator<Item = Download<'_>> {
    text.lines().filter_map(|line| {
        let (address, rest) = line.strip_prefix('\'')?.split_once("' ")?;
        let mut words = rest.split(' ');
        let (file, _, sum) = (words.next()?, words.next()?, words.next()?);
        Some(Download { address, file, sum })
    })
}

/// Reads the lines `Inst NAME (VERSION ARCHIVE [ARCH])` of apt-get's simulation.
fn parse_simulation(text: &str) -> Result<Vec<Package>> {
    let mut packages = Vec::new();
    for line in text.lines().filter(|line| line.starts_with("Inst ")) {
        let package = (|| {
            let (name, rest) = line.strip_prefix("Inst ")?.split_once(' ')?;
            let (inside, _) = rest.split_once('(')?.1.split_once(')')?;
            let version = inside.split(' ').next()?;
            let architecture = inside.rsplit_once('[')?.1.strip_suffix(']')?;
            Some(Package {
                name: name.to_owned(),
                version: version.to_owned(),
                architecture: architecture.to_owned(),
            })
        })();
        packages.push(package.with_context(|| format!("apt-get said something new: {line}"))?);
    }
    packages.sort();
    Ok(packages)
}

fn sources(kind: &str) -> String {
    SOURCES
        .iter()
        .map(|(address, suite)| format!("{kind} [signed-by={KEYRING}] {address} {suite} main\n"))
        .collect()
}

/// A dpkg status in which exactly what is left out is installed.
fn status(arch: Arch) -> String {
    LEFT_OUT
        .iter()
        .map(|name| {
            // As Debian has it: what depends on `perl:any` is content with no other.
            let multi_arch = match *name {
                "perl" => "allowed",
                _ => "foreign",
            };
            format!(
                "Package: {name}\nStatus: install ok installed\nArchitecture: {}\n\
                 Multi-Arch: {multi_arch}\nVersion: 999:0\nMaintainer: none\n\
                 Description: left out\n\n",
                arch.debian()
            )
        })
        .collect()
}

/// How this host reaches the archive (proxies, above all), and how strict it is about dates.
fn host_access() -> Result<String> {
    let format = r#"--format=%f "%v";%n"#;
    let text = command::text(command::new("apt-config").args(["dump", format]))?;
    let wanted = ["Acquire::http", "Acquire::https", "Acquire::Check-"];
    Ok(text
        .lines()
        .filter(|line| wanted.iter().any(|prefix| line.starts_with(prefix)))
        .filter(|line| !line.contains("::Auto") && !line.ends_with(" \"\";"))
        .map(|line| format!("{line}\n"))
        .collect())
}

/// Unpacks the files of a package below `root`, through links to directories (`/lib` and its kin),
/// leaving out what matches one of `without`. Owners are of no interest: the image has only root.
pub(super) fn unpack(deb: &Path, root: &Path, without: &[&str]) -> Result<()> {
    let mut files = command::new("dpkg-deb");
    files
        .arg("--fsys-tarfile")
        .arg(deb)
        .stdout(std::process::Stdio::piped());
    let mut child = files
        .spawn()
        .with_context(|| format!("cannot run {}", command::line(&files)))?;
    let pipe = child.stdout.take().context("dpkg-deb has no output")?;
    let mut tar = command::new("tar");
    tar.args([
        "-x",
        "-p",
        "--no-same-owner",
        "--keep-directory-symlink",
        "-C",
    ])
    .arg(root)
    .args(without.iter().map(|pattern| format!("--exclude={pattern}")))
    .stdin(pipe);
    let unpacked = command::run(&mut tar);
    let status = child.wait()?;
    unpacked.with_context(|| format!("cannot unpack {}", deb.display()))?;
    if !status.success() {
        bail!("{} failed: {status}", command::line(&files));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_simulation_names_packages_versions_and_files() {
        let text = "Reading package lists...\n\
            Inst libgcc-s1 (12.2.0-14+deb12u1 Debian:12.15/oldstable [amd64]) []\n\
            Inst busybox-static (1:1.35.0-4+b1 Debian:12.15/x, Debian-Security:12/y [amd64])\n\
            Conf libgcc-s1 (12.2.0-14+deb12u1 Debian:12.15/oldstable [amd64])\n";
        let files: Vec<String> = parse_simulation(text)
            .unwrap()
            .iter()
            .map(Package::file_name)
            .collect();
        assert_eq!(
            files,
            [
                "busybox-static_1%3a1.35.0-4+b1_amd64.deb",
                "libgcc-s1_12.2.0-14+deb12u1_amd64.deb"
            ]
        );
        assert!(parse_simulation("Inst odd\n").is_err());
    }

    #[test]
    fn files_that_would_be_downloaded_are_read() {
        let text = "Reading package lists...\nNeed to get 3 B of source archives.\n\
            'http://x/a_1.dsc' a_1.dsc 2 SHA256:00\n'http://x/a_1.orig.tar.gz' a_1.orig.tar.gz 1 SHA256:ff\n";
        let found: Vec<_> = parse_uris(text)
            .map(|it| (it.address, it.file, it.sum))
            .collect();
        assert_eq!(
            found,
            [
                ("http://x/a_1.dsc", "a_1.dsc", "SHA256:00"),
                ("http://x/a_1.orig.tar.gz", "a_1.orig.tar.gz", "SHA256:ff")
            ]
        );
    }

    #[test]
    fn nothing_is_left_out_twice() {
        let mut names = LEFT_OUT.to_vec();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), LEFT_OUT.len());
    }
}
