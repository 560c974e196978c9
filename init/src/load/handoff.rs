//! What the loader child hands to PID 1, as bytes. Not here: the graph's own format
//! (`services::graph`), nor who reads the memfd.
//!
//! Layout: the graph's bytes (no graph, no bytes), the meta block (JSON), its length (u32,
//! little-endian), magic (8 bytes). The graph comes first so that PID 1 has it in place by cutting off
//! what follows, and copies nothing. The meta block is small, and diagnostics are made to be JSON: they
//! leave fields out.

use serde::{Deserialize, Serialize};
use services::diagnostic::Diagnostic;

use super::image::Origin;
use crate::log::settings::Found;

const MAGIC: &[u8; 8] = b"SHARKLD2";

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
    /// What it was made from, when it is made to be used later.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub origin: Option<Origin>,
    /// What the settings of logs are, where they have been looked at.
    #[serde(default)]
    pub log: Option<Found>,
    /// Differs from machine to machine, for delays that are to differ: made of the machine id.
    pub machine: u64,
}

impl Meta {
    /// Whether the settings of logs have mistakes.
    pub(crate) fn log_is_wrong(&self) -> bool {
        self.log
            .as_ref()
            .is_some_and(|it| !it.diagnostics.is_empty())
    }
}

/// The result as bytes.
#[must_use]
pub fn encode(handoff: &Handoff) -> Vec<u8> {
    // Writing to memory fails on no value of ours; an empty block is refused by `decode`.
    let meta = serde_json::to_vec(&handoff.meta).unwrap_or_default();
    let length = u32::try_from(meta.len()).unwrap_or(u32::MAX);
    let mut bytes = handoff.graph.clone().unwrap_or_default();
    bytes.extend_from_slice(&meta);
    bytes.extend_from_slice(&length.to_le_bytes());
    bytes.extend_from_slice(MAGIC);
    bytes
}

/// The meta block of `bytes`, and the graph's bytes if there is a graph.
///
/// # Errors
/// What is wrong with them, for people.
pub fn decode(mut bytes: Vec<u8>) -> Result<(Meta, Option<Vec<u8>>), String> {
    let cut = "the loader's result is cut short";
    let rest = bytes
        .strip_suffix(MAGIC)
        .ok_or("the loader's result does not end with its mark")?;
    let (rest, length) = rest.split_last_chunk::<4>().ok_or(cut)?;
    let length = usize::try_from(u32::from_le_bytes(*length)).unwrap_or(usize::MAX);
    let graph = rest.len().checked_sub(length).ok_or(cut)?;
    let meta = serde_json::from_slice(rest.get(graph..).ok_or(cut)?)
        .map_err(|error| format!("the loader's result cannot be read: {error}"))?;
    bytes.truncate(graph);
    Ok((meta, (!bytes.is_empty()).then_some(bytes)))
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
                origin: None,
                log: Some(Found::default()),
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
            assert_eq!(decode(bytes), Ok((handoff.meta, handoff.graph)));
        }
    }

    #[test]
    fn a_result_cut_short_is_refused_wherever_it_is_cut() {
        let whole = encode(&example(None));
        for end in 0..whole.len() {
            assert!(decode(whole[..end].to_vec()).is_err(), "cut at {end}");
        }
        for start in 1..whole.len() {
            assert!(decode(whole[start..].to_vec()).is_err(), "from {start} on");
        }
        assert!(decode(b"something else entirely".to_vec()).is_err());
    }
}
