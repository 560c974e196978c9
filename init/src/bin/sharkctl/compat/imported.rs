//! Units that a script has put where systemd looks, as service files: made by `import`, followed when the
//! unit changes, removed with it, and left alone once somebody has edited them. Not here: what becomes of
//! the lines of a unit (`services::import`).

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use services::file::{Role, role};
use services::import::Options;
use services::import::report::{Entry, Fate, Import};
use services::import::systemd::{self, Unit};

use crate::admin::enable;
use crate::admin::files::{Layers, Set, Step};
use crate::failure::Failure;
use crate::import::units;
use crate::screen::Screen;
use crate::table::printable;

/// Where scripts put units.
const DIRECTORY: &str = "etc/systemd/system";
/// Where packages do: these count once somebody names them.
const OF_PACKAGES: [&str; 3] = [
    "usr/local/lib/systemd/system",
    "usr/lib/systemd/system",
    "lib/systemd/system",
];
/// How the first line of a service file begins that was made here.
const MARK: &str = "# Imported by systemctl from ";

/// What a service file says of where it comes from.
#[derive(Debug, PartialEq, Eq)]
struct Origin {
    unit: String,
    /// Checksum of the unit and its drop-ins, and of the rest of the service file, as they were.
    from: u32,
    made: u32,
}

impl Origin {
    /// The first line of a file, with the line that explains it.
    fn head(&self) -> String {
        format!(
            "{MARK}{} ({:08x} {:08x})\n# It follows that unit at `systemctl daemon-reload`, until it is edited.\n",
            self.unit, self.from, self.made
        )
    }

    /// What the first line of a file says, and what comes after its head.
    fn read(text: &str) -> Option<(Self, &str)> {
        let (line, rest) = text.split_once('\n')?;
        let (_, body) = rest.split_once('\n')?;
        let (unit, sums) = line
            .strip_prefix(MARK)?
            .strip_suffix(')')?
            .rsplit_once(" (")?;
        let (from, made) = sums.split_once(' ')?;
        let sum = |text| u32::from_str_radix(text, 16).ok();
        let unit = unit.to_owned();
        Some((
            Self {
                unit,
                from: sum(from)?,
                made: sum(made)?,
            },
            body,
        ))
    }
}

/// What was done.
#[derive(Debug, Default)]
pub(super) struct Brought {
    /// Whether init has something to read.
    pub(super) changed: bool,
}

/// Imports the unit of one service, if a script or a package has put one there.
pub(super) fn bring(
    screen: &mut Screen<'_>,
    root: &Path,
    layers: &Layers,
    service: &str,
) -> Result<Brought, Failure> {
    let mut brought = Brought::default();
    if written_by_somebody(root, service) || OF_PACKAGES.iter().any(|it| lies_in(root, it, service))
    {
        brought.changed = follow(screen, root, layers, service)?;
    }
    Ok(brought)
}

/// Imports all that are new or have changed, and takes away what has lost its unit.
pub(super) fn bring_all(
    screen: &mut Screen<'_>,
    root: &Path,
    layers: &Layers,
) -> Result<Brought, Failure> {
    let mut brought = Brought::default();
    let directory = root.join(DIRECTORY);
    let mut names: BTreeSet<String> = fs::read_dir(&directory)
        .into_iter()
        .flatten()
        .flatten()
        .filter(|entry| is_unit(&entry.path()))
        .filter_map(|entry| {
            let name = entry.file_name().into_string().ok()?;
            let (service, suffix) = name.rsplit_once('.')?;
            ["service", "socket", "timer"]
                .contains(&suffix)
                .then(|| service.to_owned())
        })
        .collect();
    // Those of packages that somebody has named before.
    for source in &layers.read().sources {
        if let Role::Service(name) = role(&source.path)
            && let Some((origin, _)) = Origin::read(&source.text)
            && Path::new(&origin.unit).exists()
        {
            names.insert(name.to_owned());
        }
    }
    for name in &names {
        // One that cannot be imported does not keep the others from it.
        match follow(screen, root, layers, name) {
            Ok(changed) => brought.changed |= changed,
            Err(failure) => tell(screen, &failure),
        }
    }
    let set = layers.read();
    for source in &set.sources {
        let Role::Service(name) = role(&source.path) else {
            continue;
        };
        if let Some((origin, body)) = Origin::read(&source.text)
            && !Path::new(&origin.unit).exists()
            && sum(body) == origin.made
        {
            let mut steps = vec![Step::Remove(source.path.clone().into())];
            steps.extend(enable::drop_in(layers, &set, name).map(Step::Remove));
            layers.take(&set, &steps)?;
            screen.complain_bare(&format!("{name}: removed, as {} is gone", origin.unit));
            brought.changed = true;
        }
    }
    Ok(brought)
}

fn tell(screen: &mut Screen<'_>, failure: &Failure) {
    failure
        .to_string()
        .lines()
        .for_each(|line| screen.complain_bare(line));
}

/// Whether a script, or who runs the machine, has put a unit of this service where theirs are.
fn written_by_somebody(root: &Path, service: &str) -> bool {
    lies_in(root, DIRECTORY, service)
}

fn lies_in(root: &Path, directory: &str, service: &str) -> bool {
    let mut names = ["service", "socket", "timer"].iter();
    names.any(|suffix| is_unit(&root.join(directory).join(format!("{service}.{suffix}"))))
}

/// A file, not a link: those are aliases, masks, and what is enabled.
fn is_unit(path: &Path) -> bool {
    path.symlink_metadata().is_ok_and(|it| it.is_file())
}

