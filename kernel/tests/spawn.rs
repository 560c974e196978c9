//! Spawning real programs on the machine at hand. What needs root or a feature says so and passes
//! without it.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs)]

use std::fs;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::time::{Duration, Instant};

use kernel::cgroup::{self, Cgroup};
use kernel::pidfd::{self, Sent};
use kernel::pipe;
use kernel::reap::{self, End};
use kernel::signals::Signal;
use kernel::spawn::{
    Child, Ids, Limit, MAX_EXTRA_FDS, Plan, Resource, SpawnError, Spawner, Stdio, Step, Wiring,
};
use kernel::{Errno, memfd};

fn shell(script: &str) -> Plan {
    let mut plan = Plan::new(&["/bin/sh", "-c", script]).unwrap();
    plan.set_env("PATH", "/usr/bin:/bin").unwrap();
    plan
}

fn start(plan: &Plan, wiring: &Wiring<'_>) -> Result<Child, SpawnError> {
    Spawner::new().unwrap().spawn(plan, wiring)
}

/// Runs a plan to its end: how it ended, and what it printed on stdout and stderr.
fn run(plan: &Plan) -> (End, String) {
    let (reader, writer) = pipe::pair().unwrap();
    let wiring = Wiring {
        stdio: Stdio::logged(writer.as_fd()),
        ..Wiring::NULL
    };
    let child = start(plan, &wiring).unwrap();
    drop(writer);
    (reap::wait(child.pid).unwrap(), all(reader))
}

fn all(reader: OwnedFd) -> String {
    std::io::read_to_string(fs::File::from(reader)).unwrap()
}

fn root() -> bool {
    let root = kernel::system::uid() == 0;
    if !root {
        println!("SKIPPED: needs root");
    }
    root
}

#[test]
fn runs_a_program_and_tells_how_it_ended() {
    let (end, text) = run(&shell("echo out; echo err >&2; exit 7"));
    assert_eq!((end, text.as_str()), (End::Exited(7), "out\nerr\n"));
    let (end, _) = run(&shell("kill -KILL $$"));
    let killed = End::Killed {
        signal: 9,
        core_dumped: false,
    };
    assert_eq!(end, killed);
}

#[test]
fn the_environment_and_arguments_are_the_plans_alone() {
    let mut plan = Plan::new(&["/usr/bin/env"]).unwrap();
    plan.set_env("ONLY", "this").unwrap();
    assert_eq!(run(&plan).1, "ONLY=this\n");
    let plan = Plan::new(&["/bin/sh", "-c", "echo \"$0|$1|$#\"", "zero", ""]).unwrap();
    assert_eq!(run(&plan).1, "zero||1\n");
    let mut plan = shell("echo $$ $LISTEN_PID $WATCHDOG_PID");
    plan.set_env("LISTEN_PID", "1").unwrap();
    plan.set_env_own_pid("LISTEN_PID").unwrap();
    plan.set_env_own_pid("WATCHDOG_PID").unwrap();
    let (_, text) = run(&plan);
    let numbers: Vec<&str> = text.split_whitespace().collect();
    let [own, rest @ ..] = numbers.as_slice() else {
        panic!("{text:?}");
    };
    assert_eq!(rest, [*own; 2]);
}

fn check_failure(plan: &Plan, step: Step, errno: Errno, text: &str) {
    let error = start(plan, &Wiring::NULL).unwrap_err();
    assert_eq!((error.step, error.errno), (step, errno), "{error}");
    assert_eq!(error.to_string(), text);
}

#[test]
fn a_failure_names_its_step() {
    let plan = Plan::new(&["/nonexistent/program"]).unwrap();
    check_failure(
        &plan,
        Step::Execute,
        Errno::NOENT,
        "execute /nonexistent/program: No such file or directory (ENOENT)",
    );
    let plan = Plan::new(&["/etc/passwd"]).unwrap();
    check_failure(
        &plan,
        Step::Execute,
        Errno::ACCESS,
        "execute /etc/passwd: Permission denied (EACCES)",
    );
    let mut plan = shell("true");
    plan.set_working_dir("/nonexistent").unwrap();
    check_failure(
        &plan,
        Step::WorkingDir,
        Errno::NOENT,
        "change to directory /nonexistent: No such file or directory (ENOENT)",
    );
    let mut plan = shell("true");
    plan.oom_score_adj = Some(1001);
    check_failure(
        &plan,
        Step::OomScoreAdj,
        Errno::INVAL,
        "set oom_score_adj 1001: Invalid argument (EINVAL)",
    );
    let mut plan = shell("true");
    plan.add_directory("/nonexistent/deep", 0o755, 0, 0)
        .unwrap();
    check_failure(
        &plan,
        Step::Directory,
        Errno::NOENT,
        "make directory /nonexistent/deep: No such file or directory (ENOENT)",
    );
    let wiring = Wiring {
        stdio: Stdio::Terminal(c"/dev/null"),
        ..Wiring::NULL
    };
    let error = start(&shell("true"), &wiring).unwrap_err();
    assert_eq!((error.step, error.errno), (Step::Terminal, Errno::NOTTY));
}

