//! An instance of a template that somebody wants started and no file names: it is added to the set and,
//! when the whole passes the checks, gets an empty file in the layer below /run, so that it is still
//! there after the next reload, and no more after the next boot. Not here: what an instance is
//! (`services::file`).

use std::fs;
use std::io::ErrorKind;

use services::file::{Source, has_template};

use super::handoff::{Handoff, Meta};
use super::{check, read};
use crate::paths::Paths;

/// Loads all layers with the instance `name`.
pub(super) fn load_with(paths: &Paths, masks: &[&str], name: &str) -> Handoff {
    let layers = &paths.service_path;
    let (mut sources, unreadable) = read::sources(layers);
    if !has_template(&sources, name) {
        return refused(Meta {
            diagnostics: unreadable,
            control_group: None,
            origin: None,
            log: None,
            machine: 0,
            no_template: true,
        });
    }
    let directory = format!("{}/services", paths.runtime_dir.display());
    let path = format!("{directory}/{name}.toml");
    let Some(layer) = layers.iter().position(|it| *it == directory) else {
        let message = format!(
            "cannot be kept for the instance `{name}`: {directory} is not among the directories of \
             service files, {}",
            layers.join(":")
        );
        return refused_for(&path, message);
    };
    sources.push(Source {
        path: path.clone(),
        layer: u8::try_from(layer).unwrap_or(u8::MAX),
        text: String::new(),
    });
    let handoff = check(layers, &sources, unreadable, masks);
    if handoff.graph.is_none() {
        return handoff;
    }
    match keep(&directory, &path) {
        Ok(()) => handoff,
        Err(error) => refused_for(&path, format!("cannot be made: {error}")),
    }
}

/// An empty file; one that is there already is left as it is.
fn keep(directory: &str, path: &str) -> std::io::Result<()> {
    fs::create_dir_all(directory)?;
    match fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .open(path)
    {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(error),
    }
}

fn refused_for(path: &str, message: String) -> Handoff {
    refused(Meta {
        diagnostics: vec![read::whole_file(path, message)],
        control_group: None,
        origin: None,
        log: None,
        machine: 0,
        no_template: false,
    })
}

fn refused(meta: Meta) -> Handoff {
    Handoff { meta, graph: None }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load_in(dir: &std::path::Path, name: &str) -> Handoff {
        let dir = dir.display();
        let paths = Paths::new(
            Some(&format!("{dir}/run")),
            Some(&format!("{dir}/vendor:{dir}/run/services")),
        );
        load_with(&paths, &[], name)
    }

    #[test]
    fn only_an_instance_of_a_template_gets_a_file() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("vendor")).unwrap();
        fs::write(dir.path().join("vendor/a@.toml"), "exec = '/bin/a %i'").unwrap();
        let kept = dir.path().join("run/services/a@x.toml");

        let handoff = load_in(dir.path(), "b@x");
        assert!(handoff.graph.is_none() && handoff.meta.no_template);
        assert!(!dir.path().join("run").exists());

        let handoff = load_in(dir.path(), "a@x");
        assert!(handoff.graph.is_some(), "{:?}", handoff.meta);
        assert_eq!(fs::read_to_string(&kept).unwrap(), "");

        fs::write(&kept, "nice = 3").unwrap();
        assert!(load_in(dir.path(), "a@x").graph.is_some());
        assert_eq!(fs::read_to_string(&kept).unwrap(), "nice = 3");

        fs::write(dir.path().join("vendor/a@.toml"), "exec = '/bin/a %z'").unwrap();
        let handoff = load_in(dir.path(), "a@y");
        assert!(handoff.graph.is_none() && !handoff.meta.diagnostics.is_empty());
        assert!(!dir.path().join("run/services/a@y.toml").exists());
    }

    #[test]
    fn without_the_layer_below_run_nothing_is_started_that_a_reload_would_stop() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("a@.toml"), "exec = '/bin/a'").unwrap();
        let path = dir.path().display().to_string();
        let handoff = load_with(&Paths::new(Some("/r"), Some(&path)), &[], "a@x");
        let told = handoff.meta.diagnostics[0].to_string();
        assert!(told.contains("/r/services is not among"), "{told}");
    }
}
