//! What one measurement said, taken out of the console's text.

use super::contestant::Contestant;

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
    figures: Vec<(String, u64)>,
}

impl Outcome {
    /// Takes the lines of the probe out of `text`.
    pub(super) fn parse(contestant: &Contestant, n: u32, size: u64, text: &str) -> Self {
        Self {
            name: contestant.name().to_owned(),
            label: contestant.label(),
            dependencies: contestant.dependencies(),
            n,
            size,
            figures: figures(text),
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

fn figures(text: &str) -> Vec<(String, u64)> {
    text.lines()
        .filter_map(|line| line.trim().strip_prefix(MARK)?.split_once(' '))
        .filter_map(|(key, value)| Some((key.to_owned(), value.parse().ok()?)))
        .collect()
}

/// Nanoseconds in milliseconds, with three digits that count.
#[allow(clippy::cast_precision_loss, reason = "for people")]
pub(super) fn milliseconds(ns: u64) -> String {
    let ms = ns as f64 / 1e6;
    match ms {
        ms if ms < 10.0 => format!("{ms:.2}"),
        ms if ms < 100.0 => format!("{ms:.1}"),
        ms => format!("{ms:.0}"),
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
            figures: figures(text),
        }
    }

    #[test]
    fn figures_are_found_between_other_peoples_lines() {
        let it = outcome("hello\r\nBENCH ready-ns 2540000\r\nBENCH odd\nBENCH init-rss-kib x\n");
        assert_eq!(it.get("ready-ns"), Some(2_540_000));
        assert_eq!(it.get("init-rss-kib"), None);
        assert_eq!(milliseconds(2_540_000), "2.54");
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
