//! Daemons of Debian's packages under service files that `sharkctl import` has made of their own units,
//! with no word changed: each comes up, does what it is for, and does so after a restart. One boot for
//! all of them: it is their start that takes long.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use machine::image::IMPORTED_VARIABLE;
use machine::scenario::{ANSWER, accel, ask, booted_within, until};
use machine::spec::{Disk, Spec};
use machine::{Image, Machine};

/// Keys of the secure shell are made, and each daemon is loaded for the first time.
const FIRST_START: Duration = Duration::from_secs(600);

/// A service, a question, and what is in the answer.
const DAEMONS: &[(&str, &str, &str)] = &[
    (
        "nginx",
        "wget -q -O - http://127.0.0.1:80/",
        "nginx answers",
    ),
    (
        "haproxy",
        "wget -q -O - http://127.0.0.1:8080/",
        "nginx answers",
    ),
    (
        "lighttpd",
        "wget -q -O - http://127.0.0.1:8081/",
        "lighttpd answers",
    ),
    ("redis-server", "redis-cli ping", "PONG"),
    (
        "mosquitto",
        "mosquitto_pub -t shark -m swims -r && mosquitto_sub -t shark -C 1 -W 20",
        "swims",
    ),
    (
        "prometheus-node-exporter",
        "wget -q -O - http://127.0.0.1:9100/metrics | grep node_uname_info",
        "node_uname_info",
    ),
    (
        "ssh",
        "ssh-keyscan -p 2222 127.0.0.1 2>&1",
        "SSH-2.0-OpenSSH",
    ),
    ("dnsmasq", "nslookup shark.test 127.0.0.1", "10.9.8.7"),
    (
        "rsyslog",
        "id=$(cat /proc/sys/kernel/random/uuid); logger $id; sleep 1; \
         grep -q $id /var/log/syslog && echo it swims",
        "it swims",
    ),
    ("haveged", "cat /proc/$(pidof haveged)/comm", "haveged"),
    ("vsftpd", "echo QUIT | nc -w 5 127.0.0.1 21", "220 "),
    ("uuidd", "uuidd -r && echo it swims", "it swims"),
    ("lldpd", "lldpcli show chassis", "Chassis"),
];

#[test]
fn imported_units_do_what_they_are_for() -> anyhow::Result<()> {
    let image = Image::named_by(IMPORTED_VARIABLE)?;
    let spec = Spec {
        memory: 1024,
        ..Spec::new(&image, accel(image.arch), Disk::Fresh(image.disk.clone()))
    };
    let mut machine = booted_within(&spec, FIRST_START)?;
    for (name, question, answer) in DAEMONS {
        answers(&mut machine, question, answer).with_context(|| (*name).to_owned())?;
        // Up when its program is executed is not yet ready, as it is with systemd.
        ask(&mut machine, &format!("sharkctl restart {name}"))
            .with_context(|| (*name).to_owned())?;
        answers(&mut machine, question, answer)
            .with_context(|| format!("{name} after a restart"))?;
        // Its exit status says that it is up.
        ask(&mut machine, &format!("sharkctl status {name}"))?;
    }
    let status = machine.power_off(ANSWER)?;
    ensure!(status.success(), "QEMU ended with {status}");
    Ok(())
}

fn answers(machine: &mut Machine, question: &str, answer: &str) -> anyhow::Result<()> {
    until(machine, question, |output| output.text().contains(answer)).map(drop)
}
