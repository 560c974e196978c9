//! The processor and memory of a machine from outside, by the remote protocol of gdb that QEMU
//! speaks: here is what breaks a kernel in a way that its own switches do not offer.
//!
//! A [`Fault`] is planted over the code of a function in the kernel, and happens when the guest next
//! calls it. The kernel is loaded anew at a reset, so nothing has to be mended.

use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};

use crate::spec::Arch;

/// How long QEMU may take for one answer.
const ANSWER: Duration = Duration::from_secs(20);

/// Where QEMU listens for a debugger.
#[must_use]
pub fn socket_path(folder: &Path) -> PathBuf {
    folder.join("debugger")
}

/// What becomes of the processor that runs into it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// An instruction that there is not: the kernel calls it an oops.
    Oops,
    /// Interrupts off, and round and round.
    Hang,
}

impl Fault {
    /// Its machine code.
    #[must_use]
    pub fn code(self, arch: Arch) -> &'static [u8] {
        match (self, arch) {
            // ud2
            (Self::Oops, Arch::X86_64) => &[0x0f, 0x0b],
            // cli; jmp .
            (Self::Hang, Arch::X86_64) => &[0xfa, 0xeb, 0xfe],
            // udf #0
            (Self::Oops, Arch::Aarch64) => &[0, 0, 0, 0],
            // msr daifset, #0xf; b .
            (Self::Hang, Arch::Aarch64) => &[0xdf, 0x4f, 0x03, 0xd5, 0, 0, 0, 0x14],
        }
    }
}

/// A connection as a debugger. The machine stands still while it lasts.
pub struct Debugger {
    stream: UnixStream,
}

impl Debugger {
    /// Connects, which stops the machine.
    ///
    /// # Errors
    /// When QEMU does not answer.
    pub fn attach(folder: &Path) -> anyhow::Result<Self> {
        let path = socket_path(folder);
        let stream = UnixStream::connect(&path)
            .with_context(|| format!("QEMU does not listen at {}", path.display()))?;
        stream.set_read_timeout(Some(ANSWER))?;
        Ok(Self { stream })
    }

    /// Writes `bytes` at a virtual address, over code as well.
    ///
    /// # Errors
    /// When there is no memory there.
    pub fn write(&mut self, address: u64, bytes: &[u8]) -> anyhow::Result<()> {
        let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        let answer = self.ask(&format!("M{address:x},{:x}:{hex}", bytes.len()))?;
        ensure!(
            answer == "OK",
            "QEMU cannot write at {address:#x}: {answer:?}"
        );
        Ok(())
    }

    /// Lets the machine run on.
    ///
    /// # Errors
    /// When QEMU does not answer.
    pub fn detach(mut self) -> anyhow::Result<()> {
        let answer = self.ask("D")?;
        ensure!(answer == "OK", "QEMU does not detach: {answer:?}");
        Ok(())
    }

    fn ask(&mut self, request: &str) -> anyhow::Result<String> {
        self.stream
            .write_all(packet(request).as_bytes())
            .context("QEMU's debugger is closed")?;
        let mut read = Vec::new();
        loop {
            let mut byte = [0u8];
            let count = self
                .stream
                .read(&mut byte)
                .context("QEMU's debugger does not answer")?;
            if count == 0 {
                bail!("the machine ended");
            }
            read.push(byte[0]);
            if let Some(answer) = content(&read) {
                // Each packet is acknowledged.
                self.stream.write_all(b"+")?;
                if !is_stop(&answer) {
                    return Ok(answer);
                }
                read.clear();
            }
        }
    }
}

/// `$TEXT#SUM`, the sum over the bytes of the text.
fn packet(text: &str) -> String {
    let sum = text.bytes().fold(0u8, u8::wrapping_add);
    format!("${text}#{sum:02x}")
}

/// The text of the packet that `read` ends with; acknowledgements before it do not count.
fn content(read: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(read);
    let (_, packet) = text.split_once('$')?;
    let (answer, sum) = packet.split_once('#')?;
    (sum.len() == 2).then(|| answer.to_owned())
}

/// That the machine stands still now: told when we come, and no answer.
fn is_stop(answer: &str) -> bool {
    answer.starts_with(['T', 'S'])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_carry_their_sum() {
        assert_eq!(packet("OK"), "$OK#9a");
        assert_eq!(content(b"+$OK#9"), None);
        assert_eq!(content(b"+$OK#9a"), Some("OK".into()));
        assert_eq!(content(b"+$#00"), Some(String::new()));
        assert!(is_stop("T02thread:01;") && !is_stop("OK"));
    }
}
