//! Finds units of systemd below a root: by name or path, with their aliases and drop-ins. Not here:
//! what is in them.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};

use services::import::systemd::{Unit, UnitFile};

use crate::failure::Failure;
use crate::verify::resolve;

/// Where systemd looks, what counts most first.
const DIRECTORIES: [&str; 6] = [
    "etc/systemd/system",
    "run/systemd/system",
    "usr/local/lib/systemd/system",
    "usr/lib/systemd/system",
    "lib/systemd/system",
    "run/systemd/generator",
];

/// Suffixes of units.
const SUFFIXES: [&str; 11] = [
    "service",
    "socket",
    "timer",
    "target",
    "path",
    "mount",
    "automount",
    "swap",
    "slice",
    "scope",
    "device",
];

/// Largest file that is read; systemd's own limit is the same.
const FILE_MAX: u64 = 1 << 20;

/// The units that `wanted` names, each once.
pub(crate) fn find(root: &Path, wanted: &[String]) -> Result<Vec<Unit>, Failure> {
    let mut finder = Finder {
        root,
        found: BTreeMap::new(),
    };
    for name in wanted {
        finder.add(name)?;
    }
    Ok(finder.found.into_values().collect())
}

struct Finder<'r> {
    root: &'r Path,
    found: BTreeMap<String, Unit>,
}

fn suffix(name: &str) -> Option<&str> {
    let (stem, suffix) = name.rsplit_once('.')?;
    (!stem.is_empty() && SUFFIXES.contains(&suffix)).then_some(suffix)
}

