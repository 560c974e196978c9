//! Where the cgroups of services are, as this process sees them. Not here: cgroupfs (`kernel::cgroup`),
//! and what init does with it.

use kernel::cgroup::{Cgroup, detect, of_process};

use crate::failure::Failure;

/// Where init is itself, where the root of the hierarchy it sees is not the machine's.
const INIT: &str = "/shark.init";

/// The directory with the cgroup of each service.
pub(crate) fn directory() -> Result<String, Failure> {
    let failed = |error: kernel::Error| Failure::Failed(format!("find the cgroups: {error}"));
    let hierarchy = detect().map_err(failed)?;
    let Some(root) = hierarchy.root() else {
        return Err(Failure::Failed(
            "this machine has no cgroups of version 2".to_owned(),
        ));
    };
    let init = of_process(1).map_err(failed)?.unwrap_or_default();
    let init = init.strip_suffix(INIT).unwrap_or(&init);
    Ok(format!("{root}{}/services", init.trim_end_matches('/')))
}

/// The cgroup of a service, if it has one now.
pub(crate) fn of_service(directory: &str, name: &str) -> Option<Cgroup> {
    Cgroup::open(&format!("{directory}/{name}")).ok()
}
