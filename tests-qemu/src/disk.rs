//! A disk image as the host sees it: its partitions, a flipped byte, a check of its filesystem, all
//! by other people's tools. Not here: how the guest sees it.

use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, bail};
use serde_json::Value;
use tempfile::TempDir;

/// A private copy of an image's disk, which ends with it.
pub struct DiskCopy {
    path: PathBuf,
    _folder: TempDir,
}

/// A partition, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    /// Where it starts on the disk.
    pub start: u64,
    /// How long it is.
    pub size: u64,
}

impl DiskCopy {
    /// Copies `disk`; holes stay holes.
    ///
    /// # Errors
    /// When there is no room, or no disk.
    pub fn of(disk: &Path) -> anyhow::Result<Self> {
        let folder = tempfile::tempdir().context("no temporary folder for a disk")?;
        let path = folder.path().join("disk.img");
        run(Command::new("cp")
            .args(["--sparse=always", "--reflink=auto"])
            .arg(disk)
            .arg(&path))?;
        Ok(Self {
            path,
            _folder: folder,
        })
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The partition of that name, as sfdisk(8) reads the table.
    ///
    /// # Errors
    /// When the table cannot be read, or has no such name.
    pub fn partition(&self, name: &str) -> anyhow::Result<Extent> {
        let (found, sector) = self.entry(name)?;
        let field = |key: &str| {
            found
                .get(key)
                .and_then(Value::as_u64)
                .with_context(|| format!("partition {name} has no {key}"))
        };
        Ok(Extent {
            start: field("start")? * sector,
            size: field("size")? * sector,
        })
    }

    /// The attribute bits of a partition, as sfdisk(8) reads them.
    ///
    /// # Errors
    /// When the table cannot be read, or has no such name.
    pub fn attributes(&self, name: &str) -> anyhow::Result<u64> {
        let (found, _) = self.entry(name)?;
        let words = found.get("attrs").and_then(Value::as_str).unwrap_or("");
        // `RequiredPartition NoBlockIOProtocol GUID:48,56,60`
        let bits = words
            .split_whitespace()
            .find_map(|it| it.strip_prefix("GUID:"));
        bits.unwrap_or("")
            .split(',')
            .filter(|bit| !bit.is_empty())
            .try_fold(0, |all, bit| Ok(all | 1 << bit.parse::<u32>()?))
    }

    /// Demands that sgdisk(8) finds both copies of the table, their checksums and all else in order.
    ///
    /// # Errors
    /// Its words, when it does not.
    pub fn verify_table(&self) -> anyhow::Result<()> {
        let output = run(command("sgdisk").arg("--verify").arg(&self.path))?;
        let said = String::from_utf8_lossy(&output).into_owned();
        if said.contains("No problems found") {
            Ok(())
        } else {
            bail!("sgdisk --verify: {said}")
        }
    }

    /// A partition in sfdisk's words, and bytes of a sector.
    fn entry(&self, name: &str) -> anyhow::Result<(Value, u64)> {
        let output = run(command("sfdisk").arg("--json").arg(&self.path))?;
        let table: Value = serde_json::from_slice(&output).context("sfdisk printed no JSON")?;
        let table = table
            .get("partitiontable")
            .context("sfdisk printed no partition table")?;
        let sector = table
            .get("sectorsize")
            .and_then(Value::as_u64)
            .unwrap_or(512);
        let partitions = table
            .get("partitions")
            .and_then(Value::as_array)
            .context("sfdisk printed no partitions")?;
        let found = partitions
            .iter()
            .find(|p| p.get("name").and_then(Value::as_str) == Some(name));
        let found = found.with_context(|| format!("there is no partition {name}"))?;
        Ok((found.clone(), sector))
    }

    /// Flips all bits of the byte at `offset` of a partition.
    ///
    /// # Errors
    /// When it cannot be read or written.
    pub fn flip(&self, partition: &str, offset: u64) -> anyhow::Result<()> {
        let extent = self.partition(partition)?;
        if offset >= extent.size {
            bail!(
                "{partition} has {} bytes, and byte {offset} was to be flipped",
                extent.size
            );
        }
        let file = OpenOptions::new().read(true).write(true).open(&self.path)?;
        let mut byte = [0u8];
        file.read_exact_at(&mut byte, extent.start + offset)?;
        byte[0] = !byte[0];
        file.write_all_at(&byte, extent.start + offset)?;
        Ok(())
    }

    /// What e2fsck(8) says of the filesystem on a partition, without changing it: its exit status,
    /// 0 when there is nothing to mend, and its words.
    ///
    /// # Errors
    /// When e2fsck cannot be run.
    pub fn fsck(&self, partition: &str) -> anyhow::Result<(Option<i32>, String)> {
        let extent = self.partition(partition)?;
        let target = format!("{}?offset={}", self.path.display(), extent.start);
        let output = command("e2fsck")
            .args(["-f", "-n", &target])
            .output()
            .context("cannot run e2fsck")?;
        let words = [output.stdout, output.stderr].concat();
        Ok((
            output.status.code(),
            String::from_utf8_lossy(&words).into_owned(),
        ))
    }

    /// Whether the ext4 superblock says "not cleanly unmounted": e2fsck -n alone would forgive it.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn needs_recovery(&self, partition: &str) -> anyhow::Result<bool> {
        let extent = self.partition(partition)?;
        let mut superblock = [0u8; 1024];
        File::open(&self.path)?.read_exact_at(&mut superblock, extent.start + 1024)?;
        // s_feature_incompat at 0x60, EXT4_FEATURE_INCOMPAT_RECOVER is 0x4 (kernel: ext4/super).
        Ok(superblock.get(0x60).is_none_or(|byte| byte & 0x4 != 0))
    }

    /// Copies a partition to a file of its own.
    ///
    /// # Errors
    /// When it cannot be read or written.
    pub fn extract(&self, partition: &str, target: &Path) -> anyhow::Result<()> {
        let extent = self.partition(partition)?;
        let mut bytes = vec![0u8; usize::try_from(extent.size)?];
        File::open(&self.path)?.read_exact_at(&mut bytes, extent.start)?;
        fs::write(target, bytes).with_context(|| format!("cannot write {}", target.display()))
    }
}

/// A command that finds the administrator's tools as well.
fn command(program: &str) -> Command {
    let mut path = std::env::var_os("PATH").unwrap_or_default();
    path.push(":/usr/sbin:/sbin");
    let mut command = Command::new(program);
    command.env("PATH", path).env("LC_ALL", "C");
    command
}

fn run(command: &mut Command) -> anyhow::Result<Vec<u8>> {
    let output = command
        .output()
        .with_context(|| format!("cannot run {command:?}"))?;
    if !output.status.success() {
        bail!(
            "{command:?} failed: {}: {}",
            output.status,
            String::from_utf8_lossy(&output.stderr)
        );
    }
    Ok(output.stdout)
}
