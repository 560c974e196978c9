//! Watchdogs: opening one, asking what it is, setting its time, feeding it, handing it on. Not here:
//! when it is fed, and which one is taken (stage1 and init).
//!
//! Source: Documentation/watchdog/watchdog-api.rst, include/uapi/linux/watchdog.h. From the moment
//! it is opened a watchdog runs. It is stopped by [`Watchdog::disarm`] alone: closing the
//! descriptor, or the end of the process, leaves it running, and the machine is reset.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use rustix::fs::{Mode, OFlags, open};
use rustix::io::{FdFlags, fcntl_setfd, retry_on_intr};

use crate::error::{At, Errno, Error, Result, last_errno};

/// Bytes of `struct watchdog_info`: options, firmware version, identity.
const INFO: usize = 40;
/// `WDIOF_CARDRESET`: the last reset was the watchdog's.
const CARD_RESET: u32 = 0x0020;
/// `WDIOS_DISABLECARD`.
const DISABLE: i32 = 0x0001;
/// What is written to say "the next close is meant": the magic close.
const MAGIC: u8 = b'V';

/// `_IOC(direction, 'W', number, size)`.
#[allow(
    clippy::cast_possible_wrap,
    reason = "an int in musl, where the bits count"
)]
const fn request(direction: u32, number: u32, size: u32) -> libc::Ioctl {
    (direction << 30 | size << 16 | 0x57 << 8 | number) as libc::Ioctl
}

const READ: u32 = 2;
const BOTH: u32 = 3;
const GETSUPPORT: libc::Ioctl = request(READ, 0, 40);
const GETBOOTSTATUS: libc::Ioctl = request(READ, 2, 4);
const SETOPTIONS: libc::Ioctl = request(READ, 4, 4);
const SETTIMEOUT: libc::Ioctl = request(BOTH, 6, 4);
const GETTIMEOUT: libc::Ioctl = request(READ, 7, 4);

/// What a watchdog says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Info {
    /// Its name: `i6300ESB timer`, `Software Watchdog`.
    pub identity: String,
    /// `WDIOF_*` bits.
    pub options: u32,
}

/// Why the machine started, as far as the watchdog knows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BootStatus {
    /// The watchdog had run out and reset the machine.
    pub card_reset: bool,
    /// All `WDIOF_*` bits. Drivers that remember nothing give 0.
    pub raw: u32,
}

/// An open watchdog, running.
#[derive(Debug)]
pub struct Watchdog {
    fd: OwnedFd,
    path: String,
}

impl Watchdog {
    /// Opens `path` (`/dev/watchdog0`), which starts it.
    ///
    /// # Errors
    /// open(2): EBUSY when somebody has it open, ENOENT, ENODEV.
    pub fn open(path: &str) -> Result<Self> {
        let flags = OFlags::WRONLY | OFlags::CLOEXEC | OFlags::NOCTTY;
        let fd = retry_on_intr(|| open(path, flags, Mode::empty())).at("open", path)?;
        Ok(Self::from_fd(fd, path))
    }

    /// The watchdog behind a descriptor that is open already; `path` is for messages.
    #[must_use]
    pub fn from_fd(fd: OwnedFd, path: &str) -> Self {
        Self {
            fd,
            path: path.to_owned(),
        }
    }

    /// Takes over the watchdog that the program before this one left open at `number`
    /// ([`Watchdog::keep_over_exec`]). It never stops being open: the answer has a descriptor of its
    /// own, CLOEXEC, and `number` is closed after.
    ///
    /// # Errors
    /// EBADF: nothing is open there. ENOTTY: it is no watchdog, and is left as it is.
    pub fn inherited(number: i32, path: &str) -> Result<Self> {
        let watchdog = Self::from_fd(crate::inherited::duplicate(number)?, path);
        watchdog.info()?;
        // SAFETY: a watchdog can be open once only and nothing but this module opens one, so this
        // descriptor is the one that came over exec, and nobody in this program owns it.
        drop(unsafe { OwnedFd::from_raw_fd(number) });
        Ok(watchdog)
    }

