//! A command as one string: splitting it into words. There is no shell: nothing is expanded,
//! redirected or piped. Not here: which keys hold commands (`keys`).

/// Why a string is not a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CommandError {
    /// A quotation mark has no partner.
    UnclosedQuote(char),
    /// The last character is a backslash, which escapes nothing.
    TrailingBackslash,
}

impl std::fmt::Display for CommandError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::UnclosedQuote(quote) => write!(f, "has a quotation mark {quote} without partner"),
            Self::TrailingBackslash => write!(f, "ends in a backslash that escapes nothing"),
        }
    }
}

/// Splits at white space. `'...'` holds everything literally; in `"..."` and outside of quotes a
/// backslash takes the next character literally.
pub(crate) fn split(text: &str) -> Result<Vec<String>, CommandError> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut characters = text.chars();
    while let Some(c) = characters.next() {
        match c {
            '\'' | '"' => quoted(c, &mut characters, word.get_or_insert_default())?,
            '\\' => {
                let next = characters.next().ok_or(CommandError::TrailingBackslash)?;
                word.get_or_insert_default().push(next);
            }
            c if c.is_whitespace() => words.extend(word.take()),
            c => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    Ok(words)
}

/// What follows the opening `quote`, up to its partner.
fn quoted(
    quote: char,
    characters: &mut std::str::Chars<'_>,
    word: &mut String,
) -> Result<(), CommandError> {
    let unclosed = CommandError::UnclosedQuote(quote);
    loop {
        match characters.next().ok_or(unclosed)? {
            c if c == quote => return Ok(()),
            '\\' if quote == '"' => word.push(characters.next().ok_or(unclosed)?),
            c => word.push(c),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expect: Result<&[&str], CommandError>) {
        let expect = expect.map(|words| words.iter().map(|w| (*w).to_owned()).collect());
        assert_eq!(split(text), expect, "{text:?}");
    }

    #[test]
    fn commands_are_split_into_words() {
        check("/bin/a -b  c\n\td", Ok(&["/bin/a", "-b", "c", "d"]));
        check("/bin/a 'b c' \"d e\"", Ok(&["/bin/a", "b c", "d e"]));
        check("a'b'\"c\"d", Ok(&["abcd"]));
        check("a '' \"\"", Ok(&["a", "", ""]));
        check(r#"a\ b "c\"\\d" 'e\f'"#, Ok(&["a b", r#"c"\d"#, r"e\f"]));
        check("$HOME | > ~", Ok(&["$HOME", "|", ">", "~"]));
        check("  ", Ok(&[]));
        check("a 'b", Err(CommandError::UnclosedQuote('\'')));
        check("a \"b\\\"", Err(CommandError::UnclosedQuote('"')));
        check("a\\", Err(CommandError::TrailingBackslash));
    }

    proptest::proptest! {
        #[test]
        fn quoted_words_are_read_back(words in proptest::collection::vec("[^']{0,12}", 0..6)) {
            let text: Vec<String> = words.iter().map(|word| format!("'{word}'")).collect();
            proptest::prop_assert_eq!(split(&text.join(" ")), Ok(words));
        }

        #[test]
        fn no_text_panics(text in ".{0,60}") {
            let _ = split(&text);
        }
    }
}
