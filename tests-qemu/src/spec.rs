//! What a machine is made of, and the QEMU command line that makes it. Not here: its life
//! (`machine`).

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde::{Deserialize, Serialize};

use crate::accel::Accel;
use crate::agent;
use crate::debugger;
use crate::image::{Firmware, Image};
use crate::monitor;

/// Processor architecture of the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Arch {
    /// `x86_64`.
    #[serde(rename = "x86_64")]
    X86_64,
    /// `aarch64`.
    #[serde(rename = "aarch64")]
    Aarch64,
}

impl Arch {
    /// The QEMU program that emulates it.
    #[must_use]
    pub fn qemu(self) -> &'static str {
        match self {
            Self::X86_64 => "qemu-system-x86_64",
            Self::Aarch64 => "qemu-system-aarch64",
        }
    }

    /// The terminal device of its first serial port.
    #[must_use]
    pub fn console(self) -> &'static str {
        match self {
            Self::X86_64 => "ttyS0",
            Self::Aarch64 => "ttyAMA0",
        }
    }

    /// Whether this program itself runs on such a processor.
    #[must_use]
    pub fn is_native(self) -> bool {
        std::env::consts::ARCH
            == match self {
                Self::X86_64 => "x86_64",
                Self::Aarch64 => "aarch64",
            }
    }
}

/// The disk of a machine.
#[derive(Clone, Debug)]
pub enum Disk {
    /// Writes go to a temporary file that ends with the machine: a reboot keeps them.
    Fresh(PathBuf),
    /// Writes go to this file.
    Kept(PathBuf),
    /// No disk.
    Absent,
}

/// EFI firmware of Debian's package ovmf, and the variables that it begins with.
pub const OVMF_CODE: &str = "/usr/share/OVMF/OVMF_CODE_4M.fd";
/// Variables of a machine that was never started.
pub const OVMF_VARIABLES: &str = "/usr/share/OVMF/OVMF_VARS_4M.fd";

/// U-Boot of Debian's package u-boot-qemu, for arm64.
pub const U_BOOT: &str = "/usr/lib/u-boot/qemu_arm64/u-boot.bin";

/// Who starts the kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Start {
    /// QEMU: kernel, initramfs and command line are those of the machine's description.
    Direct,
    /// EFI firmware, with what it finds on the disk; its variables are forgotten with the machine.
    Firmware,
    /// The same; its variables are kept in this file, which is there.
    FirmwareKept(PathBuf),
    /// U-Boot, with the boot script that it finds on the disk.
    UBoot,
}

/// A machine to be started.
#[derive(Clone, Debug)]
pub struct Spec {
    /// Processor.
    pub arch: Arch,
    /// How its instructions are executed.
    pub accel: Accel,
    /// Who starts the kernel.
    pub start: Start,
    /// Kernel image.
    pub kernel: PathBuf,
    /// Initramfs; an overlay may be appended to it.
    pub initrd: PathBuf,
    /// Words of the image for the kernel command line.
    pub words: String,
    /// Added to the kernel command line.
    pub append: String,
    /// Disk.
    pub disk: Disk,
    /// Memory, MiB.
    pub memory: u32,
    /// Processors.
    pub smp: u32,
    /// Whether a reboot of the guest ends QEMU. Where it does not, memory is kept over it, and so
    /// are the last words of a crash.
    pub no_reboot: bool,
    /// A watchdog, i6300esb, which resets the machine. Debian's cloud kernel has no driver for it.
    pub watchdog: bool,
    /// Memory for the last words of a crash (ramoops), on machines that can have it: `x86_64`.
    pub pstore: bool,
    /// What the machine's clock says at power-on, UTC, as in `2027-03-01T12:00:00`; `None`: the time it is.
    pub clock: Option<String>,
    /// TCP ports forwarded from 127.0.0.1 of the host, (host, guest).
    pub forwards: Vec<(u16, u16)>,
}

/// Bytes of memory for last words, and of one record of them.
const RAMOOPS_SIZE: u32 = 1 << 20;
const RAMOOPS_RECORD: u32 = 64 << 10;
/// How far below the end of memory they begin: further than firmware and the initramfs reach.
const RAMOOPS_BELOW_END_MIB: u32 = 32;
/// Above this, memory does not lie in one piece.
const ONE_PIECE_MIB: u32 = 2048;

