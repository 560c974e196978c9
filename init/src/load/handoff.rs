//! What the loader child hands to PID 1, as bytes. Not here: the graph's own format
//! (`services::graph`), nor who reads the memfd.
//!
//! Layout: magic (8 bytes), length of the meta block (u32, little-endian), the meta block (JSON),
//! then the graph to the end; no graph, no bytes. The graph comes last and unwrapped so that PID 1
//! reads it in place instead of copying it once more. The meta block is small, and diagnostics are made
//! to be JSON: they leave fields out.

use serde::{Deserialize, Serialize};
use services::diagnostic::Diagnostic;

const MAGIC: &[u8; 8] = b"SHARKLD1";
const HEAD: usize = MAGIC.len() + size_of::<u32>();

/// The loader's result.
#[derive(Clone, Debug)]
pub struct Handoff {
    /// Everything but the graph.
    pub meta: Meta,
    /// The graph's bytes; `None`: refused, and the diagnostics say why.
    pub graph: Option<Vec<u8>>,
}

/// The loader's result but for the graph.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Meta {
    /// What is wrong with the files.
    pub diagnostics: Vec<Diagnostic>,
    /// Number of the group that may change things through the control socket, if there is one.
    pub control_group: Option<u32>,
    /// The instance that was to be there is of no template.
    pub no_template: bool,
    /// Differs from machine to machine, for delays that are to differ: made of the machine id.
    pub machine: u64,
}

/// The result as bytes.
#[must_use]
pub fn encode(handoff: &Handoff) -> Vec<u8> {
    // Writing to memory fails on no value of ours; an empty block is refused by `decode`.
    let meta = serde_json::to_vec(&handoff.meta).unwrap_or_default();
    let length = u32::try_from(meta.len()).unwrap_or(u32::MAX);
    let mut bytes = Vec::with_capacity(HEAD + meta.len());
    bytes.extend_from_slice(MAGIC);
    bytes.extend_from_slice(&length.to_le_bytes());
    bytes.extend_from_slice(&meta);
    bytes.extend_from_slice(handoff.graph.as_deref().unwrap_or_default());
    bytes
}

/// The meta block of `bytes`, and the graph's bytes if there is a graph.
///
/// # Errors
/// What is wrong with them, for people.
pub fn decode(bytes: &[u8]) -> Result<(Meta, Option<&[u8]>), String> {
    let rest = bytes
        .strip_prefix(MAGIC)
        .ok_or("the loader's result does not start with its mark")?;
    let (length, rest) = rest
        .split_first_chunk::<4>()
        .ok_or("the loader's result is cut short")?;
    let length = usize::try_from(u32::from_le_bytes(*length)).unwrap_or(usize::MAX);
    let (meta, graph) = rest
        .split_at_checked(length)
        .ok_or("the loader's result is cut short")?;
    let meta = serde_json::from_slice(meta)
        .map_err(|error| format!("the loader's result cannot be read: {error}"))?;
    Ok((meta, (!graph.is_empty()).then_some(graph)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn example(graph: Option<&[u8]>) -> Handoff {
        Handoff {
            meta: Meta {
                diagnostics: vec![crate::load::read::whole_file("/a.toml", "is bad".into())],
                control_group: Some(991),
                no_template: false,
                machine: 7,
            },
            graph: graph.map(<[u8]>::to_vec),
        }
    }

    #[test]
    fn what_was_written_is_read() {
        for graph in [None, Some(&b"graph"[..])] {
            let handoff = example(graph);
            let bytes = encode(&handoff);
            assert_eq!(decode(&bytes), Ok((handoff.meta, graph)));
        }
    }

    #[test]
    fn a_result_cut_short_is_refused_wherever_it_is_cut() {
        let whole = encode(&example(None));
        for end in 0..whole.len() {
            assert!(decode(&whole[..end]).is_err(), "cut at {end}");
        }
        assert!(decode(b"something else entirely").is_err());
    }
}
