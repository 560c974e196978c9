//! Which accelerator QEMU can use here, found out by booting a guest. Not here: the real machine
//! (`spec`).
//!
//! `/dev/kvm` may exist, open and even create a virtual machine whose guest then hangs: in a virtual
//! machine whose processor has no virtualisation to give. There even firmware and a boot sector may
//! run, instruction by instruction, and only a kernel hangs. So two things are asked: whether the
//! processor says that it can, and whether a guest ran.

use std::fs;
use std::io::Write as _;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::spec::Arch;

/// How instructions of the guest are executed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Accel {
    /// By the processor.
    Kvm,
    /// By QEMU's translator.
    Tcg,
    /// By the translator, with a clock that counts: an instruction is a nanosecond, and idle time passes as
    /// it does elsewhere. What the guest measures while it has much to do repeats whatever the host does. One
    /// processor only.
    Counted,
}

/// How long the probe's guest may take; with a working KVM it needs a tenth of a second.
const PROBE_DEADLINE: Duration = Duration::from_secs(5);

/// A boot sector that writes 0x31 to the port of the `isa-debug-exit` device, 0xf4: QEMU then exits
/// with 2 * 0x31 + 1.
const BOOT_SECTOR: [u8; 5] = [0xb0, 0x31, 0xe6, 0xf4, 0xf4];
const PROBE_STATUS: i32 = 0x31 * 2 + 1;

impl Accel {
    /// The accelerator that works here for a guest of `arch`, and why it was chosen.
    #[must_use]
    pub fn probe(arch: Arch) -> (Self, String) {
        if !arch.is_native() {
            return (
                Self::Tcg,
                "the guest's architecture is not the host's".into(),
            );
        }
        if fs::OpenOptions::new()
            .read(true)
            .write(true)
            .open("/dev/kvm")
            .is_err()
        {
            return (Self::Tcg, "/dev/kvm cannot be opened".into());
        }
        match arch {
            Arch::X86_64 if !processor_can() => (
                Self::Tcg,
                "/dev/kvm opens, but the processor has neither vmx nor svm".into(),
            ),
            Arch::X86_64 => match probe_guest() {
                Ok(()) => (Self::Kvm, "a probe guest ran under KVM".into()),
                Err(why) => (Self::Tcg, format!("/dev/kvm exists, but {why}")),
            },
            // The probe's boot sector is x86; on an arm64 host KVM is a property of the kernel,
            // not of a nested processor feature, and opening it is proof enough.
            Arch::Aarch64 => (Self::Kvm, "/dev/kvm opens".into()),
        }
    }

    /// Its part of the QEMU command line.
    #[must_use]
    pub fn arguments(self, arch: Arch) -> &'static [&'static str] {
        match (self, arch) {
            (Self::Kvm, Arch::X86_64 | Arch::Aarch64) => &["-accel", "kvm", "-cpu", "host"],
            (Self::Tcg, Arch::X86_64) => &[
                "-accel",
                "tcg,thread=multi",
                "-cpu",
                "qemu64,+rdrand,+smap,+smep",
            ],
            (Self::Counted, Arch::X86_64) => &[
                "-accel",
                "tcg,thread=single",
                "-icount",
                "shift=0,sleep=on",
                "-cpu",
                "qemu64,+rdrand,+smap,+smep",
            ],
            (Self::Counted, Arch::Aarch64) => &[
                "-accel",
                "tcg,thread=single",
                "-icount",
                "shift=0,sleep=on",
                "-cpu",
                "cortex-a57",
            ],
            // `-cpu max` is two to three times slower to emulate.
            (Self::Tcg, Arch::Aarch64) => &["-accel", "tcg,thread=multi", "-cpu", "cortex-a57"],
        }
    }
}

/// Whether the processor of this (maybe itself virtual) machine says that it runs guests.
fn processor_can() -> bool {
    fs::read_to_string("/proc/cpuinfo").is_ok_and(|text| runs_guests(&text))
}

/// The same, of the text of `/proc/cpuinfo` (proc_cpuinfo(5)).
fn runs_guests(cpuinfo: &str) -> bool {
    let flags = cpuinfo.lines().filter_map(|line| {
        let (key, flags) = line.split_once(':')?;
        (key.trim() == "flags").then_some(flags)
    });
    flags
        .flat_map(str::split_whitespace)
        .any(|flag| flag == "vmx" || flag == "svm")
}

/// Runs the boot sector under KVM.
fn probe_guest() -> Result<(), String> {
    let mut sector = [0u8; 512];
    sector[..BOOT_SECTOR.len()].copy_from_slice(&BOOT_SECTOR);
    sector[510..].copy_from_slice(&[0x55, 0xaa]);
    let mut image =
        tempfile::NamedTempFile::new().map_err(|e| format!("no temporary file: {e}"))?;
    image
        .write_all(&sector)
        .map_err(|e| format!("no temporary file: {e}"))?;
    let mut guest = Command::new(Arch::X86_64.qemu())
        .args([
            "-nodefaults",
            "-no-user-config",
            "-display",
            "none",
            "-M",
            "pc",
        ])
        .args(["-accel", "kvm", "-cpu", "host", "-m", "16"])
        .args(["-device", "isa-debug-exit,iobase=0xf4,iosize=0x04"])
        .arg("-drive")
        .arg(format!("if=ide,format=raw,file={}", image.path().display()))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .map_err(|e| format!("{} did not start: {e}", Arch::X86_64.qemu()))?;
    let deadline = Instant::now() + PROBE_DEADLINE;
    let verdict = loop {
        match guest.try_wait() {
            Ok(Some(status)) if status.code() == Some(PROBE_STATUS) => break Ok(()),
            Ok(Some(status)) => break Err(format!("a probe guest failed under it ({status})")),
            Ok(None) if Instant::now() < deadline => {
                std::thread::sleep(Duration::from_millis(20));
            }
            Ok(None) => {
                break Err(format!(
                    "a probe guest hung under it for {} s",
                    PROBE_DEADLINE.as_secs()
                ));
            }
            Err(error) => break Err(format!("its probe guest was lost: {error}")),
        }
    };
    // Ended already, or to be ended: either way nothing of it stays.
    let _ = guest.kill();
    let _ = guest.wait();
    verdict
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_flags_of_a_processor_count() {
        assert!(runs_guests("processor\t: 0\nflags\t\t: fpu vmx sse\n"));
        assert!(runs_guests("flags : svm"));
        assert!(!runs_guests("flags\t\t: fpu sse avmx\n"));
        assert!(!runs_guests("model name\t: vmx\nvmx flags\t: vnmi svm\n"));
        assert!(!runs_guests(""));
    }

    #[test]
    fn a_foreign_guest_is_translated() {
        let foreign = if Arch::X86_64.is_native() {
            Arch::Aarch64
        } else {
            Arch::X86_64
        };
        assert_eq!(Accel::probe(foreign).0, Accel::Tcg);
    }
}
