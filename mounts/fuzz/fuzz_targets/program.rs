//! First bytes of programs: whatever a new system has where a service names a program.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mounts::dps::Architecture;
use mounts::program::{machine_of, needs};

fuzz_target!(|data: &[u8]| {
    let machine = machine_of(data);
    for here in [Architecture::X86_64, Architecture::Aarch64] {
        let here = here.elf_machine();
        let told = needs(data, here);
        if machine.is_some_and(|it| it != here) {
            assert!(told.is_err(), "a program for another machine");
        }
        if let Ok(Some(loader)) = told {
            // It names what stands in these bytes, made readable.
            assert!(loader.len() <= 3 * data.len());
        }
    }
    // A head of our own, so that the fuzzer gets to the table of segments.
    let head = [&b"\x7fELF\x02\x01"[..], &[0; 12], &62_u16.to_le_bytes(), data].concat();
    let _ = needs(&head, Architecture::X86_64.elf_machine());
});