#[test]
fn bad_wirings_are_refused() {
    let file = memfd::create("x").unwrap();
    let check = |extra: &[_]| {
        let wiring = Wiring {
            extra,
            ..Wiring::NULL
        };
        let error = start(&shell("true"), &wiring).unwrap_err();
        assert_eq!((error.step, error.errno), (Step::Descriptor, Errno::INVAL));
    };
    check(&[(file.as_fd(), 2)]);
    check(&[(file.as_fd(), 3), (file.as_fd(), 3)]);
    let many: Vec<_> = (3..)
        .take(MAX_EXTRA_FDS + 1)
        .map(|n| (file.as_fd(), n))
        .collect();
    check(&many);
}

#[test]
fn surroundings_are_as_planned() {
    let dir = tempfile::tempdir().unwrap();
    let mut plan = shell(
        "pwd; umask; ulimit -n; ulimit -c; ulimit -s; nice; cat /proc/$$/oom_score_adj /proc/$$/limits",
    );
    plan.set_working_dir(dir.path().to_str().unwrap()).unwrap();
    plan.umask = Some(0o027);
    plan.nice = Some(5);
    plan.oom_score_adj = Some(321);
    let limit = |resource, value| Limit { resource, value };
    plan.limits = vec![
        limit(Resource::Nofile, Some(77)),
        limit(Resource::Core, Some(0)),
        limit(Resource::Stack, Some(1 << 20)),
        limit(Resource::Memlock, Some(8192)),
        limit(Resource::Nproc, Some(999)),
    ];
    let own = fs::read_to_string("/proc/self/oom_score_adj").unwrap();
    let (end, text) = run(&plan);
    assert_eq!(end, End::Exited(0));
    let lines: Vec<_> = text.lines().collect();
    let expect = [
        dir.path().to_str().unwrap(),
        "0027",
        "77",
        "0",
        "1024",
        "5",
        "321",
    ];
    assert_eq!(&lines[..7], expect);
    for (name, value) in [
        ("Max open files", "77"),
        ("Max locked memory", "8192"),
        ("Max processes", "999"),
        ("Max stack size", "1048576"),
    ] {
        let line = lines.iter().find(|line| line.starts_with(name)).unwrap();
        let values: Vec<_> = line[name.len()..].split_whitespace().take(2).collect();
        assert_eq!(values, [value, value], "{line}");
    }
    // The child shared our memory, and its bias must not have become ours.
    let after = fs::read_to_string("/proc/self/oom_score_adj").unwrap();
    assert_eq!(own, after);
}

#[test]
fn the_user_is_changed_and_directories_are_made_first() {
    if !root() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let made = dir.path().join("run");
    let there = dir.path().join("state");
    fs::create_dir(&there).unwrap();
    let mut plan = shell("id -u; id -g; id -G; touch \"$0/file\" && echo written");
    plan.arguments
        .push(std::ffi::CString::new(made.to_str().unwrap()).unwrap());
    plan.ids = Some(Ids {
        uid: 65534,
        gid: 65533,
        groups: vec![65532, 65533],
    });
    for path in [&made, &there] {
        let path = path.to_str().unwrap();
        plan.add_directory(path, 0o750, 65534, 65533).unwrap();
    }
    let (end, text) = run(&plan);
    assert_eq!(end, End::Exited(0), "{text}");
    assert_eq!(text, "65534\n65533\n65533 65532\nwritten\n");
    for path in [&made, &there] {
        let stat = fs::metadata(path).unwrap();
        assert_eq!((stat.uid(), stat.gid()), (65534, 65533));
        assert_eq!(stat.mode() & 0o7777, 0o750);
    }
    // The change of user made the shared memory undumpable; it must be as before.
    assert_eq!(
        rustix::process::dumpable_behavior().unwrap(),
        rustix::process::DumpableBehavior::Dumpable
    );
    // A link in the place of a directory is not followed.
    fs::remove_file(made.join("file")).unwrap();
    fs::remove_dir(&made).unwrap();
    std::os::unix::fs::symlink("/etc", &made).unwrap();
    let error = start(&plan, &Wiring::NULL).unwrap_err();
    assert_eq!(error.step, Step::Directory);
    assert!([Errno::NOTDIR, Errno::LOOP].contains(&error.errno));
    assert_eq!(fs::metadata("/etc").unwrap().uid(), 0);
}

