//! The probe child, `init probe KIND TARGET`: one attempt to reach a service, in its surroundings. Ends
//! with status 0 when that is good, or else leaves on stdout why it is not. Not here: when probes are
//! made and what their answers mean (`services::supervisor`), and commands of the services' own, which
//! are run without us.
//!
//! It has no time limit of its own: PID 1 kills it. What it waits for (a connection, an answer, a
//! filesystem on a network) is the reason why it is a process and no part of PID 1's loop.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::ExitCode;
use std::time::Duration;

use kernel::{Errno, Error};
use services::definition::Probe;

/// The part of this program that does it, as its first argument says it.
pub const PART: &str = "probe";
/// Bytes of an answer in which the status must have come: `HTTP/1.1 200`.
const STATUS_LINE: usize = 12;
/// Most bytes of a page that are read to its end: a server whose page is not read to the end may
/// take that for a failure of its own, and say so in its log.
const PAGE_MAX: u64 = 64 << 10;
/// Longest wait for the rest of a page, each time.
const PATIENCE: Duration = Duration::from_millis(100);

/// The arguments for a probe of this kind; `None`: it is a command and needs none of this.
#[must_use]
pub fn arguments(probe: &Probe) -> Option<Vec<String>> {
    let target = match probe {
        Probe::Exec(_) => return None,
        Probe::Tcp(address) => vec![address.to_string()],
        Probe::Unix(path) | Probe::Path(path) => vec![path.display().to_string()],
        Probe::Http { address, path } => vec![address.to_string(), path.clone()],
    };
    let head = [PART.to_owned(), probe.word().to_owned()];
    Some(head.into_iter().chain(target).collect())
}

/// The probe that such arguments, without the name of the part, ask for.
#[must_use]
pub fn parse(arguments: &[&str]) -> Option<Probe> {
    match arguments {
        ["tcp", address] => Some(Probe::Tcp(address.parse().ok()?)),
        ["unix", path] => Some(Probe::Unix(path.into())),
        ["http", address, path] => Some(Probe::Http {
            address: address.parse().ok()?,
            path: (*path).to_owned(),
        }),
        ["path", path] => Some(Probe::Path(path.into())),
        _ => None,
    }
}

/// Runs the child.
#[must_use]
pub fn run(probe: &Probe) -> ExitCode {
    let Err(words) = attempt(probe) else {
        return ExitCode::SUCCESS;
    };
    let mut stdout = std::io::stdout();
    // The status says that it is bad. A person who tries it by hand has no memfd that could be sealed.
    let _told = writeln!(stdout, "{words}").and_then(|()| stdout.flush());
    let _sealed = kernel::memfd::seal(&stdout);
    ExitCode::FAILURE
}

/// One attempt; what is bad, for people.
fn attempt(probe: &Probe) -> Result<(), String> {
    match probe {
        Probe::Exec(_) => Err("a command is run by itself".to_owned()),
        Probe::Tcp(address) => tcp(*address).map(drop),
        Probe::Unix(path) => kernel::unix::connect_any(&path.display().to_string())
            .map(drop)
            .map_err(|error| error.to_string()),
        Probe::Http { address, path } => http(*address, path),
        Probe::Path(path) => std::fs::metadata(path)
            .map(drop)
            .map_err(|error| told("find", &path.display(), &error)),
    }
}

fn told(operation: &'static str, object: &dyn std::fmt::Display, error: &std::io::Error) -> String {
    match error.raw_os_error() {
        Some(number) => Error::new(operation, object, Errno::from_raw_os_error(number)).to_string(),
        None => format!("{operation} {object}: {error}"),
    }
}

fn tcp(address: SocketAddr) -> Result<TcpStream, String> {
    TcpStream::connect(address).map_err(|error| told("connect", &address, &error))
}

fn http(address: SocketAddr, path: &str) -> Result<(), String> {
    let url = format!("http://{address}{path}");
    let mut stream = tcp(address)?;
    let request = format!(
        "GET {path} HTTP/1.1\r\nHost: {address}\r\nUser-Agent: Shark-init\r\nAccept: */*\r\n\
         Connection: close\r\n\r\n"
    );
    let failed = |error: std::io::Error| match error.kind() {
        ErrorKind::UnexpectedEof => format!("GET {url}: closed without an answer"),
        _ => told("GET", &url, &error),
    };
    stream.write_all(request.as_bytes()).map_err(failed)?;
    let mut line = [0; STATUS_LINE];
    stream.read_exact(&mut line).map_err(failed)?;
    let status = status(&line).ok_or_else(|| format!("GET {url}: the answer is not HTTP"))?;
    match status {
        200..=399 => {
            read_on(&mut stream);
            Ok(())
        }
        _ => {
            read_on(&mut stream);
            Err(format!("GET {url}: status {status}"))
        }
    }
}

/// The status in the first bytes of an answer.
fn status(line: &[u8]) -> Option<u16> {
    let line = std::str::from_utf8(line).ok()?;
    let (version, status) = line.split_once(' ')?;
    if !version.starts_with("HTTP/1.") {
        return None;
    }
    let digits = status.len() == 3 && status.bytes().all(|byte| byte.is_ascii_digit());
    status.parse().ok().filter(|_| digits)
}

