//! The part of sh(1) that descriptions for OpenRC are written in: assignments, functions, and values
//! of words and variables. Not here: what a variable means (`super`), and any command.

use std::collections::BTreeMap;

/// A statement of a script, with the lines it is on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Statement {
    pub(super) line: u32,
    pub(super) last: u32,
    pub(super) text: String,
    pub(super) form: Form,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// `NAME=VALUE`, the value as it is written.
    Assignment(String, String),
    /// `: ${NAME:=VALUE}`: a value for where there is none yet, all as it is written.
    Default(String, String),
    /// `NAME() {` or the `}` of it.
    Function(String),
    /// A line within the function of this name.
    Inside(String),
    /// Anything else.
    Command,
}

/// The statements of `text`, without comments.
pub(super) fn statements(text: &str) -> Vec<Statement> {
    let mut statements = Vec::new();
    let mut function: Option<String> = None;
    let mut open: Option<(u32, String, Open)> = None;
    let mut number = 0;
    for raw in text.lines() {
        number += 1;
        let (first, joined, was) = match open.take() {
            Some((first, mut before, was)) => {
                before.push('\n');
                before.push_str(raw);
                (first, before, was)
            }
            None => {
                let trimmed = raw.trim();
                if trimmed.is_empty() || trimmed.starts_with('#') {
                    continue;
                }
                (number, raw.to_owned(), Open::Not)
            }
        };
        let is = still_open(was, raw);
        if is != Open::Not && function.is_none() {
            open = Some((first, joined, is));
            continue;
        }
        let form = form(&joined, &mut function);
        statements.push(Statement {
            line: first,
            last: number,
            text: joined.trim().to_owned(),
            form,
        });
    }
    if let Some((line, text, _)) = open {
        statements.push(Statement {
            line,
            last: number,
            text: text.trim().to_owned(),
            form: Form::Command,
        });
    }
    statements
}

/// Whether a statement goes on in the next line, and why.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Open {
    Not,
    /// By a backslash at the end.
    Line,
    Quote(char),
}

/// How a statement is after one more `line`, which began as `was`.
fn still_open(was: Open, line: &str) -> Open {
    let mut quote = match was {
        Open::Not | Open::Line => None,
        Open::Quote(quote) => Some(quote),
    };
    let mut characters = line.chars();
    let mut before = ' ';
    while let Some(c) = characters.next() {
        match (c, quote) {
            ('\\', Some('"') | None) => match characters.next() {
                Some(_) => {}
                None => return quote.map_or(Open::Line, Open::Quote),
            },
            (c, Some(open)) if c == open => quote = None,
            ('"' | '\'', None) => quote = Some(c),
            // Within a word it begins no comment.
            ('#', None) if before.is_whitespace() || before == ';' => break,
            _ => {}
        }
        before = c;
    }
    quote.map_or(Open::Not, Open::Quote)
}

fn form(text: &str, function: &mut Option<String>) -> Form {
    if let Some(name) = function.clone() {
        // The end of a function stands at the left, as all of its kind are written.
        if text.trim_end() == "}" {
            *function = None;
            return Form::Function(name);
        }
        return match text.trim() {
            "{" => Form::Function(name),
            _ => Form::Inside(name),
        };
    }
    let trimmed = text.trim();
    if let Some((name, rest)) = trimmed.split_once("()")
        && super::super::shell::is_variable(name.trim())
    {
        let name = name.trim().to_owned();
        let whole = rest.trim_start().starts_with('{') && rest.trim_end().ends_with('}');
        if !whole {
            *function = Some(name.clone());
        }
        return match whole {
            true => Form::Inside(name),
            false => Form::Function(name),
        };
    }
    if let Some(default) = default(trimmed) {
        return default;
    }
    let assigned = trimmed.strip_prefix("export ").unwrap_or(trimmed);
    match assigned.split_once('=') {
        Some((name, value)) if super::super::shell::is_variable(name) => {
            Form::Assignment(name.to_owned(), value.to_owned())
        }
        _ => Form::Command,
    }
}

