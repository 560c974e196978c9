//! The content of a root, as a directory: Debian packages without what a Shark root does not take,
//! our own files, the programs, and what the user lays over it. Not here: the sealed image
//! (`slots`), and whether the services fit together (`check`).

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow};
use init::load::image;
use init::paths::Paths;

use super::apt;
use crate::build::Programs;
use crate::{cache, command, paths};

/// What an image is for without being told.
pub(super) const BASE_PACKAGES: &[&str] = &[
    "busybox-static",
    "dropbear-bin",
    "chrony",
    "prometheus-node-exporter",
    "e2fsprogs",
    "dmsetup",
];

/// Files of packages that have no reader here: documentation in other forms than `copyright`, other
/// init systems' files, hooks of programs that are left out, character sets other than UTF-8.
const WITHOUT: &[&str] = &[
    "./usr/share/man",
    "./usr/share/info",
    "./usr/share/locale",
    "./usr/share/lintian",
    "./usr/share/bug",
    "./usr/share/doc-base",
    "./usr/share/bash-completion",
    "./usr/share/zsh",
    "./usr/share/initramfs-tools",
    "./usr/share/apport",
    "./lib/systemd",
    "./usr/lib/systemd",
    "./lib/udev",
    "./usr/lib/udev",
    "./etc/init.d",
    "./etc/rc?.d",
    "./etc/cron.*",
    "./etc/logrotate.d",
    "./etc/apparmor.d",
    "./etc/dhcp",
    "./etc/ppp",
    "./etc/network",
    "./usr/lib/*/gconv",
    "./usr/lib/dracut",
    "./usr/share/dracut",
    "./var/*",
];

/// Directories that are mounted over, or that people expect.
const DIRECTORIES: &[(&str, u32)] = &[
    ("boot", 0o755),
    ("dev", 0o755),
    ("proc", 0o555),
    ("sys", 0o555),
    ("run", 0o755),
    ("tmp", 0o1777),
    ("var", 0o755),
    ("mnt", 0o755),
    ("media", 0o755),
    ("opt", 0o755),
    ("usr/local", 0o755),
    ("etc/shark/services", 0o755),
    ("usr/lib/shark/services", 0o755),
    ("usr/lib/modules", 0o755),
    ("etc/dropbear", 0o700),
];

/// Links from where things are looked for to where they are. A home is writable: it is on the data
/// partition.
const LINKS: &[(&str, &str)] = &[
    ("bin", "usr/bin"),
    ("sbin", "usr/sbin"),
    ("lib", "usr/lib"),
    ("lib64", "usr/lib64"),
    ("root", "var/root"),
    ("home", "var/home"),
    ("srv", "var/srv"),
    ("etc/mtab", "../proc/self/mounts"),
    ("etc/resolv.conf", "../run/resolv.conf"),
    ("etc/os-release", "../usr/lib/os-release"),
];

/// Applets of busybox that would be wrong here: they speak to another PID 1, to another package
/// manager, or belong into an initramfs.
const NO_APPLETS: &[&str] = &[
    "init",
    "linuxrc",
    "halt",
    "poweroff",
    "reboot",
    "busybox",
    "dpkg",
    "dpkg-deb",
    "rpm",
    "rpm2cpio",
    "run-init",
    "switch_root",
    "svc",
    "svok",
    "start-stop-daemon",
    "telnetd",
    "tftp",
    "mdev",
    "uevent",
];

/// What a root is made of.
pub(super) struct Parts<'a> {
    pub(super) debs: &'a [PathBuf],
    pub(super) programs: &'a Programs,
    /// A busybox that runs on this machine, to be asked for its applets.
    pub(super) host_busybox: &'a Path,
    pub(super) modules: Option<&'a Path>,
    pub(super) services: &'a [PathBuf],
    pub(super) files: &'a [PathBuf],
    pub(super) version: &'a str,
    /// Whether this machine's ldconfig knows the libraries of the image.
    pub(super) native: bool,
    /// Name and text of each key that may sign updates.
    pub(super) keys: &'a [(String, String)],
}

