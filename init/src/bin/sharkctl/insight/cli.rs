//! The command line of the verbs that explain. Not here: what they do.

use std::path::PathBuf;

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
    /// Print services and their relations for Graphviz
    #[command(after_help = "\
Solid lines are requirements, bold ones bindings, dashed ones wishes, dotted grey ones mere order.

Examples:
  sharkctl graph | dot -Tsvg > services.svg
  sharkctl graph sshd | dot -Tpng > sshd.png

Exit status:
  0  printed
  3  there is no such service")]
    Graph {
        /// Only this service and all that it needs
        service: Option<String>,
    },
    /// List how long services took from their start until they were ready, the longest first
    #[command(after_help = "\
Times are those of the last start of each service. What took long need not have held up the boot:
`sharkctl critical-chain` tells what did.

Exit status:
  0  listed")]
    Blame,
    /// Show which services determined when a service was started and ready
    #[command(after_help = "\
From the service back: each time the one of those before it that was ready last. WAITED is the time from
then until the start.

Exit status:
  0  shown
  1  the service has not been ready
  3  there is no such service")]
    CriticalChain {
        /// Service at the end of the chain [default: the boot target]
        service: Option<String>,
    },
    /// Draw the boot as SVG: its steps, and each service from its start until it was ready
    #[command(after_help = "\
Examples:
  sharkctl plot -o boot.svg

Exit status:
  0  drawn
  1  the file cannot be written
  4  the file may not be written")]
    Plot {
        /// File to write [default: standard output]
        #[arg(long, short, value_name = "FILE")]
        output: Option<PathBuf>,
    },
    /// Print the files that define a service, drop-ins after what they add to
    #[command(after_help = "\
Exit status:
  0  printed
  1  it has no file
  3  there is no such service
  4  --compare is for those who may change something
  6  with --compare: the service files have problems")]
    Cat {
        /// Service whose files to print
        service: String,
        /// Ask init too whether the files differ from what it has, and from what runs
        #[arg(long)]
        compare: bool,
    },
}
