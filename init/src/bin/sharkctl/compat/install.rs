//! `compat install`: links to sharkctl under other names. Not here: what it does when it is called so.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use serde_json::json;

use super::Name;
use super::cli::Install;
use crate::failure::Failure;
use crate::screen::Screen;

/// Where sharkctl is in an image.
const SHARKCTL: &str = "/usr/bin/sharkctl";

/// `compat install`.
pub(super) fn install(screen: &mut Screen<'_>, options: &Install) -> Result<(), Failure> {
    let program = match &options.root {
        Some(_) => PathBuf::from(SHARKCTL),
        None => std::env::current_exe()
            .map_err(|error| Failure::Failed(format!("find out where sharkctl is: {error}")))?,
    };
    let directory = match &options.root {
        Some(root) => root.join(
            options
                .directory
                .strip_prefix("/")
                .unwrap_or(&options.directory),
        ),
        None => options.directory.clone(),
    };
    let names = match options.names.as_slice() {
        [] => Name::ALL.as_slice(),
        some => some,
    };
    let links: Vec<PathBuf> = names
        .iter()
        .map(|name| directory.join(name.word()))
        .collect();
    let (there, missing): (Vec<_>, Vec<_>) = links
        .iter()
        .partition(|link| link.symlink_metadata().is_ok());
    if let Some(other) = there.iter().find(|link| !leads_to(link, &program)) {
        return Err(Failure::Refused(format!(
            "{} is there already, and no link to {}; nothing was changed",
            other.display(),
            program.display()
        )));
    }
    fs::create_dir_all(&directory).map_err(|error| Failure::of_file("make", &directory, &error))?;
    for link in &missing {
        symlink(&program, link).map_err(|error| Failure::of_file("make the link", link, &error))?;
    }
    if screen.json {
        return screen.print_json(&json!({ "made": missing, "there": there, "program": program }));
    }
    for link in &missing {
        screen.say_done(&format!("{} -> {}\n", link.display(), program.display()))?;
    }
    match missing.is_empty() {
        true => screen.say_done("all names are there already\n"),
        false => Ok(()),
    }
}

fn leads_to(link: &Path, program: &Path) -> bool {
    fs::read_link(link).is_ok_and(|target| target == program)
}
