//! A file with every key, and what becomes of it.

use super::*;
use crate::cpus::CpuList;
use crate::log::limit::OwnLimit;

/// A masked service keeps nothing of what its other keys say.
const MASKED: &str = "\nmasked = true\n";

const EVERYTHING: &str = r#"
description = "Everything"
type = "notify"
exec = ["/bin/a", "b c"]
reload = "/bin/kill -HUP"
start-timeout = "1min 30s"
requires = ["b"]
wants = ["e"]
after = ["f"]
before = ["g"]
conflicts = ["d"]
wanted-by = ["c"]
part-of = ["i"]
binds-to = ["j"]
user = "u"
group = "g"
env = { B = "2", A = "1" }
working-dir = "/tmp"
umask = "0077"
nice = -5
oom-score-adj = -900
env-files = ["/etc/a", "-/etc/b"]
runtime-dirs = ["a"]
state-dirs = ["s"]
tty = "/dev/ttyS0"
[restart]
policy = "always"
delay = "1s"
max-delay = "1min"
jitter = "20%"
reset-after = "1h"
max-failures = 5
burst = 4
burst-within = "2min"
success-status = [143, 0, 2, 143]
[on-failure]
start = ["k"]
action = "boot-bad"
[stop]
signal = "SIGQUIT"
timeout = "0s"
scope = "main"
[cgroup]
memory-min = "64M"
memory-high = "1G"
memory-max = 2147483648
pids-max = 100
cpu-weight = 200
cpu-max = "150%"
cpus = "3,0-1"
delegate = true
[state]
versioned = ["v"]
[limits]
core = 0
memlock = "unlimited"
nofile = 65536
nproc = "unlimited"
stack = "8M"
[credentials]
credentials = { file = "/etc/secret" }
token = { text = "s3" }
[conditions]
path-exists = ["/a"]
path-missing = ["/b", "/c"]
kernel-option = ["quiet", "!k=v"]
architecture = ["x86-64"]
slot = ["!a"]
first-boot = false
virtualization = ["!docker"]
[boot]
essential = false
wanted = true
[health]
exec = "/bin/probe"
interval = "1min"
timeout = "1s"
failures = 7
delay = "2s"
[watchdog]
timeout = "30s"
signal = "QUIT"
[fd-store]
max = 16
[log]
burst = 50
burst-within = "2s"
"#;

/// What only a target may have.
const GATE: &str = "type = 'target'\n[gate]\ndeadline = '1min'\nsoak = '1s'\nscrub = true\n";

/// What [`EVERYTHING`] says of what is before the program.
fn every_key_of_a_begin() -> Begin {
    let condition = |test, negated| Condition { test, negated };
    let file = |path: &str, optional| EnvFile {
        path: path.into(),
        optional,
    };
    let credential = |name: &str, from| Credential {
        name: name.to_owned(),
        from,
    };
    Begin {
        conditions: vec![
            condition(Test::Architecture(Architecture::X86_64), false),
            condition(Test::FirstBoot, true),
            condition(Test::KernelOption("quiet".to_owned()), false),
            condition(Test::KernelOption("k=v".to_owned()), true),
            condition(Test::Path("/a".into()), false),
            condition(Test::Path("/b".into()), true),
            condition(Test::Path("/c".into()), true),
            condition(Test::Slot(Slot::A), true),
            condition(
                Test::Virtualization(Virtualization::Kind("docker".to_owned())),
                true,
            ),
        ],
        versioned: vec!["v".to_owned()],
        env_files: vec![file("/etc/a", false), file("/etc/b", true)],
        credentials: vec![
            credential("credentials", CredentialSource::File("/etc/secret".into())),
            credential("token", CredentialSource::Text("s3".to_owned())),
        ],
    }
}

/// What only a forking service may have.
const FORKING: &str = "type = 'forking'\nexec = '/e'\npid-file = '/run/e.pid'\n";

