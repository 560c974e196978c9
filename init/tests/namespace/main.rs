//! `init` as PID 1 of real namespaces, driven over its control socket: what only a kernel can show.
//! Not here: the rules of the supervisor, which are tested without any process (`services`).
//!
//! Needs no root and no QEMU. Where user namespaces are not allowed the tests say so and pass.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that cannot go on fails, wherever it is"
)]
#![allow(
    clippy::needless_pass_by_value,
    reason = "json!() is written where a call is made"
)]

mod admin;
mod begin;
mod cgroup;
mod compat;
mod crossing;
mod daemon;
mod failed;
mod forking;
mod forward;
mod gate;
mod health;
mod image;
mod installers;
mod introspection;
mod libsystemd;
mod logs;
mod machine;
mod metrics;
mod no_logger;
mod notify;
mod offline;
mod order;
mod probes;
mod record;
mod reload;
mod replaced;
mod restart;
mod scope;
mod sockets;
mod surroundings;
mod syslog;
mod templates;
mod timers;
mod top;
mod trace;
mod why;
