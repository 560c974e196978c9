//! How long services usually take to start on this machine, learned over its boots, and which of
//! them needed far more this time. Not here: reading and writing the file (the shell), and any
//! verdict: a slow service is reported with the boot, and decides nothing.
//!
//! The usual time is the median of the last [`SAMPLES_MAX`] starts: one boot on a cold disk, or with
//! a filesystem check, does not move it, and a machine that really became slower is used to it after
//! half as many boots.
//!
//! The file is JSON: `{"version":1,"observed":N,"services":{"NAME":{"last":N,"ms":[...]}}}`, oldest
//! sample first. `last` is which observation the newest sample was; the service that has not been
//! seen for longest is forgotten when there are too many.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::id::{NAME_MAX, ServiceName};
use crate::time::Duration;

/// Most services that are remembered.
pub const SERVICES_MAX: usize = 4096;
/// Most starts that are remembered of one.
pub const SAMPLES_MAX: usize = 16;
/// With fewer starts than this, nothing is usual yet.
pub const SAMPLES_MIN: usize = 3;
/// Longest file that is read, in bytes: more than the most that can be written.
pub const FILE_MAX: usize = SERVICES_MAX * (NAME_MAX + SAMPLES_MAX * 11 + 48) + 64;
/// A start is slow beyond this many times the usual one...
const TIMES: u32 = 3;
/// ... and this much over it: of a start within milliseconds, three times is noise.
const OVER: Duration = Duration::from_secs(2);
/// The layout this code reads and writes.
const VERSION: u32 = 1;

/// What has been learned.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Budgets {
    /// Observations ever made.
    observed: u64,
    services: BTreeMap<ServiceName, Starts>,
}

/// The starts of one service.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Starts {
    /// Which observation the newest was.
    last: u64,
    /// Milliseconds, oldest first.
    ms: Vec<u32>,
}

/// A start that took far longer than usual.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slow {
    /// The usual time.
    pub usual: Duration,
    /// This time.
    pub took: Duration,
}

/// `took 12.0s to start, usually 1.1s`
impl fmt::Display for Slow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let took = self.took.as_secs_f64();
        let usual = self.usual.as_secs_f64();
        write!(f, "took {took:.1}s to start, usually {usual:.1}s")
    }
}

/// Why bytes are not what was learned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BudgetError {
    /// More than is ever written.
    TooLong(usize),
    /// Not JSON, or not of this form.
    Form(String),
    /// Another version of the layout.
    Version(u32),
    /// More services than are ever remembered.
    Services(usize),
    /// A service with no sample or with too many.
    Samples {
        /// Which service.
        name: String,
        /// How many samples.
        count: usize,
    },
    /// A sample that no observation can have been.
    Order(String),
}

impl fmt::Display for BudgetError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "read the learned start times: ")?;
        match self {
            Self::TooLong(bytes) => write!(f, "{bytes} bytes are more than {FILE_MAX}"),
            Self::Form(why) => write!(f, "{why}"),
            Self::Version(version) => {
                write!(
                    f,
                    "they have version {version}, this program reads {VERSION}"
                )
            }
            Self::Services(count) => {
                write!(f, "{count} services are more than {SERVICES_MAX}")
            }
            Self::Samples { name, count } => {
                write!(f, "`{name}` has {count} samples, not 1 to {SAMPLES_MAX}")
            }
            Self::Order(name) => write!(f, "`{name}` was observed later than the last observation"),
        }
    }
}

impl std::error::Error for BudgetError {}

/// The file as it is written.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    version: u32,
    observed: u64,
    services: BTreeMap<ServiceName, Starts>,
}

