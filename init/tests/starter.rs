//! The starter on its own, as root: what the program finds that it becomes, and what is told before.
#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test that cannot go on fails"
)]

use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixDatagram;
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use init::errand;
use init::starter::{Known, Order};
use kernel::cgroup::Cgroup;
use services::begin::{Begin, Condition, Credential, CredentialSource, EnvFile, Test};
use services::definition::Ids;

const NOBODY: Ids = Ids {
    uid: 65_534,
    gid: 65_533,
    groups: Vec::new(),
};

/// Accounts can only be changed by root.
fn possible() -> bool {
    let root = kernel::system::uid() == 0;
    if !root {
        eprintln!("NOT TESTED: only root can become somebody else");
    }
    root
}

struct Place {
    dir: tempfile::TempDir,
    socket: UnixDatagram,
}

impl Place {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        // Everybody may pass through to the credentials, as below /run.
        std::fs::set_permissions(dir.path(), PermissionsExt::from_mode(0o711)).unwrap();
        let socket = UnixDatagram::bind(dir.path().join("notify")).unwrap();
        let patience = Some(Duration::from_secs(10));
        socket.set_read_timeout(patience).unwrap();
        Self { dir, socket }
    }

    fn path(&self, name: &str) -> String {
        self.dir.path().join(name).display().to_string()
    }

    fn order(&self, script: &str, begin: Begin) -> Order {
        Order {
            cgroup: None,
            command: ["/bin/sh", "-c", script].map(str::to_owned).to_vec(),
            credentials: (!begin.credentials.is_empty()).then(|| self.path("credentials")),
            begin,
            ids: Some(Ids {
                groups: vec![65_532],
                ..NOBODY
            }),
            working_dir: "/".to_owned(),
            generation: None,
            notify_socket: Some(self.path("notify")),
            known: Known::default(),
        }
    }

    fn run(&self, order: &Order) -> Output {
        self.start(order).wait_with_output().unwrap()
    }

    fn start(&self, order: &Order) -> Child {
        let path = self.path("order");
        std::fs::write(&path, errand::pack(order).unwrap()).unwrap();
        Command::new("/bin/sh")
            .args([
                "-c",
                "exec \"$0\" start 7 7<\"$1\"",
                env!("CARGO_BIN_EXE_init"),
                &path,
            ])
            .env_clear()
            .env("A", "of the service")
            .env("NOTIFY_SOCKET", "/ours")
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap()
    }

    fn told(&self) -> String {
        let mut buffer = [0; 512];
        let length = self.socket.recv(&mut buffer).unwrap();
        String::from_utf8(buffer[..length].to_vec()).unwrap()
    }
}

fn text(output: &Output) -> String {
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout.clone()).unwrap()
}

#[test]
fn the_program_has_the_account_and_what_only_root_could_read() {
    if !possible() {
        return;
    }
    let place = Place::new();
    let secret = place.path("secret");
    std::fs::write(&secret, "s3").unwrap();
    std::fs::set_permissions(&secret, PermissionsExt::from_mode(0o600)).unwrap();
    let variables = place.path("env");
    std::fs::write(&variables, "A=of the file\nNOTIFY_SOCKET=/theirs\n").unwrap();
    std::fs::set_permissions(&variables, PermissionsExt::from_mode(0o600)).unwrap();
    let begin = Begin {
        conditions: Vec::new(),
        versioned: Vec::new(),
        env_files: vec![EnvFile {
            path: variables.into(),
            optional: false,
        }],
        credentials: vec![Credential {
            name: "token".to_owned(),
            from: CredentialSource::File(secret.clone().into()),
        }],
    };
    let script = format!(
        "id -u; id -g; id -G; cat $CREDENTIALS_DIRECTORY/token; echo; echo $A $NOTIFY_SOCKET; \
         cat {secret} 2>/dev/null; touch $CREDENTIALS_DIRECTORY/x 2>/dev/null || echo read-only; \
         ls /proc/$$/fd | grep -c '^7$'; grep SigIgn /proc/$$/status"
    );
    let output = place.run(&place.order(&script, begin));
    let text = text(&output);
    let lines: Vec<&str> = text.lines().collect();
    let expect = [
        "65534",
        "65533",
        "65533 65532",
        "s3",
        "of the file /ours",
        "read-only",
        "0",
    ];
    let (last, rest) = lines.split_last().unwrap();
    assert_eq!(rest, expect);
    let ignored = last.split_whitespace().last().unwrap();
    let ignored = u64::from_str_radix(ignored, 16).unwrap();
    assert_eq!(ignored & 1 << (13 - 1), 0, "SIGPIPE is ignored");
    assert_eq!(place.told(), "X_SHARK_BEGIN=ready");
    let mode = |name: &str| {
        let path = Path::new(&place.path("credentials")).join(name);
        std::fs::metadata(path).unwrap().permissions().mode() & 0o777
    };
    assert_eq!((mode(""), mode("token")), (0o500, 0o400));
}

