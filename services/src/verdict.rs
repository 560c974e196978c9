//! What `sharkctl verify --json` of a new system says of its services, read by the system before it. Not
//! here: the checks, and how it is asked (the updater).

use serde::Deserialize;

use crate::diagnostic::Diagnostic;

/// Problems that are told.
pub const PROBLEMS_MAX: usize = 200;

/// What it says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// They would run.
    Good,
    /// They would not: all that is wrong, for people.
    Bad(Vec<String>),
    /// It makes no sense; what is wrong with it.
    Unclear(String),
}

#[derive(Deserialize)]
struct Answer {
    ok: bool,
    diagnostics: Vec<Diagnostic>,
}

impl Verdict {
    /// Reads it. Files are named as they will be in the new system, which is mounted at `place`.
    #[must_use]
    pub fn read(answer: &[u8], place: &str) -> Self {
        let Ok(told) = serde_json::from_slice::<Answer>(answer) else {
            let said = String::from_utf8_lossy(answer);
            let said = said.lines().next_back().unwrap_or_default().trim();
            return Self::Unclear(format!("gives no verdict on its services: {said:?}"));
        };
        let more = told.diagnostics.len().saturating_sub(PROBLEMS_MAX);
        let first = told.diagnostics.iter().take(PROBLEMS_MAX);
        let mut problems: Vec<String> = first.map(|it| it.to_string().replace(place, "")).collect();
        if more > 0 {
            problems.push(format!("and {more} more"));
        }
        match (told.ok, problems.is_empty()) {
            (true, true) => Self::Good,
            (false, true) => Self::Unclear("finds problems, and names none".to_owned()),
            (_, false) => Self::Bad(problems),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_verdict_is_good_bad_or_none() {
        let read = |text: &str| Verdict::read(text.as_bytes(), "/run/new");
        assert_eq!(read(r#"{"ok":true,"diagnostics":[]}"#), Verdict::Good);
        let problem = r#"{"file":"/run/new/etc/x","line":3,"column":1,"message":"no user `y`"}"#;
        let one = format!(r#"{{"ok":false,"services":9,"diagnostics":[{problem}],"warnings":[]}}"#);
        let Verdict::Bad(problems) = read(&one) else {
            panic!("{:?}", read(&one));
        };
        assert!(problems[0].starts_with("/etc/x:3:1: "), "{problems:?}");
        // Whatever else it says of itself.
        assert_eq!(read(&one.replace("false", "true")), Verdict::Bad(problems));
        let many = vec![problem; PROBLEMS_MAX + 7].join(",");
        let Verdict::Bad(problems) = read(&format!(r#"{{"ok":false,"diagnostics":[{many}]}}"#))
        else {
            panic!("many problems are none");
        };
        assert_eq!(problems.len(), PROBLEMS_MAX + 1);
        assert_eq!(problems.last().map(String::as_str), Some("and 7 more"));
        for (text, why) in [
            (r#"{"ok":false,"diagnostics":[]}"#, "names none"),
            ("", "no verdict on its services: \"\""),
            ("Segmentation\nfault\n", "\"fault\""),
            (r#"{"ok":true}"#, "no verdict"),
        ] {
            let told = read(text);
            assert!(
                matches!(&told, Verdict::Unclear(it) if it.contains(why)),
                "{text}: {told:?}"
            );
        }
    }
}