impl Spec {
    /// A machine with this image, and nothing else that is special: one processor, 512 MiB, and it
    /// ends when the guest reboots.
    #[must_use]
    pub fn new(image: &Image, accel: Accel, disk: Disk) -> Self {
        Self {
            arch: image.arch,
            accel,
            start: match image.firmware {
                None => Start::Direct,
                Some(Firmware::Efi) => Start::Firmware,
                Some(Firmware::UBoot) => Start::UBoot,
            },
            kernel: image.kernel.clone(),
            initrd: image.initrd.clone(),
            words: image.words.clone(),
            append: String::new(),
            disk,
            memory: 512,
            smp: 1,
            no_reboot: true,
            watchdog: false,
            pstore: true,
            clock: None,
            forwards: Vec::new(),
        }
    }

    /// The whole kernel command line.
    #[must_use]
    pub fn command_line(&self) -> String {
        // `gpt`: the kernel believes the backup of a damaged partition table.
        let mut line = format!("console={} panic=5 gpt", self.arch.console());
        if let Some(words) = self.ramoops() {
            line = format!("{line} {words}");
        }
        for more in [self.words.trim(), self.append.trim()] {
            if !more.is_empty() {
                line = format!("{line} {more}");
            }
        }
        line
    }

    /// Takes a piece of memory from the kernel, which would else use it as any other, and tells the
    /// module where it is. QEMU hands the words on as they are: no shell and no boot loader takes
    /// the `$` for its own.
    fn ramoops(&self) -> Option<String> {
        let at = match self.arch {
            Arch::X86_64 if self.pstore => self.memory.min(ONE_PIECE_MIB) - RAMOOPS_BELOW_END_MIB,
            // `memmap=` is x86's alone; arm64 has it from a device tree.
            Arch::X86_64 | Arch::Aarch64 => return None,
        };
        let address = u64::from(at) << 20;
        Some(format!(
            "memmap={RAMOOPS_SIZE:#x}${address:#x} ramoops.mem_address={address:#x} \
             ramoops.mem_size={RAMOOPS_SIZE:#x} ramoops.record_size={RAMOOPS_RECORD:#x} ramoops.ecc=1"
        ))
    }

    /// The QEMU command, with the agent's sockets in `sockets` when there is to be an agent, and
    /// the guest's console on stdio. `initrd` is the initramfs with its overlay.
    #[must_use]
    pub fn command(&self, initrd: &Path, sockets: Option<&Path>) -> Command {
        let mut command = Command::new(self.arch.qemu());
        command.args(["-nodefaults", "-no-user-config", "-display", "none"]);
        match self.arch {
            Arch::X86_64 => command.args(["-M", "pc"]),
            Arch::Aarch64 => command.args(["-M", "virt"]),
        };
        command.args(self.accel.arguments(self.arch));
        command.args([
            "-m",
            &self.memory.to_string(),
            "-smp",
            &self.smp.to_string(),
        ]);
        match &self.start {
            Start::Direct => {
                command.arg("-kernel").arg(&self.kernel);
                command.arg("-initrd").arg(initrd);
                command.args(["-append", &self.command_line()]);
            }
            Start::Firmware => add_firmware(&mut command, Path::new(OVMF_VARIABLES), "on"),
            Start::FirmwareKept(variables) => add_firmware(&mut command, variables, "off"),
            Start::UBoot => {
                command.args(["-bios", U_BOOT]);
            }
        }
        command.args(["-device", "virtio-rng-pci"]);
        self.add_disk(&mut command);
        self.add_network(&mut command);
        if let Some(time) = &self.clock {
            command.args(["-rtc", &format!("base={time}")]);
        }
        if self.watchdog {
            command.args(["-device", "i6300esb", "-action", "watchdog=reset"]);
        }
        if let Some(sockets) = sockets {
            add_agent(&mut command, sockets);
            add_socket(&mut command, "-qmp", &monitor::socket_path(sockets));
            add_socket(&mut command, "-gdb", &debugger::socket_path(sockets));
        }
        if self.no_reboot {
            command.arg("-no-reboot");
        }
        command
    }

    fn add_disk(&self, command: &mut Command) {
        let (path, snapshot) = match &self.disk {
            Disk::Fresh(path) => (path, "on"),
            Disk::Kept(path) => (path, "off"),
            Disk::Absent => return,
        };
        let mut drive = OsString::from("if=none,id=disk,format=raw,discard=unmap,file=");
        drive.push(escape_commas(path));
        drive.push(format!(",snapshot={snapshot}"));
        command.arg("-drive").arg(drive);
        let first = match &self.start {
            // The kernel that QEMU starts is the first already.
            Start::Direct => "",
            // Firmware looks here, and nowhere on the network.
            Start::Firmware | Start::FirmwareKept(_) | Start::UBoot => ",bootindex=0",
        };
        command.args([
            "-device",
            &format!("virtio-blk-pci,drive=disk,serial=shark{first}"),
        ]);
    }

