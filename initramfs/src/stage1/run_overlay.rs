//! Copies `/run-overlay` of the initramfs below the new `/run`.
//!
//! That directory is how whoever makes the initramfs (an installer, a test) brings service files to
//! one boot without touching the sealed root. Directories and plain files only, their permission
//! bits kept, and bounded: `/run` is memory, and an initramfs that grew by mistake must not fill
//! it. Links and devices are not copied but reported.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

/// The most that is copied.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// Directories and files together.
    pub(crate) entries: u32,
    /// Contents of all files.
    pub(crate) bytes: u64,
    /// Directories inside directories.
    pub(crate) depth: u32,
}

/// What stage1 allows: far more than service files need, far less than a small machine's memory.
pub(crate) const LIMITS: Limits = Limits {
    entries: 4096,
    bytes: 16 << 20,
    depth: 16,
};

/// What was copied and what was not.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Copied {
    /// Files written.
    pub(crate) files: u32,
    /// One line for each thing left out.
    pub(crate) left_out: Vec<String>,
    entries: u32,
    bytes: u64,
}

/// Copies the contents of `from` into `to`, both directories. A missing `from` copies nothing.
pub(crate) fn copy(from: &Path, to: &Path, limits: Limits) -> Copied {
    let mut copied = Copied::default();
    if from.is_dir() {
        directory(from, to, limits, 0, &mut copied);
    }
    copied
}

fn directory(from: &Path, to: &Path, limits: Limits, depth: u32, copied: &mut Copied) {
    if depth >= limits.depth {
        copied.left_out.push(format!(
            "{}: deeper than {} directories",
            from.display(),
            limits.depth
        ));
        return;
    }
    let entries = match fs::read_dir(from) {
        Ok(entries) => entries,
        Err(error) => {
            copied
                .left_out
                .push(format!("read {}: {error}", from.display()));
            return;
        }
    };
    for entry in entries.flatten() {
        if copied.entries >= limits.entries {
            copied.left_out.push(format!(
                "{}: more than {} entries",
                from.display(),
                limits.entries
            ));
            return;
        }
        copied.entries += 1;
        let source = entry.path();
        let target = to.join(entry.file_name());
        if let Err(error) = one(&source, &target, limits, depth, copied) {
            copied
                .left_out
                .push(format!("copy {}: {error}", source.display()));
        }
    }
}

fn one(
    source: &Path,
    target: &Path,
    limits: Limits,
    depth: u32,
    copied: &mut Copied,
) -> io::Result<()> {
    let metadata = fs::symlink_metadata(source)?;
    if metadata.is_dir() {
        // A directory that is there already keeps its permissions: it belongs to somebody else.
        if !target.is_dir() {
            fs::create_dir(target)?;
            fs::set_permissions(
                target,
                fs::Permissions::from_mode(metadata.permissions().mode() & 0o7777),
            )?;
        }
        directory(source, target, limits, depth + 1, copied);
        return Ok(());
    }
    if !metadata.is_file() {
        return Err(io::Error::other("neither a directory nor a plain file"));
    }
    if copied.bytes.saturating_add(metadata.len()) > limits.bytes {
        return Err(io::Error::other(format!(
            "would exceed {} bytes in all",
            limits.bytes
        )));
    }
    copied.bytes += metadata.len();
    // Copies the permission bits as well.
    fs::copy(source, target)?;
    copied.files += 1;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    fn tree() -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("from/shark/services")).unwrap();
        fs::create_dir(dir.path().join("to")).unwrap();
        fs::write(
            dir.path().join("from/shark/services/job.toml"),
            "exec = \"/bin/true\"\n",
        )
        .unwrap();
        fs::write(dir.path().join("from/shark/job.sh"), "#!/bin/sh\n").unwrap();
        fs::set_permissions(
            dir.path().join("from/shark/job.sh"),
            fs::Permissions::from_mode(0o755),
        )
        .unwrap();
        dir
    }

    #[test]
    fn files_directories_and_modes_arrive() {
        let dir = tree();
        let copied = copy(&dir.path().join("from"), &dir.path().join("to"), LIMITS);
        assert_eq!(copied.files, 2);
        assert_eq!(copied.left_out, Vec::<String>::new());
        let script = fs::metadata(dir.path().join("to/shark/job.sh")).unwrap();
        assert_eq!(script.permissions().mode() & 0o777, 0o755);
        assert!(dir.path().join("to/shark/services/job.toml").is_file());
    }

    #[test]
    fn no_directory_is_nothing_to_do() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(
            copy(&dir.path().join("absent"), dir.path(), LIMITS),
            Copied::default()
        );
    }

    #[test]
    fn links_are_left_out_and_named() {
        let dir = tree();
        symlink("/etc/shadow", dir.path().join("from/link")).unwrap();
        let copied = copy(&dir.path().join("from"), &dir.path().join("to"), LIMITS);
        assert_eq!(copied.files, 2);
        assert_eq!(copied.left_out.len(), 1);
        assert!(
            copied.left_out[0].contains("link: neither"),
            "{:?}",
            copied.left_out
        );
        assert!(!dir.path().join("to/link").exists());
    }

    #[test]
    fn limits_hold() {
        let check = |limits: Limits, expect: &str| {
            let dir = tree();
            let copied = copy(&dir.path().join("from"), &dir.path().join("to"), limits);
            assert!(
                copied.left_out.iter().any(|line| line.contains(expect)),
                "{:?}",
                copied.left_out
            );
        };
        check(
            Limits {
                bytes: 12,
                ..LIMITS
            },
            "would exceed 12 bytes",
        );
        check(
            Limits {
                entries: 2,
                ..LIMITS
            },
            "more than 2 entries",
        );
        check(Limits { depth: 1, ..LIMITS }, "deeper than 1 directories");
    }
}
