//! From a service's definition to what the kernel crate executes: environment, account, directories,
//! limits, descriptors. And the same for PID 1's own children. Not here: cgroups, and executing.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use kernel::signals::Signal as Number;
use kernel::spawn::{Child, Ids, Limit, Plan, Resource, Spawner, Stdio, Wiring};
use services::definition::{self, Kind, Program, Signal};
use services::time::Duration;

use super::errands::Order;
use super::passed::{self, Passed};
use crate::arguments::MACHINE;
use crate::errand;
use crate::log::protocol::{CONTROL_FD, SYSLOG_FD};
use crate::paths::{Paths, RUNTIME_DIR_VARIABLE, SERVICE_PATH_VARIABLE};

/// The program itself, whatever has become of its file.
pub(super) const OWN_PROGRAM: &str = "/proc/self/exe";
/// Where a service's programs are looked for by itself; its own first word is a path anyway.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// Parents of the directories a service asks for.
const RUNTIME_PARENT: &str = "/run";
const STATE_PARENT: &str = "/var/lib";
const DIRECTORY_MODE: u32 = 0o755;
/// Nice of what has time.
const LAST_IN_LINE: i8 = 19;
/// Under which number the loader finds its memfd.
const RESULT_FD: i32 = 3;

/// What a service gets beside what its file says.
pub(super) struct Surroundings<'a> {
    /// The cgroup to be born in.
    pub(super) cgroup: Option<BorrowedFd<'a>>,
    /// Where its output goes.
    pub(super) output: Option<BorrowedFd<'a>>,
    /// Where it says what it has to say, if it is of the kind that does.
    pub(super) notify_socket: Option<&'a str>,
    /// How often it must say that it is alive.
    pub(super) watchdog: Option<Duration>,
    /// Descriptors that it finds from 3 on.
    pub(super) passed: &'a [Passed<'a>],
    /// Where it writes the line that it is ready, and at which number.
    pub(super) ready_line: Option<(BorrowedFd<'a>, i32)>,
    /// Where sharkctl finds us, if that is not the usual place.
    pub(super) runtime_dir: Option<&'a Path>,
    /// What the starter is to do, packed; `None`: the program is executed right away.
    pub(super) order: Option<&'a [u8]>,
    /// Where the starter leaves why it fails; `None`: in the log.
    pub(super) words: Option<BorrowedFd<'a>>,
}

/// Starts `command` as the service's file says.
pub(super) fn start(
    spawner: &mut Spawner,
    program: &Program,
    command: &[String],
    surroundings: &Surroundings<'_>,
) -> Result<Child, String> {
    let mut plan = service_plan(program, command, surroundings).map_err(|e| e.to_string())?;
    let tty = match &program.tty {
        Some(path) => Some(c_path(path)?),
        None => None,
    };
    let stdio = match &tty {
        Some(path) => Stdio::Terminal(path),
        None => Stdio::Each {
            stdin: None,
            stdout: surroundings.output,
            stderr: surroundings.output,
        },
    };
    let mut extra = passed::places(surroundings.passed);
    if let Some((line, number)) = surroundings.ready_line {
        if extra.iter().any(|(_, taken)| *taken == number) {
            return Err(format!(
                "ready.fd: descriptor {number} is one that is passed to the service; choose one \
                 from {} on",
                passed::FIRST.saturating_add(i32::try_from(extra.len()).unwrap_or(i32::MAX))
            ));
        }
        extra.push((line, number));
    }
    let order = match surroundings.order {
        Some(order) => Some(kernel::memfd::sealed("order", order).map_err(|e| e.to_string())?),
        None => None,
    };
    if let Some(order) = &order {
        let number = extra.iter().map(|(_, number)| number + 1).max();
        let number = number.unwrap_or(passed::FIRST);
        extra.push((order.as_fd(), number));
        let words = surroundings.words.map(|fd| (fd, number.saturating_add(1)));
        extra.extend(words);
        let words = words.map(|(_, number)| number);
        start_by_starter(&mut plan, number, words).map_err(|e| e.to_string())?;
    }
    let wiring = Wiring {
        stdio,
        extra: &extra,
        cgroup: surroundings.cgroup,
    };
    spawner
        .spawn(&plan, &wiring)
        .map_err(|error| error.to_string())
}

