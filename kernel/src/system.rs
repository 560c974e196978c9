//! What this machine is: kernel, host name, and whether we are PID 1 of a machine or of a container.
//! Not here: what to do about it.

use crate::error::{At, Result, last_errno};
use crate::files;

/// The running kernel's release, `uname -r`.
#[must_use]
pub fn kernel_release() -> String {
    let name = rustix::system::uname();
    name.release().to_string_lossy().into_owned()
}

/// The machine's architecture, `uname -m`: `x86_64`, `aarch64`.
#[must_use]
pub fn architecture() -> String {
    let name = rustix::system::uname();
    name.machine().to_string_lossy().into_owned()
}

/// The kernel's id of this boot (random(4)); `None` where /proc does not tell it.
#[must_use]
pub fn boot_id() -> Option<[u8; 16]> {
    let text = files::read_text("/proc/sys/kernel/random/boot_id", 64).ok()?;
    parse_boot_id(&text)
}

/// The sixteen bytes of a UUID, in the order of its text.
fn parse_boot_id(text: &str) -> Option<[u8; 16]> {
    let digits: Vec<u8> = text.trim().bytes().filter(|byte| *byte != b'-').collect();
    let mut id = [0; 16];
    let (pairs, rest) = digits.as_chunks::<2>();
    if pairs.len() != id.len() || !rest.is_empty() {
        return None;
    }
    for (byte, pair) in id.iter_mut().zip(pairs) {
        *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
    }
    Some(id)
}

/// Sets the host name.
///
/// # Errors
/// sethostname(2): EPERM, EINVAL past 64 bytes.
pub fn set_hostname(name: &str) -> Result<()> {
    rustix::system::sethostname(name.as_bytes()).at("sethostname", name)
}

/// Whether this process is PID 1 of its PID namespace.
#[must_use]
pub fn is_pid_1() -> bool {
    std::process::id() == 1
}

/// Effective user of this process.
#[must_use]
pub fn uid() -> u32 {
    rustix::process::geteuid().as_raw()
}

/// Writes a kernel setting: `set_sysctl("kernel.panic", "10")`.
///
/// # Errors
/// ENOENT for a name this kernel does not have, EROFS in many containers, EINVAL for the value.
pub fn set_sysctl(name: &str, value: &str) -> Result<()> {
    let path = format!("/proc/sys/{}", name.replace('.', "/"));
    files::write_value(&path, value)
}

/// Raises the limit of this process's descriptors to `wanted`, as far as it may; what it is then.
///
/// # Errors
/// setrlimit(2): EPERM past the hard limit, which is tried only with the right to raise it.
pub fn raise_descriptor_limit(wanted: u64) -> Result<u64> {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let present = getrlimit(Resource::Nofile);
    let both = Rlimit {
        current: Some(wanted),
        maximum: Some(wanted.max(present.maximum.unwrap_or(wanted))),
    };
    if setrlimit(Resource::Nofile, both).is_ok() {
        return Ok(wanted);
    }
    let most = present.maximum.map_or(wanted, |hard| hard.min(wanted));
    let within = Rlimit {
        current: Some(most),
        maximum: present.maximum,
    };
    setrlimit(Resource::Nofile, within).at("setrlimit", "RLIMIT_NOFILE")?;
    Ok(most)
}

/// Lets this process, and the children it makes, read and write disks only when nobody else wants to
/// (the idle class of ioprio_set(2)). Schedulers without classes take no notice of it.
///
/// # Errors
/// ioprio_set(2): EPERM in some sandboxes.
pub fn idle_io() -> Result<()> {
    // linux/ioprio.h: a process by its pid; the class is in the bits from 13 on, 3 is idle.
    const WHO_PROCESS: libc::c_int = 1;
    const IDLE: libc::c_int = 3 << 13;
    // SAFETY: plain numbers; pid 0 is the caller.
    let answer = unsafe { libc::syscall(libc::SYS_ioprio_set, WHO_PROCESS, 0, IDLE) };
    match answer {
        0 => Ok(()),
        _ => Err(last_errno()).at("ioprio_set", "idle"),
    }
}

/// Ends this process at once, without unwinding and without running anything at exit.
pub fn exit(code: u8) -> ! {
    // SAFETY: does not return; nothing of this process is used afterwards.
    unsafe { libc::_exit(code.into()) }
}

/// Where we run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Surroundings {
    /// A machine of our own, real or virtual.
    Machine,
    /// A container, and how we know.
    Container(String),
}

/// Has the OOM killer pass this process by, and those that it starts.
///
/// # Errors
/// write(2): EACCES without CAP_SYS_RESOURCE in the first user namespace.
pub fn spare_from_oom() -> crate::error::Result<()> {
    files::write_value("/proc/self/oom_score_adj", "-1000")
}

