//! Loads kernel modules from the initramfs: those a step asks for by name, and those a device asks
//! for by its alias.
//!
//! The order comes from `mounts::modules`; a module that cannot be loaded is reported and never
//! fatal by itself, because what it was for fails next and says so better. Parameters given on the
//! kernel command line are passed on at load, as kmod does it: the kernel itself applies them only
//! to what is built in.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use kernel::Errno;
use kernel::modules::Loaded;
use mounts::cmdline::Cmdline;
use mounts::modules::{IndexFiles, ModuleIndex, module_name};

use super::report::Report;
use super::watchdog;

/// The modules of the running kernel that the initramfs has.
#[derive(Debug)]
pub(crate) struct Modules {
    directory: PathBuf,
    index: ModuleIndex,
    has_aliases: bool,
    cmdline: Cmdline,
    /// Paths that were tried: a module is loaded once, and a failure is reported once.
    tried: BTreeSet<String>,
    aliases_seen: BTreeSet<String>,
}

impl Modules {
    /// Reads the index below `/lib/modules` of the running kernel. A kernel without modules has
    /// none, and then nothing is ever loaded.
    pub(crate) fn open(cmdline: &Cmdline, report: &mut Report) -> Self {
        let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
        let directory = Path::new("/lib/modules").join(release.trim());
        let text = |file: &str| fs::read_to_string(directory.join(file)).unwrap_or_default();
        let (dep, builtin, softdep, alias) = (
            text("modules.dep"),
            text("modules.builtin"),
            text("modules.softdep"),
            text("modules.alias"),
        );
        let files = IndexFiles {
            dep: &dep,
            builtin: &builtin,
            softdep: &softdep,
            alias: &alias,
        };
        let index = ModuleIndex::parse(files).unwrap_or_else(|error| {
            report.warn(format!("modules: {}/{error}", directory.display()));
            ModuleIndex::default()
        });
        report.step(&format!(
            "modules: index of {}: {} bytes of dependencies",
            directory.display(),
            dep.len()
        ));
        let has_aliases = !alias.is_empty();
        let mut modules = Self {
            directory,
            index,
            has_aliases,
            cmdline: cmdline.clone(),
            tried: BTreeSet::new(),
            aliases_seen: BTreeSet::new(),
        };
        if !has_aliases {
            // Without aliases nobody can tell which driver a device needs. Whoever packed the
            // initramfs so, packed what the machine needs.
            let all: Vec<String> = paths(&dep).map(module_name).collect();
            modules.load(&all.iter().map(String::as_str).collect::<Vec<_>>(), report);
        }
        modules
    }

    /// Loads modules by name, with what they depend on. Built-in and already loaded ones are
    /// nothing to do.
    pub(crate) fn load(&mut self, names: &[&str], report: &mut Report) {
        let order = self.index.load_order(names);
        if !order.missing.is_empty() {
            // The kernel may have it built in without listing it, as a kernel without
            // modules.builtin does.
            report.step(&format!(
                "modules: not in the initramfs: {}",
                order.missing.join(", ")
            ));
        }
        for path in order.paths {
            self.load_file(&path, report);
        }
    }

    /// Parameters for a module, where the command line says nothing of them.
    pub(crate) fn default_parameters(&mut self, module: &str, parameters: &[(&str, &str)]) {
        for (parameter, value) in parameters {
            self.cmdline
                .parameters
                .entry((module.to_owned(), (*parameter).to_owned()))
                .or_insert_with(|| Some((*value).to_owned()));
        }
    }

    /// Loads what a device with this alias asks for.
    pub(crate) fn load_alias(&mut self, alias: &str, report: &mut Report) {
        if !self.has_aliases || !self.aliases_seen.insert(alias.to_owned()) {
            return;
        }
        let found: Vec<String> = self
            .index
            .resolve_alias(alias)
            .into_iter()
            .filter(|name| self.index.knows(name))
            .map(str::to_owned)
            .collect();
        if !found.is_empty() {
            report.step(&format!("modules: {alias} asks for {}", found.join(", ")));
            self.load(
                &found.iter().map(String::as_str).collect::<Vec<_>>(),
                report,
            );
        }
    }

    fn load_file(&mut self, path: &str, report: &mut Report) {
        if !self.tried.insert(path.to_owned()) {
            return;
        }
        let parameters = self.cmdline.module_parameters(&module_name(path));
        let file = self.directory.join(path).to_string_lossy().into_owned();
        // A driver may look long for its device.
        watchdog::feed();
        match kernel::modules::load(&file, &parameters) {
            Ok(Loaded::Before) => {}
            Ok(Loaded::Now) => report
                .step(format!("modules: loaded {} {parameters}", module_name(path)).trim_end()),
            // Drivers of a processor's instructions are tried as dependencies on processors without.
            Err(error) if error.errno == Errno::NODEV => report.step(&format!("modules: {error}")),
            Err(error) => report.warn(format!("modules: {error}")),
        }
    }
}

/// The paths that modules.dep has.
fn paths(dep: &str) -> impl Iterator<Item = &str> {
    dep.lines()
        .filter_map(|line| line.split_once(':'))
        .map(|(path, _)| path.trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_of_an_index() {
        let dep = "kernel/a/b.ko: kernel/c.ko\nkernel/c.ko:\n\n";
        assert_eq!(paths(dep).map(module_name).collect::<Vec<_>>(), ["b", "c"]);
    }
}
