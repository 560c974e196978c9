//! `sharkctl why` of services that are broken, each in another way: it names where that began.

use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;

use serde_json::{Value, json};

use crate::machine::{Machine, Surroundings, possible};

/// A program that writes a line and then does what is said.
fn shell(script: &str, more: &str) -> String {
    format!(
        "exec = [\"/bin/sh\", \"-c\", '''echo \"I am $0\"; {script}''', \"it\"]\n\
         restart.policy = \"never\"\n{more}\n"
    )
}

/// What `sharkctl` with these words prints on both streams, and its exit status.
fn sharkctl(machine: &Machine, words: &[&str]) -> (String, i32) {
    let output = Command::new(env!("CARGO_BIN_EXE_sharkctl"))
        .arg("--socket")
        .arg(machine.path("run/io.shark.Init"))
        .args(words)
        .env("SHARK_SERVICE_PATH", machine.path("services"))
        .output()
        .unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let text = text(&output.stdout) + &text(&output.stderr);
    eprintln!("$ sharkctl {}\n{text}", words.join(" "));
    (text, output.status.code().unwrap())
}

/// What `why` says of a service has all of these soon, as lines are on their way, and fits a screen.
fn check(machine: &Machine, name: &str, expect: &[&str]) -> String {
    let mut said = String::new();
    let missing = |text: &str| expect.iter().find(|it| !text.contains(**it)).copied();
    for _ in 0..300 {
        let (text, status) = sharkctl(machine, &["why", name]);
        assert_eq!(status, 0, "{text}");
        assert!(text.lines().count() <= 24, "{text}");
        said = text;
        if missing(&said).is_none() {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
    assert_eq!(missing(&said), None, "in:\n{said}");
    said
}

#[test]
fn a_failure_is_followed_to_where_it_began() {
    if !possible() {
        return;
    }
    let machine = Machine::boot(&[
        ("web.toml", &shell("sleep 1000", "requires = [\"api\"]")),
        ("api.toml", &shell("sleep 1000", "requires = [\"db\"]")),
        (
            "db.toml",
            &shell("echo no disk; exit 3", "type = \"notify\""),
        ),
        (
            "late.toml",
            &shell("sleep 1000", "requires = [\"slow\"]\nafter = [\"db\"]"),
        ),
        ("slow.toml", &shell("sleep 1000", "type = \"notify\"")),
        ("well.toml", &shell("sleep 1000", "wants = [\"db\"]")),
    ]);
    machine.wait_state("web", "failed");
    let all = [
        "wanted: by the boot: default wants web\n",
        "chain: web requires api\n           api requires db\n",
        "cause: db is failed for ",
        ": it exited with status 3 before it was ready\n",
        "advice: mend what its last lines tell, then `sharkctl start db`\n",
        "last lines of db:\n",
        "no disk\n",
    ];
    check(&machine, "web", &all);
    let waits = [
        "state: waiting for ",
        "chain: late requires slow\n",
        "cause: slow is starting for ",
        "not ready: it has not said READY=1",
        "last lines of slow:\n",
    ];
    check(&machine, "late", &waits);
    check(
        &machine,
        "well",
        &[
            "state: up for ",
            "nothing is wrong",
            "without: db: see",
            "last lines of well:",
        ],
    );

    let (json, _) = sharkctl(&machine, &["why", "web", "--json"]);
    let json: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["cause"]["name"], "db");
    assert_eq!(
        json["chain"],
        json!(["web requires api", "api requires db"])
    );

    // Who asked is told too.
    machine.on("Stop", "late").unwrap();
    check(
        &machine,
        "late",
        &["state: down", "wanted: by nobody", " asked: stop late\n"],
    );

    let (tree, _) = sharkctl(&machine, &["tree", "web"]);
    assert_eq!(
        tree,
        "web: failed\n└─ requires api: failed\n   └─ requires db: failed\n"
    );
    let (none, status) = sharkctl(&machine, &["why", "nobody"]);
    assert_eq!(status, 3, "{none}");
}

/// Services each of which fails in its own way, and what `why` says of it.
fn broken() -> Vec<(&'static str, String, &'static [&'static str])> {
    let listens = "[sockets.s]\nlisten = \"tcp:127.0.0.1:27831\"";
    let plain = |exec: &str| format!("exec = \"{exec}\"\nrestart.policy = \"never\"\n");
    vec![
        (
            "timeout.toml",
            shell("sleep 1000", "type = \"oneshot\"\nstart-timeout = \"1s\""),
            &[
                "it was not ready within 1s: it has not ended",
                "give it a longer start-timeout",
            ],
        ),
        (
            "mute.toml",
            shell("sleep 1000", "type = \"notify\"\nstart-timeout = \"1s\""),
            &[
                "it was not ready within 1s: it has not said READY=1",
                "choose another type",
            ],
        ),
        (
            "skipped.toml",
            shell("sleep 1000", "conditions.path-exists = [\"@DIR@/flag\"]"),
            &[
                "skipped for ",
                "condition: path-exists ",
                "advice: [conditions]",
            ],
        ),
        (
            "missing.toml",
            plain("/usr/bin/not-there"),
            &[
                "execute /usr/bin/not-there: ",
                "names a program that is not there",
            ],
        ),
        (
            "passwd.toml",
            plain("/etc/passwd"),
            &[
                "execute /etc/passwd: ",
                "/etc/passwd, which is not executable",
            ],
        ),
        (
            "burst.toml",
            "exec = [\"/bin/sh\", \"-c\", \"echo bad disk; exit 4\"]\n[restart]\npolicy = \
             \"always\"\ndelay = \"10ms\"\nburst = 3\nburst-within = \"60s\"\n"
                .to_owned(),
            &[
                "failed for ",
                "it exited with status 4; it was started 3 times within 1min",
                "bad disk\n",
            ],
        ),
        (
            "second.toml",
            shell("sleep 1000", &format!("after = [\"first\"]\n{listens}")),
            &[
                "Address already in use",
                "something else listens at that address",
            ],
        ),
        (
            "first.toml",
            shell("sleep 1000", listens),
            &["nothing is wrong"],
        ),
    ]
}

#[test]
fn each_way_to_fail_is_named() {
    if !possible() {
        return;
    }
    let broken = broken();
    let files: Vec<(&str, &str)> = broken.iter().map(|it| (it.0, it.1.as_str())).collect();
    let machine = Machine::boot(&files);
    machine.call("WaitBoot", json!({})).unwrap();
    for (file, _, expect) in &broken {
        check(&machine, file.trim_end_matches(".toml"), expect);
    }
}

/// Situations of every day, and what `why` says and advises; each is started by itself.
const DAILY: &[(&str, &str, &[&str])] = &[
    (
        "interpreter",
        "exec = '@DIR@/out/interpreter'\nrestart.policy = 'never'",
        &["interpreter, which needs `/usr/bin/no-python`, which "],
    ),
    (
        "directory",
        "exec = '/bin/true'\nworking-dir = '/srv/nothing'\nrestart.policy = 'never'",
        &[
            "change to directory /srv/nothing: ",
            "advice: `working-dir` of its file",
        ],
    ),
    (
        "terminal",
        "exec = '/bin/true'\ntty = '/dev/no-tty'\nrestart.policy = 'never'",
        &["take terminal /dev/no-tty: ", "advice: `tty` of its file"],
    ),
    (
        "hanging",
        "exec = '/bin/sleep 1000'\nwatchdog.timeout = '1s'\nrestart.policy = 'never'",
        &[
            "watchdog: no sign of life within 1s",
            "advice: it hangs, or never says WATCHDOG=1",
        ],
    ),
    (
        "sick",
        "exec = '/bin/sleep 1000'\nhealth.path = '/nothing'\nhealth.interval = '100ms'\n\
         health.failures = 1000",
        &[
            "up for ",
            "/nothing: No such file",
            "and is stopped after health.failures in a row",
        ],
    ),
    (
        "forking",
        "exec = '/bin/true'\ntype = 'forking'\nrestart.policy = 'never'",
        &[
            "its command has ended and left no process",
            "advice: type = \"forking\" is for",
        ],
    ),
    (
        "early",
        "exec = '/bin/true'\ntype = 'notify'\nrestart.policy = 'never'",
        &["it ended before it was ready", "is type = \"oneshot\""],
    ),
    (
        "done",
        "exec = '/bin/true'",
        &[
            "down for ",
            "it ended well, and is not started again",
            "advice: restart.policy",
        ],
    ),
    (
        "silent",
        "exec = '/bin/false'\nrestart.policy = 'never'",
        &[
            "it exited with status 1",
            "advice: it wrote nothing: run its `exec` by hand",
        ],
    ),
    (
        "pausing",
        "exec = '/bin/false'\nrestart.delay = '1h'\nrestart.max-delay = '1h'",
        &[
            "backoff for ",
            "it exited with status 1: it is started again in 59min ",
        ],
    ),
    (
        "restless",
        "exec = ['/bin/sh', '-c', 'echo here; [ -e @DIR@/out/again ] && exec sleep 1000; > \
         @DIR@/out/again; exit 5']",
        &[
            "up for ",
            "it was started again 1 time, last because it exited with status 5",
            "advice: its last lines may tell why it ended before",
        ],
    ),
    (
        "past",
        "exec = '/bin/true'\ntype = 'oneshot'\ntimer.on-calendar = ['2020-01-01 00:00']",
        &[
            "armed for ",
            "timer: no time to come",
            "advice: none of its times is to come",
        ],
    ),
];

#[test]
fn daily_situations_are_advised_on() {
    if !possible() {
        return;
    }
    let files: Vec<(String, &str)> = DAILY
        .iter()
        .map(|(name, text, _)| (format!("{name}.toml"), *text))
        .collect();
    let files: Vec<(&str, &str)> = files.iter().map(|it| (it.0.as_str(), it.1)).collect();
    let machine = Machine::boot_prepared(Surroundings::Whole, &files, |dir| {
        let script = dir.join("out/interpreter");
        std::fs::write(&script, "#!/usr/bin/no-python\n").unwrap();
        std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o755)).unwrap();
    });
    for (name, _, expect) in DAILY {
        check(&machine, name, expect);
    }
}

