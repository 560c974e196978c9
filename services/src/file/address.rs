//! Addresses in a service file: `HOST:PORT` in numbers, and URLs. Nobody is asked for a name: a name
//! server that is down must not keep a service from being found ready. Not here: connecting.

use core::net::{IpAddr, Ipv4Addr, SocketAddr};

/// What a TCP address is, for people.
pub(super) const ADDRESS: &str =
    "an address in numbers such as \"127.0.0.1:80\", \"[::1]:80\" or, for this machine, \":80\"";
/// What a URL is, for people.
pub(super) const URL: &str = "a URL such as \"http://127.0.0.1:8080/health\"";
/// Port of a URL that names none.
const HTTP_PORT: u16 = 80;
/// Longest URL, in characters.
const URL_MAX: usize = 1024;

/// Address and port, both in numbers; without the address, 127.0.0.1.
pub(super) fn tcp(text: &str) -> Result<SocketAddr, &'static str> {
    if let Ok(address) = text.parse::<SocketAddr>() {
        return match address.port() {
            0 => Err("has the port 0, at which nobody listens"),
            _ => Ok(address),
        };
    }
    let Some((host, port)) = text.rsplit_once(':') else {
        return Err("has no port");
    };
    let digits = !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
    if host.is_empty() && digits {
        let port = port.parse().ok().filter(|port| *port != 0);
        let port = port.ok_or("has a port that is not between 1 and 65535")?;
        return Ok(SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port));
    }
    Err(wrong(host, digits))
}

/// What is wrong with an address that cannot be read.
fn wrong(host: &str, digits: bool) -> &'static str {
    let colons = host.contains(':');
    let bracketed = host.starts_with('[') && host.ends_with(']');
    if colons && !bracketed {
        "has an address with colons that is not in brackets"
    } else if !digits {
        "has no number for a port"
    } else if host.parse::<IpAddr>().is_ok() || bracketed {
        "is not an address and a port"
    } else if host.contains(|c: char| c.is_ascii_alphabetic()) {
        "has a name in place of an address, and no name server is asked"
    } else {
        "has an address that is none"
    }
}

/// Server and path of a URL.
pub(super) fn url(text: &str) -> Result<(SocketAddr, String), &'static str> {
    if text.starts_with("https:") {
        return Err("is encrypted, which no probe speaks (`exec` can run a program that does)");
    }
    let rest = text
        .strip_prefix("http://")
        .ok_or("does not start with `http://`")?;
    if text.chars().count() > URL_MAX {
        return Err("is too long");
    }
    if !text.chars().all(|c| c.is_ascii_graphic()) {
        return Err("has a character that must be written as %XX");
    }
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (server, path) = rest.split_at(end);
    if server.contains('@') {
        return Err("has a user, which no probe sends");
    }
    if path.contains('#') {
        return Err("has a fragment (`#`), which no server is sent");
    }
    let path = match path.starts_with('/') {
        true => path.to_owned(),
        false => format!("/{path}"),
    };
    let without_port = server.parse::<Ipv4Addr>().is_ok() || server.ends_with(']');
    let address = match without_port {
        true => tcp(&format!("{server}:{HTTP_PORT}"))?,
        false => tcp(server)?,
    };
    Ok((address, path))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expect: Result<&str, &str>) {
        let read = tcp(text).map(|it| it.to_string());
        assert_eq!(read.as_deref(), expect.as_ref().map(|it| *it), "{text:?}");
    }

    fn check_url(text: &str, expect: Result<(&str, &str), &str>) {
        let expect = expect.map(|(server, path)| (server.parse().unwrap(), path.to_owned()));
        assert_eq!(url(text), expect, "{text:?}");
    }

    #[test]
    fn addresses_are_numbers() {
        check("127.0.0.1:80", Ok("127.0.0.1:80"));
        check("[::1]:65535", Ok("[::1]:65535"));
        check("[fe80::1%2]:80", Ok("[fe80::1%2]:80"));
        check(":8080", Ok("127.0.0.1:8080"));
        let name = "has a name in place of an address, and no name server is asked";
        check("localhost:80", Err(name));
        check("a.b-c:80", Err(name));
        check("", Err("has no port"));
        check("127.0.0.1", Err("has no port"));
        check(
            "127.0.0.1:0",
            Err("has the port 0, at which nobody listens"),
        );
        let range = "has a port that is not between 1 and 65535";
        check(":0", Err(range));
        check(":65536", Err(range));
        check("127.0.0.1:65536", Err("is not an address and a port"));
        check("127.0.0.1:http", Err("has no number for a port"));
        check(":", Err("has no number for a port"));
        check(":-1", Err("has no number for a port"));
        let brackets = "has an address with colons that is not in brackets";
        check("::1:80", Err(brackets));
        check("fe80::1%eth0:80", Err(brackets));
        check("[::x]:80", Err("is not an address and a port"));
        check("127.1:80", Err("has an address that is none"));
        check("127.0.0.1 :80", Err("has an address that is none"));
    }

    #[test]
    fn urls_are_servers_and_paths() {
        check_url("http://127.0.0.1:81/a?b=c", Ok(("127.0.0.1:81", "/a?b=c")));
        check_url("http://127.0.0.1", Ok(("127.0.0.1:80", "/")));
        check_url("http://127.0.0.1/x", Ok(("127.0.0.1:80", "/x")));
        check_url("http://[::1]/x", Ok(("[::1]:80", "/x")));
        check_url("http://[::1]:8080", Ok(("[::1]:8080", "/")));
        check_url("http://:8080?x", Ok(("127.0.0.1:8080", "/?x")));
        let scheme = "does not start with `http://`";
        check_url("127.0.0.1:80/x", Err(scheme));
        check_url("HTTP://127.0.0.1", Err(scheme));
        check_url(
            "https://127.0.0.1/",
            Err("is encrypted, which no probe speaks (`exec` can run a program that does)"),
        );
        check_url(
            "http://localhost:80/",
            Err("has a name in place of an address, and no name server is asked"),
        );
        check_url("http://localhost/", Err("has no port"));
        check_url("http://", Err("has no port"));
        check_url(
            "http://a@127.0.0.1/",
            Err("has a user, which no probe sends"),
        );
        check_url(
            "http://127.0.0.1/#top",
            Err("has a fragment (`#`), which no server is sent"),
        );
        let character = "has a character that must be written as %XX";
        check_url("http://127.0.0.1/a b", Err(character));
        check_url("http://127.0.0.1/\r\nX: y", Err(character));
        check_url("http://127.0.0.1/ä", Err(character));
        let long = format!("http://127.0.0.1/{}", "a".repeat(URL_MAX));
        check_url(&long, Err("is too long"));
    }

    proptest::proptest! {
        #[test]
        fn no_text_panics(text in ".{0,40}") {
            let _ = tcp(&text);
            let _ = url(&format!("http://{text}"));
        }

        #[test]
        fn addresses_are_read_back(address: SocketAddr) {
            // As text: that has no flow label.
            let text = address.to_string();
            let read = tcp(&text).map(|it| it.to_string());
            proptest::prop_assert!(address.port() == 0 || read == Ok(text));
        }
    }
}
