//! The command line of `sharkctl`: verbs, options, help. Not here: what a verb does.

pub(crate) mod logs;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use services::control::SlotName;

pub(crate) use logs::Logs;

use crate::admin::cli::AdminVerb;
use crate::compat::cli::CompatVerb;
use crate::insight::cli::InsightVerb;
use crate::metrics::cli::Metrics;
use crate::top::cli::Top;

const EXAMPLES: &str = "\
Examples:
  sharkctl list                    what runs, what does not
  sharkctl status sshd             one service and its last lines
  sharkctl why sshd                why it is not up, and what to do
  sharkctl tree sshd               what it needs
  sharkctl critical-chain          what the boot waited for; `blame` and `plot` tell more
  sharkctl restart sshd chronyd    both at once; waits until they are up
  sharkctl logs -f sshd            follow a log
  sharkctl edit sshd               change keys of it; nothing wrong is put in place
  sharkctl disable --now cups      not at boot any more, and not now; `mask` keeps it from running at all
  sharkctl diff                    what the files in /etc change of the image's
  sharkctl top                     what uses how much, live
  sharkctl timers                  what is started next, and when
  sharkctl boot                    which slot, why, and how long the boot took
  sharkctl boot wait               until the boot was found good, or not
  sharkctl boot history            the boots before this one, and how they ended
  sharkctl update install FILE     into the other slot; `sharkctl reboot` tries it
  sharkctl import nginx            service files of systemd units, and what became of each line
  sharkctl verify etc/services     check service files, with no init running
  sharkctl --json list | jq        for programs

Exit status:
  0  done, or up
  1  the operation failed, or the files to verify have problems
  2  wrong usage
  3  no such service
  4  permission denied
  5  init is not running, or not reachable
  6  refused; nothing was changed
  7  status: not up
  8  still waiting when --timeout was over";

/// Control Shark init: its services, their logs, the boot.
#[derive(Debug, Parser)]
#[command(name = "sharkctl", version, after_help = EXAMPLES, max_term_width = 100)]
#[command(disable_help_subcommand = true)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) options: Options,
    #[command(subcommand)]
    pub(crate) verb: Verb,
}

/// Options of every verb.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct Options {
    /// Print JSON, for programs
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// Do not say what is being waited for, nor what was done
    #[arg(long, short, global = true)]
    pub(crate) quiet: bool,
    /// Give up waiting after this many seconds; what was asked for goes on
    #[arg(long, global = true, value_name = "SECONDS", value_parser = number::<u32>)]
    pub(crate) timeout: Option<u32>,
    /// Socket of init [default: $SHARK_RUNTIME_DIR/io.shark.Init, or /run/shark/io.shark.Init]
    #[arg(long, global = true, value_name = "PATH")]
    pub(crate) socket: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    #[command(flatten)]
    Short(ServiceVerb),
    /// The verbs for services, in their long form: `sharkctl service restart sshd`
    #[command(subcommand, name = "service")]
    Long(ServiceVerb),
    #[command(flatten)]
    Insight(InsightVerb),
    #[command(flatten)]
    Admin(AdminVerb),
    /// Tell about the boot and its slot, judge it, choose another slot
    Boot {
        #[command(subcommand)]
        verb: Option<BootVerb>,
    },
    /// Install an update into the slot that does not run, and back from it
    Update {
        #[command(subcommand)]
        verb: UpdateVerb,
    },
    /// Take all data away and begin as delivered: at the next boot, which this causes
    #[command(after_help = "\