/// Has the starter begin, with its order in descriptor `number`: as root, since it reads what the
/// account may not.
fn start_by_starter(plan: &mut Plan, number: i32, words: Option<i32>) -> kernel::Result<()> {
    let numbers = [Some(number), words].into_iter().flatten();
    let numbers: Vec<String> = numbers.map(|it| it.to_string()).collect();
    let arguments = std::iter::once("start").chain(numbers.iter().map(String::as_str));
    let starter = Plan::new(&program_and(&arguments.collect::<Vec<_>>()))?;
    (plan.program, plan.arguments) = (starter.program, starter.arguments);
    plan.ids = None;
    // The program's own may be a directory that the starter puts in place.
    plan.set_working_dir("/")
}

fn c_path(path: &Path) -> Result<std::ffi::CString, String> {
    std::ffi::CString::new(path.as_os_str().as_encoded_bytes())
        .map_err(|_| format!("{}: holds a NUL byte", path.display()))
}

fn service_plan(
    program: &Program,
    command: &[String],
    surroundings: &Surroundings<'_>,
) -> kernel::Result<Plan> {
    let mut plan = Plan::new(command)?;
    plan.set_env("PATH", PATH)?;
    if let Some(account) = &program.account {
        plan.set_env("USER", &account.user)?;
        plan.set_env("LOGNAME", &account.user)?;
    }
    if program.tty.is_some() {
        plan.set_env("TERM", "linux")?;
    }
    if let Some(path) = surroundings.runtime_dir {
        plan.set_env(RUNTIME_DIR_VARIABLE, &path.display().to_string())?;
    }
    for (name, value) in &program.environment {
        plan.set_env(name, value)?;
    }
    // After the file's own: a service must not be able to lose its way to us by mistake.
    if let Some(path) = surroundings.notify_socket {
        plan.set_env("NOTIFY_SOCKET", path)?;
    }
    if let Some(timeout) = surroundings.watchdog {
        plan.set_env("WATCHDOG_USEC", &timeout.as_micros().to_string())?;
        plan.set_env_own_pid("WATCHDOG_PID")?;
    }
    passed::tell(&mut plan, surroundings.passed)?;
    plan.set_working_dir(&program.working_dir.display().to_string())?;
    plan.umask = Some(program.umask);
    plan.nice = program.nice;
    plan.oom_score_adj = Some(program.oom_score_adj);
    plan.limits = limits(&program.limits);
    let ids = program.account.as_ref().and_then(|it| it.ids.as_ref());
    plan.ids = ids.map(|ids| Ids {
        uid: ids.uid,
        gid: ids.gid,
        groups: ids.groups.clone(),
    });
    let (uid, gid) = ids.map_or((0, 0), |ids| (ids.uid, ids.gid));
    for name in &program.runtime_dirs {
        add_directories(&mut plan, RUNTIME_PARENT, name, uid, gid)?;
    }
    for name in &program.state_dirs {
        add_directories(&mut plan, STATE_PARENT, name, uid, gid)?;
    }
    Ok(plan)
}

/// Adds `parent/name` and, for a name with slashes, what is between.
fn add_directories(
    plan: &mut Plan,
    parent: &str,
    name: &str,
    uid: u32,
    gid: u32,
) -> kernel::Result<()> {
    let mut path = parent.to_owned();
    for part in name.split('/').filter(|part| !part.is_empty()) {
        path = format!("{path}/{part}");
        plan.add_directory(&path, DIRECTORY_MODE, uid, gid)?;
    }
    Ok(())
}

/// The directory below /run that a service calls `name`.
pub(super) fn runtime_dir(name: &str) -> PathBuf {
    Path::new(RUNTIME_PARENT).join(name)
}

fn limits(wanted: &[definition::ResourceLimit]) -> Vec<Limit> {
    wanted
        .iter()
        .map(|limit| Limit {
            resource: match limit.resource {
                definition::Resource::Core => Resource::Core,
                definition::Resource::Memlock => Resource::Memlock,
                definition::Resource::Nofile => Resource::Nofile,
                definition::Resource::Nproc => Resource::Nproc,
                definition::Resource::Stack => Resource::Stack,
            },
            value: limit.limit,
        })
        .collect()
}

/// Whether a service of this kind is told where to say something of itself.
pub(super) fn is_heard(kind: &Kind) -> bool {
    match kind {
        Kind::Notify(_) => true,
        Kind::Simple(program) | Kind::Oneshot(program) | Kind::Forking(program) => {
            program.watchdog.timeout.is_some() || program.fd_store_max > 0
        }
        Kind::Target => false,
    }
}

