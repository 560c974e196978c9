//! PID 1 that is replaced by another program, and that crashes: nobody else notices.

use std::io::Write;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::machine::{Machine, message, possible, write_program};

const SLEEP: &str = "exec = \"/bin/sleep 1000\"\n";
const WRITER: &str = "exec = [\"/bin/sh\", \"-c\", \"n=0; while :; do n=$((n+1)); echo line $n; sleep 0.02; done\"]\n";

/// Descriptors of PID 1.
fn descriptors(machine: &Machine) -> usize {
    let path = format!("/proc/{}/fd", machine.host_pid());
    std::fs::read_dir(path).unwrap().count()
}

/// The numbers of the lines that the writer's log has, in their order.
fn numbers(machine: &Machine) -> Vec<u64> {
    let log = machine.log("writer");
    let lines = log.lines();
    lines
        .filter_map(|line| line.rsplit_once("line ")?.1.parse().ok())
        .collect()
}

fn check_log(machine: &Machine) {
    let numbers = numbers(machine);
    let expect: Vec<u64> = (1..).take(numbers.len()).collect();
    assert_eq!(numbers, expect, "a line is lost, or is there twice");
}

/// A call whose answer is read later.
fn begin(machine: &Machine, method: &str, parameters: Value) -> UnixStream {
    let mut stream = UnixStream::connect(machine.path("run/io.shark.Init")).unwrap();
    stream
        .set_read_timeout(Some(Duration::from_secs(60)))
        .unwrap();
    let method = format!("io.shark.Init.{method}");
    let call = json!({ "method": method, "parameters": parameters });
    stream.write_all(format!("{call}\0").as_bytes()).unwrap();
    stream
}

fn answer(stream: UnixStream) -> Value {
    serde_json::from_slice(&message(stream).unwrap()).unwrap_or(Value::Null)
}

#[test]
fn a_hundred_replacements_under_load_lose_nothing() {
    if !possible() {
        return;
    }
    let machine = Machine::boot(&[
        ("a.toml", SLEEP),
        ("b.toml", SLEEP),
        ("writer.toml", WRITER),
        (
            "slow.toml",
            "exec = [\"/bin/sh\", \"-c\", \"while ! test -e @DIR@/out/go; do sleep 0.05; done\"]\n\
             type = \"oneshot\"\nwanted-by = []\n",
        ),
        (
            "restless.toml",
            "exec = [\"/bin/sleep\", \"0.03\"]\nrestart.policy = \"always\"\n\
             restart.delay = \"10ms\"\n",
        ),
    ]);
    machine.call("WaitBoot", json!({})).unwrap();
    let pids = ["a", "b", "writer"].map(|name| machine.pid(name));
    machine.call("Reexec", json!({})).unwrap();
    let waiting = begin(&machine, "Start", json!({ "name": "slow" }));
    machine.wait_state("slow", "starting");
    let before = descriptors(&machine);
    let begun = Instant::now();
    for round in 0..100 {
        let restarts = (round % 10 == 3).then(|| begin(&machine, "Restart", json!({"name": "b"})));
        machine.call("Reexec", json!({})).unwrap();
        if let Some(restarts) = restarts {
            assert_eq!(answer(restarts)["error"], Value::Null);
        }
    }
    println!("100 replacements took {:?}", begun.elapsed());
    std::fs::write(machine.path("out/go"), "").unwrap();
    assert_eq!(answer(waiting)["error"], Value::Null);
    let after = ["a", "b", "writer"].map(|name| machine.pid(name));
    assert_eq!((after[0], after[2]), (pids[0], pids[2]), "they run on");
    assert_ne!(after[1], pids[1], "it was restarted");
    // It ends every 30 ms, and is not up in between.
    machine.wait_state("restless", "up");
    // A client's own descriptor comes and goes.
    machine.wait("there are no more descriptors than before", || {
        (descriptors(&machine) <= before).then_some(())
    });
    let seen = numbers(&machine).len();
    machine.wait("the log goes on", || {
        (numbers(&machine).len() > seen).then_some(())
    });
    check_log(&machine);
    // Nothing of PID 1 is open in a service.
    let sleeper = machine.host_pid_of(machine.pid("b").unwrap());
    let open = std::fs::read_dir(format!("/proc/{sleeper}/fd")).unwrap();
    assert_eq!(open.count(), 3);
}

