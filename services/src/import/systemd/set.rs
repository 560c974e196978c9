//! The units of an import as one set: which service each becomes a part of, and what another one's
//! name means. Not here: what is in them.

use std::collections::{BTreeMap, BTreeSet};

use super::super::Options;
use super::Unit;
use super::syntax::Line;
use super::words::Specifiers;

/// A unit, taken apart.
pub(super) struct Parsed<'u> {
    pub(super) unit: &'u Unit,
    pub(super) stem: &'u str,
    pub(super) suffix: Suffix,
    pub(super) specifiers: Specifiers,
    pub(super) lines: Vec<Line>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Suffix {
    Service,
    Socket,
    Timer,
    Target,
    Other,
}

/// Stem and kind of the name of a unit.
pub(super) fn split(name: &str) -> (&str, Suffix) {
    let Some((stem, suffix)) = name.rsplit_once('.') else {
        return (name, Suffix::Other);
    };
    let suffix = match suffix {
        "service" => Suffix::Service,
        "socket" => Suffix::Socket,
        "timer" => Suffix::Timer,
        "target" => Suffix::Target,
        _ => Suffix::Other,
    };
    (stem, suffix)
}

impl Parsed<'_> {
    /// What the last line says that sets `key`, where that is not empty.
    pub(super) fn last(&self, section: &str, key: &str) -> Option<&str> {
        let all = self.lines.iter().filter_map(Line::assignment);
        let last = all
            .rev()
            .find(|it| it.section == section && it.key == key)?;
        Some(last.value.as_str()).filter(|value| !value.is_empty())
    }

    /// The unit that a socket or a timer starts.
    pub(super) fn started(&self) -> String {
        let named = match self.suffix {
            Suffix::Socket => self.last("Socket", "Service"),
            Suffix::Timer => self.last("Timer", "Unit"),
            Suffix::Service | Suffix::Target | Suffix::Other => None,
        };
        match named {
            // Of a template, the instance of the same name is meant.
            Some(named) => named.replace("@%i.", "@.").replace("@%I.", "@."),
            None => format!("{}.service", self.stem),
        }
    }
}

/// What the name of another unit means here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Meaning {
    /// This service.
    Service(String),
    /// What stands there is true before any service starts, for this reason.
    Met(&'static str),
    /// Nothing; the reason.
    Nothing(String),
}

/// Names of the set.
#[derive(Default)]
pub(super) struct Names {
    /// Units, with their aliases, and the services they are parts of.
    units: BTreeMap<String, String>,
    /// Services that are there, or are being made.
    services: BTreeSet<String>,
    map: BTreeMap<String, String>,
    /// Of which service a unit says that it starts after which: later, earlier.
    order: BTreeSet<(String, String)>,
}

/// Units that stand for what init has done before the first service.
const MET: &[(&[&str], &str)] = &[
    (
        &[
            "sysinit.target",
            "basic.target",
            "-.mount",
            "slices.target",
            "system.slice",
        ],
        "init has done its part before it starts any service",
    ),
    (
        &[
            "local-fs.target",
            "local-fs-pre.target",
            "systemd-remount-fs.service",
            "var.mount",
            "tmp.mount",
        ],
        "local file systems are mounted before any service starts",
    ),
    (
        &[
            "systemd-journald.service",
            "systemd-journald.socket",
            "systemd-journald-dev-log.socket",
            "syslog.target",
            "syslog.socket",
        ],
        "what services write is taken from the start",
    ),
    (
        &["sockets.target", "timers.target", "paths.target"],
        "sockets are opened and timers armed with the services they belong to",
    ),
];

impl Names {
    pub(super) fn new(options: &Options) -> Self {
        let mut services = options.known.clone();
        services.insert("default".to_owned());
        Self {
            units: BTreeMap::new(),
            services,
            map: options.map.clone(),
            order: BTreeSet::new(),
        }
    }

    /// `unit` becomes a part of `service`.
    pub(super) fn add(&mut self, unit: &Unit, service: &str) {
        self.services.insert(service.to_owned());
        for name in std::iter::once(&unit.name).chain(&unit.aliases) {
            self.units.insert(name.clone(), service.to_owned());
        }
    }

