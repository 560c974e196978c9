//! The control protocol `io.shark.Init`: types, parsing and framing of Varlink messages, the same
//! for PID 1 and for `sharkctl`. Not here: sockets and who may do what (the shell), and what a
//! request leads to (`supervisor`).
//!
//! Varlink is JSON objects, each ended by a NUL byte, over a stream socket. [`frame`] cuts the
//! stream, [`request`] and [`reply`] are the two directions, [`introspect`] is `org.varlink.service`,
//! and `interface.varlink` is the description that clients can ask for.

pub mod boot;
pub mod frame;
pub mod introspect;
pub mod metrics;
pub mod record;
pub mod relations;
pub mod reply;
pub mod request;
#[cfg(test)]
mod tests;

pub use boot::{BootInfo, BootMode, BootState, GateInfo, GateState, Timing};
pub use frame::{Frames, MESSAGE_MAX, TooLong};
pub use introspect::Info;
pub use record::{AttemptInfo, BootRecord, PastBoot, SlotInfo, SlotName};
pub use relations::{RelationsPage, ServiceRelations};
pub use reply::{
    Changed, ChangedKeys, ControlError, Reply, ReplyError, ServicesPage, decode_reply,
    encode_error, encode_reply,
};
pub use request::{Call, Rejected, Request, encode_call};

/// Name of the interface.
pub const INTERFACE: &str = "io.shark.Init";
/// Description of the interface in Varlink's own language.
pub const INTERFACE_TEXT: &str = include_str!("interface.varlink");
/// Name of the interface that every Varlink service has.
pub const SERVICE_INTERFACE: &str = "org.varlink.service";
