//! Situations that operators meet, each broken in another way, and what `sharkctl why` must say of it. Not
//! here: who boots the machine, and what becomes of the captures (`tests/why.rs`, xtask's `captures`).

use anyhow::ensure;

use crate::machine::Machine;
use crate::scenario::{ask, tell, until};

/// Lines of a screen.
const SCREEN: usize = 24;

/// One of them.
#[derive(Clone, Copy, Debug)]
pub struct Situation {
    /// What it is called in the table of captures.
    pub title: &'static str,
    /// The service that somebody asks about.
    pub service: &'static str,
    /// Names and texts of the service files that make it.
    pub files: &'static [(&'static str, &'static str)],
    /// What the operator did last.
    pub did: &'static str,
    /// The true cause, in the words that must be on the screen.
    pub cause: &'static [&'static str],
    /// What `sharkctl why` ends with: 6, where init knows of no such service because it refused its file.
    pub status: u8,
}

macro_rules! file {
    ($name:literal) => {
        ($name, include_str!(concat!("../broken/", $name, ".toml")))
    };
}

/// A service that its init knows, started by hand.
const fn started(
    title: &'static str,
    service: &'static str,
    files: &'static [(&'static str, &'static str)],
    did: &'static str,
    cause: &'static [&'static str],
) -> Situation {
    Situation {
        title,
        service,
        files,
        did,
        cause,
        status: 0,
    }
}

/// All of them.
pub const SITUATIONS: &[Situation] = &[
    started(
        "It waits for a device",
        "gps",
        &[file!("gps"), file!("gps-device")],
        "sharkctl start --timeout 1 gps",
        &["gps requires gps-device", "find /dev/ttyACM0"],
    ),
    started(
        "What it requires has failed, by something further down",
        "web",
        &[file!("web"), file!("api"), file!("db")],
        "sharkctl start web",
        &[
            "web requires api",
            "api requires db",
            "exited with status 3",
            "opening /var/lib/db",
        ],
    ),
    started(
        "Memory ran out",
        "indexer",
        &[file!("indexer")],
        "sharkctl start indexer",
        &["killed because memory ran out", "cgroup.memory-max"],
    ),
    started(
        "It did not start in time",
        "import",
        &[file!("import")],
        "sharkctl start import",
        &["it was not ready within 2s", "record 1 of 70000"],
    ),
    started(
        "It is masked",
        "telemetry",
        &[file!("telemetry")],
        "sharkctl mask --now telemetry",
        &["masked by /etc/shark/services/telemetry.toml.d/"],
    ),
    started(
        "A condition does not hold",
        "provision",
        &[file!("provision")],
        "sharkctl start provision",
        &["skipped", "path-exists /run/stick/provision.toml"],
    ),
    started(
        "It was started too often",
        "flapping",
        &[file!("flapping")],
        "sharkctl start flapping",
        &[
            "exited with status 4",
            "started 3 times within 1min",
            "calibration file is damaged",
        ],
    ),
    started(
        "Its program is not there",
        "controller",
        &[file!("controller")],
        "sharkctl start controller",
        &["execute /usr/bin/controller", "ENOENT"],
    ),
    started(
        "It never says that it is ready",
        "mute",
        &[file!("mute")],
        "sharkctl start mute",
        &["it has not said READY=1", "listening on 4840"],
    ),
    started(
        "Its address is taken",
        "broker",
        &[file!("broker")],
        "sharkctl start broker",
        &["EADDRINUSE", "bind 0.0.0.0:22"],
    ),
    started(
        "The interpreter of its script is not there",
        "report",
        &[file!("report")],
        "printf '#!/usr/bin/python9' >/run/report; chmod +x /run/report; sharkctl start report",
        &[
            "execute /run/report",
            "/run/report, which needs `/usr/bin/python9`",
        ],
    ),
    started(
        "It ends and is started again, all the time",
        "stream",
        &[file!("stream")],
        "sharkctl start stream; sleep 3",
        &[
            "up for",
            "was started again ",
            "last because it exited with status 5",
            "connection lost",
        ],
    ),
    started(
        "It hangs",
        "poller",
        &[file!("poller")],
        "sharkctl start poller",
        &["watchdog: no sign of life within 1s", "asking the meter"],
    ),
    started(
        "It had to be killed",
        "recorder",
        &[file!("recorder")],
        "sharkctl start recorder; sleep 1; sharkctl stop recorder",
        &["stopped by request; it had not ended after 1s, and was killed"],
    ),
    started(
        "Its timer never comes",
        "nightly",
        &[file!("nightly")],
        "sharkctl reload",
        &["no time to come", "none of its times is to come"],
    ),
    started(
        "It has ended well",
        "migrate",
        &[file!("migrate")],
        "sharkctl start migrate",
        &[
            "it ended well, and is not started again",
            "nothing to migrate",
        ],
    ),
    Situation {
        title: "It and another require each other",
        service: "hen",
        files: &[file!("hen"), file!("egg")],
        did: "sharkctl reload",
        cause: &["`hen` requires `egg`", "`egg` requires `hen`"],
        status: 6,
    },
    Situation {
        title: "Its user is not there",
        service: "camera",
        files: &[file!("camera")],
        did: "sharkctl reload",
        cause: &["camera.toml", "there is no user `camera`"],
        status: 6,
    },
];

/// Brings the machine into the situation and asks why, until the answer has the cause; the screen.
///
/// # Errors
/// When it does not say so in one screen; the last screen is in the error.
pub fn capture(machine: &mut Machine, situation: &Situation) -> anyhow::Result<String> {
    let Situation { files, service, .. } = situation;
    for (name, text) in *files {
        ask(
            machine,
            &format!(
                "mkdir -p /etc/shark/services && cat > /etc/shark/services/{name}.toml <<'END'\n{text}END"
            ),
        )?;
    }
    if situation.status == 0 {
        ask(machine, "sharkctl reload")?;
    }
    // That it fails is what this is about.
    tell(machine, situation.did)?;
    let has_all = |text: &str| situation.cause.iter().all(|it| text.contains(it));
    let ask_why = format!("sharkctl why {service} 2>&1");
    let output = until(machine, &ask_why, |it| has_all(&it.text()))?;
    let text = output.text();
    ensure!(
        output.status == situation.status,
        "`sharkctl why {service}` ended with {}: {text}",
        output.status
    );
    ensure!(
        text.lines().count() <= SCREEN,
        "more than a screen for {service}:\n{text}"
    );
    let names = files.iter().map(|(name, _)| format!("{name}.toml"));
    let names: Vec<String> = names.collect();
    let remove = format!("cd /etc/shark/services && rm -rf {}", names.join(" "));
    if situation.status != 0 {
        ask(machine, &remove)?;
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What `cargo xtask captures` has written.
    const PAGE: &str = include_str!("../../docs/why.md");

    #[test]
    fn the_page_of_captures_has_each_situation_with_its_cause() {
        let sections: Vec<&str> = PAGE.split("\n## ").skip(1).collect();
        assert_eq!(sections.len(), SITUATIONS.len());
        for (section, situation) in sections.iter().zip(SITUATIONS) {
            let Situation { title, service, .. } = situation;
            assert!(section.starts_with(&format!("{title}\n")), "{title}");
            let missing = situation.cause.iter().find(|it| !section.contains(**it));
            assert_eq!(
                missing, None,
                "{title}: `cargo xtask captures` writes it anew"
            );
            let row = format!("| {title} | `{service}` | `{}` |\n", situation.did);
            assert!(PAGE.contains(&row), "{row}");
        }
    }
}