/// Looks for the marks containers leave: the variable `container` (the convention of LXC, podman and
/// nspawn), their files, and a PID namespace or user namespace that is not the first.
#[must_use]
pub fn surroundings() -> Surroundings {
    let variable = std::env::var("container").ok();
    let file = ["/run/.containerenv", "/.dockerenv"]
        .into_iter()
        .find(|path| files::exists(path));
    let namespace = |name: &str| {
        let path = format!("/proc/self/ns/{name}");
        let link = rustix::fs::readlink(path, Vec::new()).ok()?;
        link.into_string().ok()
    };
    judge(variable.as_deref(), file, &namespace)
}

/// Inode numbers of the first namespaces: include/linux/proc_ns.h (PROC_PID_INIT_INO and
/// PROC_USER_INIT_INO), stable since Linux 3.8.
const FIRST_NAMESPACES: [(&str, &str); 2] =
    [("pid", "pid:[4026531836]"), ("user", "user:[4026531837]")];

fn judge(
    variable: Option<&str>,
    file: Option<&str>,
    namespace: &dyn Fn(&str) -> Option<String>,
) -> Surroundings {
    if let Some(value) = variable.filter(|value| !value.is_empty()) {
        return Surroundings::Container(format!("environment container={value}"));
    }
    // Namespaces are facts; a file may have been left in a root that was once a container's image,
    // so the kernel's word is heard first.
    let mut known = true;
    for (name, first) in FIRST_NAMESPACES {
        match namespace(name) {
            Some(here) if here != first => {
                return Surroundings::Container(format!("{name} namespace {here}"));
            }
            Some(_) => {}
            None => known = false,
        }
    }
    match file {
        Some(path) if !known => Surroundings::Container(format!("{path} exists")),
        _ => Surroundings::Machine,
    }
}

/// The program a hypervisor claims to be, where one says so in DMI: `QEMU`, `VMware, Inc.`; for
/// people only.
#[must_use]
pub fn hypervisor() -> Option<String> {
    let vendor = files::read_text("/sys/class/dmi/id/sys_vendor", 256).ok()?;
    let vendor = vendor.trim();
    let known = [
        "QEMU",
        "VMware",
        "innotek",
        "Microsoft",
        "Xen",
        "Amazon EC2",
        "Google",
        "Bochs",
    ];
    known
        .iter()
        .any(|name| vendor.starts_with(name))
        .then(|| vendor.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_boot_id_is_sixteen_bytes_in_the_order_of_its_text() {
        let id = parse_boot_id("00112233-4455-6677-8899-aabbccddeeff\n").unwrap();
        assert_eq!((id[0], id[1], id[15]), (0x00, 0x11, 0xff));
        for bad in ["", "0011", "zz112233-4455-6677-8899-aabbccddeeff"] {
            assert_eq!(parse_boot_id(bad), None, "{bad}");
        }
        assert!(boot_id().is_some());
    }

    fn check(variable: Option<&str>, file: Option<&str>, pid: Option<&str>, expect: Option<&str>) {
        let namespace = |name: &str| match name {
            "pid" => pid.map(str::to_owned),
            _ => pid.map(|_| FIRST_NAMESPACES[1].1.to_owned()),
        };
        let got = judge(variable, file, &namespace);
        let expect = expect.map_or(Surroundings::Machine, |why| {
            Surroundings::Container(why.to_owned())
        });
        assert_eq!(got, expect);
    }

    #[test]
    fn containers_are_told_from_machines() {
        let first = Some("pid:[4026531836]");
        check(None, None, first, None);
        check(Some(""), None, first, None);
        check(Some("lxc"), None, first, Some("environment container=lxc"));
        let other = Some("pid:[4026532177]");
        check(None, None, other, Some("pid namespace pid:[4026532177]"));
        let file = Some("/.dockerenv");
        check(None, file, first, None);
        check(None, file, None, Some("/.dockerenv exists"));
        check(None, None, None, None);
    }

    #[test]
    fn a_thread_goes_to_the_idle_class() {
        let class = std::thread::spawn(|| {
            idle_io().unwrap();
            // SAFETY: plain numbers.
            unsafe { libc::syscall(libc::SYS_ioprio_get, 1, 0) >> 13 }
        });
        assert_eq!(class.join().unwrap(), 3);
    }

    #[test]
    fn knows_the_kernel() {
        let text = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
        assert_eq!(kernel_release(), text.trim());
        assert!(["x86_64", "aarch64"].contains(&architecture().as_str()));
        assert!(!is_pid_1());
        let errno = set_sysctl("kernel.no-such-thing", "1").unwrap_err().errno;
        assert_eq!(errno, crate::Errno::NOENT);
    }
}