impl Budgets {
    /// What [`Self::encode`] wrote.
    ///
    /// # Errors
    /// [`BudgetError`]: the caller begins anew, as nothing hangs on it.
    pub fn decode(bytes: &[u8]) -> Result<Self, BudgetError> {
        if bytes.len() > FILE_MAX {
            return Err(BudgetError::TooLong(bytes.len()));
        }
        let File {
            version,
            observed,
            services,
        } = serde_json::from_slice(bytes).map_err(|error| BudgetError::Form(error.to_string()))?;
        if version != VERSION {
            return Err(BudgetError::Version(version));
        }
        if services.len() > SERVICES_MAX {
            return Err(BudgetError::Services(services.len()));
        }
        for (name, starts) in &services {
            let count = starts.ms.len();
            if !(1..=SAMPLES_MAX).contains(&count) {
                let name = name.to_string();
                return Err(BudgetError::Samples { name, count });
            }
            if starts.last > observed {
                return Err(BudgetError::Order(name.to_string()));
            }
        }
        Ok(Self { observed, services })
    }

    /// All of it as JSON, with a line break at the end.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let file = File {
            version: VERSION,
            observed: self.observed,
            services: self.services.clone(),
        };
        // Numbers and names: nothing in it can fail to be written.
        let mut bytes = serde_json::to_vec(&file).unwrap_or_default();
        bytes.push(b'\n');
        bytes
    }

    /// Learns from one start. A name that is of no service teaches nothing.
    pub fn observe(&mut self, name: &str, took: Duration) {
        let Ok(name) = ServiceName::new(name) else {
            return;
        };
        self.observed = self.observed.saturating_add(1);
        if !self.services.contains_key(&name) && self.services.len() >= SERVICES_MAX {
            self.forget_oldest();
        }
        let starts = self.services.entry(name).or_default();
        starts.last = self.observed;
        if starts.ms.len() >= SAMPLES_MAX {
            starts.ms.remove(0);
        }
        starts
            .ms
            .push(u32::try_from(took.as_millis()).unwrap_or(u32::MAX));
    }

    /// The usual time, once there is one.
    #[must_use]
    pub fn usual(&self, name: &str) -> Option<Duration> {
        let starts = self.services.get(name)?;
        if starts.ms.len() < SAMPLES_MIN {
            return None;
        }
        let mut sorted = starts.ms.clone();
        sorted.sort_unstable();
        let middle = sorted.get(sorted.len() / 2)?;
        Some(Duration::from_millis(u64::from(*middle)))
    }

    /// Whether a start that `took` so long was far slower than usual. Ask before it is learned.
    #[must_use]
    pub fn slow(&self, name: &str, took: Duration) -> Option<Slow> {
        let usual = self.usual(name)?;
        let slow = took > usual.saturating_mul(TIMES) && took > usual.saturating_add(OVER);
        slow.then_some(Slow { usual, took })
    }

    /// How many services are remembered.
    #[must_use]
    pub fn len(&self) -> usize {
        self.services.len()
    }

    /// Nothing has been learned yet.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.services.is_empty()
    }

    fn forget_oldest(&mut self) {
        let oldest = self.services.iter().min_by_key(|(_, starts)| starts.last);
        if let Some(name) = oldest.map(|(name, _)| name.clone()) {
            self.services.remove(&name);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn millis(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    fn learned(samples: &[u64]) -> Budgets {
        let mut budgets = Budgets::default();
        for ms in samples {
            budgets.observe("web", millis(*ms));
        }
        budgets
    }

    #[test]
    fn nothing_is_usual_before_three_starts() {
        assert_eq!(learned(&[100, 100]).slow("web", millis(90_000)), None);
        let slow = learned(&[100, 100, 100]).slow("web", millis(90_000));
        assert_eq!(slow.unwrap().usual, millis(100));
        assert_eq!(learned(&[100; 5]).slow("db", millis(90_000)), None);
    }

    #[test]
    fn slow_is_three_times_the_usual_and_two_seconds_more() {
        let check = |usual: u64, took: u64, expect: bool| {
            let slow = learned(&[usual; 4]).slow("web", millis(took));
            assert_eq!(slow.is_some(), expect, "usually {usual}, took {took}");
        };
        check(10, 2_010, false);
        check(10, 2_011, true);
        check(1_000, 3_000, false);
        check(1_000, 3_001, true);
        check(0, 2_001, true);
        check(60_000, 62_500, false);
        let told = learned(&[1_100; 3]).slow("web", millis(12_000)).unwrap();
        assert_eq!(told.to_string(), "took 12.0s to start, usually 1.1s");
    }

    #[test]
    fn one_odd_boot_moves_nothing_and_a_new_pace_is_learned() {
        let mut budgets = learned(&[100; 16]);
        budgets.observe("web", millis(50_000));
        assert_eq!(budgets.usual("web"), Some(millis(100)));
        for _ in 0..8 {
            budgets.observe("web", millis(9_000));
        }
        assert_eq!(budgets.usual("web"), Some(millis(9_000)));
        assert_eq!(budgets.slow("web", millis(9_100)), None);
    }

    #[test]
    fn whoever_was_not_seen_for_longest_is_forgotten() {
        let mut budgets = Budgets::default();
        for index in 0..SERVICES_MAX {
            budgets.observe(&format!("s{index}"), millis(1));
        }
        budgets.observe("s0", millis(1));
        budgets.observe("new", millis(1));
        assert_eq!(budgets.len(), SERVICES_MAX);
        assert!(!budgets.services.contains_key("s1"));
        assert!(budgets.services.contains_key("s0") && budgets.services.contains_key("new"));
        budgets.observe("no name", millis(1));
        assert_eq!(budgets.len(), SERVICES_MAX);
    }

    #[test]
    fn the_largest_file_can_be_read() {
        let mut budgets = Budgets::default();
        for index in 0..SERVICES_MAX * SAMPLES_MAX {
            let name = format!("{:x<60}{:04}", "", index % SERVICES_MAX);
            budgets.observe(&name, Duration::MAX);
        }
        let bytes = budgets.encode();
        assert!(bytes.len() <= FILE_MAX, "{} of {FILE_MAX}", bytes.len());
        assert_eq!(Budgets::decode(&bytes), Ok(budgets));
        let long = vec![b' '; FILE_MAX + 1];
        assert_eq!(
            Budgets::decode(&long),
            Err(BudgetError::TooLong(FILE_MAX + 1))
        );
    }

    #[test]
    fn what_is_not_of_this_form_is_refused() {
        let check = |text: &str, expect: &str| {
            let error = Budgets::decode(text.as_bytes()).unwrap_err().to_string();
            assert!(error.contains(expect), "{text}: {error}");
        };
        check("", "EOF");
        check("[]", "invalid length 0");
        check("{}", "missing field");
        check(
            r#"{"version":1,"observed":1,"services":{},"x":1}"#,
            "unknown field `x`",
        );
        check(r#"{"version":2,"observed":1,"services":{}}"#, "version 2");
        let one =
            |starts: &str| format!(r#"{{"version":1,"observed":1,"services":{{"a":{starts}}}}}"#);
        check(&one(r#"{"last":1,"ms":[]}"#), "`a` has 0 samples");
        check(&one(r#"{"last":2,"ms":[1]}"#), "observed later");
        check(&one(r#"{"last":1,"ms":[-1]}"#), "invalid value");
        check(
            &one(&format!(r#"{{"last":1,"ms":{:?}}}"#, [1; 17])),
            "17 samples",
        );
        check(
            r#"{"version":1,"observed":1,"services":{"/":{"last":1,"ms":[1]}}}"#,
            "service name",
        );
    }

    proptest! {
        #[test]
        fn what_is_written_can_be_read(
            starts in prop::collection::vec(("[a-z][a-z0-9.]{0,5}", any::<u64>()), 0..200),
        ) {
            let mut budgets = Budgets::default();
            for (name, ms) in &starts {
                budgets.observe(name, millis(*ms));
            }
            prop_assert!(budgets.services.values().all(|it| it.ms.len() <= SAMPLES_MAX));
            prop_assert_eq!(Budgets::decode(&budgets.encode()), Ok(budgets));
        }

        #[test]
        fn the_usual_lies_among_the_samples(
            samples in prop::collection::vec(0u64..100_000, 3..40),
        ) {
            let usual = learned(&samples).usual("web").unwrap();
            let last = &samples[samples.len().saturating_sub(SAMPLES_MAX)..];
            prop_assert!(last.iter().any(|ms| millis(*ms) == usual));
        }

        #[test]
        fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = Budgets::decode(&bytes);
        }
    }
}
