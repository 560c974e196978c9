//! Figures as others read them: printed, in a file and by HTTP, in both formats, through the parsers of
//! Prometheus' own library. Not here: which figures there are (tested beside the code), and a real
//! Prometheus that scrapes them (a boot).

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::process::Command;

use serde_json::json;

use crate::machine::{Machine, possible};

/// Reads `FORMAT` from the file `PATH`, or from `http://...` with the words of `ACCEPT`; prints the type of
/// what came by HTTP, and each family with its kind and the number of its samples.
const READ: &str = "\
import sys, urllib.request
from prometheus_client import parser
from prometheus_client.openmetrics import parser as openmetrics
form, path, accept = sys.argv[1:]
if path.startswith('http:'):
    headers = {'Accept': accept} if accept else {}
    answer = urllib.request.urlopen(urllib.request.Request(path, headers=headers), timeout=60)
    print(answer.headers['Content-Type'])
    text = answer.read().decode()
else:
    text = open(path).read()
read = {'openmetrics': openmetrics, 'prometheus': parser}[form]
for family in read.text_string_to_metric_families(text):
    print(family.name, family.type, family.unit, len(family.samples))
";

/// What a Prometheus of today sends.
const ACCEPT: &str = "application/openmetrics-text;version=1.0.0,\
                      application/openmetrics-text;version=0.0.1;q=0.75,text/plain;version=0.0.4;q=0.5,\
                      */*;q=0.1";

fn read(format: &str, from: &str, accept: &str) -> String {
    let mut python = Command::new("/usr/bin/python3");
    let done = python.args(["-c", READ, format, from, accept]).output();
    let done = done.unwrap();
    let said = String::from_utf8_lossy(&done.stderr).into_owned();
    assert!(done.status.success(), "{format} {from}: {said}");
    String::from_utf8(done.stdout).unwrap()
}

#[test]
fn the_library_of_prometheus_reads_every_figure() {
    let mut library = Command::new("/usr/bin/python3");
    let library = library.args(["-c", "import prometheus_client"]).output();
    if !possible() {
        return;
    }
    if !library.is_ok_and(|it| it.status.success()) {
        eprintln!(
            "NOT TESTED: no prometheus_client for /usr/bin/python3 (python3-prometheus-client)"
        );
        return;
    }
    // Somebody else may take it in between, and then the service says so and the test fails.
    let free = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = free.local_addr().unwrap().to_string();
    drop(free);
    let sharkctl = env!("CARGO_BIN_EXE_sharkctl");
    let serve = format!(
        "exec = \"{sharkctl} metrics --serve\"\nlazy = true\nsockets.http.listen = \"tcp:{address}\"\n\
         env = {{ SHARK_RUNTIME_DIR = \"@DIR@/run\" }}\n"
    );
    let keep = format!(
        "type = \"oneshot\"\nexec = \"{sharkctl} metrics --format prometheus --output @DIR@/out/shark.prom\"\n\
         env = {{ SHARK_RUNTIME_DIR = \"@DIR@/run\" }}\nafter = [\"web\", \"bad\"]\n"
    );
    let machine = Machine::boot(&[
        ("web.toml", "exec = \"/bin/sleep 1000\"\n"),
        (
            "bad.toml",
            "exec = \"/bin/false\"\nrestart.policy = \"never\"\n",
        ),
        ("serve.toml", &serve),
        ("keep.toml", &keep),
    ]);
    machine.call("WaitBoot", json!({})).unwrap();

    let text = machine.path("out/text");
    let mut print = Command::new(sharkctl);
    print.arg("--socket").arg(machine.path("run/io.shark.Init"));
    let printed = print.arg("metrics").output().unwrap();
    assert!(printed.status.success(), "{printed:?}");
    fs::write(&text, printed.stdout).unwrap();
    let families = read("openmetrics", &text.display().to_string(), "");
    for family in [
        "shark_loop_turn_seconds histogram seconds ",
        "shark_events counter  1\n",
        "shark_service_up gauge  5\n",
        "shark_service_failed gauge  5\n",
        "shark_service_cpu_seconds counter seconds ",
        "shark_service_read_bytes counter bytes ",
    ] {
        assert!(families.contains(family), "{family}: {families}");
    }
    let file = machine.path("out/shark.prom").display().to_string();
    let kept = read("prometheus", &file, "");
    assert!(kept.contains("shark_service_up gauge  5\n"), "{kept}");

    machine.wait("the socket is there", || TcpStream::connect(&address).ok());
    let url = format!("http://{address}/metrics");
    let new = read("openmetrics", &url, ACCEPT);
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8\n";
    assert!(new.starts_with(kind), "{new}");
    // One family after the other, and the same ones whoever asks.
    let names = |text: &str| -> Vec<String> {
        let lines = text.lines().filter(|it| it.starts_with("shark_"));
        let names = lines.filter_map(|it| it.split(' ').next());
        names.map(str::to_owned).collect()
    };
    assert_eq!(names(&new), names(&families));
    let plain = "text/plain; version=0.0.4; charset=utf-8\n";
    for accept in ["", "text/plain;version=0.0.4,*/*;q=0.1"] {
        let old = read("prometheus", &url, accept);
        assert!(old.starts_with(plain), "{old}");
        assert_eq!(names(&old), names(&kept));
    }
}
