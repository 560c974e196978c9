//! Command lines of `Exec...=`, and how they are said here: as they are, or for a shell where they
//! need one. Not here: which of them there are (`programs`).

use super::super::shell;
use super::words::{self, Specifiers};

/// One command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Command {
    /// `-`: that it fails does not matter.
    pub(super) ignored: bool,
    /// `+`, `!`: it does not run as the user of the service.
    pub(super) elevated: bool,
    /// `@`: it is told another name of itself, which is not carried over.
    pub(super) renamed: bool,
    words: Vec<Word>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Word {
    /// One argument.
    One(Vec<Part>),
    /// As many arguments as the variable has words.
    Split(String),
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Text(String),
    Variable(String),
}

/// The commands of one line.
pub(super) fn read(value: &str, specifiers: &Specifiers) -> Result<Vec<Command>, String> {
    let words = words::split(value)?;
    let commands = words.split(|word| word == ";").filter(|it| !it.is_empty());
    commands.map(|words| one(words, specifiers)).collect()
}

fn one(words: &[String], specifiers: &Specifiers) -> Result<Command, String> {
    let (first, rest) = words.split_first().ok_or("is empty")?;
    let program = first.trim_start_matches(['-', '@', ':', '+', '!', '|']);
    let prefixes = first.strip_suffix(program).unwrap_or("");
    if prefixes.contains('|') {
        return Err("has the prefix `|`, which no Debian 12 systemd knows".to_owned());
    }
    let renamed = prefixes.contains('@');
    let verbatim = prefixes.contains(':');
    let program = specifiers.expand(program)?;
    if program.is_empty() {
        return Err("names no program".to_owned());
    }
    if program.contains('$') {
        return Err("takes the program from a variable".to_owned());
    }
    let mut read = vec![Word::One(vec![Part::Text(program)])];
    for word in rest.iter().skip(usize::from(renamed)) {
        let word = match word.as_str() {
            r"\;" => ";",
            word => word,
        };
        let word = specifiers.expand(word)?;
        read.push(match verbatim {
            true => Word::One(vec![Part::Text(word)]),
            false => variables(&word)?,
        });
    }
    Ok(Command {
        ignored: prefixes.contains('-'),
        // `!!` only counts where the kernel lacks ambient capabilities, which is none of today.
        elevated: prefixes.contains('+') || prefixes.contains('!') && !prefixes.contains("!!"),
        renamed,
        words: read,
    })
}

/// `$NAME` as a word of its own, `${NAME}` anywhere, `$$` for the sign itself; any other `$` is one.
fn variables(word: &str) -> Result<Word, String> {
    if let Some(name) = word
        .strip_prefix('$')
        .filter(|it| !it.starts_with(['$', '{']))
    {
        return match shell::is_variable(name) {
            true => Ok(Word::Split(name.to_owned())),
            false => Err(format!("has the word `{word}`, which is no variable")),
        };
    }
    let mut parts = Vec::new();
    let mut text = String::new();
    let mut rest = word;
    while let Some(at) = rest.find('$') {
        let (before, after) = rest.split_at_checked(at).unwrap_or((rest, ""));
        text.push_str(before);
        rest = after.strip_prefix('$').unwrap_or(after);
        if let Some(after) = rest.strip_prefix('$') {
            text.push('$');
            rest = after;
        } else if let Some((name, after)) = rest.strip_prefix('{').and_then(|it| it.split_once('}'))
        {
            if !shell::is_variable(name) {
                return Err(format!(
                    "has `${{{name}}}`, which is not the name of a variable alone"
                ));
            }
            parts.push(Part::Text(std::mem::take(&mut text)));
            parts.push(Part::Variable(name.to_owned()));
            rest = after;
        } else {
            text.push('$');
        }
    }
    text.push_str(rest);
    parts.push(Part::Text(text));
    if parts.len() > 1 {
        parts.retain(|part| !matches!(part, Part::Text(text) if text.is_empty()));
    }
    Ok(Word::One(parts))
}

impl Command {
    /// The words, where no shell is needed for them.
    pub(super) fn plain(&self) -> Option<Vec<String>> {
        let words = self.words.iter().map(|word| match word {
            Word::One(parts) => match parts.as_slice() {
                [Part::Text(text)] => Some(text.clone()),
                _ => None,
            },
            Word::Split(_) => None,
        });
        let words: Vec<String> = words.collect::<Option<_>>()?;
        words.first()?.starts_with('/').then_some(words)
    }

    /// The same for a shell.
    pub(super) fn for_shell(&self) -> String {
        let word = |word: &Word| match word {
            Word::Split(name) => format!("${name}"),
            Word::One(parts) => {
                let parts = parts.iter().map(|part| match part {
                    Part::Text(text) => shell::quote(text),
                    Part::Variable(name) => format!("\"${{{name}}}\""),
                });
                parts.collect()
            }
        };
        self.words
            .iter()
            .map(word)
            .collect::<Vec<String>>()
            .join(" ")
    }