/// The kernel's number for a signal of a service file.
pub(super) const fn signal_number(signal: Signal) -> Number {
    match signal {
        Signal::Hup => Number::HUP,
        Signal::Int => Number::INT,
        Signal::Quit => Number::QUIT,
        Signal::Usr1 => Number::USR1,
        Signal::Usr2 => Number::USR2,
        Signal::Term => Number::TERM,
        Signal::Winch => Number::WINCH,
        Signal::Kill => Number::KILL,
        Signal::Abrt => Number::ABRT,
    }
}

/// Starts the loader for the directories `path`, with a further instance of a template if one is
/// named; its result comes in the file.
pub(super) fn start_loader(
    spawner: &mut Spawner,
    path: &str,
    (masks, instance): (&str, &str),
    paths: &Paths,
    output: Option<BorrowedFd<'_>>,
) -> Result<(Child, OwnedFd), String> {
    let result = kernel::memfd::create("graph").map_err(|error| error.to_string())?;
    let prepared = own_plan(&["load"], paths).and_then(|mut plan| {
        plan.set_env(SERVICE_PATH_VARIABLE, path)?;
        plan.set_env(crate::load::MASK_VARIABLE, masks)?;
        plan.set_env(crate::load::INSTANCE_VARIABLE, instance)?;
        // It may grow with the files it reads; the machine can do without it.
        plan.oom_score_adj = Some(0);
        Ok(plan)
    });
    let plan = prepared.map_err(|error| error.to_string())?;
    let extra = [(result.as_fd(), RESULT_FD)];
    let child = own_child(spawner, &plan, &extra, output)?;
    Ok((child, result))
}

/// Starts the logger with the socket of syslog(3); pipes go to it through the other socket.
pub(super) fn start_logger(
    spawner: &mut Spawner,
    paths: &Paths,
    machine: bool,
    (syslog, output): (Option<BorrowedFd<'_>>, Option<BorrowedFd<'_>>),
) -> Result<(Child, OwnedFd), String> {
    let (near, far) = kernel::unix::seqpacket_pair().map_err(|error| error.to_string())?;
    let words: &[&str] = match machine {
        true => &["log", MACHINE],
        false => &["log"],
    };
    let plan = own_plan(words, paths).map_err(|error| error.to_string())?;
    let mut extra = vec![(far.as_fd(), CONTROL_FD)];
    extra.extend(syslog.map(|socket| (socket, SYSLOG_FD)));
    let child = own_child(spawner, &plan, &extra, output)?;
    Ok((child, near))
}

/// Starts an errand; its answer comes in the file.
pub(super) fn start_errand(
    spawner: &mut Spawner,
    order: &Order<'_>,
    paths: &Paths,
    output: Option<BorrowedFd<'_>>,
) -> Result<(Child, OwnedFd), String> {
    let text = |error: kernel::Error| error.to_string();
    let mut plan = own_plan(order.words, paths).map_err(text)?;
    if order.background {
        plan.nice = Some(LAST_IN_LINE);
    }
    start_with_answer(spawner, plan, order.input, output)
}

/// Starts a part of the last stage that PID 1 does not do itself, because it may never end; its
/// answer, if it gives one, comes in the file.
pub(crate) fn start_part(words: &[&str], input: Option<&[u8]>) -> Result<(Child, OwnedFd), String> {
    let text = |error: kernel::Error| error.to_string();
    let plan = Plan::new(&program_and(words)).map_err(text)?;
    start_with_answer(&mut Spawner::new().map_err(text)?, plan, input, None)
}

fn start_with_answer(
    spawner: &mut Spawner,
    mut plan: Plan,
    input: Option<&[u8]>,
    output: Option<BorrowedFd<'_>>,
) -> Result<(Child, OwnedFd), String> {
    let text = |error: kernel::Error| error.to_string();
    let answer = kernel::memfd::create("answer").map_err(text)?;
    plan.set_env(errand::VARIABLE, "1").map_err(text)?;
    let input = match input {
        Some(bytes) => Some(kernel::memfd::sealed("input", bytes).map_err(text)?),
        None => None,
    };
    let mut extra = vec![(answer.as_fd(), errand::ANSWER_FD)];
    extra.extend(input.as_ref().map(|it| (it.as_fd(), errand::INPUT_FD)));
    let child = own_child(spawner, &plan, &extra, output)?;
    Ok((child, answer))
}

