//! Keys of `[Socket]` as sockets of the service. Not here: when they start it (`group`).

use core::net::SocketAddr;

use super::super::draft::Value;
use super::super::report::Outcome;
use super::group::Group;
use super::set::{Parsed, Suffix};
use super::syntax::{Assignment, Line};
use super::values::boolean;
use crate::file::{SOCKET_PATH_MAX, SOCKETS_MAX};

impl Group<'_> {
    /// Whether there is a unit of sockets.
    pub(super) fn has_sockets(&self) -> bool {
        self.units.iter().any(|unit| unit.suffix == Suffix::Socket)
    }

    pub(super) fn socket_key(&mut self, unit: &Parsed<'_>, it: &Assignment) -> Option<Outcome> {
        let value = it.value.as_str();
        let in_files = unit.lines.iter().filter_map(Line::assignment);
        let in_files = in_files.filter(|it| it.key.starts_with("Listen"));
        let in_files = in_files
            .filter(|it| it.value.starts_with(['/', '%']))
            .count()
            > 0;
        let of_files = |word: &str| match in_files {
            true => Outcome::carried(&format!("sockets.{word}")),
            false => Outcome::irrelevant("none of its sockets lies in the file system"),
        };
        Some(match it.key.as_str() {
            "ListenStream" | "ListenDatagram" | "ListenSequentialPacket" | "ListenFIFO" => {
                self.listen(unit, it)
            }
            key if key.starts_with("Listen") => Outcome::lost("init opens nothing of this kind"),
            "SocketMode" => match mode(value) {
                Some(_) => of_files("mode"),
                None => Outcome::lost("is no mode"),
            },
            "SocketUser" => of_files("user"),
            "SocketGroup" => of_files("group"),
            "RemoveOnStop" => of_files("remove-on-stop"),
            "Backlog" => match backlog(value) {
                Some(_) => Outcome::carried("sockets.backlog"),
                None => Outcome::irrelevant("the backlog is as large as the kernel lets it be"),
            },
            "ReusePort" => Outcome::carried("sockets.reuse-port"),
            "FileDescriptorName" => Outcome::carried("sockets"),
            "Service" => Outcome::irrelevant("the socket is a part of the service it starts"),
            "Accept" => match boolean(value) {
                Some(false) => Outcome::irrelevant("the service takes its connections itself"),
                _ => {
                    self.block(false, ACCEPT);
                    Outcome::lost(ACCEPT)
                }
            },
            "BindIPv6Only" => match value {
                "ipv6-only" => Outcome::lost("a socket at [::] takes IPv4 too"),
                "both" => Outcome::irrelevant("is so here"),
                _ => Outcome::irrelevant("a socket at [::] takes IPv4 too, as is usual"),
            },
            _ => return None,
        })
    }

    fn listen(&mut self, unit: &Parsed<'_>, it: &Assignment) -> Outcome {
        let text = match unit.specifiers.expand(&it.value) {
            Ok(text) => text,
            Err(why) => return Outcome::lost(why),
        };
        let listens = unit.lines.iter().filter_map(Line::assignment);
        let same_key = |other: &&Assignment| other.key == it.key && other.section == "Socket";
        let only_ipv6 = unit.last("Socket", "BindIPv6Only") == Some("ipv6-only");
        if let Some(port) = text.strip_prefix("0.0.0.0:").filter(|_| only_ipv6) {
            let sibling = format!("[::]:{port}");
            if listens
                .clone()
                .filter(same_key)
                .any(|other| other.value == sibling)
            {
                return Outcome::carried("sockets.listen").and(Outcome::lost(format!(
                    "{sibling} takes IPv4 too, by one descriptor: a service that looks for one of \
                     each kind does not find it"
                )));
            }
        }
        let address = match address(&it.key, &text) {
            Ok(address) => address,
            Err(why) => return Outcome::lost(why),
        };
        let count = listens
            .filter(|other| other.key.starts_with("Listen") && !other.value.is_empty())
            .count();
        let Some(name) = self.socket_name(unit, count) else {
            return Outcome::lost(format!("a service has at most {SOCKETS_MAX} sockets"));
        };
        let mut outcome = self.open(unit, &name, &address);
        if count > 1 {
            outcome = outcome.look(format!(
                "its name is `{name}` in $LISTEN_FDNAMES: two sockets cannot have the same one here"
            ));
        }
        outcome
    }

    /// Sockets come in the order of their names, as they come in that of their lines there.
    fn socket_name(&self, unit: &Parsed<'_>, count: usize) -> Option<String> {
        let named = unit.last("Socket", "FileDescriptorName");
        let name = named.unwrap_or(&unit.unit.name);
        let fits = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
        let name: String = name.chars().filter(|c| fits(*c)).take(60).collect();
        let taken = |name: &str| self.draft.has(&format!("sockets.{name}.listen"));
        if count < 2 && !taken(&name) {
            return Some(name);
        }
        let mut numbered = (1..=SOCKETS_MAX).map(|number| format!("{name}.{number:02}"));
        numbered.find(|name| !taken(name))
    }

    fn open(&mut self, unit: &Parsed<'_>, name: &str, address: &str) -> Outcome {
        let key = |word: &str| format!("sockets.{name}.{word}");
        self.draft
            .set(&key("listen"), Value::Text(address.to_owned()));
        let outcome = Outcome::carried(&key("listen"));
        let said = |word: &str| unit.last("Socket", word);
        if let Some(backlog) = said("Backlog").and_then(backlog) {
            self.draft.set(&key("backlog"), Value::Number(backlog));
        }
        let in_files = address.contains(":/");
        let reuse = said("ReusePort").and_then(boolean).unwrap_or(false);
        if reuse && !in_files {
            self.draft.set(&key("reuse-port"), Value::Flag(true));
        }
        if !in_files {
            return outcome;
        }
        if let Some(mode) = said("SocketMode").and_then(mode) {
            self.draft.set(&key("mode"), Value::Text(mode));
        }
        for (theirs, ours) in [("SocketUser", "user"), ("SocketGroup", "group")] {
            if let Some(account) = said(theirs).and_then(|it| unit.specifiers.expand(it).ok()) {
                self.draft.set(&key(ours), Value::Text(account));
            }
        }
        if said("RemoveOnStop").and_then(boolean) == Some(true) {
            self.draft.set(&key("remove-on-stop"), Value::Flag(true));
        }
        outcome
    }
}

