//! The first bytes of a program: whether a kernel will execute it, and what it needs for that. Not here:
//! where it lies, and whether somebody may execute it.
//!
//! Sources: elf(5), execve(2).

/// Bytes at the start of a program that are looked at: its head and the name of its loader.
pub const HEAD: u64 = 4096;

const PT_INTERP: u32 = 3;

/// The machine that an ELF program is for (`EM_*` of elf.h); none when it is no such program.
#[must_use]
pub fn machine_of(head: &[u8]) -> Option<u16> {
    head.starts_with(b"\x7fELF").then(|| u16_at(head, 18))?
}

/// The program that executes this one: the loader of an ELF program, the interpreter of a script,
/// or none.
///
/// # Errors
/// For people: the kernel of a machine with the number `machine` (`EM_*` of elf.h) would not execute it.
pub fn needs(head: &[u8], machine: u16) -> Result<Option<String>, String> {
    if let Some(line) = head.strip_prefix(b"#!") {
        let line = line.split(|byte| *byte == b'\n').next().unwrap_or_default();
        let line = String::from_utf8_lossy(line);
        return match line.split_whitespace().next() {
            Some(interpreter) => Ok(Some(interpreter.to_owned())),
            None => Err("a script without an interpreter behind its #!".to_owned()),
        };
    }
    if !head.starts_with(b"\x7fELF") {
        return Err("neither an ELF program nor a script (#!)".to_owned());
    }
    let short = || "an ELF program that ends in its head".to_owned();
    let (class, order) = (head.get(4), head.get(5));
    if class != Some(&2) || order != Some(&1) {
        return Err("an ELF program that is not of 64 bits, little-endian".to_owned());
    }
    let own = u16_at(head, 18).ok_or_else(short)?;
    if own != machine {
        return Err(format!(
            "an ELF program for another machine ({own}, this one is {machine})"
        ));
    }
    loader(head).ok_or_else(short)
}

/// The loader that an ELF program names; `None` when its head is not whole.
fn loader(head: &[u8]) -> Option<Option<String>> {
    let table = usize::try_from(u64_at(head, 32)?).ok()?;
    let (size, count) = (u16_at(head, 54)?, u16_at(head, 56)?);
    for index in 0..count {
        let at = table.checked_add(usize::from(size).checked_mul(usize::from(index))?)?;
        // A table outside of what was read names no loader that could be looked for.
        let Some(kind) = u32_at(head, at) else {
            return Some(None);
        };
        if kind == PT_INTERP {
            let offset = usize::try_from(u64_at(head, at.checked_add(8)?)?).ok()?;
            let length = usize::try_from(u64_at(head, at.checked_add(32)?)?).ok()?;
            let name = head.get(offset..offset.checked_add(length)?);
            return Some(name.map(|name| {
                let name = name.split(|byte| *byte == 0).next().unwrap_or_default();
                String::from_utf8_lossy(name).into_owned()
            }));
        }
    }
    Some(None)
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    let field = bytes.get(at..)?.first_chunk()?;
    Some(u16::from_le_bytes(*field))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    let field = bytes.get(at..)?.first_chunk()?;
    Some(u32::from_le_bytes(*field))
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    let field = bytes.get(at..)?.first_chunk()?;
    Some(u64::from_le_bytes(*field))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_kernel_executes_and_what_it_needs() {
        let mut elf = vec![0; 120];
        elf[..6].copy_from_slice(b"\x7fELF\x02\x01");
        elf[18] = 62;
        elf[32] = 64;
        elf[54] = 56;
        let check = |head: &[u8], machine, expect: Result<Option<&str>, &str>| match (
            needs(head, machine),
            expect,
        ) {
            (Ok(needs), Ok(expect)) => assert_eq!(needs.as_deref(), expect),
            (Err(why), Err(expect)) => assert!(why.contains(expect), "{why}"),
            other => panic!("{other:?}"),
        };
        check(&elf, 62, Ok(None));
        check(&elf, 183, Err("for another machine (62, this one is 183)"));
        check(b"#! /bin/sh -e\n", 62, Ok(Some("/bin/sh")));
        check(b"#!\n", 62, Err("without an interpreter"));
        check(b"text", 62, Err("neither an ELF program"));
        check(b"", 62, Err("neither an ELF program"));
        assert_eq!(
            (machine_of(&elf), machine_of(b"#!/bin/sh")),
            (Some(62), None)
        );
    }
}
