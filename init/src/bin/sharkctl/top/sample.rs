//! One look at the cgroups of all services. Not here: what the figures mean (`rates`).

use std::collections::BTreeMap;

use kernel::cgroup::Cgroup;

use super::rates::{Io, OF_CGROUP, Pressure, Reading, Sample, flat, io_stat, pressure, process_io};
use crate::cgroups;
use crate::failure::Failure;

/// Largest /proc/PID/io that is read.
const PROCESS_IO_MAX: usize = 4096;

/// Looks at every cgroup in `directory` that has a process.
pub(super) fn take(directory: &str) -> Result<Sample, Failure> {
    let failed = |error: std::io::Error| Failure::of_file("read", directory.as_ref(), &error);
    let mut services = BTreeMap::new();
    for entry in std::fs::read_dir(directory).map_err(failed)? {
        let Ok(name) = entry.map_err(failed)?.file_name().into_string() else {
            continue;
        };
        // What has gone meanwhile, or has nothing in it, uses nothing.
        if let Some(cgroup) = cgroups::of_service(directory, &name)
            && cgroup.populated().unwrap_or(false)
        {
            services.insert(name, read(&cgroup));
        }
    }
    Ok(Sample {
        at_us: kernel::clock::monotonic() / 1000,
        services,
    })
}

/// What a kernel or a cgroup does not tell is left out.
fn read(cgroup: &Cgroup) -> Reading {
    let file = |name: &str| cgroup.read(name).ok();
    let psi = |name: &str| file(name).and_then(|text| pressure(&text));
    let processes = || cgroup.processes_below().unwrap_or_default();
    let tasks = cgroup.pids_current().ok().flatten();
    Reading {
        cpu_us: file("cpu.stat").and_then(|text| flat(&text, "usage_usec")),
        memory: cgroup.memory_current().ok().flatten(),
        tasks: tasks.or_else(|| u64::try_from(processes().len()).ok()),
        io: match file("io.stat") {
            Some(text) => BTreeMap::from([(OF_CGROUP, io_stat(&text))]),
            None => processes().into_iter().filter_map(io_of).collect(),
        },
        pressure: Pressure {
            cpu: psi("cpu.pressure"),
            memory: psi("memory.pressure"),
            io: psi("io.pressure"),
        },
    }
}

/// Only its owner and root may know.
fn io_of(process: u32) -> Option<(u32, Io)> {
    let text = kernel::files::read_text(&format!("/proc/{process}/io"), PROCESS_IO_MAX).ok()?;
    Some((process, process_io(&text)?))
}
