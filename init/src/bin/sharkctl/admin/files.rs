//! The layers of service files on a disk, and how files in the highest one are changed: planned, checked
//! with all others, put in place whole. Not here: which files a verb wants.

use std::fs::{self, File};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use init::load;
use init::paths::Paths;
use services::definition::Definition;
use services::diagnostic::Diagnostic;
use services::file::{MASK, Role, Source, role};
use services::users::Accounts;

use super::shown;
use crate::Context;
use crate::failure::{Failure, count};

/// Where service files are.
#[derive(Debug)]
pub(crate) struct Layers {
    /// Where accounts are looked up.
    root: PathBuf,
    /// Lowest layer first.
    pub(crate) directories: Vec<String>,
}

/// One step of a change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// A file of this text.
    Write(PathBuf, String),
    /// A mask.
    Mask(PathBuf),
    /// No file any more.
    Remove(PathBuf),
}

impl Step {
    fn path(&self) -> &Path {
        match self {
            Self::Write(path, _) | Self::Mask(path) | Self::Remove(path) => path,
        }
    }
}

/// All files as they are, or as they would be.
#[derive(Clone, Debug)]
pub(crate) struct Set {
    pub(crate) sources: Vec<Source>,
    pub(crate) accounts: Accounts,
    unreadable: Vec<Diagnostic>,
    /// Number of the administrator's layer.
    highest: u8,
}

impl Layers {
    /// Those below `root`, or those of this machine.
    pub(crate) fn new(context: &Context, root: Option<&Path>) -> Self {
        let Some(root) = root else {
            return Self {
                root: "/".into(),
                directories: context.service_path.clone(),
            };
        };
        let usual = Paths::new(None, None).service_path.into_iter();
        let below = usual.map(|it| shown(&root.join(it.trim_start_matches('/'))));
        Self {
            root: root.to_owned(),
            directories: below.collect(),
        }
    }

    /// The administrator's directory.
    fn admin(&self) -> &Path {
        Path::new(self.directories.last().map_or("/", String::as_str))
    }

    /// Where the administrator's file of a service is.
    pub(crate) fn own(&self, name: &str) -> PathBuf {
        self.admin().join(format!("{name}.toml"))
    }

    /// Where a drop-in of the administrator's is.
    pub(crate) fn drop_in(&self, name: &str, file: &str) -> PathBuf {
        self.admin().join(format!("{name}.toml.d")).join(file)
    }

    /// Reads all files.
    pub(crate) fn read(&self) -> Set {
        let (sources, mut unreadable) = load::read::sources(&self.directories);
        let (accounts, more) = load::accounts(&self.root);
        unreadable.extend(more);
        let highest = self.directories.len().saturating_sub(1);
        Set {
            sources,
            accounts,
            unreadable,
            highest: u8::try_from(highest).unwrap_or(u8::MAX),
        }
    }

    /// Takes the steps, if they cause no problem that was not there before.
    pub(crate) fn take(&self, before: &Set, steps: &[Step]) -> Result<(), Failure> {
        let caused = before.caused_by(steps);
        if !caused.is_empty() {
            let mut text = format!(
                "refused: the service files would have {}; nothing was changed",
                count(caused.len(), "problem")
            );
            for diagnostic in &caused {
                text.push('\n');
                text.push_str(&diagnostic.to_string());
            }
            return Err(Failure::Refused(text));
        }
        for step in steps {
            let (verb, taken) = match step {
                Step::Write(path, text) => ("write", write(path, text)),
                Step::Mask(path) => ("make the link", link(path)),
                Step::Remove(path) => ("remove", remove(path)),
            };
            taken.map_err(|error| Failure::of_file(verb, step.path(), &error))?;
        }
        Ok(())
    }
}

impl Set {
    /// Only the files of the image.
    pub(crate) fn of_image(&self) -> Self {
        let mut image = self.clone();
        image.sources.retain(|it| it.layer == 0);
        image
    }

