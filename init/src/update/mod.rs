//! The updater, a service of its own: it takes a bundle from a URL, a file or a pipe and writes it into
//! the slot that does not run. Not here: the format and the order of writing (`mounts::bundle`,
//! `mounts::install`), the rules of the boot record (`mounts::slot::update`), the protocol
//! (`services::update`).
//!
//! `server` answers calls and runs one installation (`job`) at a time. Bytes from outside are touched
//! by a child alone (`fetch`), which has no rights but to its source: it reads (`source`, `http`),
//! checks and decompresses. `supply` has that child, and a new one when it stalls. The two talk in
//! `words`. `disk` is the slot, `keys` whom to trust, `proof` what the new system is asked before it is
//! armed; `generations` is the state that it begins with.

mod disk;
pub mod fetch;
mod generations;
mod http;
mod job;
mod keys;
pub mod proof;
pub mod server;
mod source;
mod supply;
mod words;

pub(crate) use disk::find as find_partition;