#[test]
fn neighbours_are_blamed_in_the_right_words() {
    if !possible() {
        return;
    }
    let sleeps = |more: &str| format!("exec = '/bin/sleep 1000'\n{more}\n");
    let machine = Machine::boot(&[
        ("day.toml", &sleeps("conflicts = ['night']")),
        ("night.toml", &sleeps("wanted-by = []")),
        ("whole.toml", &sleeps("")),
        ("part.toml", &sleeps("part-of = ['whole']")),
        ("masked.toml", &sleeps("masked = true")),
        ("needy.toml", &sleeps("requires = ['masked']")),
        (
            "deaf.toml",
            "exec = ['/bin/sh', '-c', 'trap \"\" TERM; echo deaf; while :; do sleep 1; done']\nstop.timeout = '1s'\n",
        ),
    ]);
    machine.call("WaitBoot", json!({})).unwrap();
    machine.on("Start", "night").unwrap();
    check(
        &machine,
        "day",
        &[
            "chain: day conflicts with night\n",
            "advice: `sharkctl start day` starts it and stops night: the two cannot run together\n",
        ],
    );
    machine.on("Stop", "whole").unwrap();
    check(
        &machine,
        "part",
        &[
            " asked: stop whole\n",
            "chain: part is part of whole\n",
            "cause: whole is down for ",
        ],
    );
    check(
        &machine,
        "needy",
        &["up for ", "without: masked: see `sharkctl why` of it\n"],
    );
    machine.wait("it does not hear any more", || {
        sharkctl(&machine, &["logs", "deaf"])
            .0
            .contains("deaf\n")
            .then_some(())
    });
    machine.on("Stop", "deaf").unwrap();
    let killed = "it was stopped by request; it had not ended after 1s, and was killed\n";
    check(&machine, "deaf", &[killed]);
    let (started, status) = sharkctl(&machine, &["start", "masked"]);
    assert_eq!(status, 6, "{started}");
}

