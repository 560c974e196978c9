//! Whose process sent a datagram, told by what the kernel says of the sender's pid and never by what
//! the sender says. Not here: the socket, and the meaning of the datagram.

use services::id::ServiceName;

/// The service whose cgroup, or a cgroup below it, the text of `/proc/PID/cgroup` names. Our root is
/// always the root of the hierarchy as we see it.
#[must_use]
pub(super) fn service_of_cgroup(text: &str) -> Option<ServiceName> {
    let path = text.lines().find_map(|line| line.strip_prefix("0::"))?;
    let below = path.strip_prefix("/services/")?;
    let name = below.split('/').next()?;
    // A cgroup that is gone already still names a process that has ended and not been reaped.
    ServiceName::new(name.strip_suffix(" (deleted)").unwrap_or(name)).ok()
}

/// The session of a process, from the text of `/proc/PID/stat`. Without cgroups, a run is known by
/// the session its main process has opened.
#[must_use]
pub(super) fn session_of_stat(text: &str) -> Option<u32> {
    // The program's name is in parentheses and may hold anything, parentheses included.
    let (_, fields) = text.rsplit_once(')')?;
    fields.split_whitespace().nth(3)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expect: Option<&str>) {
        let got = service_of_cgroup(text);
        assert_eq!(got.as_ref().map(ServiceName::as_str), expect, "{text:?}");
    }

    #[test]
    fn the_cgroup_names_the_service() {
        check("0::/services/sshd\n", Some("sshd"));
        check("0::/services/k3s/kubepods/pod1\n", Some("k3s"));
        check("1:name=x:/a\n0::/services/a.b@c\n", Some("a.b@c"));
        check("0::/services/sshd (deleted)\n", Some("sshd"));
    }

    #[test]
    fn nothing_else_does() {
        check("0::/\n", None);
        check("0::/shark.init\n", None);
        check("0::/services\n", None);
        check("0::/services/\n", None);
        check("0::/other/services/sshd\n", None);
        check("1:cpu:/services/sshd\n", None);
    }

    #[test]
    fn a_program_name_cannot_forge_a_session() {
        let text = "12 (x) S 1 1 99 (y) S 1 7 7 0 -1";
        assert_eq!(session_of_stat(text), Some(7));
        assert_eq!(session_of_stat("12 (x"), None);
    }
}