    /// Whether a variable is taken apart at white space.
    pub(super) fn splits(&self) -> bool {
        self.words.iter().any(|word| matches!(word, Word::Split(_)))
    }

    /// Whether it says `name`, as a variable or to a shell.
    pub(super) fn mentions(&self, name: &str) -> bool {
        self.words.iter().any(|word| match word {
            Word::Split(variable) => variable == name,
            Word::One(parts) => parts.iter().any(|part| match part {
                Part::Text(text) => text.contains(name),
                Part::Variable(variable) => variable == name,
            }),
        })
    }

    /// The signal, of a kill(1) that sends one to the main process and does nothing else.
    pub(super) fn signal_to_main(&self) -> Option<String> {
        let main = |word: &Word| match word {
            Word::Split(name) => name == "MAINPID",
            Word::One(parts) => {
                matches!(parts.as_slice(), [Part::Variable(name)] if name == "MAINPID")
            }
        };
        let text = |word: &Word| match word {
            Word::One(parts) => match parts.as_slice() {
                [Part::Text(text)] => Some(text.clone()),
                _ => None,
            },
            Word::Split(_) => None,
        };
        let (last, before) = self.words.split_last()?;
        let before: Vec<String> = before.iter().map(text).collect::<Option<_>>()?;
        let (program, arguments) = before.split_first()?;
        if !main(last) || !matches!(program.rsplit('/').next(), Some("kill")) {
            return None;
        }
        match arguments {
            [] => Some("TERM".to_owned()),
            [signal] => signal.strip_prefix('-').map(str::to_owned),
            [option, signal] if option == "-s" || option == "-n" => Some(signal.clone()),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn command(value: &str) -> Command {
        let commands = read(value, &Specifiers::of("web.service")).unwrap();
        assert_eq!(commands.len(), 1);
        commands.into_iter().next().unwrap()
    }

    #[test]
    fn a_command_without_variables_needs_no_shell() {
        let plain = |value| command(value).plain().unwrap();
        assert_eq!(
            plain("/bin/a 'b c' --d=%n"),
            ["/bin/a", "b c", "--d=web.service"]
        );
        assert_eq!(plain("@/bin/a other b"), ["/bin/a", "b"]);
        assert_eq!(plain(":/bin/a $B ${C}"), ["/bin/a", "$B", "${C}"]);
        assert_eq!(
            plain("/bin/a $$B x$y cost$$"),
            ["/bin/a", "$B", "x$y", "cost$"]
        );
        assert_eq!(plain(r"/bin/find -exec rm {} \;").last().unwrap(), ";");
        assert!(command("find /").plain().is_none());
        assert!(command("/bin/a $B").plain().is_none());
    }

    #[test]
    fn variables_are_left_to_a_shell() {
        let check = |value, expect| assert_eq!(command(value).for_shell(), expect, "{value}");
        check("/bin/a -f $B", "/bin/a -f $B");
        check("/bin/a ${B} x${C}y", "/bin/a \"${B}\" x\"${C}\"y");
        check("/bin/a 'it s' $$B \"\"", "/bin/a 'it s' '$B' ''");
        assert!(command("/bin/a $B").splits() && !command("/bin/a ${B}").splits());
    }

    #[test]
    fn prefixes_are_kept_apart() {
        let it = command("-+/bin/a");
        assert!(it.ignored && it.elevated && !it.renamed);
        assert!(!command("!!/bin/a").elevated && command("!/bin/a").elevated);
        let specifiers = Specifiers::of("a.service");
        for wrong in [
            "$A b",
            "-",
            "/bin/a $A-B",
            "/bin/a ${A:-b}",
            "/bin/a %H",
            "'",
        ] {
            assert!(read(wrong, &specifiers).is_err(), "{wrong}");
        }
        assert_eq!(read("/bin/a ; /bin/b", &specifiers).unwrap().len(), 2);
        assert_eq!(read("", &specifiers).unwrap(), []);
    }

    #[test]
    fn a_kill_of_the_main_process_is_known() {
        let signal = |value| command(value).signal_to_main();
        assert_eq!(signal("/bin/kill -HUP $MAINPID").as_deref(), Some("HUP"));
        assert_eq!(
            signal("/bin/kill -s USR1 ${MAINPID}").as_deref(),
            Some("USR1")
        );
        assert_eq!(signal("/usr/bin/kill $MAINPID").as_deref(), Some("TERM"));
        assert_eq!(signal("/bin/kill -HUP 1 $MAINPID"), None);
        assert_eq!(signal("/bin/killer $MAINPID"), None);
        assert!(command("/bin/sh -c 'kill $MAINPID'").mentions("MAINPID"));
    }
}
