//! Very many services in one graph: checked, booted and shut down by `init` as PID 1 of namespaces of
//! its own. Time and memory are printed. `SHARK_SERVICES=N` says how many; `cargo xtask test` asks for
//! 10,000. Not here: what one service does (`namespace`).
#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test that cannot go on says so"
)]

#[allow(
    dead_code,
    clippy::needless_pass_by_value,
    reason = "shared with the other tests of namespaces"
)]
#[path = "namespace/machine.rs"]
mod machine;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use machine::{Machine, Surroundings, possible};
use serde_json::{Value, json};

/// How many services, where nobody says: so many take a second or two.
const COUNT: usize = 1_000;
/// A debug build on a busy machine; the marks are in docs/figures.md.
const PATIENCE: Duration = Duration::from_secs(240);
/// Descriptors of PID 1 for a service that runs: its pidfd, and both ends of its log.
const DESCRIPTORS: usize = 3;
/// Descriptors of PID 1 for all else.
const OTHER_DESCRIPTORS: usize = 500;

/// A program of a few instructions that sleeps until it is killed: 10,000 of it are cheap.
fn pause() -> Vec<u8> {
    let (machine, code): (u8, &[u8]) = if cfg!(target_arch = "x86_64") {
        // pause(2), for ever.
        (62, &[0xb8, 0x22, 0, 0, 0, 0x0f, 0x05, 0xeb, 0xf7])
    } else {
        // ppoll(2) of nothing, without an end, for ever.
        let code = &[
            0x00, 0x00, 0x80, 0xd2, 0x01, 0x00, 0x80, 0xd2, 0x02, 0x00, 0x80, 0xd2, 0x03, 0x00,
            0x80, 0xd2, 0x28, 0x09, 0x80, 0xd2, 0x01, 0x00, 0x00, 0xd4, 0xfa, 0xff, 0xff, 0x17,
        ];
        (183, code)
    };
    let (base, header) = (0x0040_0000_u64, 64 + 56_u64);
    let mut elf = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0".to_vec();
    elf.extend([2, 0, machine, 0, 1, 0, 0, 0]);
    elf.extend((base + header).to_le_bytes());
    elf.extend(64_u64.to_le_bytes());
    elf.extend([0; 8 + 4]);
    elf.extend([64, 0, 56, 0, 1, 0, 64, 0, 0, 0, 0, 0]);
    let size = header + code.len() as u64;
    // One segment: load, readable and executable.
    elf.extend([1, 0, 0, 0, 5, 0, 0, 0]);
    for word in [0, base, base, size, size, 4096] {
        elf.extend(word.to_le_bytes());
    }
    elf.extend(code);
    elf
}

/// Chains of ten; every hundredth is a target. Those that cannot run are targets too.
fn write_services(dir: &Path, count: usize, running: usize) {
    let program = dir.join("pause");
    fs::write(&program, pause()).unwrap();
    fs::set_permissions(&program, PermissionsExt::from_mode(0o755)).unwrap();
    for index in 0..count {
        let mut text = match index {
            _ if index % 100 == 99 || index >= running => "type = \"target\"\n".to_owned(),
            _ => format!("exec = \"{}\"\n", program.display()),
        };
        if index % 10 > 0 {
            text += &format!("requires = [\"s{}\"]\n", index - 1);
        }
        fs::write(dir.join(format!("services/s{index}.toml")), text).unwrap();
    }
}

/// Asks until there is an answer.
fn ask(machine: &Machine, method: &str) -> Value {
    let began = Instant::now();
    loop {
        match machine.try_call(&format!("io.shark.Init.{method}"), json!({})) {
            Ok(reply) => return reply,
            Err(error) if began.elapsed() > PATIENCE => {
                panic!("{method}: {error}; init said:\n{}", machine.console())
            }
            Err(_) => {}
        }
    }
}

/// Anonymous memory of a process, KiB.
fn anonymous(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|it| it.strip_prefix("RssAnon:"));
    let number = line.and_then(|it| it.split_whitespace().next());
    number.and_then(|it| it.parse().ok()).unwrap_or_default()
}

