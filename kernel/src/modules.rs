//! Loading kernel modules from files. Not here: which ones, and in which order (`mounts::modules`).

use rustix::fs::{Mode, OFlags, open};
use rustix::io::retry_on_intr;
use rustix::system::finit_module;

use crate::error::{At, Errno, Error, Result};

/// `MODULE_INIT_COMPRESSED_FILE` of linux/module.h (Linux 5.17).
const COMPRESSED: i32 = 4;

/// Whether a module had to be loaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loaded {
    /// It was loaded.
    Now,
    /// It was there already.
    Before,
}

/// Loads the module in the file `path` with `parameters` (`name=value`, separated by spaces). A
/// file ending in .xz, .zst or .gz is handed to the kernel as it is, which must be able to unpack it
/// (CONFIG_MODULE_DECOMPRESS).
///
/// The call waits for the module's own initialisation.
///
/// # Errors
/// finit_module(2): ENOENT for a symbol or parameter it does not know, ENODEV without its hardware,
/// EINVAL for a bad parameter, ENOEXEC for another kernel's module, EKEYREJECTED.
pub fn load(path: &str, parameters: &str) -> Result<Loaded> {
    let parameters = std::ffi::CString::new(parameters)
        .map_err(|_| Error::new("finit_module", path, Errno::INVAL))?;
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    let fd = open(path, flags, Mode::empty()).at("open", path)?;
    let compressed = [".xz", ".zst", ".gz"].iter().any(|end| path.ends_with(end));
    let flags = if compressed { COMPRESSED } else { 0 };
    match retry_on_intr(|| finit_module(&fd, &parameters, flags)) {
        Ok(()) => Ok(Loaded::Now),
        Err(Errno::EXIST) => Ok(Loaded::Before),
        Err(errno) => Err(errno).at("finit_module", path),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_module_is_refused() {
        let errno = load("/nonexistent.ko", "").unwrap_err().errno;
        assert_eq!(errno, Errno::NOENT);
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.ko");
        std::fs::write(&path, "not a module").unwrap();
        let error = load(path.to_str().unwrap(), "").unwrap_err();
        assert_eq!(error.operation, "finit_module");
        let known = [Errno::NOEXEC, Errno::PERM, Errno::NOSYS];
        assert!(known.contains(&error.errno), "{error}");
        assert!(load(path.to_str().unwrap(), "a\0").is_err());
    }
}
