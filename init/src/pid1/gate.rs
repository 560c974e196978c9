//! The gate of this boot: shown to the pure gate turn by turn, and its verdict carried out: committed
//! in the boot record, or recorded as a failure and the machine restarted. Not here: the verdict
//! (`services::gate`), the record (`recorder`).
//!
//! There is a gate on a boot from a slot of a disk. A boot whose hand-over cannot be read has one too,
//! which nothing can pass: who does not know what it runs cannot call it good.

mod asked;
mod errands;
mod keeper;

use mounts::slot::judge::{SAID_GATE, SAID_GOOD};
use mounts::slot::record::Ended;
use services::control::{BootMode, GateInfo};
use services::gate::{GateReport, GateView, Verdict};
use services::status::ShutdownKind;
use services::supervisor::Supervisor;
use services::time::{Duration, Time};

use super::Init;
use super::recorder::Then;
use super::say::Level;
use crate::ending::bequest::Failure;
use crate::record::Change;
use keeper::{Found, State};
pub(super) use keeper::{Keeper, Root};

/// How long the record of a failure may hold the restart up.
const FAIL_PATIENCE: Duration = Duration::from_secs(10);
/// Pause before a commit that could not be written is tried again; it doubles.
const PAUSE_FIRST: Duration = Duration::from_secs(5);
const PAUSE_MAX: Duration = Duration::from_secs(15 * 60);
/// Up for so long after its commit, a boot has shown that earlier crashes are past.
const SETTLED_AFTER: Duration = Duration::from_secs(60 * 60);
/// How lines about the boot record begin.
const RECORD: &str = "boot record";
/// Under which name is told among the things this machine lacks that a commit is not written.
const COMMIT: &str = "commit";

impl Init {
    /// What clients are told of the gate.
    pub(super) fn gate_info(&self) -> GateInfo {
        let keeper = &self.gate;
        let info = |reason: Option<&str>| GateInfo {
            state: keeper.state_name(),
            since_us: keeper.since.as_nanos() / 1000,
            reason: reason.map(str::to_owned),
            wanted_failing: keeper.wanted_failing.clone(),
            slow: keeper.slow.clone(),
            ..GateInfo::none("")
        };
        match &keeper.state {
            State::Absent(why) => GateInfo::none(why),
            State::Open(watched) => GateInfo {
                deadline_us: Some(watched.gate.deadline().as_nanos() / 1000),
                waiting: match &watched.hopeless {
                    Some(_) => Vec::new(),
                    None => watched.gate.waiting(&self.gate_view(), self.now),
                },
                ..info(watched.hopeless.as_deref())
            },
            State::Found(found) => GateInfo {
                waiting: vec![match &found.problem {
                    None => format!("{RECORD}: it is being written"),
                    Some(why) => format!("{RECORD}: not written yet, and tried again: {why}"),
                }],
                ..info(found.problem.as_deref())
            },
            State::Passed => info(None),
            State::Failing { reason, .. }
            | State::Pausing { reason, .. }
            | State::Failed { reason } => info(Some(reason)),
        }
    }

