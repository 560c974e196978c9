//! What one measurement said, taken out of the console's text.

use super::contestant::Contestant;
use super::machine::Work;
use super::turns::{self, Turns};

/// Lines that the probe writes begin with this.
const MARK: &str = "BENCH ";

/// The figures of one contestant with so many services.
#[derive(Clone, Debug)]
pub(super) struct Outcome {
    pub(super) name: String,
    pub(super) label: String,
    pub(super) dependencies: &'static str,
    pub(super) n: u32,
    /// Bytes of its programs and the libraries they load.
    pub(super) size: u64,
    pub(super) end: End,
    /// How long the turns of its PID 1 took, where it tells.
    pub(super) turns: Vec<Turns>,
    figures: Vec<(String, u64)>,
}

/// How a measurement ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// All services ran, and everything was measured.
    Measured,
    /// Only so many services ran within so many seconds of the guest.
    NotFinished { started: u64, limit: u32 },
    /// It could not be measured, or not all of it.
    Failed(String),
}

impl Outcome {
    /// Takes the lines of the probe out of `text`.
    pub(super) fn parse(contestant: &Contestant, work: Work, size: u64, text: &str) -> Self {
        let figures = figures(text);
        Self {
            size,
            end: end(&figures, work.limit, text),
            turns: turns::parse(text),
            figures,
            ..Self::failed(contestant, work, String::new())
        }
    }

    /// One that could not be measured at all.
    pub(super) fn failed(contestant: &Contestant, work: Work, why: String) -> Self {
        Self {
            name: contestant.name().to_owned(),
            label: contestant.label(),
            dependencies: contestant.dependencies(),
            n: work.n,
            size: 0,
            end: End::Failed(why),
            turns: Vec::new(),
            figures: Vec::new(),
        }
    }

    /// What there is to say beside the figures.
    pub(super) fn remark(&self) -> Option<String> {
        match &self.end {
            End::Measured => None,
            End::NotFinished { started, limit } => Some(format!(
                "{started} of {} services ran within {limit} s of the guest",
                self.n
            )),
            End::Failed(why) => Some(format!("not measured: {why}")),
        }
    }

    /// The figure of that name.
    pub(super) fn get(&self, key: &str) -> Option<u64> {
        let found = self.figures.iter().find(|(name, _)| name == key);
        found.map(|(_, value)| *value)
    }

    /// The quantile of all restarts, nanoseconds; absent where one did not come back.
    pub(super) fn restart(&self, percent: usize) -> Option<u64> {
        if self.get("restart-lost").is_some() {
            return None;
        }
        let mut times: Vec<u64> = self
            .figures
            .iter()
            .filter(|(name, _)| name == "restart-ns")
            .map(|(_, value)| *value)
            .collect();
        times.sort_unstable();
        let at = (times.len() * percent).div_ceil(100).saturating_sub(1);
        times.get(at).copied()
    }

    /// One line while it goes on.
    pub(super) fn summary(&self) -> String {
        if let Some(remark) = self.remark() {
            return remark;
        }
        let ms = |ns: Option<u64>| ns.map_or("-".to_owned(), milliseconds);
        format!(
            "ready {} ms, restart {} ms (p99 {}), PID 1 {} KiB anonymous",
            ms(self.get("ready-ns")),
            ms(self.restart(50)),
            ms(self.restart(99)),
            self.get("init-anonymous-kib").unwrap_or(0)
        )
    }
}

/// The probe ends with a line that says so; a machine that ends without it has had an accident.
fn end(figures: &[(String, u64)], limit: u32, text: &str) -> End {
    let get = |key: &str| figures.iter().find(|(name, _)| name == key);
    match (get("end"), get("started-only")) {
        (Some(_), _) => End::Measured,
        (None, Some((_, started))) => End::NotFinished {
            started: *started,
            limit,
        },
        (None, None) => {
            let panic = text.lines().find(|line| line.contains("Kernel panic"));
            let last = || text.lines().rfind(|line| !line.trim().is_empty());
            let last = panic.or_else(last).map_or("nothing", str::trim);
            End::Failed(format!(
                "the machine ended before the probe had, its last words: {last}"
            ))
        }
    }
}

fn figures(text: &str) -> Vec<(String, u64)> {
    text.lines()
        .filter_map(|line| line.trim().strip_prefix(MARK)?.split_once(' '))
        .filter_map(|(key, value)| Some((key.to_owned(), value.parse().ok()?)))
        .collect()
}

/// Nanoseconds in milliseconds, with three digits that count.
#[allow(clippy::cast_precision_loss, reason = "for people")]
pub(super) fn milliseconds(ns: u64) -> String {
    three_digits(ns as f64 / 1e6)
}

/// A number with three digits that count, and all those before the point.
pub(super) fn three_digits(number: f64) -> String {
    match number {
        number if number < 9.995 => format!("{number:.2}"),
        number if number < 99.95 => format!("{number:.1}"),
        number => format!("{number:.0}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(text: &str) -> Outcome {
        Outcome {
            name: "x".into(),
            label: "x".into(),
            dependencies: "no",
            n: 10,
            size: 0,
            end: End::Measured,
            turns: Vec::new(),
            figures: figures(text),
        }
    }

    #[test]
    fn figures_are_found_between_other_peoples_lines() {
        let it = outcome("hello\r\nBENCH ready-ns 2540000\r\nBENCH odd\nBENCH init-rss-kib x\n");
        assert_eq!(it.get("ready-ns"), Some(2_540_000));
        assert_eq!(it.get("init-rss-kib"), None);
        assert_eq!(milliseconds(2_540_000), "2.54");
        assert_eq!(milliseconds(9_996_000), "10.0");
    }

    #[test]
    fn a_machine_that_ends_early_is_no_result() {
        let text = "BENCH ready-ns 1\nKernel panic - not syncing\n\n";
        let End::Failed(why) = end(&figures(text), 60, text) else {
            panic!("a failure");
        };
        assert!(why.ends_with("its last words: Kernel panic - not syncing"));
        let text = "BENCH started-only 7\n[  60.1] reboot: Restarting system\n";
        assert_eq!(
            end(&figures(text), 60, text),
            End::NotFinished {
                started: 7,
                limit: 60
            }
        );
        let text = "BENCH ready-ns 1\nBENCH end 1\n";
        assert_eq!(end(&figures(text), 60, text), End::Measured);
    }

    #[test]
    fn quantiles_of_restarts_and_none_where_one_is_lost() {
        let lines: String = (1..=20)
            .map(|i| format!("BENCH restart-ns {i}\n"))
            .collect();
        assert_eq!(outcome(&lines).restart(50), Some(10));
        assert_eq!(outcome(&lines).restart(99), Some(20));
        assert_eq!(outcome("").restart(50), None);
        assert_eq!(
            outcome(&format!("{lines}BENCH restart-lost 1\n")).restart(50),
            None
        );
    }
}