#[test]
fn a_program_that_cannot_take_its_place_is_refused() {
    if !possible() {
        return;
    }
    let machine = Machine::boot(&[("a.toml", SLEEP)]);
    machine.call("WaitBoot", json!({})).unwrap();
    let before = machine.pid("a");
    for program in ["/nosuch/init", "/etc/passwd", "sbin/init", "/"] {
        let (error, _) = machine
            .call("Reexec", json!({ "program": program }))
            .unwrap_err();
        assert_eq!(error, "Refused", "{program}");
    }
    assert_eq!(machine.pid("a"), before);
    assert_eq!(machine.state("a"), "up");
}

/// Waits until `init` answers again.
fn wait_answer(machine: &Machine) {
    machine.wait("init answers again", || {
        machine
            .try_call("org.varlink.service.GetInfo", json!({}))
            .ok()
    });
}

#[test]
fn a_crash_of_init_is_survived_by_everybody() {
    if !possible() {
        return;
    }
    let machine = Machine::boot(&[
        ("a.toml", SLEEP),
        ("writer.toml", WRITER),
        (
            "slow.toml",
            "exec = [\"/bin/sh\", \"-c\", \"while ! test -e @DIR@/out/go; do sleep 0.05; done\"]\n\
             type = \"oneshot\"\nwanted-by = []\n",
        ),
    ]);
    machine.call("WaitBoot", json!({})).unwrap();
    let pids = ["a", "writer"].map(|name| machine.pid(name));
    let waiting = begin(&machine, "Start", json!({ "name": "slow" }));
    machine.wait_state("slow", "starting");
    let crashed = begin(&machine, "DebugPanic", json!({}));
    assert_eq!(answer(crashed), Value::Null, "the connection ends");
    wait_answer(&machine);
    // A signal that says that a program is broken takes the same way.
    machine.kill("SEGV", 1);
    machine.wait("the second crash is told", || {
        machine.log("init").contains("signal 11").then_some(())
    });
    wait_answer(&machine);
    assert_eq!(["a", "writer"].map(|name| machine.pid(name)), pids);
    std::fs::write(machine.path("out/go"), "").unwrap();
    assert_eq!(answer(waiting)["error"], Value::Null);
    let seen = numbers(&machine).len();
    machine.wait("the log goes on", || {
        (numbers(&machine).len() > seen + 5).then_some(())
    });
    check_log(&machine);
    machine.on("Restart", "a").unwrap();
    machine.on("Stop", "a").unwrap();
}

/// By the command that people have, and seen in what init counts.
#[test]
fn sharkctl_replaces_and_crashes_init_and_shows_its_turns() {
    if !possible() {
        return;
    }
    let machine = Machine::boot(&[("a.toml", SLEEP), ("writer.toml", WRITER)]);
    machine.call("WaitBoot", json!({})).unwrap();
    let sharkctl = |words: &[&str]| {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_sharkctl"));
        command
            .arg("--socket")
            .arg(machine.path("run/io.shark.Init"));
        let done = command.args(words).output().unwrap();
        assert!(done.status.success(), "{words:?}: {done:?}");
        String::from_utf8(done.stdout).unwrap()
    };
    let pids = ["a", "writer"].map(|name| machine.pid(name));
    assert_eq!(sharkctl(&["reexec"]), "init has been replaced\n");
    let crashed = "init has crashed, and answers again\n";
    assert_eq!(sharkctl(&["debug", "panic"]), crashed);
    assert_eq!(["a", "writer"].map(|name| machine.pid(name)), pids);
    let text = sharkctl(&["metrics"]);
    for line in [
        "shark_services{state=\"up\"} 3",
        "# TYPE shark_loop_turn_cpu_seconds histogram",
    ] {
        assert!(text.lines().any(|it| it == line), "no {line}: {text}");
    }
    let turns = || -> Value { serde_json::from_str(&sharkctl(&["metrics", "--json"])).unwrap() };
    let count = |turns: &Value, of: &str| -> u64 {
        let buckets = turns[of]["buckets"].as_array().unwrap().iter();
        buckets.filter_map(Value::as_u64).sum()
    };
    let first = turns();
    machine.on("Restart", "a").unwrap();
    let then = turns();
    for of in ["turnCpu", "turnWall"] {
        assert!(count(&then, of) > count(&first, of), "{first} {then}");
        let longest = then[of]["longestNs"].as_u64().unwrap();
        assert!(
            (1..=then[of]["sumNs"].as_u64().unwrap()).contains(&longest),
            "{then}"
        );
    }
    assert!(
        then["events"].as_u64() > first["events"].as_u64(),
        "{first} {then}"
    );
}

