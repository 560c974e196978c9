//! Sockets that are opened before their service runs: passed to it, kept over its restarts, and watched
//! for the first traffic of a lazy one.

use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};

use serde_json::json;

use crate::machine::{Machine, possible};

/// Set for a service that is this very test program: what it does with each of its sockets.
const SERVE: &str = "SHARK_TEST_SERVE";

/// Not a test when it runs as a service: then it is the server. In the test run it checks that the
/// server would find its words.
#[test]
fn server() {
    let Ok(what) = std::env::var(SERVE) else {
        assert!(service("stream", "").contains("sockets::server"));
        return;
    };
    let names = std::env::var("LISTEN_FDNAMES").unwrap();
    let pid = std::env::var("LISTEN_PID").unwrap();
    assert_eq!(pid, std::process::id().to_string());
    println!("names {names}");
    match what.as_str() {
        // Answers connections until it is killed.
        "stream" => loop {
            let listener = UnixListener::from(fd(3));
            let (mut stream, _) = listener.accept().unwrap();
            writeln!(stream, "{pid}").unwrap();
        },
        // Answers one and ends well.
        "once" => {
            let listener = TcpListener::from(fd(3));
            let (mut stream, _) = listener.accept().unwrap();
            writeln!(stream, "{pid}").unwrap();
        }
        // Takes one message of each of the four, in the order of their names.
        "messages" => {
            let mut buffer = [0; 64];
            let datagram = UnixDatagram::from(fd(3)).recv(&mut buffer).unwrap();
            println!("datagram {}", String::from_utf8_lossy(&buffer[..datagram]));
            let fifo = fs::File::from(fd(4)).read(&mut buffer).unwrap();
            println!("fifo {}", String::from_utf8_lossy(&buffer[..fifo]));
            let kind = kernel::listen::kind_of(fd(5)).unwrap();
            let (mut packets, _) = UnixListener::from(fd(5)).accept().unwrap();
            let packet = packets.read(&mut buffer).unwrap();
            let words = String::from_utf8_lossy(&buffer[..packet]).into_owned();
            println!("packets {kind:?} {words}");
            let datagram = UdpSocket::from(fd(6)).recv(&mut buffer).unwrap();
            println!("udp {}", String::from_utf8_lossy(&buffer[..datagram]));
            std::thread::sleep(std::time::Duration::from_secs(1000));
        }
        "stay" => std::thread::sleep(std::time::Duration::from_secs(1000)),
        // Leaves what waits there.
        "ignore" => {}
        "fail" => std::process::exit(7),
        other => panic!("{other}"),
    }
}

fn fd(number: i32) -> OwnedFd {
    kernel::inherited::duplicate(number).unwrap()
}

fn service(what: &str, more: &str) -> String {
    let program = std::env::current_exe().unwrap();
    format!(
        "exec = [\"{}\", \"--exact\", \"sockets::server\", \"--nocapture\"]\n\
         env = {{ {SERVE} = \"{what}\" }}\n{more}\n",
        program.display(),
    )
}

/// A port of the loopback device that was free a moment ago.
fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

/// The same of UDP.
fn free_udp_port() -> u16 {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.local_addr().unwrap().port()
}

/// Sends `words` to a port of the loopback device.
fn send_udp(words: &[u8], port: u16) {
    let client = UdpSocket::bind("127.0.0.1:0").unwrap();
    client.send_to(words, ("127.0.0.1", port)).unwrap();
}

fn line(mut stream: impl Read) -> String {
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    text.trim().to_owned()
}

