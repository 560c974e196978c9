//! PID 1 of Shark OS on the real root, and its children: the shell around the pure core in
//! `services`. Not here: any decision about a service, and any unsafe code (`kernel`).
#![forbid(unsafe_code)]

pub mod arguments;
pub mod budget;
pub mod ending;
pub mod errand;
mod filesystem;
pub mod load;
pub mod log;
mod mounting;
mod outer;
pub mod paths;
pub mod pid1;
pub mod probe;
mod rate;
pub mod record;
pub mod scrub;
pub mod starter;
pub mod timers;
pub mod update;