const ACCEPT: &str = "Accept=yes: no service is started for each connection here";

fn mode(value: &str) -> Option<String> {
    let mode = u32::from_str_radix(value, 8).ok()?;
    (mode <= 0o777).then(|| format!("{mode:04o}"))
}

fn backlog(value: &str) -> Option<i64> {
    value
        .parse()
        .ok()
        .filter(|backlog| (1..=65_535).contains(backlog))
}

/// Where a socket listens, in the words of a service file.
fn address(key: &str, text: &str) -> Result<String, String> {
    let (network, file) = match key {
        "ListenStream" => (Some("tcp"), "unix"),
        "ListenDatagram" => (Some("udp"), "unix-dgram"),
        "ListenFIFO" => (None, "fifo"),
        _ => (None, "unix-seqpacket"),
    };
    if text.starts_with('/') {
        return match text.len() > SOCKET_PATH_MAX {
            true => Err("is a longer path than a socket can have".to_owned()),
            false => Ok(format!("{file}:{text}")),
        };
    }
    if text.starts_with('@') {
        return Err("is an abstract socket, which init does not open".to_owned());
    }
    let network = network.ok_or("is no absolute path")?;
    if let Ok(port) = text.parse::<u16>() {
        return Ok(format!("{network}:[::]:{port}"));
    }
    match text.parse::<SocketAddr>() {
        Ok(address) => Ok(format!("{network}:{address}")),
        Err(_) => Err("is no address with a port".to_owned()),
    }
}
