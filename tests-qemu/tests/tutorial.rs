//! `docs/tutorial.md`, executed: each command of its consoles, on the host and on the device, and its output
//! compared with what the page shows.

use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use machine::Machine;
use machine::scenario::{ANSWER, booted, spec};
use machine::slots::commits;
use machine::spec::Spec;

const PAGE: &str = include_str!("../../docs/tutorial.md");
/// What begins a command for the host, and one for the device.
const HOST: &str = "host$ ";
const DEVICE: &str = "# ";
/// The command that stands for the machine itself.
const BOOT: &str = "cargo xtask qemu --disk device.img";
/// The port of the page's web server; the test takes one that is free.
const PORT: &str = "8000";
/// How long the device may take with one command: an update is among them.
const PATIENCE: Duration = Duration::from_secs(300);

/// A command of the page, and what it shows.
#[derive(Debug)]
struct Step<'p> {
    on_device: bool,
    command: String,
    shown: Vec<&'p str>,
}

/// The commands of all consoles, in their order.
fn steps(page: &str) -> anyhow::Result<Vec<Step<'_>>> {
    let mut steps: Vec<Step<'_>> = Vec::new();
    let mut inside = false;
    let mut until: Option<&str> = None;
    for line in page.lines() {
        match (inside, line) {
            (false, "```console") => inside = true,
            (true, "```") => inside = false,
            (false, _) => {}
            (true, line) => {
                let host = line.strip_prefix(HOST).map(|it| (false, it));
                let command = host.or(line.strip_prefix(DEVICE).map(|it| (true, it)));
                match (until, command, steps.last_mut()) {
                    (Some(end), _, Some(step)) => {
                        step.command.push('\n');
                        step.command.push_str(line);
                        until = until.filter(|_| line != end);
                    }
                    (None, Some((on_device, command)), _) => {
                        until = command
                            .split_once("<<'")
                            .and_then(|(_, it)| it.strip_suffix('\''));
                        let command = command.to_owned();
                        let shown = Vec::new();
                        steps.push(Step {
                            on_device,
                            command,
                            shown,
                        });
                    }
                    (None, None, Some(step)) => step.shown.push(line),
                    (_, _, None) => bail!("{line:?} is no command, and none is before it"),
                }
            }
        }
    }
    Ok(steps)
}

/// Whether the lines are those of the page: `...` is any number of lines, `[..]` any text within one.
fn is_shown(shown: &[&str], lines: &[&str]) -> bool {
    match shown.split_first() {
        None => lines.is_empty(),
        Some((&"...", rest)) => (0..=lines.len()).any(|skip| is_shown(rest, &lines[skip..])),
        Some((pattern, rest)) => lines
            .split_first()
            .is_some_and(|(line, others)| fits(pattern, line) && is_shown(rest, others)),
    }
}

fn fits(pattern: &str, line: &str) -> bool {
    // Columns are as wide as what is in them.
    let squeezed = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    let (pattern, line) = (squeezed(pattern), squeezed(line));
    let mut parts = pattern.split("[..]");
    let Some(mut rest) = parts.next().and_then(|first| line.strip_prefix(first)) else {
        return false;
    };
    let mut parts = parts.peekable();
    if parts.peek().is_none() {
        return rest.is_empty();
    }
    while let Some(part) = parts.next() {
        if parts.peek().is_none() {
            return rest.ends_with(part);
        }
        let Some((_, after)) = rest.split_once(part) else {
            return false;
        };
        rest = after;
    }
    true
}

/// Ended with the test.
struct InBackground(Child);

impl Drop for InBackground {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The machine that the page is read at.
struct Host {
    folder: tempfile::TempDir,
    port: String,
    servers: Vec<InBackground>,
}

impl Host {
    fn new() -> anyhow::Result<Self> {
        let free = std::net::TcpListener::bind("127.0.0.1:0")?;
        Ok(Self {
            folder: tempfile::tempdir()?,
            port: free.local_addr()?.port().to_string(),
            servers: Vec::new(),
        })
    }

