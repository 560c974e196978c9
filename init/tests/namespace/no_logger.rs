//! A logger that takes nothing keeps nobody waiting, and what is lost by it is counted and told. Not here:
//! one that dies and is followed by one that works (`logs`, `syslog`).

use std::fs;
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
        // In the place of its log: whoever opens it to write waits for somebody to read.
        fs::create_dir_all(dir.join("run/log")).unwrap();
        let path = dir.join("run/log/chatty").display().to_string();
        let access = kernel::listen::Access {
            mode: 0o600,
            owner: None,
        };
        let _closed = kernel::listen::fifo(&path, access).unwrap();
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
    // Its alarm ends it, and the next one hangs as well.
    machine.wait("it is ended", || {
        machine
            .console()
            .contains("logger ended (Signal { number: 14")
            .then_some(())
    });
    let lost = |what: &str| {
        let metrics = machine.call("Metrics", json!({})).unwrap();
        metrics["metrics"][what].as_u64().unwrap()
    };
    let bytes = lost("logLostBytes");
    assert!((WRITTEN - HELD..=WRITTEN).contains(&bytes), "{bytes}");
    assert!(lost("logLostMessages") > 0);
    fs::remove_file(machine.path("run/log/chatty")).unwrap();
    machine.kill("KILL", machine.child_of_init("log"));
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
