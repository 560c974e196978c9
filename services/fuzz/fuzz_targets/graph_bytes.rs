//! Any bytes as a graph: no panic, and what is accepted is written back as an equal graph. The
//! checksum is made right first, otherwise hardly anything would come past it.
#![no_main]

use libfuzzer_sys::fuzz_target;
use services::graph::Graph;

/// Length of the body and its checksum in the header.
const LENGTH: std::ops::Range<usize> = 12..16;
const CHECKSUM: std::ops::Range<usize> = 16..20;

fuzz_target!(|data: &[u8]| {
    let _ = Graph::from_bytes(data);
    let mut bytes = b"SHARKGRA\x02\0\0\0\0\0\0\0\0\0\0\0".to_vec();
    let length = u32::try_from(data.len()).expect("inputs of the fuzzer are short");
    bytes[LENGTH].copy_from_slice(&length.to_le_bytes());
    bytes[CHECKSUM].copy_from_slice(&crc32c::crc32c(data).to_le_bytes());
    bytes.extend_from_slice(data);
    if let Ok(graph) = Graph::from_bytes(&bytes) {
        let back = graph.to_bytes().expect("what was read can be written");
        assert_eq!(Graph::from_bytes(&back).as_ref(), Ok(&graph));
    }
});