/// What the least of roots is made of.
pub(super) struct BareParts<'a> {
    pub(super) programs: &'a Programs,
    /// A static busybox.
    pub(super) busybox: &'a Path,
    /// One that runs on this machine, to be asked for its applets.
    pub(super) host_busybox: &'a Path,
    pub(super) version: &'a str,
}

/// Our own files, which every root gets but a bare one.
pub(super) fn overlay() -> PathBuf {
    paths::workspace().join("xtask/root")
}

/// Assembles in `root`, an empty directory, a root with our programs, busybox, and nothing else.
pub(super) fn assemble_bare(parts: &BareParts<'_>, root: &Path) -> Result<()> {
    top_links(root)?;
    directories_and_programs(parts.programs, parts.version, root)?;
    install(parts.busybox, &root.join("usr/bin/busybox"))?;
    inner_links(root)?;
    applets(parts.host_busybox, root)
}

/// Assembles the root in `root`, an empty directory.
pub(super) fn assemble(parts: &Parts<'_>, root: &Path) -> Result<()> {
    top_links(root)?;
    for deb in parts.debs {
        apt::unpack(deb, root, WITHOUT)?;
    }
    keep_only_licences(&root.join("usr/share/doc"))?;
    directories_and_programs(parts.programs, parts.version, root)?;
    if let Some(modules) = parts.modules {
        let release = modules.file_name().unwrap_or_default();
        lay_over(modules, &root.join("usr/lib/modules").join(release))?;
    }
    lay_over(&overlay(), root)?;
    inner_links(root)?;
    applets(parts.host_busybox, root)?;
    for services in parts.services {
        lay_over(services, &root.join("usr/lib/shark/services"))?;
    }
    for files in parts.files {
        lay_over(files, root)?;
    }
    add_updater(parts.programs, parts.keys, root)?;
    set_mode(&root.join("etc/shadow"), 0o600)?;
    if parts.native {
        library_cache(root)?;
    }
    Ok(())
}

/// The updater with its service, and name and text of each key that may sign updates.
pub(super) fn add_updater(
    programs: &Programs,
    keys: &[(String, String)],
    root: &Path,
) -> Result<()> {
    const SERVICE: &str = "usr/lib/shark/services/update.toml";
    install(&programs.updater, &root.join("usr/lib/shark/shark-update"))?;
    replace(&overlay().join(SERVICE), &root.join(SERVICE))?;
    set_mode(&root.join(SERVICE), 0o644)?;
    new_dir(&root.join("usr/lib/shark/keys"))?;
    keys.iter().try_for_each(|(name, text)| {
        write(&root.join(format!("usr/lib/shark/keys/{name}.pub")), text)
    })
}

/// Makes the graph with which the root boots; `slots::seal` gives all files the time 0.
pub(super) fn compile_graph(root: &Path) -> Result<()> {
    let paths = Paths::new(None, None);
    let (bytes, _) = image::make(root, &paths.service_path, Some(0)).map_err(|diagnostics| {
        let problems: Vec<String> = diagnostics.iter().map(ToString::to_string).collect();
        anyhow!(
            "the graph of the image cannot be made:\n{}",
            problems.join("\n")
        )
    })?;
    let place = image::place(&paths).unwrap_or_default();
    let place = root.join(place.strip_prefix("/").unwrap_or(&place));
    fs::write(&place, bytes).with_context(|| format!("cannot write {}", place.display()))?;
    set_mode(&place, 0o644)
}

/// Links that lead to directories, which are there before anything is unpacked through them.
fn top_links(root: &Path) -> Result<()> {
    set_mode(root, 0o755)?;
    for (path, target) in LINKS.iter().filter(|(path, _)| !path.contains('/')) {
        if target.starts_with("usr/") {
            new_dir(&root.join(target))?;
        }
        link(target, &root.join(path))?;
    }
    Ok(())
}

