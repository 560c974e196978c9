//! `verify`: checks directories of service files as one graph, with no init running. Not here: the checks
//! of files and graph (`services`), which init makes as well, and the reading (`init::load`).

use std::fs::{self, File};
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::{Component, Path, PathBuf};

use mounts::dps::Architecture;
use mounts::program;
use serde_json::json;
use services::definition::{Definition, Program, Ready, Reload};
use services::diagnostic::{Diagnostic, Place};
use services::file::{Source, files_of};
use services::graph::Graph;
use services::users::Accounts;

use crate::cli::Verify;
use crate::failure::{Failure, count};
use crate::machine::Machine;
use crate::screen::Screen;
use crate::table::printable;

/// Where service files are, in a root for which no directory is named.
pub(crate) const USUAL_DIRECTORIES: [&str; 2] = ["usr/lib/shark/services", "etc/shark/services"];

/// Symbolic links that are followed on the way to one program, as many as the kernel follows.
const LINKS_MAX: usize = 40;

/// The directory beside which the settings of logs are.
const ADMIN: &str = "etc/shark/services";

/// What is wrong with the settings of logs beside a directory of service files.
fn check_log_settings(directory: impl AsRef<Path>) -> Vec<Diagnostic> {
    let path = directory.as_ref().with_file_name("log.toml");
    if !directory.as_ref().ends_with(ADMIN) || !path.exists() {
        return Vec::new();
    }
    let name = path.display().to_string();
    match kernel::files::read_text(&name, services::file::MAX_FILE) {
        Ok(text) => services::file::log_settings(&name, &text).1,
        Err(error) => vec![Diagnostic::new(&Place::whole(&name), error.to_string())],
    }
}

/// `verify`.
pub(crate) fn verify(screen: &mut Screen<'_>, options: &Verify) -> Result<(), Failure> {
    let directories = directories(options)?;
    let accounts = options.root.as_deref().map(read_accounts).transpose()?;
    let (sources, mut diagnostics) = init::load::read::sources(&directories);
    let loaded = services::file::load(&sources, accounts.as_ref());
    diagnostics.extend(loaded.diagnostics);
    diagnostics.extend(directories.iter().flat_map(check_log_settings));
    let mut services = 0;
    if let Some(graph) = &loaded.graph {
        services = graph.services().len();
    }
    let machine = Machine {
        memory: options.memory,
        processors: options.processors.as_ref(),
    };
    if options.root.is_some() || !machine.is_unknown() {
        let definitions: Vec<Definition> = match &loaded.graph {
            Some(graph) => graph
                .services()
                .iter()
                .chain(&loaded.made_up)
                .cloned()
                .collect(),
            // All is told at once, though the files have problems already.
            None => services::file::definitions(&sources, accounts.as_ref()),
        };
        if let Some(root) = &options.root {
            let programs = definitions.iter();
            diagnostics.extend(programs.flat_map(|d| check_programs(root, d, &sources)));
        }
        let place = |key: &str, it: &Definition| place_of_key(key, it, &sources);
        diagnostics.extend(machine.check(&definitions, &place));
    }
    diagnostics.sort();
    diagnostics.dedup();
    let mut warnings = Vec::new();
    if let Some(graph) = loaded.graph.filter(|_| diagnostics.is_empty()) {
        let target = &options.target;
        if graph.index_of(target).is_none() {
            return Err(Failure::Usage(format!(
                "there is no target `{target}` in these files"
            )));
        }
        warnings = left_out(&graph, target, &sources);
    }
    tell(screen, &diagnostics, &warnings, services)
}

/// Essential services that the boot does not bring up. No mistake in itself, as there may be more
/// targets than one to boot; but whoever wrote it meant something by it.
fn left_out(graph: &Graph, target: &str, sources: &[Source]) -> Vec<Diagnostic> {
    let left_out = graph.essential_left_out(target).into_iter();
    left_out
        .filter_map(|index| {
            let definition = graph.service(index)?;
            let message = format!(
                "`{}` is essential, but the target `{target}` does not bring it up: a boot of it is \
                 judged without this service",
                definition.name
            );
            let place = place_of_key("boot.essential", definition, sources);
            let told = Diagnostic::new(&place, message).key("boot.essential");
            Some(told.hint("name the target in `wanted-by`, or another one with --target"))
        })
        .collect()
}

