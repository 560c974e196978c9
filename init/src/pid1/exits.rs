//! The one reaper, and what follows from the end of a process. Not here: what a service does about
//! it (the core).

use kernel::reap::Change;
use services::id::{RunId, ServiceId};
use services::supervisor::event::{Event, ExitStatus};

use super::Init;
use super::beside;
use super::say::Level;
use super::table::Owner;

/// Most processes reaped in one turn.
const BOUND: usize = 256;
const KILLED: u8 = 9;
/// The exit status of a process whose end was told to a program that crashed.
const LOST: u8 = 255;

impl Init {
    /// Reaps the child that a signal names, and tells its end: what it had still to say has been read.
    pub(super) fn reap_one(&mut self, pid: u32) {
        match kernel::reap::one(pid) {
            Ok(Some(reaped)) => self.ended(reaped.pid, exit_status(reaped.end)),
            Ok(None) => {}
            Err(error) => self.say(Level::Error, &error.to_string()),
        }
    }

    /// Reaps what has ended, then tells it, after whatever the dead had still to say.
    pub(super) fn reap(&mut self) {
        let mut ends = Vec::new();
        loop {
            match kernel::reap::next_change() {
                Ok(Some(Change::Ended(reaped))) => {
                    ends.push((reaped.pid, exit_status(reaped.end)));
                }
                Ok(Some(Change::Stopped(pid))) => self.stopped(pid),
                Ok(None) => break,
                Err(error) => {
                    self.say(Level::Error, &error.to_string());
                    break;
                }
            }
            if ends.len() >= BOUND {
                self.unreaped = true;
                break;
            }
        }
        // What they sent before they ended is in the socket by now.
        self.table.untold = ends.iter().map(|(pid, _)| *pid).collect();
        self.take_notifications();
        self.table.untold.clear();
        for (pid, status) in ends {
            self.ended(pid, status);
        }
        if self.cgroups.is_none() {
            // Nobody tells when a process group empties, but its members are our children at last.
            for service in self.table.emptying() {
                self.check_emptied(service);
            }
        }
    }

    /// A service may be stopped by whoever likes to. A stopped logger would keep all of them waiting.
    fn stopped(&mut self, pid: u32) {
        if self.table.owner(pid) == Some(Owner::Logger) {
            self.logger_stopped(pid);
        }
    }

    fn ended(&mut self, pid: u32, status: ExitStatus) {
        match self.table.disown(pid) {
            Some(Owner::Main(run)) => self.main_ended(run, status),
            Some(Owner::Reload(run)) => self.reload_ended(run, status),
            Some(Owner::Loader) => self.loader_ended(status),
            Some(Owner::Logger) => self.logger_ended(pid, status),
            Some(Owner::Probe(run)) => self.probe_ended(run, status),
            Some(Owner::Recorder) => self.recorder_ended(status),
            Some(Owner::Scrub) => self.scrub_ended(status),
            Some(Owner::Budget) => self.budget_ended(status),
            Some(Owner::Timers) => self.timers_ended(status),
            // A grandchild that outlived its parent: reaped, and nobody asks.
            None => {}
        }
    }

    fn main_ended(&mut self, run: RunId, status: ExitStatus) {
        // What it wrote before it ended is in the pipe by now.
        self.take_execution(run.service.index);
        self.take_ready_line(run.service.index);
        self.tell_out_of_memory(run, status);
        if let Some(live) = self.table.live(run) {
            live.ended = true;
        }
        self.tell(Event::Exited { run, status });
        self.check_emptied(run.service);
    }

    /// The main process of a run has ended, and nobody knows any more how: that counts as a failure.
    pub(super) fn lost_end(&mut self, run: RunId) {
        self.main_ended(run, ExitStatus::Code(LOST));
    }

    fn tell_out_of_memory(&mut self, run: RunId, status: ExitStatus) {
        let ExitStatus::Signal { number: KILLED, .. } = status else {
            return;
        };
        let (Some(cgroups), Some(place)) = (&self.cgroups, self.table.get(run.service)) else {
            return;
        };
        let kills = cgroups.oom_kills(&place.name);
        if kills > place.oom_kills {
            place.oom_kills = kills;
            self.tell(Event::OutOfMemory { run });
        }
    }

