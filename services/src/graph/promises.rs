//! The promises of a definition that its types do not keep by themselves, looked through again wherever
//! one is unpacked. Not here: relations between services (`check`).

use crate::begin::CredentialSource;
use crate::definition::{
    Burst, Definition, FD_STORE_MOST, Health, Probe, Program, Ready, Reload, Socket,
};
use crate::file::{SOCKET_PATH_MAX, SOCKETS_MAX};

/// The promises of its timer and its restarts.
fn check_times(definition: &Definition) -> Result<(), String> {
    if let Some(timer) = definition.timer.as_deref()
        && !timer.is_sound()
    {
        let message = format!(
            "`{}` has a timer without a time or a pause",
            definition.name
        );
        return Err(message);
    }
    let restart = &definition.restart;
    let counted = |burst: Burst| (1..=Burst::MOST).contains(&burst.starts);
    if restart.jitter > 100 || restart.burst.is_some_and(|burst| !counted(burst)) {
        return Err(format!(
            "`{}` has an impossible jitter or burst of restarts",
            definition.name
        ));
    }
    Ok(())
}

/// The promises of [`Program`] that its type does not keep by itself.
///
/// # Errors
/// Which are broken, for people.
pub(crate) fn check(definition: &Definition) -> Result<(), String> {
    let named = |socket: &Socket| {
        let path = socket.listen.path();
        let absolute = path.is_none_or(|it| it.starts_with('/') && !it.contains('\0'));
        absolute && !socket.name.contains([':', '\0']) && socket.mode <= 0o777
    };
    let sockets = &definition.sockets;
    if sockets.len() > SOCKETS_MAX
        || !sockets.iter().all(named)
        || definition.lazy && (sockets.is_empty() || definition.timer.is_some())
    {
        let message = format!("`{}` has impossible sockets", definition.name);
        return Err(message);
    }
    check_times(definition)?;
    let Some(program) = definition.kind.program() else {
        return Ok(());
    };
    let Program {
        exec,
        begin,
        reload,
        working_dir,
        tty,
        pid_file,
        umask,
        watchdog,
        fd_store_max,
        ..
    } = program;
    let reload = match reload {
        Some(Reload::Command(command)) => Some(command),
        Some(Reload::Signal(_)) | None => None,
    };
    let commands_run = std::iter::once(exec)
        .chain(reload)
        .all(|command| runs(command));
    let files = begin.env_files.iter().map(|file| &file.path);
    let secrets = begin.credentials.iter().filter_map(|it| match &it.from {
        CredentialSource::File(path) => Some(path),
        CredentialSource::Text(_) => None,
    });
    let read = files.chain(secrets).all(|path| path.has_root());
    // A credential's name is that of a file, in a directory that PID 1 removes.
    let mut names = begin.credentials.iter().map(|it| &it.name);
    let named = names.all(|it| !it.contains('/') && !it.starts_with('.'));
    let is_name = |it: &String| !it.is_empty() && !it.contains('/') && *it != "." && *it != "..";
    let absolute = read
        && named
        && begin.versioned.iter().all(is_name)
        && working_dir.has_root()
        && [tty, pid_file]
            .into_iter()
            .flatten()
            .all(|path| path.has_root());
    let watched = watchdog.timeout.is_none_or(|timeout| !timeout.is_zero());
    let bounded = *umask <= 0o777 && *fd_store_max <= FD_STORE_MOST;
    if commands_run && absolute && can_be_asked(program) && watched && bounded {
        Ok(())
    } else {
        Err(format!(
            "`{}` has a command or a directory that is not absolute, an impossible umask, a probe \
             that is impossible or has no pause, a watchdog without time, or too many descriptors \
             to keep",
            definition.name
        ))
    }
}

fn runs(command: &[String]) -> bool {
    command.first().is_some_and(|path| path.starts_with('/'))
}

/// Whether its probes can be made, with a pause after each: without, they would be a loop.
fn can_be_asked(program: &Program) -> bool {
    let found = match &program.ready {
        Some(Ready::Line(fd)) => *fd >= 3,
        Some(Ready::Probe {
            probe, interval, ..
        }) => is_possible(probe) && !interval.is_zero(),
        None => true,
    };
    let health = program.health.as_ref();
    let paced = |it: &Health| it.failures > 0 && !it.interval.is_zero();
    found && health.is_none_or(|it| is_possible(&it.probe) && paced(it))
}

/// The promises of [`Probe`].
fn is_possible(probe: &Probe) -> bool {
    match probe {
        Probe::Exec(command) => runs(command),
        Probe::Tcp(address) => address.port() != 0,
        Probe::Unix(path) => path.has_root() && path.as_os_str().len() <= SOCKET_PATH_MAX,
        Probe::Http { address, path } => {
            let printable = path.bytes().all(|byte| byte.is_ascii_graphic());
            address.port() != 0 && path.starts_with('/') && printable
        }
        Probe::Path(path) => path.has_root(),
    }
}
