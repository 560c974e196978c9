//! Boots of the small system, whose slots hold different versions: what breaks a slot, what does not,
//! and what the machine does about it. One program, so that two of them always run side by side.

mod crashes;
mod cuts;
mod failures;
mod records;
mod rescue;
mod rollback;
mod soft;
mod verity;
mod wanted;
mod watchdog;
