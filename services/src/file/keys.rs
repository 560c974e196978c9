//! The table of all keys of a service file: name, form, default, the types that may have it, and
//! how it is read. A new key is one line here, one field in `draft`, and its use in `build`; the
//! manual page shark-service(5) repeats the table, and a test compares the two.

use super::before;
use super::draft::Type::{self, Forking, Notify, Oneshot, Simple, Target};
use super::draft::{Draft, FAILURE_ACTIONS, POLICIES, ReadyBy, SCOPES, put};
use super::sockets;
use super::timer;
use super::value::Value;
use crate::cpus::{CPUS, CpuList};
use crate::definition::{Burst, Bytes, FD_STORE_MOST, Probe, Resource};
use crate::graph::Relation;
use crate::log::limit::BURST_MOST;
use crate::time::Duration;

/// One key.
pub(super) struct Key {
    /// With its table: `stop.timeout`.
    pub(super) name: &'static str,
    /// What it takes, as the manual page says it.
    pub(super) form: &'static str,
    /// What counts when it is not written, as the manual page says it.
    pub(super) default: &'static str,
    /// Types of services it has a meaning for.
    pub(super) types: &'static [Type],
    /// Reads the value into the draft.
    pub(super) read: fn(&mut Draft, &mut Value<'_, '_>),
}

impl Key {
    /// Table (empty for the top of the file) and name in it.
    pub(super) fn split(&self) -> (&'static str, &'static str) {
        self.name.split_once('.').unwrap_or(("", self.name))
    }

    /// Whether it is the key `name` of `table`. Asked for every key of every file.
    pub(super) fn is(&self, table: &str, name: &str) -> bool {
        if table.is_empty() {
            return self.name == name && !name.contains('.');
        }
        // Lengths first: they tell nearly all apart without a look at the letters.
        if self.name.len() != table.len() + 1 + name.len() {
            return false;
        }
        let rest = self.name.strip_prefix(table);
        rest.and_then(|rest| rest.strip_prefix('.')) == Some(name)
    }

    /// Whether it lies in `table`.
    pub(super) fn is_in(&self, table: &str) -> bool {
        if self.name.as_bytes().get(table.len()) != Some(&b'.') {
            return false;
        }
        let rest = self.name.strip_prefix(table);
        rest.is_some_and(|rest| rest.starts_with('.'))
    }
}

/// Every type.
const ALL: &[Type] = &[Simple, Notify, Oneshot, Forking, Target];
/// Those that run a program.
const PROGRAM: &[Type] = &[Simple, Notify, Oneshot, Forking];
/// Those whose program stays.
const STAYING: &[Type] = &[Simple, Notify, Forking];
/// Those whose readiness is found out from outside.
const FOUND: &[Type] = &[Simple];
/// Those whose command is not their main process.
const FORKING: &[Type] = &[Forking];

/// Those that run nothing.
const TARGET: &[Type] = &[Target];

/// Shortest time-out and pause: a shorter one would be a loop.
const SHORTEST: Duration = Duration::from_millis(1);
/// Shortest pause between probes: each starts a process.
const SHORTEST_INTERVAL: Duration = Duration::from_millis(100);
/// The same while a service starts, which takes an end.
const SHORTEST_READY_INTERVAL: Duration = Duration::from_millis(10);
/// Shortest time from one start to the next.
const SHORTEST_PERIOD: Duration = Duration::from_secs(1);
/// Shortest deadline of a gate.
const SHORTEST_DEADLINE: Duration = Duration::from_secs(1);
/// Largest `cgroup.cpu-max`: a thousand CPUs.
const MOST_PERCENT: u32 = 100_000;
/// Directories below /run that are not a service's.
const RESERVED_RUNTIME: &[&str] = &["shark"];
/// Names of directories below /var/lib that are not a service's to have.
const RESERVED_STATE: &[&str] = &["shark"];

const fn key(
    name: &'static str,
    form: &'static str,
    default: &'static str,
    types: &'static [Type],
    read: fn(&mut Draft, &mut Value<'_, '_>),
) -> Key {
    Key {
        name,
        form,
        default,
        types,
        read,
    }
}

