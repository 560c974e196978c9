//! The starter on its own, as root: what the program finds that it becomes, and what is told before.
#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test that cannot go on fails"
)]

use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::{Command, Output};
use std::time::Duration;

use init::errand;
use init::starter::{Known, Order};
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
            .output()
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
