//! `import`: makes service files of what another init runs, and tells what became of each line. Not
//! here: what becomes of it (`services::import`), and finding units on a disk (`units`).

mod directories;
mod scripts;
pub(crate) mod units;

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use serde_json::json;
use services::file::{Role, role};
use services::import::report::{Entry, Fate, Import as Report};
use services::import::{Options, directory, openrc, systemd};

use crate::cli::{Foreign, Import};
use crate::failure::{Failure, count};
use crate::screen::Screen;
use crate::table::printable;
use crate::verify::USUAL_DIRECTORIES;

/// Most characters of a line that are repeated in the report.
const SHORT: usize = 100;

/// `import`.
pub(crate) fn import(screen: &mut Screen<'_>, options: &Import) -> Result<(), Failure> {
    let root = options.root.as_deref().unwrap_or(Path::new("/"));
    let given = Options {
        known: known(root, options.output.as_deref()),
        map: options.map.iter().cloned().collect::<BTreeMap<_, _>>(),
        force: options.force,
    };
    let report = match options.from.unwrap_or_else(|| guess(&options.units)) {
        Foreign::Systemd => systemd::convert(&units::find(root, &options.units)?, &given),
        Foreign::Openrc => openrc::convert(&scripts::find(root, &options.units)?, &given),
        Foreign::Runit | Foreign::S6 => {
            directory::convert(&directories::find(root, &options.units)?, &given)
        }
    };
    if let Some(output) = &options.output {
        write_all(output, &report, options.overwrite)?;
    }
    tell(screen, &report, options.output.as_deref())?;
    let refused = report.refused.len();
    match (refused, report.problems.len()) {
        (0, 0) => Ok(()),
        (0, problems) => Err(Failure::Failed(format!(
            "{} in the files that were made",
            count(problems, "problem")
        ))),
        (refused, _) => Err(Failure::Failed(format!(
            "no file of {}",
            count(refused, "unit")
        ))),
    }
}

/// Of which init they are: what one of the paths is, and systemd where only names are given.
fn guess(wanted: &[String]) -> Foreign {
    let paths = wanted.iter().filter(|it| it.contains('/'));
    let paths: Vec<&Path> = paths.map(Path::new).collect();
    if paths.iter().any(|path| directories::is_any(path)) {
        Foreign::Runit
    } else if paths.iter().any(|path| scripts::is_any(path)) {
        Foreign::Openrc
    } else {
        Foreign::Systemd
    }
}

/// Names of services that are there already, and that new ones can name.
fn known(root: &Path, output: Option<&Path>) -> BTreeSet<String> {
    let usual = USUAL_DIRECTORIES.iter().map(|it| root.join(it));
    let directories = usual.chain(output.map(Path::to_owned));
    // A directory that is not there, or cannot be read, has no services that could be named.
    let files = directories.flat_map(|it| fs::read_dir(it).into_iter().flatten().flatten());
    files
        .filter_map(|entry| {
            let path = entry.path();
            match role(path.to_str()?) {
                Role::Service(name) => Some(name.to_owned()),
                Role::DropIn(_) | Role::Other => None,
            }
        })
        .collect()
}

fn write_all(output: &Path, report: &Report, overwrite: bool) -> Result<(), Failure> {
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |error: std::io::Error| Failure::of_file("write", &path, &error)
    };
    fs::create_dir_all(output).map_err(failed(output))?;
    let files = report.made.iter();
    let files = files.map(|made| (output.join(format!("{}.toml", made.service)), &made.text));
    let files: Vec<(PathBuf, &String)> = files.collect();
    if !overwrite {
        let there = files
            .iter()
            .filter(|(path, _)| path.symlink_metadata().is_ok());
        let there: Vec<String> = there.map(|(path, _)| path.display().to_string()).collect();
        if !there.is_empty() {
            let files = there.join(", ");
            return Err(Failure::Refused(format!(
                "{files}: there already; --overwrite replaces what is there. Nothing was written"
            )));
        }
    }
    for (path, text) in files {
        write(&path, text, overwrite).map_err(failed(&path))?;
    }
    Ok(())
}

