//! The command line of `sharkctl compat`. Not here: those of the other names, which are not ours to
//! choose.

use std::path::PathBuf;

use clap::builder::PossibleValue;
use clap::{Args, Subcommand, ValueEnum};

use super::Name;

#[derive(Debug, Subcommand)]
pub(crate) enum CompatVerb {
    /// Make links to sharkctl under the names of other inits' commands
    #[command(after_help = "\
What is there already is left alone, and told.

Examples:
  sharkctl compat install /usr/local/bin
  sharkctl compat install --root build/root /usr/bin systemctl journalctl

Exit status:
  0  the names are there
  6  another file has one of the names; nothing was changed")]
    Install(Install),
    /// Be called by one of the names, without a link
    #[command(after_help = "\
Exit status:
  that of the command of this name")]
    Run {
        /// Which name
        name: Name,
        /// What it is given
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
}

#[derive(Args, Debug)]
pub(crate) struct Install {
    /// Root of a system that does not run, such as that of an image
    #[arg(long, value_name = "DIR")]
    pub(crate) root: Option<PathBuf>,
    /// Directory for the links, such as /usr/local/bin
    pub(crate) directory: PathBuf,
    /// Which names [default: all]
    pub(crate) names: Vec<Name>,
}

impl ValueEnum for Name {
    fn value_variants<'a>() -> &'a [Self] {
        &Self::ALL
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        Some(PossibleValue::new(self.word()))
    }
}