#[test]
fn init_that_crashes_again_and_again_ends() {
    if !possible() {
        return;
    }
    let mut machine = Machine::boot(&[("a.toml", SLEEP)]);
    machine.call("WaitBoot", json!({})).unwrap();
    for _ in 0..3 {
        answer(begin(&machine, "DebugPanic", json!({})));
        wait_answer(&machine);
        assert_eq!(machine.state("a"), "up");
    }
    answer(begin(&machine, "DebugPanic", json!({})));
    assert_eq!(machine.ended().code(), Some(70));
    let said = machine.console();
    assert!(said.contains("4 crashes within 60 s"), "{said}");
}

/// A program of another version cannot read the state: it takes the services as it finds them.
#[test]
fn a_program_of_another_version_takes_the_services_as_they_are() {
    if !possible() {
        return;
    }
    let checked = format!("{SLEEP}conditions.path-exists = [\"/\"]\n");
    let sharing = format!("{SLEEP}stop.scope = \"main\"\n");
    let machine = Machine::boot(&[
        ("a.toml", SLEEP),
        ("writer.toml", WRITER),
        ("checked.toml", &checked),
        ("sharing.toml", &sharing),
    ]);
    machine.call("WaitBoot", json!({})).unwrap();
    if !machine.has_cgroups() {
        return;
    }
    let names = ["a", "writer", "checked", "sharing"];
    let pids = names.map(|name| machine.pid(name));
    machine.write_service("new.toml", SLEEP);
    let other = machine.path("out/init");
    let mut program = std::fs::read(env!("CARGO_BIN_EXE_init")).unwrap();
    let magic = b"SHARKBOX";
    let places: Vec<usize> = (0..program.len() - magic.len())
        .filter(|at| &program[*at..*at + magic.len()] == magic)
        .collect();
    assert!(!places.is_empty());
    for at in places {
        program[at..at + magic.len()].copy_from_slice(b"OTHERBOX");
    }
    write_program(&other, &program);
    let program = other.display().to_string();
    let asked = begin(&machine, "Reexec", json!({ "program": program }));
    assert_eq!(answer(asked), Value::Null, "it knows of no request");
    wait_answer(&machine);
    machine.call("WaitBoot", json!({})).unwrap();
    machine.wait_state("new", "up");
    // What the starter of these two did is long done.
    machine.wait_state("checked", "up");
    machine.wait_state("sharing", "up");
    assert_eq!(names.map(|name| machine.pid(name)), pids);
    let seen = numbers(&machine).len();
    machine.wait("the log goes on", || {
        (numbers(&machine).len() > seen + 5).then_some(())
    });
    check_log(&machine);
    machine.on("Restart", "writer").unwrap();
    assert_ne!(machine.pid("writer"), pids[1]);
    machine.on("Stop", "a").unwrap();
}

#[test]
fn a_soft_reboot_begins_again_with_the_same_process_1() {
    if !possible() {
        return;
    }
    let machine = Machine::boot(&[
        ("a.toml", SLEEP),
        (
            "mounted.toml",
            "exec = [\"/bin/sh\", \"-c\", \"mkdir -p @DIR@/out/mnt && mount -t tmpfs none @DIR@/out/mnt && \
             touch @DIR@/out/mnt/x && echo >> @DIR@/out/times\"]\ntype = \"oneshot\"\n",
        ),
    ]);
    machine.call("WaitBoot", json!({})).unwrap();
    assert_eq!(machine.state("mounted"), "up");
    let (process, first) = (machine.host_pid(), machine.pid("a"));
    let mounts = format!("/proc/{process}/mounts");
    let count = |text: &str| {
        std::fs::read_to_string(&mounts)
            .unwrap()
            .matches(text)
            .count()
    };
    assert_eq!(count("/out/mnt"), 1);
    machine
        .call("Shutdown", json!({ "kind": "softReboot" }))
        .unwrap();
    let begun_again = || {
        let boot = machine.try_call("io.shark.Init.Boot", json!({})).ok()?;
        let timings = boot["parameters"]["boot"]["timings"].as_array()?.clone();
        timings
            .iter()
            .any(|timing| timing["name"] == "soft reboot")
            .then_some(())
    };
    machine.wait("user space has begun again", begun_again);
    machine.call("WaitBoot", json!({})).unwrap();
    assert_eq!(machine.host_pid(), process);
    assert_ne!(machine.pid("a"), first);
    assert_eq!(machine.state("a"), "up");
    assert_eq!(count("/out/mnt"), 1, "unmounted, and mounted once more");
    let times = std::fs::read_to_string(machine.path("out/times")).unwrap();
    assert_eq!(times.lines().count(), 2);
    machine.call("Reexec", json!({})).unwrap();
    assert_eq!(machine.state("a"), "up");
}
