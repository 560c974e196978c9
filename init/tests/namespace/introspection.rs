//! What the control socket tells of itself to a Varlink client that knows nothing of it.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;

use serde_json::{Value, json};

use crate::machine::{Machine, possible};

const METHODS: [&str; 10] = [
    "List",
    "Status",
    "Start",
    "Stop",
    "Restart",
    "ReloadService",
    "ReloadAll",
    "Boot",
    "WaitBoot",
    "Shutdown",
];

/// Sends the bytes and reads as many messages as are expected, each up to its NUL, on one
/// connection.
fn exchange(machine: &Machine, bytes: &[u8], replies: usize) -> Vec<Value> {
    let mut stream = UnixStream::connect(machine.path("run/io.shark.Init")).unwrap();
    let patience = std::time::Duration::from_secs(30);
    stream.set_read_timeout(Some(patience)).unwrap();
    stream.write_all(bytes).unwrap();
    let mut read = Vec::new();
    let mut chunk = [0; 4096];
    while read.iter().filter(|byte| **byte == 0).count() < replies {
        let count = match stream.read(&mut chunk) {
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
            read => read.unwrap(),
        };
        assert!(count > 0, "closed after {}", String::from_utf8_lossy(&read));
        read.extend_from_slice(&chunk[..count]);
    }
    assert_eq!(read.pop(), Some(0), "nothing follows the last reply");
    read.split(|byte| *byte == 0)
        .map(|message| serde_json::from_slice(message).unwrap())
        .collect()
}

fn ask(machine: &Machine, call: &str) -> Value {
    exchange(machine, format!("{call}\0").as_bytes(), 1).remove(0)
}

#[test]
fn the_socket_describes_itself() {
    if !possible() {
        return;
    }
    let machine = Machine::boot(&[]);
    // Two calls in one write are answered in their order.
    let calls = b"{\"method\":\"org.varlink.service.GetInfo\"}\0\
        {\"method\":\"org.varlink.service.GetInterfaceDescription\",\
        \"parameters\":{\"interface\":\"io.shark.Init\"}}\0";
    let replies = exchange(&machine, calls, 2);
    let info = &replies[0]["parameters"];
    let interfaces = json!(["org.varlink.service", "io.shark.Init"]);
    assert_eq!(info["interfaces"], interfaces);
    assert_eq!(info["version"], env!("CARGO_PKG_VERSION"));
    for field in ["vendor", "product", "url"] {
        assert!(info[field].as_str().is_some_and(|it| !it.is_empty()));
    }
    let description = replies[1]["parameters"]["description"].as_str().unwrap();
    let words = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(
        description
            .lines()
            .any(|line| words(line) == "interface io.shark.Init"),
        "{description}"
    );
    for method in METHODS {
        let start = format!("method {method}(");
        assert!(description.contains(&start), "{method}: {description}");
    }
}

#[test]
fn what_is_unknown_is_answered_with_varlinks_own_errors() {
    if !possible() {
        return;
    }
    let machine = Machine::boot(&[]);
    let check = |call: &str, error: &str, parameters: Value| {
        let expect = json!({
            "error": format!("org.varlink.service.{error}"),
            "parameters": parameters,
        });
        assert_eq!(ask(&machine, call), expect, "{call}");
    };
    check(
        r#"{"method":"io.shark.Init.Dance"}"#,
        "MethodNotFound",
        json!({"method": "io.shark.Init.Dance"}),
    );
    check(
        r#"{"method":"org.varlink.service.Dance"}"#,
        "MethodNotFound",
        json!({"method": "org.varlink.service.Dance"}),
    );
    check(
        r#"{"method":"org.example.Ballroom.Dance"}"#,
        "InterfaceNotFound",
        json!({"interface": "org.example.Ballroom"}),
    );
    check(
        r#"{"method":"org.varlink.service.GetInterfaceDescription","parameters":{"interface":"org.example.Ballroom"}}"#,
        "InterfaceNotFound",
        json!({"interface": "org.example.Ballroom"}),
    );
    check(
        r#"{"method":"io.shark.Init.Status","parameters":{"nom":"a"}}"#,
        "InvalidParameter",
        json!({"parameter": "nom"}),
    );
}
