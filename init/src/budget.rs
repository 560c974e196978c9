//! The budget child, `init budget`: finds out which services needed far more than their usual time to
//! start, and learns from this boot. Not here: what is usual (`services::budget`), and who is told
//! (`pid1::gate`).

use std::process::ExitCode;

use serde::{Deserialize, Serialize};
use services::budget::{Budgets, FILE_MAX};
use services::time::Duration;

use crate::errand;

/// What was learned over the boots of this machine; on the data partition, shared by both slots.
pub const PATH: &str = "/var/lib/shark/start-times.json";
const DIRECTORY_MODE: u32 = 0o755;
const FILE_MODE: u32 = 0o644;

/// Milliseconds that each service needed to start in this boot, and its name.
pub type StartTimes = Vec<(String, u32)>;

/// The answer.
#[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Learned {
    /// Services that were slow, each as `name took ...`.
    pub slow: Vec<String>,
    /// What was wrong with the file, for people.
    pub problems: Vec<String>,
}

/// Runs the child; the start times come as its input.
#[must_use]
pub fn run() -> ExitCode {
    let times = errand::input();
    let learned = times.and_then(|times: StartTimes| errand::pack(&learn(PATH, &times)));
    errand::answer(learned)
}

/// Compares with what is usual, then learns. A file that is damaged is begun anew, one that cannot
/// be written stays as it is: no boot depends on it.
fn learn(path: &str, times: &[(String, u32)]) -> Learned {
    let mut problems = Vec::new();
    let mut budgets = match kernel::files::read(path, FILE_MAX) {
        Ok(bytes) => Budgets::decode(&bytes).unwrap_or_else(|error| {
            problems.push(format!("{path}: {error}: learning begins anew"));
            Budgets::default()
        }),
        Err(error) if error.errno == kernel::Errno::NOENT => Budgets::default(),
        Err(error) => {
            problems.push(format!("{error}: learning begins anew"));
            Budgets::default()
        }
    };
    let mut slow = Vec::new();
    for (name, millis) in times {
        let took = Duration::from_millis((*millis).into());
        if let Some(found) = budgets.slow(name, took) {
            slow.push(format!("{name} {found}"));
        }
        budgets.observe(name, took);
    }
    let directory = path.rsplit_once('/').map_or("/", |(parent, _)| parent);
    let written = kernel::files::make_dirs(directory, DIRECTORY_MODE)
        .and_then(|()| kernel::files::replace(path, &budgets.encode(), FILE_MODE));
    if let Err(error) = written {
        problems.push(format!("start times are not remembered: {error}"));
    }
    Learned { slow, problems }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn times(millis: u32) -> StartTimes {
        vec![("web".to_owned(), millis)]
    }

    #[test]
    fn a_slow_start_is_told_once_the_usual_is_known() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lib/start-times.json");
        let path = path.to_str().unwrap();
        for _ in 0..3 {
            assert_eq!(learn(path, &times(100)), Learned::default());
        }
        let learned = learn(path, &times(60_000));
        let [slow] = learned.slow.as_slice() else {
            panic!("{learned:?}");
        };
        assert!(slow.starts_with("web took 60.0s"), "{slow}");
        assert_eq!(learned.problems, [""; 0]);
    }

    #[test]
    fn a_damaged_file_is_said_and_begun_anew() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("start-times.json");
        std::fs::write(&path, "{").unwrap();
        let path = path.to_str().unwrap();
        let learned = learn(path, &times(100));
        assert!(learned.problems[0].contains("learning begins anew"));
        assert_eq!(learn(path, &times(100)), Learned::default());
        let nowhere = learn("/proc/nothing/start-times.json", &times(1));
        assert!(nowhere.problems[0].contains("not remembered"));
    }
}
