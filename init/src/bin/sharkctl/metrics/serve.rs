//! Answers a monitoring system by HTTP, one request after the other, on a socket that init has passed
//! (sd_listen_fds(3)): as a service of its own, with what rights and limits its file gives it. Ends when
//! nobody has asked for a while, and is started by the next who does. Not here: the figures.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::os::fd::RawFd;
use std::time::Duration;

use kernel::epoll::{Events, Poller, Readiness};

use super::Figures;
use super::text::Format;
use crate::Context;
use crate::failure::Failure;
use crate::screen::Screen;

/// The first descriptor that is passed.
const FIRST: RawFd = 3;
/// Nobody has asked for so long: the end.
const IDLE: Duration = Duration::from_secs(60);
/// How long somebody may take to ask, and to read.
const PATIENCE: Duration = Duration::from_secs(5);
/// Most bytes of a request that are read.
const REQUEST_MAX: usize = 8 << 10;

/// `metrics --serve`.
pub(super) fn serve(context: &Context, screen: &mut Screen<'_>) -> Result<(), Failure> {
    let listener = passed()?;
    let failed = |error: kernel::Error| Failure::Failed(error.to_string());
    let poller = Poller::new().map_err(failed)?;
    poller.add(&listener, 0, Readiness::READ).map_err(failed)?;
    let mut events = Events::new();
    loop {
        poller.wait(&mut events, Some(IDLE)).map_err(failed)?;
        if events.iter().next().is_none() {
            return Ok(());
        }
        match listener.accept() {
            // Who goes away while being answered is no failure of ours.
            Ok((stream, _)) => drop(answer(context, screen, stream)),
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(error) => return Err(Failure::Failed(format!("accept: {error}"))),
        }
    }
}

/// The socket, if there is exactly one and it is for this process.
fn passed() -> Result<TcpListener, Failure> {
    let variable = |name: &str| std::env::var(name).ok();
    let own = variable("LISTEN_PID").is_some_and(|it| it == std::process::id().to_string());
    if !own || variable("LISTEN_FDS").as_deref() != Some("1") {
        return Err(Failure::Usage(
            "--serve expects one listening socket from init: a service with `[sockets]` and \
             `listen = \"tcp:127.0.0.1:9101\"`"
                .to_owned(),
        ));
    }
    let fd = kernel::inherited::duplicate(FIRST);
    let listener = TcpListener::from(fd.map_err(|error| Failure::Failed(error.to_string()))?);
    let set = listener.set_nonblocking(true);
    set.map_err(|error| Failure::Failed(format!("the socket that was passed: {error}")))?;
    Ok(listener)
}

fn answer(
    context: &Context,
    screen: &mut Screen<'_>,
    mut stream: TcpStream,
) -> Result<(), std::io::Error> {
    stream.set_nonblocking(false)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let request = read(&mut stream)?;
    let (status, kind, body) = match wanted(&request) {
        Ok(format) => match Figures::ask(context, screen) {
            Ok(figures) => ("200 OK", format.content_type(), figures.text(format)),
            Err(failure) => (
                "503 Service Unavailable",
                "text/plain",
                format!("{failure}\n"),
            ),
        },
        Err((status, why)) => (status, "text/plain", format!("{why}\n")),
    };
    let length = body.len();
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n"
    );
    stream.write_all(head.as_bytes())?;
    stream.write_all(body.as_bytes())
}