/// What has been found, for people or for programs.
pub(crate) fn tell(
    screen: &mut Screen<'_>,
    diagnostics: &[Diagnostic],
    warnings: &[Diagnostic],
    services: usize,
) -> Result<(), Failure> {
    let ok = diagnostics.is_empty();
    if screen.json {
        screen.print_json(&json!({
            "ok": ok,
            "services": services,
            "diagnostics": diagnostics,
            "warnings": warnings,
        }))?;
    } else {
        for warning in warnings {
            screen.print(format!("warning: {}\n", printable(&warning.to_string())))?;
        }
        for diagnostic in diagnostics {
            screen.print(format!("{}\n", printable(&diagnostic.to_string())))?;
        }
    }
    if ok && !screen.json {
        return screen.say_done(&format!("{}, no problems\n", count(services, "service")));
    }
    if ok {
        return Ok(());
    }
    Err(Failure::Failed(count(diagnostics.len(), "problem")))
}

/// The directories to read, each checked to be one: an empty set would have no problems.
fn directories(options: &Verify) -> Result<Vec<String>, Failure> {
    let usual = || {
        let root = options.root.as_deref().unwrap_or(Path::new("/"));
        USUAL_DIRECTORIES
            .iter()
            .map(|directory| root.join(directory))
            .filter(|directory| directory.is_dir())
            .collect::<Vec<PathBuf>>()
    };
    let directories = if options.directories.is_empty() {
        usual()
    } else {
        options.directories.clone()
    };
    if directories.is_empty() {
        return Err(Failure::Failed(format!(
            "there is no directory of service files to verify; expected {}",
            USUAL_DIRECTORIES.join(" or ")
        )));
    }
    for directory in &directories {
        let metadata =
            fs::metadata(directory).map_err(|error| Failure::of_file("read", directory, &error))?;
        if !metadata.is_dir() {
            return Err(Failure::Usage(format!(
                "{} is not a directory; name the directory the service files are in",
                directory.display()
            )));
        }
    }
    directories
        .into_iter()
        .map(|directory| {
            directory.into_os_string().into_string().map_err(|path| {
                Failure::Usage(format!("{} is not UTF-8", Path::new(&path).display()))
            })
        })
        .collect()
}

fn read_accounts(root: &Path) -> Result<Accounts, Failure> {
    let read = |file: &str| {
        let path = root.join(file);
        fs::read_to_string(&path).map_err(|error| Failure::of_file("read", &path, &error))
    };
    Ok(Accounts::parse(&read("etc/passwd")?, &read("etc/group")?))
}

/// Problems of the programs a service runs: they must be there, and be executable.
fn check_programs(root: &Path, definition: &Definition, sources: &[Source]) -> Vec<Diagnostic> {
    let Some(program) = definition.kind.program() else {
        return Vec::new();
    };
    programs(program)
        .into_iter()
        .filter_map(|(key, path)| {
            let wrong = check_executable(root, path).err()?;
            let place = place_of_key(key, definition, sources);
            let mut diagnostic = Diagnostic::new(&place, format!("`{path}` {wrong}"));
            diagnostic.key = Some(key.to_owned());
            diagnostic.expected = Some(format!("a program in {}", root.display()));
            Some(diagnostic)
        })
        .collect()
}

/// The programs, with the keys that name them.
fn programs(program: &Program) -> Vec<(&'static str, &str)> {
    let reload = match &program.reload {
        Some(Reload::Command(command)) => command.first(),
        Some(Reload::Signal(_)) | None => None,
    };
    let exec = program.exec.first().map(|path| ("exec", path.as_str()));
    let reload = reload.map(|path| ("reload", path.as_str()));
    let health = program.health.as_ref().and_then(|it| it.probe.command());
    let health = health.and_then(<[String]>::first);
    let health = health.map(|path| ("health.exec", path.as_str()));
    let ready = match &program.ready {
        Some(Ready::Probe { probe, .. }) => probe.command(),
        Some(Ready::Line(_)) | None => None,
    };
    let ready = ready.and_then(<[String]>::first);
    let ready = ready.map(|path| ("ready.exec", path.as_str()));
    let beside = reload.into_iter().chain(ready).chain(health);
    exec.into_iter().chain(beside).collect()
}

/// Where `key` is set: in the last drop-in that sets it, or else in the file of the service. The graph
/// does not carry places; but these keys begin their lines.
fn place_of_key(key: &str, definition: &Definition, sources: &[Source]) -> Place {
    files_of(sources, definition.name.as_str())
        .into_iter()
        .rev()
        .find_map(|source| place_in(source, key))
        .unwrap_or_else(|| Place::whole(&definition.source))
}

