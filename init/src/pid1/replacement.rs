//! Replacing the program of PID 1 by another one, as an operator asks, and crashing it on purpose, as a
//! tester does. Not here: the state that is handed over (`blackbox`), and going on with it (`resume`).

use kernel::successor::{self, Cause};
use services::control::{ControlError, Reply, Request};

use super::Init;
use super::clients::Peer;
use super::say::Level;

/// Bytes of a program's head that are looked at.
const HEAD: usize = 20;
/// e_machine of this architecture.
#[cfg(target_arch = "x86_64")]
const MACHINE: u16 = 62;
#[cfg(target_arch = "aarch64")]
const MACHINE: u16 = 183;

/// The answer, where it can be given at once.
type Answer = Option<Result<Reply, ControlError>>;

impl Init {
    /// An operator wants `program`, or the one PID 1 was started from, in place of this one.
    pub(super) fn reexec(
        &mut self,
        client: Option<u32>,
        request: &Request,
        program: Option<&str>,
    ) -> Answer {
        if self.shutting_down {
            return Some(refused("the machine is going down".to_owned()));
        }
        if self.replacing.is_some() {
            return Some(refused("init is being replaced already".to_owned()));
        }
        let program = program.unwrap_or(&self.origin).to_owned();
        if let Err(why) = check_program(&program) {
            return Some(refused(format!("{program}: {why}")));
        }
        let id = self.clients.owe(client, request.clone());
        self.replacing = Some((id, program));
        None
    }

    /// Replaces the program, where that was asked for, at the end of a turn.
    pub(super) fn replace_if_asked(&mut self) {
        let Some((request, program)) = self.replacing.take() else {
            return;
        };
        self.say(Level::Notice, &format!("replacing init by {program}"));
        // With everything, so that the next program reads no more than there is.
        self.renew_black_box(self.black_box_size());
        self.say.flush();
        let why = match &self.black_box {
            Some(_) => successor::execute(&program).to_string(),
            None => "there is no memory for the state".to_owned(),
        };
        self.say(Level::Error, &format!("init stays as it is: {why}"));
        self.fail(request, ControlError::Refused { reason: why });
    }

    /// This is the program that was asked for: says so to whoever waits.
    pub(super) fn answer_replaced(&mut self) {
        for request in self.clients.owed_for_replacement() {
            self.pay(request, &Ok(Reply::Done {}));
        }
    }

    /// A tester wants to see PID 1 crash.
    pub(super) fn crash(&mut self, peer: &Peer) -> Answer {
        if peer.uid != 0 {
            return Some(Err(ControlError::PermissionDenied {}));
        }
        if !self.debug && !self.is_contained() {
            let why = "`shark.debug` is not on the kernel command line";
            return Some(refused(why.to_owned()));
        }
        self.say(Level::Warning, "crashing, as asked");
        self.say.flush();
        #[allow(clippy::panic, reason = "it is what was asked for")]
        {
            panic!("asked for by process {}", peer.pid);
        }
    }
}

/// Notes that a crash of this program is to be survived, by executing it again as `origin`.
pub(super) fn prepare(origin: &str, contained: bool) {
    let sink = if contained {
        "/proc/self/fd/2"
    } else {
        "/dev/kmsg"
    };
    let prepared = [
        successor::prepare(origin, Some(sink)),
        successor::catch_faults(),
    ];
    for error in prepared.into_iter().filter_map(Result::err) {
        // A crash then takes the way out, and whoever reads of it knows why.
        super::emergency::say(
            contained,
            "a crash would not be survived",
            &error.to_string(),
        );
    }
}

/// Whether `path` can be executed here, as far as can be seen without doing so.
fn check_program(path: &str) -> Result<(), String> {
    if !path.starts_with('/') {
        return Err("this is no absolute path".to_owned());
    }
    kernel::files::executable(path).map_err(|error| error.to_string())?;
    let head = kernel::files::read_head(path, HEAD).map_err(|error| error.to_string())?;
    check_head(&head)
}

/// Whether a program that begins with `head` is of this architecture.
///
/// # Errors
/// For people: what it is instead.
pub(crate) fn check_head(head: &[u8]) -> Result<(), String> {
    let [0x7f, b'E', b'L', b'F', class, data, rest @ ..] = head else {
        return Err("this is no program (ELF)".to_owned());
    };
    // After class and data: version, ABI, eight of padding, type, machine.
    let machine = rest.get(12..14).and_then(|bytes| bytes.first_chunk::<2>());
    match (class, data, machine.map(|bytes| u16::from_le_bytes(*bytes))) {
        (2, 1, Some(MACHINE)) => Ok(()),
        (_, _, machine) => Err(format!(
            "this is a program of another architecture (machine {}), expected {MACHINE}",
            machine.unwrap_or_default()
        )),
    }
}

fn refused(reason: String) -> Result<Reply, ControlError> {
    Err(ControlError::Refused { reason })
}

/// Whether a request is for the replacement that just happened.
pub(super) const fn is_replacement(request: &Request) -> bool {
    matches!(request, Request::Reexec { .. })
}

/// The way on after a panic of PID 1. Returns where there is none.
pub(super) fn after_panic() {
    let _no_way = successor::crashed(Cause::Panic);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_program_of_this_architecture_is_taken() {
        assert_eq!(check_program("/proc/self/exe"), Ok(()));
        let refused = |path: &str, why: &str| {
            let got = check_program(path).unwrap_err();
            assert!(got.contains(why), "{path}: {got}");
        };
        refused("init", "absolute");
        refused("/nosuch/init", "No such file");
        refused("/etc/passwd", "Permission denied");
        refused("/", "Permission denied");
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("script");
        std::fs::write(&path, "#!/bin/sh\n").unwrap();
        use std::os::unix::fs::PermissionsExt;
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        refused(path.to_str().unwrap(), "no program");
        let mut head = kernel::files::read_head("/proc/self/exe", HEAD).unwrap();
        head[18] ^= 1;
        assert!(
            check_head(&head)
                .unwrap_err()
                .contains("another architecture")
        );
        assert!(check_head(b"\x7fELF\x01\x01").is_err());
    }
}
