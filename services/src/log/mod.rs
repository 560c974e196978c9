//! What logs are asked for and what lines in them say of themselves, in words of people and programs.
//! Not here: the files of logs, who writes them, and how they are shown (`init`).

pub mod forward;
pub mod kmsg;
pub mod limit;
pub mod moment;
pub mod priority;
pub mod settings;
pub mod syslog;