#[test]
fn a_file_that_was_refused_is_told_of() {
    if !possible() {
        return;
    }
    let machine = Machine::boot(&[]);
    let check = |expect: &[&str]| {
        let (text, status) = sharkctl(&machine, &["why", "new"]);
        assert_eq!(status, 6, "{text}");
        for expect in expect {
            assert!(text.contains(expect), "no {expect:?} in:\n{text}");
        }
    };
    machine.write_service("new.toml", &shell("true", "user = \"nobody-here\""));
    machine.call("ReloadAll", json!({})).unwrap_err();
    check(&[
        "they have 1 problem",
        "new.toml:3:",
        "there is no user `nobody-here` on this machine",
    ]);
    machine.write_service("new.toml", &shell("true", "requires = [\"new2\"]"));
    machine.write_service("new2.toml", &shell("true", "requires = [\"new\"]"));
    machine.call("ReloadAll", json!({})).unwrap_err();
    check(&["they have 1 problem", "new2"]);
    machine.write_service("new2.toml", &shell("true", ""));
    check(&["which init has not read yet"]);
}

#[test]
fn who_took_the_memory_is_named() {
    if !possible() {
        return;
    }
    let hungry = shell("exec tail /dev/zero", "[cgroup]\nmemory-max = \"16M\"\n");
    let machine = Machine::boot(&[("hungry.toml", &hungry)]);
    let limit = machine.cgroup_file("hungry", "memory.max");
    if !limit.is_some_and(|file| file.exists()) {
        eprintln!("NOT TESTED: no memory controller that this test may use");
        return;
    }
    machine.wait_state("hungry", "failed");
    check(
        &machine,
        "hungry",
        &["it was killed because memory ran out", "cgroup.memory-max"],
    );
}

