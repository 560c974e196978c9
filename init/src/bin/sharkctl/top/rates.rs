//! What services use, from two looks at their cgroups: pure figures. Not here: looking (`sample`), and the
//! table.
//!
//! Source of the files' formats: Documentation/admin-guide/cgroup-v2.rst and Documentation/accounting/psi.rst
//! of Linux, and proc_pid_io(5).

use std::cmp::Reverse;
use std::collections::BTreeMap;

use clap::ValueEnum;
use serde::Serialize;

/// In the place of a process: the cgroup itself tells.
pub(crate) const OF_CGROUP: u32 = 0;

/// What has been read and written, bytes since the beginning.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Io {
    pub(crate) read: u64,
    pub(crate) written: u64,
}

/// Shares of the last ten seconds in which something waited, in hundredths of a percent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Pressure {
    pub(crate) cpu: Option<u32>,
    pub(crate) memory: Option<u32>,
    pub(crate) io: Option<u32>,
}

impl Pressure {
    fn worst(self) -> u32 {
        [self.cpu, self.memory, self.io]
            .into_iter()
            .flatten()
            .max()
            .unwrap_or(0)
    }
}

/// One look at the cgroup of a service.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Reading {
    /// Time on processors, microseconds.
    pub(crate) cpu_us: Option<u64>,
    pub(crate) memory: Option<u64>,
    pub(crate) tasks: Option<u64>,
    /// By process, where the cgroup does not tell it: those that have ended are forgotten. Under 0: of the
    /// cgroup as a whole.
    pub(crate) io: BTreeMap<u32, Io>,
    pub(crate) pressure: Pressure,
}

/// One look at all.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sample {
    pub(crate) at_us: u64,
    pub(crate) services: BTreeMap<String, Reading>,
}

/// What a service uses.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Row {
    pub(crate) service: String,
    /// Hundredths of a percent of one processor.
    pub(crate) cpu: Option<u64>,
    pub(crate) memory_bytes: Option<u64>,
    pub(crate) read_bytes_per_second: Option<u64>,
    pub(crate) written_bytes_per_second: Option<u64>,
    pub(crate) pressure: Pressure,
    pub(crate) tasks: Option<u64>,
}

/// By what the rows are sorted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Column {
    Cpu,
    Memory,
    Io,
    Pressure,
    Tasks,
    Name,
}

/// What each service has used between two looks, and has now. One that was not there before has used what
/// it has used at all.
pub(crate) fn rows(before: &Sample, after: &Sample) -> Vec<Row> {
    let elapsed = after.at_us.saturating_sub(before.at_us).max(1);
    let nothing = Reading::default();
    let services = after.services.iter();
    services
        .map(|(name, now)| {
            let then = before.services.get(name).unwrap_or(&nothing);
            // A cgroup that was made anew counts from nothing.
            let used = now.cpu_us.map(|now| since(then.cpu_us.unwrap_or(0), now));
            let io = (!now.io.is_empty()).then(|| moved(&then.io, &now.io));
            let per_second = |bytes| scaled(bytes, 1_000_000, elapsed);
            Row {
                service: name.clone(),
                cpu: used.map(|used| scaled(used, 10_000, elapsed)),
                memory_bytes: now.memory,
                read_bytes_per_second: io.map(|io| per_second(io.read)),
                written_bytes_per_second: io.map(|io| per_second(io.written)),
                pressure: now.pressure,
                tasks: now.tasks,
            }
        })
        .collect()
}

/// How much a counter has counted, which may have begun anew.
fn since(then: u64, now: u64) -> u64 {
    now.checked_sub(then).unwrap_or(now)
}

fn moved(then: &BTreeMap<u32, Io>, now: &BTreeMap<u32, Io>) -> Io {
    now.iter().fold(Io::default(), |sum, (process, now)| {
        let then = then.get(process).copied().unwrap_or_default();
        Io {
            read: sum.read.saturating_add(since(then.read, now.read)),
            written: sum.written.saturating_add(since(then.written, now.written)),
        }
    })
}

fn scaled(amount: u64, by: u64, over: u64) -> u64 {
    let scaled = u128::from(amount) * u128::from(by) / u128::from(over);
    u64::try_from(scaled).unwrap_or(u64::MAX)
}

/// The most first, and names in their order; or the other way round.
pub(crate) fn sort(rows: &mut [Row], by: Column, reverse: bool) {
    rows.sort_by(|a, b| a.service.cmp(&b.service));
    match by {
        Column::Name => {}
        Column::Cpu => rows.sort_by_key(|row| Reverse(row.cpu)),
        Column::Memory => rows.sort_by_key(|row| Reverse(row.memory_bytes)),
        Column::Io => rows.sort_by_key(|row| {
            let [read, written] = [row.read_bytes_per_second, row.written_bytes_per_second];
            Reverse(read.unwrap_or(0).saturating_add(written.unwrap_or(0)))
        }),
        Column::Pressure => rows.sort_by_key(|row| Reverse(row.pressure.worst())),
        Column::Tasks => rows.sort_by_key(|row| Reverse(row.tasks)),
    }
    if reverse {
        rows.reverse();
    }
}

/// The value of a key of a flat file: `usage_usec 123`.
pub(crate) fn flat(text: &str, key: &str) -> Option<u64> {
    let mut lines = text.lines().filter_map(|line| line.split_once(' '));
    let (_, value) = lines.find(|(name, _)| *name == key)?;
    value.trim().parse().ok()
}

