//! A look into a finished program: is it an ELF file for the right machine, does it stand alone,
//! and if not, what does it need? Layouts are those of elf(5), 64-bit little-endian.

use anyhow::{Context as _, Result, bail, ensure};

use crate::arch::Arch;

const PT_LOAD: u32 = 1;
const PT_DYNAMIC: u32 = 2;
const PT_INTERP: u32 = 3;
const DT_NULL: u64 = 0;
const DT_NEEDED: u64 = 1;
const DT_STRTAB: u64 = 5;
const ET_EXEC: u16 = 2;
const ET_DYN: u16 = 3;

/// What a program or library is not complete without.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Needs {
    /// The path of the dynamic linker that the kernel starts for it.
    pub(crate) interpreter: Option<String>,
    /// File names of the shared libraries it asks for itself.
    pub(crate) libraries: Vec<String>,
}

/// A part of the file that is for the kernel or the dynamic linker.
struct Segment {
    kind: u32,
    offset: u64,
    address: u64,
    size: u64,
}

/// Checks that `file` is a program for `arch` which asks for no interpreter and no shared library.
///
/// # Errors
/// Says what it asks for, or what makes it no such program.
pub(super) fn check_static(file: &[u8], arch: Arch) -> Result<()> {
    let segments = segments(file)?;
    let kind = u16_at(file, 16)?;
    ensure!(
        kind == ET_EXEC || kind == ET_DYN,
        "ELF type {kind} is not a program"
    );
    let machine = u16_at(file, 18)?;
    ensure!(
        machine == arch.elf_machine(),
        "ELF machine {machine} is not {}",
        arch.name()
    );
    let mut loads = segments.iter().filter(|part| part.kind == PT_LOAD);
    ensure!(loads.next().is_some(), "it has nothing to load");
    let needs = needs(file)?;
    ensure!(
        needs.interpreter.is_none(),
        "it asks for an interpreter: it is linked dynamically"
    );
    ensure!(needs.libraries.is_empty(), "it needs a shared library");
    Ok(())
}

/// What `file` asks for.
///
/// # Errors
/// When it is no ELF file, or ends early.
pub(crate) fn needs(file: &[u8]) -> Result<Needs> {
    let segments = segments(file)?;
    let of_kind = |kind| segments.iter().find(move |part| part.kind == kind);
    let interpreter = match of_kind(PT_INTERP) {
        Some(part) => Some(text_at(file, part.offset)?),
        None => None,
    };
    let mut names = Vec::new();
    let mut strings = None;
    if let Some(dynamic) = of_kind(PT_DYNAMIC) {
        for entry in 0..dynamic.size / 16 {
            let at = dynamic.offset.saturating_add(entry * 16);
            let value = u64_at(file, at.saturating_add(8))?;
            match u64_at(file, at)? {
                DT_NULL => break,
                DT_NEEDED => names.push(value),
                DT_STRTAB => strings = Some(value),
                _ => {}
            }
        }
    }
    let mut libraries = Vec::new();
    if !names.is_empty() {
        let strings = strings
            .and_then(|address| in_file(&segments, address))
            .context("it needs a shared library and does not say which")?;
        for name in names {
            libraries.push(text_at(file, strings.saturating_add(name))?);
        }
    }
    Ok(Needs {
        interpreter,
        libraries,
    })
}

fn segments(file: &[u8]) -> Result<Vec<Segment>> {
    ensure!(
        file.get(..6) == Some(b"\x7fELF\x02\x01"),
        "not a 64-bit little-endian ELF file"
    );
    let table = u64_at(file, 32)?;
    let entry_size = u64::from(u16_at(file, 54)?);
    let entries = u64::from(u16_at(file, 56)?);
    let mut segments = Vec::new();
    for entry in 0..entries {
        let at = table.saturating_add(entry.saturating_mul(entry_size));
        let segment = Segment {
            kind: u32_at(file, at)?,
            offset: u64_at(file, at.saturating_add(8))?,
            address: u64_at(file, at.saturating_add(16))?,
            size: u64_at(file, at.saturating_add(32))?,
        };
        ensure!(
            segment.kind != PT_LOAD
                || segment.offset.saturating_add(segment.size) <= file.len() as u64,
            "it ends before what it wants loaded"
        );
        segments.push(segment);
    }
    Ok(segments)
}

