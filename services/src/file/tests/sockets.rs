//! `[sockets.NAME]` and `lazy`.

use super::*;
use crate::definition::{Listen, Socket};

/// Every key of both.
pub(super) const SOCKETS: &str = "
exec = '/a'
lazy = true
sockets = { local = { listen = 'unix:/run/a', mode = '0660', user = 'www', group = 'adm', \
           backlog = 5, remove-on-stop = true }, http = { listen = 'tcp:[::]:80', reuse-port = true } }
";

fn socket(name: &str, listen: Listen) -> Socket {
    Socket {
        name: name.to_owned(),
        listen,
        mode: 0o666,
        owner: None,
        backlog: 4096,
        reuse_port: false,
        remove_on_stop: false,
    }
}

#[test]
fn every_key_of_a_socket_arrives_and_they_are_in_the_order_of_their_names() {
    let a = service(&[("/v/a.toml", SOCKETS)]);
    let owner = Account {
        user: "www".to_owned(),
        group: Some("adm".to_owned()),
        ids: None,
    };
    let http = Socket {
        reuse_port: true,
        ..socket("http", Listen::Tcp("[::]:80".parse().unwrap()))
    };
    let local = Socket {
        mode: 0o660,
        owner: Some(owner),
        backlog: 5,
        remove_on_stop: true,
        ..socket("local", Listen::Unix("/run/a".to_owned()))
    };
    assert_eq!(a.sockets, [http, local]);
    assert!(a.lazy);
}

#[test]
fn a_drop_in_replaces_a_socket_as_a_whole_and_leaves_the_others() {
    let base = "exec = '/a'\n[sockets.a]\nlisten = 'udp:127.0.0.1:53'\nreuse-port = true\n\
                [sockets.b]\nlisten = 'fifo:/run/f'\n";
    let over =
        "[sockets.a]\nlisten = 'unix-dgram:/run/d'\n[sockets.c]\nlisten = 'unix-seqpacket:/s'\n";
    let a = service(&[("/v/a.toml", base), ("/e/a.toml.d/x.toml", over)]);
    let expect = [
        socket("a", Listen::UnixDatagram("/run/d".to_owned())),
        socket("b", Listen::Fifo("/run/f".to_owned())),
        socket("c", Listen::UnixSeqpacket("/s".to_owned())),
    ];
    assert_eq!(a.sockets, expect);
    assert!(!a.lazy);
}

#[test]
fn mistakes_of_sockets_are_told_at_their_place() {
    let told = |text: &str, words: &str| {
        let source = Source {
            path: "/v/a.toml".to_owned(),
            layer: 0,
            text: format!("exec = '/a'\n{text}\n"),
        };
        let told = load(&[source], None).diagnostics;
        let told: Vec<String> = told.iter().map(ToString::to_string).collect();
        assert!(told.join("\n").contains(words), "{text}: {told:?}");
    };
    let one = |rest: &str| format!("[sockets.a]\n{rest}");
    told("sockets = 'tcp:80'", "a table for each socket");
    told("[sockets]\na = 'tcp:80'", "a table such as [sockets.a]");
    told(&one("mode = '0600'"), "sockets.a.listen");
    told(&one("listen = 'tcp:80'"), "no address with a port");
    told(
        &one("listen = 'tcp:localhost:80'"),
        "names are not looked up",
    );
    told(&one("listen = '80'"), "has no `:`");
    told(&one("listen = 'vsock:1:2'"), "unknown kind `vsock`");
    told(&one("listen = 'unix:run/x'"), "does not start with `/`");
    told(
        &one(&format!("listen = 'unix:/{}'", "x".repeat(107))),
        "more than 107 bytes",
    );
    told(&one("listn = 'unix:/x'"), "listen");
    told(
        &one("listen = 'tcp:[::]:80'\nmode = '0600'"),
        "no meaning for a socket of the network",
    );
    told(
        &one("listen = 'unix:/x'\nreuse-port = true"),
        "no meaning for what lies in the file system",
    );
    told(
        "[sockets.'a:b']\nlisten = 'unix:/x'",
        "not a name of a socket",
    );
    told("lazy = true", "there is none");
    told(
        "lazy = true\ntype = 'oneshot'\n[sockets.a]\nlisten = 'unix:/x'",
        "no meaning for a service of type `oneshot`",
    );
    told(
        "lazy = true\n[sockets.a]\nlisten = 'unix:/x'\n[timer]\nevery = '1h'",
        "cannot wait for its [timer] as well",
    );
    let many: String = (0..17)
        .map(|it| format!("[sockets.s{it:02}]\nlisten = 'unix:/{it}'\n"))
        .collect();
    told(&many, "sockets.s16");
}
