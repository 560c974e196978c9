//! A look into a finished program: is it an ELF file for the right machine, and does it stand
//! alone? Layouts are those of elf(5), 64-bit little-endian.

use anyhow::{Result, bail, ensure};

use crate::arch::Arch;

const PT_LOAD: u32 = 1;
const PT_DYNAMIC: u32 = 2;
const PT_INTERP: u32 = 3;
const DT_NULL: u64 = 0;
const DT_NEEDED: u64 = 1;
const ET_EXEC: u16 = 2;
const ET_DYN: u16 = 3;

/// Checks that `file` is a program for `arch` which asks for no interpreter and no shared library.
///
/// # Errors
/// Says what it asks for, or what makes it no such program.
pub(super) fn check_static(file: &[u8], arch: Arch) -> Result<()> {
    ensure!(
        file.get(..6) == Some(b"\x7fELF\x02\x01"),
        "not a 64-bit little-endian ELF file"
    );
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
    let table = u64_at(file, 32)?;
    let entry_size = u64::from(u16_at(file, 54)?);
    let entries = u64::from(u16_at(file, 56)?);
    let mut loads = 0;
    for entry in 0..entries {
        let at = table.saturating_add(entry.saturating_mul(entry_size));
        match u32_at(file, at)? {
            PT_LOAD => {
                let end = u64_at(file, at + 8)?.saturating_add(u64_at(file, at + 32)?);
                ensure!(
                    end <= file.len() as u64,
                    "it ends before what it wants loaded"
                );
                loads += 1;
            }
            PT_INTERP => bail!("it asks for an interpreter: it is linked dynamically"),
            PT_DYNAMIC => check_dynamic(file, u64_at(file, at + 8)?, u64_at(file, at + 32)?)?,
            _ => {}
        }
    }
    ensure!(loads > 0, "it has nothing to load");
    Ok(())
}

fn check_dynamic(file: &[u8], offset: u64, size: u64) -> Result<()> {
    for entry in 0..size / 16 {
        match u64_at(file, offset.saturating_add(entry * 16))? {
            DT_NULL => return Ok(()),
            DT_NEEDED => bail!("it needs a shared library"),
            _ => {}
        }
    }
    Ok(())
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
    }
}
