//! The monitor of a machine: what can be done to its hardware from outside, by QEMU's machine
//! protocol (QMP). Not here: its processor and memory (`debugger`).

use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, bail};
use serde_json::{Value, json};

/// How long QEMU may take for one answer.
const ANSWER: Duration = Duration::from_secs(20);

/// Where QEMU listens for its monitor.
#[must_use]
pub fn socket_path(folder: &Path) -> PathBuf {
    folder.join("monitor")
}

/// A connection to the monitor.
pub struct Monitor {
    stream: BufReader<UnixStream>,
}

impl Monitor {
    /// Connects, and takes the greeting.
    ///
    /// # Errors
    /// When QEMU does not answer.
    pub fn connect(folder: &Path) -> anyhow::Result<Self> {
        let path = socket_path(folder);
        let stream = UnixStream::connect(&path)
            .with_context(|| format!("QEMU does not listen at {}", path.display()))?;
        stream.set_read_timeout(Some(ANSWER))?;
        let mut monitor = Self {
            stream: BufReader::new(stream),
        };
        monitor.line()?;
        monitor.execute("qmp_capabilities", &json!({}))?;
        Ok(monitor)
    }

    /// Puts the cable into the network card, or takes it out.
    ///
    /// # Errors
    /// When QEMU refuses.
    pub fn set_link(&mut self, up: bool) -> anyhow::Result<()> {
        self.execute("set_link", &json!({"name": "net", "up": up}))
            .map(drop)
    }

    fn execute(&mut self, command: &str, arguments: &Value) -> anyhow::Result<Value> {
        let request = json!({"execute": command, "arguments": arguments});
        self.stream
            .get_mut()
            .write_all(format!("{request}\n").as_bytes())
            .context("QEMU's monitor is closed")?;
        loop {
            let answer = self.line()?;
            if let Some(error) = answer.get("error") {
                bail!("QEMU refuses {command}: {error}");
            }
            // Events come in between.
            if let Some(result) = answer.get("return") {
                return Ok(result.clone());
            }
        }
    }

    fn line(&mut self) -> anyhow::Result<Value> {
        let mut line = String::new();
        let length = self
            .stream
            .read_line(&mut line)
            .context("QEMU's monitor does not answer")?;
        if length == 0 {
            bail!("the machine ended");
        }
        serde_json::from_str(&line).with_context(|| format!("QEMU's monitor said {line:?}"))
    }
}
