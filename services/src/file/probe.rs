//! The probes of a service file: the values that say what a probe does, and the rule that a table has
//! exactly one of them. Not here: how addresses are written (`address`), and commands (`command`).

use super::address;
use super::build::Build;
use super::draft::{HealthDraft, ReadyBy, ReadyDraft, Type};
use super::keys::KEYS;
use super::value::{Value, either};
use crate::definition::{Health, Probe, Ready};
use crate::diagnostic::Diagnostic;
use crate::time::Duration;

/// Longest path of a local socket, in bytes (`sun_path` without its NUL).
pub(crate) const SOCKET_PATH_MAX: usize = 107;
/// The first descriptor that is passed to a service, as sd_listen_fds(3) has it.
const FIRST_PASSED: usize = 3;
/// One of these is in a table `[ready]`.
const READY: &[&str] = &[
    "ready.fd",
    "ready.exec",
    "ready.tcp",
    "ready.unix",
    "ready.http",
    "ready.path",
];
/// One of these is in a table `[health]`.
const HEALTH: &[&str] = &[
    "health.exec",
    "health.tcp",
    "health.unix",
    "health.http",
    "health.path",
];

impl Value<'_, '_> {
    /// A probe that connects to an address.
    pub(super) fn tcp(&mut self) -> Option<Probe> {
        self.read(address::ADDRESS, address::tcp).map(Probe::Tcp)
    }

    /// A probe that asks for a page.
    pub(super) fn http(&mut self) -> Option<Probe> {
        let (address, path) = self.read(address::URL, address::url)?;
        Some(Probe::Http { address, path })
    }

    /// A probe that connects to a local socket.
    pub(super) fn unix(&mut self) -> Option<Probe> {
        let check = |text: &str| match (text.starts_with('/'), text.len()) {
            (false, _) => Err("does not start with `/`"),
            (true, ..=SOCKET_PATH_MAX) => Ok(()),
            (true, _) => Err("is longer than the path of a socket can be"),
        };
        let path = self.text("an absolute path of at most 107 bytes", check)?;
        Some(Probe::Unix(path.into()))
    }
}

impl Build<'_> {
    pub(super) fn check_probes(&mut self) {
        let health = self.draft.health.probe.as_ref().map(Probe::word);
        self.check_table("health", HEALTH, health);
        let ready = self.draft.ready.by.as_ref().map(ReadyBy::word);
        self.check_table("ready", READY, ready);
        self.check_line();
        self.check_start_timeout();
    }

    /// A line is waited for, and not asked for again and again.
    fn check_line(&mut self) {
        let Some(ReadyBy::Line(_)) = self.draft.ready.by else {
            return;
        };
        for key in ["ready.interval", "ready.timeout"] {
            if self.written(key) {
                let message = "has no meaning beside ready.fd, by which nothing is asked";
                self.tell(key, message, "start-timeout, or a probe");
            }
        }
    }

    /// Its descriptor is none of those that the service finds open from the first one on: its sockets, and
    /// behind them what is kept for it.
    pub(super) fn check_line_number(&mut self, sockets: usize) {
        let Some(ReadyBy::Line(number)) = self.draft.ready.by else {
            return;
        };
        let kept = self.draft.fd_store_max.unwrap_or(0);
        let taken = sockets + usize::from(kept);
        let free = FIRST_PASSED + taken;
        if usize::try_from(number).is_ok_and(|number| number < free) {
            let whose = match (sockets, kept) {
                (0, _) => "fd-store.max",
                (_, 0) => "[sockets]",
                (_, _) => "[sockets] and fd-store.max",
            };
            let last = free - 1;
            let message = format!(
                "{number} is one of the descriptors {FIRST_PASSED} to {last}, which are those of {whose}"
            );
            self.tell("ready.fd", message, format!("a number from {free} on"));
        }
    }

    /// A simple service is up at once, unless something is waited for.
    fn check_start_timeout(&mut self) {
        let simple = self.service_type() == Some(Type::Simple);
        if simple && self.written("start-timeout") && !READY.iter().any(|key| self.written(key)) {
            let message = "has no meaning for a service of type `simple` without a table [ready]";
            let expected = "a table [ready], or type `notify` or `oneshot`";
            self.tell("start-timeout", message, expected);
        }
    }

    /// A table that is there names one probe: no other key of it has a meaning without, and two would
    /// ask for two things. `last` is the word of the one that was read last.
    fn check_table(&mut self, table: &str, kinds: &[&'static str], last: Option<&str>) {
        let inside = |key: &&str| key.split_once('.').is_some_and(|(it, _)| it == table);
        if !self.draft.written.keys().any(inside) {
            return;
        }
        for pair in self.of_one_file(table, kinds, last).windows(2) {
            if let [first, second] = pair {
                let message = format!("is written beside {first}, and would ask for two things");
                self.tell(second, message, "one of the two");
            }
        }
        if kinds.iter().any(|key| self.written(key)) || !self.well_formed {
            return;
        }
        let mut keys = KEYS.iter().filter(|key| key.is_in(table));
        if let Some(key) = keys.find(|key| self.written(key.name)) {
            let words = kinds.iter().filter_map(|it| Some(it.split_once('.')?.1));
            let told = Diagnostic::new(&self.place(key.name), "does not say what is asked for")
                .key(table)
                .expected(either(words));
            self.diagnostics.push(told);
        }
    }

    /// The kinds that the file of the last one names, in the order of its lines: a drop-in may name
    /// another one than the file it changes.
    fn of_one_file(
        &self,
        table: &str,
        kinds: &[&'static str],
        last: Option<&str>,
    ) -> Vec<&'static str> {
        let Some(word) = last else { return Vec::new() };
        let file = self.place(&format!("{table}.{word}")).file;
        let mut named: Vec<_> = kinds
            .iter()
            .filter(|key| self.written(key))
            .map(|key| (self.place(key), *key))
            .filter(|(place, _)| place.file == file)
            .collect();
        named.sort_unstable();
        named.into_iter().map(|(_, key)| key).collect()
    }
}

/// What tells that the service is ready, where something does.
pub(super) fn ready(draft: ReadyDraft) -> Option<Ready> {
    Some(match draft.by? {
        ReadyBy::Line(fd) => Ready::Line(fd),
        ReadyBy::Probe(probe) => Ready::Probe {
            probe,
            interval: draft.interval.unwrap_or(Duration::from_millis(100)),
            timeout: draft.timeout.unwrap_or(Duration::from_secs(5)),
        },
    })
}

/// How the health is asked for, where it is.
pub(super) fn health(draft: HealthDraft) -> Option<Health> {
    Some(Health {
        probe: draft.probe?,
        interval: draft.interval.unwrap_or(Duration::from_secs(10)),
        timeout: draft.timeout.unwrap_or(Duration::from_secs(5)),
        failures: draft.failures.unwrap_or(3),
        delay: draft.delay.unwrap_or(Duration::ZERO),
    })
}