/// What [`EVERYTHING`] says of the program.
fn every_key_of_a_program() -> Program {
    let text = |text: &str| text.to_owned();
    let limit = |resource, limit| ResourceLimit { resource, limit };
    Program {
        exec: vec![text("/bin/a"), text("b c")],
        begin: every_key_of_a_begin(),
        pid_file: None,
        reload: Some(Reload::Command(vec![text("/bin/kill"), text("-HUP")])),
        ready: None,
        health: Some(Health {
            probe: Probe::Exec(vec![text("/bin/probe")]),
            interval: Duration::from_secs(60),
            timeout: Duration::from_secs(1),
            failures: 7,
            delay: Duration::from_secs(2),
        }),
        watchdog: Watchdog {
            timeout: Some(Duration::from_secs(30)),
            signal: Signal::Quit,
        },
        fd_store_max: 16,
        log: OwnLimit {
            burst: Some(50),
            burst_within: Some(Duration::from_secs(2)),
        },
        account: Some(Account {
            user: text("u"),
            group: Some(text("g")),
            ids: None,
        }),
        environment: vec![(text("A"), text("1")), (text("B"), text("2"))],
        working_dir: "/tmp".into(),
        umask: 0o077,
        nice: Some(-5),
        oom_score_adj: -900,
        runtime_dirs: vec![text("a")],
        state_dirs: vec![text("s")],
        tty: Some("/dev/ttyS0".into()),
        cgroup: CgroupLimits {
            memory_min: Some(Bytes(64 << 20)),
            memory_high: Some(Bytes(1 << 30)),
            memory_max: Some(Bytes(2 << 30)),
            pids_max: Some(100),
            cpu_weight: Some(200),
            cpu_max_percent: Some(150),
            cpus: CpuList::parse("0-1,3").ok(),
            delegate: true,
        },
        limits: vec![
            limit(Resource::Core, Some(0)),
            limit(Resource::Memlock, None),
            limit(Resource::Nofile, Some(65536)),
            limit(Resource::Nproc, None),
            limit(Resource::Stack, Some(8 << 20)),
        ],
    }
}

#[test]
fn every_key_arrives() {
    let files = [
        ("/v/a.toml", EVERYTHING),
        ("/v/b.toml", "exec = '/b'"),
        ("/v/c.toml", GATE),
        ("/v/d.toml", "exec = '/d'\nwanted-by = []"),
        ("/v/e.toml", FORKING),
        ("/v/f.toml", "exec = '/f'"),
        ("/v/g.toml", "exec = '/g'"),
        ("/v/i.toml", "exec = '/i'"),
        ("/v/j.toml", "exec = '/j'"),
        ("/v/k.toml", "exec = '/k'"),
        ("/e/k.toml.d/m.toml", MASKED),
    ];
    let a = service(&files);
    let seconds = Duration::from_secs;
    assert_eq!(a.boot, BootRole::Wanted);
    assert_eq!(a.kind, Kind::Notify(Box::new(every_key_of_a_program())));
    let restart = Restart {
        policy: RestartPolicy::Always,
        delay: seconds(1),
        max_delay: seconds(60),
        jitter: 20,
        reset_after: seconds(3600),
        max_failures: Some(5),
        burst: Some(Burst {
            starts: 4,
            within: seconds(120),
        }),
        success: [2, 143].into(),
    };
    assert_eq!(a.restart, restart);
    assert_eq!(a.failure_action, FailureAction::BootBad);
    let stop = Stop {
        signal: Signal::Quit,
        timeout: seconds(0),
        scope: StopScope::Main,
    };
    assert_eq!(a.stop, stop);
    assert_eq!(a.start_timeout, seconds(90));
    assert_eq!(a.description, "Everything");
    for (relation, name) in Relation::ALL
        .into_iter()
        .zip(["b", "e", "f", "g", "d", "c", "i", "j", "k"])
    {
        assert_eq!(names(relation.names(&a.relations)), [name], "{relation:?}");
    }
    // And no key is left out above.
    for key in keys::KEYS {
        let (_, name) = key.split();
        let line = format!("\n{name} = ");
        let texts = [
            EVERYTHING,
            GATE,
            FORKING,
            MASKED,
            probes::KINDS,
            timer::TIMER,
            sockets::SOCKETS,
        ];
        assert!(texts.iter().any(|text| text.contains(&line)), "{name}");
    }
}