    /// Its path, for messages.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.path
    }

    /// What it is.
    ///
    /// # Errors
    /// ioctl WDIOC_GETSUPPORT: ENOTTY when this is no watchdog.
    pub fn info(&self) -> Result<Info> {
        let mut info = Raw([0; INFO]);
        // SAFETY: the request writes a watchdog_info of 40 bytes to a pointer good for them.
        unsafe { self.ioctl(GETSUPPORT, (&raw mut info).cast()) }
            .at("ioctl", format_args!("WDIOC_GETSUPPORT {}", self.path))?;
        Ok(info.parse())
    }

    /// Sets the time in which it must be fed; the time that the driver took, which may differ.
    ///
    /// # Errors
    /// ioctl WDIOC_SETTIMEOUT: EINVAL outside of what the hardware can, EOPNOTSUPP where the time is
    /// fixed.
    pub fn set_timeout(&self, seconds: u32) -> Result<u32> {
        let object = || format!("WDIOC_SETTIMEOUT {} to {seconds} s", self.path);
        let mut value =
            i32::try_from(seconds).map_err(|_| Error::new("ioctl", object(), Errno::INVAL))?;
        // SAFETY: the request reads and writes one int at a pointer good for it.
        unsafe { self.ioctl(SETTIMEOUT, (&raw mut value).cast()) }
            .map_err(|errno| Error::new("ioctl", object(), errno))?;
        Ok(u32::try_from(value).unwrap_or(seconds))
    }

    /// The time in which it must be fed, in seconds.
    ///
    /// # Errors
    /// ioctl WDIOC_GETTIMEOUT: EOPNOTSUPP.
    pub fn timeout(&self) -> Result<u32> {
        self.number(GETTIMEOUT, "WDIOC_GETTIMEOUT")
    }

    /// Whether the last reset was its doing.
    ///
    /// # Errors
    /// ioctl WDIOC_GETBOOTSTATUS.
    pub fn boot_status(&self) -> Result<BootStatus> {
        let raw = self.number(GETBOOTSTATUS, "WDIOC_GETBOOTSTATUS")?;
        Ok(BootStatus {
            card_reset: raw & CARD_RESET != 0,
            raw,
        })
    }

    /// Tells it that all is well: its time starts again. Does not block.
    ///
    /// # Errors
    /// write(2): ENODEV when the hardware is gone.
    pub fn feed(&self) -> Result<()> {
        // Any byte but the magic one; unlike WDIOC_KEEPALIVE every driver has it.
        crate::files::write_once(&self.fd, &[0]).at("feed", &self.path)
    }

    /// Stops it and closes it: for a machine that is to stand still for long.
    ///
    /// # Errors
    /// EBUSY: it cannot be stopped (`nowayout`), and resets the machine after its time.
    pub fn disarm(self) -> Result<()> {
        let mut options = DISABLE;
        // SAFETY: the request reads one int from a pointer good for it.
        let stopped = unsafe { self.ioctl(SETOPTIONS, (&raw mut options).cast()) };
        // The magic close stops those that do not know the request.
        let magic = crate::files::write_once(&self.fd, &[MAGIC]);
        match stopped {
            Ok(()) | Err(Errno::NOTTY | Errno::OPNOTSUPP) => magic.at("disarm", &self.path),
            Err(errno) => Err(errno).at("disarm", &self.path),
        }
    }

    /// Lets the descriptor stay open over execve(2); its number, for the next program. This value
    /// must live until then, because its end closes the descriptor.
    ///
    /// # Errors
    /// fcntl(2); none is known for an open descriptor.
    pub fn keep_over_exec(&self) -> Result<i32> {
        fcntl_setfd(&self.fd, FdFlags::empty()).at("fcntl", &self.path)?;
        Ok(self.fd.as_raw_fd())
    }

    fn number(&self, request: libc::Ioctl, name: &'static str) -> Result<u32> {
        let mut value = 0_i32;
        // SAFETY: the request writes one int to a pointer good for it.
        unsafe { self.ioctl(request, (&raw mut value).cast()) }
            .at("ioctl", format_args!("{name} {}", self.path))?;
        Ok(value.cast_unsigned())
    }

    /// # Safety
    /// `argument` is what the request asks for.
    unsafe fn ioctl(
        &self,
        request: libc::Ioctl,
        argument: *mut libc::c_void,
    ) -> rustix::io::Result<()> {
        retry_on_intr(|| {
            // SAFETY: the caller's promise.
            match unsafe { libc::ioctl(self.fd.as_raw_fd(), request, argument) } {
                -1 => Err(last_errno()),
                _ => Ok(()),
            }
        })
    }
}

