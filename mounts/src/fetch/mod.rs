//! What an updater's fetching child takes apart before anybody has vouched for it, and what the two say to
//! each other: `words` (messages), `range` (which part of a file a server sends), `content` (a chunk as it
//! is stored becomes what it holds).
//!
//! Not here: sockets, servers, files, and the head of a bundle ([`crate::bundle`]).

pub mod content;
pub mod range;
pub mod words;
