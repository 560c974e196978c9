//! Names of block devices as the kernel gives them. Not here: opening or looking for one.

/// Name of partition `number` (from 1) of the disk `disk`, without `/dev/`: `vda` has `vda1`, and a
/// name that ends in a digit gets a `p` between (`nvme0n1p1`, `mmcblk0p1`), as the kernel's
/// `bdevname` does it.
#[must_use]
pub fn partition_name(disk: &str, number: u32) -> String {
    let separator = if disk.ends_with(|last: char| last.is_ascii_digit()) {
        "p"
    } else {
        ""
    };
    format!("{disk}{separator}{number}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_partitions() {
        for (disk, number, expect) in [
            ("vda", 1, "vda1"),
            ("sdaa", 12, "sdaa12"),
            ("nvme0n1", 2, "nvme0n1p2"),
            ("mmcblk0", 3, "mmcblk0p3"),
            ("loop7", 1, "loop7p1"),
        ] {
            assert_eq!(partition_name(disk, number), expect);
        }
    }
}
