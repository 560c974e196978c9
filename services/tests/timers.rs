//! Services with a timer in virtual time: a small shell that starts, ends and remembers, a clock that
//! is set, and a machine that is switched off.
#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test that cannot go on says so"
)]

use services::calendar::Calendar;
use services::file::{Source, load};
use services::graph::Graph;
use services::id::{RunId, ServiceName};
use services::status::StateName;
use services::supervisor::event::{Action, Command, Event, ExitStatus, Outcome, RequestId};
use services::supervisor::{Supervisor, Why};
use services::time::{Duration, Time};

const HOUR: u64 = 3600;
/// 2026-11-25 00:00:00, a Wednesday.
const MIDNIGHT: i64 = 1_795_564_800;
const JOB: &str = "type = \"oneshot\"\nexec = \"/bin/job\"\n[timer]\n";

fn graph(files: &[(&str, &str)]) -> Graph {
    let source = |(name, text): &(&str, &str)| Source {
        path: format!("/usr/lib/shark/services/{name}.toml"),
        layer: 0,
        text: (*text).to_owned(),
    };
    let sources: Vec<Source> = files.iter().map(source).collect();
    let loaded = load(&sources, None);
    loaded
        .graph
        .unwrap_or_else(|| panic!("{:?}", loaded.diagnostics))
}

/// A machine: what is remembered outlives its boots.
struct Machine {
    core: Supervisor,
    now: Time,
    /// Nanoseconds since 1970 at the zero of the machine's own time.
    zero: i64,
    /// How long a run takes, and how it ends.
    takes: Duration,
    status: u8,
    running: Vec<(Time, RunId)>,
    /// Seconds since 1970 of every start, by the true clock.
    starts: Vec<(String, i64)>,
    kept: Vec<(ServiceName, i64)>,
    answers: Vec<Outcome>,
}

impl Machine {
    fn new(files: &[(&str, &str)], unix: i64) -> Self {
        let mut machine = Self {
            core: Supervisor::new(graph(files)),
            now: Time::default(),
            zero: unix * 1_000_000_000,
            takes: Duration::from_secs(1),
            status: 0,
            running: Vec::new(),
            starts: Vec::new(),
            kept: Vec::new(),
            answers: Vec::new(),
        };
        machine.boot();
        machine
    }

    fn boot(&mut self) {
        self.clock();
        let target = ServiceName::new("default").unwrap();
        self.tell(Event::Boot { target });
    }

    /// Power is cut, and comes back after a while.
    fn power_off(&mut self, files: &[(&str, &str)], seconds: u64) {
        self.zero += i64::try_from(self.now.as_nanos() + seconds * 1_000_000_000).unwrap();
        self.core = Supervisor::new(graph(files));
        self.now = Time::default();
        self.running.clear();
        self.boot();
    }

    fn unix(&self) -> i64 {
        (self.zero + i64::try_from(self.now.as_nanos()).unwrap()).div_euclid(1_000_000_000)
    }

    fn clock(&mut self) {
        let unix_nanos = self.zero + i64::try_from(self.now.as_nanos()).unwrap();
        self.tell(Event::ClockSet { unix_nanos });
    }

    /// Somebody sets the clock.
    fn set_clock(&mut self, by_seconds: i64) {
        self.zero += by_seconds * 1_000_000_000;
        self.clock();
    }

    fn tell(&mut self, event: Event) {
        self.core.handle_event(event, self.now);
        while let Some(action) = self.core.poll_action() {
            match action {
                Action::Spawn { run } => {
                    let name = self.core.name(run.service).unwrap().to_owned();
                    self.starts.push((name, self.unix()));
                    assert!(
                        self.running.iter().all(|(_, it)| it.service != run.service),
                        "a service runs twice"
                    );
                    self.running.push((self.now + self.takes, run));
                    self.core.handle_event(Event::Spawned { run }, self.now);
                }
                Action::Signal { run, .. } | Action::KillAll { run } => {
                    for (at, _) in self.running.iter_mut().filter(|(_, it)| *it == run) {
                        *at = self.now;
                    }
                }
                Action::RememberStart {
                    service,
                    unix_seconds,
                } => {
                    let name = ServiceName::new(self.core.name(service).unwrap()).unwrap();
                    self.kept.retain(|(it, _)| *it != name);
                    self.kept.push((name, unix_seconds));
                }
                Action::RecallStarts => {
                    let starts = Some(self.kept.clone());
                    self.core
                        .handle_event(Event::StartsRecalled { starts }, self.now);
                }
                Action::Complete { outcome, .. } => self.answers.push(outcome),
                Action::Announce { .. }
                | Action::BootSettled { .. }
                | Action::Release { .. }
                | Action::Finish { .. } => {}
                other => panic!("{other:?}"),
            }
        }
    }

