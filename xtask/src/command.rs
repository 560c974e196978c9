//! Running other programs: their command line, exit status and last words end up in the error.
//! Progress lines live here too, because what takes long is, as a rule, another program.

use std::ffi::OsStr;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};

/// Lines of a failed program's output that an error repeats.
const TAIL_LINES: usize = 20;

/// Says what is being done now. Standard output belongs to results, so this goes to standard error.
pub(crate) fn step(what: &str) {
    eprintln!("==> {what}");
}

/// A command in the C locale, so that what it prints can be read by us.
pub(crate) fn new(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(program);
    command.env("LC_ALL", "C").stdin(Stdio::null());
    command
}

/// Runs a command quietly; its output is only shown when it fails.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    output(command).map(drop)
}

/// Runs a command and returns its standard output.
pub(crate) fn output(command: &mut Command) -> Result<Vec<u8>> {
    let output = command
        .output()
        .with_context(|| format!("cannot run {}", line(command)))?;
    check(command, output)
}

/// Runs a command and returns its standard output as text.
pub(crate) fn text(command: &mut Command) -> Result<String> {
    String::from_utf8(output(command)?)
        .with_context(|| format!("{} printed something that is not UTF-8", line(command)))
}

/// Runs a command that shows its own progress on standard error.
pub(crate) fn show(command: &mut Command) -> Result<()> {
    let status = command
        .stdout(std::io::stderr())
        .status()
        .with_context(|| format!("cannot run {}", line(command)))?;
    if status.success() {
        return Ok(());
    }
    bail!("{} failed: {status}", line(command))
}

/// Runs a command that may take `limit` at most, and is killed after it.
pub(crate) fn run_within(command: &mut Command, limit: Duration) -> Result<()> {
    let mut child = command
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .with_context(|| format!("cannot run {}", line(command)))?;
    let deadline = Instant::now() + limit;
    loop {
        if let Some(status) = child.try_wait()? {
            if status.success() {
                return Ok(());
            }
            bail!("{} failed: {status}", line(command));
        }
        if Instant::now() >= deadline {
            stop(&mut child);
            bail!("{} did not end within {} s", line(command), limit.as_secs());
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Whether a program of that name is to be found in PATH, or where administrators' tools lie.
pub(crate) fn exists(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/sbin".into(), "/sbin".into()])
        .any(|dir| dir.join(program).is_file())
}

/// PATH with the directories of administrators' tools, which users of Debian have not in theirs.
pub(crate) fn path_with_sbin() -> std::ffi::OsString {
    let mut path = std::env::var_os("PATH").unwrap_or_default();
    path.push(":/usr/sbin:/sbin");
    path
}

/// A command as a person would type it.
pub(crate) fn line(command: &Command) -> String {
    let mut line = command.get_program().to_string_lossy().into_owned();
    for argument in command.get_args() {
        let argument = argument.to_string_lossy();
        line.push(' ');
        if argument.is_empty() || argument.contains([' ', '\t', '\n', '\'', '"', '$']) {
            line.push_str(&format!("'{}'", argument.replace('\'', r"'\''")));
        } else {
            line.push_str(&argument);
        }
    }
    line
}

fn stop(child: &mut Child) {
    // Both fail only when the child is gone already, which is what is wanted.
    let _ = child.kill();
    let _ = child.wait();
}

fn check(command: &Command, output: Output) -> Result<Vec<u8>> {
    if output.status.success() {
        return Ok(output.stdout);
    }
    let words = if output.stderr.trim_ascii().is_empty() {
        &output.stdout
    } else {
        &output.stderr
    };
    Err(anyhow!(
        "{} failed: {}\n{}",
        line(command),
        output.status,
        tail(&String::from_utf8_lossy(words))
    ))
}

fn tail(text: &str) -> String {
    let lines: Vec<&str> = text.trim_end().lines().collect();
    let from = lines.len().saturating_sub(TAIL_LINES);
    lines
        .into_iter()
        .skip(from)
        .map(|line| format!("  | {line}"))
        .collect::<Vec<_>>()
        .join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_tells_the_command_the_status_and_the_last_words() {
        let mut command = new("sh");
        command.args([
            "-c",
            "for i in $(seq 30); do echo line $i >&2; done; exit 3",
        ]);
        let error = run(&mut command).unwrap_err().to_string();
        assert!(error.starts_with("sh -c 'for i"), "{error}");
        assert!(error.contains("exit status: 3"), "{error}");
        assert!(error.ends_with("  | line 30"), "{error}");
        assert!(!error.contains("line 10\n"), "{error}");
    }

    #[test]
    fn a_command_that_hangs_is_ended() {
        let start = Instant::now();
        let error = run_within(new("sleep").arg("60"), Duration::from_millis(100)).unwrap_err();
        assert!(error.to_string().contains("did not end"), "{error}");
        assert!(start.elapsed() < Duration::from_secs(10));
    }

    #[test]
    fn a_command_line_is_quoted_as_for_a_shell() {
        let mut command = new("a");
        command.args(["b c", "", "it's", "d"]);
        assert_eq!(line(&command), r"a 'b c' '' 'it'\''s' d");
    }
}