    /// The names that `[Install]` gives a unit besides its own.
    pub(super) fn add_aliases(&mut self, unit: &Parsed<'_>, service: &str) {
        let lines = unit.lines.iter().filter_map(Line::assignment);
        let aliases = lines.filter(|it| it.section == "Install" && it.key == "Alias");
        for alias in aliases.flat_map(|it| it.value.split_whitespace()) {
            let known = self.units.entry(alias.to_owned());
            known.or_insert_with(|| service.to_owned());
        }
    }

    /// Notes down which order a unit of `service` asks for.
    pub(super) fn note_order(&mut self, unit: &Parsed<'_>, service: &str) {
        let lines = unit.lines.iter().filter_map(Line::assignment);
        let mut order = Vec::new();
        for it in lines.filter(|it| it.section == "Unit") {
            if it.key != "After" && it.key != "Before" {
                continue;
            }
            let words = it.value.split_whitespace();
            for other in words.filter_map(|word| unit.specifiers.expand(word).ok()) {
                let Meaning::Service(other) = self.meaning(&other, false) else {
                    continue;
                };
                order.push(match it.key.as_str() {
                    "After" => (service.to_owned(), other),
                    _ => (other, service.to_owned()),
                });
            }
        }
        self.order.extend(order);
    }

    /// Whether a unit says that `later` starts after `earlier`.
    pub(super) fn is_ordered(&self, later: &str, earlier: &str) -> bool {
        let template = |name: &str| match name.split_once('@') {
            Some((prefix, _)) => format!("{prefix}@"),
            None => name.to_owned(),
        };
        let same = |one: &str, other: &str| one == other || template(one) == template(other);
        let mut order = self.order.iter();
        order.any(|(l, e)| same(l, later) && same(e, earlier))
    }

    /// There is no service of that name after all.
    pub(super) fn remove(&mut self, service: &str) {
        self.services.remove(service);
        self.units.retain(|_, of| of != service);
    }

    /// What `unit` means; `instances` says whether its template is enough, as it is where a unit is
    /// brought up and not only put into an order.
    pub(super) fn meaning(&self, unit: &str, instances: bool) -> Meaning {
        if let Some(service) = self.map.get(unit) {
            return Meaning::Service(service.clone());
        }
        if let Some(service) = self.units.get(unit) {
            return Meaning::Service(service.clone());
        }
        let (stem, suffix) = split(unit);
        let template = stem
            .split_once('@')
            .filter(|(_, instance)| !instance.is_empty());
        if let Some((prefix, instance)) = template
            && let Some(service) = self
                .units
                .get(&unit.replacen(stem, &format!("{prefix}@"), 1))
            && (instances || instance.contains("%i"))
        {
            return Meaning::Service(format!("{service}{instance}"));
        }
        if let Some((_, why)) = MET.iter().find(|(units, _)| units.contains(&unit)) {
            return Meaning::Met(why);
        }
        if suffix == Suffix::Service && self.services.contains(stem) {
            return Meaning::Service(stem.to_owned());
        }
        if suffix == Suffix::Target && self.services.contains(unit) {
            return Meaning::Service(unit.to_owned());
        }
        Meaning::Nothing(nothing(unit))
    }
}

/// Why a name means nothing, and what a person can do.
fn nothing(unit: &str) -> String {
    let what = match unit.rsplit('.').next().unwrap_or("") {
        "device" => "init waits for no device: a condition or a probe of its path may do",
        "mount" | "automount" | "swap" => "init has no units of mounts",
        "slice" | "scope" => "each service has a cgroup of its own, and there are no slices",
        "path" => "init watches no paths",
        _ => {
            return match unit {
                "network.target" | "network-online.target" | "network-pre.target" => format!(
                    "`{unit}` is no service here: name the one that brings the network up with \
                     --map {unit}=SERVICE"
                ),
                _ => format!("`{unit}` is not imported with it, and there is no such service"),
            };
        }
    };
    format!("`{unit}`: {what}")
}
