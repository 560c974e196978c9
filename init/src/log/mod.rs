//! The logger: a child of PID 1 that writes down what services print and what is
//! told to syslog(3) and by the kernel, and the format it writes. Not
//! here: the pipes themselves, which PID 1 makes and keeps, so that a dead logger costs nothing that
//! is still in them.

mod beside;
pub mod boot;
pub mod dropped;
pub mod entry;
pub mod export;
mod forwarder;
pub mod keeper;
pub mod lines;
pub mod memory;
mod pipe;
pub mod protocol;
pub mod reader;
pub mod segment;
mod service;
pub mod settings;
mod shelf;
pub mod stamp;

pub use service::run;
