//! The graph that is made with an image and lies in it, so that a boot begins with it at once, and runs
//! the loader only when something that the graph was made from is another by now: service files, of
//! all layers, and accounts. Not here: what a graph is (`services`), and who boots with it (`pid1`).
//!
//! Whether a file is another is told by its name, size and time. An image has the same time on all its
//! files; whoever changes one later leaves his own.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use services::diagnostic::Diagnostic;
use services::supervisor::compiled::Compiled;
use services::users::Accounts;

use super::handoff::{self, Handoff, Meta};
use super::{AccountTexts, CONTROL_GROUP, account_texts, machine, read};
use crate::paths::Paths;

/// Largest graph of an image that is read.
const GRAPH_MAX: u64 = 64 << 20;

/// What a graph was made from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origin {
    /// The program that made it lays out state as this one does.
    layout: u32,
    /// Of names, sizes and times of all service files.
    files: u64,
    /// Checksums of the account database.
    passwd: u32,
    group: u32,
}

impl Origin {
    fn new(files: &Files, accounts: &AccountTexts) -> Self {
        Self {
            layout: services::supervisor::frozen::layout(),
            files: files.0,
            passwd: crc32c::crc32c(accounts.passwd.as_bytes()),
            group: crc32c::crc32c(accounts.group.as_bytes()),
        }
    }

    /// What is another now, if anything is.
    fn differs(&self, now: &Self) -> Option<&'static str> {
        if self.layout != now.layout {
            Some("it was made by another program")
        } else if self.files != now.files {
            Some("the service files are not those that it was made from")
        } else if self.passwd != now.passwd || self.group != now.group {
            Some("the accounts are not those that it was made from")
        } else {
            None
        }
    }
}

/// All service files, as they can be told from changed ones: the sum of a number for each, whatever
/// the order in which they are found, so that none is kept while the others are looked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Files(u64);

impl Files {
    fn add(&mut self, path: &str, size: u64, time: i64) {
        let name = crc32c::crc32c(path.as_bytes());
        let rest = crc32c::crc32c_append(name, &size.to_le_bytes());
        let rest = crc32c::crc32c_append(rest, &time.to_le_bytes());
        let number = u64::from(name) << 32 | u64::from(rest);
        self.0 = self.0.wrapping_add(number);
    }
}

/// The size that is noted of a mask: no file has it.
const MASK_SIZE: u64 = u64::MAX;

/// Looks at the files of `directories` below `root`; `time`: which they will all have.
fn look_at(root: &Path, directories: &[String], time: Option<i64>) -> std::io::Result<Files> {
    let mut files = Files::default();
    for directory in directories {
        read::for_each(Path::new(directory), &mut |path| {
            if read::is_mask(path) {
                // What it leads to has another time on each machine.
                files.add(&inside(root, path), MASK_SIZE, 0);
                return Ok(());
            }
            let metadata = fs::metadata(path)?;
            let time = time.unwrap_or(metadata.mtime());
            files.add(&inside(root, path), metadata.len(), time);
            Ok(())
        })?;
    }
    Ok(files)
}

/// The path as it is called inside of `root`.
fn inside(root: &Path, path: &Path) -> String {
    if root == Path::new("/") {
        return path.display().to_string();
    }
    let inside = path.strip_prefix(root).unwrap_or(path);
    format!("/{}", inside.display())
}

/// Where the graph of an image lies: beside the directory of the vendor's service files.
#[must_use]
pub fn place(paths: &Paths) -> Option<PathBuf> {
    let vendor = Path::new(paths.service_path.first()?);
    (vendor.file_name()? == "services").then(|| vendor.with_file_name("graph"))
}

/// The graph of the accounts and of the service files in the directories `layers` below `root`, as it
/// is to lie in [`place`] there, with the number of its services. `time`: which all files will have,
/// when the image gives them another than they have now.
///
/// # Errors
/// What is wrong with the files; there is no graph then.
pub fn make(
    root: &Path,
    layers: &[String],
    time: Option<i64>,
) -> Result<(Vec<u8>, usize), Vec<Diagnostic>> {
    let below = layers
        .iter()
        .map(|it| root.join(it.trim_start_matches('/')).display().to_string());
    let below: Vec<String> = below.collect();
    let (mut sources, mut diagnostics) = read::sources(&below);
    for source in &mut sources {
        source.path = inside(root, Path::new(&source.path));
    }
    let (texts, unreadable) = account_texts(root);
    diagnostics.extend(unreadable);
    let accounts = Accounts::parse(&texts.passwd, &texts.group);
    let loaded = services::file::load(&sources, Some(&accounts));
    diagnostics.extend(loaded.diagnostics);
    let Some(graph) = loaded.graph.filter(|_| diagnostics.is_empty()) else {
        return Err(diagnostics);
    };
    let whole = |message: String| vec![read::whole_file(&layers.join(":"), message)];
    let files = look_at(root, &below, time).map_err(|e| whole(e.to_string()))?;
    let compiled = Compiled::new(&graph).map_err(|error| whole(error.to_string()))?;
    let handoff = Handoff {
        meta: Meta {
            diagnostics: Vec::new(),
            control_group: accounts.group(CONTROL_GROUP),
            no_template: false,
            origin: Some(Origin::new(&files, &texts)),
            log: None,
            machine: 0,
        },
        graph: Some(compiled.into_bytes()),
    };
    Ok((handoff::encode(&handoff), graph.services().len()))
}

/// The graph of this image, if there is one and it is what the loader would make of the files now.
/// For the boot alone: it looks at all service files, which may be on a file system that hangs later.
///
/// # Errors
/// Why there is one and it is not used, for people.
pub fn find(paths: &Paths) -> Result<Option<(Meta, Compiled)>, String> {
    let Some(place) = place(paths) else {
        return Ok(None);
    };
    let wrong = |error: String| format!("{}: {error}", place.display());
    let bytes = match fs::metadata(&place) {
        Ok(metadata) if metadata.is_file() && metadata.len() <= GRAPH_MAX => {
            fs::read(&place).map_err(|error| wrong(error.to_string()))?
        }
        Ok(_) => return Err(wrong("is not a file of at most 64 MiB".to_owned())),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(wrong(error.to_string())),
    };
    let (mut meta, graph) = handoff::decode(bytes).map_err(wrong)?;
    let (Some(origin), Some(graph)) = (meta.origin, graph) else {
        return Err(wrong("there is no graph in it".to_owned()));
    };
    let root = Path::new("/");
    let (texts, _) = account_texts(root);
    let files =
        look_at(root, &paths.service_path, None).map_err(|error| wrong(error.to_string()))?;
    if let Some(difference) = origin.differs(&Origin::new(&files, &texts)) {
        return Err(wrong(difference.to_owned()));
    }
    meta.machine = machine();
    let compiled = Compiled::from_bytes(graph).map_err(|error| wrong(error.to_string()))?;
    Ok(Some((meta, compiled)))
}
