//! Which of its parts this run of `init` is, told by the first argument. Not here: what the parts do.

use kernel::successor::WORD as RESUME;
use services::definition::Probe;
use services::status::ShutdownKind;

/// The parts of the one binary.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mode {
    /// PID 1: supervise.
    Supervise,
    /// The loader child: read service files, check them, hand the graph over.
    Load,
    /// The logger child: keep what the services write.
    Log {
        /// Of a machine and not of a container: the kernel's log too, and /dev/log.
        machine: bool,
    },
    /// The last stage of a shutdown, run as PID 1 from a tmpfs.
    Final(ShutdownKind),
    /// PID 1 that goes on with the state in this descriptor.
    Resume(i32),
    /// A child of the last stage: write everything to the disks, then end.
    Sync,
    /// A child of the last stage: unmount everything, remove device-mapper devices, then end.
    Detach,
    /// The recorder child: one change to the boot record.
    Record {
        /// The state partition, the disk, or `-`: wherever it is.
        device: String,
    },
    /// The scrub child: read the root whole.
    Scrub {
        /// The device.
        device: String,
        /// How many bytes of it.
        bytes: String,
    },
    /// The budget child: learn from the start times of this boot.
    Budget,
    /// A probe of a service: one attempt to reach it.
    Probe(Probe),
    /// The starter: what is done before the program of a run.
    Start {
        /// The descriptor of its order.
        order: String,
        /// The descriptor for why it fails, where PID 1 asks.
        words: Option<String>,
    },
    /// The timers child: keep the last starts of services with a persistent timer.
    Timers {
        /// Where they are kept.
        file: String,
    },
    /// Print how it is called.
    Help,
    /// Print the version.
    Version,
    /// Called in a way that means nothing; the text says what is wrong.
    Misused(&'static str),
}

impl Mode {
    /// Whether it is a child that PID 1 cannot well do without, and that stays small.
    #[must_use]
    pub fn works_for_init(&self) -> bool {
        match self {
            Self::Log { .. }
            | Self::Sync
            | Self::Detach
            | Self::Record { .. }
            | Self::Budget
            | Self::Timers { .. } => true,
            // These grow with what they read, or turn into a service.
            Self::Load | Self::Scrub { .. } | Self::Probe(_) | Self::Start { .. } => false,
            Self::Supervise
            | Self::Final(_)
            | Self::Resume(_)
            | Self::Help
            | Self::Version
            | Self::Misused(_) => false,
        }
    }
}

/// Tells the logger that this is a machine and not a container.
pub const MACHINE: &str = "machine";

/// What `init --help` prints.
pub const HELP: &str = "\
Usage: init

Shark init, the first process of a machine, a container or a PID namespace. The
kernel starts it as PID 1; arguments are then ignored. To talk to a running one,
use sharkctl(8).

  init --help       print this
  init --version    print the version

Environment:
  SHARK_SERVICE_PATH  directories of service files, lowest layer first, with `:`
                      between them
  SHARK_RUNTIME_DIR   where the sockets and logs are (default /run/shark)

To try it in a namespace of its own:

  unshare --user --map-root-user --mount --pid --fork --mount-proc init
";

/// Chooses the part from the process id and the arguments after the program's name.
///
/// As PID 1 only `final KIND` and `resume NUMBER` are heeded: the kernel passes words of its command
/// line on, and none of them may keep a machine from booting. The latter is, where that descriptor has
/// no state, a start like any other.
#[must_use]
pub fn mode(pid: u32, arguments: &[String]) -> Mode {
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match (pid, words.as_slice()) {
        (1, ["final", kind]) => shutdown_kind(kind).map_or(Mode::Supervise, Mode::Final),
        // What is no such state is not heeded there.
        (1, [RESUME, number]) => number.parse().map_or(Mode::Supervise, Mode::Resume),
        (1, _) => Mode::Supervise,
        (_, ["load"]) => Mode::Load,
        (_, ["log"]) => Mode::Log { machine: false },
        (_, ["log", MACHINE]) => Mode::Log { machine: true },
        (_, ["sync"]) => Mode::Sync,
        (_, ["detach"]) => Mode::Detach,
        (_, ["record", device]) => Mode::Record {
            device: (*device).to_owned(),
        },
        (_, ["scrub", device, bytes]) => Mode::Scrub {
            device: (*device).to_owned(),
            bytes: (*bytes).to_owned(),
        },
        (_, ["budget"]) => Mode::Budget,
        (_, ["start", order]) => Mode::Start {
            order: (*order).to_owned(),
            words: None,
        },
        (_, ["start", order, words]) => Mode::Start {
            order: (*order).to_owned(),
            words: Some((*words).to_owned()),
        },
        (_, [crate::probe::PART, words @ ..]) => match crate::probe::parse(words) {
            Some(probe) => Mode::Probe(probe),
            None => Mode::Misused(
                "expected probe tcp ADDRESS:PORT, unix PATH, http ADDRESS:PORT PATH or path PATH",
            ),
        },
        (_, ["timers", file]) => Mode::Timers {
            file: (*file).to_owned(),
        },
        (_, ["--help" | "-h"]) => Mode::Help,
        (_, ["--version" | "-V"]) => Mode::Version,
        (_, ["final", ..]) => Mode::Misused("`init final` is run by PID 1 itself, at the end"),
        (_, []) => Mode::Misused(
            "this is not process 1, so there is nothing to supervise; \
             use sharkctl to talk to the running init, or see init --help",
        ),
        (_, _) => Mode::Misused("unknown argument; see init --help"),
    }
}

