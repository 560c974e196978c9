//! A name that is none of a service: what may have been meant, as far as the service files tell. Not here:
//! what is wrong with those files (`insight::files`).

use std::collections::BTreeSet;
use std::path::Path;

use init::load;
use services::diagnostic::nearest;
use services::graph::DEFAULT_TARGET;

use crate::failure::Failure;

/// What there is to say of a failure; of a name that no service has, what helps.
pub(crate) fn explain(directories: &[String], failure: &Failure) -> String {
    match failure {
        Failure::NoSuchService(name) => {
            hint(directories, name).unwrap_or_else(|| failure.to_string())
        }
        other => other.to_string(),
    }
}

fn hint(directories: &[String], name: &str) -> Option<String> {
    let (sources, _unreadable) = load::read::sources(directories);
    let stem = |path: &str| Some(Path::new(path).file_stem()?.to_str()?.to_owned());
    // Drop-ins lie a directory deeper, and make no service.
    let of_service = |path: &str| {
        let parent = Path::new(path).parent();
        parent.is_some_and(|parent| directories.iter().any(|it| Path::new(it) == parent))
    };
    let files = sources.iter().filter(|it| of_service(&it.path));
    let names: BTreeSet<String> = files.filter_map(|it| stem(&it.path)).collect();
    let there_is_none = format!("there is no service `{name}`");
    if names.contains(name) && name.ends_with('@') {
        return Some(format!(
            "{there_is_none}: that is a template, and `{name}INSTANCE` one of its services"
        ));
    }
    if names.contains(name) {
        return Some(format!(
            "{there_is_none} yet: init has not taken its file, which `sharkctl reload` makes it do; \
             `sharkctl why {name}` tells what is wrong with it"
        ));
    }
    if name == DEFAULT_TARGET {
        return Some(format!(
            "`{name}` has no service file: it is built in. One with `type = \"target\"` takes its place"
        ));
    }
    let all = names.iter().map(String::as_str).chain([DEFAULT_TARGET]);
    let likely = nearest(name, all)?;
    Some(format!("{there_is_none}; did you mean `{likely}`?"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_meant_is_told() {
        let dir = tempfile::tempdir().unwrap();
        let write = |name: &str| std::fs::write(dir.path().join(name), "exec = '/x'\n").unwrap();
        ["sshd.toml", "tunnel@.toml"]
            .iter()
            .for_each(|it| write(it));
        std::fs::create_dir(dir.path().join("cron.toml.d")).unwrap();
        write("cron.toml.d/more.toml");
        let directories = [dir.path().display().to_string(), "/nothing".to_owned()];
        let check = |name: &str, expect: &str| {
            let told = explain(&directories, &Failure::NoSuchService(name.to_owned()));
            assert!(
                told.starts_with(&format!("there is no service `{name}`{expect}")),
                "{told}"
            );
        };
        check("shd", "; did you mean `sshd`?");
        check(
            "tunnel@",
            ": that is a template, and `tunnel@INSTANCE` one of",
        );
        check(
            "sshd",
            " yet: init has not taken its file, which `sharkctl reload`",
        );
        check("defualt", "; did you mean `default`?");
        check("mroe", "; `sharkctl list` names");
        check("postgresql", "; `sharkctl list` names");
        let built_in = Failure::NoSuchService("default".to_owned());
        assert!(explain(&directories, &built_in).starts_with("`default` has no service file: "));
        let other = Failure::Failed("sshd: no".to_owned());
        assert_eq!(explain(&directories, &other), "sshd: no");
    }
}