/// The sum over all disks of `io.stat`: `254:0 rbytes=1 wbytes=2 rios=...`.
pub(crate) fn io_stat(text: &str) -> Io {
    let words = text
        .split_whitespace()
        .filter_map(|word| word.split_once('='));
    words.fold(Io::default(), |sum, (key, value)| {
        let value: u64 = value.parse().unwrap_or(0);
        match key {
            "rbytes" => Io {
                read: sum.read.saturating_add(value),
                ..sum
            },
            "wbytes" => Io {
                written: sum.written.saturating_add(value),
                ..sum
            },
            _ => sum,
        }
    })
}

/// What `/proc/PID/io` tells of disks.
pub(crate) fn process_io(text: &str) -> Option<Io> {
    let of = |key: &str| flat(text, key);
    Some(Io {
        read: of("read_bytes:")?,
        written: of("write_bytes:")?,
    })
}

/// `some avg10=1.23 avg60=...` in hundredths.
pub(crate) fn pressure(text: &str) -> Option<u32> {
    let some = text.lines().find_map(|line| line.strip_prefix("some "))?;
    let average = some
        .split(' ')
        .find_map(|word| word.strip_prefix("avg10="))?;
    let (whole, rest) = average.split_once('.').unwrap_or((average, "0"));
    let hundredths: u32 = format!("{rest:0<2}").get(..2)?.parse().ok()?;
    whole
        .parse::<u32>()
        .ok()?
        .checked_mul(100)?
        .checked_add(hundredths)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A service, its time on processors, and what its processes have read and written.
    type Looked<'a> = (&'a str, u64, &'a [(u32, u64, u64)]);

    fn sample(at_us: u64, services: &[Looked<'_>]) -> Sample {
        let reading = |cpu_us: u64, io: &[(u32, u64, u64)]| Reading {
            cpu_us: Some(cpu_us),
            memory: Some(cpu_us * 10),
            tasks: Some(2),
            io: io
                .iter()
                .map(|(id, read, written)| {
                    (
                        *id,
                        Io {
                            read: *read,
                            written: *written,
                        },
                    )
                })
                .collect(),
            pressure: Pressure::default(),
        };
        Sample {
            at_us,
            services: services
                .iter()
                .map(|(name, cpu, io)| ((*name).to_owned(), reading(*cpu, io)))
                .collect(),
        }
    }

    #[test]
    fn rates_are_what_was_used_between_two_looks() {
        let before = sample(
            1_000_000,
            &[("a", 500_000, &[(0, 1000, 50)]), ("gone", 1, &[])],
        );
        let after = sample(
            3_000_000,
            &[("a", 1_500_000, &[(0, 5000, 50)]), ("new", 200, &[])],
        );
        let rows = rows(&before, &after);
        let [a, new] = rows.as_slice() else {
            panic!("{rows:?}");
        };
        // A second of two on a processor.
        assert_eq!((a.cpu, a.memory_bytes), (Some(5000), Some(15_000_000)));
        assert_eq!(
            (a.read_bytes_per_second, a.written_bytes_per_second),
            (Some(2000), Some(0))
        );
        assert_eq!((new.service.as_str(), new.cpu), ("new", Some(1)));
        assert_eq!(new.read_bytes_per_second, None);
    }

    #[test]
    fn counters_may_begin_anew_and_processes_come_and_go() {
        let before = sample(0, &[("a", 900_000, &[(7, 100, 0), (8, 50, 50)])]);
        let after = sample(1_000_000, &[("a", 100_000, &[(8, 60, 80), (9, 5, 0)])]);
        let rows = rows(&before, &after);
        assert_eq!(rows[0].cpu, Some(1000));
        assert_eq!(
            (
                rows[0].read_bytes_per_second,
                rows[0].written_bytes_per_second
            ),
            (Some(15), Some(30))
        );
        // The same moment twice: no division by nothing.
        assert_eq!(super::rows(&after, &after)[0].cpu, Some(0));
    }

    #[test]
    fn rows_have_an_order() {
        let after = sample(
            1_000_000,
            &[("b", 5, &[]), ("a", 5, &[]), ("c", 9, &[(0, 1, 0)])],
        );
        let mut rows = rows(&Sample::default(), &after);
        let mut order = |by, reverse| {
            sort(&mut rows, by, reverse);
            rows.iter()
                .map(|row| row.service.as_str())
                .collect::<String>()
        };
        assert_eq!(order(Column::Memory, false), "cab");
        assert_eq!(order(Column::Memory, true), "bac");
        assert_eq!(order(Column::Name, false), "abc");
        assert_eq!(order(Column::Io, false), "cab");
        assert_eq!(order(Column::Tasks, false), "abc");
        assert_eq!(order(Column::Pressure, false), "abc");
    }

    #[test]
    fn files_of_the_kernel() {
        assert_eq!(
            flat("usage_usec 123\nuser_usec 4\n", "usage_usec"),
            Some(123)
        );
        assert_eq!(flat("usage_usec x\n", "usage_usec"), None);
        let io =
            io_stat("254:0 rbytes=10 wbytes=20 rios=1\n254:16 rbytes=5 wbytes=1 dbytes=7\n8:0\n");
        assert_eq!(
            io,
            Io {
                read: 15,
                written: 21
            }
        );
        assert_eq!(io_stat(""), Io::default());
        let process = "rchar: 9\nread_bytes: 4096\nwrite_bytes: 8192\ncancelled_write_bytes: 1\n";
        assert_eq!(
            process_io(process),
            Some(Io {
                read: 4096,
                written: 8192
            })
        );
        assert_eq!(process_io(""), None);
        let psi = |text: &str| pressure(text);
        assert_eq!(
            psi("some avg10=12.34 avg60=0.00 total=1\nfull avg10=9.00\n"),
            Some(1234)
        );
        assert_eq!(psi("some avg10=100.00 avg60=0\n"), Some(10_000));
        assert_eq!(psi("some avg10=0.5\n"), Some(50));
        assert_eq!(psi("full avg10=1.00\n"), None);
    }
}
