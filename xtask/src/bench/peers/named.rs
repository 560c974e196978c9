//! Inits that Debian 12 does not package: their configuration by name; their program comes by path
//! and is a static one.

use std::path::Path;

use anyhow::Result;
use initramfs::archive::Entry;

use super::contestant::Prepared;
use super::layers;

/// One that we know how to configure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Named {
    Dinit,
    S6Rc,
    Nitro,
}

impl Named {
    pub(super) const ALL: [Self; 3] = [Self::Dinit, Self::S6Rc, Self::Nitro];

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Dinit => "dinit",
            Self::S6Rc => "s6-rc",
            Self::Nitro => "nitro",
        }
    }

    pub(super) const fn dependencies(self) -> &'static str {
        match self {
            Self::Dinit | Self::S6Rc => "yes",
            Self::Nitro => "no",
        }
    }

    /// The root with n services and the program at `path`: for s6-rc the directory that all programs
    /// of skarnet's are in.
    pub(super) fn prepare(self, path: &Path, n: u32, prepared: &mut Prepared) -> Result<()> {
        match self {
            Self::Dinit => dinit(path, n, prepared),
            Self::S6Rc => s6_rc(path, n, prepared),
            Self::Nitro => nitro(path, n, prepared),
        }
    }
}

fn dinit(path: &Path, n: u32, prepared: &mut Prepared) -> Result<()> {
    prepared.program("usr/sbin/dinit", path)?;
    let mut boot = String::from("type = internal\n");
    for (number, needs) in layers::services(n) {
        boot.push_str(&format!("depends-on = s{number}\n"));
        let needs = needs.map_or(String::new(), |it| format!("depends-on = s{it}\n"));
        let text = format!(
            "type = process\ncommand = /bench/service {number}\nrestart = true\n\
             smooth-recovery = true\nrestart-delay = 0\nrestart-limit-count = 0\n{needs}"
        );
        prepared.text(&format!("etc/dinit.d/s{number}"), text);
    }
    prepared.text("etc/dinit.d/boot", boot);
    prepared.words(&["/usr/sbin/dinit", "-q"]);
    Ok(())
}

/// What of skarnet's programs runs: supervisor, manager, and what its own two services consist of.
const S6_RC: [&str; 19] = [
    "s6-svscan",
    "s6-supervise",
    "s6-rc",
    "s6-rc-init",
    "s6-svlisten",
    "s6-ipcserver-socketbinder",
    "s6-ipcserverd",
    "s6-fdholder-daemon",
    "s6-fdholderd",
    "s6-ipcclient",
    "s6-svc",
    "execlineb",
    "exit",
    "fdmove",
    "forstdin",
    "foreground",
    "if",
    "pipeline",
    "redirfd",
];

/// What they execute by its full path, from `libexec` beside that directory.
const S6_RC_INTERNAL: [&str; 2] = ["s6-ftrigrd", "s6-rc-fdholder-filler"];

/// The database is made by s6-rc-compile of the same directory, on the host.
fn s6_rc(path: &Path, n: u32, prepared: &mut Prepared) -> Result<()> {
    let dir = tempfile::tempdir()?;
    let (source, compiled) = (dir.path().join("source"), dir.path().join("compiled"));
    let write = |name: String, text: &str| {
        let path = source.join(name);
        crate::paths::make_dir(path.parent().unwrap_or(&source))?;
        Ok::<(), anyhow::Error>(std::fs::write(path, text)?)
    };
    for (number, needs) in layers::services(n) {
        write(format!("s{number}/type"), "longrun\n")?;
        write(format!("s{number}/run"), "replaced below\n")?;
        if let Some(needs) = needs {
            write(format!("s{number}/dependencies.d/s{needs}"), "")?;
        }
        write(format!("all/contents.d/s{number}"), "")?;
    }
    write("all/type".into(), "bundle\n")?;
    crate::command::run(
        crate::command::new(path.join("s6-rc-compile"))
            .arg(&compiled)
            .arg(&source),
    )?;
    super::debian::add_tree(&compiled, "etc/s6-rc/compiled", prepared)?;
    // No interpreter between the supervisor and the service.
    for (number, _) in layers::services(n) {
        let run = format!("etc/s6-rc/compiled/servicedirs/s{number}/run");
        prepared.entries.retain(|(path, _)| *path != run);
        prepared.link(&run, "/bench/service");
    }
    for name in S6_RC {
        prepared.program(&format!("usr/bin/{name}"), &path.join(name))?;
    }
    for name in S6_RC_INTERNAL {
        let from = path.join("../libexec").join(name);
        prepared.program(&format!("usr/libexec/{name}"), &from)?;
    }
    // The scanner is PID 1; what brings the rest up is a service that runs once.
    let script = |text: &str| Entry::file(0o755, text.as_bytes().to_vec());
    let start = "#!/usr/bin/execlineb -P\nforeground { s6-rc-init -c /etc/s6-rc/compiled /service }\n\
                 s6-rc -u change all\n";
    let finish = "#!/usr/bin/execlineb -P\nexit 125\n";
    prepared
        .entries
        .push(("service/rc/run".into(), script(start)));
    prepared
        .entries
        .push(("service/rc/finish".into(), script(finish)));
    prepared.words(&["/usr/bin/s6-svscan", "-C", "1010", "/service"]);
    Ok(())
}

fn nitro(path: &Path, n: u32, prepared: &mut Prepared) -> Result<()> {
    prepared.program("usr/sbin/nitro", path)?;
    for (number, _) in layers::services(n) {
        prepared.link(&format!("etc/nitro/s{number}/run"), "/bench/service");
    }
    prepared.words(&["/usr/sbin/nitro", "/etc/nitro"]);
    Ok(())
}
