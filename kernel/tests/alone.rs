//! What looks at all children, all descriptors or all memory of this process, and so must be the
//! only test in it.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs)]

use std::fs;
use std::time::{Duration, Instant};

use kernel::reap::{self, End};
use kernel::spawn::{Plan, Spawner, Step, Wiring};

fn descriptors() -> usize {
    fs::read_dir("/proc/self/fd").unwrap().count()
}

/// Bytes of private, anonymous memory.
fn anonymous() -> u64 {
    let text = fs::read_to_string("/proc/self/status").unwrap();
    let line = text.lines().find(|line| line.starts_with("RssAnon:"));
    let kilobytes = line.unwrap().split_whitespace().nth(1).unwrap();
    kilobytes.parse::<u64>().unwrap() * 1024
}

fn reap_all(expected: usize) -> Vec<reap::Reaped> {
    let deadline = Instant::now() + Duration::from_secs(60);
    let mut ended = Vec::new();
    while ended.len() < expected {
        match reap::next().unwrap() {
            Some(reaped) => ended.push(reaped),
            None => std::thread::sleep(Duration::from_millis(1)),
        }
        assert!(Instant::now() < deadline, "{} of {expected}", ended.len());
    }
    assert_eq!(reap::next().unwrap(), None);
    ended
}

#[test]
fn a_thousand_spawns_leave_nothing_behind() {
    assert_eq!(reap::next().unwrap(), None, "no children is not an error");
    let mut spawner = Spawner::new().unwrap();
    let good = Plan::new(&["/bin/true"]).unwrap();
    let bad = Plan::new(&["/nonexistent"]).unwrap();
    for _ in 0..20 {
        let child = spawner.spawn(&good, &Wiring::NULL).unwrap();
        assert_eq!(reap::wait(child.pid).unwrap(), End::Exited(0));
    }
    let (before, memory) = (descriptors(), anonymous());
    let start = Instant::now();
    for round in 0..1000_usize {
        drop(spawner.spawn(&good, &Wiring::NULL).unwrap());
        if round % 10 == 0 {
            let error = spawner.spawn(&bad, &Wiring::NULL).unwrap_err();
            assert_eq!(error.step, Step::Execute);
        }
        if round % 50 == 49 {
            let ended = reap_all(50);
            assert!(ended.iter().all(|reaped| reaped.end == End::Exited(0)));
        }
    }
    println!("1000 spawns: {:?}", start.elapsed());
    assert_eq!(descriptors(), before);
    let grown = anonymous().saturating_sub(memory);
    assert!(grown <= 128 * 1024, "{grown} bytes more");
}
