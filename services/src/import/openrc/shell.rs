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
    let mut open: Option<(u32, String)> = None;
    let mut number = 0;
    for raw in text.lines() {
        number += 1;
        let (first, joined) = match open.take() {
            Some((first, before)) => (first, format!("{before}\n{raw}")),
            None => {
                let trimmed = raw.trim();
                if trimmed.is_empty() || trimmed.starts_with('#') {
                    continue;
                }
                (number, raw.to_owned())
            }
        };
        if is_open(&joined) && function.is_none() {
            open = Some((first, joined));
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
    if let Some((line, text)) = open {
        statements.push(Statement {
            line,
            last: number,
            text: text.trim().to_owned(),
            form: Form::Command,
        });
    }
    statements
}

/// Whether a quotation mark or a backslash goes on in the next line.
fn is_open(text: &str) -> bool {
    let mut quote = None;
    let mut characters = text.chars();
    while let Some(c) = characters.next() {
        match (c, quote) {
            ('\\', Some('"') | None) => {
                let Some(_) = characters.next() else {
                    return true;
                };
            }
            (c, Some(open)) if c == open => quote = None,
            ('"' | '\'', None) => quote = Some(c),
            ('#', None) => break,
            _ => {}
        }
    }
    quote.is_some()
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
    let assigned = trimmed.strip_prefix("export ").unwrap_or(trimmed);
    match assigned.split_once('=') {
        Some((name, value)) if super::super::shell::is_variable(name) => {
            Form::Assignment(name.to_owned(), value.to_owned())
        }
        _ => Form::Command,
    }
}

/// Variables, and those that were asked for and are set nowhere.
#[derive(Clone, Debug, Default)]
pub(super) struct Variables {
    pub(super) known: BTreeMap<String, String>,
    pub(super) missing: Vec<String>,
}

impl Variables {
    /// What a value comes to, or why a shell would be needed to tell.
    pub(super) fn value(&mut self, written: &str) -> Result<String, String> {
        let mut value = String::new();
        let mut quote = None;
        let mut rest = written.trim();
        while let Some(c) = rest.chars().next() {
            rest = rest.get(c.len_utf8()..).unwrap_or("");
            match (c, quote) {
                ('\'', Some('\'')) | ('"', Some('"')) => quote = None,
                (c, Some('\'')) => value.push(c),
                ('\'' | '"', None) => quote = Some(c),
                ('$', _) => rest = self.variable(rest, &mut value)?,
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
                ('#', None) if value.is_empty() => break,
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
        match quote {
            Some(_) => Err("has a quotation mark without partner".to_owned()),
            None => Ok(value),
        }
    }

    /// What follows a `$`: adds its value, and gives what follows.
    fn variable<'r>(&mut self, rest: &'r str, value: &mut String) -> Result<&'r str, String> {
        if let Some(inner) = rest.strip_prefix('{') {
            let (inside, after) = inner.split_once('}').ok_or("has `${` without `}`")?;
            let end = inside
                .find(|c: char| !c.is_ascii_alphanumeric() && c != '_')
                .unwrap_or(inside.len());
            let (name, operator) = inside.split_at_checked(end).unwrap_or((inside, ""));
            let known = self.known.get(name).cloned();
            let wanted = match (operator.strip_prefix(":-"), operator.strip_prefix('-')) {
                _ if operator.is_empty() => None,
                (Some(other), _) if known.as_deref().is_none_or(str::is_empty) => Some(other),
                (_, Some(other)) if known.is_none() => Some(other),
                (Some(_), _) | (_, Some(_)) => None,
                (None, None) => return Err(format!("has `${{{inside}}}`, which needs a shell")),
            };
            match (wanted, known) {
                (Some(other), _) => {
                    let other = self.value(&format!("\"{other}\""))?;
                    value.push_str(&other);
                }
                (None, Some(known)) => value.push_str(&known),
                (None, None) => self.missing.push(name.to_owned()),
            }
            return Ok(after);
        }
        let end = rest
            .find(|c: char| !c.is_ascii_alphanumeric() && c != '_')
            .unwrap_or(rest.len());
        let (name, after) = rest.split_at_checked(end).unwrap_or((rest, ""));
        if !super::super::shell::is_variable(name) {
            return Err("takes what a command writes, or an argument".to_owned());
        }
        match self.known.get(name) {
            Some(known) => value.push_str(known),
            None => self.missing.push(name.to_owned()),
        }
        Ok(after)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statements_are_told_apart() {
        let text = "#!/sbin/openrc-run\na=1\nb=\"x\n y\"\nexport c='d'\n\ndepend() {\n\t# no\n\tneed net\n}\n\
                    stop()\n{\n  :\n}\nreload() { :; }\nif true; then\n";
        let forms: Vec<(u32, u32, Form)> = statements(text)
            .into_iter()
            .map(|it| (it.line, it.last, it.form))
            .collect();
        let assigned = |name: &str, value: &str| Form::Assignment(name.into(), value.into());
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
        check("$N", Some(""));
        check("\"a\\\nb\"", Some("ab"));
        for wrong in ["$(a)", "`a`", "${A#x}", "a b", "a;b", "'a", "${A", "$1"] {
            check(wrong, None);
        }
        assert_eq!(variables.missing, ["N"]);
    }

    proptest::proptest! {
        #[test]
        fn no_text_panics(text in "(.|\\n){0,80}") {
            let _ = Variables::default().value(&text);
            let _ = statements(&text);
        }
    }
}
