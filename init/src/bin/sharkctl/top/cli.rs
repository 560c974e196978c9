//! The command line of `sharkctl top`. Not here: what it does.

use std::time::Duration;

use clap::Args;

use super::rates::Column;
use crate::cgroups::Counting;

#[derive(Args, Debug)]
#[command(after_help = "\
On a terminal, keys sort by a column: c cpu, m memory, i I/O, p pressure, t tasks, n name; r turns the order
around, a blank looks again, q ends it. Elsewhere the table is printed once, or -n times.

CPU is the share of one processor. READ and WRITTEN are bytes a second from and to disks. The pressures are
those of the kernel (PSI): the share of the last ten seconds in which something of the service waited for a
processor, for memory, for a disk. A dash stands for what this kernel or this machine does not tell.

Examples:
  sharkctl top --sort memory
  sharkctl top --once --json | jq '.services[0]'
  sharkctl top -n 60 --interval 1min > hour.txt

Exit status:
  0  shown
  1  this machine has no cgroups of version 2")]
pub(crate) struct Top {
    /// Time between two looks
    #[arg(long, short, value_name = "DURATION", value_parser = interval, default_value = "2s")]
    pub(crate) interval: Duration,
    /// Look so many times, then end
    #[arg(long, short = 'n', value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) iterations: Option<u32>,
    /// Print the table once
    #[arg(long, conflicts_with = "iterations")]
    pub(crate) once: bool,
    /// Sort by this column, the most first
    #[arg(long, value_enum, default_value_t = Column::Cpu)]
    pub(crate) sort: Column,
    #[command(flatten)]
    pub(crate) counting: Counting,
}

fn interval(text: &str) -> Result<Duration, String> {
    let parsed = services::units::parse_duration(text).map_err(|error| error.to_string())?;
    let nanos = u64::try_from(parsed.as_nanos()).unwrap_or(u64::MAX);
    let interval = Duration::from_nanos(nanos);
    match interval < Duration::from_millis(100) {
        true => Err("at least 100ms".to_owned()),
        false => Ok(interval),
    }
}
