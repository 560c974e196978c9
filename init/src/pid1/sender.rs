//! Whose process sent a datagram, told by what the kernel says of the sender's pid and never by what
//! the sender says. Not here: the socket, and the meaning of the datagram.

use services::id::ServiceName;

/// The service whose cgroup is `path` or above it. Our root is always the root of the hierarchy as
/// we see it.
#[must_use]
pub(crate) fn service_of_cgroup(path: &str) -> Option<ServiceName> {
    let below = path.strip_prefix("/services/")?;
    let name = below.split('/').next()?;
    // A cgroup that is gone already still names a process that has ended and not been reaped.
    ServiceName::new(name.strip_suffix(" (deleted)").unwrap_or(name)).ok()
}

/// Parent and session of a process, from the text of `/proc/PID/stat`. Without cgroups, a run is
/// known by the session its main process has opened, and a process by those it descends from.
#[must_use]
pub(super) fn parent_and_session(text: &str) -> Option<(u32, u32)> {
    // The program's name is in parentheses and may hold anything, parentheses included.
    let (_, fields) = text.rsplit_once(')')?;
    let mut fields = fields.split_whitespace().skip(1);
    let parent = fields.next()?.parse().ok()?;
    let session = fields.nth(1)?.parse().ok()?;
    Some((parent, session))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(path: &str, expect: Option<&str>) {
        let got = service_of_cgroup(path);
        assert_eq!(got.as_ref().map(ServiceName::as_str), expect, "{path:?}");
    }

    #[test]
    fn the_cgroup_names_the_service() {
        check("/services/sshd", Some("sshd"));
        check("/services/k3s/kubepods/pod1", Some("k3s"));
        check("/services/a.b@c", Some("a.b@c"));
        check("/services/sshd (deleted)", Some("sshd"));
    }

    #[test]
    fn nothing_else_does() {
        check("/", None);
        check("/shark.init", None);
        check("/services", None);
        check("/services/", None);
        check("/other/services/sshd", None);
    }

    #[test]
    fn a_program_name_cannot_forge_a_session() {
        let text = "12 (x) S 1 1 99 (y) S 1 7 7 0 -1";
        assert_eq!(parent_and_session(text), Some((1, 7)));
        assert_eq!(parent_and_session("12 (x"), None);
    }
}
