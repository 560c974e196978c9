//! What a machine is made of, and the QEMU command line that makes it. Not here: its life
//! (`machine`).

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde::{Deserialize, Serialize};

use crate::accel::Accel;
use crate::agent;

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

/// A machine to be started.
#[derive(Clone, Debug)]
pub struct Spec {
    /// Processor.
    pub arch: Arch,
    /// How its instructions are executed.
    pub accel: Accel,
    /// Kernel image.
    pub kernel: PathBuf,
    /// Initramfs; an overlay may be appended to it.
    pub initrd: PathBuf,
    /// Added to the kernel command line.
    pub append: String,
    /// Disk.
    pub disk: Disk,
    /// Memory, MiB.
    pub memory: u32,
    /// Processors.
    pub smp: u32,
    /// Whether a reboot of the guest ends QEMU.
    pub no_reboot: bool,
    /// TCP ports forwarded from 127.0.0.1 of the host, (host, guest).
    pub forwards: Vec<(u16, u16)>,
}

impl Spec {
    /// The whole kernel command line.
    #[must_use]
    pub fn command_line(&self) -> String {
        // `gpt`: the kernel believes the backup of a damaged partition table.
        let base = format!("console={} panic=5 gpt", self.arch.console());
        match self.append.trim() {
            "" => base,
            more => format!("{base} {more}"),
        }
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
        command.arg("-kernel").arg(&self.kernel);
        command.arg("-initrd").arg(initrd);
        command.args(["-append", &self.command_line()]);
        command.args(["-device", "virtio-rng-pci"]);
        self.add_disk(&mut command);
        self.add_network(&mut command);
        if let Some(sockets) = sockets {
            add_agent(&mut command, sockets);
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
        command.args(["-device", "virtio-blk-pci,drive=disk,serial=shark"]);
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

/// QEMU separates options by commas; a comma in a value is written twice.
fn escape_commas(path: &Path) -> OsString {
    OsString::from(path.to_string_lossy().replace(',', ",,"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec() -> Spec {
        Spec {
            arch: Arch::X86_64,
            accel: Accel::Tcg,
            kernel: "/k".into(),
            initrd: "/i".into(),
            append: " quiet ".into(),
            disk: Disk::Fresh("/a,b/disk.img".into()),
            memory: 512,
            smp: 2,
            no_reboot: true,
            forwards: vec![(2222, 22)],
        }
    }

    #[test]
    fn the_command_line_ends_with_what_was_appended() {
        assert_eq!(spec().command_line(), "console=ttyS0 panic=5 gpt quiet");
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
