//! The command line of `sharkctl logs`. Not here: what it does.

use std::str::FromStr;

use clap::Args;
use init::log::boot;
use init::log::stamp::Stamp;
use regex_lite::Regex;
use services::log::moment;
use services::log::priority::Priority;

#[derive(Args, Debug)]
#[command(after_help = "\
A TIME is `2026-11-30 12:00`, `12:00:30`, `today`, `yesterday`, `-10min` (ago) or `@SECONDS` (since 1970).
Times are those of UTC, as in the log. A line begins with `<3>` where its service says its priority
(sd-daemon(3)); the others count as info.

Examples:
  sharkctl logs -f nginx php           both, as they go on
  sharkctl logs --since -10min --priority warning
  sharkctl logs --boot -1 -n 100       the last lines before the present boot
  sharkctl logs --since '2026-11-30 12:00' --until 12:30 --grep 'time ?out' nginx
  sharkctl logs --export | /lib/systemd/systemd-journal-remote -o all.journal -

Exit status:
  0  printed, if only that there is nothing
  1  no logs are kept of that boot
  2  wrong usage, such as a pattern or a time that cannot be read
  3  no such service")]
pub(crate) struct Logs {
    /// Go on with what is written from now on; with --until, until then
    #[arg(long, short)]
    pub(crate) follow: bool,
    /// Only the last N lines of what is asked for [default: all, or 10 with --follow]
    #[arg(long, short = 'n', value_name = "N", value_parser = super::number::<usize>)]
    pub(crate) lines: Option<usize>,
    /// Only lines of this time or later
    #[arg(long, value_name = "TIME", value_parser = moment, allow_hyphen_values = true)]
    pub(crate) since: Option<Stamp>,
    /// Only lines of this time or earlier
    #[arg(long, value_name = "TIME", value_parser = moment, allow_hyphen_values = true)]
    pub(crate) until: Option<Stamp>,
    /// Of this boot: its ID, 0 for the present one, -1 for the one before it [default: 0]
    #[arg(long, value_name = "BOOT", allow_hyphen_values = true)]
    pub(crate) boot: Option<BootWord>,
    /// Print which boots there are logs of
    #[arg(long, conflicts_with_all = ["follow", "lines", "since", "until", "boot", "priority", "grep", "raw", "export", "services"])]
    pub(crate) list_boots: bool,
    /// Only lines as grave as this, or graver: emerg alert crit err warning notice info debug, or 0 to 7
    #[arg(long, short, value_name = "PRIORITY")]
    pub(crate) priority: Option<Priority>,
    /// Only lines in which this regular expression is found
    #[arg(long, short, value_name = "PATTERN")]
    pub(crate) grep: Option<Regex>,
    /// Print the bytes as they are; control characters may upset a terminal
    #[arg(long, conflicts_with_all = ["json", "export"])]
    pub(crate) raw: bool,
    /// Print in the journal export format, for systemd-journal-remote and others that read it
    #[arg(long, conflicts_with = "json")]
    pub(crate) export: bool,
    /// Services whose logs to print; `init` is init's own, `audit` who asked it for what,
    /// `kernel` the kernel's, `syslog` has messages that no service sent [default: all]
    #[arg(value_name = "SERVICE")]
    pub(crate) services: Vec<String>,
}

/// A boot as it is asked for.
#[derive(Clone, Debug)]
pub(crate) enum BootWord {
    /// The one with this ID.
    Id(String),
    /// So many before the present one.
    Before(u32),
}

impl FromStr for BootWord {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let before = match text {
            "0" => Some(0),
            _ => text.strip_prefix('-').and_then(|count| count.parse().ok()),
        };
        before
            .map(Self::Before)
            .or_else(|| boot::id(text).map(Self::Id))
            .ok_or("neither the ID of a boot (32 hexadecimal digits), nor 0, -1, -2 ...")
    }
}

fn moment(text: &str) -> Result<Stamp, moment::MomentError> {
    moment::parse(text, Stamp::now().as_micros()).map(Stamp::from_micros)
}
