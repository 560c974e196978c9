//! One `init` as PID 1 of namespaces of its own, and what a test does with it. Not here: what is
//! tested.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use init::log::reader::Reader;
use serde_json::{Value, json};
use services::id::ServiceName;

/// Longest wait for anything; generous, since the machine that runs the tests may be busy.
const PATIENCE: Duration = Duration::from_secs(60);
const PAUSE: Duration = Duration::from_millis(10);
/// As much of it is taken by one look at most: while the machine stands still, nobody gets on, and that is
/// no fault of whom is waited for.
const LOOK: Duration = Duration::from_secs(5);

/// How much of the surroundings `init` gets.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Surroundings {
    /// A cgroup namespace too, where this machine can give one.
    Whole,
    /// The same, at a priority that `init` may not raise.
    Niced,
    /// The host's cgroup namespace: `init` must do without cgroups.
    WithoutCgroups,
    /// As whole as can be, with all of the host's accounts: only root can give that.
    Accounts,
}

/// Waits in a user namespace whose accounts somebody else has yet to name.
const UNTIL_NAMED: &str =
    "dir=$1; shift; until [ -e $dir/named ]; do sleep 0.01; done; exec \"$@\"";
/// The host's accounts as they are.
const EVERYBODY: &str = "0 0 65536\n";

/// A running `init`.
pub(crate) struct Machine {
    dir: tempfile::TempDir,
    unshare: Child,
    cgroup: Option<PathBuf>,
}

/// Whether namespaces can be made here; says so if not.
pub(crate) fn possible() -> bool {
    let made = Command::new("unshare")
        .args(["-Urmpf", "--mount-proc", "true"])
        .stdin(Stdio::null())
        .output();
    match made {
        Ok(output) if output.status.success() => true,
        Ok(output) => {
            let cause = String::from_utf8_lossy(&output.stderr).into_owned();
            eprintln!("NOT TESTED: no user namespaces on this machine: {cause}");
            false
        }
        Err(error) => {
            eprintln!("NOT TESTED: cannot run unshare(1): {error}");
            false
        }
    }
}

impl Machine {
    /// Boots with the given service files (`NAME.toml`, text) as the only layer.
    pub(crate) fn boot(services: &[(&str, &str)]) -> Self {
        Self::boot_in(Surroundings::Whole, services)
    }

    /// The same, in chosen surroundings.
    pub(crate) fn boot_in(surroundings: Surroundings, services: &[(&str, &str)]) -> Self {
        Self::boot_prepared(surroundings, services, |_| {})
    }

