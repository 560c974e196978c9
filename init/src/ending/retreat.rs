//! The way off the root filesystem: a tmpfs with a copy of this program becomes the root, so that the
//! old one can be unmounted. Not here: unmounting it (`last`).

use kernel::mount::MountPropagationFlags;
use services::status::ShutdownKind;

use super::bequest::Bequest;
use crate::arguments::shutdown_word;

/// Where the tmpfs is made.
const REFUGE: &str = "/run/shark-final";
/// Where the old root is then, as `last` sees it.
pub(super) const OLD_ROOT: &str = "/old";
/// What the refuge needs of the old root.
const MOVED: [&str; 3] = ["/proc", "/sys", "/dev"];

/// Becomes `init final KIND` in the refuge. Returns only the reason why not.
pub(super) fn into_memory(kind: ShutdownKind, bequest: &Bequest) -> String {
    match prepare(kind, bequest) {
        Ok(never) => match never {},
        Err(error) => error,
    }
}

fn prepare(kind: ShutdownKind, bequest: &Bequest) -> Result<std::convert::Infallible, String> {
    if !cfg!(target_feature = "crt-static") {
        return Err("this build of init needs libraries of it".to_owned());
    }
    let text = |error: kernel::Error| error.to_string();
    kernel::files::make_dirs(REFUGE, 0o700).map_err(text)?;
    kernel::mount::mount(
        "tmpfs",
        REFUGE,
        "tmpfs",
        kernel::mount::MountFlags::empty(),
        "mode=0700,size=16m",
    )
    .map_err(text)?;
    for directory in MOVED.iter().chain([&OLD_ROOT]) {
        kernel::files::make_dirs(&format!("{REFUGE}{directory}"), 0o755).map_err(text)?;
    }
    let copy = format!("{REFUGE}/init");
    kernel::files::copy("/proc/self/exe", &copy, 0o700).map_err(text)?;
    // What made the mounts shared (a container engine does) would forbid moving them.
    let private = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
    kernel::mount::set_propagation("/", private).map_err(text)?;
    change_root().map_err(text)?;
    let mut plan =
        kernel::spawn::Plan::new(&["/init", "final", shutdown_word(kind)]).map_err(text)?;
    plan.set_env("PATH", "/").map_err(text)?;
    let (name, value) = bequest.variable();
    plan.set_env(name, &value).map_err(text)?;
    Err(text(kernel::spawn::exec(&plan)))
}

/// Makes the refuge the root. Where that fails, as it does on a root that is the initramfs, [`MOVED`]
/// is where it was: whoever unmounts from there reads /proc and needs /dev.
fn change_root() -> kernel::Result<()> {
    let mut changed: kernel::Result<()> = Ok(());
    let mut moved = Vec::new();
    for directory in MOVED {
        changed = kernel::mount::move_to(directory, &format!("{REFUGE}{directory}"));
        if changed.is_err() {
            break;
        }
        moved.push(directory);
    }
    if changed.is_ok() {
        changed = kernel::mount::pivot_root(REFUGE, &format!("{REFUGE}{OLD_ROOT}"));
    }
    if changed.is_err() {
        for directory in moved.into_iter().rev() {
            let _ = kernel::mount::move_to(&format!("{REFUGE}{directory}"), directory);
        }
    }
    changed
}