impl AsFd for Watchdog {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// `struct watchdog_info`, aligned for its numbers.
#[repr(C, align(4))]
struct Raw([u8; INFO]);

impl Raw {
    fn parse(&self) -> Info {
        let options = self.0.first_chunk().map_or(0, |it| u32::from_ne_bytes(*it));
        let name = self.0.get(8..).unwrap_or_default();
        let name = name.split(|byte| *byte == 0).next().unwrap_or_default();
        Info {
            identity: String::from_utf8_lossy(name).trim().to_owned(),
            options,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    #[test]
    fn requests_are_those_of_the_header_file() {
        let bits = |request: libc::Ioctl| request & 0xffff_ffff;
        assert_eq!(bits(GETSUPPORT), 0x8028_5700);
        assert_eq!(bits(GETBOOTSTATUS), 0x8004_5702);
        assert_eq!(bits(SETOPTIONS), 0x8004_5704);
        assert_eq!(bits(SETTIMEOUT), 0xc004_5706);
        assert_eq!(bits(GETTIMEOUT), 0x8004_5707);
    }

    #[test]
    fn what_the_driver_says_is_read() {
        let mut raw = Raw([0; INFO]);
        raw.0[..4].copy_from_slice(&0x8180_u32.to_ne_bytes());
        raw.0[8..22].copy_from_slice(b"i6300ESB timer");
        let info = raw.parse();
        assert_eq!(info.identity, "i6300ESB timer");
        assert_eq!(info.options, 0x8180);
        assert_eq!(Raw([0xff; INFO]).parse().identity.chars().count(), 32);
    }

    /// A pipe stands for the device: what is written to it is what a driver would get.
    #[test]
    fn feeding_is_not_the_magic_close() {
        let (mut reader, writer) = std::io::pipe().unwrap();
        let watchdog = Watchdog::from_fd(writer.into(), "/dev/watchdog0");
        watchdog.feed().unwrap();
        watchdog.feed().unwrap();
        let error = watchdog.info().unwrap_err();
        assert_eq!(error.errno, Errno::NOTTY);
        assert!(error.to_string().contains("/dev/watchdog0"), "{error}");
        assert!(watchdog.set_timeout(u32::MAX).is_err());
        watchdog.disarm().unwrap();
        let mut written = Vec::new();
        reader.read_to_end(&mut written).unwrap();
        assert_eq!(written, b"\0\0V");
    }

    #[test]
    fn a_descriptor_can_be_kept_over_exec_and_a_strangers_is_left_alone() {
        let (reader, writer) = std::io::pipe().unwrap();
        let watchdog = Watchdog::from_fd(writer.into(), "a pipe");
        let flags = || rustix::io::fcntl_getfd(&watchdog).unwrap();
        assert!(flags().contains(FdFlags::CLOEXEC));
        let number = watchdog.keep_over_exec().unwrap();
        assert_eq!(number, watchdog.as_fd().as_raw_fd());
        assert!(!flags().contains(FdFlags::CLOEXEC));
        let errno = Watchdog::inherited(number, "a pipe").unwrap_err().errno;
        assert_eq!(errno, Errno::NOTTY);
        watchdog.feed().unwrap();
        assert!(Watchdog::inherited(-1, "none").is_err());
        drop(reader);
    }

    #[test]
    fn a_software_watchdog_is_set_fed_and_stopped() {
        let path = "/dev/watchdog0";
        let identity = std::fs::read_to_string("/sys/class/watchdog/watchdog0/identity");
        // A test must not take a machine's own watchdog: one that cannot be stopped resets it.
        if !identity.is_ok_and(|it| it.trim() == "Software Watchdog") {
            return println!("SKIPPED: no software watchdog here");
        }
        let watchdog = match Watchdog::open(path) {
            Ok(watchdog) => watchdog,
            Err(error) => return println!("SKIPPED: {error}"),
        };
        assert_eq!(watchdog.info().unwrap().identity, "Software Watchdog");
        assert_eq!(watchdog.set_timeout(60).unwrap(), 60);
        assert_eq!(watchdog.timeout().unwrap(), 60);
        watchdog.feed().unwrap();
        watchdog.disarm().unwrap();
    }
}