    /// The same, after something more has been put into the test's directory: service files of a
    /// second layer in `admin`, a hand-over in `run`.
    pub(crate) fn boot_prepared(
        surroundings: Surroundings,
        services: &[(&str, &str)],
        prepare: impl FnOnce(&Path),
    ) -> Self {
        let dir = tempfile::tempdir().unwrap();
        for sub in ["services", "admin", "run", "out"] {
            fs::create_dir(dir.path().join(sub)).unwrap();
        }
        prepare(dir.path());
        let layers = ["services", "run/services", "admin"]
            .map(|it| dir.path().join(it).display().to_string());
        let cgroup = match surroundings {
            Surroundings::Whole | Surroundings::Niced | Surroundings::Accounts => own_cgroup(),
            Surroundings::WithoutCgroups => None,
        };
        let mut command = Command::new("nice");
        let nice = match surroundings {
            Surroundings::Niced => "5",
            Surroundings::Whole | Surroundings::WithoutCgroups | Surroundings::Accounts => "0",
        };
        command.args(["-n", nice, "sh", "-c"]);
        match &cgroup {
            Some(path) => command
                .arg(r#"echo $$ > "$1/cgroup.procs" && shift && exec "$@""#)
                .arg("sh")
                .arg(path)
                .args(["unshare", "--cgroup"]),
            None => command.arg(r#"exec "$@""#).args(["sh", "unshare"]),
        };
        let console = fs::File::create(dir.path().join("console")).unwrap();
        match surroundings {
            Surroundings::Whole | Surroundings::Niced | Surroundings::WithoutCgroups => {
                command.args(["-Urmpf", "--kill-child", "--mount-proc"])
            }
            Surroundings::Accounts => command
                .args(["-U", "--keep-caps", "sh", "-c", UNTIL_NAMED, "sh"])
                .arg(dir.path())
                .args(["unshare", "-mpf", "--kill-child", "--mount-proc"]),
        };
        command
            .arg(env!("CARGO_BIN_EXE_init"))
            .env_clear()
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
            .env("SHARK_SERVICE_PATH", layers.join(":"))
            .env("SHARK_RUNTIME_DIR", dir.path().join("run"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(console);
        let machine = Self {
            unshare: {
                for (name, text) in services {
                    write_service(dir.path(), name, text);
                }
                command.spawn().unwrap()
            },
            dir,
            cgroup,
        };
        if surroundings == Surroundings::Accounts {
            machine.name_accounts();
        }
        machine.wait("the control socket answers", || {
            machine
                .try_call("org.varlink.service.GetInfo", json!({}))
                .ok()
        });
        machine
    }

    /// Names the accounts of the user namespace, as soon as there is one.
    fn name_accounts(&self) {
        let proc = PathBuf::from(format!("/proc/{}", self.unshare.id()));
        let own = fs::read_link("/proc/self/ns/user").unwrap();
        self.wait("there is a user namespace", || {
            let namespace = fs::read_link(proc.join("ns/user")).ok()?;
            (namespace != own).then_some(())
        });
        for map in ["uid_map", "gid_map"] {
            fs::write(proc.join(map), EVERYBODY).unwrap();
        }
        fs::write(self.path("named"), "").unwrap();
    }

    /// Whether `init` has cgroups here.
    pub(crate) fn has_cgroups(&self) -> bool {
        self.cgroup.is_some()
    }

    /// A file of the cgroup of a service, as the host sees it; `None` without cgroups.
    pub(crate) fn cgroup_file(&self, service: &str, file: &str) -> Option<PathBuf> {
        let root = self.cgroup.as_ref()?;
        Some(root.join("services").join(service).join(file))
    }

    /// A path below the test's directory, which services may write to.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// (Over)writes a service file, with `@DIR@` replaced by the test's directory.
    pub(crate) fn write_service(&self, name: &str, text: &str) {
        write_service(self.dir.path(), name, text);
    }

    /// Polls until `probe` has something, or fails the test saying what it waited for and what
    /// `init` said.
    pub(crate) fn wait<T>(&self, what: &str, mut probe: impl FnMut() -> Option<T>) -> T {
        let mut left = PATIENCE;
        loop {
            let began = Instant::now();
            if let Some(found) = probe() {
                return found;
            }
            assert!(
                !left.is_zero(),
                "waited in vain until {what}; init said:\n{}",
                self.console()
            );
            std::thread::sleep(PAUSE);
            left = left.saturating_sub(began.elapsed().min(LOOK));
        }
    }

    /// One call; its parameters, or the name and parameters of its error.
    pub(crate) fn call(&self, method: &str, parameters: Value) -> Result<Value, (String, Value)> {
        let reply = self
            .try_call(&format!("io.shark.Init.{method}"), parameters)
            .unwrap_or_else(|error| panic!("{method}: {error}; init said:\n{}", self.console()));
        match reply.get("error").and_then(Value::as_str) {
            Some(error) => Err((
                error.rsplit('.').next().unwrap_or_default().to_owned(),
                reply.get("parameters").cloned().unwrap_or_default(),
            )),
            None => Ok(reply.get("parameters").cloned().unwrap_or_default()),
        }
    }

    /// One call with a service's name.
    pub(crate) fn on(&self, method: &str, name: &str) -> Result<Value, (String, Value)> {
        self.call(method, json!({ "name": name }))
    }

    /// A call as it goes over the wire.
    pub(crate) fn try_call(&self, method: &str, parameters: Value) -> std::io::Result<Value> {
        let mut stream = UnixStream::connect(self.path("run/io.shark.Init"))?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let call = json!({ "method": method, "parameters": parameters });
        stream.write_all(format!("{call}\0").as_bytes())?;
        serde_json::from_slice(&message(stream)?).map_err(std::io::Error::from)
    }

    /// Status of one service.
    pub(crate) fn status(&self, name: &str) -> Value {
        self.on("Status", name).unwrap()["service"].clone()
    }

    /// The state's word.
    pub(crate) fn state(&self, name: &str) -> String {
        self.status(name)["state"].as_str().unwrap().to_owned()
    }

    /// Waits until the service is in that state.
    pub(crate) fn wait_state(&self, name: &str, state: &str) {
        self.wait(&format!("{name} is {state}"), || {
            (self.state(name) == state).then_some(())
        });
    }

    /// Main process of a service, as its namespace numbers it.
    pub(crate) fn pid(&self, name: &str) -> Option<u64> {
        self.status(name)["pid"].as_u64()
    }

    /// The process of the host that is PID 1 in there.
    pub(crate) fn host_pid(&self) -> u32 {
        let id = self.unshare.id();
        self.wait("PID 1 is there", || {
            let text = fs::read_to_string(format!("/proc/{id}/task/{id}/children")).ok()?;
            text.split_whitespace().next()?.parse().ok()
        })
    }

    /// The host's number of the process that is `pid` in the namespace.
    pub(crate) fn host_pid_of(&self, pid: u64) -> u32 {
        let namespace = fs::read_link(format!("/proc/{}/ns/pid", self.host_pid())).unwrap();
        let process_ids = fs::read_dir("/proc")
            .unwrap()
            .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok());
        for host in process_ids {
            if fs::read_link(format!("/proc/{host}/ns/pid")).ok().as_ref() != Some(&namespace) {
                continue;
            }
            let status = fs::read_to_string(format!("/proc/{host}/status")).unwrap_or_default();
            let inner = status
                .lines()
                .find_map(|line| line.strip_prefix("NSpid:"))
                .and_then(|line| line.split_whitespace().last()?.parse::<u64>().ok());
            if inner == Some(pid) {
                return host;
            }
        }
        panic!("process {pid} is not in the namespace");
    }

    /// Sends a signal to a process of the namespace, by its number in there.
    pub(crate) fn kill(&self, signal: &str, pid: u64) {
        let host = if pid == 1 {
            self.host_pid()
        } else {
            self.host_pid_of(pid)
        };
        let sent = Command::new("kill")
            .args([&format!("-{signal}"), &host.to_string()])
            .status();
        assert!(sent.unwrap().success(), "kill -{signal} {pid}");
    }

    /// Command lines of all processes of the namespace.
    pub(crate) fn processes(&self) -> Vec<String> {
        let namespace = fs::read_link(format!("/proc/{}/ns/pid", self.host_pid())).unwrap();
        let mut lines = Vec::new();
        for entry in fs::read_dir("/proc").unwrap().flatten() {
            // A zombie has no namespaces any more, and is gone as far as anybody can tell.
            if fs::read_link(entry.path().join("ns/pid")).ok().as_ref() == Some(&namespace) {
                let line = fs::read_to_string(entry.path().join("cmdline")).unwrap_or_default();
                lines.push(line.replace('\0', " ").trim().to_owned());
            }
        }
        lines
    }

    /// The number in the namespace of the child of init that plays `part`.
    pub(crate) fn child_of_init(&self, part: &str) -> u64 {
        let init = self.host_pid();
        self.wait(&format!("init has a child `{part}`"), || {
            let text = fs::read_to_string(format!("/proc/{init}/task/{init}/children")).ok()?;
            text.split_whitespace().find_map(|pid| {
                let line = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
                let words: Vec<&[u8]> = line.split(|byte| *byte == 0).collect();
                if words.get(1) != Some(&part.as_bytes()) {
                    return None;
                }
                let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
                let inner = status
                    .lines()
                    .find_map(|line| line.strip_prefix("NSpid:"))?;
                inner.split_whitespace().last()?.parse().ok()
            })
        })
    }

    /// The log of a service, all of it that is in memory.
    pub(crate) fn log(&self, name: &str) -> String {
        let name = ServiceName::new(name).unwrap();
        let found = Reader::new(&[self.path("run/log")], &name).read();
        String::from_utf8(found.unwrap().lines).unwrap()
    }

    /// What `init` wrote to its stderr.
    pub(crate) fn console(&self) -> String {
        fs::read_to_string(self.path("console")).unwrap_or_default()
    }

    /// Waits for the end of PID 1.
    pub(crate) fn ended(&mut self) -> ExitStatus {
        self.ended_within(PATIENCE)
    }

    /// The same, of one that has much to stop.
    pub(crate) fn ended_within(&mut self, patience: Duration) -> ExitStatus {
        let mut left = patience;
        loop {
            let began = Instant::now();
            if let Some(status) = self.unshare.try_wait().unwrap() {
                return status;
            }
            assert!(
                !left.is_zero(),
                "PID 1 does not end; it said:\n{}",
                self.console()
            );
            std::thread::sleep(PAUSE);
            left = left.saturating_sub(began.elapsed().min(LOOK));
        }
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        // With PID 1 the kernel kills everything in its namespace.
        let _gone = self.unshare.kill();
        let _reaped = self.unshare.wait();
        if let Some(cgroup) = &self.cgroup {
            let _killed = fs::write(cgroup.join("cgroup.kill"), "1");
            let deadline = Instant::now() + PATIENCE;
            while !removed(cgroup) && Instant::now() < deadline {
                std::thread::sleep(PAUSE);
            }
        }
    }
}

/// Writes a program, by way of another process: while this one has it open, another test may fork, and what
/// somebody has open for writing cannot be executed.
pub(crate) fn write_program(path: &Path, bytes: &[u8]) {
    let draft = path.with_extension("draft");
    fs::write(&draft, bytes).unwrap();
    let mut install = Command::new("install");
    let done = install.args(["-m", "755"]).args([&draft, path]).status();
    assert!(done.unwrap().success());
}

/// What comes up to a NUL, or the end.
pub(crate) fn message(stream: UnixStream) -> std::io::Result<Vec<u8>> {
    let mut message = Vec::new();
    // It goes on after an interruption, as by a machine that was frozen.
    BufReader::new(stream).read_until(0, &mut message)?;
    message.pop_if(|last| *last == 0);
    Ok(message)
}

fn write_service(dir: &Path, name: &str, text: &str) {
    let path = dir.join("services").join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text.replace("@DIR@", &dir.display().to_string())).unwrap();
}

/// A fresh cgroup of the unified hierarchy for one machine; `None` where that cannot be had.
fn own_cgroup() -> Option<PathBuf> {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let mounts = fs::read_to_string("/proc/self/mounts").ok()?;
    let root = mounts.lines().find_map(|line| {
        let mut fields = line.split_whitespace().skip(1);
        let path = fields.next()?;
        (fields.next()? == "cgroup2").then(|| PathBuf::from(path))
    })?;
    let own = fs::read_to_string("/proc/self/cgroup").ok()?;
    let own = own.lines().find_map(|line| line.strip_prefix("0::/"))?;
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    let path = root
        .join(own)
        .join(format!("shark-test-{}-{count}", std::process::id()));
    fs::create_dir(&path).ok()?;
    Some(path)
}

/// Removes a cgroup with all below it; false while something in it still dies.
fn removed(path: &Path) -> bool {
    if let Ok(entries) = fs::read_dir(path) {
        for entry in entries.flatten() {
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                removed(&entry.path());
            }
        }
    }
    fs::remove_dir(path).is_ok()
}
