//! A value into words, and what stands for something else in them: quotation marks, escapes,
//! specifiers. Not here: variables of commands (`command`).

/// Splits at white space, as systemd.syntax(7) has it. Within both kinds of quotation marks and
/// outside of them, a backslash begins an escape of C.
pub(super) fn split(text: &str) -> Result<Vec<String>, String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote = None;
    let mut characters = text.chars().peekable();
    while let Some(c) = characters.next() {
        match (c, quote) {
            ('\\', _) => {
                let escaped = escape(&mut characters)?;
                word.get_or_insert_default().push_str(&escaped);
            }
            (c, Some(open)) if c == open => quote = None,
            (c, Some(_)) => word.get_or_insert_default().push(c),
            ('"' | '\'', None) => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (c, None) if c.is_whitespace() => words.extend(word.take()),
            (c, None) => word.get_or_insert_default().push(c),
        }
    }
    match quote {
        Some(quote) => Err(format!("has a quotation mark {quote} without partner")),
        None => {
            words.extend(word);
            Ok(words)
        }
    }
}

/// What follows a backslash. One that begins no escape stays.
fn escape(rest: &mut std::iter::Peekable<std::str::Chars<'_>>) -> Result<String, String> {
    let c = rest.next().ok_or("ends in a backslash")?;
    let known = match c {
        'a' => '\u{7}',
        'b' => '\u{8}',
        'f' => '\u{c}',
        'n' => '\n',
        'r' => '\r',
        't' => '\t',
        'v' => '\u{b}',
        's' => ' ',
        '\\' | '"' | '\'' => c,
        'x' => return number(rest, 2, 16),
        'u' => return number(rest, 4, 16),
        'U' => return number(rest, 8, 16),
        // `\;` is a word of its own and no end of a command; `command` looks for it.
        c if c.is_digit(8) => {
            let mut digits = String::from(c);
            digits.extend(rest.next());
            digits.extend(rest.next());
            return code(&digits, 8);
        }
        c => return Ok(format!("\\{c}")),
    };
    Ok(known.to_string())
}

fn number(
    rest: &mut std::iter::Peekable<std::str::Chars<'_>>,
    digits: usize,
    radix: u32,
) -> Result<String, String> {
    let text: String = rest.by_ref().take(digits).collect();
    match text.chars().count() == digits {
        true => code(&text, radix),
        false => Err(format!("has the escape `{text}`, which is too short")),
    }
}

fn code(digits: &str, radix: u32) -> Result<String, String> {
    let wrong = || format!("has the escape `{digits}`, which is no character");
    let all = digits.chars().all(|c| c.is_digit(radix));
    let number = u32::from_str_radix(digits, radix).ok().filter(|_| all);
    // A byte beyond ASCII is a part of a character at most.
    let number = number.filter(|code| *code > 0 && (*code < 0x80 || digits.len() >= 4));
    let character = number.and_then(char::from_u32).ok_or_else(wrong)?;
    Ok(character.to_string())
}

/// What specifiers stand for in one unit.
#[derive(Clone, Debug)]
pub(super) struct Specifiers {
    /// What is before the `@`, or all of a name without one.
    prefix: String,
    /// What is behind it; a template has none.
    instance: String,
    is_template: bool,
    /// `.service` and the like.
    suffix: String,
}

impl Specifiers {
    /// Those of the unit `name`.
    pub(super) fn of(name: &str) -> Self {
        let (stem, suffix) = match name.rfind('.').and_then(|at| name.split_at_checked(at)) {
            Some((stem, suffix)) => (stem, suffix),
            None => (name, ""),
        };
        let (prefix, instance) = stem.split_once('@').unwrap_or((stem, ""));
        Self {
            prefix: prefix.to_owned(),
            instance: instance.to_owned(),
            is_template: stem.contains('@') && instance.is_empty(),
            suffix: suffix.to_owned(),
        }
    }

    /// `text` for a service file, where `%` means something in templates only.
    pub(super) fn expand(&self, text: &str) -> Result<String, String> {
        let mut expanded = String::with_capacity(text.len());
        let mut characters = text.chars();
        while let Some(c) = characters.next() {
            if c != '%' {
                expanded.push(c);
                continue;
            }
            match characters.next() {
                Some(letter) => expanded.push_str(&self.meaning(letter)?),
                // A single one at the end is itself.
                None => expanded.push_str(self.percent()),
            }
        }
        Ok(expanded)
    }

