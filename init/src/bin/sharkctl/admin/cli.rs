//! The command line of the verbs that change service files. Not here: what they do.

use std::path::PathBuf;

use clap::{Args, Subcommand};

#[derive(Debug, Subcommand)]
pub(crate) enum AdminVerb {
    /// Let the boot bring services up (`wanted-by`), from the next boot on or now
    #[command(after_help = "\
A drop-in zz-enablement.toml says so, in the administrator's directory; where none is needed, there is
none. An instance of a template gets a file of its own, which is empty.

Exit status:
  0  they are brought up
  3  there is no such service
  6  it is masked, or the files would have problems: nothing was written")]
    Enable(Names),
    /// Let the boot bring services up no more, unless another service needs them
    #[command(after_help = "\
A drop-in zz-enablement.toml says so, in the administrator's directory, until `sharkctl enable`.

Exit status:
  0  they are not brought up by their own files
  3  there is no such service
  6  the files would have problems: nothing was written")]
    Disable(Names),
    /// Keep services from running, whoever wants them: by a link to /dev/null in the place of their file
    #[command(after_help = "\
Where the administrator's directory has a file of the service, that stays, and a drop-in zz-mask.toml says
`masked = true`. What runs goes on until it is stopped.

Exit status:
  0  they are masked
  3  there is no such service
  6  the files would have problems: nothing was written")]
    Mask(Names),
    /// Take away what `sharkctl mask` has made
    #[command(after_help = "\
Exit status:
  0  they are masked no more
  3  there is no such service
  6  another file masks it, or the files would have problems: nothing was removed")]
    Unmask(Names),
    /// Edit a drop-in of a service, or all of it, and put it in place when the whole set passes the checks
    #[command(after_help = "\
The editor is $VISUAL, else $EDITOR, else vi. It gets a copy; what does not pass the checks is kept, and
edited again where there is a terminal.

Exit status:
  0  put in place, or nothing was changed
  1  the editor failed, or the file cannot be written
  3  there is no such service
  6  the files would have problems: nothing was put in place, and what was edited is kept")]
    Edit(Edit),
    /// Show what the administrator's files change of the image's
    #[command(after_help = "\
Exit status:
  0  shown, whether or not anything is changed
  3  there is no such service
  6  with --running: the files have problems")]
    Diff(Diff),
}

#[derive(Args, Debug)]
pub(crate) struct Names {
    /// Make init read the files again at once, and start the services, or stop them
    #[arg(long, conflicts_with = "root")]
    pub(crate) now: bool,
    /// Root of a system that does not run, such as that of an image
    #[arg(long, value_name = "DIR")]
    pub(crate) root: Option<PathBuf>,
    /// Names of services
    #[arg(required = true, value_name = "SERVICE")]
    pub(crate) services: Vec<String>,
}

#[derive(Args, Debug)]
pub(crate) struct Edit {
    /// Edit a copy of the whole file, which is read in place of the image's from then on
    #[arg(long)]
    pub(crate) full: bool,
    /// Make init read the files again when it is in place
    #[arg(long, conflicts_with = "root")]
    pub(crate) now: bool,
    /// Root of a system that does not run, such as that of an image
    #[arg(long, value_name = "DIR")]
    pub(crate) root: Option<PathBuf>,
    /// Service, or template
    pub(crate) service: String,
}

#[derive(Args, Debug)]
pub(crate) struct Diff {
    /// Show what a reload would change of what init has, instead
    #[arg(long, conflicts_with_all = ["root", "services"])]
    pub(crate) running: bool,
    /// Root of a system that does not run, such as that of an image
    #[arg(long, value_name = "DIR")]
    pub(crate) root: Option<PathBuf>,
    /// Only of these services
    #[arg(value_name = "SERVICE")]
    pub(crate) services: Vec<String>,
}