#[test]
fn no_descriptor_leaks_and_extra_ones_are_in_their_places() {
    // One that is not CLOEXEC, as a careless library would leave it.
    let leaky = fs::File::open("/etc/passwd").unwrap();
    rustix::io::fcntl_setfd(&leaky, rustix::io::FdFlags::empty()).unwrap();
    let (reader, writer) = pipe::pair().unwrap();
    let one = memfd::sealed("one", b"1").unwrap();
    let two = memfd::sealed("two", b"2").unwrap();
    // Places that collide with the parent's own numbers.
    let numbers = [
        std::os::fd::AsRawFd::as_raw_fd(&two),
        std::os::fd::AsRawFd::as_raw_fd(&one),
    ];
    let extra = [(one.as_fd(), numbers[0]), (two.as_fd(), numbers[1])];
    let wiring = Wiring {
        stdio: Stdio::logged(writer.as_fd()),
        extra: &extra,
        cgroup: None,
    };
    let plan = Plan::new(&["/bin/sleep", "600"]).unwrap();
    let child = start(&plan, &wiring).unwrap();
    drop(writer);
    // Looked at from outside: a shell or ls would open some of its own.
    let fds = format!("/proc/{}/fd", child.pid);
    let list = || {
        let names = fs::read_dir(&fds).unwrap();
        let number = |name: std::ffi::OsString| name.to_str().unwrap().parse::<i32>().unwrap();
        let mut found: Vec<_> = names.map(|e| number(e.unwrap().file_name())).collect();
        found.sort_unstable();
        found
    };
    let mut places = [0, 1, 2, numbers[0], numbers[1]];
    places.sort_unstable();
    // The kernel lets the parent go when the child has left its memory, and closes what is
    // CLOEXEC right after that.
    let deadline = Instant::now() + Duration::from_secs(20);
    while list() != places {
        assert!(Instant::now() < deadline, "{:?}", list());
        std::thread::sleep(Duration::from_millis(1));
    }
    let content = |number: i32| fs::read_to_string(format!("{fds}/{number}")).unwrap();
    assert_eq!(content(numbers[0]), "1");
    assert_eq!(content(numbers[1]), "2");
    let input = fs::read_link(format!("{fds}/0")).unwrap();
    assert_eq!(input.to_str(), Some("/dev/null"));
    pidfd::send_signal(&child.pidfd, Signal::KILL).unwrap();
    reap::wait(child.pid).unwrap();
    assert_eq!(all(reader), "");
}

#[test]
fn stdin_can_be_given() {
    let (input, feed) = pipe::pair().unwrap();
    let (reader, writer) = pipe::pair().unwrap();
    let wiring = Wiring {
        stdio: Stdio::Each {
            stdin: Some(input.as_fd()),
            stdout: Some(writer.as_fd()),
            stderr: None,
        },
        ..Wiring::NULL
    };
    let child = start(&shell("cat; echo lost >&2"), &wiring).unwrap();
    drop((writer, input));
    rustix::io::write(&feed, b"fed").unwrap();
    drop(feed);
    assert_eq!(reap::wait(child.pid).unwrap(), End::Exited(0));
    assert_eq!(all(reader), "fed");
}