    fn add_network(&self, command: &mut Command) {
        let mut netdev = String::from("user,id=net");
        for (host, guest) in &self.forwards {
            netdev.push_str(&format!(",hostfwd=tcp:127.0.0.1:{host}-:{guest}"));
        }
        command.args([
            "-netdev",
            &netdev,
            "-device",
            "virtio-net-pci,netdev=net,romfile=",
        ]);
    }
}

fn add_firmware(command: &mut Command, variables: &Path, snapshot: &str) {
    command.args([
        "-drive",
        &format!("if=pflash,unit=0,format=raw,readonly=on,file={OVMF_CODE}"),
    ]);
    let mut drive = OsString::from("if=pflash,unit=1,format=raw,file=");
    drive.push(escape_commas(variables));
    drive.push(format!(",snapshot={snapshot}"));
    command.arg("-drive").arg(drive);
}

fn add_agent(command: &mut Command, sockets: &Path) {
    command.args(["-device", "virtio-serial-pci"]);
    for port in agent::Port::ALL {
        let mut chardev = OsString::from(format!("socket,id={port},server=on,wait=off,path="));
        chardev.push(escape_commas(&agent::socket_path(sockets, port)));
        command.arg("-chardev").arg(chardev);
        command.args([
            "-device",
            &format!("virtserialport,chardev={port},name=shark.{port}"),
        ]);
    }
}

/// Lets QEMU listen for whoever comes, and go on without.
fn add_socket(command: &mut Command, option: &str, path: &Path) {
    let mut address = OsString::from("unix:");
    address.push(escape_commas(path));
    address.push(",server=on,wait=off");
    command.arg(option).arg(address);
}

/// QEMU separates options by commas; a comma in a value is written twice.
fn escape_commas(path: &Path) -> OsString {
    OsString::from(path.to_string_lossy().replace(',', ",,"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec() -> Spec {
        let image = Image {
            arch: Arch::X86_64,
            disk: "/a,b/disk.img".into(),
            kernel: "/k".into(),
            initrd: "/i".into(),
            words: String::new(),
            firmware: None,
        };
        let disk = Disk::Fresh(image.disk.clone());
        Spec {
            append: " quiet ".into(),
            ..Spec::new(&image, Accel::Tcg, disk)
        }
    }

    #[test]
    fn the_command_line_ends_with_what_was_appended() {
        let line = spec().command_line();
        assert!(line.starts_with("console=ttyS0 panic=5 gpt "), "{line}");
        assert!(line.ends_with(" quiet"), "{line}");
    }

    #[test]
    fn memory_for_last_words_lies_inside_the_machine() {
        let words = |memory, arch| {
            let mut spec = spec();
            (spec.memory, spec.arch) = (memory, arch);
            spec.command_line()
        };
        let line = words(512, Arch::X86_64);
        assert!(line.contains(" memmap=0x100000$0x1e000000 "), "{line}");
        assert!(line.contains(" ramoops.mem_address=0x1e000000 "), "{line}");
        assert!(words(8192, Arch::X86_64).contains("$0x7e000000 "));
        assert!(!words(512, Arch::Aarch64).contains("ramoops"));
    }

    #[test]
    fn the_disk_is_the_first_only_where_firmware_starts_the_machine() {
        for (start, expect) in [(Start::Direct, false), (Start::Firmware, true)] {
            let spec = Spec { start, ..spec() };
            let command = format!("{:?}", spec.command(Path::new("/i"), None));
            assert_eq!(command.contains("bootindex=0"), expect, "{command}");
            assert_eq!(command.contains("-kernel"), !expect, "{command}");
        }
    }

    #[test]
    fn a_comma_in_the_path_of_the_disk_is_not_an_option() {
        let command = spec().command(Path::new("/i"), None);
        let drive = command
            .get_args()
            .find(|a| a.to_string_lossy().contains("id=disk"));
        let drive = drive
            .map(|a| a.to_string_lossy().into_owned())
            .unwrap_or_default();
        assert!(
            drive.ends_with("file=/a,,b/disk.img,snapshot=on"),
            "{drive}"
        );
    }
}
