//! The services of an assembled root, checked as one graph before the root is sealed: the same check
//! as the one at boot, with the root's own accounts. A root that fails it is not made.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};
use services::file::{Source, load};
use services::users::Accounts;

use crate::cache;

/// Where service files lie, and the layer each place is.
const LAYERS: [(&str, u8); 2] = [("usr/lib/shark/services", 0), ("etc/shark/services", 2)];

/// Checks the services below `root`, and that what they run is in it. A root without service files
/// is not ours to judge.
pub(super) fn services(root: &Path) -> Result<()> {
    if !LAYERS.iter().any(|(dir, _)| root.join(dir).is_dir()) {
        return Ok(());
    }
    let read = |path: &str| {
        let path = root.join(path);
        fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))
    };
    let accounts = Accounts::parse(&read("etc/passwd")?, &read("etc/group")?);
    let mut sources = Vec::new();
    for (dir, layer) in LAYERS {
        collect(root, &root.join(dir), layer, &mut sources)?;
    }
    let loaded = load(&sources, Some(&accounts));
    let mut problems: Vec<String> = loaded.diagnostics.iter().map(ToString::to_string).collect();
    if let Some(graph) = &loaded.graph {
        for definition in graph.services() {
            let program = definition
                .kind
                .program()
                .and_then(|program| program.exec.first());
            if let Some(program) = program
                && !is_in(root, program)
            {
                problems.push(format!(
                    "{}: {program} is not in the image",
                    definition.source
                ));
            }
        }
    }
    if loaded.graph.is_none() || !problems.is_empty() {
        bail!(
            "the services of the image do not fit together:\n{}",
            problems.join("\n")
        );
    }
    Ok(())
}

/// Whether the absolute `path` of the image exists, without following a link out of the image.
fn is_in(root: &Path, path: &str) -> bool {
    let inside = root.join(path.trim_start_matches('/'));
    // /run and /var are filled on the device.
    path.starts_with("/run/") || path.starts_with("/var/") || inside.symlink_metadata().is_ok()
}

fn collect(root: &Path, dir: &Path, layer: u8, sources: &mut Vec<Source>) -> Result<()> {
    if !dir.is_dir() {
        return Ok(());
    }
    for path in cache::sorted_entries(dir)? {
        let name = path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        if path.is_dir() && name.ends_with(".toml.d") {
            collect(root, &path, layer, sources)?;
        } else if path.is_file() && name.ends_with(".toml") {
            let text = fs::read_to_string(&path)
                .with_context(|| format!("cannot read {}", path.display()))?;
            let inside = path.strip_prefix(root).unwrap_or(&path);
            sources.push(Source {
                path: format!("/{}", inside.display()),
                layer,
                text,
            });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::paths::make_dir;

    fn check(file: &str, text: &str, expect: Result<(), &[&str]>) {
        let dir = tempfile::tempdir().unwrap();
        let put = |path: &str, text: &str| {
            let path = dir.path().join(path);
            make_dir(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        put("etc/passwd", "root:x:0:0::/root:/bin/sh\n");
        put("etc/group", "root:x:0:\n");
        put("usr/bin/there", "");
        put(
            "usr/lib/shark/services/base.toml",
            "exec = \"/usr/bin/there\"\n",
        );
        put(file, text);
        match (services(dir.path()), expect) {
            (Ok(()), Ok(())) => {}
            (Err(error), Err(parts)) => {
                for part in parts {
                    assert!(error.to_string().contains(part), "{error}");
                }
            }
            (got, expect) => panic!("{got:?}, expected {expect:?}"),
        }
    }

    #[test]
    fn the_examples_check() {
        let top = crate::paths::workspace();
        let mut sources = Vec::new();
        collect(&top, &top.join("examples"), 0, &mut sources).unwrap();
        assert!(!sources.is_empty());
        let loaded = load(&sources, None);
        assert!(loaded.graph.is_some(), "{:?}", loaded.diagnostics);
    }

    #[test]
    fn an_image_whose_services_do_not_fit_is_refused_with_all_reasons() {
        let good = "exec = \"/usr/bin/there -x\"\nrequires = [\"base\"]\nuser = \"root\"\n";
        check("usr/lib/shark/services/a.toml", good, Ok(()));
        check(
            "usr/lib/shark/services/a.toml",
            "exec = \"/usr/bin/there\"\nrequire = [\"base\"]\nuser = \"nobody\"\n",
            Err(&["/usr/lib/shark/services/a.toml:2:", "require", "nobody"]),
        );
        check(
            "etc/shark/services/base.toml.d/x.toml",
            "requires = [\"absent\"]\n",
            Err(&["/etc/shark/services/base.toml.d/x.toml", "absent"]),
        );
        check(
            "usr/lib/shark/services/a.toml",
            "exec = \"/usr/bin/absent\"\n",
            Err(&["/usr/bin/absent is not in the image"]),
        );
    }
}
