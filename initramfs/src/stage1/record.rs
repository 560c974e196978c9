//! Reads the boot record from the state partition.
//!
//! Only the reading: which record counts and which slot follows from it is decided by
//! `mounts::slot`. Nothing is written here.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use mounts::slot::decide;
use mounts::slot::region::{self, REGION_OFFSETS, REGION_SIZE, RecordState, Skip};

/// Reads both regions of the state partition at `device`. A region that cannot be read is one that
/// does not count.
pub(crate) fn read(device: &str) -> RecordState {
    let file = match File::open(device) {
        Ok(file) => file,
        Err(error) => return RecordState::unreadable(format!("open {device}: {error}")),
    };
    let regions = REGION_OFFSETS.map(|offset| read_region(&file, offset));
    let [first, second] = &regions;
    region::newest([view(first), view(second)])
}

/// What should be told about a record that was found: damaged neighbours. One line each.
pub(crate) fn oddities(state: &RecordState) -> Vec<String> {
    match state {
        RecordState::Newest(newest) => newest.skipped.iter().map(Skip::to_string).collect(),
        RecordState::Unreadable { .. } => Vec::new(),
    }
}

/// The slots that the record rules out, one line each, for the rescue console.
pub(crate) fn ruled_out(state: &RecordState) -> Vec<String> {
    decide::passed_over(state)
        .into_iter()
        .map(|(slot, why)| format!("slot {slot}: not tried: {why}"))
        .collect()
}

fn read_region(file: &File, offset: u64) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; REGION_SIZE];
    file.read_exact_at(&mut bytes, offset)?;
    Ok(bytes)
}

fn view(region: &io::Result<Vec<u8>>) -> Result<&[u8], String> {
    match region {
        Ok(bytes) => Ok(bytes),
        Err(error) => Err(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mounts::slot::Slot;
    use mounts::slot::record::Record;
    use mounts::slot::region::{PARTITION_SIZE, Place};
    use mounts::verity::RootHash;
    use std::fs;

    fn partition(bytes: u64, records: &[(Place, u64)]) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().unwrap();
        file.as_file().set_len(bytes).unwrap();
        for (place, sequence) in records {
            let record = Record {
                sequence: *sequence,
                ..Record::for_image(Some((RootHash::new([7; 32]), 1)), None)
            };
            file.as_file()
                .write_all_at(&record.encode(), place.offset())
                .unwrap();
        }
        file
    }

    #[test]
    fn the_newest_record_of_both_regions() {
        let first = Place::FIRST;
        let file = partition(PARTITION_SIZE, &[(first, 4), (first.next(), 5)]);
        let state = read(file.path().to_str().unwrap());
        assert_eq!(state.record().map(|record| record.sequence), Some(5));
        assert_eq!(oddities(&state), Vec::<String>::new());
        assert_eq!(
            decide::decide(&state, None, None).first().map(|(slot, _)| *slot),
            Some(Slot::A)
        );
        assert_eq!(ruled_out(&state).len(), 1);
    }

    #[test]
    fn a_short_partition_still_has_its_first_region() {
        let file = partition(1 << 20, &[(Place::FIRST, 4)]);
        let state = read(file.path().to_str().unwrap());
        assert_eq!(state.record().map(|record| record.sequence), Some(4));
        assert!(
            oddities(&state)
                .iter()
                .any(|line| line.starts_with("region 1")),
            "{:?}",
            oddities(&state)
        );
    }

    #[test]
    fn nothing_to_read() {
        let missing = read("/nonexistent/partition");
        assert!(
            matches!(&missing, RecordState::Unreadable { why, .. } if why.contains("/nonexistent/partition"))
        );
        let empty = tempfile::NamedTempFile::new().unwrap();
        fs::write(empty.path(), "").unwrap();
        assert!(read(empty.path().to_str().unwrap()).record().is_none());
    }
}