/// `: ${NAME:=VALUE}` or `: ${NAME=VALUE}`, in quotation marks or not.
fn default(text: &str) -> Option<Form> {
    let written = text.strip_prefix(':')?.trim();
    let inner = written.strip_prefix('"').unwrap_or(written);
    let (name, rest) = inner.strip_prefix("${")?.split_once('=')?;
    let name = name.strip_suffix(':').unwrap_or(name);
    let whole = closing(inner.strip_prefix("${")?).is_some_and(|(_, after)| {
        let after = after.strip_prefix('"').unwrap_or(after).trim_start();
        after.is_empty() || after.starts_with('#')
    });
    let sets = whole && !rest.is_empty() && super::super::shell::is_variable(name);
    sets.then(|| Form::Default(name.to_owned(), written.to_owned()))
}

/// What is before the `}` that ends an expansion, and after it.
fn closing(text: &str) -> Option<(&str, &str)> {
    let mut depth = 0_usize;
    let mut characters = text.char_indices().peekable();
    while let Some((at, c)) = characters.next() {
        match c {
            '\\' => drop(characters.next()),
            '$' if characters.peek().is_some_and(|(_, next)| *next == '{') => depth += 1,
            '}' if depth == 0 => {
                let after = text.get(at + 1..)?;
                return text.get(..at).map(|inside| (inside, after));
            }
            '}' => depth -= 1,
            _ => {}
        }
    }
    None
}

/// Where a value stands, which says what white space and quotation marks mean.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    /// It is what is assigned: it ends at white space.
    Assigned,
    /// Within `${}` that stands between quotation marks.
    Quoted,
    /// Within `${}` that does not.
    Unquoted,
}

/// How deep one `${}` may be in another.
const DEPTH_MAX: u32 = 8;
/// How much all values may take from other ones: each can be twice the one before.
const TAKEN_MAX: usize = 256 << 10;

/// Variables, and those that were asked for and are set nowhere.
#[derive(Clone, Debug, Default)]
pub(super) struct Variables {
    pub(super) known: BTreeMap<String, String>,
    pub(super) missing: Vec<String>,
    depth: u32,
    taken: usize,
}

impl Variables {
    /// Whether `: ${NAME:=VALUE}` would leave it as it is.
    pub(super) fn is_set(&self, name: &str) -> bool {
        self.known.get(name).is_some_and(|value| !value.is_empty())
    }

    /// What a value comes to, or why a shell would be needed to tell.
    pub(super) fn value(&mut self, written: &str) -> Result<String, String> {
        self.expand(written.trim_end(), Place::Assigned)
    }

    fn expand(&mut self, written: &str, place: Place) -> Result<String, String> {
        let mut value = String::new();
        let before = (place == Place::Quoted).then_some('"');
        let mut quote = before;
        let mut rest = written;
        while let Some(c) = rest.chars().next() {
            rest = rest.get(c.len_utf8()..).unwrap_or("");
            match (c, quote) {
                ('\'', Some('\'')) | ('"', Some('"')) => quote = None,
                (c, Some('\'')) => value.push(c),
                ('\'' | '"', None) => quote = Some(c),
                ('$', _) => rest = self.variable(rest, quote.is_some(), &mut value)?,
                ('`', _) => return Err("takes what a command writes".to_owned()),
                ('\\', _) => {
                    let next = rest.chars().next().ok_or("ends in a backslash")?;
                    rest = rest.get(next.len_utf8()..).unwrap_or("");
                    // A line goes on.
                    if next == '\n' {
                        continue;
                    }
                    if quote.is_some() && !"\"\\$`".contains(next) {
                        value.push('\\');
                    }
                    value.push(next);
                }
                ('~', None) if value.is_empty() || value.ends_with(':') => {
                    return Err("has `~`, for which a shell puts a directory".to_owned());
                }
                (c, None) if place == Place::Unquoted => value.push(c),
                (c, None) if c.is_whitespace() => {
                    return match rest.trim_start().starts_with('#') || rest.trim().is_empty() {
                        true => Ok(value),
                        false => Err("is more than an assignment".to_owned()),
                    };
                }
                (c, None) if ";&|<>()".contains(c) => {
                    return Err("is more than an assignment".to_owned());
                }
                (c, _) => value.push(c),
            }
        }
        match quote == before {
            false => Err("has a quotation mark without partner".to_owned()),
            true => Ok(value),
        }
    }