    /// Of the workspace is `cargo xtask`; files that are named are those of the test's folder.
    fn execute(&mut self, command: &str) -> anyhow::Result<String> {
        let top = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        if let Some(command) = command.strip_suffix(" &") {
            let child = Command::new("/bin/sh")
                .args(["-c", &format!("exec {}", command.replace(PORT, &self.port))])
                .current_dir(self.folder.path())
                .stdout(std::process::Stdio::null())
                .stderr(std::process::Stdio::null())
                .spawn()?;
            self.servers.push(InBackground(child));
            return self.is_listening().map(|()| String::new());
        }
        let file: PathBuf = self.folder.path().join("shark-2.bundle");
        let command = command.replace("shark-2.bundle", &file.display().to_string());
        let output = Command::new("/bin/sh")
            .args(["-c", &command])
            .current_dir(top)
            .env_remove(machine::image::VARIABLE)
            .output()?;
        let text =
            String::from_utf8_lossy(&output.stderr) + String::from_utf8_lossy(&output.stdout);
        ensure!(
            output.status.success(),
            "`{command}`: {}: {text}",
            output.status
        );
        Ok(text.into_owned())
    }

    fn is_listening(&self) -> anyhow::Result<()> {
        let deadline = Instant::now() + ANSWER;
        while std::net::TcpStream::connect(format!("127.0.0.1:{}", self.port)).is_err() {
            ensure!(Instant::now() < deadline, "the web server does not come up");
            std::thread::sleep(Duration::from_millis(100));
        }
        Ok(())
    }
}

/// What a command prints on the device, on both streams.
fn on_device(machine: &mut Machine, command: &str) -> anyhow::Result<String> {
    let output = machine.shell(&format!("{{ {command}\n}} 2>&1"), PATIENCE)?;
    Ok(output.text())
}

/// Whether it may be asked again and again, and changes nothing.
fn only_shows(command: &str) -> bool {
    const QUESTIONS: [&str; 10] = [
        "boot",
        "list",
        "status",
        "logs",
        "why",
        "tree",
        "top",
        "blame",
        "boot history",
        "update status",
    ];
    let command = command.strip_prefix("timeout 3 ").unwrap_or(command);
    command
        .strip_prefix("sharkctl ")
        .is_some_and(|words| QUESTIONS.iter().any(|it| words.starts_with(it)))
}

#[test]
fn every_command_of_the_tutorial_shows_what_the_page_says() -> anyhow::Result<()> {
    let steps = steps(PAGE)?;
    ensure!(steps.len() > 30, "only {} commands", steps.len());
    let mut host = Host::new()?;
    let mut machine: Option<Machine> = None;
    let mut differ = Vec::new();
    for step in &steps {
        let command = step.command.as_str();
        let said = match (&mut machine, step.on_device) {
            (None, false) if command == BOOT => {
                let spec = spec(None)?;
                machine = Some(booted(&Spec {
                    no_reboot: false,
                    ..spec
                })?);
                continue;
            }
            (_, false) => host.execute(command)?,
            (Some(machine), true) if command.contains("reboot") => {
                let position = machine.console.position();
                machine.send(command)?;
                commits(machine, position)?;
                continue;
            }
            (Some(machine), true) => {
                let command = command.replace(PORT, &host.port);
                let mut said = on_device(machine, &command)?;
                // Readers look again too, where what they wait for is not there yet.
                let began = Instant::now();
                while only_shows(&command)
                    && !is_shown(&step.shown, &said.lines().collect::<Vec<_>>())
                    && began.elapsed() < ANSWER
                {
                    println!("once more: {command}");
                    said = on_device(machine, &command)?;
                }
                said
            }
            (None, true) => bail!("{command}: before the machine is started"),
        };
        let lines: Vec<&str> = said.lines().collect();
        if !is_shown(&step.shown, &lines) {
            let shown = step.shown.join("\n");
            differ.push(format!(
                "`{command}` says\n{said}\nand the page shows\n{shown}"
            ));
        }
    }
    ensure!(differ.is_empty(), "{}", differ.join("\n\n"));
    let mut machine = machine.context("no machine")?;
    machine.power_off(ANSWER)?;
    Ok(())
}

#[test]
fn what_differs_is_left_out_and_all_else_compared() {
    let lines = ["a  1", "b 22 x", "c"];
    for (shown, expect) in [
        (&["a 1", "b [..] x", "c"][..], true),
        (&["...", "c"][..], true),
        (&["a 1", "..."][..], true),
        (&["...", "b [..]", "..."][..], true),
        (&["a 1", "c"][..], false),
        (&["a 1", "b [..] y", "c"][..], false),
        (&["..."][..], true),
        (&[][..], false),
    ] {
        assert_eq!(is_shown(shown, &lines), expect, "{shown:?}");
    }
}