fn program_and<'a>(words: &[&'a str]) -> Vec<&'a str> {
    let program = std::iter::once(OWN_PROGRAM);
    program.chain(words.iter().copied()).collect()
}

fn own_plan(words: &[&str], paths: &Paths) -> kernel::Result<Plan> {
    let mut plan = Plan::new(&program_and(words))?;
    plan.set_env(
        RUNTIME_DIR_VARIABLE,
        &paths.runtime_dir.display().to_string(),
    )?;
    Ok(plan)
}

fn own_child(
    spawner: &mut Spawner,
    plan: &Plan,
    extra: &[(BorrowedFd<'_>, i32)],
    output: Option<BorrowedFd<'_>>,
) -> Result<Child, String> {
    let wiring = Wiring {
        stdio: Stdio::Each {
            stdin: None,
            stdout: output,
            stderr: output,
        },
        extra,
        // PID 1's own: never a service's, whose memory it would use up.
        cgroup: None,
    };
    spawner
        .spawn(plan, &wiring)
        .map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use services::definition::{Account, ResourceLimit};

    fn program() -> Program {
        Program {
            exec: vec!["/bin/x".to_owned()],
            pid_file: None,
            reload: None,
            ready: None,
            begin: services::begin::Begin::default(),
            health: None,
            watchdog: definition::Watchdog::default(),
            fd_store_max: 0,
            log: services::log::limit::OwnLimit::default(),
            account: None,
            environment: vec![("A".to_owned(), "1".to_owned())],
            working_dir: "/srv".into(),
            umask: 0o027,
            nice: Some(5),
            oom_score_adj: 0,
            runtime_dirs: vec!["x/y".to_owned()],
            state_dirs: vec!["x".to_owned()],
            tty: None,
            cgroup: definition::CgroupLimits::default(),
            limits: Vec::new(),
        }
    }

    fn plan(program: &Program) -> Plan {
        let surroundings = Surroundings {
            cgroup: None,
            output: None,
            notify_socket: Some("/run/n"),
            watchdog: Some(Duration::from_secs(2)),
            passed: &[],
            ready_line: None,
            runtime_dir: None,
            order: None,
            words: None,
        };
        service_plan(program, &program.exec, &surroundings).unwrap()
    }

    fn environment(plan: &Plan) -> Vec<&str> {
        plan.environment
            .iter()
            .map(|it| it.to_str().unwrap())
            .collect()
    }

    #[test]
    fn a_service_gets_what_its_file_says_and_little_else() {
        let plan = plan(&program());
        assert_eq!(
            environment(&plan),
            [
                &format!("PATH={PATH}"),
                "A=1",
                "NOTIFY_SOCKET=/run/n",
                "WATCHDOG_USEC=2000000"
            ]
        );
        assert_eq!(plan.own_pid, [c"WATCHDOG_PID".to_owned()]);
        assert_eq!((plan.umask, plan.nice), (Some(0o027), Some(5)));
        assert_eq!(plan.oom_score_adj, Some(0), "PID 1's own is not inherited");
        let directories: Vec<&str> = plan
            .directories
            .iter()
            .map(|it| it.path.to_str().unwrap())
            .collect();
        assert_eq!(directories, ["/run/x", "/run/x/y", "/var/lib/x"]);
    }

    #[test]
    fn an_account_owns_its_directories() {
        let mut program = program();
        program.account = Some(Account {
            user: "www".to_owned(),
            group: None,
            ids: Some(definition::Ids {
                uid: 33,
                gid: 34,
                groups: vec![7],
            }),
        });
        let plan = plan(&program);
        assert!(
            plan.directories
                .iter()
                .all(|it| (it.uid, it.gid) == (33, 34))
        );
        assert!(environment(&plan).contains(&"USER=www"));
        assert_eq!(plan.ids.unwrap().groups, [7]);
    }

    #[test]
    fn only_limits_that_are_named_are_set() {
        assert_eq!(super::limits(&[]), []);
        let own = ResourceLimit {
            resource: definition::Resource::Nofile,
            limit: Some(7),
        };
        let expect = Limit {
            resource: Resource::Nofile,
            value: Some(7),
        };
        assert_eq!(super::limits(&[own]), [expect]);
    }
}