    /// What follows a `$`: adds its value, and gives what follows.
    fn variable<'r>(
        &mut self,
        rest: &'r str,
        quoted: bool,
        value: &mut String,
    ) -> Result<&'r str, String> {
        if let Some(inner) = rest.strip_prefix('{') {
            let (inside, after) = closing(inner).ok_or("has `${` without `}`")?;
            if self.depth == DEPTH_MAX {
                return Err("has `${}` within `${}` too often".to_owned());
            }
            self.depth += 1;
            let braces = self.braces(inside, quoted);
            self.depth -= 1;
            self.take(&braces?, value)?;
            return Ok(after);
        }
        let end = rest
            .find(|c: char| !c.is_ascii_alphanumeric() && c != '_')
            .unwrap_or(rest.len());
        let (name, after) = rest.split_at_checked(end).unwrap_or((rest, ""));
        if !super::super::shell::is_variable(name) {
            return Err("takes what a command writes, or an argument".to_owned());
        }
        match self.known.get(name).cloned() {
            Some(known) => self.take(&known, value)?,
            None => self.missing.push(name.to_owned()),
        }
        Ok(after)
    }

    /// Adds the value of a variable to another one.
    fn take(&mut self, known: &str, value: &mut String) -> Result<(), String> {
        self.taken = self.taken.saturating_add(known.len());
        if self.taken > TAKEN_MAX {
            return Err("comes to more than a script has to say".to_owned());
        }
        value.push_str(known);
        Ok(())
    }

    /// What is between `${` and `}`: a name, and what to do where it has a value, or none.
    fn braces(&mut self, inside: &str, quoted: bool) -> Result<String, String> {
        let end = inside
            .find(|c: char| !c.is_ascii_alphanumeric() && c != '_')
            .unwrap_or(inside.len());
        let (name, operation) = inside.split_at_checked(end).unwrap_or((inside, ""));
        let known = self.known.get(name).cloned();
        let (operation, empty_is_none) = match operation.strip_prefix(':') {
            Some(operation) => (operation, true),
            None => (operation, false),
        };
        let known = known.filter(|it| !(empty_is_none && it.is_empty()));
        let place = if quoted {
            Place::Quoted
        } else {
            Place::Unquoted
        };
        let mut characters = operation.chars();
        match (characters.next(), known) {
            (None, _) if empty_is_none => {
                Err(format!("has `${{{inside}}}`, which is no expansion"))
            }
            (None | Some('-' | '='), Some(known)) => Ok(known),
            (None, None) => {
                self.missing.push(name.to_owned());
                Ok(String::new())
            }
            (Some('-'), None) | (Some('+'), Some(_)) => self.expand(characters.as_str(), place),
            (Some('+'), None) => Ok(String::new()),
            (Some('='), None) if super::super::shell::is_variable(name) => {
                let value = self.expand(characters.as_str(), place)?;
                self.known.insert(name.to_owned(), value.clone());
                Ok(value)
            }
            _ => Err(format!("has `${{{inside}}}`, which needs a shell")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statements_are_told_apart() {
        let text = "#!/sbin/openrc-run\na=1\nb=\"x\n y\"\nexport c='d'\n\ndepend() {\n\t# no\n\tneed net\n}\n\
                    stop()\n{\n  :\n}\nreload() { :; }\nif true; then\n\
                    : ${d:=\"e\"} # why\n: \"${f=g}\"\n: ${h}\nc=#\"d\ne\"\nf=\\\n1\n";
        let forms: Vec<(u32, u32, Form)> = statements(text)
            .into_iter()
            .map(|it| (it.line, it.last, it.form))
            .collect();
        let assigned = |name: &str, value: &str| Form::Assignment(name.into(), value.into());
        let default = |name: &str, value: &str| Form::Default(name.into(), value.into());
        let function = |name: &str| Form::Function(name.into());
        let inside = |name: &str| Form::Inside(name.into());
        assert_eq!(
            forms,
            [
                (2, 2, assigned("a", "1")),
                (3, 4, assigned("b", "\"x\n y\"")),
                (5, 5, assigned("c", "'d'")),
                (7, 7, function("depend")),
                (9, 9, inside("depend")),
                (10, 10, function("depend")),
                (11, 11, function("stop")),
                (12, 12, function("stop")),
                (13, 13, inside("stop")),
                (14, 14, function("stop")),
                (15, 15, inside("reload")),
                (16, 16, Form::Command),
                (17, 17, default("d", "${d:=\"e\"} # why")),
                (18, 18, default("f", "\"${f=g}\"")),
                (19, 19, Form::Command),
                (20, 21, assigned("c", "#\"d\ne\"")),
                (22, 23, assigned("f", "\\\n1")),
            ]
        );
    }

    #[test]
    fn values_are_what_a_shell_makes_of_them() {
        let mut variables = Variables::default();
        variables.known.insert("A".to_owned(), "a".to_owned());
        variables.known.insert("E".to_owned(), String::new());
        let mut check = |text: &str, expect: Option<&str>| {
            assert_eq!(variables.value(text).ok().as_deref(), expect, "{text}");
        };
        check("x", Some("x"));
        check("\"$A ${A}b\" # why", Some("a ab"));
        check("'$A'\"\\\"\\n\"\\ c", Some("$A\"\\n c"));
        check("${A:-b}${E:-c}${E-d}${N:-$A}", Some("aca"));
        check(
            "${N:-/run/${A}.pid}\"${N:-${N:-$A b}}\"",
            Some("/run/a.pida b"),
        );
        check("${A:+-v $A}${N:+-v}${E:+-e}${E+-f}", Some("-v a-f"));
        check("${N:-\"a b\"}", Some("a b"));
        check("${D:=\"x\"}$D${D:=y}", Some("xxx"));
        check("$N", Some(""));
        check("\"a\\\nb\"", Some("ab"));
        check(" # why", Some(""));
        check("#b\"\"#c", Some("#b#c"));
        check("a~b", Some("a~b"));
        for wrong in [
            " a", "~/a", "/a:~/b", "${N:-~}", "$(a)", "`a`", "${A#x}", "a b", "a;b", "'a", "${A",
            "$1", "${A%/}", "${A:}",
        ] {
            check(wrong, None);
        }
        assert_eq!(variables.missing, ["N"]);
    }

    #[test]
    fn values_of_values_are_bounded() {
        let mut variables = Variables::default();
        variables
            .known
            .insert("a".to_owned(), "12345678".to_owned());
        let twice = (0..64).try_for_each(|_| {
            let value = variables.value("$a${a}")?;
            variables.known.insert("a".to_owned(), value);
            Ok::<(), String>(())
        });
        assert_eq!(
            twice,
            Err("comes to more than a script has to say".to_owned())
        );
        assert!(variables.known["a"].len() <= TAKEN_MAX);
    }

    proptest::proptest! {
        #[test]
        fn no_text_panics(text in "(.|\\n){0,80}") {
            let _ = Variables::default().value(&text);
            let _ = statements(&text);
        }
    }
}
