//! Figures of PID 1 for programs that watch machines: how long its turns take, how much it has done,
//! what its services are doing. Not here: counting (init), and the text of OpenMetrics (`sharkctl`).

use serde::{Deserialize, Serialize};

use crate::status::StateName;

/// What `Metrics` tells.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Metrics {
    /// What the turns of the loop took of the processor, the wait for the next one left out.
    pub turn_cpu: Histogram,
    /// How long they took by the clock: more, where others had the processor meanwhile.
    pub turn_wall: Histogram,
    /// Events that the core has been told.
    pub events: u64,
    /// Starts of services that nobody asked for, since they were last asked for.
    pub restarts: u64,
    /// Bytes that services have written and no logger was there to take.
    pub log_lost_bytes: u64,
    /// The same of messages of syslog(3).
    pub log_lost_messages: u64,
    /// How many services are in each state; those that none is in too.
    pub services: Vec<StateCount>,
}

/// Services in one state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StateCount {
    /// The state.
    pub state: StateName,
    /// How many are in it.
    pub count: u32,
}

/// Times in buckets, each of which reaches twice as far as the one before.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Histogram {
    /// How many times were below 1024 ns, below 2048 ns and so on; each is in one bucket. The last
    /// has all that are longer.
    pub buckets: Vec<u64>,
    /// All times together, nanoseconds.
    pub sum_ns: u64,
    /// The longest, nanoseconds.
    pub longest_ns: u64,
}

/// Times below this many nanoseconds are in the first bucket.
pub const FIRST_BUCKET_NS: u64 = 1024;