    /// Time goes on, from one thing that happens to the next.
    fn go_on(&mut self, seconds: u64) {
        let end = self.now + Duration::from_secs(seconds);
        for _ in 0..100_000 {
            let ends = self.running.iter().map(|(at, _)| *at).min();
            let due = self.core.poll_timeout().map(|(at, _)| at);
            let next = [ends, due].into_iter().flatten().min();
            let Some(next) = next.filter(|at| *at <= end) else {
                self.now = end;
                return;
            };
            self.now = self.now.max(next);
            if ends == Some(next) {
                let at = self.running.iter().position(|(at, _)| *at == next).unwrap();
                let (_, run) = self.running.remove(at);
                let status = ExitStatus::Code(self.status);
                self.tell(Event::Exited { run, status });
                self.tell(Event::Emptied { run });
            } else {
                self.tell(Event::Tick);
            }
        }
        panic!("time does not go on: {:?}", self.core.poll_timeout());
    }

    fn ask(&mut self, command: fn(ServiceName) -> Command, name: &str) {
        let command = command(ServiceName::new(name).unwrap());
        let request = RequestId(self.answers.len() as u64 + 1);
        self.tell(Event::Request { request, command });
    }

    /// Seconds of the starts since the last time this was asked, counted from `MIDNIGHT`.
    fn took(&mut self) -> Vec<i64> {
        let starts = std::mem::take(&mut self.starts).into_iter();
        starts.map(|(_, at)| at - MIDNIGHT).collect()
    }

    fn state(&self, name: &str) -> StateName {
        let id = self.core.lookup(name).unwrap();
        self.core.status(id).unwrap().state
    }

    fn missed(&self, name: &str) -> u32 {
        let id = self.core.lookup(name).unwrap();
        self.core.status(id).unwrap().timer.unwrap().missed
    }
}

fn job(timer: &str) -> String {
    format!("{JOB}{timer}\n")
}

#[test]
fn a_calendar_starts_it_at_each_of_its_points_and_nothing_wakes_in_between() {
    let job = job("on-calendar = [\"04:00\", \"*:30\"]");
    let mut machine = Machine::new(&[("job", &job)], MIDNIGHT + 3 * 3600);
    assert!(
        machine.core.boot_report().settled_at.is_some(),
        "nobody waits for it"
    );
    assert_eq!(machine.state("job"), StateName::Armed);
    let (at, why) = machine.core.poll_timeout().unwrap();
    assert_eq!(at, Time::default() + Duration::from_secs(1800));
    assert!(matches!(why, Why::Elapse(_)));
    machine.go_on(2 * HOUR);
    assert_eq!(machine.took(), [3 * 3600 + 1800, 4 * 3600, 4 * 3600 + 1800]);
    assert_eq!(machine.state("job"), StateName::Armed);
}

#[test]
fn after_the_boot_and_then_every_hour_counted_from_the_last_start() {
    let job = "exec = \"/bin/job\"\n[timer]\non-boot = \"5min\"\nevery = \"1h\"\n";
    let mut machine = Machine::new(&[("job", job)], MIDNIGHT);
    machine.takes = Duration::from_secs(600);
    machine.go_on(2 * HOUR + 300);
    assert_eq!(machine.took(), [300, 3900, 7500]);
    machine.go_on(900);
    machine.ask(Command::Start, "job");
    machine.go_on(HOUR);
    assert_eq!(machine.took(), [8400, 12_000], "a start by hand counts");
    assert_eq!(machine.answers, [Outcome::Done]);
}

#[test]
fn every_alone_counts_from_when_it_was_wanted() {
    let job = job("every = \"10s\"");
    let mut machine = Machine::new(&[("job", &job)], MIDNIGHT);
    machine.go_on(25);
    assert_eq!(machine.took(), [10, 20]);
}

#[test]
fn one_that_still_runs_is_not_started_twice() {
    let job = job("every = \"10s\"");
    let mut machine = Machine::new(&[("job", &job)], MIDNIGHT);
    machine.takes = Duration::from_secs(25);
    machine.go_on(45);
    assert_eq!(machine.took(), [10, 40], "it ran at 20 and at 30");
    assert_eq!(machine.missed("job"), 2);
}