    fn reload_ended(&mut self, run: RunId, status: ExitStatus) {
        let command = self.table.live(run).and_then(|live| live.reload.take());
        let outcome = ended_well(status).map_err(|how| {
            let words = command.as_ref().and_then(beside::words);
            let words = words.map(|words| format!("the reload command: {words}"));
            words.unwrap_or_else(|| format!("the reload command {how}"))
        });
        self.tell(Event::ReloadEnded { run, outcome });
    }

    fn probe_ended(&mut self, run: RunId, status: ExitStatus) {
        let probe = self.table.live(run).and_then(|live| live.probe.take());
        let outcome = ended_well(status).map_err(|how| {
            let words = probe.as_ref().and_then(beside::words);
            words.unwrap_or_else(|| format!("it {how}"))
        });
        self.tell(Event::ProbeEnded { run, outcome });
    }

    /// Tells the core that a run has emptied, when it has.
    pub(super) fn check_emptied(&mut self, service: ServiceId) {
        let Some(place) = self.table.get(service) else {
            return;
        };
        let Some(live) = &place.live else {
            return;
        };
        let populated = match &self.cgroups {
            Some(cgroups) => {
                let comes = live.entering && !live.ended;
                comes || cgroups.populated(&place.name)
            }
            // While a forking service's main process is sought, nothing of it may be killed.
            None => !live.ended || live.seek.is_some() || group_lives(live.group),
        };
        if populated {
            return;
        }
        self.end_adopted(service);
        if let Some(run) = self.table.emptied(service) {
            self.remove_credentials(service);
            self.tell(Event::Emptied { run });
        }
    }

    /// A main process that the service itself named may have been another's child: then its parent
    /// has reaped it, and that it is gone is all that can be told.
    fn end_adopted(&mut self, service: ServiceId) {
        let Some(live) = self
            .table
            .get(service)
            .and_then(|place| place.live.as_mut())
            .filter(|live| live.adopted && !live.ended)
        else {
            return;
        };
        live.ended = true;
        let (run, pid) = (live.run, live.pid);
        self.table.disown(pid);
        let status = ExitStatus::Code(0);
        self.tell(Event::Exited { run, status });
    }

    /// Looks at the cgroups that the kernel says have changed.
    pub(super) fn take_changes_of_cgroups(&mut self) {
        let mut changed: Vec<ServiceId> = Vec::new();
        let mut lost = false;
        let table = &self.table;
        let drained = self.watches.drain(|change| match change.watch {
            Some(watch) => changed.extend(table.service_of_watch(watch.0)),
            None => lost = true,
        });
        if let Err(error) = drained {
            self.say(Level::Error, &error.to_string());
        }
        if lost {
            changed = self.table.places().map(|place| place.service).collect();
        }
        changed.retain(|service| self.may_have_emptied(*service));
        if changed.is_empty() {
            return;
        }
        // A cgroup can be seen empty before its last process is seen ended: how that one ended must
        // be known first, or an adopted main process would seem to have ended well.
        self.reap();
        for service in changed {
            self.check_emptied(service);
        }
    }

    /// Whether a look at its cgroup could find it empty. While the main process is a child of ours
    /// that has not been reaped, its end will be told, and is when to look: that the cgroup has got
    /// its first process, as it does with each start, is no news.
    fn may_have_emptied(&mut self, service: ServiceId) -> bool {
        let live = self.table.get(service).and_then(|it| it.live.as_ref());
        live.is_some_and(|live| live.ended || live.adopted)
    }
}

/// Success, or how a command ended.
fn ended_well(status: ExitStatus) -> Result<(), String> {
    match status {
        ExitStatus::Code(0) => Ok(()),
        ExitStatus::Code(code) => Err(format!("exited with status {code}")),
        ExitStatus::Signal { number, .. } => Err(format!("was killed by signal {number}")),
    }
}

/// Without cgroups a run is its process group, and the end of its main process is the end of all:
/// kills what is left of it; whether something is.
fn group_lives(group: u32) -> bool {
    matches!(
        kernel::pidfd::signal_group(group, kernel::signals::Signal::KILL),
        Ok(kernel::pidfd::Sent::Delivered)
    )
}

/// The kernel's word for an end, in the core's.
pub(crate) fn exit_status(end: kernel::reap::End) -> ExitStatus {
    match end {
        kernel::reap::End::Exited(code) => ExitStatus::Code(code),
        kernel::reap::End::Killed {
            signal,
            core_dumped,
        } => ExitStatus::Signal {
            number: signal,
            core_dumped,
        },
    }
}
