//! The simulated kernel: what becomes of processes, with moods that hang on the run alone, so that
//! leaving out an operation does not change the fate of all the others.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use fastrand::Rng;
use services::definition::{Definition, Kind, Ready, Signal, StopScope};
use services::id::{RunId, ServiceId, ServiceName};
use services::notify::Message;
use services::supervisor::event::{Event, ExitStatus};
use services::time::Time;

use crate::former::kept_before;
use crate::generate::BROKEN;
use crate::pods::Pods;

/// The probe of a run.
#[derive(Debug)]
pub(crate) struct Probe {
    pub(crate) name: ServiceName,
    /// It has been told to be killed, and may still take a while to go.
    pub(crate) killed: bool,
}

/// A process tree.
#[derive(Debug)]
pub(crate) struct Process {
    pub(crate) name: ServiceName,
    /// `Spawned` has been told.
    pub(crate) spawned: bool,
    /// `Exited` has been told.
    pub(crate) dead: bool,
    /// `Emptied` has been told.
    pub(crate) emptied: bool,
    /// `Emptied` is on its way, at least.
    pub(crate) gone: bool,
    /// The command of a forking service runs.
    forks: bool,
    /// It has left a process, which is not found yet.
    pub(crate) has_left: bool,
    /// What is ended with its main process.
    pub(crate) scope: StopScope,
    /// An earlier run had the cgroup, and may have left something there.
    pub(crate) inherited: bool,
    /// It says so often that it is alive.
    pub(crate) rhythm: Option<Duration>,
    pub(crate) rng: Rng,
}

pub(crate) struct Kernel {
    seed: u64,
    /// All that are not over.
    pub(crate) processes: BTreeMap<RunId, Process>,
    /// What outlives main processes.
    pub(crate) pods: BTreeMap<ServiceName, Pods>,
    /// Runs that a later one has followed, and whose end is told all the same.
    pub(crate) late: BTreeSet<RunId>,
    /// Probes whose end has not been told, of runs that are over too.
    pub(crate) probes: BTreeMap<RunId, Probe>,
    /// The last probe whose end was told, and whether it had been killed.
    pub(crate) reaped: Option<(RunId, bool)>,
    /// Runs that are over, some of them, for late news.
    pub(crate) old: Vec<RunId>,
    /// Whose sockets are watched for traffic.
    pub(crate) watched: BTreeSet<ServiceId>,
    events: BTreeMap<(Time, u64), Event>,
    sequence: u64,
    /// Last starts, which outlive the machine.
    pub(crate) kept: BTreeMap<ServiceName, i64>,
    /// How often these have been asked for.
    pub(crate) recalls: u64,
    /// No more accidents: everything works from now on.
    pub(crate) calm: bool,
    /// No memory and no descriptors are left until then.
    starved: Time,
}

