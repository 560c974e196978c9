//! The command line of the verbs that explain. Not here: what they do.

use clap::Subcommand;

#[derive(Debug, Subcommand)]
pub(crate) enum InsightVerb {
    /// Tell why a service is as it is: who wants it, what it waits for, what failed first, what to do
    #[command(after_help = "\
What a service waits for, or was ended by, is followed to the service where it began. That one's last
lines are shown, whatever stands between the two.

Exit status:
  0  told, whatever it is
  3  there is no such service
  6  its files were refused, which is told, or have not been read")]
    Why {
        /// Service to explain
        service: String,
    },
    /// Show what a service needs, and what that needs, as a tree with states
    #[command(after_help = "\
Each service is shown with all below it once; where it comes again, it says so. What is only ordered is
not shown: `sharkctl graph` does.

Exit status:
  0  shown
  3  there is no such service")]
    Tree {
        /// Service at the root [default: the boot target]
        service: Option<String>,
        /// Show what needs the service instead
        #[arg(long)]
        reverse: bool,
    },
}
