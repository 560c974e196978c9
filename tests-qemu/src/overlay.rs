//! What a boot gets beside the image: files that stage1 copies below /run. Not here: the image.
//!
//! They travel in an archive of their own behind the initramfs (the kernel unpacks one after the
//! other), so the same sealed image serves people, tests and devices.

use std::fs;
use std::path::Path;

use anyhow::Context as _;
use initramfs::archive::{Archive, Entry};

/// Makes the agent wait for the verdict on the boot, which comes after the services are up.
const VERDICT: &str = "shark/agent.verdict";

/// The script of the agent and the service that runs it.
const AGENT: [(&str, &str); 2] = [
    ("shark/agent.sh", include_str!("../guest/agent.sh")),
    (
        "shark/services/agent.toml",
        include_str!("../guest/agent.toml"),
    ),
];

/// A root shell on the console, where the image has a login.
const SHELL: (&str, &str) = (
    "shark/services/getty.toml.d/10-shell.toml",
    include_str!("../guest/shell.toml"),
);

/// Files to be laid below /run.
#[derive(Clone, Debug, Default)]
pub struct Overlay {
    files: Vec<(String, Vec<u8>)>,
}

impl Overlay {
    /// Adds the agent.
    #[must_use]
    pub fn with_agent(self) -> Self {
        AGENT
            .iter()
            .fold(self, |overlay, (path, text)| overlay.with_file(path, text))
    }

    /// Lets the agent tell whether the boot was committed; without it, whether its services are up.
    #[must_use]
    pub fn with_verdict(self) -> Self {
        self.with_file(VERDICT, "")
    }

    /// Adds a root shell on the console.
    #[must_use]
    pub fn with_shell(self) -> Self {
        self.with_file(SHELL.0, SHELL.1)
    }

    /// Adds one file; `path` is below /run.
    #[must_use]
    pub fn with_file(mut self, path: &str, content: impl AsRef<[u8]>) -> Self {
        self.files
            .push((path.to_owned(), content.as_ref().to_vec()));
        self
    }

    /// Writes `initrd` and, behind it, the archive of these files to `target`.
    ///
    /// # Errors
    /// When one of the files cannot be read or written.
    pub fn append_to(&self, initrd: &Path, target: &Path) -> anyhow::Result<()> {
        let mut bytes =
            fs::read(initrd).with_context(|| format!("cannot read {}", initrd.display()))?;
        if !self.files.is_empty() {
            // An archive starts at a multiple of four bytes.
            bytes.resize(bytes.len().next_multiple_of(4), 0);
            bytes.extend(self.archive()?);
        }
        fs::write(target, bytes).with_context(|| format!("cannot write {}", target.display()))
    }

    fn archive(&self) -> anyhow::Result<Vec<u8>> {
        let mut archive = Archive::new();
        for (path, content) in &self.files {
            archive.add(
                &format!("run-overlay/{path}"),
                Entry::file(0o644, content.clone()),
            )?;
        }
        Ok(archive.finish())
    }
}