impl Kernel {
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            seed,
            processes: BTreeMap::new(),
            pods: BTreeMap::new(),
            late: BTreeSet::new(),
            probes: BTreeMap::new(),
            reaped: None,
            old: Vec::new(),
            watched: BTreeSet::new(),
            kept: kept_before(seed),
            recalls: 0,
            events: BTreeMap::new(),
            sequence: 0,
            calm: false,
            starved: Time::default(),
        }
    }

    pub(crate) const fn seed(&self) -> u64 {
        self.seed
    }

    /// Nothing can be started or killed for so long.
    pub(crate) fn starve(&mut self, until: Time) {
        self.starved = until;
    }

    pub(crate) fn starves(&self, now: Time) -> bool {
        !self.calm && now < self.starved
    }

    /// The machine slept: whatever was going on goes on later.
    pub(crate) fn sleep(&mut self, time: Duration) {
        self.pods_sleep(time);
        let events = std::mem::take(&mut self.events).into_iter();
        self.events = events
            .map(|((at, number), event)| ((at + time, number), event))
            .collect();
    }

    pub(crate) fn at(&mut self, time: Time, event: Event) {
        self.sequence += 1;
        self.events.insert((time, self.sequence), event);
    }

    pub(crate) fn next(&self) -> Option<Time> {
        let event = self.events.keys().next().map(|(time, _)| *time);
        [event, self.pods_end()].into_iter().flatten().min()
    }

    /// The next event that is due; notes that it has been told.
    pub(crate) fn take(&mut self, now: Time) -> Option<Event> {
        self.end_pods(now);
        loop {
            let (at, sequence) = *self.events.keys().next()?;
            if at > now {
                return None;
            }
            let mut event = self.events.remove(&(at, sequence))?;
            self.find_too_late(&mut event);
            if self.note(&event, now) {
                return Some(event);
            }
        }
    }

    /// Notes that `event` is told; false: it does not happen, as the process is dead already.
    fn note(&mut self, event: &Event, now: Time) -> bool {
        match event {
            Event::Exited { run, .. } => {
                if self.processes.get(run).is_none_or(|process| process.dead) {
                    return false;
                }
                self.died(*run, now);
                self.bury(*run);
            }
            Event::MainSought {
                run,
                outcome: Ok(()),
            } => self.found(*run, now),
            Event::Emptied { run } => {
                let Some(process) = self.processes.get_mut(run) else {
                    return self.late.remove(run);
                };
                process.emptied = true;
                self.bury(*run);
            }
            // The pipe goes with the run.
            Event::ReadyLine { run, .. } => {
                return self.processes.get(run).is_some_and(|it| !it.dead);
            }
            Event::Notified {
                run,
                message: Message::Alive,
                ..
            } => return self.says_it_is_alive(*run, now),
            Event::Listening { run } => self.watch(*run, now),
            // It is told once.
            Event::Traffic { service } => return self.watched.remove(service),
            // A killed probe has only one end.
            Event::ProbeEnded { run, .. } => {
                let Some(probe) = self.probes.remove(run) else {
                    return false;
                };
                self.reaped = Some((*run, probe.killed));
            }
            Event::SpawnFailed { run, .. } => self.not_born(*run, now),
            Event::Spawned { run } => {
                if let Some(process) = self.processes.get_mut(run) {
                    process.spawned = true;
                }
            }
            _ => {}
        }
        true
    }

    /// It says that it is alive, and will again, unless it hangs from now on.
    fn says_it_is_alive(&mut self, run: RunId, now: Time) -> bool {
        let calm = self.calm;
        let Some(process) = self.processes.get_mut(&run).filter(|it| !it.dead) else {
            return false;
        };
        let hangs = !calm && process.rng.u8(0..20) == 0;
        if let Some(rhythm) = process.rhythm.filter(|_| !hangs) {
            self.at(now + rhythm, said(run, Message::Alive));
        }
        true
    }

    /// A run whose two ends have been told is over.
    fn bury(&mut self, run: RunId) {
        if self
            .processes
            .get(&run)
            .is_some_and(|p| p.dead && p.emptied)
        {
            self.processes.remove(&run);
            self.old.push(run);
        }
    }

    pub(crate) fn spawn(&mut self, run: RunId, definition: &Definition, now: Time) {
        let (name, kind) = (&definition.name, &definition.kind);
        let tag = name.as_str().bytes().fold(u64::from(run.run), |sum, byte| {
            sum.wrapping_mul(31).wrapping_add(u64::from(byte))
        });
        let mut rng = Rng::with_seed(self.seed ^ tag.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let asked = now + micros(&mut rng, 2_000);
        let starves = self.starves(now);
        let broken = kind.program().is_some_and(|it| it.exec == [BROKEN]);
        if starves || (!self.calm && (broken || rng.u8(0..16) == 0)) {
            let cause = if starves {
                "clone3: Cannot allocate memory (ENOMEM)".into()
            } else {
                "exec /bin/true: No such file or directory (ENOENT)".into()
            };
            self.processes
                .insert(run, Process::new(name.clone(), Rng::with_seed(0)));
            self.at(asked, Event::SpawnFailed { run, cause });
            return;
        }
        self.at(asked, Event::Spawned { run });
        let Some(asked) = self.begin(run, definition, asked, &mut rng) else {
            return;
        };
        let calm = self.calm;
        let end = match kind {
            Kind::Target => None,
            Kind::Simple(program) => {
                if let Some(Ready::Line(_)) = program.ready {
                    self.write_line(run, asked, &mut rng);
                }
                (!calm && rng.u8(0..3) == 0).then(|| micros(&mut rng, 20_000_000))
            }
            Kind::Notify(_) => {
                if calm || rng.u8(0..6) > 0 {
                    let late = if calm { 50_000 } else { 12_000_000 };
                    let ready = asked + micros(&mut rng, late);
                    self.at(ready, said(run, Message::Ready));
                }
                (!calm && rng.u8(0..3) == 0).then(|| micros(&mut rng, 20_000_000))
            }
            Kind::Oneshot(_) | Kind::Forking(_) => {
                let long = if calm { 50_000 } else { 9_000_000 };
                Some(micros(&mut rng, long))
            }
        };
        let good = calm || rng.u8(0..4) > 0;
        let mut process = Process::new(name.clone(), rng);
        process.forks = matches!(kind, Kind::Forking(_));
        let watchdog = kind.program().and_then(|it| it.watchdog.timeout);
        if let Some(timeout) = watchdog {
            process.rhythm = Some(timeout / 2);
            self.at(asked, said(run, Message::Alive));
        }
        self.processes.insert(run, process);
        if let Some(after) = end {
            let code = if good {
                0
            } else if asked.as_nanos().is_multiple_of(3) {
                5
            } else {
                3
            };
            self.die_later(run, asked + after, ExitStatus::Code(code));
        }
    }

    /// Plans when the process says by a line that it is ready, or closes the descriptor, if it ever
    /// does one of them.
    fn write_line(&mut self, run: RunId, asked: Time, rng: &mut Rng) {
        let mood = if self.calm { 0 } else { rng.u8(0..8) };
        let outcome = match mood {
            0..5 => Ok(()),
            5 | 6 => Err("it closed descriptor 3 without a line".into()),
            _ => return,
        };
        let late = if self.calm { 50_000 } else { 12_000_000 };
        let at = asked + micros(rng, late);
        self.at(at, Event::ReadyLine { run, outcome });
    }

    /// Plans the end of the main process; whichever end is planned last for an earlier time wins,
    /// as a dead process does not die again.
    pub(crate) fn die_later(&mut self, run: RunId, at: Time, status: ExitStatus) {
        self.at(at, Event::Exited { run, status });
    }

    /// The main process died: the rest may end with it, or stay.
    fn died(&mut self, run: RunId, now: Time) {
        let calm = self.calm;
        let Some(process) = self.processes.get_mut(&run) else {
            return;
        };
        process.dead = true;
        let forks = std::mem::take(&mut process.forks);
        process.has_left = forks && !process.gone && (calm || process.rng.u8(0..8) > 0);
        if process.has_left {
            return;
        }
        if process.scope == StopScope::Main {
            return self.leave_pods(run, now);
        }
        let leftovers = !calm && process.rng.u8(0..5) == 0;
        if !leftovers && !process.gone {
            process.gone = true;
            let after = micros(&mut process.rng, 3_000);
            self.at(now + after, Event::Emptied { run });
        }
    }

    pub(crate) fn signal(&mut self, run: RunId, signal: Signal, now: Time) {
        if signal == Signal::Kill {
            return self.kill_main(run, now);
        }
        let calm = self.calm;
        let Some(process) = self.processes.get_mut(&run) else {
            return;
        };
        let ignored = !calm && process.rng.u8(0..5) == 0;
        if process.dead || signal == Signal::Hup || ignored {
            return;
        }
        let slow = if calm { 50_000 } else { 5_000_000 };
        let at = now + micros(&mut process.rng, slow);
        let status = if process.rng.bool() {
            ExitStatus::Code(0)
        } else {
            ExitStatus::Signal {
                number: 15,
                core_dumped: false,
            }
        };
        self.die_later(run, at, status);
    }

    pub(crate) fn kill_all(&mut self, run: RunId, now: Time) {
        let Some(process) = self.processes.get_mut(&run) else {
            return;
        };
        // Once in a while a process hangs in the kernel.
        let hangs = !self.calm && process.rng.u8(0..60) == 0;
        let wait = if hangs { 150_000_000 } else { 2_000 };
        // Without memory the shell cannot kill: it says so, and tries again until it can.
        let begun = if self.calm {
            now
        } else {
            now.max(self.starved)
        };
        let killed = begun + micros(&mut process.rng, wait);
        let emptied = killed + micros(&mut process.rng, 2_000);
        let first = process.rng.bool();
        let dead = process.dead;
        process.has_left = false;
        self.pods.remove(&process.name);
        if !process.gone {
            process.gone = true;
            let at = if first { killed } else { emptied };
            self.at(at, Event::Emptied { run });
        }
        if !dead {
            let at = if first { emptied } else { killed };
            let status = ExitStatus::Signal {
                number: 9,
                core_dumped: false,
            };
            self.die_later(run, at, status);
        }
    }

    pub(crate) fn reload(&mut self, run: RunId, now: Time) {
        let calm = self.calm;
        let Some(process) = self.processes.get_mut(&run) else {
            return;
        };
        let outcome = if now < self.starved {
            Err("open the log: Too many open files (EMFILE)".into())
        } else if process.rng.u8(0..4) == 0 {
            Err("the reload command exited with status 1".into())
        } else {
            Ok(())
        };
        let never = !calm && process.rng.u8(0..5) == 0;
        let at = now + micros(&mut process.rng, 12_000_000);
        if !never {
            self.at(at, Event::ReloadEnded { run, outcome });
        }
    }

    /// Starts the probe of a run: good, bad, late, or without end.
    pub(crate) fn probe(&mut self, run: RunId, now: Time) {
        let calm = self.calm;
        let Some(process) = self.processes.get_mut(&run) else {
            return;
        };
        let probe = Probe {
            name: process.name.clone(),
            killed: false,
        };
        self.probes.insert(run, probe);
        if !calm && now < self.starved {
            let outcome = Err("clone3: Cannot allocate memory (ENOMEM)".into());
            self.at(now, Event::ProbeEnded { run, outcome });
            return;
        }
        let mood = if calm { 0 } else { process.rng.u8(0..8) };
        let outcome = match mood {
            0..5 => Ok(()),
            5 | 6 => Err("it exited with status 1".into()),
            _ => return,
        };
        let late = if calm { 50_000 } else { 4_000_000 };
        let at = now + micros(&mut process.rng, late);
        self.at(at, Event::ProbeEnded { run, outcome });
    }

    /// Kills the probe of a run; once in a while that takes long.
    pub(crate) fn kill_probe(&mut self, run: RunId, now: Time) {
        if let Some(probe) = self.probes.get_mut(&run) {
            probe.killed = true;
            let mut rng = Rng::with_seed(self.seed ^ now.as_nanos());
            let hangs = !self.calm && rng.u8(0..20) == 0;
            let at = now + micros(&mut rng, if hangs { 60_000_000 } else { 2_000 });
            let outcome = Err("it was killed by signal 9".into());
            self.at(at, Event::ProbeEnded { run, outcome });
        }
    }

    /// A probe of the service that nobody has killed, of any run.
    pub(crate) fn live_probe(&self, name: &ServiceName) -> bool {
        let mut probes = self.probes.values();
        probes.any(|probe| probe.name == *name && !probe.killed)
    }

    /// Kills the main process of the present run of `name`, if it has one.
    pub(crate) fn crash(&mut self, name: &ServiceName, now: Time) {
        let found = self.processes.iter();
        let run = found
            .filter(|(_, p)| p.name == *name && p.spawned && !p.dead)
            .map(|(run, _)| *run)
            .next();
        if let Some(run) = run {
            let status = ExitStatus::Signal {
                number: 11,
                core_dumped: true,
            };
            self.die_later(run, now, status);
        }
    }

    pub(crate) fn run_of(&self, name: &ServiceName) -> Option<RunId> {
        let mut found = self.processes.iter().filter(|(_, p)| p.name == *name);
        found.next().map(|(run, _)| *run)
    }
}

impl Process {
    pub(crate) fn new(name: ServiceName, rng: Rng) -> Self {
        Self {
            name,
            spawned: false,
            dead: false,
            emptied: false,
            gone: false,
            forks: false,
            has_left: false,
            scope: StopScope::Cgroup,
            inherited: false,
            rhythm: None,
            rng,
        }
    }
}

pub(crate) fn said(run: RunId, message: Message) -> Event {
    Event::Notified {
        run,
        message,
        from_main: true,
    }
}

pub(crate) fn micros(rng: &mut Rng, below: u64) -> Duration {
    Duration::from_micros(rng.u64(0..below))
}
