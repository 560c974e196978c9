//! The command line of `sharkctl metrics`. Not here: what it does.

use std::path::PathBuf;

use clap::Args;

use super::text::Format;
use crate::cgroups::Counting;

#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  sharkctl metrics --format prometheus | promtool check metrics
  sharkctl metrics --format prometheus --output /var/lib/prometheus/shark.prom

With --serve, the listening socket is one that init passes (LISTEN_FDS): a service of its own, with
[sockets], answers GET /metrics, and ends when nobody has asked for a minute. examples/patterns has one, and
one that keeps a file for node-exporter.")]
pub(crate) struct Metrics {
    /// Format of the text
    #[arg(long, value_enum, default_value_t = Format::Openmetrics)]
    pub(crate) format: Format,
    /// Replace this file, whole, instead of printing
    #[arg(long, value_name = "FILE", conflicts_with_all = ["json", "serve"])]
    pub(crate) output: Option<PathBuf>,
    /// Answer requests of HTTP on the socket that init has passed
    #[arg(long, conflicts_with = "json")]
    pub(crate) serve: bool,
    #[command(flatten)]
    pub(crate) counting: Counting,
}
