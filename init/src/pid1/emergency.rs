//! The one way out when PID 1 itself is broken: say where, then restart the machine, or leave the
//! namespace. Not here: failures of services, which are ordinary.
//!
//! A PID 1 that ends takes the kernel down without a word about why, and one that hangs takes the
//! machine out of reach; a restart at least gives it another chance.

use std::fs::OpenOptions;
use std::io::Write;
use std::time::Duration;

use services::control::BootMode;

/// Exit status in a namespace, EX_SOFTWARE of sysexits.h.
const BROKEN: i32 = 70;
/// So long the words stay on the console.
const READ_IT: Duration = Duration::from_secs(5);

/// Makes every panic take this way out.
pub(crate) fn install(mode: BootMode) {
    std::panic::set_hook(Box::new(move |panic| {
        die(mode, &format!("init is broken: {panic}"));
    }));
}

/// Says `text` and takes the way out. Nothing in it allocates more than the line, waits for a disk
/// or can panic again.
pub(crate) fn die(mode: BootMode, text: &str) -> ! {
    let text = text.replace('\n', " ");
    let contained = match mode {
        BootMode::Container => true,
        BootMode::Disk | BootMode::Initramfs | BootMode::Direct => false,
    };
    let path = if contained {
        "/proc/self/fd/2"
    } else {
        "/dev/kmsg"
    };
    if let Ok(mut sink) = OpenOptions::new().write(true).open(path) {
        let level = if contained { "" } else { "<24>" };
        let _lost = sink.write_all(format!("{level}shark: {text}\n").as_bytes());
    }
    if contained {
        std::process::exit(BROKEN);
    }
    std::thread::sleep(READ_IT);
    loop {
        // It returns only if it fails, and then there is nothing better than to try again.
        let _failed = kernel::reboot::reboot(kernel::reboot::Kind::Restart);
        std::thread::sleep(READ_IT);
    }
}