    /// Only the files of one service, or template.
    pub(crate) fn only(&self, name: &str) -> Self {
        let mut only = self.clone();
        only.sources.retain(|it| match role(&it.path) {
            Role::Service(of) | Role::DropIn(of) => of == name,
            Role::Other => false,
        });
        only
    }

    /// All services as far as their files tell, were the steps taken.
    pub(crate) fn definitions(&self, steps: &[Step]) -> Vec<Definition> {
        services::file::definitions(&self.after(steps), Some(&self.accounts))
    }

    /// One of them.
    pub(crate) fn definition(&self, name: &str, steps: &[Step]) -> Option<Definition> {
        let all = self.definitions(steps);
        // Made-up instances of templates are among them; they have no file.
        all.into_iter().find(|it| it.name.as_str() == name)
    }

    /// Whether there are files of this service, or template.
    pub(crate) fn has(&self, name: &str) -> bool {
        let mut roles = self.sources.iter().map(|it| role(&it.path));
        roles.any(|it| it == Role::Service(name))
    }

    /// The text of a file, where it is there and can be read.
    pub(crate) fn text(&self, path: &Path) -> Option<&str> {
        let source = self.sources.iter().find(|it| Path::new(&it.path) == path);
        source.map(|it| it.text.as_str())
    }

    fn after(&self, steps: &[Step]) -> Vec<Source> {
        let mut sources = self.sources.clone();
        for step in steps {
            sources.retain(|it| Path::new(&it.path) != step.path());
            let text = match step {
                Step::Write(_, text) => text.clone(),
                Step::Mask(_) => MASK.to_owned(),
                Step::Remove(_) => continue,
            };
            sources.push(Source {
                path: shown(step.path()),
                layer: self.highest,
                text,
            });
        }
        sources
    }

    /// Problems that the steps cause: those of the files themselves, and those that are new elsewhere.
    pub(crate) fn caused_by(&self, steps: &[Step]) -> Vec<Diagnostic> {
        let check =
            |sources: &[Source]| services::file::load(sources, Some(&self.accounts)).diagnostics;
        let ours: Vec<String> = steps.iter().map(|step| shown(step.path())).collect();
        let after = check(&self.after(steps));
        if after.is_empty() {
            return after;
        }
        let mut before = check(&self.sources);
        before.extend(self.unreadable.iter().cloned());
        let caused = after.into_iter();
        caused
            .filter(|it| ours.iter().any(|path| **path == *it.file) || !before.contains(it))
            .collect()
    }
}

/// The old file stays until the new one is whole, and on the disk.
pub(crate) fn write(path: &Path, text: &str) -> std::io::Result<()> {
    place(path, &|fresh| {
        let mut file = File::create(fresh)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()
    })
}

fn link(path: &Path) -> std::io::Result<()> {
    place(path, &|fresh| {
        match fs::remove_file(fresh) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
        std::os::unix::fs::symlink("/dev/null", fresh)
    })
}

fn place(path: &Path, make: &dyn Fn(&Path) -> std::io::Result<()>) -> std::io::Result<()> {
    let directory = path.parent().unwrap_or(Path::new("/"));
    fs::create_dir_all(directory)?;
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    // Hidden: nobody reads it while it is here.
    let fresh = directory.join(format!(".{name}.new"));
    make(&fresh)
        .and_then(|()| fs::rename(&fresh, path))
        .inspect_err(|_| {
            let _ = fs::remove_file(&fresh);
        })?;
    File::open(directory)?.sync_all()
}

/// The directory of drop-ins goes with the last of them.
fn remove(path: &Path) -> std::io::Result<()> {
    fs::remove_file(path)?;
    let directory = path.parent().unwrap_or(Path::new("/"));
    let of_drop_ins = directory.extension().is_some_and(|it| it == "d");
    if of_drop_ins && fs::remove_dir(directory).is_ok() {
        let above = directory.parent().unwrap_or(Path::new("/"));
        return File::open(above)?.sync_all();
    }
    File::open(directory)?.sync_all()
}
