//! One problem of a service file, and how it is told: place, key, what is wrong, what was expected.
//! Not here: finding problems (`file` looks at one file, `graph` at all of them together).

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// A place in a file. Line and column count from 1; a line of 0 means the file as a whole.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// The file, as it was named to the loader.
    pub file: Arc<str>,
    /// Line, from 1.
    pub line: u32,
    /// Column in characters, from 1.
    pub column: u32,
}

impl Place {
    /// The start of the file: where something that is missing could be.
    #[must_use]
    pub fn start(file: &str) -> Self {
        Self {
            file: file.into(),
            line: 1,
            column: 1,
        }
    }

    /// The file as a whole, where no place in it is known.
    #[must_use]
    pub fn whole(file: &str) -> Self {
        Self {
            file: file.into(),
            line: 0,
            column: 0,
        }
    }
}

/// `FILE:LINE`, or only `FILE`: the form used inside a sentence.
impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.file)?;
        if self.line > 0 {
            write!(f, ":{}", self.line)?;
        }
        Ok(())
    }
}

/// One problem, complete in itself.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Diagnostic {
    /// The file, as it was named to the loader.
    pub file: String,
    /// Line, from 1; 0 is the file as a whole.
    pub line: u32,
    /// Column in characters, from 1; 0 is the file as a whole.
    pub column: u32,
    /// The key it is about, with its table: `stop.timeout`.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub key: Option<String>,
    /// What is wrong.
    pub message: String,
    /// What would have been right.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub expected: Option<String>,
    /// What the writer may have meant, or can do.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub hint: Option<String>,
}

impl Diagnostic {
    /// A problem at `place`.
    #[must_use]
    pub fn new(place: &Place, message: impl Into<String>) -> Self {
        Self {
            file: place.file.to_string(),
            line: place.line,
            column: place.column,
            key: None,
            message: message.into(),
            expected: None,
            hint: None,
        }
    }

    /// Names the key.
    #[must_use]
    pub fn key(mut self, key: &str) -> Self {
        self.key = Some(key.to_owned());
        self
    }

    /// Says what would have been right.
    #[must_use]
    pub fn expected(mut self, expected: impl Into<String>) -> Self {
        self.expected = Some(expected.into());
        self
    }

    /// Says what the writer may have meant, or can do.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Asks for `name`, where there is one near enough.
    #[must_use]
    pub(crate) fn did_you_mean(mut self, name: Option<&str>) -> Self {
        self.hint = name
            .map(|name| format!("did you mean `{name}`?"))
            .or(self.hint);
        self
    }
}

/// `FILE:LINE:COLUMN: key `x`: message; expected ...; did you mean `y`?`
impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.file)?;
        if self.line > 0 {
            write!(f, ":{}:{}", self.line, self.column)?;
        }
        if let Some(key) = &self.key {
            write!(f, ": key `{key}`")?;
        }
        write!(f, ": {}", self.message)?;
        if let Some(expected) = &self.expected {
            write!(f, "; expected {expected}")?;
        }
        if let Some(hint) = &self.hint {
            write!(f, "; {hint}")?;
        }
        Ok(())
    }
}

/// The candidate nearest to `word`, when few enough letters differ that a slip of the hand is
/// likely: one third of the longer word, and never more than three. Of equals, the first.
#[must_use]
pub fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let mut best: Option<(usize, &str)> = None;
    for candidate in candidates {
        let longer = word.len().max(candidate.len());
        let allowed = (longer / 3).clamp(1, 3);
        let limit = best.map_or(allowed, |(distance, _)| {
            allowed.min(distance.saturating_sub(1))
        });
        if word.len().abs_diff(candidate.len()) > limit {
            continue;
        }
        let distance = edit_distance(word.as_bytes(), candidate.as_bytes());
        if distance <= limit && distance < longer {
            best = Some((distance, candidate));
        }
    }
    best.map(|(_, candidate)| candidate)
}

/// Longest word that is compared; names and keys are shorter.
const LONGEST_WORD: usize = 96;

/// Letters to insert, delete, replace or swap with their neighbour to make `b` of `a`.
fn edit_distance(a: &[u8], b: &[u8]) -> usize {
    if a.len() > LONGEST_WORD || b.len() > LONGEST_WORD {
        return usize::MAX;
    }
    let mut before_last: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=b.len()).collect();
    let mut previous_a = None;
    for (row, &letter) in a.iter().enumerate() {
        let mut current = Vec::with_capacity(b.len() + 1);
        let mut left = row + 1;
        current.push(left);
        let mut previous_b = None;
        for (column, &other) in b.iter().enumerate() {
            let diagonal = last.get(column).copied().unwrap_or(usize::MAX);
            let above = last.get(column + 1).copied().unwrap_or(usize::MAX);
            let mut cost = (diagonal + usize::from(letter != other)).min(above.min(left) + 1);
            let swapped = previous_a == Some(other) && previous_b == Some(letter);
            if let Some(&base) = column.checked_sub(1).and_then(|c| before_last.get(c))
                && swapped
            {
                cost = cost.min(base + 1);
            }
            current.push(cost);
            left = cost;
            previous_b = Some(other);
        }
        before_last = last;
        last = current;
        previous_a = Some(letter);
    }
    last.last().copied().unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check_nearest(word: &str, candidates: &[&str], expect: Option<&str>) {
        assert_eq!(nearest(word, candidates.iter().copied()), expect, "{word}");
    }

    #[test]
    fn near_words_are_found_and_far_ones_are_not() {
        let keys = ["exec", "type", "requires", "wants", "after", "wanted-by"];
        check_nearest("exce", &keys, Some("exec"));
        check_nearest("Exec", &keys, Some("exec"));
        check_nearest("require", &keys, Some("requires"));
        check_nearest("wanted_by", &keys, Some("wanted-by"));
        check_nearest("wantedby", &keys, Some("wanted-by"));
        check_nearest("colour", &keys, None);
        check_nearest("", &keys, None);
        check_nearest("x", &["y"], None);
        check_nearest("", &["y"], None);
    }

    #[test]
    fn a_swap_of_neighbours_is_one_step() {
        assert_eq!(edit_distance(b"after", b"aftre"), 1);
        assert_eq!(edit_distance(b"", b"abc"), 3);
        assert_eq!(edit_distance(b"kitten", b"sitting"), 3);
        assert_eq!(edit_distance(&[b'a'; 200], b"a"), usize::MAX);
    }

    #[test]
    fn it_is_told_in_one_line() {
        let place = Place {
            file: "a.toml".into(),
            line: 3,
            column: 7,
        };
        let told = Diagnostic::new(&place, "is not a key")
            .key("exce")
            .did_you_mean(Some("exec"));
        assert_eq!(
            told.to_string(),
            "a.toml:3:7: key `exce`: is not a key; did you mean `exec`?"
        );
        let told = Diagnostic::new(&Place::whole("a.toml"), "cannot be read").expected("a file");
        assert_eq!(told.to_string(), "a.toml: cannot be read; expected a file");
    }
}
