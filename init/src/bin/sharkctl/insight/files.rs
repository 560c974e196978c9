//! The service files as they lie now, in the directories that init reads: which belong to a service, and
//! what is wrong with them. Not here: reading them (`init::load`), and what runs (`known`).

use init::load;
use services::diagnostic::Diagnostic;
use services::file::{Source, files_of};

/// Files of one service, lowest layer first, drop-ins last; empty where there are none.
pub(crate) fn of_service(directories: &[String], name: &str) -> Vec<Source> {
    let (sources, _unreadable) = load::read::sources(directories);
    files_of(&sources, name).into_iter().cloned().collect()
}

/// Why a service that has files is none that init knows: the problems of all files, or none where they
/// are right and init has only not read them. `None`: it has no files.
pub(crate) fn problems(directories: &[String], name: &str) -> Option<Vec<Diagnostic>> {
    if of_service(directories, name).is_empty() {
        return None;
    }
    Some(load::load(directories, &[]).meta.diagnostics)
}
