//! What programs send to syslog(3) is kept with who sent it, whoever floods and whoever dies. Not here:
//! the forms of a message (`services::log::syslog`).

use std::fs;

use serde_json::json;

use crate::machine::{Machine, Surroundings, possible};

/// Runs a program of Python, whose syslog is that of the C library, where /dev/log leads to the logger: the
/// host's /dev stays as it is.
const SENDER: &str = "exec = [\"/usr/bin/unshare\", \"-m\", \"/bin/sh\", \"-c\", \
    \"mount -t tmpfs dev /dev && ln -s $1/run/dev-log /dev/log && exec python3 $1/send.py $1\", \
    \"sh\", \"@DIR@\"]\n";

/// Boots with the service `web`, which runs this program.
fn boot(program: &str) -> Machine {
    let program = format!("import sys, syslog, time\n{program}");
    Machine::boot_prepared(Surroundings::Whole, &[("web.toml", SENDER)], |dir| {
        fs::write(dir.join("send.py"), program).unwrap();
    })
}

/// Where the messages of a service are: without cgroups nobody knows whose they are.
fn log(machine: &Machine, service: &str) -> String {
    let known = machine.has_cgroups();
    machine.log(if known { service } else { "syslog" })
}

/// How many lines have this mark and text.
fn count(log: &str, mark: char, text: &str) -> usize {
    let is = |line: &&str| {
        line.get(27..)
            .is_some_and(|it| it.starts_with(mark) && it.contains(text))
    };
    log.lines().filter(is).count()
}

#[test]
fn syslog_of_the_c_library_is_in_the_log_of_the_service() {
    if !possible() {
        return;
    }
    let machine = boot(
        "syslog.openlog('probe', syslog.LOG_PID, syslog.LOG_DAEMON)\n\
         syslog.syslog(syslog.LOG_ERR, 'no room: é')\n\
         syslog.syslog('plain')\ntime.sleep(1000)",
    );
    let found = machine.wait("both messages are there", || {
        let log = log(&machine, "web");
        log.contains("plain").then_some(log)
    });
    assert_eq!(count(&found, '@', "<3>probe["), 1, "{found}");
    assert_eq!(count(&found, '@', "]: no room: é"), 1, "{found}");
    assert_eq!(count(&found, '@', "<6>probe["), 1, "{found}");
}

#[test]
fn a_flood_is_bounded_and_told_and_delays_nobody() {
    if !possible() {
        return;
    }
    let machine = boot(
        "n = 0\nwhile n < 20000:\n    syslog.syslog('flood %d' % n)\n    n += 1\n\
         print('sent', flush=True)\ntime.sleep(1000)",
    );
    machine.wait("the flood has begun", || {
        log(&machine, "web").contains("flood 10").then_some(())
    });
    machine.call("List", json!({})).unwrap();
    machine.wait("the sender is through", || {
        machine.log("web").contains(" sent").then_some(())
    });
    let kept = machine.wait("what was dropped is told", || {
        let log = log(&machine, "web");
        let kept = count(&log, '@', "flood ");
        (kept + dropped(&log) == 20_000).then_some(kept)
    });
    assert!((1000..20_000).contains(&kept), "kept {kept}");
    machine.wait("the count is beside the logs", || {
        let count = fs::read_to_string(machine.path("run/log/=dropped")).ok()?;
        (count.trim().parse() == Ok(20_000 - kept)).then_some(())
    });
}

/// How many messages the notes of the logger say were dropped.
fn dropped(log: &str) -> usize {
    let notes = log
        .lines()
        .filter_map(|line| line.get(28..)?.split_once(" messages dropped"));
    notes
        .filter_map(|(number, _)| number.parse::<usize>().ok())
        .sum()
}

#[test]
fn a_dead_logger_stops_no_sender_and_the_next_one_hears_it() {
    if !possible() {
        return;
    }
    let machine = boot(
        "n = 0\nwhile True:\n    syslog.syslog('beat %d.' % n)\n    open(sys.argv[1] + '/out/n', 'w').write(str(n))\n    \
         n += 1\n    time.sleep(0.01)",
    );
    let sent = || {
        fs::read_to_string(machine.path("out/n"))
            .ok()?
            .parse::<u32>()
            .ok()
    };
    machine.wait("it is heard", || {
        log(&machine, "web").contains("beat 5.").then_some(())
    });
    for _ in 0..3 {
        machine.kill("KILL", machine.child_of_init("log"));
        let at = machine.wait("it goes on", sent);
        machine.wait("the next logger hears it", || {
            (beats(&log(&machine, "web")).last()? > &(at + 20)).then_some(())
        });
    }
    // PID 1 keeps the socket too: what was sent meanwhile has waited there.
    let beats = beats(&log(&machine, "web"));
    let lost: Vec<_> = beats.windows(2).filter(|it| it[1] > it[0] + 1).collect();
    assert!(lost.is_empty(), "messages are lost: {lost:?}");
}

/// The numbers of all beats in a log.
fn beats(log: &str) -> Vec<u32> {
    let numbers = log.lines().filter_map(|line| {
        line.rsplit_once("beat ")?
            .1
            .trim_end_matches('.')
            .parse()
            .ok()
    });
    numbers.collect()
}
