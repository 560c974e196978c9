//! Who is measured: the floors, which are what the kernel itself costs, ourselves, and others. Not
//! here: how others are configured (`debian` for what Debian packages, `named` for what is given by
//! path).

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, anyhow, bail};
use initramfs::archive::Entry;

use super::debian::Debian;
use super::named::Named;
use super::programs::CPrograms;
use super::{layers, named};
use crate::build::Programs;
use crate::image::Packages;

/// What contestants are made of.
pub(super) struct Kit {
    pub(super) programs: CPrograms,
    pub(super) shark: Programs,
    pub(super) packages: Packages,
}

/// One that can be measured.
pub(super) enum Contestant {
    /// A PID 1 of a few lines, and its mode.
    Floor(&'static str),
    /// This project.
    Shark,
    /// What Debian packages.
    Debian(Debian),
    /// What is given by path.
    Named(Named, PathBuf),
}

/// A contestant with its services, ready to be booted.
#[derive(Default)]
pub(super) struct Prepared {
    /// What is in its root, by path.
    pub(super) entries: Vec<(String, Entry)>,
    /// What is executed as PID 1.
    pub(super) words: Vec<String>,
    /// Files below /bench that tell the probe what to do beside.
    pub(super) extras: Vec<(&'static str, String)>,
    /// Bytes of its programs and the libraries they load.
    pub(super) size: u64,
}

impl Prepared {
    /// A text file of the configuration.
    pub(super) fn text(&mut self, path: &str, text: String) {
        self.entries
            .push((path.to_owned(), Entry::file(0o644, text.into_bytes())));
    }

    /// A program from the host; it counts towards the size.
    pub(super) fn program(&mut self, path: &str, from: &Path) -> Result<()> {
        let bytes = fs::read(from).with_context(|| format!("cannot read {}", from.display()))?;
        self.size += bytes.len() as u64;
        self.entries
            .push((path.to_owned(), Entry::file(0o755, bytes)));
        Ok(())
    }

    /// A link.
    pub(super) fn link(&mut self, path: &str, to: &str) {
        self.entries.push((path.to_owned(), Entry::symlink(to)));
    }

    /// What PID 1 is executed as.
    pub(super) fn words(&mut self, words: &[&str]) {
        self.words = words.iter().map(|word| (*word).to_owned()).collect();
    }
}

/// The floors, by how much of our work they do.
const FLOORS: [(&str, &str); 3] = [
    ("floor", "plain"),
    ("floor-cgroup", "cgroup"),
    ("floor-cgroup-ctl", "controllers"),
];

impl Contestant {
    /// All that need no path, the quickest first.
    pub(super) fn known() -> Vec<Self> {
        let floors = FLOORS.iter().map(|(name, _)| Self::Floor(name));
        let debian = Debian::ALL.into_iter().map(Self::Debian);
        floors.chain([Self::Shark]).chain(debian).collect()
    }

    /// The one whose program is at `path`.
    pub(super) fn by_path(name: &str, path: &Path) -> Result<Self> {
        let Some(named) = Named::ALL.into_iter().find(|it| it.name() == name) else {
            let known = Named::ALL.map(named::Named::name).join(", ");
            bail!("--peer {name}=...: there are configurations for {known}");
        };
        Ok(Self::Named(named, path.to_path_buf()))
    }

    pub(super) fn name(&self) -> &str {
        match self {
            Self::Floor(name) => name,
            Self::Shark => "shark",
            Self::Debian(it) => it.name(),
            Self::Named(it, _) => it.name(),
        }
    }

    /// Its name for people.
    pub(super) fn label(&self) -> String {
        match self {
            Self::Floor("floor-cgroup") => "floor-cgroup: the same, a cgroup each".into(),
            Self::Floor("floor-cgroup-ctl") => "floor-cgroup-ctl: memory, pids, cpu on".into(),
            Self::Floor(name) => (*name).into(),
            Self::Shark => "**Shark** (cgroup with memory, pids, cpu; log pipe)".into(),
            Self::Debian(it) => it.label().into(),
            Self::Named(it, path) => format!("{} ({})", it.name(), path.display()),
        }
    }

