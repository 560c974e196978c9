//! A kernel without its decompressor, which an emulated processor takes longer for than for the rest
//! of the boot. QEMU starts it by the entry that the kernel has for hypervisors (PVH). Where the
//! layout of the compressed one is another than expected, there is none, and that one will do.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context as _, Result};

use crate::cache::{self, Hasher};
use crate::{command, paths};

/// Offsets in the setup header of an x86 kernel (Documentation/arch/x86/boot.rst).
const SETUP_SECTORS: usize = 0x1f1;
const MAGIC: (usize, &[u8; 4]) = (0x202, b"HdrS");
const PAYLOAD_OFFSET: usize = 0x248;
const PAYLOAD_LENGTH: usize = 0x24c;

/// Beginnings of compressed files, and what makes them larger.
const FORMATS: [(&[u8], &[&str]); 4] = [
    (
        b"\xfd7zXZ\0",
        &["xz", "--decompress", "--stdout", "--single-stream"],
    ),
    (
        b"\x28\xb5\x2f\xfd",
        &["zstd", "--decompress", "--stdout", "--quiet"],
    ),
    // The legacy format of LZ4, as Debian's cloud kernel has it.
    (
        b"\x02\x21\x4c\x18",
        &["lz4", "--decompress", "--stdout", "--quiet"],
    ),
    (b"\x1f\x8b", &["gzip", "--decompress", "--stdout"]),
];

/// The bare kernel in `compressed`, from the cache where it was taken out before; `compressed` itself
/// when it is of another kind.
pub(super) fn of(compressed: &Path) -> Result<PathBuf> {
    let bytes = read(compressed)?;
    let Some((payload, program)) = payload(&bytes) else {
        return Ok(compressed.to_path_buf());
    };
    let mut hasher = Hasher::new("vmlinux");
    hasher.bytes(&bytes);
    let dir = paths::cache().join(format!("vmlinux-{}", hasher.finish().short()));
    let dir = cache::directory(dir, "unpacking the kernel for the emulator", |fresh| {
        let packed = fresh.join("packed");
        File::create(&packed)
            .and_then(|mut file| file.write_all(payload))
            .with_context(|| format!("cannot write {}", packed.display()))?;
        expand(program, &packed, &fresh.join("vmlinux"))?;
        fs::remove_file(&packed).with_context(|| format!("cannot remove {}", packed.display()))
    })?;
    Ok(dir.join("vmlinux"))
}

/// The compressed kernel inside, and the program that expands it.
fn payload(kernel: &[u8]) -> Option<(&[u8], &'static [&'static str])> {
    let (at, magic) = MAGIC;
    if kernel.get(at..at + magic.len())? != magic {
        return None;
    }
    let number = |at: usize| {
        let bytes = kernel.get(at..)?.first_chunk::<4>()?;
        usize::try_from(u32::from_le_bytes(*bytes)).ok()
    };
    let sectors = match kernel.get(SETUP_SECTORS)? {
        0 => 4,
        count => usize::from(*count),
    };
    let start = ((sectors + 1) * 512).checked_add(number(PAYLOAD_OFFSET)?)?;
    let end = start.checked_add(number(PAYLOAD_LENGTH)?)?;
    let packed = kernel.get(start..end)?;
    FORMATS
        .iter()
        .find(|(beginning, _)| packed.starts_with(beginning))
        .map(|(_, program)| (packed, *program))
}

fn expand(program: &[&str], packed: &Path, target: &Path) -> Result<()> {
    let (name, options) = program.split_first().context("no program")?;
    let file =
        File::create(target).with_context(|| format!("cannot create {}", target.display()))?;
    let mut run = command::new(name);
    run.args(options)
        .stdin(File::open(packed)?)
        .stdout(file)
        .stderr(Stdio::null());
    // The kernel's build puts the size behind the packed bytes, and the tools complain of it when
    // all is done.
    run.status()
        .with_context(|| format!("cannot run {}", command::line(&run)))?;
    let bytes = read(target)?;
    anyhow::ensure!(
        bytes.starts_with(b"\x7fELF"),
        "{} gave no kernel",
        command::line(&run)
    );
    Ok(())
}

fn read(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).with_context(|| format!("cannot read {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_payload_is_where_the_header_says() {
        let mut kernel = vec![0u8; 3 * 512 + 40];
        kernel[SETUP_SECTORS] = 2;
        kernel[0x202..0x206].copy_from_slice(b"HdrS");
        kernel[PAYLOAD_OFFSET..][..4].copy_from_slice(&16u32.to_le_bytes());
        kernel[PAYLOAD_LENGTH..][..4].copy_from_slice(&8u32.to_le_bytes());
        assert_eq!(payload(&kernel), None, "of no format we know");
        let at = 3 * 512 + 16;
        kernel[at..at + 6].copy_from_slice(b"\xfd7zXZ\0");
        let (packed, program) = payload(&kernel).unwrap();
        assert_eq!((packed.len(), program[0]), (8, "xz"));
        kernel[PAYLOAD_LENGTH] = 200;
        assert_eq!(payload(&kernel), None, "longer than the file");
        assert_eq!(payload(b"\x7fELF"), None);
    }
}
