//! The pure core of the supervisor: service files become a checked graph, events become actions.
//!
//! Nothing in this crate reads a file, a clock or the environment, and nothing in it knows a pid or
//! a descriptor. Time is an argument, a failure is an event, and everything is bounded.
#![forbid(unsafe_code)]

pub mod begin;
pub mod budget;
pub mod calendar;
pub mod control;
pub mod cpus;
pub mod definition;
pub mod diagnostic;
pub mod file;
pub mod gate;
pub mod graph;
pub mod id;
pub mod import;
pub mod journal;
pub mod log;
pub mod notify;
pub mod status;
pub mod supervisor;
pub mod time;
pub mod units;
pub mod update;
pub mod users;
pub mod verdict;
