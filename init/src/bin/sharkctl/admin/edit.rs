//! `edit`: a drop-in or a whole file through an editor, the checks, and into place. Not here: the checks
//! (`files`).

use std::fs;
use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::Command;

use services::file::{Role, Source, files_of, has_template, role};

use super::cli::Edit;
use super::files::{Layers, Set, Step, write};
use super::mask::made;
use super::{shown, take_over, tell_to_reload};
use crate::Context;
use crate::failure::Failure;
use crate::screen::Screen;

/// The drop-in that is edited.
const DROP_IN: &str = "override.toml";

/// `edit`.
pub(crate) fn edit(
    context: &Context,
    screen: &mut Screen<'_>,
    options: &Edit,
) -> Result<(), Failure> {
    let layers = Layers::new(context, options.root.as_deref());
    let name = options.service.as_str();
    let set = layers.read();
    if !set.has(name) && !has_template(&set.sources, name) {
        return Err(Failure::NoSuchService(name.to_owned()));
    }
    let path = match options.full {
        true => layers.own(name),
        false => layers.drop_in(name, DROP_IN),
    };
    let draft = Draft::new(&set, name, path, options.full)?;
    let steps = loop {
        let text = draft.through_editor()?;
        let Some(steps) = draft.steps(&set, &text) else {
            draft.discard();
            return screen.say_done(&format!("{name}: nothing was changed\n"));
        };
        match layers.take(&set, &steps) {
            Ok(()) => break steps,
            Err(failure) => {
                super::tell_failure(screen, &failure.to_string());
                if !again(screen) {
                    let kept = draft.copy.display();
                    screen.say(&format!("what was edited is kept in {kept}"));
                    return Err(Failure::Told(failure.exit_status()));
                }
            }
        }
    };
    draft.discard();
    let made = made(name, "edited".to_owned(), &steps);
    match screen.json {
        true => screen.print_json(&made)?,
        false => screen.say_done(&made.for_people())?,
    }
    if options.now {
        take_over(context, screen)
    } else {
        if options.root.is_none() {
            tell_to_reload(context, screen);
        }
        Ok(())
    }
}

/// The copy that the editor gets.
struct Draft {
    /// Where the file is to be.
    path: PathBuf,
    copy: PathBuf,
    /// What the editor gets first.
    begun: String,
}

impl Draft {
    fn new(set: &Set, name: &str, path: PathBuf, full: bool) -> Result<Self, Failure> {
        let begun = match (set.text(&path), full) {
            (Some(text), _) => text.to_owned(),
            (None, true) => whole(set, name),
            (None, false) => commented(&files_of(&set.sources, name)),
        };
        let directory = path.parent().unwrap_or(Path::new("/"));
        // Hidden, and of the same kind by its name: nobody reads it, and an editor knows its colours.
        let copy = directory.join(format!(".edit-{}.{name}.toml", std::process::id()));
        write(&copy, &begun).map_err(|error| Failure::of_file("write", &copy, &error))?;
        Ok(Self { path, copy, begun })
    }

    fn through_editor(&self) -> Result<String, Failure> {
        let editor = editor();
        // As everywhere, the variable may hold arguments.
        let ended = Command::new("/bin/sh")
            .args(["-c", &format!("{editor} \"$1\""), "sh"])
            .arg(&self.copy)
            .status();
        let kept = || {
            // Where nothing was written, there is nothing to keep.
            match fs::read(&self.copy).is_ok_and(|text| text == self.begun.as_bytes()) {
                true => {
                    self.discard();
                    "nothing was changed".to_owned()
                }
                false => format!("what was edited is kept in {}", shown(&self.copy)),
            }
        };
        match ended {
            Ok(status) if status.success() => fs::read_to_string(&self.copy)
                .map_err(|error| Failure::of_file("read", &self.copy, &error)),
            Ok(status) => Err(Failure::Failed(format!(
                "the editor `{editor}` failed ({status}), see $VISUAL and $EDITOR; {}",
                kept()
            ))),
            Err(error) => Err(Failure::Failed(format!(
                "run the editor `{editor}`: {error}; {}",
                kept()
            ))),
        }
    }

    /// What the text means; `None`: nothing is to be done. Text without a line that counts is no file.
    fn steps(&self, set: &Set, text: &str) -> Option<Vec<Step>> {
        let there = set.text(&self.path).is_some();
        let says_something = |text: &str| {
            let mut lines = text.lines().map(str::trim);
            lines.any(|line| !line.is_empty() && !line.starts_with('#'))
        };
        let is_drop_in = matches!(role(&shown(&self.path)), Role::DropIn(_));
        match (is_drop_in && !says_something(text), there) {
            (true, true) => Some(vec![Step::Remove(self.path.clone())]),
            (true, false) => None,
            (false, _) if text == self.begun && there => None,
            (false, _) => Some(vec![Step::Write(self.path.clone(), text.to_owned())]),
        }
    }

    fn discard(&self) {
        let _ = fs::remove_file(&self.copy);
        // A directory of drop-ins that was made for it goes too; one with other files stays.
        if let Some(directory) = self.copy.parent()
            && directory.extension().is_some_and(|it| it == "d")
        {
            let _ = fs::remove_dir(directory);
        }
    }
}

/// Whose editor.
fn editor() -> String {
    #[cfg(test)]
    if let Some(editor) = EDITOR.with_borrow(Clone::clone) {
        return editor;
    }
    let variable = |name| std::env::var(name).ok().filter(|text| !text.is_empty());
    let editor = variable("VISUAL").or_else(|| variable("EDITOR"));
    editor.unwrap_or_else(|| "vi".to_owned())
}

#[cfg(test)]
thread_local! {
    /// The editor of a test: variables are those of all tests together.
    static EDITOR: std::cell::RefCell<Option<String>> = const { std::cell::RefCell::new(None) };
}

/// Does something with another editor.
#[cfg(test)]
pub(super) fn with_editor<T>(editor: &str, work: impl FnOnce() -> T) -> T {
    EDITOR.set(Some(editor.to_owned()));
    let done = work();
    EDITOR.set(None);
    done
}

/// The file that defines the service, as it counts now.
fn whole(set: &Set, name: &str) -> String {
    let files = files_of(&set.sources, name);
    let defines = |it: &&&Source| role(&it.path) == Role::Service(name);
    let defining = files.iter().find(defines);
    defining.map_or_else(String::new, |it| it.text.clone())
}

/// For a new drop-in: what there is already, as comments.
fn commented(files: &[&Source]) -> String {
    let mut text =
        "# Keys that are written here go over those of the files below, which init reads first.\n\
                    # See shark-service(5).\n\n"
            .to_owned();
    for file in files {
        text.push_str(&format!("\n# {}\n", file.path));
        for line in file.text.lines() {
            text.push_str(&format!("#   {line}\n"));
        }
    }
    text
}

/// Asks whoever is at the terminal, if somebody is.
fn again(screen: &mut Screen<'_>) -> bool {
    let input = std::io::stdin();
    if !input.is_terminal() || screen.json {
        return false;
    }
    let asked = std::io::stderr().write_all(b"edit it again? [Y/n] ");
    let mut answer = String::new();
    match asked.and_then(|()| input.read_line(&mut answer)) {
        Ok(read) => read > 0 && !answer.trim_start().starts_with(['n', 'N']),
        Err(_) => false,
    }
}