fn place_in(source: &Source, key: &str) -> Option<Place> {
    let mut table = "";
    for (number, line) in source.text.lines().enumerate() {
        let text = line.trim();
        if let Some(name) = text.strip_prefix('[').and_then(|it| it.strip_suffix(']')) {
            table = name.trim();
        } else if sets(table, text, key) {
            let indent = line.len() - line.trim_start().len();
            return Some(Place {
                file: source.path.as_str().into(),
                line: u32::try_from(number + 1).ok()?,
                column: u32::try_from(indent + 1).ok()?,
            });
        }
    }
    None
}

/// Whether a line below the heading `table` sets `key`, which has its table before a dot.
fn sets(table: &str, line: &str, key: &str) -> bool {
    let Some((word, _)) = line.split_once('=') else {
        return false;
    };
    let word = word.trim();
    match table {
        "" => word == key,
        _ => key.strip_prefix(table).and_then(|it| it.strip_prefix('.')) == Some(word),
    }
}

pub(crate) fn check_executable(root: &Path, path: &str) -> Result<(), String> {
    let found = resolve(root, Path::new(path))?;
    let metadata = fs::metadata(&found).map_err(|error| format!("cannot be read: {error}"))?;
    if !metadata.is_file() {
        return Err("is not a file".to_owned());
    }
    if metadata.permissions().mode() & 0o111 == 0 {
        return Err("is not executable; see chmod(1)".to_owned());
    }
    let head = head(&found).map_err(|error| format!("cannot be read: {error}"))?;
    let needs = program::needs(&head, machine_of(root)).map_err(|why| format!("is {why}"))?;
    match needs {
        None => Ok(()),
        Some(other) => match resolve(root, Path::new(&other)) {
            Ok(_) => Ok(()),
            Err(why) => Err(format!("needs `{other}`, which {why}")),
        },
    }
}

/// The machine that the programs of a root are for: that of its init; of a root without one, this one.
fn machine_of(root: &Path) -> u16 {
    let init = resolve(root, Path::new("/sbin/init")).ok();
    let head = init.and_then(|path| head(&path).ok());
    head.and_then(|head| program::machine_of(&head))
        .unwrap_or_else(|| Architecture::current().map_or(0, Architecture::elf_machine))
}

fn head(path: &Path) -> std::io::Result<Vec<u8>> {
    let mut head = Vec::new();
    File::open(path)?
        .take(program::HEAD)
        .read_to_end(&mut head)?;
    Ok(head)
}

/// The file that `path` names for a process whose root directory is `root`. Links are followed by
/// hand, because those with an absolute target mean a path below `root`, not one of this machine.
pub(crate) fn resolve(root: &Path, path: &Path) -> Result<PathBuf, String> {
    let mut found = root.to_owned();
    let mut depth = 0_usize;
    let mut links = 0;
    let mut ahead: Vec<PathBuf> = components_reversed(path);
    while let Some(component) = ahead.pop() {
        match component.components().next() {
            Some(Component::RootDir) => {
                found = root.to_owned();
                depth = 0;
            }
            Some(Component::ParentDir) if depth > 0 => {
                found.pop();
                depth -= 1;
            }
            Some(Component::Normal(name)) => {
                found.push(name);
                depth += 1;
                let metadata = fs::symlink_metadata(&found).map_err(|_| "does not exist")?;
                if metadata.is_symlink() {
                    links += 1;
                    let target = fs::read_link(&found).map_err(|error| error.to_string())?;
                    found.pop();
                    depth -= 1;
                    ahead.extend(components_reversed(&target));
                }
            }
            Some(Component::ParentDir | Component::CurDir | Component::Prefix(_)) | None => {}
        }
        if links > LINKS_MAX {
            return Err("leads through too many symbolic links".to_owned());
        }
    }
    Ok(found)
}

