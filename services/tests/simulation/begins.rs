//! In the simulated kernel: what is done before a program, and the process that a forking service leaves.

use std::path::Path;
use std::time::Duration;

use fastrand::Rng;
use services::begin::Test;
use services::definition::Definition;
use services::id::RunId;
use services::notify::{Begun, Message};
use services::supervisor::event::{Event, ExitStatus};
use services::time::Time;

use crate::generate::PATHS;
use crate::kernel::{Kernel, Process, micros, said};

impl Kernel {
    /// The starter looks at conditions. When the program is executed; `None`: not at all.
    pub(crate) fn begin(
        &mut self,
        run: RunId,
        definition: &Definition,
        spawned: Time,
        rng: &mut Rng,
    ) -> Option<Time> {
        if !definition.has_starter() {
            return Some(spawned);
        }
        let begin = &definition.kind.program()?.begin;
        let at = spawned + micros(rng, 30_000);
        let failed = || Begun::Failed("a file of variables is not there".into());
        let skipped = || Begun::Skipped("a path".into());
        let mood = if self.calm { 9 } else { rng.u8(0..24) };
        let told = match mood {
            0 => None,
            1 => Some(failed()),
            _ if begin.conditions.iter().any(|it| !holds(&it.test, run)) => Some(skipped()),
            _ => Some(Begun::Ready),
        };
        // The program cannot be executed in the end.
        let not_executed = mood == 2 && told == Some(Begun::Ready);
        if told == Some(Begun::Ready) && !not_executed {
            self.at(at, said(run, Message::Begin(Begun::Ready)));
            return Some(at);
        }
        let status = ExitStatus::Code(u8::from(told != Some(skipped())));
        let hangs = told.is_none();
        if let Some(told) = told {
            self.at(at, said(run, Message::Begin(told)));
        }
        if not_executed {
            self.at(at, said(run, Message::Begin(failed())));
        }
        let process = Process::new(definition.name.clone(), rng.clone());
        self.processes.insert(run, process);
        if !hangs {
            self.at(at + micros(rng, 2_000), Event::Exited { run, status });
        }
        None
    }

    /// Looks for what the command of a forking service has left: in vain, or for as long as it takes.
    pub(crate) fn find_main(&mut self, run: RunId, now: Time) {
        let calm = self.calm;
        let nothing = || Err("its command has ended and left no process".to_owned());
        let (after, outcome) = match self.processes.get_mut(&run) {
            Some(process) if process.has_left => match process.rng.u8(0..8) {
                0 if !calm => (5_000_000, nothing()),
                1 if !calm => (process.rng.u64(0..5_000_000), Ok(())),
                _ => (process.rng.u64(0..50_000), Ok(())),
            },
            Some(_) | None => (0, nothing()),
        };
        let at = now + Duration::from_micros(after);
        self.at(at, Event::MainSought { run, outcome });
    }

    /// What has been killed meanwhile is not found.
    pub(crate) fn find_too_late(&mut self, event: &mut Event) {
        if let Event::MainSought { run, outcome } = event {
            let there = self.processes.get(run).is_some_and(|it| it.has_left);
            if outcome.is_ok() && !there {
                *outcome = Err("it is being stopped".into());
            }
        }
    }

    /// What it has left is the main process from now on.
    pub(crate) fn found(&mut self, run: RunId, now: Time) {
        let calm = self.calm;
        let Some(process) = self.processes.get_mut(&run) else {
            return;
        };
        process.dead = false;
        process.has_left = false;
        let life =
            (!calm && process.rng.u8(0..3) == 0).then(|| micros(&mut process.rng, 20_000_000));
        let status = ExitStatus::Code(process.rng.u8(0..2) * 3);
        if process.rhythm.is_some() {
            self.at(now, said(run, Message::Alive));
        }
        if let Some(life) = life {
            self.at(now + life, Event::Exited { run, status });
        }
    }
}

/// Whether a condition holds for this run.
fn holds(test: &Test, run: RunId) -> bool {
    let [always, never, _] = PATHS;
    let Test::Path(path) = test else {
        return true;
    };
    let (always, never) = (path == Path::new(always), path == Path::new(never));
    always || (!never && run.run.is_multiple_of(2))
}