#[test]
fn the_first_connection_starts_a_lazy_service_and_the_next_one_does_again() {
    if !possible() {
        return;
    }
    let port = free_port();
    let sockets = format!("lazy = true\n[sockets.http]\nlisten = \"tcp:127.0.0.1:{port}\"\n");
    let machine = Machine::boot(&[("web.toml", &service("once", &sockets))]);
    machine.call("WaitBoot", json!({})).unwrap();
    machine.wait_state("web", "listening");
    assert_eq!(machine.pid("web"), None, "nothing of it runs");
    let first = line(TcpStream::connect(("127.0.0.1", port)).unwrap());
    machine.wait_state("web", "listening");
    let second = line(TcpStream::connect(("127.0.0.1", port)).unwrap());
    assert!(
        !first.is_empty() && !second.is_empty() && first != second,
        "{first} {second}"
    );
    machine.on("Stop", "web").unwrap();
    TcpStream::connect(("127.0.0.1", port)).unwrap_err();
    // And again, by hand: it runs, with nobody there.
    machine.on("Start", "web").unwrap();
    assert!(machine.pid("web").is_some());
}

#[test]
fn a_connection_that_comes_during_a_restart_is_not_lost() {
    if !possible() {
        return;
    }
    let sockets = "stop.timeout = \"10s\"\n[sockets.local]\nlisten = \"unix:@DIR@/out/dir/s\"\n\
                   mode = \"0600\"\n";
    let machine = Machine::boot(&[("web.toml", &service("stream", sockets))]);
    machine.call("WaitBoot", json!({})).unwrap();
    let path = machine.path("out/dir/s");
    let before = line(UnixStream::connect(&path).unwrap());
    // Stopped by a signal it cannot answer connections, and is replaced only after that.
    let pid = machine.pid("web").unwrap();
    machine.kill("STOP", pid);
    // Every thread of it: one that has not stopped could still accept, and answer nothing.
    let threads = format!("/proc/{}/task", machine.host_pid_of(pid));
    machine.wait("it has stopped", || {
        let stopped = |entry: std::io::Result<fs::DirEntry>| {
            let text = fs::read_to_string(entry.ok()?.path().join("stat")).ok()?;
            let (_, rest) = text.rsplit_once(") ")?;
            Some(rest.starts_with('T'))
        };
        let all = fs::read_dir(&threads).ok()?.map(stopped);
        all.into_iter().all(|it| it == Some(true)).then_some(())
    });
    let waiting: Vec<UnixStream> = (0..5)
        .map(|_| UnixStream::connect(&path).unwrap())
        .collect();
    machine.kill("KILL", pid);
    for stream in waiting {
        let after = line(stream);
        assert!(!after.is_empty(), "it was lost");
        assert_ne!(after, before, "the successor answers");
    }
    // The same over a restart by request and a reload that changes something else.
    machine.write_service(
        "web.toml",
        &service("stream", &format!("nice = 1\n{sockets}")),
    );
    machine.call("ReloadAll", json!({})).unwrap();
    machine.on("Restart", "web").unwrap();
    let again = line(UnixStream::connect(&path).unwrap());
    assert_ne!(again, before);
    machine.on("Stop", "web").unwrap();
    UnixStream::connect(&path).unwrap_err();
    assert!(path.exists(), "it stays in the file system");
}

#[test]
fn datagrams_a_fifo_and_packets_are_found_in_the_order_of_their_names() {
    if !possible() {
        return;
    }
    let port = free_udp_port();
    let sockets = format!(
        "lazy = true\n\
         [sockets.a]\nlisten = \"unix-dgram:@DIR@/out/a\"\nremove-on-stop = true\n\
         [sockets.b]\nlisten = \"fifo:@DIR@/out/b\"\n\
         [sockets.c]\nlisten = \"unix-seqpacket:@DIR@/out/c\"\n\
         [sockets.d]\nlisten = \"udp:127.0.0.1:{port}\"\n"
    );
    let machine = Machine::boot(&[("sink.toml", &service("messages", &sockets))]);
    machine.call("WaitBoot", json!({})).unwrap();
    machine.wait_state("sink", "listening");
    fs::write(machine.path("out/b"), "through the pipe").unwrap();
    machine.wait_state("sink", "up");
    let client = UnixDatagram::unbound().unwrap();
    client
        .send_to(b"in one piece", machine.path("out/a"))
        .unwrap();
    let path = machine.path("out/c").display().to_string();
    let packets = kernel::unix::connect_any(&path).unwrap();
    fs::File::from(packets).write_all(b"in a packet").unwrap();
    send_udp(b"over the network", port);
    machine.wait("it has received all", || {
        let log = machine.log("sink");
        let all = [
            "names a:b:c:d",
            "datagram in one piece",
            "fifo through the pipe",
            "packets Some(Seqpacket) in a packet",
            "udp over the network",
        ];
        all.iter().all(|it| log.contains(it)).then_some(())
    });
    machine.on("Stop", "sink").unwrap();
    let left = ["a", "b", "c"].map(|it| machine.path("out").join(it).exists());
    assert_eq!(left, [false, true, true]);
}

