//! `[sockets.NAME]`: one table a socket, and what only several keys together can get wrong. Not here:
//! single values (`value`).

use toml::de::{DeTable, DeValue};

use super::build::Build;
use super::probe::SOCKET_PATH_MAX as PATH_MAX;
use super::value::{Value, not_a_table};
use crate::definition::{Account, Kind, Listen, Socket};
use crate::diagnostic::{Diagnostic, Place, nearest};

/// Most sockets of one service.
pub(crate) const SOCKETS_MAX: usize = 16;
/// Longest name.
const NAME_MAX: usize = 64;
const DEFAULT_MODE: u32 = 0o666;
const DEFAULT_BACKLOG: u32 = 4096;
const BACKLOG_MAX: u32 = 65_535;

/// What a socket is, for people.
const LISTEN: &str = "where to listen: \"tcp:[::]:80\", \"udp:127.0.0.1:53\", \"unix:/run/x\", \
                      \"unix-dgram:/run/x\", \"unix-seqpacket:/run/x\" or \"fifo:/run/x\"";
const KEYS: [&str; 7] = [
    "listen",
    "mode",
    "user",
    "group",
    "backlog",
    "reuse-port",
    "remove-on-stop",
];

/// A socket as it is written.
pub(super) struct SocketDraft {
    pub(super) name: String,
    pub(super) place: Place,
    listen: Option<Listen>,
    mode: Option<u32>,
    user: Option<String>,
    group: Option<String>,
    backlog: Option<u32>,
    reuse_port: Option<bool>,
    remove_on_stop: Option<bool>,
}

/// Adds the sockets of a table to those of earlier files; one of the same name is replaced as a whole.
pub(super) fn read(known: &mut Vec<SocketDraft>, value: &mut Value<'_, '_>) {
    let item = value.item;
    let DeValue::Table(table) = item.get_ref() else {
        let place = value.document.place(item.span().start);
        let told = Diagnostic::new(&place, not_a_table(item.get_ref()))
            .key(value.key)
            .expected("a table for each socket, such as [sockets.http]");
        value.diagnostics.push(told);
        return;
    };
    for (name, item) in table {
        let place = value.document.place(name.span().start);
        let key = format!("{}.{}", value.key, name.get_ref());
        let DeValue::Table(table) = item.get_ref() else {
            let told = Diagnostic::new(&place, not_a_table(item.get_ref()))
                .key(&key)
                .expected(format!("a table such as [{key}]"));
            value.diagnostics.push(told);
            continue;
        };
        let name = name.get_ref().to_string();
        let fits = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
        if name.is_empty() || name.len() > NAME_MAX || !name.chars().all(fits) {
            let told = Diagnostic::new(&place, "is not a name of a socket")
                .key(&key)
                .expected("1 to 64 of the characters A-Z a-z 0-9 . _ -");
            value.diagnostics.push(told);
        }
        let socket = read_one(name, &key, &place, table, value);
        known.retain(|it| it.name != socket.name);
        known.push(socket);
    }
}

fn read_one<'a>(
    name: String,
    prefix: &str,
    place: &Place,
    table: &DeTable<'a>,
    outer: &mut Value<'_, 'a>,
) -> SocketDraft {
    let mut draft = SocketDraft {
        name,
        place: place.clone(),
        listen: None,
        mode: None,
        user: None,
        group: None,
        backlog: None,
        reuse_port: None,
        remove_on_stop: None,
    };
    let account = |text: &str| match text.is_empty() || text.contains([':', ' ']) {
        true => Err("is not a name"),
        false => Ok(()),
    };
    let mut written = false;
    for (name, item) in table {
        let key = format!("{prefix}.{}", name.get_ref());
        let mut value = Value {
            document: outer.document,
            key: &key,
            item,
            diagnostics: outer.diagnostics,
        };
        match name.get_ref().as_ref() {
            "listen" => {
                written = true;
                draft.listen = value.parsed(LISTEN, listen);
            }
            "mode" => draft.mode = value.umask(),
            "user" => draft.user = value.text("the name of a user", account),
            "group" => draft.group = value.text("the name of a group", account),
            "backlog" => draft.backlog = value.integer(1, BACKLOG_MAX),
            "reuse-port" => draft.reuse_port = value.boolean(),
            "remove-on-stop" => draft.remove_on_stop = value.boolean(),
            word => {
                let place = outer.document.place(name.span().start);
                let told = Diagnostic::new(&place, "is not a key of a socket")
                    .key(&key)
                    .did_you_mean(nearest(word, KEYS));
                outer.diagnostics.push(told);
            }
        }
    }
    if !written {
        let told = Diagnostic::new(place, "is missing")
            .key(&format!("{prefix}.listen"))
            .expected(LISTEN);
        outer.diagnostics.push(told);
    }
    draft
}

