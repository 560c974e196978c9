//! Everything stage1 has to say: to the kernel log, to the console, and to init by the hand-over.
//!
//! Not here: what is said. A message never decides anything and never fails; a machine without a
//! console or a kernel log still boots.

use std::io::Write;

use kernel::kmsg::{Kmsg, Level};

use super::phase::Phase;

/// The most lines of a kind kept for the hand-over: a machine with more to say than this has said
/// enough.
const LIST_LIMIT: usize = 64;

/// Where stage1 reports to, and what it keeps for init.
#[derive(Debug, Default)]
pub(crate) struct Report {
    debug: bool,
    timings: Vec<(Phase, u64)>,
    missing: Vec<String>,
    notes: Vec<String>,
}

impl Report {
    /// From here on each step is printed on the console (`shark.debug`).
    pub(crate) fn set_debug(&mut self) {
        self.debug = true;
    }

    /// `phase` ended now. Of a phase that is done again, after a slot was refused or out of rescue,
    /// the last time counts.
    pub(crate) fn ended(&mut self, phase: Phase) {
        let now = kernel::clock::boottime();
        self.timings.retain(|(known, _)| *known != phase);
        self.timings.push((phase, now));
        self.step(&format!("{phase} ended at {} ms", now / 1_000_000));
    }

    /// A step that only somebody who asked for it wants to see.
    pub(crate) fn step(&self, text: &str) {
        if self.debug {
            print_console(text);
        }
        log(Level::Debug, text);
    }

    /// One of the few lines that every boot leaves in the kernel log.
    pub(crate) fn note(&self, text: &str) {
        if self.debug {
            print_console(text);
            log(Level::Debug, text);
        } else {
            log(Level::Info, text);
        }
    }

    /// The machine lacks something and the boot goes on: logged, and told to init, which shows it
    /// in `sharkctl boot`.
    pub(crate) fn lack(&mut self, text: String) {
        log(Level::Warning, &text);
        if self.missing.len() < LIST_LIMIT && !self.missing.contains(&text) {
            self.missing.push(text);
        }
    }

    /// What begins so is there after all.
    pub(crate) fn no_longer_lacks(&mut self, prefix: &str) {
        self.missing.retain(|text| !text.starts_with(prefix));
    }

    /// Forgets all that is lacking but the first `count`: what a slot lacked that is not booted after
    /// all.
    pub(crate) fn keep_lacks(&mut self, count: usize) {
        self.missing.truncate(count);
    }

    /// Something is not as it should be, and the boot goes on: logged, and told to init.
    pub(crate) fn warn(&mut self, text: String) {
        log(Level::Warning, &text);
        self.keep_note(text);
    }

    /// A slot failed: on the console whatever the log level of the kernel is, and told to init.
    pub(crate) fn failed(&mut self, text: String) {
        print_console(&text);
        log(Level::Debug, &text);
        self.keep_note(text);
    }

    /// Once: what is done again says the same again.
    fn keep_note(&mut self, text: String) {
        if self.notes.len() < LIST_LIMIT && !self.notes.contains(&text) {
            self.notes.push(text);
        }
    }

    /// When each phase ended: nanoseconds of CLOCK_BOOTTIME.
    pub(crate) fn timings(&self) -> &[(Phase, u64)] {
        &self.timings
    }

    /// What [`Report::lack`] was told.
    pub(crate) fn missing(&self) -> &[String] {
        &self.missing
    }

    /// What [`Report::warn`] and [`Report::failed`] were told.
    pub(crate) fn notes(&self) -> &[String] {
        &self.notes
    }
}

/// One line on the console. Also used where there is no `Report` any more: rescue and the panic
/// hook.
pub(crate) fn print_console(text: &str) {
    let mut out = std::io::stderr().lock();
    // Nobody is left to tell when the console does not take it.
    let _ = writeln!(out, "shark: {text}").and_then(|()| out.flush());
}

/// One record in the kernel log at the level of an error.
pub(crate) fn log_error(text: &str) {
    log(Level::Error, text);
}

/// The file is opened anew for each record because the kernel limits the rate of one open file to
/// ten records in five seconds, and a boot with `shark.debug` has more.
fn log(level: Level, text: &str) {
    Kmsg::open("shark").log(level, text);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notes_for_init_are_bounded() {
        let mut report = Report::default();
        for number in 0..LIST_LIMIT + 5 {
            report.lack(format!("thing {number}"));
            report.lack(format!("thing {number}"));
        }
        assert_eq!(report.missing().len(), LIST_LIMIT);
        assert_eq!(
            report.missing().first().map(String::as_str),
            Some("thing 0")
        );
        report.no_longer_lacks("thing 0");
        assert_eq!(report.missing().len(), LIST_LIMIT - 1);
        report.keep_lacks(1);
        assert_eq!(report.missing(), ["thing 1"]);
    }

    #[test]
    fn a_phase_that_is_done_again_ends_once() {
        let mut report = Report::default();
        for phase in [Phase::Disk, Phase::Root, Phase::Root, Phase::Data] {
            report.ended(phase);
        }
        let phases: Vec<Phase> = report.timings().iter().map(|(phase, _)| *phase).collect();
        assert_eq!(phases, [Phase::Disk, Phase::Root, Phase::Data]);
    }
}
