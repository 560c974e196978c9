//! How logs are kept: what `/etc/shark/log.toml` says, and what goes without saying. Not here: reading
//! that file (`file::logging`), and keeping logs (`init`).

use std::path::PathBuf;

use super::forward::Target;
use super::limit::Limit;
use super::priority::Priority;
use crate::time::Duration;

/// Least room for logs, in bytes, of memory and of a disk.
pub const ROOM_MIN: u64 = 256 << 10;

/// Most daemons that lines are sent on to.
pub const FORWARD_MAX: usize = 4;

/// How logs are kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Where they are kept on a disk; `None` where that is to be chosen.
    pub directory: Option<PathBuf>,
    /// How many bytes of memory they take at most.
    pub memory: u64,
    /// How many bytes of the disk they take at most; 0 keeps them in memory alone.
    pub disk: u64,
    /// How many boots are kept.
    pub boots: u32,
    /// Within which time lines are on the disk.
    pub flush: Duration,
    /// How many lines of a service are kept within a time, where its file says nothing.
    pub limit: Limit,
    /// To whom lines are sent on.
    pub forward: Vec<Target>,
    /// Lines less grave than this are not sent on.
    pub forward_priority: Priority,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            directory: None,
            memory: 8 << 20,
            disk: 64 << 20,
            boots: 100,
            flush: Duration::from_secs(5),
            limit: Limit::default(),
            forward: Vec::new(),
            forward_priority: Priority::Info,
        }
    }
}
