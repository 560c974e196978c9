//! The timers child, `init timers FILE`: keeps over a power-off when services with a persistent timer
//! were last started. Not here: what follows from that (`services::supervisor`), and who sends the
//! child (`pid1::timekeeper`).
//!
//! The file has one line a service, its name and seconds since 1970, and is replaced as a whole. A line
//! that cannot be read is left out and told: no boot depends on it.

use std::collections::BTreeMap;
use std::process::ExitCode;

use serde::{Deserialize, Serialize};
use services::id::ServiceName;

use crate::errand;

/// Largest file that is read.
const FILE_MAX: usize = 2 << 20;
/// Most services that are remembered; of more, those that were started last.
const SERVICES_MAX: usize = 16_384;
const DIRECTORY_MODE: u32 = 0o755;
const FILE_MODE: u32 = 0o644;

/// Services and their last starts, seconds since 1970.
pub type Starts = Vec<(ServiceName, i64)>;

/// The answer.
#[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kept {
    /// All that is known, the input included; `None`: it cannot be read.
    pub starts: Option<Starts>,
    /// What was wrong, for people.
    pub problems: Vec<String>,
}

/// Runs the child; starts that are new come as its input.
#[must_use]
pub fn run(path: &str) -> ExitCode {
    let kept = errand::input().and_then(|starts: Starts| errand::pack(&keep(path, starts)));
    errand::answer(kept)
}

/// Reads what is there, adds what is new, and writes it where there is something new.
fn keep(path: &str, new: Starts) -> Kept {
    let mut problems = Vec::new();
    let text = match kernel::files::read(path, FILE_MAX) {
        Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
        Err(error) if error.errno == kernel::Errno::NOENT => String::new(),
        Err(error) => {
            return Kept {
                starts: None,
                problems: vec![format!("last starts of timers: {error}")],
            };
        }
    };
    let mut starts = parse(path, &text, &mut problems);
    let changed = !new.is_empty();
    starts.extend(new);
    let mut starts: Starts = starts.into_iter().collect();
    starts.sort_by_key(|(_, at)| std::cmp::Reverse(*at));
    starts.truncate(SERVICES_MAX);
    starts.sort();
    if changed {
        let lines = starts.iter().map(|(name, at)| format!("{name} {at}\n"));
        let lines: String = lines.collect();
        let directory = path.rsplit_once('/').map_or("/", |(parent, _)| parent);
        let written = kernel::files::make_dirs(directory, DIRECTORY_MODE)
            .and_then(|()| kernel::files::replace(path, lines.as_bytes(), FILE_MODE));
        if let Err(error) = written {
            problems.push(format!("last starts of timers are not kept: {error}"));
        }
    }
    Kept {
        starts: Some(starts),
        problems,
    }
}

fn parse(path: &str, text: &str, problems: &mut Vec<String>) -> BTreeMap<ServiceName, i64> {
    let mut starts = BTreeMap::new();
    let mut broken = 0_usize;
    for line in text.lines() {
        let read = line.split_once(' ').and_then(|(name, at)| {
            let at = at.parse().ok().filter(|at| *at >= 0)?;
            Some((ServiceName::new(name).ok()?, at))
        });
        match read {
            Some((name, at)) => drop(starts.insert(name, at)),
            None => broken += 1,
        }
    }
    if broken > 0 {
        problems.push(format!(
            "{path}: {broken} lines cannot be read and are left out"
        ));
    }
    starts
}

#[cfg(test)]
mod tests {
    use super::*;

    fn starts(list: &[(&str, i64)]) -> Starts {
        let list = list.iter();
        list.map(|(name, at)| (ServiceName::new(name).unwrap(), *at))
            .collect()
    }

    #[test]
    fn what_was_kept_is_found_again() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lib/timers");
        let path = path.to_str().unwrap();
        let nothing = keep(path, Vec::new());
        assert_eq!(nothing.starts, Some(Vec::new()));
        assert!(!kernel::files::exists(path), "nothing new, nothing written");
        keep(path, starts(&[("backup", 100), ("scrub", 7)]));
        let kept = keep(path, starts(&[("backup", 200)]));
        assert_eq!(kept.starts, Some(starts(&[("backup", 200), ("scrub", 7)])));
        assert_eq!(kept.problems, [""; 0]);
        let text = std::fs::read_to_string(path).unwrap();
        assert_eq!(text, "backup 200\nscrub 7\n");
    }

    #[test]
    fn a_torn_or_absurd_file_costs_its_bad_lines_only() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("timers");
        let text = "scrub 7\n\u{0}\u{0}\nx\n../y 3\nold -5\nfar 99999999999999999999\nbackup 1";
        std::fs::write(&path, text).unwrap();
        let path = path.to_str().unwrap();
        let kept = keep(path, Vec::new());
        assert_eq!(kept.starts, Some(starts(&[("backup", 1), ("scrub", 7)])));
        let [problem] = kept.problems.as_slice() else {
            panic!("{kept:?}");
        };
        assert!(problem.contains("5 lines cannot be read"), "{problem}");
        let nowhere = keep("/proc/nothing/timers", starts(&[("backup", 1)]));
        assert!(nowhere.problems[0].contains("not kept"), "{nowhere:?}");
        let unreadable = keep(dir.path().to_str().unwrap(), Vec::new());
        assert_eq!(unreadable.starts, None);
    }
}
