//! The variable by which systemd-boot is told an entry for the next boot alone. Firmware that refuses it
//! is told of and stops nothing: the entries alone suffice.

use kernel::efi;
use mounts::loader::boot_loader_spec::OneShot;

/// Where the variables are mounted for a moment.
const PLACE: &str = "/run/shark/efivars";
/// As the Boot Loader Interface names it.
const NAME: &str = "LoaderEntryOneShot-4a67b082-0a4c-41cf-b6c7-440b29bb8c4f";

/// The firmware's variables.
#[derive(Debug)]
pub(super) struct Variables {
    say: fn(&str),
}

impl Variables {
    pub(super) const fn new(say: fn(&str)) -> Self {
        Self { say }
    }

    fn change(&self, change: impl FnOnce(&efi::Variables) -> kernel::Result<()>) {
        let changed = efi::Variables::mount(PLACE).and_then(|variables| change(&variables));
        if let Err(error) = changed {
            (self.say)(&format!(
                "boot loader: {error}; its entries are in order, and that suffices"
            ));
        }
    }
}

impl OneShot for Variables {
    fn set(&mut self, pattern: &str) {
        self.change(|variables| variables.set(NAME, &wide(pattern)));
    }

    fn clear(&mut self) {
        self.change(|variables| variables.remove(NAME));
    }
}

/// UTF-16, little-endian, with a zero at its end.
fn wide(text: &str) -> Vec<u8> {
    text.encode_utf16()
        .chain([0])
        .flat_map(u16::to_le_bytes)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_of_the_firmware_are_wide() {
        assert_eq!(wide("a*"), [b'a', 0, b'*', 0, 0, 0]);
    }
}