/// The picture has a bar for each of these, and they can be seen.
fn check_picture(picture: &str, names: &[&str]) {
    let picture = roxmltree::Document::parse(picture).unwrap();
    let titles = picture
        .descendants()
        .filter(|it| it.tag_name().name() == "title");
    let titles: Vec<&str> = titles.filter_map(|it| it.text()).collect();
    for name in names {
        assert!(
            titles.iter().any(|it| it.starts_with(&format!("{name}: "))),
            "{titles:?}"
        );
    }
    // However long ago the kernel began.
    let bars = picture
        .descendants()
        .filter(|it| it.tag_name().name() == "rect");
    let widths = bars.filter_map(|it| it.attribute("width")?.parse().ok());
    let widest = widths.fold(0.0, |widest: f64, width| widest.max(width));
    assert!(widest > 300.0, "{widest}");
}

#[test]
fn a_boot_is_told_in_times_and_files() {
    if !possible() {
        return;
    }
    // By far, also where the machine stands still while the other one runs.
    let slow = shell("sleep 3", "type = \"oneshot\"");
    let machine = Machine::boot(&[
        ("fast.toml", &shell("true", "type = \"oneshot\"")),
        ("slow.toml", &slow),
        (
            "slow.toml.d/10-more.toml",
            "description = \"Takes its time\"\n",
        ),
        (
            "web.toml",
            &shell("sleep 1000", "requires = [\"fast\", \"slow\"]"),
        ),
    ]);
    machine.call("WaitBoot", json!({})).unwrap();
    let ask = |words: &[&str]| {
        let (text, status) = sharkctl(&machine, words);
        assert_eq!(status, 0, "{text}");
        text
    };
    let blame = ask(&["blame"]);
    assert!(
        blame.lines().nth(1).unwrap().ends_with("  up     slow"),
        "{blame}"
    );
    let chain: Value = serde_json::from_str(&ask(&["critical-chain", "--json"])).unwrap();
    let names: Vec<&str> = chain["chain"]
        .as_array()
        .unwrap()
        .iter()
        .map(|it| it["name"].as_str().unwrap())
        .collect();
    assert_eq!(names, ["default", "web", "slow"]);
    check_picture(&ask(&["plot"]), &names);
    assert!(ask(&["graph", "web"]).contains("\"web\" -> \"slow\""));

    let path = machine.path("services/slow.toml");
    let drop_in = machine.path("services/slow.toml.d/10-more.toml");
    let expect = format!(
        "# {}\n{slow}\n# {}\ndescription = \"Takes its time\"\n",
        path.display(),
        drop_in.display()
    );
    assert_eq!(ask(&["cat", "slow"]), expect);
    assert_eq!(ask(&["cat", "slow", "--compare"]), expect);
    machine.write_service("slow.toml.d/10-more.toml", "start-timeout = \"7s\"\n");
    let told = ask(&["cat", "slow", "--compare"]);
    assert!(
        told.contains("differ from what init has read in "),
        "{told}"
    );
    assert!(told.contains("start-timeout"), "{told}");
    let (none, status) = sharkctl(&machine, &["cat", "nobody"]);
    assert_eq!(status, 3, "{none}");
    let (none, status) = sharkctl(&machine, &["cat", "default"]);
    assert!(status == 1 && none.contains("(built in)"), "{none}");
}