/// Ticks (10 ms as a rule) that a process has had of the processor.
fn processor_ticks(pid: u32) -> u64 {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let (_, rest) = text.rsplit_once(')').unwrap();
    let mut fields = rest.split_whitespace().skip(11);
    let mut next = || fields.next().and_then(|it| it.parse::<u64>().ok()).unwrap();
    next() + next()
}

/// What all turns of the loop have taken of the processor.
fn turns(machine: &Machine) -> Duration {
    let metrics = ask(machine, "Metrics");
    let sum = &metrics["parameters"]["metrics"]["turnCpu"]["sumNs"];
    Duration::from_nanos(sum.as_u64().unwrap())
}

/// All that `method` tells of services, page by page, none of which holds the loop for many of them.
fn pages(machine: &Machine, method: &str, key: &str) -> Vec<Value> {
    let (mut from, mut longest, mut all, mut number) = (json!(""), Duration::ZERO, Vec::new(), 0);
    while !from.is_null() {
        let before = turns(machine);
        let page = machine.call(method, json!({ "from": from })).unwrap();
        longest = longest.max(turns(machine) - before);
        let some = page[key].as_array().unwrap();
        assert!((1..=512).contains(&some.len()), "{}", some.len());
        all.extend(some.iter().cloned());
        from = page["next"].clone();
        number += 1;
    }
    println!("{method}: {number} pages, for the longest of which PID 1 takes {longest:?}");
    all
}

/// How many services the caller wants.
fn wanted() -> usize {
    let text = std::env::var("SHARK_SERVICES");
    text.ok().and_then(|it| it.parse().ok()).unwrap_or(COUNT)
}

#[test]
fn very_many_services_boot_and_end() {
    if !possible() {
        return;
    }
    let count = wanted();
    let limit = kernel::system::raise_descriptor_limit(65_536).unwrap();
    let limit = usize::try_from(limit).unwrap();
    let running = (limit.saturating_sub(OTHER_DESCRIPTORS) / DESCRIPTORS).min(count);
    if running < count {
        println!(
            "only {limit} descriptors are allowed here: {running} services run, the others are targets"
        );
    }
    let began = Instant::now();
    let mut machine = Machine::boot_prepared(Surroundings::Whole, &[], |dir| {
        write_services(dir, count, running);
        let verified = Instant::now();
        let verify = Command::new(env!("CARGO_BIN_EXE_sharkctl"))
            .arg("verify")
            .arg(dir.join("services"))
            .output()
            .unwrap();
        assert!(verify.status.success(), "{verify:?}");
        println!("verify: {:?}", verified.elapsed());
    });
    let loaded = Instant::now();
    let boot = ask(&machine, "WaitBoot");
    assert_eq!(boot["parameters"]["failed"], json!([]), "{boot}");
    let (load, up) = (loaded - began, loaded.elapsed());
    let memory = anonymous(machine.host_pid());
    let cpu = processor_ticks(machine.host_pid());
    println!("services: {count}");
    println!("files and graph: {load:?}; boot: {up:?}, of PID 1 {cpu} ticks of the processor");
    println!("anonymous memory of PID 1: {memory} KiB");
    let services = pages(&machine, "List", "services");
    let ups = services.iter().filter(|it| it["state"] == "up").count();
    assert_eq!(ups, count + 1);
    let relations = pages(&machine, "Relations", "relations");
    assert_eq!(relations.len(), count + 1);
    let requires = |it: &&Value| it["requires"].as_array().unwrap().len() == 1;
    let requiring = relations.iter().filter(requires).count();
    assert_eq!(requiring, count - count.div_ceil(10));
    // 200 KiB and 1 KiB a service is what a release build promises; this may be a debug build.
    assert!(memory < 3 * (200 + count as u64), "{memory} KiB");
    let begun = Instant::now();
    machine
        .call("Shutdown", json!({ "kind": "poweroff" }))
        .unwrap();
    machine.ended_within(PATIENCE);
    println!("shutdown: {:?}", begun.elapsed());
}
