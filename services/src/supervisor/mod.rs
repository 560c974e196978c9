//! The supervisor: being written.

pub mod event;