fn components_reversed(path: &Path) -> Vec<PathBuf> {
    path.components()
        .rev()
        .map(|component| PathBuf::from(component.as_os_str()))
        .collect()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn root() -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir_all(root.path().join("usr/bin")).unwrap();
        let program = root.path().join("usr/bin/busybox");
        fs::write(&program, "#!/usr/bin/sh\n").unwrap();
        fs::set_permissions(&program, PermissionsExt::from_mode(0o755)).unwrap();
        fs::write(root.path().join("usr/bin/data"), "").unwrap();
        symlink("usr/bin", root.path().join("bin")).unwrap();
        symlink("/bin/busybox", root.path().join("usr/bin/sh")).unwrap();
        symlink("../../../../usr/bin/sh", root.path().join("usr/bin/up")).unwrap();
        symlink("loop", root.path().join("usr/bin/loop")).unwrap();
        root
    }

    #[test]
    fn settings_of_logs_are_looked_at_too() {
        let root = root();
        let directory = root.path().join(ADMIN);
        std::fs::create_dir_all(&directory).unwrap();
        assert_eq!(check_log_settings(&directory), []);
        std::fs::write(root.path().join("etc/shark/log.toml"), "dsik = \"1G\"\n").unwrap();
        let told = check_log_settings(&directory);
        assert_eq!(told.len(), 1);
        assert!(told[0].to_string().contains("`disk`"), "{}", told[0]);
        let elsewhere = root.path().join("etc/shark/others");
        assert_eq!(check_log_settings(elsewhere), []);
    }

    #[test]
    fn programs_are_looked_for_inside_the_root() {
        let root = root();
        let check = |path: &str, expect: &str| {
            let got = check_executable(root.path(), path)
                .err()
                .unwrap_or_default();
            assert!(
                got.starts_with(expect) && got.is_empty() == expect.is_empty(),
                "{path}: {got}"
            );
        };
        check("/usr/bin/busybox", "");
        check("/bin/busybox", "");
        check("/bin/sh", "");
        check("/bin/up", "");
        check("/../bin/./sh", "");
        check("/bin/true", "does not exist");
        check("/bin/data", "is not executable");
        check("/usr/bin", "is not a file");
        check("/bin/loop", "leads through too many");
        let executable = |name: &str, content: &[u8]| {
            let path = root.path().join("usr/bin").join(name);
            fs::write(&path, content).unwrap();
            fs::set_permissions(&path, PermissionsExt::from_mode(0o755)).unwrap();
        };
        executable("empty", b"");
        executable("odd", b"#! /bin/nosh\n");
        let mut elf = vec![0; 64];
        elf[..6].copy_from_slice(b"\x7fELF\x02\x01");
        elf[18] = 243;
        executable("foreign", &elf);
        check("/bin/empty", "is neither an ELF program nor a script");
        check("/bin/odd", "needs `/bin/nosh`, which does not exist");
        check("/bin/foreign", "is an ELF program for another machine (243");
    }

    #[test]
    fn a_key_is_found_where_it_is_set_last() {
        let source = |path: &str, text: &str| Source {
            path: path.into(),
            layer: 0,
            text: text.into(),
        };
        let sources = [
            source("/v/a.toml", "type = \"simple\"\nexec = \"/bin/a\"\n"),
            source("/v/b.toml", "exec = \"/bin/b\"\n"),
            source("/e/a.toml.d/x.toml", "# more\n\n  exec=\"/bin/c\"\n"),
            source("/e/a.toml.d/y.toml", "exec-not = 1\n"),
        ];
        let graph = services::file::load(&sources[..2], None).graph.unwrap();
        let definition = graph
            .services()
            .iter()
            .find(|d| d.name.as_str() == "a")
            .unwrap();
        let place = place_of_key("exec", definition, &sources);
        assert_eq!(
            (&*place.file, place.line, place.column),
            ("/e/a.toml.d/x.toml", 3, 3)
        );
        let place = place_of_key("exec", definition, &sources[..2]);
        assert_eq!(
            (&*place.file, place.line, place.column),
            ("/v/a.toml", 2, 1)
        );
        let place = place_of_key("reload", definition, &sources);
        assert_eq!((&*place.file, place.line), (definition.source.as_str(), 0));
        let sources = [
            source(
                "/v/a.toml",
                "exec = \"/bin/a\"\n[ boot ]\n  essential = true\n",
            ),
            source("/v/b.toml", "exec = \"/bin/b\"\n"),
            source("/e/a.toml.d/x.toml", "health.exec = \"/bin/d\"\n"),
            source("/e/a.toml.d/y.toml", "[health]\nexec = \"/bin/c\"\n"),
        ];
        let line = |key: &str| {
            let place = place_of_key(key, definition, &sources);
            (place.file.to_string(), place.line)
        };
        assert_eq!(line("exec"), ("/v/a.toml".into(), 1));
        assert_eq!(line("boot.essential"), ("/v/a.toml".into(), 3));
        assert_eq!(line("health.exec"), ("/e/a.toml.d/y.toml".into(), 2));
        let line = place_of_key("health.exec", definition, &sources[..3]).line;
        assert_eq!(line, 1);
    }
}
