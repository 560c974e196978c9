//! The starter as PID 1 sees it: what it is told, and the ramfs that its credentials are on. Not here:
//! what it does (`starter`), and what follows from that (the core).

use kernel::mount::{MountFlags, RAMFS_MAGIC};
use services::begin::Begin;
use services::id::ServiceId;

use super::Init;
use super::perform::{Execution, Part};
use super::plan;
use super::say::Level;
use crate::errand;
use crate::paths::Paths;
use crate::starter::{Known, Order};

/// Everybody may pass through to a directory whose name is known, and list none.
const ROOT_MODE: u32 = 0o711;

impl Init {
    /// The order to the starter that runs `command` for the service `name`; `None`: nothing is to be
    /// done before it, and there is no starter. What runs beside a main process finds the credentials
    /// that are there, and no condition is asked about it.
    pub(super) fn starter_order(
        &mut self,
        service: ServiceId,
        name: &str,
        order: &Execution<'_>,
        cgroup: Option<String>,
    ) -> Result<Option<Vec<u8>>, String> {
        // Not whether something of the service lives: a former run may have left it.
        let beside = order.part == Part::Beside;
        // A probe that init makes itself has no use for variables and secrets.
        let (program, command) = (order.program, order.command);
        let own = command.first().is_some_and(|it| it == plan::OWN_PROGRAM);
        let mut begin = match beside && own {
            true => Begin::default(),
            false => program.begin.clone(),
        };
        if begin.is_empty() && cgroup.is_none() {
            return Ok(None);
        }
        let credentials = match begin.credentials.is_empty() {
            true => None,
            false => {
                let root = self.paths.credentials();
                make_root(&root)?;
                Some(format!("{root}/{name}"))
            }
        };
        if beside {
            begin.conditions.clear();
            begin.versioned.clear();
            begin.credentials.clear();
        } else if let (Some(place), true) = (self.table.get(service), credentials.is_some()) {
            place.credentials = true;
        }
        let notify_socket = self.paths.notify_socket().display().to_string();
        let account = program.account.as_ref();
        let order = Order {
            command: command.to_vec(),
            cgroup,
            begin,
            ids: account.and_then(|it| it.ids.clone()),
            working_dir: program.working_dir.display().to_string(),
            generation: self
                .recorder
                .identity
                .state_generation
                .map(mounts::plan::generation),
            credentials,
            notify_socket: (!beside).then_some(notify_socket),
            known: Known {
                slot: self.boot.info.slot.clone(),
                container: std::env::var("container").ok(),
                first_boot_mark: self.paths.first_boot_mark(),
            },
        };
        errand::pack(&order).map(Some)
    }

    /// The run is over: its credentials go.
    pub(super) fn remove_credentials(&mut self, service: ServiceId) {
        let Some(place) = self.table.get(service) else {
            return;
        };
        if !std::mem::take(&mut place.credentials) {
            return;
        }
        let path = format!("{}/{}", self.paths.credentials(), place.name);
        if let Err(error) = kernel::files::remove_tree(&path) {
            self.say(Level::Warning, &error.to_string());
        }
    }
}

/// Mounts the ramfs, unless that has been done. Where it is refused, no service with credentials
/// starts: nothing secret is put where it could be swapped out.
fn make_root(path: &str) -> Result<(), String> {
    kernel::files::make_dirs(path, ROOT_MODE).map_err(|error| error.to_string())?;
    let space = kernel::mount::space(path).map_err(|error| error.to_string())?;
    if space.magic == RAMFS_MAGIC {
        return Ok(());
    }
    let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    kernel::mount::mount(
        "credentials",
        path,
        "ramfs",
        flags,
        &format!("mode={ROOT_MODE:o}"),
    )
    .map_err(|error| format!("credentials: {error}"))
}

/// Leaves a mark on a boot before which no other gave the machine an id (machine-id(5)): it is asked
/// for all through the boot, and by then there may be one. User space that begins again does so without
/// the mark of the one before.
pub(super) fn mark_first_boot(paths: &Paths) -> Result<(), String> {
    let id = kernel::files::read_text("/etc/machine-id", 256).unwrap_or_default();
    let mark = paths.first_boot_mark();
    if matches!(id.trim(), "" | "uninitialized") {
        return std::fs::write(&mark, "").map_err(|error| format!("write {mark}: {error}"));
    }
    match std::fs::remove_file(&mark) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(format!("remove {mark}: {error}"))
        }
        Ok(()) | Err(_) => Ok(()),
    }
}