    /// Whether it knows that one service needs another.
    pub(super) fn dependencies(&self) -> &'static str {
        match self {
            Self::Floor(_) => "order only",
            Self::Shark => "yes",
            Self::Debian(it) => it.dependencies(),
            Self::Named(it, _) => it.dependencies(),
        }
    }

    /// Its root, with n services.
    pub(super) fn prepare(&self, kit: &Kit, n: u32) -> Result<Prepared> {
        let mut prepared = Prepared::default();
        match self {
            Self::Floor(name) => floor(name, kit, n, &mut prepared)?,
            Self::Shark => shark(kit, n, &mut prepared)?,
            Self::Debian(it) => it.prepare(kit, n, &mut prepared)?,
            Self::Named(it, path) => it.prepare(path, n, &mut prepared)?,
        }
        Ok(prepared)
    }
}

fn floor(name: &str, kit: &Kit, n: u32, prepared: &mut Prepared) -> Result<()> {
    let mode = FLOORS.iter().find(|(floor, _)| *floor == name);
    let mode = mode.map_or("plain", |(_, mode)| mode);
    let bytes = kit.programs.read("floor")?;
    prepared.size = bytes.len() as u64;
    prepared
        .entries
        .push(("bench/floor".into(), Entry::file(0o755, bytes)));
    prepared.words(&["/bench/floor", mode, &n.to_string()]);
    Ok(())
}

/// Makes the graph that lies in our images; a file of an initramfs has no time.
fn graph(prepared: &mut Prepared) -> Result<()> {
    let root = tempfile::tempdir().context("cannot make a directory")?;
    for (path, entry) in &prepared.entries {
        if path.starts_with("etc/") || path.ends_with(".toml") {
            let path = root.path().join(path);
            crate::paths::make_dir(path.parent().unwrap_or(&path))?;
            fs::write(&path, entry.data())
                .with_context(|| format!("cannot write {}", path.display()))?;
        }
    }
    let layers = init::paths::Paths::new(None, None).service_path;
    let made = init::load::image::make(root.path(), &layers, Some(0));
    let (bytes, _) = made.map_err(|problems| anyhow!("the graph: {problems:?}"))?;
    let graph = Entry::file(0o644, bytes);
    prepared.entries.push(("usr/lib/shark/graph".into(), graph));
    Ok(())
}

fn shark(kit: &Kit, n: u32, prepared: &mut Prepared) -> Result<()> {
    prepared.program("usr/sbin/init", &kit.shark.init)?;
    prepared.program("usr/bin/sharkctl", &kit.shark.sharkctl)?;
    let place = "usr/lib/shark/services";
    prepared.text(
        &format!("{place}/default.toml"),
        "type = \"target\"\n".into(),
    );
    for (number, needs) in layers::services(n) {
        let requires = needs.map_or(String::new(), |it| format!("requires = [\"s{it}\"]\n"));
        let text = format!(
            "exec = \"/bench/service {number}\"\n{requires}restart.policy = \"always\"\n\
             restart.delay = \"0s\"\nrestart.reset-after = \"50ms\"\n"
        );
        prepared.text(&format!("{place}/s{number}.toml"), text);
    }
    prepared.text("etc/passwd", "root:x:0:0::/root:/bin/sh\n".into());
    prepared.text("etc/group", "root:x:0:\n".into());
    graph(prepared)?;
    prepared.words(&["/usr/sbin/init"]);
    let ctl = "/usr/bin/sharkctl";
    prepared.extras = vec![
        ("control", "/run/shark/io.shark.Init".into()),
        ("reload", format!("{ctl}\nreload")),
        ("storm", "yes".into()),
        ("show-phases", format!("{ctl}\nboot")),
        ("show-boot", format!("{ctl}\nmetrics")),
        ("show-reload", format!("{ctl}\nmetrics")),
        (
            "change",
            format!("/{place}/s{}.toml\ndescription = \"changed\"", n - 1),
        ),
        ("show-change", format!("{ctl}\nmetrics")),
        ("show-storm", format!("{ctl}\nmetrics")),
    ];
    Ok(())
}