fn inner_links(root: &Path) -> Result<()> {
    LINKS
        .iter()
        .filter(|(path, _)| path.contains('/'))
        .try_for_each(|(path, target)| link(target, &root.join(path)))
}

fn directories_and_programs(programs: &Programs, version: &str, root: &Path) -> Result<()> {
    for (path, mode) in DIRECTORIES {
        new_dir(&root.join(path))?;
        set_mode(&root.join(path), *mode)?;
    }
    install(&programs.init, &root.join("usr/sbin/init"))?;
    install(&programs.sharkctl, &root.join("usr/bin/sharkctl"))?;
    write(&root.join("usr/lib/os-release"), &os_release(version))
}

fn os_release(version: &str) -> String {
    format!(
        "NAME=\"Shark OS\"\nID=shark\nID_LIKE=debian\nPRETTY_NAME=\"Shark OS {version}\"\n\
         VERSION_ID=\"{version}\"\nIMAGE_ID=shark\nIMAGE_VERSION=\"{version}\"\n"
    )
}

/// Debian's packages may be passed on when their licences come with them; the rest of the
/// documentation has no reader on a device.
fn keep_only_licences(doc: &Path) -> Result<()> {
    if !doc.is_dir() {
        return Ok(());
    }
    for package in cache::sorted_entries(doc)? {
        if !package.is_dir() || package.is_symlink() {
            continue;
        }
        for path in cache::sorted_entries(&package)? {
            if path.file_name().is_some_and(|name| name == "copyright") {
                continue;
            }
            if path.is_dir() && !path.is_symlink() {
                cache::remove(&path)?;
            } else {
                fs::remove_file(&path)
                    .with_context(|| format!("cannot remove {}", path.display()))?;
            }
        }
    }
    Ok(())
}

/// Copies the tree `from` over `to`. Of the modes only "may be executed" counts, so that the umask
/// of whoever made the tree does not show.
pub(super) fn lay_over(from: &Path, to: &Path) -> Result<()> {
    new_dir(to)?;
    for path in cache::sorted_entries(from)? {
        let name = path.file_name().unwrap_or_default();
        let target = to.join(name);
        let meta = fs::symlink_metadata(&path)
            .with_context(|| format!("cannot look at {}", path.display()))?;
        if meta.is_dir() {
            lay_over(&path, &target)?;
        } else if meta.is_symlink() {
            let pointing_to = fs::read_link(&path)
                .with_context(|| format!("cannot read the link {}", path.display()))?;
            link(&pointing_to, &target)?;
        } else {
            replace(&path, &target)?;
            let executable = meta.permissions().mode() & 0o111 != 0;
            set_mode(&target, if executable { 0o755 } else { 0o644 })?;
        }
    }
    Ok(())
}

/// Makes a directory, and those above it, with a mode that the umask has no part in. One that is
/// there keeps its mode.
fn new_dir(path: &Path) -> Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    if let Some(parent) = path.parent() {
        new_dir(parent)?;
    }
    paths::make_dir(path)?;
    set_mode(path, 0o755)
}

/// Adds a file that is no program.
pub(super) fn add_file(from: &Path, to: &Path) -> Result<()> {
    if let Some(parent) = to.parent() {
        new_dir(parent)?;
    }
    replace(from, to)?;
    set_mode(to, 0o644)
}

fn install(from: &Path, to: &Path) -> Result<()> {
    replace(from, to)?;
    set_mode(to, 0o755)
}

fn replace(from: &Path, to: &Path) -> Result<()> {
    clear(to)?;
    fs::copy(from, to)
        .map(drop)
        .with_context(|| format!("cannot copy {} to {}", from.display(), to.display()))
}

fn link(target: impl AsRef<Path>, at: &Path) -> Result<()> {
    clear(at)?;
    symlink(target, at).with_context(|| format!("cannot make the link {}", at.display()))
}