/// All keys, in the order of the manual page.
#[rustfmt::skip]
pub(super) const KEYS: &[Key] = &[
    key("description", "string", "empty", ALL, |d, v| put(&mut d.description, v.text(LINE, one_line))),
    key("type", "type", "simple", ALL, |d, v| put(&mut d.kind, v.choice(&Type::NAMES))),
    key("exec", "command", "required", PROGRAM, |d, v| put(&mut d.exec, v.command())),
    key("pid-file", "path", "none", FORKING, |d, v| put(&mut d.pid_file, v.path())),
    key("reload", "signal or command", "none", STAYING, |d, v| put(&mut d.reload, v.reload())),
    key("start-timeout", "duration", "90s", PROGRAM, |d, v| put(&mut d.start_timeout, v.duration(SHORTEST))),
    key("requires", "list of services", "none", ALL, |d, v| d.relate(Relation::Requires, v)),
    key("wants", "list of services", "none", ALL, |d, v| d.relate(Relation::Wants, v)),
    key("after", "list of services", "none", ALL, |d, v| d.relate(Relation::After, v)),
    key("before", "list of services", "none", ALL, |d, v| d.relate(Relation::Before, v)),
    key("conflicts", "list of services", "none", ALL, |d, v| d.relate(Relation::Conflicts, v)),
    key("wanted-by", "list of services", "default", ALL, |d, v| d.relate(Relation::WantedBy, v)),
    key("part-of", "list of services", "none", ALL, |d, v| d.relate(Relation::PartOf, v)),
    key("binds-to", "list of services", "none", ALL, |d, v| d.relate(Relation::BindsTo, v)),
    key("user", "string", "root", PROGRAM, |d, v| put(&mut d.user, v.text("the name of a user", account))),
    key("group", "string", "the user's", PROGRAM, |d, v| put(&mut d.group, v.text("the name of a group", account))),
    key("env", "table of strings", "empty", PROGRAM, |d, v| d.environment.extend(v.variables().into_iter().flatten())),
    key("env-files", "list of paths", "none", PROGRAM, before::env_files),
    key("working-dir", "path", "/", PROGRAM, |d, v| put(&mut d.working_dir, v.path())),
    key("umask", "octal string", "0022", PROGRAM, |d, v| put(&mut d.umask, v.umask())),
    key("nice", "-20 to 19", "that of init", PROGRAM, |d, v| put(&mut d.nice, v.integer(-20, 19))),
    key("oom-score-adj", "-1000 to 1000", "0", PROGRAM, |d, v| put(&mut d.oom_score_adj, v.integer(-1000, 1000))),
    key("runtime-dirs", "list of names", "none", PROGRAM, |d, v| put(&mut d.runtime_dirs, v.directories(RESERVED_RUNTIME))),
    key("state-dirs", "list of names", "none", PROGRAM, |d, v| put(&mut d.state_dirs, v.directories(&[]))),
    key("state.versioned", "list of names", "none", PROGRAM, |d, v| put(&mut d.begin.versioned, v.directories(RESERVED_STATE))),
    key("tty", "path", "none", PROGRAM, |d, v| put(&mut d.tty, v.path())),
    key("masked", "boolean", "false", ALL, |d, v| put(&mut d.masked, v.boolean())),
    key("lazy", "boolean", "false", PROGRAM, |d, v| put(&mut d.lazy, v.boolean())),
    key("sockets", "table of tables", "none", PROGRAM, |d, v| sockets::read(&mut d.sockets, v)),
    key("restart.policy", "policy", "on-failure", PROGRAM, |d, v| put(&mut d.policy, v.choice(&POLICIES))),
    key("restart.delay", "duration", "200ms", PROGRAM, |d, v| put(&mut d.delay, v.duration(Duration::ZERO))),
    key("restart.max-delay", "duration", "30s", PROGRAM, |d, v| put(&mut d.max_delay, v.duration(SHORTEST))),
    key("restart.jitter", "percentage", "0%", PROGRAM, |d, v| put(&mut d.jitter, v.percent_of(0, 100))),
    key("restart.reset-after", "duration", "10s", STAYING, |d, v| put(&mut d.reset_after, v.duration(Duration::ZERO))),
    key("restart.max-failures", "1 to 1000000", "no limit", PROGRAM, |d, v| put(&mut d.max_failures, v.integer(1, 1_000_000))),
    key("restart.burst", "1 to 100", "no limit", PROGRAM, |d, v| put(&mut d.burst, v.integer(1, Burst::MOST))),
    key("restart.burst-within", "duration", "1min", PROGRAM, |d, v| put(&mut d.burst_within, v.duration(SHORTEST))),
    key("restart.success-status", "list of 0 to 255", "0", PROGRAM, |d, v| put(&mut d.success, v.statuses())),
    key("on-failure.start", "list of services", "none", PROGRAM, |d, v| d.relate(Relation::OnFailure, v)),
    key("on-failure.action", "action", "none", PROGRAM, |d, v| put(&mut d.failure_action, v.choice(&FAILURE_ACTIONS))),
    key("stop.signal", "signal", "TERM", PROGRAM, |d, v| put(&mut d.signal, v.signal())),
    key("stop.timeout", "duration", "10s", PROGRAM, |d, v| put(&mut d.stop_timeout, v.duration(Duration::ZERO))),
    key("stop.scope", "scope", "cgroup", STAYING, |d, v| put(&mut d.stop_scope, v.choice(&SCOPES))),
    key("conditions.path-exists", "list of paths", "none", PROGRAM, |d, v| before::conditions(d, "path-exists", v, before::path)),
    key("conditions.path-missing", "list of paths", "none", PROGRAM, |d, v| before::conditions(d, "path-missing", v, before::path)),
    key("conditions.kernel-option", "list of words", "none", PROGRAM, |d, v| before::conditions(d, "kernel-option", v, before::kernel_option)),
    key("conditions.architecture", "list of words", "none", PROGRAM, |d, v| before::conditions(d, "architecture", v, before::architecture)),
    key("conditions.slot", "list of words", "none", PROGRAM, |d, v| before::conditions(d, "slot", v, before::slot)),
    key("conditions.first-boot", "boolean", "either", PROGRAM, before::first_boot),
    key("conditions.virtualization", "list of words", "none", PROGRAM, |d, v| before::conditions(d, "virtualization", v, before::virtualization)),
    key("credentials", "table of tables", "none", PROGRAM, before::credentials),
    key("boot.essential", "boolean", "false", ALL, |d, v| put(&mut d.essential, v.boolean())),
    key("boot.wanted", "boolean", "false", ALL, |d, v| put(&mut d.wanted, v.boolean())),
    key("ready.fd", "3 to 255", "none", FOUND, |d, v| put(&mut d.ready.by, v.integer(3, 255).map(ReadyBy::Line))),
    key("ready.exec", "command", "none", FOUND, |d, v| put(&mut d.ready.by, v.command().map(Probe::Exec).map(ReadyBy::Probe))),
    key("ready.tcp", "address", "none", FOUND, |d, v| put(&mut d.ready.by, v.tcp().map(ReadyBy::Probe))),
    key("ready.unix", "path", "none", FOUND, |d, v| put(&mut d.ready.by, v.unix().map(ReadyBy::Probe))),
    key("ready.http", "URL", "none", FOUND, |d, v| put(&mut d.ready.by, v.http().map(ReadyBy::Probe))),
    key("ready.path", "path", "none", FOUND, |d, v| put(&mut d.ready.by, v.path().map(Probe::Path).map(ReadyBy::Probe))),
    key("ready.interval", "duration", "100ms", FOUND, |d, v| put(&mut d.ready.interval, v.duration(SHORTEST_READY_INTERVAL))),
    key("ready.timeout", "duration", "5s", FOUND, |d, v| put(&mut d.ready.timeout, v.duration(SHORTEST))),
    key("health.exec", "command", "none", STAYING, |d, v| put(&mut d.health.probe, v.command().map(Probe::Exec))),
    key("health.tcp", "address", "none", STAYING, |d, v| put(&mut d.health.probe, v.tcp())),
    key("health.unix", "path", "none", STAYING, |d, v| put(&mut d.health.probe, v.unix())),
    key("health.http", "URL", "none", STAYING, |d, v| put(&mut d.health.probe, v.http())),
    key("health.path", "path", "none", STAYING, |d, v| put(&mut d.health.probe, v.path().map(Probe::Path))),
    key("health.interval", "duration", "10s", STAYING, |d, v| put(&mut d.health.interval, v.duration(SHORTEST_INTERVAL))),
    key("health.timeout", "duration", "5s", STAYING, |d, v| put(&mut d.health.timeout, v.duration(SHORTEST))),
    key("health.failures", "1 to 1000", "3", STAYING, |d, v| put(&mut d.health.failures, v.integer(1, 1000))),
    key("health.delay", "duration", "0s", STAYING, |d, v| put(&mut d.health.delay, v.duration(Duration::ZERO))),
    key("watchdog.timeout", "duration", "none", STAYING, |d, v| put(&mut d.watchdog_timeout, v.duration(SHORTEST))),
    key("watchdog.signal", "signal", "ABRT", STAYING, |d, v| put(&mut d.watchdog_signal, v.signal())),
    key("fd-store.max", "0 to 64", "0", PROGRAM, |d, v| put(&mut d.fd_store_max, v.integer(0, FD_STORE_MOST))),
    key("log.burst", "0 to 1000000", "log.toml's", PROGRAM, |d, v| put(&mut d.log.burst, v.integer(0, BURST_MOST))),
    key("log.burst-within", "duration", "log.toml's", PROGRAM, |d, v| put(&mut d.log.burst_within, v.duration(SHORTEST))),
    key("timer.on-boot", "duration", "none", PROGRAM, |d, v| put(&mut d.timer.on_boot, v.duration(Duration::ZERO))),
    key("timer.every", "duration", "none", PROGRAM, |d, v| put(&mut d.timer.every, v.duration(SHORTEST_PERIOD))),
    key("timer.on-calendar", "list of times", "none", PROGRAM, |d, v| put(&mut d.timer.calendar, timer::calendar(v))),
    key("timer.persistent", "boolean", "false", PROGRAM, |d, v| put(&mut d.timer.persistent, v.boolean())),
    key("timer.random-delay", "duration", "0s", PROGRAM, |d, v| put(&mut d.timer.random_delay, v.duration(SHORTEST_PERIOD))),
    key("gate.deadline", "duration", "5min", TARGET, |d, v| put(&mut d.gate.deadline, v.duration(SHORTEST_DEADLINE))),
    key("gate.soak", "duration", "10s", TARGET, |d, v| put(&mut d.gate.soak, v.duration(Duration::ZERO))),
    key("gate.scrub", "boolean", "false", TARGET, |d, v| put(&mut d.gate.scrub, v.boolean())),
    key("cgroup.memory-min", "bytes", "nothing", PROGRAM, |d, v| put(&mut d.cgroup.memory_min, v.bytes().map(Bytes))),
    key("cgroup.memory-high", "bytes", "no limit", PROGRAM, |d, v| put(&mut d.cgroup.memory_high, v.bytes().map(Bytes))),
    key("cgroup.memory-max", "bytes", "no limit", PROGRAM, |d, v| put(&mut d.cgroup.memory_max, v.bytes().map(Bytes))),
    key("cgroup.pids-max", "1 to 4194304", "no limit", PROGRAM, |d, v| put(&mut d.cgroup.pids_max, v.integer(1, 4_194_304))),
    key("cgroup.cpu-weight", "1 to 10000", "100", PROGRAM, |d, v| put(&mut d.cgroup.cpu_weight, v.integer(1, 10_000))),
    key("cgroup.cpu-max", "percentage", "no limit", PROGRAM, |d, v| put(&mut d.cgroup.cpu_max_percent, v.percent(MOST_PERCENT))),
    key("cgroup.cpus", "list of processors", "all", PROGRAM, |d, v| put(&mut d.cgroup.cpus, v.read(CPUS, CpuList::parse))),
    key("cgroup.delegate", "boolean", "false", PROGRAM, |d, v| d.cgroup.delegate = v.boolean().unwrap_or(d.cgroup.delegate)),
    key("limits.core", "bytes or unlimited", "inherited", PROGRAM, |d, v| d.limit(Resource::Core, v.limit(Value::bytes))),
    key("limits.memlock", "bytes or unlimited", "inherited", PROGRAM, |d, v| d.limit(Resource::Memlock, v.limit(Value::bytes))),
    key("limits.nofile", "count or unlimited", "inherited", PROGRAM, |d, v| d.limit(Resource::Nofile, v.limit(count))),
    key("limits.nproc", "count or unlimited", "inherited", PROGRAM, |d, v| d.limit(Resource::Nproc, v.limit(count))),
    key("limits.stack", "bytes or unlimited", "inherited", PROGRAM, |d, v| d.limit(Resource::Stack, v.limit(Value::bytes))),
];

const LINE: &str = "one line of at most 200 characters";

fn one_line(text: &str) -> Result<(), &'static str> {
    if text.contains(char::is_control) {
        return Err("holds a line break or another control character");
    }
    match text.chars().count() <= 200 {
        true => Ok(()),
        false => Err("is too long"),
    }
}

fn account(text: &str) -> Result<(), &'static str> {
    let bad = |c: char| c == ':' || c.is_whitespace() || c.is_control();
    match text.is_empty() || text.contains(bad) {
        true => Err("is not a name"),
        false => Ok(()),
    }
}

/// A limit that counts things.
fn count(value: &mut Value<'_, '_>) -> Option<u64> {
    value.integer(0, u32::MAX).map(u64::from)
}
