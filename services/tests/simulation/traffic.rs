//! In the simulated kernel: sockets of lazy services, and who comes to them.

use fastrand::Rng;
use services::id::{RunId, ServiceId};
use services::supervisor::event::Event;
use services::time::Time;

use crate::kernel::{Kernel, micros};

impl Kernel {
    /// Opens sockets, if they can be opened.
    pub(crate) fn listen(&mut self, run: RunId, now: Time) {
        let mut rng = self.rng_of(run);
        let at = now + micros(&mut rng, 2_000);
        let fails = !self.calm && (self.starves(now) || rng.u8(0..8) == 0);
        let event = if fails {
            let cause = "bind /run/s: Address already in use (EADDRINUSE)".into();
            Event::SpawnFailed { run, cause }
        } else {
            Event::Listening { run }
        };
        self.at(at, event);
    }

    /// They are open: somebody comes at once, as what came before was not taken, or later, or never.
    pub(crate) fn watch(&mut self, run: RunId, now: Time) {
        let mut rng = self.rng_of(run);
        self.watched.insert(run.service);
        let wait = match rng.u8(0..8) {
            0 | 1 => 1,
            2..6 => 6_000_000,
            _ => return,
        };
        if !self.calm {
            let service = run.service;
            self.at(now + micros(&mut rng, wait), Event::Traffic { service });
        }
    }

    /// Nobody listens there any longer.
    pub(crate) fn unlisten(&mut self, service: ServiceId) {
        self.watched.remove(&service);
    }

    fn rng_of(&self, run: RunId) -> Rng {
        let tag = u64::from(run.run) << 32 | u64::from(run.service.index);
        Rng::with_seed(self.seed() ^ tag.wrapping_mul(0x9e37_79b9_7f4a_7c15))
    }
}
