//! Where the cgroups of services are, as this process sees them, and the controller that is passed down to
//! them only for who asks. Not here: cgroupfs (`kernel::cgroup`), and what init does with it.

use clap::Args;
use kernel::cgroup::{Cgroup, detect, of_process};

use crate::failure::Failure;

/// The controller that counts bytes of disks. init does not pass it down: at a boot it would cost the
/// kernel as much for each service as another controller, and few look.
const IO: &str = "io";

/// For those who look at what services use.
#[derive(Args, Clone, Copy, Debug)]
pub(crate) struct Counting {
    /// Have the kernel count for each service, until the next boot, what it reads from disks and writes
    #[arg(long)]
    pub(crate) count_io: bool,
}

impl Counting {
    /// Does so if it is asked for.
    pub(crate) fn begin(self) -> Result<(), Failure> {
        match self.count_io {
            true => count_io(&directory()?),
            false => Ok(()),
        }
    }
}

/// Passes the controller down to the cgroups in `directory`.
fn count_io(directory: &str) -> Result<(), Failure> {
    let root = directory.rsplit_once('/').map_or("/", |(root, _)| root);
    for path in [root, directory] {
        let failed = |error: kernel::Error| {
            let why = format!("have the kernel count bytes of disks: {error}");
            match error.errno {
                kernel::Errno::ACCESS | kernel::Errno::PERM => Failure::Permission(why),
                _ => Failure::Failed(why),
            }
        };
        let cgroup = Cgroup::open(path).map_err(failed)?;
        let there = cgroup.read("cgroup.subtree_control").map_err(failed)?;
        if there.split_whitespace().all(|it| it != IO) {
            let refused = cgroup.enable(&[IO]).into_iter().next();
            refused.map_or(Ok(()), |(_, error)| Err(failed(error)))?;
        }
    }
    Ok(())
}

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

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn bytes_of_disks_are_counted_once_somebody_asks() {
        let root = tempfile::tempdir().unwrap();
        let services = root.path().join("services");
        fs::create_dir(&services).unwrap();
        let directory = services.display().to_string();
        assert!(matches!(count_io(&directory), Err(Failure::Failed(_))));
        let [above, below] = [root.path(), &services].map(|it| it.join("cgroup.subtree_control"));
        fs::write(&above, "cpu io").unwrap();
        fs::write(&below, "cpu").unwrap();
        count_io(&directory).unwrap();
        let read = |path| fs::read_to_string(path).unwrap();
        assert_eq!(
            (read(&above), read(&below)),
            ("cpu io".into(), "+io".into())
        );
    }
}