impl Finder<'_> {
    fn add(&mut self, wanted: &str) -> Result<(), Failure> {
        if !wanted.contains('/') {
            return self.add_by_name(wanted);
        }
        let path = Path::new(wanted);
        let metadata = fs::metadata(path).or_else(|_| fs::symlink_metadata(path));
        let metadata = metadata.map_err(|error| Failure::of_file("read", path, &error))?;
        if metadata.is_dir() {
            return self.add_all(path);
        }
        let name = path.file_name().and_then(OsStr::to_str).unwrap_or("");
        if suffix(name).is_none() {
            return Err(Failure::Usage(format!(
                "{wanted} is no unit: its name ends in none of .{}",
                SUFFIXES.join(" .")
            )));
        }
        let directory = path.parent().unwrap_or(Path::new("."));
        self.add_from(directory, name)
    }

    fn add_all(&mut self, directory: &Path) -> Result<(), Failure> {
        let failed = |error: std::io::Error| Failure::of_file("read", directory, &error);
        let (mut names, mut instances) = (Vec::new(), Vec::new());
        for entry in fs::read_dir(directory).map_err(failed)? {
            let name = entry.map_err(failed)?.file_name();
            // An instance that has drop-ins of its own is a unit of its own.
            let folder = name.to_str().and_then(|name| name.strip_suffix(".d"));
            let instance = |it: &&str| it.contains('@') && !it.contains("@.");
            let instance = folder.filter(instance).filter(|it| suffix(it).is_some());
            instances.extend(instance.map(str::to_owned));
            names.extend(
                name.to_str()
                    .filter(|name| suffix(name).is_some())
                    .map(str::to_owned),
            );
        }
        names.sort();
        instances.sort();
        if names.is_empty() {
            return Err(Failure::Failed(format!(
                "there are no units in {}",
                directory.display()
            )));
        }
        names
            .iter()
            .chain(&instances)
            .try_for_each(|name| self.add_from(directory, name))
    }

    /// A unit in a directory: in one where systemd looks, what is in the others counts as well.
    fn add_from(&mut self, directory: &Path, name: &str) -> Result<(), Failure> {
        let usual = DIRECTORIES.iter().any(|it| self.root.join(it) == directory);
        match usual {
            true => self.add_unit(name, &self.directories()),
            false => self.add_unit(name, &[directory.to_owned()]),
        }
        .and_then(|found| match found {
            true => Ok(()),
            false => Err(Failure::Failed(format!(
                "{} is gone",
                directory.join(name).display()
            ))),
        })
    }

    fn directories(&self) -> Vec<PathBuf> {
        DIRECTORIES.iter().map(|it| self.root.join(it)).collect()
    }

    /// By name; without a suffix, the service with its socket and timer.
    fn add_by_name(&mut self, name: &str) -> Result<(), Failure> {
        let names: Vec<String> = match suffix(name) {
            Some(_) => vec![name.to_owned()],
            None => {
                let suffixes = ["service", "socket", "timer"].iter();
                suffixes.map(|suffix| format!("{name}.{suffix}")).collect()
            }
        };
        let directories = self.directories();
        let mut any = false;
        for name in &names {
            any |= self.add_unit(name, &directories)?;
        }
        match any {
            true => Ok(()),
            false => Err(Failure::Failed(format!(
                "there is no unit `{name}` in any of /{} below {}",
                DIRECTORIES.join(" /"),
                self.root.display()
            ))),
        }
    }

    /// Whether there is a unit of that name in one of the directories.
    fn add_unit(&mut self, name: &str, directories: &[PathBuf]) -> Result<bool, Failure> {
        let place = |name: &str| {
            let paths = directories.iter().map(|it| it.join(name));
            paths
                .into_iter()
                .find(|path| path.symlink_metadata().is_ok())
        };
        if let Some(path) = place(name) {
            let real = self.real_name(&path, name);
            let is_alias = real != name && place(&real).is_some();
            if is_alias {
                self.add_unit(&real, directories)?;
                if let Some(unit) = self.found.get_mut(&real)
                    && !unit.aliases.iter().any(|alias| alias == name)
                {
                    unit.aliases.push(name.to_owned());
                }
                return Ok(true);
            }
            let drop_ins = self.drop_ins(&[name], directories)?;
            self.take(name, &path, drop_ins)?;
            return Ok(true);
        }
        // An instance of a template.
        let template = name.split_once('@').and_then(|(prefix, rest)| {
            let (instance, suffix) = rest.rsplit_once('.')?;
            let template = format!("{prefix}@.{suffix}");
            (!instance.is_empty()).then_some((template, instance))
        });
        let Some((template, instance)) = template else {
            return Ok(false);
        };
        let Some(path) = place(&template) else {
            return Ok(false);
        };
        if self.drop_ins(&[name], directories)?.is_empty() {
            self.add_unit(&template, directories)?;
            if let Some(unit) = self.found.get_mut(&template) {
                unit.instances.push(instance.to_owned());
            }
            return Ok(true);
        }
        // It differs from the others, so it is one by itself.
        let drop_ins = self.drop_ins(&[&template, name], directories)?;
        self.take(name, &path, drop_ins)?;
        Ok(true)
    }

    fn take(&mut self, name: &str, path: &Path, drop_ins: Vec<PathBuf>) -> Result<(), Failure> {
        if self.found.contains_key(name) {
            return Ok(());
        }
        let mut files = Vec::new();
        for path in std::iter::once(path.to_owned()).chain(drop_ins) {
            files.push(self.read(&path)?);
        }
        let unit = Unit {
            name: name.to_owned(),
            aliases: Vec::new(),
            files,
            instances: Vec::new(),
        };
        self.found.insert(name.to_owned(), unit);
        Ok(())
    }

    /// The name of the file that a link leads to.
    fn real_name(&self, path: &Path, name: &str) -> String {
        let target = fs::read_link(path).ok();
        let target = target
            .as_deref()
            .and_then(Path::file_name)
            .and_then(OsStr::to_str);
        let same_kind = target.filter(|target| suffix(target) == suffix(name));
        same_kind.unwrap_or(name).to_owned()
    }

    /// Drop-ins of units of these names, the less special name first, in the order of their own.
    fn drop_ins(&self, names: &[&str], directories: &[PathBuf]) -> Result<Vec<PathBuf>, Failure> {
        let mut found: BTreeMap<String, PathBuf> = BTreeMap::new();
        let folders = names.iter().flat_map(|name| drop_in_folders(name));
        for folder in folders {
            for directory in directories.iter().rev() {
                let folder = directory.join(&folder);
                let Ok(entries) = fs::read_dir(&folder) else {
                    continue;
                };
                for entry in entries {
                    let entry = entry.map_err(|error| Failure::of_file("read", &folder, &error))?;
                    let name = entry.file_name();
                    let Some(name) = name.to_str().filter(|name| name.ends_with(".conf")) else {
                        continue;
                    };
                    found.insert(name.to_owned(), entry.path());
                }
            }
        }
        Ok(found.into_values().collect())
    }

    fn read(&self, path: &Path) -> Result<UnitFile, Failure> {
        let failed = |error: std::io::Error| Failure::of_file("read", path, &error);
        let outside = path.strip_prefix(self.root).ok();
        let real = match outside.map(|it| resolve(self.root, it)) {
            Some(Ok(real)) => real,
            Some(Err(_)) | None => path.to_owned(),
        };
        let null = fs::read_link(path).is_ok_and(|it| it == Path::new("/dev/null"));
        let shown = path.display().to_string();
        if null {
            return Ok(UnitFile {
                path: shown,
                text: String::new(),
            });
        }
        let metadata = fs::metadata(&real).map_err(failed)?;
        if metadata.len() > FILE_MAX {
            return Err(Failure::Failed(format!(
                "{shown} is larger than a unit can be"
            )));
        }
        let bytes = fs::read(&real).map_err(failed)?;
        match String::from_utf8(bytes) {
            Ok(text) => Ok(UnitFile { path: shown, text }),
            Err(error) => {
                let right = error.utf8_error().valid_up_to();
                let before = error.as_bytes().iter().take(right);
                let line = 1 + before.filter(|byte| **byte == b'\n').count();
                Err(Failure::Failed(format!(
                    "{shown}:{line}: this line is not UTF-8, as units are; mend it, or leave the unit out"
                )))
            }
        }
    }
}

/// Folders of drop-ins of a unit, the least special first: of its kind, of what its name begins with,
/// its own.
fn drop_in_folders(name: &str) -> Vec<String> {
    let Some((stem, suffix)) = name.rsplit_once('.') else {
        return Vec::new();
    };
    let mut folders = vec![format!("{suffix}.d")];
    for (at, _) in stem.match_indices('-') {
        if let Some(prefix) = stem.get(..=at)
            && prefix.len() < stem.len()
        {
            folders.push(format!("{prefix}.{suffix}.d"));
        }
    }
    folders.push(format!("{name}.d"));
    folders
}