Everything on the data partition goes: what was changed in /etc, in every slot, and all of /var. The
slots stay as they are. A cut of power in between is followed by the rest.")]
    FactoryReset {
        /// Yes, all data
        #[arg(long, required = true)]
        yes: bool,
        /// Leave the restart to somebody else
        #[arg(long)]
        no_reboot: bool,
    },
    /// Show what services use of processors, memory, disks, again and again
    Top(Top),
    /// Print figures of init and of the services for monitoring, or answer a monitoring system
    Metrics(Metrics),
    /// Check directories of service files as one graph, with no init running
    Verify(Verify),
    /// Make service files of what another init runs, and tell what became of each line
    Import(Import),
    /// Answer under the names that scripts and installers call: systemctl, journalctl, service,
    /// rc-service, rc-update, rc-status
    Compat {
        #[command(subcommand)]
        verb: CompatVerb,
    },
    /// Write the graph of a root's service files into it, so that it boots without reading them
    Compile(Compile),
    /// Stop every service in reverse order and switch the machine off
    Poweroff(Shutdown),
    /// Stop every service in reverse order and restart the machine
    Reboot(Shutdown),
    /// Stop every service in reverse order and begin again, without the kernel
    SoftReboot,
    /// Stop every service in reverse order and stop the processor
    Halt(Shutdown),
    /// Replace init by a program, or by the file it was started from: everything it supervises stays
    Reexec {
        /// Absolute path of the program [default: the file init was started from]
        program: Option<String>,
    },
    /// Record what init does, replay it, and what testers do to init
    Debug {
        #[command(subcommand)]
        verb: DebugVerb,
    },
    /// Print what there is to know of a verb, or of all
    Help {
        /// Verb, such as `status` or `boot history`
        #[arg(value_name = "VERB")]
        verbs: Vec<String>,
    },
    /// Print the completions for a shell
    Completions {
        /// For which shell
        shell: Shell,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum ServiceVerb {
    /// List every service: state, process, how long, memory
    List,
    /// List services with a timer: when each is started next, when it was last, and how that ended
    Timers,
    /// Tell about one service, or about all of them and the boot
    #[command(after_help = "\
Exit status:
  0  SERVICE is up; without SERVICE: every service is up, or down as wanted
  7  otherwise")]
    Status {
        /// Service to tell about
        service: Option<String>,
    },
    /// Start services, with what they require and want, and wait until they are up
    Start(Services),
    /// Stop services, and those that require them, and wait until nothing of them is left
    Stop(Stop),
    /// Stop services and start them again, and wait until they are up
    Restart(Services),
    /// Make services read their configuration again; without SERVICE: make init read all service
    /// files again, and change nothing if one of them has a problem
    #[command(after_help = "\
Exit status:
  0  done; with --dry-run: the files are right, whether or not anything would change
  6  the files have problems (told on standard error, with --json on standard output), or init
     refused; nothing was changed")]
    Reload {
        /// Only tell which services would be added, changed (and in which keys) or removed
        #[arg(long, conflicts_with = "services")]
        dry_run: bool,
        /// Services that read their own configuration again
        services: Vec<String>,
    },
    /// Print what services wrote, of several in the order of time
    Logs(Logs),
}

#[derive(Args, Debug)]
pub(crate) struct Services {
    /// Names of services
    #[arg(required = true, value_name = "SERVICE")]
    pub(crate) services: Vec<String>,
}

#[derive(Args, Debug)]
pub(crate) struct Stop {
    /// End what outlives a stop too, by the `stop.scope` of the service: `status` tells how much is left
    #[arg(long)]
    pub(crate) all: bool,
    #[command(flatten)]
    pub(crate) some: Services,
}

#[derive(Debug, Subcommand)]
pub(crate) enum BootVerb {
    /// Tell about the boot (this is what `sharkctl boot` does)
    Info,
    /// Wait until the boot has been found good, and fail if it was not
    #[command(after_help = "\
Where a boot has no gate, as there is no slot to judge, this waits as with --settled.

Exit status:
  0  the boot is good; with --settled: every service of it is up
  1  it is not; with --settled: a service failed")]
    Wait {
        /// Wait only until every service of the boot is up or has failed; fail if one has
        #[arg(long)]
        settled: bool,
    },
    /// Say that this boot is good: its slot is committed at once
    Good(GoodBoot),
    /// Say that this boot is bad: its slot is given up, and the machine restarts into the other one
    Bad(BadBoot),
    /// Boot a slot first from now on, with all its tries
    SetSlot(SetSlot),
    /// List the boots before this one: slot, phase, how each ended, and why
    History(OnDevice),
    /// Print the boot record: the slots, and the history
    Record(OnDevice),
}

#[derive(Debug, Subcommand)]
pub(crate) enum UpdateVerb {
    /// Install a bundle into the slot that does not run, and arm it for one try
    #[command(after_help = "\
Nothing that runs is touched: `sharkctl reboot` tries the new system, once. If it is not found good,
the machine comes back with the present one. An installation that broke off goes on where it was.

Examples:
  sharkctl update install /media/shark-2.bundle
  sharkctl update install http://updates.example/shark-2.bundle
  curl -fsSL https://updates.example/shark-2.bundle | sharkctl update install -

Exit status:
  0  installed; the next boot tries it
  1  it failed, and may work the next time
  6  refused: by a signature, a rule, or a problem of the new system (each is told)")]
    Install {
        /// A file, an http URL, or `-` for standard input
        bundle: String,
    },
    /// Tell what the slots hold, and what is under way
    Status,
    /// Call off what is being installed, or waits for its trial
    Cancel,
    /// Boot the system before the last update next, with the state it had
    Rollback {
        /// Restart the machine at once
        #[arg(long)]
        reboot: bool,
    },
    /// List the keys that may sign an update
    #[command(after_help = "\
A link of keys says which keys are trusted from now on, and which are revoked for good; a trusted key
has signed it (`cargo xtask keyring`). A bundle can bring links as well.

Exit status of --add:
  0  the links count, or did already
  6  refused: one of them is not signed by a key that is trusted; nothing was changed")]
    Keys {
        /// Take the links of keys in this file, or with `-` on standard input
        #[arg(long, value_name = "FILE")]
        add: Option<String>,
    },
}

#[derive(Args, Debug)]
pub(crate) struct OnDevice {
    /// Work on the record of this partition, disk or image file, and ask no init
    /// [default: init; where none runs, the partition named shark-state]
    #[arg(long, value_name = "PATH")]
    pub(crate) device: Option<PathBuf>,
}

#[derive(Args, Debug)]
pub(crate) struct GoodBoot {
    /// What is to be remembered with it, in a few words
    #[arg(long, value_name = "TEXT")]
    pub(crate) reason: Option<String>,
    #[command(flatten)]
    pub(crate) on: OnDevice,
}

#[derive(Args, Debug)]
pub(crate) struct BadBoot {
    /// What is wrong, in a few words: `sharkctl boot history` tells it after the rollback
    #[arg(long, value_name = "TEXT")]
    pub(crate) reason: String,
    /// Do not restart the machine now
    #[arg(long)]
    pub(crate) no_reboot: bool,
    /// On a device: give this slot up [default: the one whose boot is under way]
    #[arg(long, value_name = "SLOT")]
    pub(crate) slot: Option<SlotWord>,
    #[command(flatten)]
    pub(crate) on: OnDevice,
}

#[derive(Args, Debug)]
pub(crate) struct SetSlot {
    /// Which slot
    pub(crate) slot: SlotWord,
    #[command(flatten)]
    pub(crate) on: OnDevice,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum SlotWord {
    A,
    B,
}

impl From<SlotWord> for SlotName {
    fn from(word: SlotWord) -> Self {
        match word {
            SlotWord::A => Self::A,
            SlotWord::B => Self::B,
        }
    }
}

#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  sharkctl verify /usr/lib/shark/services /etc/shark/services
  sharkctl verify --root build/root build/root/usr/lib/shark/services
  sharkctl verify --root build/root")]
pub(crate) struct Verify {
    /// Root of the system the files are for: accounts are looked up in its etc/passwd and etc/group,
    /// and programs must exist and be executable in it
    #[arg(long, value_name = "DIR")]
    pub(crate) root: Option<PathBuf>,
    /// The target that is booted: essential services it does not bring up are warned of
    #[arg(long, value_name = "NAME", default_value = "default")]
    pub(crate) target: String,
    /// Memory of the machine, such as 2G: what is kept for services (cgroup.memory-min) must fit it
    #[arg(long, value_name = "BYTES", value_parser = services::units::parse_bytes)]
    pub(crate) memory: Option<u64>,
    /// Processors of the machine, such as 0-3: those of services (cgroup.cpus) must be among them
    #[arg(long, value_name = "LIST", value_parser = services::cpus::CpuList::parse)]
    pub(crate) processors: Option<services::cpus::CpuList>,
    /// Directories of service files, lowest layer first (vendor, then admin)
    /// [with --root, default: usr/lib/shark/services and etc/shark/services in it]
    #[arg(value_name = "DIR", required_unless_present = "root")]
    pub(crate) directories: Vec<PathBuf>,
}

#[derive(Args, Debug)]
#[command(after_help = "\
A line is carried over into keys of the service file, lost with a reason, or irrelevant here. A service,
its sockets and its timer become one service, so they are imported together. What would be another
service without what is lost has no file.

Examples:
  sharkctl import nginx                        # the report only
  sharkctl import --output out nginx cron.service
  sharkctl import --root build/root --output out --map network.target=dhcp build/root/lib/systemd/system
  sharkctl import --root build/root --output out build/root/etc/sv
  sharkctl verify out

Exit status:
  0  every unit has a file, or is part of one, and `sharkctl verify` accepts the files
  1  one has none, or the files have problems; the others are written
  6  a file is there already; nothing was changed")]
pub(crate) struct Import {
    /// What they are of [default: what the paths look like, else systemd]
    #[arg(long, value_name = "INIT")]
    pub(crate) from: Option<Foreign>,
    /// Root of the system the units are from
    #[arg(long, value_name = "DIR")]
    pub(crate) root: Option<PathBuf>,
    /// Directory to write service files to [default: none is written]
    #[arg(long, short, value_name = "DIR")]
    pub(crate) output: Option<PathBuf>,
    /// Which service a unit that others name means, such as network.target=dhcp
    #[arg(long, value_name = "UNIT=SERVICE", value_parser = mapping)]
    pub(crate) map: Vec<(String, String)>,
    /// Replace files that are there
    #[arg(long)]
    pub(crate) overwrite: bool,
    /// Make a file even where it is another service without what is lost, if it can be one at all
    #[arg(long)]
    pub(crate) force: bool,
    /// Units by name (without a suffix: the service with its socket and timer), by file, or all of a
    /// directory; scripts for OpenRC; service directories of runit or s6
    #[arg(required = true, value_name = "UNIT")]
    pub(crate) units: Vec<String>,
}

/// Another init.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum Foreign {
    Systemd,
    Openrc,
    Runit,
    S6,
}

/// A whole number; what clap says of another word does not tell what was expected.
fn number<T: std::str::FromStr>(text: &str) -> Result<T, String> {
    text.parse()
        .map_err(|_| "not a whole number of this kind, such as 20".to_owned())
}

fn mapping(text: &str) -> Result<(String, String), String> {
    let (unit, service) = text.split_once('=').ok_or("has no `=`")?;
    let name = services::id::ServiceName::new(service).map_err(|error| error.to_string())?;
    Ok((unit.to_owned(), name.to_string()))
}

#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  sharkctl compile --root build/root
  sharkctl compile --root build/root --time 0   # of an image that is made with `mkfs.erofs -T 0`")]
pub(crate) struct Compile {
    /// Root of the system: its service files, with its etc/passwd and etc/group, become
    /// usr/lib/shark/graph in it
    #[arg(long, value_name = "DIR")]
    pub(crate) root: PathBuf,
    /// The time that all files will have in the image, seconds since 1970
    /// [default: the time that each has now]
    #[arg(long, value_name = "SECONDS", allow_negative_numbers = true)]
    pub(crate) time: Option<i64>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum DebugVerb {
    /// Record what init is told and what it asks for, until it ends or this command is interrupted
    Record(RecordTrace),
    /// Tell a recorded life to a supervisor again, and compare what it asks for; needs no init
    #[command(after_help = "\
Exit status:
  0  the actions are the same as recorded
  1  they differ, or the file is no trace")]
    Replay(ReplayTrace),
    /// Crash init: it goes on as a new program. Only where it runs in a container or with shark.debug
    Panic,
}

#[derive(Args, Debug)]
pub(crate) struct RecordTrace {
    /// File to write [default: standard output]
    #[arg(value_name = "FILE")]
    pub(crate) file: Option<PathBuf>,
    /// End after so many seconds
    #[arg(long = "for", value_name = "SECONDS")]
    pub(crate) seconds: Option<u32>,
}

#[derive(Args, Debug)]
pub(crate) struct ReplayTrace {
    /// File that `debug record` wrote
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,
}

#[derive(Args, Clone, Copy, Debug)]
pub(crate) struct Shutdown {
    /// At once, without init: write back what is in memory, stop no service, unmount nothing
    #[arg(long, short)]
    pub(crate) force: bool,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum Shell {
    Bash,
    Zsh,
    Fish,
    /// Names of services, for the completions themselves
    #[value(hide = true)]
    Services,
}
