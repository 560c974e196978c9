//! Whether a root has an init that the kernel will execute: found and looked at before the root is
//! entered, while another slot can still be taken.
//!
//! Links are followed inside that root and not in the initramfs: `/sbin/init` that points to
//! `/usr/lib/shark/init` means the one in the new root. Not here: executing it (`switch`).

use std::fs::{self, File};
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::{Component, Path, PathBuf};

use mounts::dps::Architecture;
use mounts::program;

/// What stage1 executes, in the new root.
pub(crate) const INIT: &str = "/sbin/init";

/// Links followed on one way, as the kernel has it.
const LINKS_MAX: u32 = 40;
/// `root` has an init, and what the kernel needs to execute it is there.
pub(crate) fn check(root: &Path) -> Result<(), String> {
    let head = head_of(root, INIT)?;
    let needs = program::needs(&head, machine()).map_err(|why| format!("{INIT}: {why}"))?;
    match needs {
        None => Ok(()),
        Some(other) => head_of(root, &other)
            .map(drop)
            .map_err(|why| format!("{INIT} needs {other}: {why}")),
    }
}

/// `EM_*` of this machine.
fn machine() -> u16 {
    Architecture::current().map_or(0, Architecture::elf_machine)
}

/// Where `path` of `root` is, links followed as they would be in that root.
pub(crate) fn resolve(root: &Path, path: &str) -> Result<PathBuf, String> {
    // Components still to go, the next one last.
    let mut rest = reversed(Path::new(path));
    let mut inside = PathBuf::new();
    let mut links = 0;
    while let Some(part) = rest.pop() {
        if part == ".." {
            inside.pop();
            continue;
        }
        let here = root.join(&inside).join(&part);
        let metadata =
            fs::symlink_metadata(&here).map_err(|error| format!("{}: {error}", here.display()))?;
        if !metadata.is_symlink() {
            inside.push(part);
            continue;
        }
        links += 1;
        if links > LINKS_MAX {
            return Err(format!("{path}: more than {LINKS_MAX} links"));
        }
        let target =
            fs::read_link(&here).map_err(|error| format!("{}: {error}", here.display()))?;
        if target.is_absolute() {
            inside.clear();
        }
        rest.extend(reversed(&target));
    }
    Ok(root.join(inside))
}

/// The names in `path`, last first; `..` stays, since what it means depends on links.
fn reversed(path: &Path) -> Vec<String> {
    let mut names: Vec<String> = path
        .components()
        .filter_map(|part| match part {
            Component::Normal(name) => Some(name.to_string_lossy().into_owned()),
            Component::ParentDir => Some("..".to_owned()),
            Component::RootDir | Component::CurDir | Component::Prefix(_) => None,
        })
        .collect();
    names.reverse();
    names
}

/// The first bytes of a file that somebody may execute.
fn head_of(root: &Path, path: &str) -> Result<Vec<u8>, String> {
    let file = resolve(root, path)?;
    let text = |error: std::io::Error| format!("{}: {error}", file.display());
    let metadata = fs::metadata(&file).map_err(text)?;
    if !metadata.is_file() || metadata.permissions().mode() & 0o111 == 0 {
        return Err(format!("{}: not an executable file", file.display()));
    }
    let mut head = Vec::new();
    File::open(&file)
        .and_then(|file| file.take(program::HEAD).read_to_end(&mut head))
        .map_err(text)?;
    Ok(head)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    /// The head of an ELF program, with a loader when it names one.
    fn elf(loader: Option<&str>) -> Vec<u8> {
        let mut head = vec![0; 64];
        head[..6].copy_from_slice(b"\x7fELF\x02\x01");
        head[18..20].copy_from_slice(&machine().to_le_bytes());
        head[32] = 64;
        head[54] = 56;
        head[56] = 1;
        let mut segment = [0; 56];
        if let Some(loader) = loader {
            segment[0] = 3;
            segment[8] = 120;
            segment[32] = u8::try_from(loader.len() + 1).unwrap();
        }
        head.extend(segment);
        head.extend(loader.unwrap_or_default().bytes());
        head.push(0);
        head
    }

    fn put(root: &Path, path: &str, content: &[u8], mode: u32) {
        let path = root.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, content).unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }

    #[test]
    fn links_are_followed_inside_of_the_root() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path();
        put(root, "usr/lib/shark/init", &elf(None), 0o755);
        fs::create_dir_all(root.join("usr/sbin")).unwrap();
        symlink("usr/sbin", root.join("sbin")).unwrap();
        symlink("/usr/lib/shark/init", root.join("usr/sbin/init")).unwrap();
        let init = root.join("usr/lib/shark/init");
        assert_eq!(resolve(root, INIT), Ok(init.clone()));
        assert_eq!(check(root), Ok(()));
        // No way leads out of it.
        symlink("../../../../usr/lib/shark/init", root.join("up")).unwrap();
        assert_eq!(resolve(root, "/up"), Ok(init));
        symlink("/loop", root.join("loop")).unwrap();
        assert!(resolve(root, "/loop").unwrap_err().contains("40 links"));
        symlink("/etc/passwd", root.join("out")).unwrap();
        assert!(resolve(root, "/out").is_err());
    }

    #[test]
    fn an_init_that_cannot_be_executed_is_refused_with_the_reason() {
        let check = |content: Option<(&[u8], u32)>, expect: &str| {
            let dir = tempfile::tempdir().unwrap();
            if let Some((content, mode)) = content {
                put(dir.path(), "sbin/init", content, mode);
            }
            put(dir.path(), "bin/sh", &elf(None), 0o755);
            match check(dir.path()) {
                Ok(()) => assert_eq!(expect, ""),
                Err(why) => assert!(why.contains(expect) && !expect.is_empty(), "{why}"),
            }
        };
        check(None, "No such file");
        check(Some((&elf(None), 0o644)), "not an executable file");
        check(Some((&elf(None), 0o755)), "");
        check(Some((b"", 0o755)), "neither an ELF program nor a script");
        check(Some((b"#!/bin/sh -e\nexit\n", 0o755)), "");
        check(Some((b"#! /bin/nosh\n", 0o755)), "needs /bin/nosh");
        check(Some((b"#!\n", 0o755)), "without an interpreter");
        check(Some((&elf(Some("/bin/sh")), 0o755)), "");
        check(Some((&elf(Some("/lib/ld.so")), 0o755)), "needs /lib/ld.so");
        check(Some((&elf(None)[..40], 0o755)), "ends in its head");
        let mut foreign = elf(None);
        foreign[18] ^= 1;
        check(Some((&foreign, 0o755)), "for another machine");
        foreign[4] = 1;
        check(Some((&foreign, 0o755)), "not of 64 bits");
    }
}
