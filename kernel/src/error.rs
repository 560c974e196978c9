//! The one error of this crate: operation, object, errno. Not here: what to do about it (callers).

use std::fmt;

pub use rustix::io::Errno;

/// Result of everything that asks Linux for something.
pub type Result<T> = core::result::Result<T, Error>;

/// A request to Linux that failed.
///
/// Displayed as `mount /dev/dm-0 on /sysroot: No such device (ENODEV)`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    /// What was asked for: `mount`, `open`, `DM_DEV_CREATE`.
    pub operation: &'static str,
    /// On what: a path, a name, a number; may be empty.
    pub object: String,
    /// The answer of the kernel.
    pub errno: Errno,
}

impl Error {
    /// An error from its parts.
    #[must_use]
    pub fn new(operation: &'static str, object: impl fmt::Display, errno: Errno) -> Self {
        Self {
            operation,
            object: object.to_string(),
            errno,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.operation)?;
        if !self.object.is_empty() {
            write!(f, " {}", self.object)?;
        }
        f.write_str(": ")?;
        write_errno(f, self.errno)
    }
}

impl std::error::Error for Error {}

/// Writes `No such device (ENODEV)`.
pub(crate) fn write_errno(f: &mut fmt::Formatter<'_>, errno: Errno) -> fmt::Result {
    let number = errno.raw_os_error();
    let text = std::io::Error::from_raw_os_error(number).to_string();
    // std appends the number, which says less than the name does.
    let text = text.split(" (os error").next().unwrap_or_default();
    match name(errno) {
        Some(name) => write!(f, "{text} ({name})"),
        None => write!(f, "{text} (errno {number})"),
    }
}

/// Adds the operation and the object to a bare errno.
pub(crate) trait At<T> {
    fn at(self, operation: &'static str, object: impl fmt::Display) -> Result<T>;
}

impl<T> At<T> for rustix::io::Result<T> {
    fn at(self, operation: &'static str, object: impl fmt::Display) -> Result<T> {
        self.map_err(|errno| Error::new(operation, object, errno))
    }
}

/// The errno the C library left behind, after a call of `libc` returned -1.
pub(crate) fn last_errno() -> Errno {
    std::io::Error::last_os_error()
        .raw_os_error()
        .map_or(Errno::IO, Errno::from_raw_os_error)
}

/// Symbolic names of errno(3), those that init and stage1 can meet.
const NAMES: &[(Errno, &str)] = &[
    (Errno::PERM, "EPERM"),
    (Errno::NOENT, "ENOENT"),
    (Errno::SRCH, "ESRCH"),
    (Errno::INTR, "EINTR"),
    (Errno::IO, "EIO"),
    (Errno::NXIO, "ENXIO"),
    (Errno::TOOBIG, "E2BIG"),
    (Errno::NOEXEC, "ENOEXEC"),
    (Errno::BADF, "EBADF"),
    (Errno::CHILD, "ECHILD"),
    (Errno::AGAIN, "EAGAIN"),
    (Errno::NOMEM, "ENOMEM"),
    (Errno::ACCESS, "EACCES"),
    (Errno::FAULT, "EFAULT"),
    (Errno::NOTBLK, "ENOTBLK"),
    (Errno::BUSY, "EBUSY"),
    (Errno::EXIST, "EEXIST"),
    (Errno::XDEV, "EXDEV"),
    (Errno::NODEV, "ENODEV"),
    (Errno::NOTDIR, "ENOTDIR"),
    (Errno::ISDIR, "EISDIR"),
    (Errno::INVAL, "EINVAL"),
    (Errno::NFILE, "ENFILE"),
    (Errno::MFILE, "EMFILE"),
    (Errno::NOTTY, "ENOTTY"),
    (Errno::TXTBSY, "ETXTBSY"),
    (Errno::FBIG, "EFBIG"),
    (Errno::NOSPC, "ENOSPC"),
    (Errno::SPIPE, "ESPIPE"),
    (Errno::ROFS, "EROFS"),
    (Errno::MLINK, "EMLINK"),
    (Errno::PIPE, "EPIPE"),
    (Errno::RANGE, "ERANGE"),
    (Errno::DEADLK, "EDEADLK"),
    (Errno::NAMETOOLONG, "ENAMETOOLONG"),
    (Errno::NOSYS, "ENOSYS"),
    (Errno::NOTEMPTY, "ENOTEMPTY"),
    (Errno::LOOP, "ELOOP"),
    (Errno::NODATA, "ENODATA"),
    (Errno::PROTO, "EPROTO"),
    (Errno::BADMSG, "EBADMSG"),
    (Errno::OVERFLOW, "EOVERFLOW"),
    (Errno::ILSEQ, "EILSEQ"),
    (Errno::USERS, "EUSERS"),
    (Errno::NOTSOCK, "ENOTSOCK"),
    (Errno::MSGSIZE, "EMSGSIZE"),
    (Errno::OPNOTSUPP, "EOPNOTSUPP"),
    (Errno::AFNOSUPPORT, "EAFNOSUPPORT"),
    (Errno::ADDRINUSE, "EADDRINUSE"),
    (Errno::PROTOTYPE, "EPROTOTYPE"),
    (Errno::ADDRNOTAVAIL, "EADDRNOTAVAIL"),
    (Errno::NETUNREACH, "ENETUNREACH"),
    (Errno::HOSTUNREACH, "EHOSTUNREACH"),
    (Errno::CONNRESET, "ECONNRESET"),
    (Errno::NOBUFS, "ENOBUFS"),
    (Errno::NOTCONN, "ENOTCONN"),
    (Errno::TIMEDOUT, "ETIMEDOUT"),
    (Errno::CONNREFUSED, "ECONNREFUSED"),
    (Errno::STALE, "ESTALE"),
    (Errno::UCLEAN, "EUCLEAN"),
    (Errno::REMOTEIO, "EREMOTEIO"),
    (Errno::DQUOT, "EDQUOT"),
    (Errno::NOMEDIUM, "ENOMEDIUM"),
    (Errno::NOKEY, "ENOKEY"),
    (Errno::KEYREJECTED, "EKEYREJECTED"),
];

/// The symbolic name of errno(3), for those that init and stage1 can meet.
#[must_use]
pub fn name(errno: Errno) -> Option<&'static str> {
    NAMES
        .iter()
        .find(|(known, _)| *known == errno)
        .map(|(_, name)| *name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(error: &Error, text: &str) {
        assert_eq!(error.to_string(), text);
    }

    #[test]
    fn says_operation_object_and_errno() {
        check(
            &Error::new("mount", "/dev/dm-0 on /sysroot", Errno::NODEV),
            "mount /dev/dm-0 on /sysroot: No such device (ENODEV)",
        );
        check(
            &Error::new("sync", "", Errno::IO),
            if cfg!(target_env = "musl") {
                "sync: I/O error (EIO)"
            } else {
                "sync: Input/output error (EIO)"
            },
        );
        check(
            &Error::new("open", "/x", Errno::from_raw_os_error(64)),
            if cfg!(target_env = "musl") {
                "open /x: No error information (errno 64)"
            } else {
                "open /x: Machine is not on the network (errno 64)"
            },
        );
    }
}
