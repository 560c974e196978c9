//! A root image and what makes it a slot: the hash tree and the signed manifest. Where both slots
//! hold the same system, their salts differ, so that their hashes and partition UUIDs do.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, bail};
use mounts::dps::Architecture;
use mounts::manifest::{self, Algorithm, Filesystem, Manifest};
use mounts::verity::{BLOCK_SIZE, RootHash, Salt};

use super::key::ImageKey;
use crate::cache::{Hasher, Key};
use crate::command;

/// What the image says of itself.
#[derive(Clone, Debug)]
pub(super) struct Release {
    pub(super) version: String,
    pub(super) security_version: u32,
    pub(super) architecture: Architecture,
}

/// One slot, ready to be laid on a disk.
#[derive(Clone, Debug)]
pub(super) struct SlotImage {
    pub(super) root_hash: RootHash,
    pub(super) security_version: u32,
    /// The sealed root.
    pub(super) root: PathBuf,
    /// Superblock and hash tree.
    pub(super) verity: PathBuf,
    /// Content of the signature partition.
    pub(super) signature: PathBuf,
}

/// Seals the directory `root` as an erofs image at `target`. Owners become root, times zero, extended
/// attributes are left out: whoever builds it, wherever, gets the same bytes.
pub(super) fn seal(root: &Path, target: &Path, key: Key) -> Result<()> {
    command::run(
        command::new("mkfs.erofs")
            .env("PATH", command::path_with_sbin())
            .args(["-zlz4hc", "-T0", "-x-1", "--all-root", "--quiet"])
            .arg(format!("-U{}", uuid(&key)))
            .arg(target)
            .arg(root),
    )
}

/// Makes hash tree and manifest of the image `root`, in `dir`, for the slot or bundle `name`; checks both with the tools
/// and the code that will check them on the device.
pub(super) fn make(
    name: &str,
    root: &Path,
    dir: &Path,
    release: &Release,
    signer: &ImageKey,
) -> Result<SlotImage> {
    let mut hasher = Hasher::new("salt");
    hasher.text(&release.version).text(name);
    let salt_key = hasher.finish();
    let salt: Salt = salt_key
        .to_string()
        .parse()
        .map_err(|error| anyhow!("salt: {error}"))?;
    let image_size = fs::metadata(root)
        .with_context(|| format!("cannot look at {}", root.display()))?
        .len();
    let data_blocks = image_size / u64::from(BLOCK_SIZE);
    let verity = dir.join(format!("verity-{name}.img"));
    let root_hash = format(root, &verity, data_blocks, &salt, &uuid(&salt_key))?;
    let manifest = Manifest {
        version: release.version.clone(),
        security_version: release.security_version,
        architecture: release.architecture,
        image_size,
        data_blocks,
        root_hash,
        salt,
        hash_size: fs::metadata(&verity)?.len(),
        block_size: BLOCK_SIZE,
        algorithm: Algorithm::Sha256,
        filesystem: Filesystem::Erofs,
    };
    let bytes = manifest::encode(&manifest, |message| signer.sign(message))
        .map_err(|error| anyhow!("manifest: {error}"))?;
    if manifest::verify(&bytes, &signer.keyring()).ok().as_ref() != Some(&manifest) {
        bail!("the manifest of {name} does not verify");
    }
    let signature = dir.join(format!("signature-{name}.bin"));
    fs::write(&signature, bytes)
        .with_context(|| format!("cannot write {}", signature.display()))?;
    Ok(SlotImage {
        root_hash,
        security_version: release.security_version,
        root: root.to_path_buf(),
        verity,
        signature,
    })
}

fn format(root: &Path, verity: &Path, blocks: u64, salt: &Salt, uuid: &str) -> Result<RootHash> {
    let tool = || {
        let mut tool = command::new("veritysetup");
        tool.env("PATH", command::path_with_sbin());
        tool
    };
    let text = command::text(
        tool()
            .args(["format", "--format=1", "--hash=sha256"])
            .args(["--data-block-size=4096", "--hash-block-size=4096"])
            .arg(format!("--data-blocks={blocks}"))
            .arg(format!("--salt={salt}"))
            .arg(format!("--uuid={uuid}"))
            .arg(root)
            .arg(verity),
    )?;
    let hash = text
        .lines()
        .find_map(|line| line.strip_prefix("Root hash:"))
        .context("veritysetup format told no root hash")?
        .trim();
    command::run(tool().arg("verify").arg(root).arg(verity).arg(hash))?;
    hash.parse()
        .map_err(|error| anyhow!("veritysetup: {error}"))
}

/// The UUID that follows from a key, as text.
pub(super) fn uuid(key: &Key) -> String {
    mounts::dps::guid_of_text_order(key.first_half()).to_string()
}
