//! Sets of processors in the kernel's list format, `0-3,6` (cpuset(7), "List format"). Not here: which
//! processors there are, and who gives them to a cgroup.

use std::fmt;

use serde::{Deserialize, Serialize};

/// What [`CpuList::parse`] takes, for people.
pub const CPUS: &str = "a list of processors such as \"2-3\" or \"0,4-7\"";
/// Highest number of a processor: what the kernel is built for at most (CONFIG_NR_CPUS).
const LAST: u16 = 8191;

/// Processors, as ranges that are in order and neither touch nor overlap; at least one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CpuList(Vec<(u16, u16)>);

/// Why a text is no list of processors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CpuListError {
    /// Nothing between two commas, or nothing at all.
    Empty,
    /// Neither a number nor two with a hyphen.
    NoNumber,
    /// A range whose end is before its start.
    Backwards,
    /// A number above 8191.
    TooLarge,
}

impl fmt::Display for CpuListError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => write!(f, "names no processor"),
            Self::NoNumber => write!(f, "is not made of numbers, commas and hyphens"),
            Self::Backwards => write!(f, "has a range that ends before it starts"),
            Self::TooLarge => write!(f, "names a processor above {LAST}"),
        }
    }
}

impl std::error::Error for CpuListError {}

impl CpuList {
    /// Reads a list; ranges may be in any order, touch and overlap.
    ///
    /// # Errors
    /// [`CpuListError`] says what is wrong with it.
    pub fn parse(text: &str) -> Result<Self, CpuListError> {
        let mut ranges = Vec::new();
        for part in text.trim().split(',') {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            let range = (number(first)?, number(last)?);
            if range.1 < range.0 {
                return Err(CpuListError::Backwards);
            }
            ranges.push(range);
        }
        ranges.sort_unstable();
        let mut joined: Vec<(u16, u16)> = Vec::with_capacity(ranges.len());
        for (first, last) in ranges {
            match joined.last_mut() {
                Some(before) if first <= before.1.saturating_add(1) => {
                    before.1 = before.1.max(last);
                }
                Some(_) | None => joined.push((first, last)),
            }
        }
        Ok(Self(joined))
    }

    /// Those of these that are not among `others`.
    #[must_use]
    pub fn without(&self, others: &Self) -> Option<Self> {
        let has = |cpu: u16| others.0.iter().any(|it| (it.0..=it.1).contains(&cpu));
        let missing = self.0.iter().flat_map(|it| it.0..=it.1);
        let missing: Vec<String> = missing
            .filter(|it| !has(*it))
            .map(|it| it.to_string())
            .collect();
        Self::parse(&missing.join(",")).ok()
    }
}

impl fmt::Display for CpuList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (first, last)) in self.0.iter().enumerate() {
            let comma = if index == 0 { "" } else { "," };
            match first == last {
                true => write!(f, "{comma}{first}")?,
                false => write!(f, "{comma}{first}-{last}")?,
            }
        }
        Ok(())
    }
}

fn number(text: &str) -> Result<u16, CpuListError> {
    if text.is_empty() {
        return Err(CpuListError::Empty);
    }
    if !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(CpuListError::NoNumber);
    }
    let number: u16 = text.parse().map_err(|_| CpuListError::TooLarge)?;
    match number <= LAST {
        true => Ok(number),
        false => Err(CpuListError::TooLarge),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_is_put_in_order() {
        let shown = |text: &str| CpuList::parse(text).map(|it| it.to_string());
        assert_eq!(shown("0"), Ok("0".to_owned()));
        assert_eq!(shown("4-7,0\n"), Ok("0,4-7".to_owned()));
        assert_eq!(shown("2,1,3-5,4,8191"), Ok("1-5,8191".to_owned()));
        for (text, error) in [
            ("", CpuListError::Empty),
            ("1,", CpuListError::Empty),
            ("1-", CpuListError::Empty),
            ("a", CpuListError::NoNumber),
            ("1-2-3", CpuListError::NoNumber),
            ("+1", CpuListError::NoNumber),
            ("3-2", CpuListError::Backwards),
            ("8192", CpuListError::TooLarge),
            ("70000", CpuListError::TooLarge),
        ] {
            assert_eq!(CpuList::parse(text), Err(error), "{text:?}");
        }
    }

    #[test]
    fn what_is_missing_is_named() {
        let list = |text: &str| CpuList::parse(text).unwrap();
        assert_eq!(list("1-3").without(&list("0-7")), None);
        assert_eq!(list("1-5,9").without(&list("0-3")), Some(list("4-5,9")));
        assert_eq!(list("8191").without(&list("0")), Some(list("8191")));
    }
}