/// Reads the rest of the page; that it has one is no matter.
fn read_on(stream: &mut TcpStream) {
    if stream.set_read_timeout(Some(PATIENCE)).is_ok() {
        let _rest = std::io::copy(&mut stream.take(PAGE_MAX), &mut std::io::sink());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;
    use std::os::unix::net::UnixListener;

    #[test]
    fn arguments_are_read_back() {
        let probes = [
            Probe::Tcp("[::1]:80".parse().unwrap()),
            Probe::Unix("/run/a b".into()),
            Probe::Http {
                address: "127.0.0.1:80".parse().unwrap(),
                path: "/x?y".to_owned(),
            },
            Probe::Path("/run/x".into()),
        ];
        for probe in probes {
            let words = arguments(&probe).unwrap();
            let words: Vec<&str> = words.iter().map(String::as_str).collect();
            assert_eq!(words[0], PART);
            assert_eq!(parse(&words[1..]), Some(probe));
        }
        assert_eq!(arguments(&Probe::Exec(vec!["/bin/true".to_owned()])), None);
        for bad in [&["tcp"] as &[&str], &["tcp", "localhost:80"], &["ftp", "x"]] {
            assert_eq!(parse(bad), None, "{bad:?}");
        }
    }

    /// Serves one request with `answer`; gives the address and, later, what was asked.
    fn serve(answer: &'static str) -> (SocketAddr, std::thread::JoinHandle<String>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let served = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut asked = [0; 1024];
            let count = stream.read(&mut asked).unwrap();
            stream.write_all(answer.as_bytes()).unwrap();
            String::from_utf8_lossy(&asked[..count]).into_owned()
        });
        (address, served)
    }

    fn ask(answer: &'static str) -> Result<(), String> {
        let (address, served) = serve(answer);
        let path = "/health?x".to_owned();
        let result = attempt(&Probe::Http { address, path });
        let asked = served.join().unwrap();
        assert!(asked.starts_with("GET /health?x HTTP/1.1\r\n"), "{asked}");
        assert!(
            asked.contains(&format!("\r\nHost: {address}\r\n")),
            "{asked}"
        );
        result.map_err(|words| words.replace(&address.to_string(), "A"))
    }

    #[test]
    fn a_page_is_good_by_its_status() {
        assert_eq!(ask("HTTP/1.1 200 OK\r\n\r\nhello"), Ok(()));
        assert_eq!(ask("HTTP/1.0 399 x\r\n\r\n"), Ok(()));
        let bad = |what: &str| Err(format!("GET http://A/health?x: {what}"));
        assert_eq!(ask("HTTP/1.1 503 Busy\r\n\r\n"), bad("status 503"));
        assert_eq!(ask("HTTP/1.1 199 x\r\n\r\n"), bad("status 199"));
        assert_eq!(ask("HTTP/1.1 400\r\n"), bad("status 400"));
        assert_eq!(ask("HTTP/1.1 2x0 OK\r\n"), bad("the answer is not HTTP"));
        assert_eq!(
            ask("220 mail.example ESMTP\r\n"),
            bad("the answer is not HTTP")
        );
        assert_eq!(ask("HTTP/1.1 "), bad("closed without an answer"));
        assert_eq!(ask(""), bad("closed without an answer"));
    }

    #[test]
    fn an_address_is_good_when_it_takes_connections() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        assert_eq!(attempt(&Probe::Tcp(address)), Ok(()));
        drop(listener);
        let refused = format!("connect {address}: Connection refused (ECONNREFUSED)");
        assert_eq!(attempt(&Probe::Tcp(address)), Err(refused));
    }

    #[test]
    fn a_local_socket_may_be_of_either_kind() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s");
        let probe = Probe::Unix(path.clone());
        let name = path.display();
        let missing = format!("connect {name}: No such file or directory (ENOENT)");
        assert_eq!(attempt(&probe), Err(missing));
        let listener = UnixListener::bind(&path).unwrap();
        assert_eq!(attempt(&probe), Ok(()));
        drop(listener);
        let refused = format!("connect {name}: Connection refused (ECONNREFUSED)");
        assert_eq!(attempt(&probe), Err(refused));
        std::fs::remove_file(&path).unwrap();
        let _datagrams = std::os::unix::net::UnixDatagram::bind(&path).unwrap();
        let wrong = format!("connect {name}: Protocol wrong type for socket (EPROTOTYPE)");
        assert_eq!(attempt(&probe), Err(wrong));
    }

    #[test]
    fn a_path_is_good_when_something_is_there() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x");
        let missing = format!(
            "find {}: No such file or directory (ENOENT)",
            path.display()
        );
        assert_eq!(attempt(&Probe::Path(path.clone())), Err(missing));
        std::fs::write(&path, "").unwrap();
        assert_eq!(attempt(&Probe::Path(path)), Ok(()));
    }
}