/// A file is there whole or not at all, and another one of its name is kept unless told otherwise.
fn write(path: &Path, text: &str, overwrite: bool) -> std::io::Result<()> {
    let fresh = path.with_extension("toml.new");
    let written = File::create(&fresh).and_then(|mut file| {
        file.write_all(text.as_bytes())
            .and_then(|()| file.sync_all())
    });
    let placed = written.and_then(|()| match overwrite {
        true => fs::rename(&fresh, path),
        false => fs::hard_link(&fresh, path),
    });
    match fs::remove_file(&fresh) {
        Err(error) if error.kind() != ErrorKind::NotFound => placed.and(Err(error)),
        Ok(()) | Err(_) => placed,
    }
}

fn tell(screen: &mut Screen<'_>, report: &Report, output: Option<&Path>) -> Result<(), Failure> {
    if screen.json {
        return screen.print_json(&json!({
            "output": output,
            "made": report.made,
            "lines": report.entries,
            "implied": report.implied,
            "refused": report.refused,
            "problems": report.problems,
        }));
    }
    let headings = |entry: &&Entry| !entry.text.starts_with('[');
    for entry in report.entries.iter().filter(headings) {
        screen.print(line(entry))?;
    }
    for implied in &report.implied {
        let (service, key) = (&implied.service, &implied.key);
        screen.print(format!("{service}.toml: implied: {key}: {}\n", implied.why))?;
    }
    for refused in &report.refused {
        let force = match refused.forceable {
            true => "; --force makes one all the same",
            false => "",
        };
        let why = printable(&refused.why.join("; "));
        screen.print(format!(
            "{}: no file: {why}{force}\n",
            printable(&refused.unit)
        ))?;
    }
    for problem in &report.problems {
        screen.print(format!("{}\n", printable(&problem.to_string())))?;
    }
    screen.say_done(&summary(report, output))
}

/// `FILE:LINE: what became of it: the line -> keys: notes`
fn line(entry: &Entry) -> String {
    let word = match (entry.outcome.fate, entry.outcome.look.is_empty()) {
        (Fate::Carried, true) => "carried",
        (Fate::Carried, false) => "look",
        (Fate::Lost, _) => "lost",
        (Fate::Irrelevant, _) => "irrelevant",
    };
    let text = match entry.text.char_indices().nth(SHORT) {
        Some((end, _)) => format!("{}...", entry.text.get(..end).unwrap_or(&entry.text)),
        None => entry.text.clone(),
    };
    let mut told = format!("{}:{}: {word}: {text}", entry.file, entry.line);
    if !entry.outcome.into.is_empty() {
        told.push_str(" -> ");
        told.push_str(&entry.outcome.into.join(", "));
    }
    let notes = entry.outcome.why.iter().chain(&entry.outcome.look);
    let notes: Vec<&str> = notes.map(String::as_str).collect();
    if !notes.is_empty() {
        told.push_str(": ");
        told.push_str(&notes.join("; "));
    }
    format!("{}\n", printable(&told))
}

fn summary(report: &Report, output: Option<&Path>) -> String {
    let of = |fate| {
        let entries = report.entries.iter();
        entries.filter(|entry| entry.outcome.fate == fate).count()
    };
    let look = report
        .entries
        .iter()
        .filter(|entry| entry.outcome.fate == Fate::Carried && !entry.outcome.look.is_empty());
    let headings = report
        .entries
        .iter()
        .filter(|entry| entry.text.starts_with('['));
    let made = count(report.made.len(), "service file");
    let place = match output {
        Some(output) => format!("in {}", output.display()),
        None => "not written, as there is no --output".to_owned(),
    };
    format!(
        "{made} {place}; {} carried over ({} to look at), {} lost, {} irrelevant\n",
        count(of(Fate::Carried), "line"),
        look.count(),
        of(Fate::Lost),
        of(Fate::Irrelevant).saturating_sub(headings.count()),
    )
}