    const fn percent(&self) -> &'static str {
        match self.is_template {
            true => "%%",
            false => "%",
        }
    }

    fn meaning(&self, letter: char) -> Result<String, String> {
        let instance = || match self.is_template {
            true => "%i".to_owned(),
            false => self.instance.clone(),
        };
        let whole = || match (self.is_template, self.instance.as_str()) {
            (true, _) => "%n".to_owned(),
            (false, "") => self.prefix.clone(),
            (false, instance) => format!("{}@{instance}", self.prefix),
        };
        let last = self.prefix.rsplit('-').next().unwrap_or(&self.prefix);
        Ok(match letter {
            '%' => self.percent().to_owned(),
            'i' | 'I' => instance(),
            'n' => format!("{}{}", whole(), self.suffix),
            'N' => whole(),
            'p' | 'P' => self.prefix.clone(),
            'j' | 'J' => last.to_owned(),
            't' => "/run".to_owned(),
            'S' => "/var/lib".to_owned(),
            'C' => "/var/cache".to_owned(),
            'L' => "/var/log".to_owned(),
            'E' => "/etc".to_owned(),
            'T' => "/tmp".to_owned(),
            'V' => "/var/tmp".to_owned(),
            'h' => "/root".to_owned(),
            'u' | 'g' => "root".to_owned(),
            'U' | 'G' => "0".to_owned(),
            'f' if self.is_template => "/%i".to_owned(),
            'f' if self.instance.is_empty() => format!("/{}", self.prefix),
            'f' => format!("/{}", self.instance),
            'a' | 'A' | 'b' | 'B' | 'd' | 'D' | 'H' | 'l' | 'm' | 'M' | 'o' | 'q' | 's' | 'v'
            | 'w' | 'W' => {
                return Err(format!(
                    "has `%{letter}`, which systemd finds out on the machine, and a service file cannot"
                ));
            }
            // As systemd has it: what is no specifier is itself.
            other => format!("{}{other}", self.percent()),
        })
    }

    /// What a person should look at in `text`, which is said with these specifiers.
    pub(super) fn doubt(&self, text: &str) -> Option<String> {
        let unescaped = ["%I", "%P", "%J", "%f"];
        let letter = unescaped.iter().find(|letter| text.contains(**letter))?;
        let matters = self.is_template || self.instance.contains(['-', '\\']);
        matters.then(|| {
            format!(
                "`{letter}` is the name with systemd's escapes taken back (`-` is `/`); here it \
                     is the name as it is"
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_split_as_systemd_does() {
        let check = |text: &str, expect: &[&str]| {
            assert_eq!(split(text).unwrap(), expect, "{text}");
        };
        check("a  b\tc", &["a", "b", "c"]);
        check(r#""a b" 'c "d"' e"f"'g'"#, &["a b", r#"c "d""#, "efg"]);
        check(r#"'a\'b' "\"" \x41\101\u0042\s"#, &["a'b", "\"", "AAB "]);
        check(r"a\.b \; \d", &[r"a\.b", r"\;", r"\d"]);
        check("''", &[""]);
        check("", &[]);
        for wrong in ["'a", "\"a", "a\\", r"\x4", r"\xff", r"\000", r"\uD800"] {
            assert!(split(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn specifiers_are_what_they_stand_for() {
        let check = |unit: &str, text: &str, expect: &str| {
            assert_eq!(
                Specifiers::of(unit).expand(text).unwrap(),
                expect,
                "{unit} {text}"
            );
        };
        check(
            "a.service",
            "%n %N %p %i %% %t/x",
            "a.service a a  % /run/x",
        );
        check(
            "a@.service",
            "%n %N %p %i %I %%",
            "%n.service %n a %i %i %%",
        );
        check(
            "a@b-c.service",
            "%n %N %p %i %f 5%",
            "a@b-c.service a@b-c a b-c /b-c 5%",
        );
        check("pre-a.service", "%j %Z", "a %Z");
        check("a@.service", "%Z", "%%Z");
        assert!(
            Specifiers::of("a.service")
                .expand("%H")
                .unwrap_err()
                .contains("%H")
        );
        assert!(Specifiers::of("a@.service").doubt("%I").is_some());
        assert!(Specifiers::of("a@b.service").doubt("%I").is_none());
    }

    proptest::proptest! {
        #[test]
        fn no_text_panics(text in ".{0,60}") {
            let _ = split(&text);
            let _ = Specifiers::of(&text).expand(&text);
        }
    }
}
