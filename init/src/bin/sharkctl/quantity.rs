//! Spans of time and amounts of memory, as people read them. Not here: points in time
//! (`init::log::stamp`).

const MILLI: u64 = 1_000;
const SECOND: u64 = 1_000_000;
const MINUTE: u64 = 60 * SECOND;
const HOUR: u64 = 60 * MINUTE;
const DAY: u64 = 24 * HOUR;

/// A span of `micros` microseconds with about three digits: `840us`, `12ms`, `3.2s`, `4min 12s`,
/// `3h 5min`, `12d 3h`.
pub(crate) fn span(micros: u64) -> String {
    match micros {
        0..MILLI => format!("{micros}us"),
        MILLI..SECOND => format!("{}ms", micros / MILLI),
        SECOND..MINUTE => format!("{}.{}s", micros / SECOND, micros % SECOND / (SECOND / 10)),
        MINUTE..HOUR => format!("{}min {}s", micros / MINUTE, micros % MINUTE / SECOND),
        HOUR..DAY => format!("{}h {}min", micros / HOUR, micros % HOUR / MINUTE),
        DAY.. => format!("{}d {}h", micros / DAY, micros % DAY / HOUR),
    }
}

/// Seconds with milliseconds, for columns: `2.402s`.
pub(crate) fn seconds(micros: u64) -> String {
    format!("{}.{:03}s", micros / SECOND, micros % SECOND / MILLI)
}

/// An amount of memory: `512B`, `1.5KiB`, `62MiB`, `3.0GiB`.
pub(crate) fn memory(bytes: u64) -> String {
    let mut unit_bytes = 1_u64;
    let mut unit = "B";
    for next in ["KiB", "MiB", "GiB", "TiB"] {
        if bytes / unit_bytes < 1024 {
            break;
        }
        unit_bytes *= 1024;
        unit = next;
    }
    let whole = bytes / unit_bytes;
    if unit_bytes == 1 || whole >= 10 {
        format!("{whole}{unit}")
    } else {
        let tenth = bytes % unit_bytes * 10 / unit_bytes;
        format!("{whole}.{tenth}{unit}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans() {
        let check = |micros, expect: &str| assert_eq!(span(micros), expect);
        check(0, "0us");
        check(999, "999us");
        check(1_000, "1ms");
        check(999_999, "999ms");
        check(1_000_000, "1.0s");
        check(59_990_000, "59.9s");
        check(60_000_000, "1min 0s");
        check(3_599_999_999, "59min 59s");
        check(3_600_000_000, "1h 0min");
        check(26 * HOUR, "1d 2h");
        check(u64::MAX, "213503982d 8h");
    }

    #[test]
    fn columns_of_seconds() {
        assert_eq!(seconds(2_402_999), "2.402s");
        assert_eq!(seconds(0), "0.000s");
    }

    #[test]
    fn amounts_of_memory() {
        let check = |bytes, expect: &str| assert_eq!(memory(bytes), expect);
        check(0, "0B");
        check(1023, "1023B");
        check(1024, "1.0KiB");
        check(1536, "1.5KiB");
        check(65_011_712, "62MiB");
        check(3 << 30, "3.0GiB");
        check(u64::MAX, "16777215TiB");
    }
}
