//! In the reference model: what services say of themselves, and what is made of their silence.

use std::time::Duration;

use services::definition::{Definition, Kind, Ready};
use services::id::RunId;
use services::notify::Message;
use services::time::Time;

use crate::entry::{Before, Cause, Deadline, Entry, Life, Live, Reloading};
use crate::model::Model;

/// How long after the end of a descriptor the end of its program may be told, and count instead.
const LAST_WORDS: Duration = Duration::from_millis(500);

impl Model {
    pub(crate) fn said(&mut self, run: RunId, message: &Message) {
        let now = self.now;
        let Some((definition, live)) = self.live(run) else {
            return;
        };
        let free = live.spawned.is_some() && live.cause.is_none();
        let up = free && live.ready.is_some();
        match message {
            // Whoever says so before its program is executed is not it.
            Message::Ready if free && !up && matches!(definition.kind, Kind::Notify(_)) => {
                live.said_ready |= live.before == Before::Done;
            }
            Message::Ready if up && matches!(live.reload, Reloading::Announced(_)) => {
                live.reload = Reloading::No;
                live.shows_life(definition, now);
            }
            Message::Reloading if up && live.reload == Reloading::No => {
                let deadline = Deadline::new(now, definition.start_timeout);
                live.reload = Reloading::Announced(deadline);
                live.alive_by = None;
            }
            Message::Stopping if free && live.exited.is_none() => {
                live.cause = Some(Cause::Itself);
                live.early = !up;
                live.stop = Some(Deadline::new(now, definition.stop.timeout));
            }
            Message::ExtendTimeout(by) => live.extend(now, *by),
            Message::Alive if up => live.shows_life(definition, now),
            Message::Broken if free && live.exited.is_none() => live.bite(definition, now),
            Message::WatchdogTimeout(timeout) => {
                live.watch = Some(*timeout);
                live.alive_by = None;
                if up {
                    live.shows_life(definition, now);
                }
            }
            Message::Begin(told) => self.begun(run, told),
            Message::Ready
            | Message::Reloading
            | Message::Stopping
            | Message::Alive
            | Message::Broken
            | Message::Status(_)
            | Message::Complaint(_)
            | Message::MainPid(_)
            | Message::Ignored(_) => {}
        }
    }

    /// A line that it is ready, or the end of the descriptor without one: then it has failed, but for
    /// the time in which its own end may be told.
    pub(crate) fn line(&mut self, run: RunId, good: bool) {
        let now = self.now;
        let Some((definition, live)) = self.live(run) else {
            return;
        };
        let ready = definition.kind.program().and_then(|it| it.ready.as_ref());
        let starts = live.spawned.is_some() && live.cause.is_none() && live.ready.is_none();
        match ready {
            Some(Ready::Line(_)) if starts && good => live.said_ready = true,
            Some(Ready::Line(_)) if starts => live.mute = Some(now + LAST_WORDS),
            Some(_) | None => {}
        }
    }

    /// Its reload command has ended.
    pub(crate) fn reloaded(&mut self, run: RunId) {
        let now = self.now;
        let Some((definition, live)) = self.live(run) else {
            return;
        };
        let up = live.ready.is_some() && live.cause.is_none();
        match live.reload {
            Reloading::Command(_) if up => {
                live.reload = Reloading::No;
                live.shows_life(definition, now);
            }
            Reloading::Overdue if up => live.reload = Reloading::No,
            Reloading::Command(_)
            | Reloading::Overdue
            | Reloading::Announced(_)
            | Reloading::No => {}
        }
    }
}

impl Live {
    /// It may be silent for a whole time-out from now on.
    pub(crate) fn shows_life(&mut self, definition: &Definition, now: Time) {
        let program = definition.kind.program();
        let by_file = program.and_then(|it| it.watchdog.timeout);
        let reads = matches!(self.reload, Reloading::Announced(_) | Reloading::Command(_));
        if !reads && self.exited.is_none() {
            self.alive_by = self.watch.unwrap_or(by_file).map(|limit| now + limit);
        }
    }

    fn bite(&mut self, definition: &Definition, now: Time) {
        self.cause = Some(Cause::Bitten);
        self.stop = Some(Deadline::new(now, definition.stop.timeout));
    }

    /// It asks for more time, for what it is doing.
    fn extend(&mut self, now: Time, by: Duration) {
        let deadline = match (self.cause, self.ready, &mut self.reload) {
            (None, None, _) => self.start.as_mut(),
            (None, Some(_), Reloading::Announced(deadline) | Reloading::Command(deadline))
                if deadline.at > now =>
            {
                Some(deadline)
            }
            (None, Some(_), _) => None,
            (Some(_), _, _) if self.killed => None,
            (Some(_), _, _) => self.stop.as_mut(),
        };
        if let Some(deadline) = deadline {
            deadline.extend(now, by);
        }
    }
}

impl Entry {
    /// What is due of its word: a reload that takes too long is no excuse any more, and a service that
    /// was silent for too long is ended.
    pub(crate) fn silence(&mut self, due: Time, now: Time) {
        let Life::Live(live) = &mut self.life else {
            return;
        };
        if live.cause.is_some() || live.ready.is_none() {
            return;
        }
        if matches!(live.reload, Reloading::Announced(deadline) if deadline.at <= due) {
            live.reload = Reloading::No;
            live.shows_life(&self.definition, now);
        }
        if matches!(live.reload, Reloading::Command(deadline) if deadline.at <= due) {
            live.reload = Reloading::Overdue;
            live.shows_life(&self.definition, now);
        }
        let alive_by = live.alive_by.unwrap_or(Time::MAX);
        if alive_by <= due && live.cause.is_none() && live.exited.is_none() {
            live.bite(&self.definition, now);
        }
    }
}