/// Makes way for a file: copying onto a link would change what it points to.
fn clear(path: &Path) -> Result<()> {
    match fs::symlink_metadata(path) {
        Ok(meta) if !meta.is_dir() => {
            fs::remove_file(path).with_context(|| format!("cannot replace {}", path.display()))
        }
        _ => Ok(()),
    }
}

fn write(path: &Path, text: &str) -> Result<()> {
    clear(path)?;
    fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))?;
    set_mode(path, 0o644)
}

fn set_mode(path: &Path, mode: u32) -> Result<()> {
    fs::set_permissions(path, fs::Permissions::from_mode(mode))
        .with_context(|| format!("cannot set the mode of {}", path.display()))
}

/// Links for what busybox can do and no real program does.
fn applets(host_busybox: &Path, root: &Path) -> Result<()> {
    let list = command::text(command::new(host_busybox).arg("--list-full"))?;
    for path in list.lines() {
        let (dir, name) = path.rsplit_once('/').unwrap_or(("bin", path));
        let dir = if dir.ends_with("sbin") {
            "usr/sbin"
        } else {
            "usr/bin"
        };
        let is_there = ["usr/bin", "usr/sbin"]
            .iter()
            .any(|place| root.join(place).join(name).symlink_metadata().is_ok());
        if is_there || NO_APPLETS.contains(&name) {
            continue;
        }
        let target = if dir == "usr/bin" {
            "busybox"
        } else {
            "../bin/busybox"
        };
        link(target, &root.join(dir).join(name))?;
    }
    Ok(())
}

/// The dynamic linker's cache. It finds the system's libraries without one; the cache makes the
/// start of programs cheaper, and lets packages bring directories of their own.
fn library_cache(root: &Path) -> Result<()> {
    let mut ldconfig = command::new("ldconfig");
    ldconfig.env("PATH", command::path_with_sbin());
    // Without -X, so that links to libraries are right even if a package relied on its scripts.
    command::run(ldconfig.arg("-i").arg("-r").arg(root))?;
    cache::remove(&root.join("var/cache"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn laying_over_replaces_files_and_links_and_levels_modes() {
        let dir = tempfile::tempdir().unwrap();
        let (from, to) = (dir.path().join("from"), dir.path().join("to"));
        for dir in [&from, &to] {
            paths::make_dir(&dir.join("etc")).unwrap();
        }
        fs::write(to.join("target"), "untouched").unwrap();
        link("../target", &to.join("etc/name")).unwrap();
        fs::write(from.join("etc/name"), "new").unwrap();
        fs::write(from.join("script"), "").unwrap();
        set_mode(&from.join("etc/name"), 0o600).unwrap();
        set_mode(&from.join("script"), 0o700).unwrap();
        paths::make_dir(&from.join("private/inner")).unwrap();
        set_mode(&from.join("private"), 0o700).unwrap();
        link("elsewhere", &from.join("link")).unwrap();
        lay_over(&from, &to).unwrap();
        lay_over(&from, &to).unwrap();
        let mode = |path: &str| fs::metadata(to.join(path)).unwrap().permissions().mode() & 0o7777;
        assert_eq!(fs::read_to_string(to.join("target")).unwrap(), "untouched");
        assert_eq!(fs::read_to_string(to.join("etc/name")).unwrap(), "new");
        assert_eq!((mode("etc/name"), mode("script")), (0o644, 0o755));
        assert_eq!((mode("private"), mode("private/inner")), (0o755, 0o755));
        assert_eq!(
            fs::read_link(to.join("link")).unwrap(),
            Path::new("elsewhere")
        );
    }

    #[test]
    fn of_the_documentation_only_licences_stay() {
        let dir = tempfile::tempdir().unwrap();
        let package = dir.path().join("p");
        paths::make_dir(&package.join("examples")).unwrap();
        fs::write(package.join("copyright"), "").unwrap();
        fs::write(package.join("changelog.gz"), "").unwrap();
        keep_only_licences(dir.path()).unwrap();
        assert_eq!(
            cache::sorted_entries(&package).unwrap(),
            [package.join("copyright")]
        );
    }
}
