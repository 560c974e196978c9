//! Any bytes as a graph: no panic, and what is accepted can be taken over, and is written back as an
//! equal one once its definitions are believed. Version and checksum are made right first, otherwise
//! hardly anything would come past them.
#![no_main]

use libfuzzer_sys::fuzz_target;
use services::supervisor::Supervisor;
use services::supervisor::compiled::{Compiled, GraphBytesError};

/// Length of the body and its checksum in the header.
const LENGTH: std::ops::Range<usize> = 12..16;
const CHECKSUM: std::ops::Range<usize> = 16..20;

fuzz_target!(|data: &[u8]| {
    let _ = Compiled::from_bytes(data.to_vec());
    let mut bytes = b"SHARKGRA\x04\0\0\0\0\0\0\0\0\0\0\0".to_vec();
    let length = u32::try_from(data.len()).expect("inputs of the fuzzer are short");
    bytes[LENGTH].copy_from_slice(&length.to_le_bytes());
    bytes[CHECKSUM].copy_from_slice(&crc32c::crc32c(data).to_le_bytes());
    bytes.extend_from_slice(data);
    match Compiled::from_bytes(bytes) {
        Ok(compiled) => {
            let supervisor = Supervisor::new(compiled.clone());
            assert_eq!(supervisor.services().count(), compiled.count());
            if let Ok(graph) = compiled.unpack() {
                let back = Compiled::from(&graph);
                assert_eq!(back.unpack().as_ref(), Ok(&graph));
            }
        }
        Err(GraphBytesError::Version(version)) => panic!("not of this version: {version}"),
        Err(_) => {}
    }
});