/// `KIND:ADDRESS`.
fn listen(text: &str) -> Result<Listen, String> {
    let (kind, address) = text.split_once(':').ok_or("has no `:`")?;
    let internet = || {
        let address = address.parse();
        address.map_err(|_| {
            "has no address with a port behind its first `:`; names are not looked up".to_owned()
        })
    };
    let path = || match address {
        "" => Err("has no path".to_owned()),
        path if !path.starts_with('/') => Err("has a path that does not start with `/`".to_owned()),
        path if path.len() > PATH_MAX => Err(format!("has a path of more than {PATH_MAX} bytes")),
        path => Ok(path.to_owned()),
    };
    Ok(match kind {
        "tcp" => Listen::Tcp(internet()?),
        "udp" => Listen::Udp(internet()?),
        "unix" => Listen::Unix(path()?),
        "unix-dgram" => Listen::UnixDatagram(path()?),
        "unix-seqpacket" => Listen::UnixSeqpacket(path()?),
        "fifo" => Listen::Fifo(path()?),
        kind => return Err(format!("has the unknown kind `{kind}`")),
    })
}

impl Build<'_> {
    /// Its sockets, by name, and whether the first traffic on one of them starts it.
    pub(super) fn sockets(&mut self) -> (Vec<Socket>, bool) {
        let mut drafts = std::mem::take(&mut self.draft.sockets);
        drafts.sort_by(|one, other| one.name.cmp(&other.name));
        if let Some(draft) = drafts.get(SOCKETS_MAX) {
            let message = format!("is one socket more than the {SOCKETS_MAX} of a service");
            let told =
                Diagnostic::new(&draft.place, message).key(&format!("sockets.{}", draft.name));
            self.diagnostics.push(told);
        }
        let sockets: Vec<Socket> = drafts
            .into_iter()
            .filter_map(|draft| self.socket(draft))
            .collect();
        let lazy = self.draft.lazy.unwrap_or(false);
        if lazy && sockets.is_empty() && self.well_formed {
            let message = "waits for traffic on a socket, and there is none";
            self.tell("lazy", message, "a [sockets.NAME] beside it");
        }
        (sockets, lazy)
    }

    fn socket(&mut self, draft: SocketDraft) -> Option<Socket> {
        let key = format!("sockets.{}", draft.name);
        let listen = draft.listen?;
        let in_files = listen.path().is_some();
        let mut tell = |word: &str, message: &str| {
            let told = Diagnostic::new(&draft.place, message).key(&format!("{key}.{word}"));
            self.diagnostics.push(told);
        };
        for (word, is_written) in [
            ("mode", draft.mode.is_some()),
            ("user", draft.user.is_some()),
            ("group", draft.group.is_some()),
            ("remove-on-stop", draft.remove_on_stop.is_some()),
        ] {
            if is_written && !in_files {
                tell(word, "has no meaning for a socket of the network");
            }
        }
        if draft.reuse_port == Some(true) && in_files {
            tell(
                "reuse-port",
                "has no meaning for what lies in the file system",
            );
        }
        let owner = (draft.user.is_some() || draft.group.is_some()).then(|| Account {
            user: draft.user.unwrap_or_else(|| "root".to_owned()),
            group: draft.group,
            ids: None,
        });
        let owner = owner.map(|mut account| {
            match self.accounts.map(|accounts| accounts.lookup(&account)) {
                None => {}
                Some(Ok(ids)) => account.ids = Some(ids),
                Some(Err(message)) => {
                    let told = Diagnostic::new(&draft.place, message).key(&format!("{key}.user"));
                    self.diagnostics.push(told);
                }
            }
            account
        });
        Some(Socket {
            name: draft.name,
            listen,
            mode: draft.mode.unwrap_or(DEFAULT_MODE),
            owner,
            backlog: draft.backlog.unwrap_or(DEFAULT_BACKLOG),
            reuse_port: draft.reuse_port.unwrap_or(false),
            remove_on_stop: draft.remove_on_stop.unwrap_or(false),
        })
    }

    /// What a lazy service cannot be besides.
    pub(super) fn check_lazy(&mut self, lazy: bool, kind: &Kind, timed: bool) {
        if lazy && timed {
            let message = "is started by traffic, and cannot wait for its [timer] as well";
            self.tell("lazy", message, "one of the two");
        }
        let once = matches!(kind, Kind::Oneshot(_));
        if lazy && once {
            let message = "has no meaning for a service of type `oneshot`";
            self.tell("lazy", message, "a service that stays");
        }
    }
}
