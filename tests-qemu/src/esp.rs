//! The EFI system partition of a disk image as the host sees it, by other people's tools (mtools): names,
//! contents, and what a scenario puts there. Not here: what the names mean (`mounts::loader`).

use std::ffi::OsString;
use std::fs;
use std::process::Command;

use anyhow::{Context as _, ensure};
use mounts::dps::ESP_NAME;
use mounts::loader::entries::{DIRECTORY, initramfs_path};
use mounts::slot::Slot;

use crate::disk::DiskCopy;
use crate::overlay::Overlay;

impl DiskCopy {
    /// The names of the loader's entries.
    ///
    /// # Errors
    /// When mtools cannot read them.
    pub fn entries(&self) -> anyhow::Result<Vec<String>> {
        let path = format!("::{DIRECTORY}");
        let out = self.mtool("mdir", &["-b", &path])?;
        let text = String::from_utf8_lossy(&out).into_owned();
        let names = text.lines().filter_map(|line| line.rsplit('/').next());
        Ok(names
            .filter(|it| !it.is_empty())
            .map(str::to_owned)
            .collect())
    }

    /// What a file holds.
    ///
    /// # Errors
    /// When it is not there.
    pub fn read_esp(&self, path: &str) -> anyhow::Result<Vec<u8>> {
        self.mtool("mtype", &[&format!("::{path}")])
    }

    /// Replaces what a file holds.
    ///
    /// # Errors
    /// When mtools cannot write it.
    pub fn write_esp(&self, path: &str, content: &[u8]) -> anyhow::Result<()> {
        let folder = tempfile::tempdir().context("no temporary folder for a file")?;
        let file = folder.path().join("file");
        fs::write(&file, content)?;
        let from = file.to_string_lossy();
        let arguments = ["-D", "o", "-o", &from, &format!("::{path}")];
        self.mtool("mcopy", &arguments).map(drop)
    }

    /// Renames a file, as the loader does.
    ///
    /// # Errors
    /// When it is not there.
    pub fn rename_esp(&self, from: &str, to: &str) -> anyhow::Result<()> {
        self.mtool("mren", &[&format!("::{from}"), &format!("::{to}")])
            .map(drop)
    }

    /// Lays an overlay behind the initramfs of both slots.
    ///
    /// # Errors
    /// When mtools cannot read or write.
    pub fn lay_over_esp(&self, overlay: &Overlay) -> anyhow::Result<()> {
        let folder = tempfile::tempdir().context("no temporary folder for an initramfs")?;
        let (plain, more) = (folder.path().join("plain"), folder.path().join("more"));
        for slot in Slot::ALL {
            let path = format!("::{}", initramfs_path(slot));
            fs::write(&plain, self.mtool("mtype", &[&path])?)?;
            overlay.append_to(&plain, &more)?;
            let more = more.to_string_lossy();
            self.mtool("mcopy", &["-D", "o", "-o", &more, &path])?;
        }
        Ok(())
    }

    fn mtool(&self, name: &str, arguments: &[&str]) -> anyhow::Result<Vec<u8>> {
        let mut image = OsString::from(self.path());
        image.push(format!("@@{}", self.partition(ESP_NAME)?.start));
        let output = Command::new(name)
            .env("MTOOLS_SKIP_CHECK", "1")
            .arg("-i")
            .arg(image)
            .args(arguments)
            .output()
            .with_context(|| format!("cannot run {name}: install mtools"))?;
        ensure!(
            output.status.success(),
            "{name} {arguments:?}: {}: {}",
            output.status,
            String::from_utf8_lossy(&output.stderr)
        );
        Ok(output.stdout)
    }
}