/// The word for `kind` on the command line of the last stage.
#[must_use]
pub const fn shutdown_word(kind: ShutdownKind) -> &'static str {
    match kind {
        ShutdownKind::Poweroff => "poweroff",
        ShutdownKind::Reboot => "reboot",
        ShutdownKind::Halt => "halt",
        ShutdownKind::SoftReboot => "soft-reboot",
    }
}

fn shutdown_kind(word: &str) -> Option<ShutdownKind> {
    [
        ShutdownKind::Poweroff,
        ShutdownKind::Reboot,
        ShutdownKind::Halt,
    ]
    .into_iter()
    .find(|kind| shutdown_word(*kind) == word)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[allow(clippy::needless_pass_by_value, reason = "the tables read better")]
    fn check(pid: u32, line: &str, expect: Mode) {
        let words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        assert_eq!(mode(pid, &words), expect, "pid {pid}, arguments {line:?}");
    }

    #[test]
    fn pid_1_supervises_whatever_the_kernel_passes_on() {
        check(1, "", Mode::Supervise);
        check(1, "splash nosuchthing", Mode::Supervise);
        check(1, "--help", Mode::Supervise);
        check(1, "load", Mode::Supervise);
        check(1, "final", Mode::Supervise);
        check(1, "final curtain", Mode::Supervise);
        check(1, "final soft-reboot", Mode::Supervise);
        check(1, "resume", Mode::Supervise);
        check(1, "resume x", Mode::Supervise);
        check(1, "resume 7", Mode::Resume(7));
    }

    #[test]
    fn the_last_stage_is_told_where_to_go() {
        check(1, "final poweroff", Mode::Final(ShutdownKind::Poweroff));
        check(1, "final reboot", Mode::Final(ShutdownKind::Reboot));
        check(1, "final halt", Mode::Final(ShutdownKind::Halt));
    }

    #[test]
    fn children_and_people_name_their_part() {
        check(7, "load", Mode::Load);
        check(7, "log", Mode::Log { machine: false });
        check(7, "log machine", Mode::Log { machine: true });
        check(7, "sync", Mode::Sync);
        check(7, "detach", Mode::Detach);
        check(7, "budget", Mode::Budget);
        let device = "-".to_owned();
        check(7, "record -", Mode::Record { device });
        let (device, bytes) = ("/dev/dm-0".to_owned(), "4096".to_owned());
        check(7, "scrub /dev/dm-0 4096", Mode::Scrub { device, bytes });
        let address = "127.0.0.1:80".parse().unwrap();
        check(
            7,
            "probe tcp 127.0.0.1:80",
            Mode::Probe(Probe::Tcp(address)),
        );
        let order = "3".to_owned();
        let words = None;
        check(7, "start 3", Mode::Start { order, words });
        let (order, words) = ("3".to_owned(), Some("4".to_owned()));
        check(7, "start 3 4", Mode::Start { order, words });
        let file = "/f".to_owned();
        check(7, "timers /f", Mode::Timers { file });
        check(7, "--help", Mode::Help);
        check(7, "--version", Mode::Version);
        for line in [
            "",
            "final reboot",
            "reboot",
            "load log",
            "resume 7",
            "record",
            "scrub /dev/vda",
            "probe",
            "probe tcp localhost:80",
        ] {
            let words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
            assert!(
                matches!(mode(7, &words), Mode::Misused(_)),
                "arguments {line:?}"
            );
        }
    }
}
