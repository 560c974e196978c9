//! The machine under test: one QEMU process with its console and its agent. Not here: how images
//! are made (`xtask`), and what a boot has to prove (`tests/`, one file a scenario).
#![forbid(unsafe_code)]

pub mod accel;
pub mod agent;
pub mod broken;
pub mod chance;
pub mod console;
pub mod debugger;
pub mod disk;
pub mod esp;
pub mod image;
pub mod machine;
pub mod monitor;
pub mod overlay;
pub mod record;
pub mod scenario;
pub mod server;
pub mod slots;
pub mod spec;

pub use accel::Accel;
pub use agent::Output;
pub use image::Image;
pub use machine::Machine;
pub use spec::{Arch, Disk, Spec};
