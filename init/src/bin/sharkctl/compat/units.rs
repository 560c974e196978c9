//! Units of systemd as services, and states as the words that scripts compare. Not here: asking for
//! them.

use services::status::{ServiceStatus, StateName};

/// What comes after the dot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Service,
    Target,
    Socket,
    Timer,
}

/// A unit, as the service that it is here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Unit {
    pub(super) service: String,
    pub(super) kind: Kind,
}

/// Targets that a boot brings up.
const BOOTED: [&str; 3] = ["multi-user", "graphical", "default"];
/// Units that there are none of here.
const OTHERS: [&str; 7] = [
    ".mount",
    ".automount",
    ".swap",
    ".path",
    ".slice",
    ".scope",
    ".device",
];

impl Unit {
    /// Reads the name of a unit; without a suffix it is that of a service. `None`: of a kind that there
    /// is nothing like here.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let of = |service: &str, kind| {
            Some(Self {
                service: service.to_owned(),
                kind,
            })
        };
        if OTHERS.iter().any(|suffix| text.ends_with(suffix)) {
            return None;
        }
        match text.rsplit_once('.') {
            Some((name, "service")) => of(name, Kind::Service),
            Some((name, "socket")) => of(name, Kind::Socket),
            Some((name, "timer")) => of(name, Kind::Timer),
            Some((name, "target")) if BOOTED.contains(&name) => of("default", Kind::Target),
            // A target keeps its name when it is imported.
            Some((_, "target")) => of(text, Kind::Target),
            Some(_) | None => of(text, Kind::Service),
        }
    }

    /// Its name, with the suffix.
    pub(super) fn name(&self) -> String {
        let suffix = match self.kind {
            Kind::Service => ".service",
            Kind::Socket => ".socket",
            Kind::Timer => ".timer",
            Kind::Target => ".target",
        };
        match self.service.ends_with(suffix) {
            true => self.service.clone(),
            false => format!("{}{suffix}", self.service),
        }
    }

    /// The unit that a service is.
    pub(super) fn of(status: &ServiceStatus) -> Self {
        let kind = match status.kind == "target" && !is_masked(status) {
            true => Kind::Target,
            false => Kind::Service,
        };
        Self {
            service: status.name.clone(),
            kind,
        }
    }
}

/// Whether it is kept from running.
pub(super) fn is_masked(status: &ServiceStatus) -> bool {
    status.description.starts_with("(masked)")
}

/// The states of a unit, in systemd's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct States {
    pub(super) load: &'static str,
    pub(super) active: &'static str,
    pub(super) sub: &'static str,
}

impl States {
    /// Of a unit that there is not.
    pub(super) const NONE: Self = Self {
        load: "not-found",
        active: "inactive",
        sub: "dead",
    };

    pub(super) fn of(status: &ServiceStatus, kind: Kind) -> Self {
        let load = match is_masked(status) {
            true => "masked",
            false => "loaded",
        };
        let (active, sub) = match (kind, status.state) {
            (Kind::Timer, StateName::Armed) => ("active", "waiting"),
            (Kind::Socket, StateName::Listening) => ("active", "listening"),
            (Kind::Timer | Kind::Socket, StateName::Up | StateName::Starting) => {
                ("active", "running")
            }
            (_, StateName::Up) if kind == Kind::Target => ("active", "active"),
            (_, StateName::Up) if status.kind == "target" => ("active", "active"),
            (_, StateName::Up) if status.pid.is_none() => ("active", "exited"),
            (_, StateName::Up) => ("active", "running"),
            (_, StateName::Waiting) => ("activating", "waiting"),
            (_, StateName::Starting) => ("activating", "start"),
            (_, StateName::Backoff) => ("activating", "auto-restart"),
            (_, StateName::Stopping) => ("deactivating", "stop-sigterm"),
            (_, StateName::Failed) => ("failed", "failed"),
            (_, StateName::Down | StateName::Armed | StateName::Listening | StateName::Skipped) => {
                ("inactive", "dead")
            }
        };
        Self { load, active, sub }
    }
}

/// Whether `name` is one that `pattern` stands for, with `*` and `?` as in glob(7).
pub(super) fn matches(pattern: &str, name: &str) -> bool {
    let (pattern, name): (Vec<char>, Vec<char>) =
        (pattern.chars().collect(), name.chars().collect());
    let (mut at, mut of) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while let Some(letter) = name.get(of) {
        match pattern.get(at) {
            Some('*') => {
                star = Some((at, of));
                at += 1;
            }
            Some(wanted) if *wanted == '?' || wanted == letter => (at, of) = (at + 1, of + 1),
            Some(_) | None => {
                let Some((back, from)) = star else {
                    return false;
                };
                star = Some((back, from + 1));
                (at, of) = (back + 1, from + 1);
            }
        }
    }
    pattern.iter().skip(at).all(|it| *it == '*')
}

/// Whether a word is a pattern at all.
pub(super) fn is_pattern(text: &str) -> bool {
    text.contains(['*', '?'])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_units_are_those_of_services() {
        let check = |text: &str, expect: Option<(&str, &str)>| {
            let unit = Unit::parse(text);
            let got = unit.map(|it| (it.service.clone(), it.name()));
            let expect = expect.map(|(a, b)| (a.to_owned(), b.to_owned()));
            assert_eq!(got, expect, "{text}");
        };
        check("k3s", Some(("k3s", "k3s.service")));
        check("k3s.service", Some(("k3s", "k3s.service")));
        check(
            "getty@tty1.service",
            Some(("getty@tty1", "getty@tty1.service")),
        );
        check(
            "org.freedesktop.thing",
            Some(("org.freedesktop.thing", "org.freedesktop.thing.service")),
        );
        check("apt.timer", Some(("apt", "apt.timer")));
        check("multi-user.target", Some(("default", "default.target")));
        check("net.target", Some(("net.target", "net.target")));
        check("var.mount", None);
    }

    #[test]
    fn patterns() {
        for (pattern, name) in [
            ("*", ""),
            ("k3s*", "k3s-agent"),
            ("*.s?rvice", "a.service"),
            ("a*c*", "abcd"),
        ] {
            assert!(matches(pattern, name), "{pattern} {name}");
        }
        for (pattern, name) in [("", "a"), ("a?", "a"), ("a*c", "abd"), ("?", "")] {
            assert!(!matches(pattern, name), "{pattern} {name}");
        }
    }
}
