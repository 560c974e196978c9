//! How much memory is kept for all services together: what the cgroup of one keeps (memory.min) counts
//! only as far as the cgroup above keeps as much, so that is given the sum. Not here: the cgroup of each
//! (`cgroups`), and when it gets its limits (`perform`).
//!
//! A place of the table notes what has been written for its service, and nothing that could not be: what
//! failed is tried again, and another program of this process finds all of it there, without asking the
//! kernel.

use services::id::ServiceId;

use super::Init;
use super::cgroups::Cgroups;
use super::table::Table;

/// Keeps `bytes` of memory for the service from now on; 0: nothing any more.
///
/// # Errors
/// The sum cannot be written, for people: then it is as it was before.
pub(super) fn keep(
    table: &mut Table,
    cgroups: &Cgroups,
    service: ServiceId,
    bytes: u64,
) -> Result<(), String> {
    if reserve_of(table, service) == bytes {
        return Ok(());
    }
    let others = table.places().filter(|place| place.service != service);
    let sum = others.fold(bytes, |sum, place| sum.saturating_add(place.reserve));
    cgroups.keep_for_all(sum)?;
    if let Some(place) = table.get(service) {
        place.reserve = bytes;
    }
    Ok(())
}

fn reserve_of(table: &mut Table, service: ServiceId) -> u64 {
    table.get(service).map_or(0, |place| place.reserve)
}

impl Init {
    /// Notes what is kept for a service that ran before there was this program. Only those are asked
    /// whose file says that they keep something.
    pub(super) fn find_reserve(&mut self, service: ServiceId, name: &str) {
        let definition = self.definition(service).ok();
        let limits = definition.as_ref().and_then(|it| it.kind.program());
        let keeps = limits.is_some_and(|it| it.cgroup.memory_min.is_some());
        if let (true, Some(cgroups), Some(place)) = (keeps, &self.cgroups, self.table.get(service))
        {
            place.reserve = cgroups.kept(name);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn service(index: u32) -> ServiceId {
        let generation = 1;
        ServiceId { index, generation }
    }

    /// A table of three services, and a directory in place of the cgroup above theirs.
    fn three() -> (tempfile::TempDir, Cgroups, Table) {
        let dir = tempfile::tempdir().unwrap();
        let mut table = Table::default();
        for (index, name) in (0..).zip(["a", "b", "c"]) {
            table.place(service(index), name);
        }
        let cgroups = Cgroups::again(dir.path().to_str().unwrap().to_owned());
        (dir, cgroups, table)
    }

    #[test]
    fn the_cgroup_above_keeps_what_is_kept_for_all() {
        let (dir, cgroups, mut table) = three();
        let file = dir.path().join("memory.min");
        fs::write(&file, "").unwrap();
        let mut kept = |index: u32, bytes: u64| {
            keep(&mut table, &cgroups, service(index), bytes).unwrap();
            fs::read_to_string(&file).unwrap()
        };
        assert_eq!(kept(2, 0), "", "who keeps nothing changes nothing");
        assert_eq!(kept(0, 100), "100");
        assert_eq!(kept(1, 11), "111");
        assert_eq!(kept(0, 200), "211");
        assert_eq!(kept(1, 0), "200");
        assert_eq!(kept(2, u64::MAX), u64::MAX.to_string());
    }

    #[test]
    fn a_sum_that_could_not_be_written_is_not_taken_for_written() {
        let (dir, cgroups, mut table) = three();
        let file = dir.path().join("memory.min");
        let mut kept = |index: u32, bytes: u64| keep(&mut table, &cgroups, service(index), bytes);
        let refused = kept(0, 100).unwrap_err();
        assert!(refused.contains("memory.min"), "{refused}");
        fs::write(&file, "").unwrap();
        assert_eq!(kept(1, 11), Ok(()));
        assert_eq!(fs::read_to_string(&file).unwrap(), "11");
        assert_eq!(kept(0, 100), Ok(()));
        assert_eq!(fs::read_to_string(&file).unwrap(), "111");
        // What could not be taken back is kept still.
        fs::remove_file(&file).unwrap();
        assert!(kept(0, 0).is_err());
        fs::write(&file, "").unwrap();
        assert_eq!(kept(1, 0), Ok(()));
        assert_eq!(fs::read_to_string(&file).unwrap(), "100");
    }
}
