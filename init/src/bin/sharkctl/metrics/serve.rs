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
    let accepts = lines.any(|line| {
        let (name, value) = line.split_once(':').unwrap_or((line, ""));
        name.eq_ignore_ascii_case("accept") && value.contains("application/openmetrics-text")
    });
    Ok(match accepts {
        true => Format::Openmetrics,
        false => Format::Prometheus,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_accepts_openmetrics_has_it_and_who_asks_for_else_is_told() {
        let new = "GET /metrics HTTP/1.1\r\nHost: a\r\naccept: application/openmetrics-text; version=1.0.0,*/*\r\n\r\n";
        assert_eq!(wanted(new), Ok(Format::Openmetrics));
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
