//! A logger that takes nothing keeps nobody waiting, and what is lost by it is counted and told. Not here:
//! one that dies and is followed by one that works (`logs`, `syslog`).

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::machine::{Machine, Surroundings, possible};

/// Where /dev/log leads to the logger: the host's /dev stays as it is.
const CHATTY: &str = "exec = [\"/usr/bin/unshare\", \"-m\", \"/bin/sh\", \"-c\", \
    \"mount -t tmpfs dev /dev && ln -s $1/run/dev-log /dev/log && exec python3 $1/chatty.py $1\", \
    \"sh\", \"@DIR@\"]\n";
/// Writes far more than a pipe holds, and sends more than a socket does.
const PROGRAM: &str = "import sys, syslog, time\n\
    def write(first, last):\n    \
        for n in range(first, last):\n        print('line %07d ' % n + 'x' * 80)\n    \
        sys.stdout.flush()\n\
    write(0, 50)\n\
    open(sys.argv[1] + '/out/begun', 'w').close()\n\
    write(50, 3000)\n\
    for n in range(100):\n    syslog.syslog('message %d' % n)\n\
    open(sys.argv[1] + '/out/done', 'w').close()\n\
    print('the end', flush=True)\n\
    time.sleep(1000)\n";
const WRITTEN: u64 = 3000 * 94;
/// What the pipe holds at the end, and there is not much room in one of a user without privileges.
const HELD: u64 = 64 << 10;
/// The restart of a small service, on a busy machine.
const SOON: Duration = Duration::from_secs(2);

/// Whoever opens it to write waits for somebody to read.
fn fifo(path: &Path) {
    let access = kernel::listen::Access {
        mode: 0o600,
        owner: None,
    };
    let path = path.display().to_string();
    let _closed = kernel::listen::fifo(&path, access).unwrap();
}

/// How many loggers have been ended because they hung.
fn hung(machine: &Machine) -> usize {
    let ended = "logger ended (Signal { number: 14";
    machine.console().matches(ended).count()
}

#[test]
fn a_logger_that_hangs_keeps_nobody_waiting() {
    if !possible() {
        return;
    }
    let services = [
        ("chatty.toml", CHATTY),
        ("quiet.toml", "exec = \"/bin/sleep 1000\"\n"),
    ];
    let machine = Machine::boot_prepared(Surroundings::Whole, &services, |dir| {
        fs::write(dir.join("chatty.py"), PROGRAM).unwrap();
        // In the place of its log.
        fs::create_dir_all(dir.join("run/log")).unwrap();
        fifo(&dir.join("run/log/chatty"));
    });
    machine.call("WaitBoot", json!({})).unwrap();
    machine.wait("it begins", || {
        machine.path("out/begun").exists().then_some(())
    });
    // The first one may have hung later. The next one does so at once, and is not waited for.
    machine.kill("KILL", machine.child_of_init("log"));
    let killed = Instant::now();
    machine.wait("all is written and sent", || {
        std::thread::sleep(Duration::from_millis(100));
        let began = Instant::now();
        machine.on("Restart", "quiet").unwrap();
        assert!(began.elapsed() < SOON, "{:?}", began.elapsed());
        machine.path("out/done").exists().then_some(())
    });
    println!("{:?} until all is written", killed.elapsed());
    // It is ended, and the next one hangs as well.
    machine.wait("it is ended", || (hung(&machine) > 0).then_some(()));
    let lost = |what: &str| {
        let metrics = machine.call("Metrics", json!({})).unwrap();
        metrics["metrics"][what].as_u64().unwrap()
    };
    let bytes = lost("logLostBytes");
    assert!((WRITTEN - HELD..=WRITTEN).contains(&bytes), "{bytes}");
    assert!(lost("logLostMessages") > 0);
    fs::remove_file(machine.path("run/log/chatty")).unwrap();
    let note = format!("!{bytes} bytes were lost while no logger took them\n");
    machine.wait("the next one tells it", || {
        let log = machine.log("chatty");
        (log.contains(&note) && log.contains(" the end\n")).then_some(())
    });
    let told = format!("{bytes} bytes and ");
    machine.wait("init tells it", || {
        machine.log("init").contains(&told).then_some(())
    });
    assert!(machine.console().contains(&format!("(chatty: {bytes})")));
}

/// Writes all the time, and notes how long that has taken at most: by a clock that stands still while the
/// machine does.
const FLOODER: &str = "import os, sys, threading, time\n\
    lines = b''.join(b'line %d of a flood\\n' % n for n in range(200))\n\
    ticks = 0\n\
    def tick():\n    \
        global ticks\n    \
        while True:\n        \
            time.sleep(0.02)\n        \
            ticks += 1\n\
    threading.Thread(target=tick, daemon=True).start()\n\
    longest = 0\n\
    while True:\n    \
        began = ticks\n    \
        os.write(1, lines)\n    \
        took = ticks - began\n    \
        if took > longest:\n        \
            longest = took\n        \
            open(sys.argv[1] + '/new', 'w').write('%f' % (longest * 0.02))\n        \
            os.rename(sys.argv[1] + '/new', sys.argv[1] + '/longest')\n    \
        time.sleep(0.001)\n";
/// So long it waits for a logger that hangs, as the page on logs says, and then for one that does not come.
const FOUND_OUT: Duration = Duration::from_secs(3);
/// What a busy machine may add.
const BUSY: Duration = Duration::from_secs(2);

/// The number of the last file that a log has.
fn last_file(machine: &Machine, name: &str) -> u32 {
    let files = fs::read_dir(machine.path("run/log")).unwrap();
    let numbers = files.filter_map(|file| {
        let file = file.unwrap().file_name().into_string().unwrap();
        file.strip_prefix(name)?.strip_prefix('=')?.parse().ok()
    });
    numbers.max().unwrap_or(0)
}

#[test]
fn a_logger_that_hangs_in_its_work_is_found_out_in_time() {
    if !possible() {
        return;
    }
    let service = "exec = [\"/usr/bin/python3\", \"@DIR@/flooder.py\", \"@DIR@/out\"]\n\
        log.burst = 0\n";
    let services = [("flooder.toml", service)];
    let machine = Machine::boot_prepared(Surroundings::Whole, &services, |dir| {
        fs::write(dir.join("flooder.py"), FLOODER).unwrap();
    });
    machine.call("WaitBoot", json!({})).unwrap();
    // Some files later, the next one is one that whoever opens hangs at.
    let trap = machine.wait("it is led into a trap", || {
        let before = last_file(&machine, "flooder");
        let path = machine.path(&format!("run/log/flooder={}", before + 5));
        fifo(&path);
        if before > 0 && last_file(&machine, "flooder") == before + 5 {
            return Some(path);
        }
        fs::remove_file(path).unwrap();
        None
    });
    assert_eq!(hung(&machine), 0);
    // And the next one, in which it goes on.
    machine.wait("both are ended", || (hung(&machine) > 1).then_some(()));
    fs::remove_file(&trap).unwrap();
    machine.wait("it is told", || {
        let told = "bytes were lost while no logger took them\n";
        machine.log("flooder").contains(told).then_some(())
    });
    let before = last_file(&machine, "flooder");
    machine.wait("all goes on", || {
        (last_file(&machine, "flooder") > before).then_some(())
    });
    let longest: f64 = fs::read_to_string(machine.path("out/longest"))
        .unwrap()
        .parse()
        .unwrap();
    println!("the service has waited for {longest} s at most");
    assert!(longest > 1.0, "it did not hang: {longest}");
    assert!(longest < (FOUND_OUT + BUSY).as_secs_f64(), "{longest}");
}