    fn gate_view(&self) -> GateView<'_> {
        let supervisor = self.supervisor.as_ref();
        supervisor.map_or_else(GateView::default, |supervisor| supervisor.gate_view())
    }

    /// Says that the gate is open, where there is one: a crash that keeps the kernel's log then tells
    /// how far this boot came.
    pub(super) fn announce_gate(&mut self) {
        let State::Open(watched) = &self.gate.state else {
            return;
        };
        let line = match &watched.hopeless {
            Some(why) => format!("{SAID_GATE}, and nothing can pass it: {why}"),
            None => {
                let slot = self.boot.info.slot.as_deref().unwrap_or("?");
                let number = self.boot.info.boot_number;
                let number = number.map_or_else(String::new, |it| format!(", boot {it}"));
                format!("{SAID_GATE}: slot {slot}{number}")
            }
        };
        self.say(Level::Notice, &line);
    }

    /// A graph has been taken over: its boot target says when the boot is good.
    pub(super) fn configure_gate(&mut self) {
        let Some(supervisor) = &self.supervisor else {
            return;
        };
        let settings = supervisor.gate_settings();
        let left_out: Vec<&str> = supervisor.essential_left_out().collect();
        let left_out = left_out.join(", ");
        let State::Open(_) = &self.gate.state else {
            return;
        };
        if let Some(root) = self.gate.configure(settings) {
            self.start_scrub(&root);
        }
        if !left_out.is_empty() {
            let target = &self.boot.info.target;
            let line = format!("essential, but not in {target}, and so not waited for: {left_out}");
            self.say(Level::Warning, &line);
        }
    }

    /// None of the machine's own services runs, for this reason.
    pub(super) fn gate_without_services(&mut self, why: &str) {
        if let State::Open(watched) = &mut self.gate.state {
            watched.gate.refuse(why);
            watched.seen = None;
        }
    }

    /// The vendor's services run alone, for this reason.
    pub(super) fn gate_with_vendor_only(&mut self, why: &str) {
        if let State::Open(watched) = &mut self.gate.state {
            watched.gate.fell_back(why);
        }
    }

    /// There is nothing to judge: an operator wanted a shell only.
    pub(super) fn no_gate(&mut self, why: &str) {
        *self.gate = Keeper::absent(why);
    }

    /// Does what is due, once a turn.
    pub(super) fn mind_gate(&mut self) {
        if self.shutting_down {
            return;
        }
        self.mind_gate_errands();
        let due = |at: Option<Time>, now| at.is_some_and(|at| at <= now);
        match &self.gate.state {
            State::Open(_) => self.look_at_boot(),
            State::Found(found) if due(found.again, self.now) => self.commit(),
            State::Failing { until, .. } if *until <= self.now => {
                self.failure_unrecorded("the record takes too long");
            }
            State::Pausing { until, .. } if *until <= self.now => self.restart_failed(),
            State::Passed if due(self.gate.settle_at, self.now) => self.settle_crashes(),
            State::Absent(_)
            | State::Found(_)
            | State::Passed
            | State::Failing { .. }
            | State::Pausing { .. }
            | State::Failed { .. } => {}
        }
    }

    fn look_at_boot(&mut self) {
        let State::Open(watched) = &mut self.gate.state else {
            return;
        };
        let now = self.now;
        if let Some(why) = &watched.hopeless {
            if watched.gate.deadline() <= now {
                let reason = why.clone();
                self.fail_boot(reason);
            }
            return;
        }
        let supervisor = self.supervisor.as_ref();
        let events = supervisor.map(Supervisor::events);
        let due = watched.gate.poll_timeout().is_some_and(|at| at <= now);
        if !due && watched.seen.is_some() && watched.seen == events {
            return;
        }
        watched.seen = events;
        let view = supervisor.map_or_else(GateView::default, |it| it.gate_view());
        match watched.gate.update(&view, now) {
            None => {}
            Some(Verdict::Commit(report)) => self.found_good(report),
            Some(Verdict::Fail { reason }) => self.fail_boot(reason),
        }
    }

    fn found_good(&mut self, report: GateReport) {
        self.boot.mark("gate passed", self.now);
        self.gate.wanted_failing = report.wanted_failing;
        if let Some(why) = report.fell_back {
            let line = format!("the vendor's service files only: {why}");
            self.gate.wanted_failing.push(line);
        }
        self.gate.enter(State::Found(Found::default()), self.now);
        // The commit follows its answer.
        self.learn_start_times();
    }

    /// Writes that this boot is good.
    fn commit(&mut self) {
        if let State::Found(found) = &mut self.gate.state {
            found.again = None;
        }
        let change = Change::Commit {
            running: self.recorder.identity.clone(),
            text: self.gate.wanted_failing.join("; "),
        };
        if !self.record(change, Then::Committed) {
            self.gate_committed(Err("too many changes wait already".to_owned()));
        }
    }

    /// A commit has been written, or could not be.
    pub(super) fn gate_committed(&mut self, outcome: Result<(), String>) {
        match (outcome, &mut self.gate.state) {
            (Ok(()), State::Open(_) | State::Found(_)) => self.passed(),
            (Err(reason), State::Found(found)) => {
                let doubled = PAUSE_FIRST.saturating_mul(1 << found.failures.min(10));
                let pause = doubled.min(PAUSE_MAX);
                found.failures = found.failures.saturating_add(1);
                found.again = Some(self.now + pause);
                // Whoever waits goes on waiting: this is no verdict on the boot.
                found.problem = Some(reason.clone());
                let slot = self.boot.info.slot.as_deref().unwrap_or("?");
                let lacking = format!("slot {slot} is good, but that is not written: {reason}");
                self.boot.lacks_for_now(COMMIT, Some(&lacking));
                let line = format!("{RECORD}: {lacking}; tried again in {pause:?}");
                self.say(Level::Error, &line);
            }
            (
                Ok(()) | Err(_),
                State::Absent(_)
                | State::Passed
                | State::Failing { .. }
                | State::Pausing { .. }
                | State::Failed { .. },
            )
            | (Err(_), State::Open(_)) => {}
        }
    }

    fn passed(&mut self) {
        self.boot.mark("committed", self.now);
        self.boot.lacks_for_now(COMMIT, None);
        self.boot.info.committed = true;
        self.boot.info.trial = false;
        self.drop_gate_errands();
        self.gate.enter(State::Passed, self.now);
        let slot = self.boot.info.slot.as_deref().unwrap_or("?");
        let mut line = format!("{SAID_GOOD}: slot {slot} committed");
        for (what, list) in [
            ("wanted, but failing", &self.gate.wanted_failing),
            ("slow", &self.gate.slow),
        ] {
            if !list.is_empty() {
                line.push_str(&format!("; {what}: {}", list.join(", ")));
            }
        }
        self.say(Level::Notice, &line);
        self.answer_waiting(true, None);
        let slot = self.recorder.identity.slot;
        let crashed = slot.is_some_and(|slot| self.recorder.known.crashes_of(slot) > 0);
        self.gate.settle_at = crashed.then(|| self.now + SETTLED_AFTER);
    }

    fn settle_crashes(&mut self) {
        self.gate.settle_at = None;
        let running = self.recorder.identity.clone();
        if !self.record(Change::Settle { running }, Then::Settled) {
            self.crashes_settled(Err("too many changes wait already".to_owned()));
        }
    }

    /// The crashes of the slot have been forgotten, or could not be.
    pub(super) fn crashes_settled(&mut self, outcome: Result<(), String>) {
        match outcome {
            Ok(()) => self.say(Level::Info, "earlier crashes of this slot are forgotten"),
            Err(reason) => {
                self.gate.settle_at = Some(self.now + SETTLED_AFTER);
                self.say(Level::Warning, &format!("{RECORD}: {reason}"));
            }
        }
    }

    /// init has crashed and goes on. That saves services which people use; a boot that is not found
    /// good yet has nobody to save, and a slot whose init crashes is not to be committed.
    pub(super) fn gate_after_crash(&mut self, why: &str) {
        match self.gate.state {
            State::Open(_) | State::Found(_) => {
                let reason = format!("init crashed before the boot was good: {why}");
                self.fail_boot_as(Ended::InitFailed, reason);
            }
            State::Absent(_)
            | State::Passed
            | State::Failing { .. }
            | State::Pausing { .. }
            | State::Failed { .. } => {}
        }
    }

    /// This boot has failed: that is recorded, then the machine restarts.
    fn fail_boot(&mut self, reason: String) {
        self.fail_boot_as(Ended::GateFailed, reason);
    }

    fn fail_boot_as(&mut self, ended: Ended, reason: String) {
        self.say(Level::Error, &format!("this boot has failed: {reason}"));
        let change = Change::Fail {
            running: self.recorder.identity.clone(),
            ended,
            uptime_seconds: self.uptime_seconds(),
            text: reason.clone(),
        };
        self.recorder.failed = Some(Failure {
            ended,
            text: reason.clone(),
        });
        self.drop_gate_errands();
        self.answer_waiting(false, Some(&reason));
        let until = self.now + FAIL_PATIENCE;
        self.gate.enter(State::Failing { reason, until }, self.now);
        if !self.record(change, Then::Failed) {
            self.failure_unrecorded("too many changes wait already");
        }
    }

    /// A service that is left failed makes this boot a bad one, as its file says.
    pub(super) fn call_bad_for(&mut self, reason: &str) {
        if self.shutting_down {
            return;
        }
        match &self.gate.state {
            State::Open(_) | State::Found(_) | State::Passed => self.fail_boot(reason.to_owned()),
            State::Absent(why) => {
                let line = format!("restarting the machine: {reason}; no boot is recorded: {why}");
                self.say(Level::Error, &line);
                self.shut_down(ShutdownKind::Reboot);
            }
            State::Failing { .. } | State::Pausing { .. } | State::Failed { .. } => {}
        }
    }

    /// The failure has been recorded, or could not be.
    pub(super) fn gate_failure_recorded(&mut self, outcome: Result<(), String>) {
        match outcome {
            Ok(()) => {
                self.recorder.failed = None;
                if let State::Failing { .. } | State::Pausing { .. } = self.gate.state {
                    self.restart_failed();
                }
            }
            Err(reason) => {
                // It is tried once more by the last stage.
                let line = format!("{RECORD}: the cause of the failure is not in it: {reason}");
                self.say(Level::Error, &line);
                self.failure_unrecorded(&reason);
            }
        }
    }

    /// The machine restarts now, or after a pause where nothing counts this boot.
    fn failure_unrecorded(&mut self, why: &str) {
        let State::Failing { .. } = self.gate.state else {
            return;
        };
        if self.gate.unrecorded(self.recorder.charged, why, self.now) {
            self.restart_failed();
        } else if let State::Pausing { reason, .. } = &self.gate.state {
            let line = format!("this boot has failed: {reason}");
            self.say(Level::Error, &line);
        }
    }

    fn restart_failed(&mut self) {
        if let State::Failing { reason, .. } | State::Pausing { reason, .. } = &mut self.gate.state
        {
            let reason = std::mem::take(reason);
            let line = format!("restarting the machine, since this boot has failed: {reason}");
            self.gate.enter(State::Failed { reason }, self.now);
            self.say(Level::Error, &line);
        }
        if !self.shutting_down {
            self.shut_down(ShutdownKind::Reboot);
        }
    }

    /// On a machine that no stage1 seems to have started, asks the boot record whether one has.
    pub(super) fn look_for_lost_hand_over(&mut self) {
        let direct = self.boot.info.mode == BootMode::Direct;
        if direct && let Some(device) = crate::record::find() {
            self.recorder.device = Some(device);
            // Told by nobody when it cannot be asked: most such machines have another one's record.
            let _asked = self.record(Change::Look, Then::Looked);
        }
    }

    /// No stage1 has told of this boot. If the record knows it all the same, its hand-over is lost.
    pub(super) fn record_looked_at(&mut self) {
        let own = self.recorder.identity.boot_id;
        let open = self.recorder.known.open;
        let Some((slot, number, _)) = open.filter(|(_, _, boot_id)| *boot_id == own) else {
            return;
        };
        let why = "the hand-over of stage1 is not there".to_owned();
        self.boot.lacks(format!("hand-over: {why}"));
        self.boot.info.slot = Some(slot.as_str().to_owned());
        self.boot.info.boot_number = Some(number);
        self.recorder.accounted = true;
        self.recorder.charged = true;
        super::emergency::remember(self.recorder.end_mark());
        // An operator who wants a shell is left alone with it.
        if !self.rescue {
            *self.gate = Keeper::open(self.now, Some(why), None);
            self.announce_gate();
        }
    }

    /// How long the kernel has been running, as the record keeps it.
    pub(super) fn uptime_seconds(&self) -> u32 {
        u32::try_from(self.now.as_nanos() / 1_000_000_000).unwrap_or(u32::MAX)
    }
}