#[test]
fn one_that_fails_is_tried_again_at_its_next_time() {
    let job = job("every = \"10s\"");
    let mut machine = Machine::new(&[("job", &job)], MIDNIGHT);
    machine.status = 3;
    machine.go_on(15);
    assert_eq!(machine.state("job"), StateName::Failed);
    machine.status = 0;
    machine.go_on(10);
    assert_eq!(machine.took(), [10, 20]);
    assert_eq!(machine.state("job"), StateName::Armed);
}

#[test]
fn a_simple_service_with_a_restart_policy_is_retried_within_its_period() {
    let job = "exec = \"/bin/job\"\nrestart.delay = \"1s\"\nrestart.max-failures = 3\n\
               [timer]\nevery = \"1min\"\n";
    let mut machine = Machine::new(&[("job", job)], MIDNIGHT);
    machine.status = 3;
    machine.go_on(100);
    assert_eq!(machine.took(), [60, 62, 65]);
    assert_eq!(machine.state("job"), StateName::Failed);
    machine.status = 0;
    machine.go_on(60);
    assert_eq!(machine.took(), [125], "a minute after its last start");
}

#[test]
fn a_stop_takes_the_timer_away_and_a_start_brings_it_back() {
    let job = job("every = \"10s\"");
    let mut machine = Machine::new(&[("job", &job)], MIDNIGHT);
    machine.ask(Command::Stop, "job");
    assert_eq!(machine.core.poll_timeout(), None);
    machine.go_on(100);
    assert_eq!(machine.took(), [0; 0]);
    machine.ask(Command::Restart, "job");
    machine.go_on(15);
    assert_eq!(machine.took(), [100, 110]);
    assert_eq!(machine.answers, [Outcome::Done, Outcome::Done]);
    machine.tell(Event::Shutdown {
        kind: services::status::ShutdownKind::Reboot,
    });
    machine.go_on(100);
    assert_eq!(machine.took(), [0; 0]);
}

#[test]
fn a_clock_that_is_corrected_neither_loses_nor_repeats_a_time() {
    let job = job("on-calendar = [\"hourly\"]");
    let mut machine = Machine::new(&[("job", &job)], MIDNIGHT + 1800);
    machine.set_clock(45 * 60);
    machine.go_on(1);
    assert_eq!(machine.took(), [4500], "01:00 was leapt over, at 01:15");
    machine.set_clock(-30 * 60);
    machine.go_on(HOUR + 1000);
    assert_eq!(machine.took(), [2 * 3600], "01:00 comes again, and is done");
}

#[test]
fn a_clock_that_was_wrong_is_reckoned_anew() {
    let job = job("on-calendar = [\"daily\"]");
    let mut machine = Machine::new(&[("job", &job)], 1000);
    machine.set_clock(MIDNIGHT);
    machine.go_on(5);
    assert_eq!(
        machine.took(),
        [0; 0],
        "fifty years of days are not made up for"
    );
    machine.set_clock(10 * 365 * 86_400);
    machine.set_clock(-10 * 365 * 86_400);
    machine.go_on(24 * HOUR);
    assert_eq!(machine.took(), [86_400]);
}

#[test]
fn a_time_that_passes_in_a_suspend_comes_with_the_wake() {
    let job = job("on-calendar = [\"04:00\"]");
    let mut machine = Machine::new(&[("job", &job)], MIDNIGHT);
    // CLOCK_BOOTTIME goes on, the clock is said to be set, and only then anything is due.
    machine.now = machine.now + Duration::from_secs(30 * HOUR);
    machine.clock();
    machine.go_on(10);
    assert_eq!(machine.took(), [30 * 3600], "once, for two days");
}

#[test]
fn what_was_missed_without_power_is_made_up_for_once() {
    let persistent = job("on-calendar = [\"hourly\"]\npersistent = true");
    let plain = job("on-calendar = [\"hourly\"]");
    let files = [("kept", persistent.as_str()), ("plain", plain.as_str())];
    let mut machine = Machine::new(&files, MIDNIGHT + 60);
    assert_eq!(machine.kept.len(), 1, "seen for the first time");
    machine.power_off(&files, 10 * HOUR);
    machine.go_on(5);
    let starts = std::mem::take(&mut machine.starts);
    assert_eq!(starts, [("kept".to_owned(), MIDNIGHT + 60 + 10 * 3600)]);
    machine.power_off(&files, 60);
    machine.go_on(5);
    assert_eq!(machine.took(), [0; 0], "nothing was missed in a minute");
}