/// Makes the service file what its unit says; gives whether it was not.
fn follow(
    screen: &mut Screen<'_>,
    root: &Path,
    layers: &Layers,
    service: &str,
) -> Result<bool, Failure> {
    let found = units::find(root, &[service.to_owned()])?;
    let set = layers.read();
    let own = layers.own(service);
    let from = sum_of(&found);
    match set.text(&own).map(Origin::read) {
        Some(Some((origin, body))) if origin.from == from && origin.made == sum(body) => {
            return Ok(false);
        }
        Some(Some((origin, body))) if origin.made == sum(body) => {}
        Some(Some((origin, _))) => {
            if origin.from != from {
                screen.complain_bare(&format!(
                    "{}: has been edited, and does not follow {}",
                    own.display(),
                    origin.unit
                ));
            }
            return Ok(false);
        }
        Some(None) => return Ok(false),
        // The image has a service of this name: that is what was meant to run here. The unit of a package
        // often lies beside it; one that somebody has written himself was meant to count.
        None if set.has(service) => {
            if written_by_somebody(root, service) {
                screen.complain_bare(&format!(
                    "{service}: there is a service of this name, which counts; its unit does not"
                ));
            }
            return Ok(false);
        }
        None => {}
    }
    let is_new = set.text(&own).is_none();
    let report = systemd::convert(&found, &options(&set));
    account(screen, &report);
    let Some(made) = report.made.iter().find(|made| made.service == service) else {
        let why = report.refused.iter().flat_map(|it| it.why.clone());
        let why: Vec<String> = why.collect();
        return Err(Failure::Refused(format!(
            "{service}: its unit is no service here: {}; write {}",
            why.join("; "),
            own.display()
        )));
    };
    let unit = found.first().and_then(|unit| unit.files.first());
    let origin = Origin {
        unit: unit.map(|it| it.path.clone()).unwrap_or_default(),
        from,
        made: sum(&made.text),
    };
    let mut steps = vec![Step::Write(own, format!("{}{}", origin.head(), made.text))];
    if is_new && !is_enabled(root, service) {
        // It is there, but nothing brings it up before it is enabled.
        steps.push(enable::off(layers, service));
    }
    layers.take(&set, &steps)?;
    Ok(true)
}

/// Services that a unit can name.
fn options(set: &Set) -> Options {
    let names = set
        .sources
        .iter()
        .filter_map(|source| match role(&source.path) {
            Role::Service(name) => Some(name.to_owned()),
            Role::DropIn(_) | Role::Other => None,
        });
    Options {
        known: names.collect(),
        map: BTreeMap::new(),
        force: false,
    }
}

/// Says what is not carried over, and what somebody should look at.
fn account(screen: &mut Screen<'_>, report: &Import) {
    let worth = |entry: &&Entry| entry.outcome.fate == Fate::Lost || !entry.outcome.look.is_empty();
    for entry in report.entries.iter().filter(worth) {
        let word = match entry.outcome.fate {
            Fate::Lost => "not carried over",
            Fate::Carried | Fate::Irrelevant => "look",
        };
        let notes = entry.outcome.why.iter().chain(&entry.outcome.look);
        let notes: Vec<&str> = notes.map(String::as_str).collect();
        screen.complain_bare(&printable(&format!(
            "{}:{}: {word}: {}: {}",
            entry.file,
            entry.line,
            entry.text,
            notes.join("; ")
        )));
    }
    for problem in &report.problems {
        screen.complain_bare(&printable(&problem.to_string()));
    }
}

/// Whether a link of systemd's enables it: a package may have been installed before.
fn is_enabled(root: &Path, service: &str) -> bool {
    let entries = fs::read_dir(root.join(DIRECTORY))
        .into_iter()
        .flatten()
        .flatten();
    let folders = entries.map(|entry| entry.path()).filter(|path| {
        path.extension()
            .is_some_and(|it| it == "wants" || it == "requires")
    });
    let mut links = folders.map(|folder| folder.join(format!("{service}.service")));
    links.any(|link| link.symlink_metadata().is_ok())
}

fn sum(text: &str) -> u32 {
    crc32c::crc32c(text.as_bytes())
}

fn sum_of(units: &[Unit]) -> u32 {
    let files = units.iter().flat_map(|unit| &unit.files);
    files.fold(0, |sum, file| {
        let sum = crc32c::crc32c_append(sum, file.path.as_bytes());
        crc32c::crc32c_append(sum, file.text.as_bytes())
    })
}

/// The name of the service of a unit that is given by its path, where that is where units are put.
pub(super) fn of_path(root: &Path, path: &str) -> Option<PathBuf> {
    let path = Path::new(path);
    let mut directories = std::iter::once(&DIRECTORY).chain(&OF_PACKAGES);
    let known = directories.any(|it| path.parent() == Some(&root.join(it)));
    known.then(|| path.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_head_of_a_file_says_where_it_comes_from() {
        let origin = Origin {
            unit: "/etc/systemd/system/a (b).service".to_owned(),
            from: 7,
            made: 0xfedc_ba98,
        };
        let text = format!("{}exec = '/a'\n", origin.head());
        assert_eq!(Origin::read(&text), Some((origin, "exec = '/a'\n")));
        for text in [
            "",
            "# Imported\n\n",
            "exec = '/a'\n# x\n",
            "# Imported by systemctl from /a (1 x)\n\n",
        ] {
            assert_eq!(Origin::read(text), None, "{text}");
        }
    }
}
