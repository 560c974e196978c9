//! What became of each line, and what no line says. Not here: how it is printed.

use serde::Serialize;

use crate::diagnostic::Diagnostic;

/// In which of the three ways a line ended, the mildest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Fate {
    /// Has no consequence here, and why.
    Irrelevant,
    /// Is in the service file.
    Carried,
    /// Is not in the service file, or not all of it: why, and what follows.
    Lost,
}

/// What became of something.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Outcome {
    /// In which way it ended.
    pub fate: Fate,
    /// Keys of the service file that say it now.
    pub into: Vec<String>,
    /// Why something of it is lost or of no consequence.
    pub why: Vec<String>,
    /// What a person should look at.
    pub look: Vec<String>,
}

impl Outcome {
    /// Carried over into `key`.
    #[must_use]
    pub fn carried(key: &str) -> Self {
        Self {
            fate: Fate::Carried,
            into: vec![key.to_owned()],
            why: Vec::new(),
            look: Vec::new(),
        }
    }

    /// Not carried over, for this reason.
    #[must_use]
    pub fn lost(why: impl Into<String>) -> Self {
        Self {
            fate: Fate::Lost,
            into: Vec::new(),
            why: vec![why.into()],
            look: Vec::new(),
        }
    }

    /// Without consequence, for this reason.
    #[must_use]
    pub fn irrelevant(why: impl Into<String>) -> Self {
        Self {
            fate: Fate::Irrelevant,
            into: Vec::new(),
            why: vec![why.into()],
            look: Vec::new(),
        }
    }

    /// Says what a person should look at.
    #[must_use]
    pub fn look(mut self, at: impl Into<String>) -> Self {
        self.look.push(at.into());
        self
    }

    /// Both, of two parts of one line: what is lost of it counts.
    #[must_use]
    pub fn and(mut self, other: Self) -> Self {
        self.fate = self.fate.max(other.fate);
        join(&mut self.into, other.into);
        join(&mut self.why, other.why);
        join(&mut self.look, other.look);
        self
    }

    /// All of them, of the parts of one line; `None` where there are none.
    #[must_use]
    pub fn all(parts: impl IntoIterator<Item = Self>) -> Option<Self> {
        parts.into_iter().reduce(Self::and)
    }
}

/// Adds what is not there yet.
fn join(texts: &mut Vec<String>, more: Vec<String>) {
    for text in more {
        if !texts.contains(&text) {
            texts.push(text);
        }
    }
}

/// A line, and what became of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Entry {
    /// What it is a line of: an instance has the lines of its template too.
    pub unit: String,
    /// The file, as it was named.
    pub file: String,
    /// Its first line, from 1.
    pub line: u32,
    /// Its last one, where it goes on over several.
    pub last: u32,
    /// What it says.
    pub text: String,
    /// What became of it.
    #[serde(flatten)]
    pub outcome: Outcome,
}

/// A key that no line asks for, and that the other init's default does.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Implied {
    /// The service.
    pub service: String,
    /// The key of its file.
    pub key: String,
    /// Where it comes from.
    pub why: String,
}

/// A service file that was made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Made {
    /// Name of the service; of a template, it ends in `@`.
    pub service: String,
    /// Its content.
    pub text: String,
}

/// Something of which there is no service file, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Refused {
    /// Its name there.
    pub unit: String,
    /// What keeps it from being one.
    pub why: Vec<String>,
    /// Whether a file can be made all the same, by somebody who knows better.
    pub forceable: bool,
}

/// All that came of an import.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Import {
    /// Service files.
    pub made: Vec<Made>,
    /// What became of each line, by file and line.
    pub entries: Vec<Entry>,
    /// Keys that no line asks for.
    pub implied: Vec<Implied>,
    /// What there is no file of.
    pub refused: Vec<Refused>,
    /// What the checker says of the files, as nothing is left out to make it content.
    pub problems: Vec<Diagnostic>,
}