#[test]
fn each_kind_of_traffic_starts_a_lazy_service() {
    if !possible() {
        return;
    }
    let port = free_udp_port();
    let stay = |listen: &str| {
        let socket = format!("lazy = true\n[sockets.s]\nlisten = \"{listen}\"\n");
        service("stay", &socket)
    };
    let machine = Machine::boot(&[
        ("local.toml", &stay("unix:@DIR@/out/local")),
        ("datagram.toml", &stay("unix-dgram:@DIR@/out/datagram")),
        ("packets.toml", &stay("unix-seqpacket:@DIR@/out/packets")),
        ("udp.toml", &stay(&format!("udp:127.0.0.1:{port}"))),
    ]);
    machine.call("WaitBoot", json!({})).unwrap();
    let names = ["local", "datagram", "packets", "udp"];
    assert_eq!(names.map(|name| machine.state(name)), ["listening"; 4]);
    let path = |name: &str| machine.path("out").join(name).display().to_string();
    let _local = kernel::unix::connect_any(&path("local")).unwrap();
    let client = UnixDatagram::unbound().unwrap();
    client.send_to(b"x", path("datagram")).unwrap();
    let _packets = kernel::unix::connect_any(&path("packets")).unwrap();
    send_udp(b"x", port);
    for name in names {
        machine.wait_state(name, "up");
        assert!(machine.pid(name).is_some());
    }
}

#[test]
fn traffic_that_nobody_takes_is_no_hot_loop() {
    if !possible() {
        return;
    }
    let sockets = |name: &str, more: &str| {
        format!(
            "lazy = true\nrestart.delay = \"300ms\"\n{more}\n\
             [sockets.s]\nlisten = \"unix:@DIR@/out/{name}\"\n"
        )
    };
    let ignoring = service("ignore", &sockets("ignoring", ""));
    let failing = service("fail", &sockets("failing", "restart.max-failures = 2"));
    let machine = Machine::boot(&[("ignoring.toml", &ignoring), ("failing.toml", &failing)]);
    machine.call("WaitBoot", json!({})).unwrap();
    let begun = std::time::Instant::now();
    let _waits = UnixStream::connect(machine.path("out/ignoring")).unwrap();
    let _waits_too = UnixStream::connect(machine.path("out/failing")).unwrap();
    machine.wait_state("failing", "failed");
    // A program that PID 1 has just started holds all descriptors until the kernel has closed them for
    // it, which may be a moment after PID 1 goes on.
    machine.wait("nobody listens any longer", || {
        UnixStream::connect(machine.path("out/failing")).err()
    });
    machine.wait("it has been started three times", || {
        (machine.log("ignoring").matches("names s").count() >= 3).then_some(())
    });
    assert!(
        begun.elapsed().as_millis() >= 600,
        "with two pauses between"
    );
    machine.on("Stop", "ignoring").unwrap();
}

#[test]
fn an_address_that_is_taken_fails_the_start_and_is_named() {
    if !possible() {
        return;
    }
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let sockets =
        format!("restart.delay = \"100ms\"\n[sockets.http]\nlisten = \"tcp:{address}\"\n");
    let machine = Machine::boot(&[("web.toml", &service("once", &sockets))]);
    machine.wait("the cause is told", || {
        let words = format!("socket http: bind {address}: ");
        machine.console().contains(&words).then_some(())
    });
    drop(taken);
    machine.wait_state("web", "up");
}