#[test]
fn a_terminal_becomes_the_controlling_one() {
    use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
    let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
    let master = openpt(flags).unwrap();
    grantpt(&master).unwrap();
    unlockpt(&master).unwrap();
    let name = ptsname(&master, Vec::new()).unwrap();
    let wiring = Wiring {
        stdio: Stdio::Terminal(&name),
        ..Wiring::NULL
    };
    // /dev/tty is the controlling terminal, whatever the descriptors are.
    let child = start(
        &shell("echo mine >/dev/tty; test -t 0 && test -t 2"),
        &wiring,
    )
    .unwrap();
    let mut buffer = [0; 16];
    let count = rustix::io::read(&master, &mut buffer).unwrap();
    assert_eq!(&buffer[..count], b"mine\r\n");
    assert_eq!(reap::wait(child.pid).unwrap(), End::Exited(0));
}

#[test]
fn signals_are_clean_and_it_leads_a_session() {
    // This thread blocks a signal, and Rust's runtime ignores SIGPIPE: neither may be inherited.
    kernel::signals::block(&[Signal::USR1, Signal::TERM]).unwrap();
    // Not by a shell, which plays with its own mask.
    let plan = Plan::new(&["/bin/cat", "/proc/self/status", "/proc/self/stat"]).unwrap();
    let (end, text) = run(&plan);
    assert_eq!(end, End::Exited(0));
    for name in ["SigBlk:", "SigIgn:"] {
        let line = text.lines().find(|line| line.starts_with(name)).unwrap();
        assert!(line.ends_with("0000000000000000"), "{line}");
    }
    let numbers: Vec<_> = text.lines().last().unwrap().split(' ').collect();
    // Process, process group, session.
    assert!(numbers[0] == numbers[4] && numbers[4] == numbers[5]);
    // The parent's mask is what it was.
    let own = fs::read_to_string("/proc/thread-self/status").unwrap();
    let line = own
        .lines()
        .find(|line| line.starts_with("SigBlk:"))
        .unwrap();
    assert!(line.ends_with("0000000000004200"), "{line}");
}

#[test]
fn a_signal_to_the_dead_is_told() {
    let child = start(&shell("exec sleep 60"), &Wiring::NULL).unwrap();
    let sent = pidfd::send_signal(&child.pidfd, Signal::TERM).unwrap();
    assert_eq!(sent, Sent::Delivered);
    let killed = End::Killed {
        signal: 15,
        core_dumped: false,
    };
    assert_eq!(reap::wait(child.pid).unwrap(), killed);
    let sent = pidfd::send_signal(&child.pidfd, Signal::TERM).unwrap();
    assert_eq!(sent, Sent::Gone);
    let errno = reap::wait(child.pid).unwrap_err().errno;
    assert_eq!(errno, Errno::CHILD);
}

/// A cgroup to play in, removed at the end; `None` where none can be had.
struct Playground(Cgroup);

impl Playground {
    fn new(name: &str) -> Option<Self> {
        let hierarchy = cgroup::detect().unwrap();
        let Some(root) = hierarchy.root() else {
            println!("SKIPPED: no cgroup v2 here");
            return None;
        };
        let path = format!("{root}/shark-test-{}-{name}", std::process::id());
        match Cgroup::create(&path) {
            Ok(cgroup) => Some(Self(cgroup)),
            Err(error) => {
                println!("SKIPPED: cannot make a cgroup: {error}");
                None
            }
        }
    }