#[test]
fn what_does_not_come_to_the_program_is_told() {
    if !possible() {
        return;
    }
    let place = Place::new();
    let condition = Condition {
        test: Test::Path("/no/such/path".into()),
        negated: false,
    };
    let begin = Begin {
        conditions: vec![condition],
        ..Begin::default()
    };
    let output = place.run(&place.order("echo never", begin));
    assert_eq!(text(&output), "");
    assert_eq!(
        place.told(),
        "X_SHARK_BEGIN=skipped path-exists /no/such/path"
    );

    let mut order = place.order("", Begin::default());
    order.command = vec!["/no/such/program".to_owned()];
    let output = place.run(&order);
    assert_eq!(output.status.code(), Some(127));
    let told = place.told();
    assert_eq!(
        told,
        "X_SHARK_BEGIN=failed execve /no/such/program: there is no such file"
    );
}

/// A cgroup of its own below the root, removed at the end; `None`: this machine has none to give.
struct Room(Cgroup);

impl Room {
    fn new(name: &str) -> Option<Self> {
        let hierarchy = kernel::cgroup::detect().ok()?;
        let path = format!(
            "{}/shark-test-{name}-{}",
            hierarchy.root()?,
            std::process::id()
        );
        let made = Cgroup::create(&path);
        if made.is_err() {
            eprintln!("NOT TESTED: no cgroup v2 that this test may use");
        }
        made.ok().map(Self)
    }

    /// As `/proc/PID/cgroup` has it.
    fn line(&self) -> String {
        format!("0::/{}", self.0.path().rsplit('/').next().unwrap())
    }

    /// Waits until nobody is left in it.
    fn empties(&self) {
        let deadline = Instant::now() + Duration::from_secs(10);
        while self.0.populated().unwrap() {
            assert!(Instant::now() < deadline, "somebody lives on");
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        let _left = self.0.kill();
        self.empties();
        std::fs::remove_dir(self.0.path()).unwrap();
    }
}

fn first_line(child: &mut Child) -> String {
    let mut line = String::new();
    let out = child.stdout.take().unwrap();
    BufReader::new(out).read_line(&mut line).unwrap();
    line.trim().to_owned()
}

#[test]
fn a_command_beside_others_is_born_among_them_and_its_starter_ends_as_it_does() {
    let (true, Some(room)) = (possible(), Room::new("born")) else {
        return;
    };
    let place = Place::new();
    let beside = |script: &str| Order {
        cgroup: Some(room.0.path().to_owned()),
        notify_socket: None,
        ..place.order(script, Begin::default())
    };
    let run = |script: &str| place.start(&beside(script));
    let child = run(
        "echo $PPID; grep ^0:: /proc/self/cgroup; grep -c ^0::/shark-test /proc/$PPID/cgroup; exit 7",
    );
    let starter = child.id();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(7));
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(
        text,
        format!("{starter}\n{}\n0\n", room.line()),
        "the starter stays outside"
    );

    let output = run("kill -SEGV $$").wait_with_output().unwrap();
    assert_eq!(output.status.signal(), Some(11));

    // In a group of its own, and of another user: still it ends with its starter.
    let mut child = run("exec setsid sh -c 'echo here; exec sleep 1000'");
    assert_eq!(first_line(&mut child), "here");
    assert_eq!(room.0.processes().unwrap().len(), 1);
    child.kill().unwrap();
    child.wait().unwrap();
    room.empties();

    let mut order = beside("");
    order.command = vec!["/no/such/program".to_owned()];
    assert_eq!(place.run(&order).status.code(), Some(127));
    order.cgroup = Some("/no/such/cgroup".to_owned());
    let output = place.run(&order);
    assert_eq!(output.status.code(), Some(127));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("open /no/such/cgroup: "), "{said}");
}

#[test]
fn a_main_process_is_moved_beside_others_and_stays_the_same_process() {
    let (true, Some(room)) = (possible(), Room::new("moved")) else {
        return;
    };
    let place = Place::new();
    let mut order = Order {
        cgroup: Some(room.0.path().to_owned()),
        ..place.order(
            "echo $$; grep ^0:: /proc/self/cgroup; cat /proc/$$/task/$$/children",
            Begin::default(),
        )
    };
    let child = place.start(&order);
    let pid = child.id();
    let output = text(&child.wait_with_output().unwrap());
    let lines: Vec<&str> = output.lines().collect();
    assert_eq!(lines[..2], [pid.to_string(), room.line()]);
    assert_eq!(place.told(), "X_SHARK_BEGIN=ready");

    order.cgroup = Some("/no/such/cgroup".to_owned());
    assert_eq!(place.run(&order).status.code(), Some(127));
    let told = place.told();
    assert!(
        told.starts_with("X_SHARK_BEGIN=failed enter /no/such/cgroup: ") && told.contains("ENOENT"),
        "{told}"
    );
}