#[test]
fn what_is_kept_of_a_time_to_come_is_not_believed() {
    let job = job("on-calendar = [\"daily\"]\npersistent = true");
    let files = [("job", job.as_str())];
    for (kept, expect) in [
        (i64::MAX, &[86_400][..]),
        (MIDNIGHT + 400 * 86_400, &[86_400]),
    ] {
        let mut machine = Machine::new(&files, MIDNIGHT + 60);
        machine.kept = vec![(ServiceName::new("job").unwrap(), kept)];
        machine.power_off(&files, 60);
        machine.go_on(24 * HOUR);
        assert_eq!(machine.took(), expect);
        assert!(machine.kept[0].1 < MIDNIGHT + 2 * 86_400);
    }
    // A clock without a battery: the boot begins in 1970, and then somebody sets the clock.
    let mut machine = Machine::new(&files, MIDNIGHT + 60);
    machine.go_on(1);
    machine.zero = 0;
    machine.power_off(&files, 0);
    machine.go_on(5);
    assert_eq!(machine.took(), [0; 0]);
    let ahead = MIDNIGHT + 3 * 86_400 - machine.unix();
    machine.set_clock(ahead);
    machine.go_on(5);
    assert_eq!(
        machine.took(),
        [3 * 86_400],
        "now it is known what was missed"
    );
}

#[test]
fn a_delay_lies_in_its_bounds_is_the_same_each_time_and_differs_between_machines() {
    let text = job("on-calendar = [\"04:00\"]\nrandom-delay = \"10min\"");
    let delay = |seed: u64, name: &str| {
        let mut core = Supervisor::new(graph(&[(name, &text)]));
        let now = Time::default();
        core.handle_event(Event::Machine { seed }, now);
        let unix_nanos = MIDNIGHT * 1_000_000_000;
        core.handle_event(Event::ClockSet { unix_nanos }, now);
        let target = ServiceName::new("default").unwrap();
        core.handle_event(Event::Boot { target }, now);
        let (at, _) = core.poll_timeout().unwrap();
        (at - now).as_secs() - 4 * HOUR
    };
    let delays: Vec<u64> = (0..100).map(|seed| delay(seed, "job")).collect();
    assert!(delays.iter().all(|delay| *delay <= 600), "{delays:?}");
    let different: std::collections::BTreeSet<_> = delays.iter().collect();
    assert!(different.len() > 50, "{delays:?}");
    assert_eq!(delay(7, "job"), delay(7, "job"));
    assert_ne!(delay(7, "job"), delay(7, "other"));
    // Each day once, though the point lies before the delay.
    let mut machine = Machine::new(&[("job", &text)], MIDNIGHT);
    machine.go_on(48 * HOUR);
    let took = machine.took();
    let first = took[0];
    assert!((4 * 3600..=4 * 3600 + 600).contains(&first));
    assert_eq!(took, [first, first + 86_400]);
    // Started between point and delay, today's is still to come.
    let mut machine = Machine::new(&[("job", &text)], MIDNIGHT + first - 1);
    machine.go_on(5);
    assert_eq!(machine.took(), [first]);
}

#[test]
fn a_start_before_its_delay_is_over_is_not_the_one_after_the_boot() {
    let job = job("on-boot = \"5min\"\nrandom-delay = \"10min\"");
    let mut machine = Machine::new(&[("job", &job)], MIDNIGHT);
    let (first, _) = machine.core.poll_timeout().unwrap();
    let first = i64::try_from(first.since(Time::default()).as_secs()).unwrap();
    assert!(first > 310, "it is put off: {first}");
    machine.go_on(305);
    machine.ask(Command::Start, "job");
    machine.go_on(HOUR);
    assert_eq!(machine.took(), [305, first]);
    machine.go_on(HOUR);
    assert_eq!(machine.took(), [0; 0], "once in a boot");
}

#[test]
fn who_requires_it_may_run_while_it_waits() {
    let job = job("on-calendar = [\"daily\"]");
    let above = "exec = \"/bin/above\"\nrequires = [\"job\"]\n";
    let mut machine = Machine::new(&[("job", &job), ("above", above)], MIDNIGHT);
    assert_eq!(machine.state("above"), StateName::Up);
    machine.ask(Command::Stop, "job");
    assert_eq!(machine.state("above"), StateName::Stopping);
}

