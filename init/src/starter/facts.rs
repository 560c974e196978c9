//! What conditions ask of the machine, found out when they ask. Not here: the conditions.

use std::io::ErrorKind;
use std::path::Path;

use kernel::system::Surroundings;
use services::begin::{Architecture, Facts, Slot};

use super::Known;

/// Vendors as DMI has them, and what kind of virtual machine that is.
const VENDORS: [(&str, &str); 8] = [
    ("QEMU", "qemu"),
    ("VMware", "vmware"),
    ("innotek", "oracle"),
    ("Microsoft", "microsoft"),
    ("Xen", "xen"),
    ("Amazon EC2", "amazon"),
    ("Google", "google"),
    ("Bochs", "bochs"),
];
/// Longest kernel command line, and longest other text that is read.
const TEXT_MAX: usize = 64 << 10;

/// This machine.
pub(super) struct Machine<'k> {
    known: &'k Known,
}

impl<'k> Machine<'k> {
    pub(super) const fn new(known: &'k Known) -> Self {
        Self { known }
    }
}

impl Facts for Machine<'_> {
    fn exists(&self, path: &Path) -> Result<bool, String> {
        match std::fs::metadata(path) {
            Ok(_) => Ok(true),
            Err(error) => match error.kind() {
                ErrorKind::NotFound | ErrorKind::NotADirectory => Ok(false),
                _ => Err(format!("stat {}: {error}", path.display())),
            },
        }
    }

    fn kernel_options(&self) -> Vec<String> {
        let text = kernel::files::read_text("/proc/cmdline", TEXT_MAX).unwrap_or_default();
        words(&text)
    }

    fn architecture(&self) -> Option<Architecture> {
        match kernel::system::architecture().as_str() {
            "x86_64" => Some(Architecture::X86_64),
            "aarch64" => Some(Architecture::Arm64),
            _ => None,
        }
    }

    fn slot(&self) -> Option<Slot> {
        match self.known.slot.as_deref() {
            Some("a") => Some(Slot::A),
            Some("b") => Some(Slot::B),
            Some(_) | None => None,
        }
    }

    fn first_boot(&self) -> bool {
        kernel::files::exists(&self.known.first_boot_mark)
    }

    fn vm(&self) -> Option<String> {
        if self.container().is_some() {
            return None;
        }
        if let Some(vendor) = kernel::system::hypervisor() {
            let mut kinds = VENDORS.iter();
            let kind = kinds.find(|(name, _)| vendor.starts_with(name));
            return Some(kind.map_or("", |(_, kind)| kind).to_owned());
        }
        let text = |path: &str| kernel::files::read_text(path, TEXT_MAX).ok();
        let hypervisor = text("/sys/hypervisor/type");
        let compatible = text("/proc/device-tree/hypervisor/compatible");
        let named = hypervisor.or(compatible).unwrap_or_default();
        let known = ["xen", "kvm"];
        if let Some(kind) = known.into_iter().find(|kind| named.contains(kind)) {
            return Some(kind.to_owned());
        }
        if kernel::files::exists("/proc/device-tree/fw-cfg@9020000") {
            return Some("qemu".to_owned());
        }
        let processor = text("/proc/cpuinfo").unwrap_or_default();
        let mut flags = processor.lines().filter(|line| line.starts_with("flags"));
        let under = flags.any(|line| line.split_whitespace().any(|flag| flag == "hypervisor"));
        under.then(String::new)
    }

    fn container(&self) -> Option<String> {
        if let Some(kind) = self.known.container.as_ref().filter(|it| !it.is_empty()) {
            return Some(kind.clone());
        }
        match kernel::system::surroundings() {
            Surroundings::Machine => None,
            Surroundings::Container(_) => {
                let marks = [("/run/.containerenv", "podman"), ("/.dockerenv", "docker")];
                let kind = marks
                    .into_iter()
                    .find(|(path, _)| kernel::files::exists(path));
                Some(kind.map_or("", |(_, kind)| kind).to_owned())
            }
        }
    }
}

/// Words of the kernel command line; in double quotes, spaces belong to a word.
fn words(text: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word = String::new();
    let mut quoted = false;
    for character in text.chars() {
        match character {
            '"' => quoted = !quoted,
            space if space.is_whitespace() && !quoted => {
                words.extend((!word.is_empty()).then(|| std::mem::take(&mut word)));
            }
            other => word.push(other),
        }
    }
    words.extend((!word.is_empty()).then_some(word));
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_command_line_is_taken_apart() {
        let got = words("quiet  a=b dyndbg=\"file x +p\" \"c d\"\n");
        assert_eq!(got, ["quiet", "a=b", "dyndbg=file x +p", "c d"]);
        assert_eq!(words(" \n"), Vec::<String>::new());
    }

    #[test]
    fn what_is_known_is_told() {
        let known = Known {
            slot: Some("b".to_owned()),
            container: Some("lxc".to_owned()),
            first_boot_mark: "/nowhere/first-boot".to_owned(),
        };
        let machine = Machine::new(&known);
        assert_eq!(machine.slot(), Some(Slot::B));
        assert_eq!(machine.container().as_deref(), Some("lxc"));
        assert_eq!((machine.vm(), machine.first_boot()), (None, false));
        assert_eq!(machine.exists(Path::new("/proc/self/status/x")), Ok(false));
        assert_eq!(machine.exists(Path::new("/proc")), Ok(true));
        assert!(machine.architecture().is_some());
    }
}