    fn wait_empty(&self) {
        let deadline = Instant::now() + Duration::from_secs(20);
        while self.0.populated().unwrap() {
            assert!(Instant::now() < deadline, "it never became empty");
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

impl Drop for Playground {
    fn drop(&mut self) {
        let _ = self.0.kill();
        for _ in 0..1000 {
            if cgroup::remove_tree(self.0.path()).is_ok() {
                return;
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        println!("left behind: {}", self.0.path());
    }
}

/// Waits for an event. A signal for another test's thread ends a wait with nothing, as
/// [`kernel::epoll::Poller::wait`] says; that is not what is tested here.
fn wait_for(poller: &kernel::epoll::Poller, events: &mut kernel::epoll::Events) {
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        poller.wait(events, Some(Duration::from_secs(1))).unwrap();
        if !events.is_empty() || Instant::now() >= deadline {
            return;
        }
    }
}

#[test]
fn a_service_is_born_in_its_cgroup_and_killed_with_all_its_children() {
    let Some(ground) = Playground::new("kill") else {
        return;
    };
    let cgroup = &ground.0;
    assert!(!cgroup.populated().unwrap());
    let notify = kernel::inotify::Inotify::new().unwrap();
    let watch = notify
        .watch(&cgroup.events_path(), kernel::inotify::WatchFlags::MODIFY)
        .unwrap();
    let (reader, writer) = pipe::pair().unwrap();
    let wiring = Wiring {
        stdio: Stdio::logged(writer.as_fd()),
        extra: &[],
        cgroup: Some(cgroup.as_fd()),
    };
    // The first thing it does is to ask where it is; then a daemon detaches itself.
    let script = "grep ^0:: /proc/$$/cgroup; (setsid sleep 600 &) ; exec sleep 600";
    let child = start(&shell(script), &wiring).unwrap();
    drop(writer);
    let own = cgroup::of_process(child.pid).unwrap().unwrap();
    assert!(cgroup.path().ends_with(own.as_str()), "{own}");
    let poller = kernel::epoll::Poller::new().unwrap();
    poller
        .add(&notify, 1, kernel::epoll::Readiness::READ)
        .unwrap();
    let mut events = kernel::epoll::Events::new();
    wait_for(&poller, &mut events);
    let mut changes = Vec::new();
    notify.drain(|change| changes.push(change.watch)).unwrap();
    assert!(changes.contains(&Some(watch)));
    assert!(cgroup.populated().unwrap());
    let deadline = Instant::now() + Duration::from_secs(20);
    let mut place = [0; 256];
    let count = rustix::io::read(&reader, &mut place).unwrap();
    assert_eq!(&place[..count], format!("0::{own}\n").as_bytes());
    while cgroup.processes().unwrap().len() < 2 {
        assert!(Instant::now() < deadline, "the daemon never came");
        std::thread::sleep(Duration::from_millis(1));
    }
    assert_eq!(
        cgroup::remove_tree(cgroup.path()).unwrap_err().errno,
        Errno::BUSY
    );
    cgroup.kill().unwrap();
    reap::wait(child.pid).unwrap();
    ground.wait_empty();
    wait_for(&poller, &mut events);
    assert!(!events.is_empty(), "inotify tells populated 0");
}

#[test]
fn nested_cgroups_are_removed_and_limits_without_a_controller_are_told() {
    let Some(ground) = Playground::new("nest") else {
        return;
    };
    let inner = Cgroup::create(&format!("{}/a", ground.0.path())).unwrap();
    let child = Cgroup::create(&format!("{}/b", inner.path())).unwrap();
    drop(child);
    inner.remove().unwrap();
    ground.0.thaw().unwrap();
    // No limit asked for: fine with and without controllers.
    assert_eq!(ground.0.set_limits(&cgroup::Limits::default()), []);
    let limits = cgroup::Limits {
        pids_max: Some(5),
        ..cgroup::Limits::default()
    };
    match ground.0.pids_current().unwrap() {
        Some(count) => {
            assert_eq!(count, 0);
            assert_eq!(ground.0.set_limits(&limits), []);
            assert_eq!(ground.0.read("pids.max").unwrap(), "5\n");
            assert_eq!(ground.0.set_limits(&cgroup::Limits::default()), []);
            assert_eq!(ground.0.read("pids.max").unwrap(), "max\n");
        }
        None => {
            let unset = ground.0.set_limits(&limits);
            let causes: Vec<_> = unset.iter().map(|error| error.errno).collect();
            assert_eq!(causes, [Errno::NOENT]);
        }
    }
    let failed = ground.0.enable(&["no-such-controller"]);
    assert_eq!(failed.len(), 1);
}

#[test]
fn a_cgroup_that_is_none_or_gone_fails_at_clone() {
    let Some(ground) = Playground::new("busy") else {
        return;
    };
    let file = memfd::create("not a cgroup").unwrap();
    let wiring = Wiring {
        cgroup: Some(file.as_fd()),
        ..Wiring::NULL
    };
    let error = start(&shell("true"), &wiring).unwrap_err();
    assert_eq!((error.step, error.errno), (Step::Clone, Errno::BADF));
    let gone = Cgroup::create(&format!("{}/gone", ground.0.path())).unwrap();
    cgroup::remove_tree(gone.path()).unwrap();
    let wiring = Wiring {
        cgroup: Some(gone.as_fd()),
        ..Wiring::NULL
    };
    let error = start(&shell("true"), &wiring).unwrap_err();
    assert_eq!(error.step, Step::Clone);
    assert!([Errno::NODEV, Errno::NOENT].contains(&error.errno));
}