#[test]
fn a_reload_changes_the_time_and_takes_the_timer_away() {
    let (daily, hourly) = (
        job("on-calendar = [\"daily\"]"),
        job("on-calendar = [\"hourly\"]"),
    );
    let mut machine = Machine::new(&[("job", &daily)], MIDNIGHT + 60);
    let replace = |machine: &mut Machine, files: &[(&str, &str)]| {
        let request = RequestId(99);
        let graph = Box::new(graph(files).into());
        machine.tell(Event::Replace { request, graph });
    };
    replace(&mut machine, &[("job", &hourly)]);
    machine.go_on(HOUR);
    assert_eq!(machine.took(), [3600]);
    replace(
        &mut machine,
        &[("job", "type = \"oneshot\"\nexec = \"/bin/job\"\n")],
    );
    machine.go_on(3 * HOUR);
    assert_eq!(
        machine.took(),
        [3660],
        "what has no timer is started as it is wanted"
    );
    assert_eq!(machine.state("job"), StateName::Up);
    replace(&mut machine, &[]);
    machine.go_on(3 * HOUR);
    assert_eq!(machine.core.poll_timeout(), None);
}

#[test]
fn the_expressions_of_a_file_are_those_of_the_module() {
    let error = |text: &str| {
        let text = job(text);
        let source = Source {
            path: "/usr/lib/shark/services/job.toml".into(),
            layer: 0,
            text,
        };
        let told: Vec<String> = load(&[source], None)
            .diagnostics
            .iter()
            .map(ToString::to_string)
            .collect();
        told.join("\n")
    };
    assert!("daily".parse::<Calendar>().is_ok());
    for (text, words) in [
        ("on-calendar = [\"daily\", \"25:00\"]", "`25` where 0 to 23"),
        ("on-calendar = []", "is empty"),
        ("persistent = true\nevery = \"1h\"", "the timer has none"),
        ("random-delay = \"1h\"\nevery = \"1h\"", "has neither"),
        ("persistent = false", "says no time"),
        ("every = \"10ms\"", "too short"),
        (
            "every = \"1h\"\n[boot]\nessential = true",
            "judged while it does not run",
        ),
    ] {
        let told = error(text);
        assert!(told.contains(words), "{text}: {told}");
    }
    let many = format!("on-calendar = [{}]", "\"daily\",".repeat(17));
    assert!(error(&many).contains("one too many"));
    let always = "exec = \"/bin/job\"\nrestart.policy = \"always\"\n[timer]\nevery = \"1h\"\n";
    let source = Source {
        path: "/usr/lib/shark/services/job.toml".into(),
        layer: 0,
        text: always.into(),
    };
    assert!(load(&[source], None).graph.is_none());
}

#[test]
fn a_timer_that_was_taken_away_counts_anew() {
    let job = job("every = \"1h\"");
    let above = "exec = \"/bin/above\"\nrequires = [\"job\"]\n";
    let mut machine = Machine::new(&[("job", &job), ("above", above)], MIDNIGHT);
    machine.go_on(HOUR / 2);
    machine.ask(Command::Stop, "job");
    machine.go_on(60);
    machine.ask(Command::Start, "above");
    assert_eq!(machine.took().len(), 2, "what requires it, both times");
    assert_eq!(machine.state("job"), StateName::Armed);
    machine.go_on(HOUR - 60);
    assert!(machine.took().is_empty(), "an hour is not over since then");
    machine.go_on(120);
    assert_eq!(machine.took().len(), 1);
}

#[test]
fn what_a_reload_makes_of_a_timer_counts_from_when_it_was_wanted() {
    let above = "exec = \"/bin/above\"\nrequires = [\"job\"]\n";
    let files = |timer: &str| [("job", job(timer)), ("above", above.to_owned())];
    let (first, second) = (files("on-boot = \"5s\""), files("every = \"20s\""));
    let [first, second] =
        [&first, &second].map(|it| it.each_ref().map(|(name, text)| (*name, &**text)));
    let mut machine = Machine::new(&first, MIDNIGHT);
    machine.go_on(10);
    machine.ask(Command::Stop, "job");
    machine.go_on(10);
    machine.ask(Command::Start, "above");
    machine.go_on(10);
    machine.starts.clear();
    let request = RequestId(99);
    let graph = Box::new(graph(&second).into());
    machine.tell(Event::Replace { request, graph });
    machine.go_on(100);
    assert_eq!(machine.took().first(), Some(&40));
}