/// The head of a request, or what has come of it.
fn read(stream: &mut TcpStream) -> Result<String, std::io::Error> {
    let mut bytes = Vec::new();
    let mut buffer = [0; 1024];
    while bytes.len() < REQUEST_MAX && !bytes.windows(4).any(|it| it == b"\r\n\r\n") {
        match stream.read(&mut buffer)? {
            0 => break,
            count => bytes.extend_from_slice(buffer.get(..count).unwrap_or_default()),
        }
    }
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// The format that a request for the figures wants; else the status, and why.
fn wanted(request: &str) -> Result<Format, (&'static str, &'static str)> {
    let mut lines = request.lines();
    let mut words = lines.next().unwrap_or_default().split_whitespace();
    match (words.next(), words.next()) {
        (Some("GET"), Some(path)) if path.split('?').next() == Some("/metrics") => {}
        (Some("GET"), Some(_)) => return Err(("404 Not Found", "there is /metrics alone")),
        (Some(_), Some(_)) => return Err(("405 Method Not Allowed", "GET /metrics")),
        (_, None) | (None, _) => return Err(("400 Bad Request", "expected GET /metrics")),
    }
    let accepted = lines
        .take_while(|line| !line.is_empty())
        .filter_map(|line| line.split_once(':'))
        .filter(|(name, _)| name.eq_ignore_ascii_case("accept"))
        .flat_map(|(_, value)| value.split(','));
    let (mut new, mut old) = (0.0_f32, 0.0_f32);
    for range in accepted {
        match offered(range) {
            (Some(Format::Openmetrics), weight) => new = new.max(weight),
            (Some(Format::Prometheus), weight) => old = old.max(weight),
            (None, _) => {}
        }
    }
    Ok(match new > 0.0 && new >= old {
        true => Format::Openmetrics,
        false => Format::Prometheus,
    })
}

/// The format that one range of media means, and how much it is wanted. Who would take anything gets the
/// older one, unless he names the newer one as well.
fn offered(range: &str) -> (Option<Format>, f32) {
    let mut parts = range.split(';').map(str::trim);
    let kind = parts.next().unwrap_or_default().to_ascii_lowercase();
    let (mut weight, mut fits) = (1.0, true);
    for (name, value) in parts.filter_map(|it| it.split_once('=')) {
        match name.trim() {
            "q" | "Q" => weight = value.trim().parse().unwrap_or(0.0),
            "version" => fits = matches!(value.trim(), "1.0.0" | "0.0.1"),
            _ => {}
        }
    }
    let format = match kind.as_str() {
        "application/openmetrics-text" if fits => Some(Format::Openmetrics),
        "text/plain" => Some(Format::Prometheus),
        _ => None,
    };
    (format, weight)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_accepts_openmetrics_has_it_and_who_asks_for_else_is_told() {
        let format = |accept: &str| {
            let head = format!("GET /metrics HTTP/1.1\r\nHost: a\r\naccept: {accept}\r\n\r\n");
            wanted(&head).unwrap()
        };
        // Each is what a version of Prometheus sends; the last is asked to prefer the older format.
        for new in [
            "application/openmetrics-text; version=1.0.0,*/*",
            "application/openmetrics-text; version=0.0.1,text/plain;version=0.0.4;q=0.5,*/*;q=0.1",
            "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,\
             text/plain;version=0.0.4;q=0.5,*/*;q=0.1",
            "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,\
             text/plain;version=1.0.0;escaping=allow-utf-8;q=0.5,*/*;q=0.2",
        ] {
            assert_eq!(format(new), Format::Openmetrics, "{new}");
        }
        for old in [
            "",
            "*/*",
            "text/plain",
            "application/openmetrics-text;q=0",
            "application/openmetrics-text;version=2.0.0,*/*;q=0.1",
            "text/plain;version=0.0.4;q=0.6,application/openmetrics-text;version=1.0.0;q=0.5,*/*;q=0.2",
        ] {
            assert_eq!(format(old), Format::Prometheus, "{old}");
        }
        let body = "GET /metrics HTTP/1.1\r\n\r\nAccept: application/openmetrics-text\r\n";
        assert_eq!(wanted(body), Ok(Format::Prometheus));
        assert_eq!(
            wanted("GET /metrics?x HTTP/1.0\r\n\r\n"),
            Ok(Format::Prometheus)
        );
        for (request, status) in [
            ("GET / HTTP/1.1\r\n\r\n", "404"),
            ("POST /metrics HTTP/1.1\r\n\r\n", "405"),
            ("\r\n", "400"),
            ("", "400"),
        ] {
            assert!(
                wanted(request).is_err_and(|it| it.0.starts_with(status)),
                "{request}"
            );
        }
    }
}