/// Where in the file that lies which is loaded at `address`.
fn in_file(segments: &[Segment], address: u64) -> Option<u64> {
    segments
        .iter()
        .filter(|part| part.kind == PT_LOAD)
        .find_map(|part| {
            let inside = address.checked_sub(part.address)?;
            (inside < part.size).then(|| part.offset.saturating_add(inside))
        })
}

/// A text that ends with a zero.
fn text_at(file: &[u8], offset: u64) -> Result<String> {
    let bytes = usize::try_from(offset)
        .ok()
        .and_then(|start| file.get(start..)?.split(|byte| *byte == 0).next());
    match bytes {
        Some(bytes) => Ok(String::from_utf8_lossy(bytes).into_owned()),
        None => bail!("the ELF file ends before offset {offset}"),
    }
}

fn bytes_at<const N: usize>(file: &[u8], offset: u64) -> Result<[u8; N]> {
    let found = usize::try_from(offset)
        .ok()
        .and_then(|start| file.get(start..)?.first_chunk::<N>());
    match found {
        Some(bytes) => Ok(*bytes),
        None => bail!("the ELF file ends before offset {offset}"),
    }
}

fn u16_at(file: &[u8], offset: u64) -> Result<u16> {
    bytes_at(file, offset).map(u16::from_le_bytes)
}

fn u32_at(file: &[u8], offset: u64) -> Result<u32> {
    bytes_at(file, offset).map(u32::from_le_bytes)
}

fn u64_at(file: &[u8], offset: u64) -> Result<u64> {
    bytes_at(file, offset).map(u64::from_le_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A file with one segment of each given type; dynamic ones hold one entry with `tag`.
    fn elf(machine: u16, segments: &[u32], tag: u64) -> Vec<u8> {
        let mut file = vec![0; 64 + segments.len() * 56];
        file[..6].copy_from_slice(b"\x7fELF\x02\x01");
        file[16..18].copy_from_slice(&ET_EXEC.to_le_bytes());
        file[18..20].copy_from_slice(&machine.to_le_bytes());
        file[32..40].copy_from_slice(&64u64.to_le_bytes());
        file[54..56].copy_from_slice(&56u16.to_le_bytes());
        file[56..58].copy_from_slice(&u16::try_from(segments.len()).unwrap().to_le_bytes());
        let dynamic = file.len() as u64;
        for (index, kind) in segments.iter().enumerate() {
            let at = 64 + index * 56;
            file[at..at + 4].copy_from_slice(&kind.to_le_bytes());
            file[at + 8..at + 16].copy_from_slice(&dynamic.to_le_bytes());
            file[at + 32..at + 40].copy_from_slice(&16u64.to_le_bytes());
        }
        file.extend_from_slice(&tag.to_le_bytes());
        file.extend_from_slice(&[0; 8]);
        file
    }

    fn check(file: &[u8], expect: Result<(), &str>) {
        match (check_static(file, Arch::X86_64), expect) {
            (Ok(()), Ok(())) => {}
            (Err(error), Err(part)) => assert!(error.to_string().contains(part), "{error}"),
            (got, expect) => panic!("{got:?}, expected {expect:?}"),
        }
    }

    #[test]
    fn static_programs_pass_and_others_say_why_not() {
        check(&elf(62, &[PT_LOAD], 0), Ok(()));
        check(&elf(62, &[PT_LOAD, PT_DYNAMIC], 6), Ok(()));
        check(
            &elf(62, &[PT_LOAD, PT_DYNAMIC], DT_NEEDED),
            Err("shared library"),
        );
        check(&elf(62, &[PT_LOAD, PT_INTERP], 0), Err("interpreter"));
        check(&elf(183, &[PT_LOAD], 0), Err("machine 183"));
        check(&elf(62, &[], 0), Err("nothing to load"));
        check(b"#!/bin/sh\n", Err("not a 64-bit"));
        check(&elf(62, &[PT_LOAD], 0)[..70], Err("ends before offset"));
        check(&elf(62, &[PT_LOAD], 0)[..125], Err("ends before what"));
    }

    #[test]
    fn the_running_test_is_a_dynamic_program() {
        let file = std::fs::read(std::env::current_exe().unwrap()).unwrap();
        assert!(check_static(&file, Arch::host()).is_err());
        let needs = needs(&file).unwrap();
        let linker = needs.interpreter.unwrap_or_default();
        assert!(linker.starts_with("/lib"), "{linker}");
        assert!(
            needs.libraries.contains(&"libc.so.6".to_owned()),
            "{:?}",
            needs.libraries
        );
    }
}
