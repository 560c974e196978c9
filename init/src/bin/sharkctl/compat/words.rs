//! Command lines as getopt_long(3) takes them apart: options anywhere, bundled, abbreviated. Not here:
//! what they mean.

/// Whether an option has a value.
#[derive(Clone, Copy)]
pub(super) enum Takes {
    Nothing,
    Value,
    /// Only behind it, or the next word where this says that it is one.
    Maybe(fn(&str) -> bool),
}

/// An option that a command has.
#[derive(Clone, Copy)]
pub(super) struct Known {
    pub(super) long: &'static str,
    pub(super) short: Option<char>,
    pub(super) takes: Takes,
}

/// An option without a value.
pub(super) const fn flag(long: &'static str, short: Option<char>) -> Known {
    let takes = Takes::Nothing;
    Known { long, short, takes }
}

/// An option with one.
pub(super) const fn value(long: &'static str, short: Option<char>) -> Known {
    let takes = Takes::Value;
    Known { long, short, takes }
}

/// A command line, taken apart.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Words {
    options: Vec<(&'static str, Option<String>)>,
    pub(super) words: Vec<String>,
}

impl Words {
    /// Takes `arguments` apart.
    ///
    /// # Errors
    /// What is wrong, in the words of getopt.
    pub(super) fn scan(arguments: &[String], known: &[Known]) -> Result<Self, String> {
        let mut scan = Self::default();
        let mut rest = arguments.iter().peekable();
        let mut only_words = false;
        while let Some(argument) = rest.next() {
            if only_words || argument == "-" || !argument.starts_with('-') {
                scan.words.push(argument.clone());
            } else if argument == "--" {
                only_words = true;
            } else if let Some(text) = argument.strip_prefix("--") {
                let (name, given) = match text.split_once('=') {
                    Some((name, value)) => (name, Some(value.to_owned())),
                    None => (text, None),
                };
                let option = find(known, name)?;
                let value = match (option.takes, given) {
                    (Takes::Nothing, Some(_)) => {
                        return Err(format!("option '--{name}' doesn't allow an argument"));
                    }
                    (Takes::Value, None) => {
                        let next = rest.next().cloned();
                        Some(next.ok_or(format!("option '--{name}' requires an argument"))?)
                    }
                    (Takes::Maybe(takes), None) => rest.next_if(|next| takes(next)).cloned(),
                    (_, given) => given,
                };
                scan.options.push((option.long, value));
            } else {
                scan.bundle(argument, &mut rest, known)?;
            }
        }
        Ok(scan)
    }

    /// `-fn5`.
    fn bundle<'a>(
        &mut self,
        argument: &str,
        rest: &mut std::iter::Peekable<impl Iterator<Item = &'a String>>,
        known: &[Known],
    ) -> Result<(), String> {
        let mut letters = argument.chars().skip(1);
        while let Some(letter) = letters.next() {
            let option = known.iter().find(|it| it.short == Some(letter));
            let option = option.ok_or(format!("invalid option -- '{letter}'"))?;
            if matches!(option.takes, Takes::Nothing) {
                self.options.push((option.long, None));
                continue;
            }
            let behind: String = letters.by_ref().collect();
            let value = match option.takes {
                _ if !behind.is_empty() => Some(behind),
                Takes::Maybe(takes) => rest.next_if(|next| takes(next)).cloned(),
                Takes::Value | Takes::Nothing => {
                    let next = rest.next().cloned();
                    Some(next.ok_or(format!("option requires an argument -- '{letter}'"))?)
                }
            };
            self.options.push((option.long, value));
        }
        Ok(())
    }

    pub(super) fn has(&self, long: &str) -> bool {
        self.options.iter().any(|(name, _)| *name == long)
    }

    /// The value that was given last.
    pub(super) fn value(&self, long: &str) -> Option<&str> {
        self.values(long).last()
    }

    pub(super) fn values(&self, long: &str) -> impl Iterator<Item = &str> {
        let options = self.options.iter().filter(move |(name, _)| *name == long);
        options.filter_map(|(_, value)| value.as_deref())
    }
}

/// By its name, or by a beginning of it that no other has.
fn find<'k>(known: &'k [Known], name: &str) -> Result<&'k Known, String> {
    if let Some(exact) = known.iter().find(|it| it.long == name) {
        return Ok(exact);
    }
    let mut alike = known.iter().filter(|it| it.long.starts_with(name));
    match (alike.next(), alike.next()) {
        (Some(one), None) => Ok(one),
        (Some(_), Some(_)) => Err(format!("option '--{name}' is ambiguous")),
        (None, _) => Err(format!("unrecognized option '--{name}'")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KNOWN: [Known; 5] = [
        flag("follow", Some('f')),
        flag("no-pager", None),
        flag("no-legend", None),
        value("unit", Some('u')),
        Known {
            long: "lines",
            short: Some('n'),
            takes: Takes::Maybe(|next| next.parse::<u32>().is_ok()),
        },
    ];

    fn scan(line: &str) -> Result<Words, String> {
        let words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        Words::scan(&words, &KNOWN)
    }

    #[test]
    fn options_are_found_wherever_they_are() {
        let words = scan("a -fu x --no-pag b --unit=y --unit z -n 5 -- -c -").unwrap();
        assert_eq!(words.words, ["a", "b", "-c", "-"]);
        assert!(words.has("follow") && words.has("no-pager") && !words.has("no-legend"));
        assert_eq!(words.values("unit").collect::<Vec<_>>(), ["x", "y", "z"]);
        assert_eq!(words.value("lines"), Some("5"));
        assert_eq!(scan("-n x").unwrap().words, ["x"]);
        assert_eq!(scan("-n7").unwrap().value("lines"), Some("7"));
    }

    #[test]
    fn what_is_wrong_is_said_as_getopt_does() {
        let wrong = |line: &str| scan(line).unwrap_err();
        assert_eq!(wrong("--none"), "unrecognized option '--none'");
        assert_eq!(wrong("--no"), "option '--no' is ambiguous");
        assert_eq!(wrong("--unit"), "option '--unit' requires an argument");
        assert_eq!(
            wrong("--follow=1"),
            "option '--follow' doesn't allow an argument"
        );
        assert_eq!(wrong("-fx"), "invalid option -- 'x'");
        assert_eq!(wrong("-u"), "option requires an argument -- 'u'");
    }
}
