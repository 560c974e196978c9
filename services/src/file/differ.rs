//! Which keys of two definitions of a service differ, for people: by the names they have in a service
//! file. Not here: whether anything differs at all (`supervisor` compares the packed definitions).
//!
//! A definition is compared by its fields as it is serialised, so that no key can be forgotten here.
//! Where a field and its key are called differently, [`OTHERWISE`] says so.

use serde_json::Value;

use super::keys::KEYS;
use crate::definition::Definition;

/// Fields, by their path in a definition, that are written under another name.
const OTHERWISE: &[(&str, &str)] = &[
    ("kind", "type"),
    ("timer.calendar", "timer.on-calendar"),
    ("account", "user"),
    ("account.group", "group"),
    ("environment", "env"),
    ("cgroup.cpu-max-percent", "cgroup.cpu-max"),
];

/// Names of the keys that differ between `before` and `after`, in the order of the alphabet; what
/// has no key of its own is named by its table.
#[must_use]
pub fn differing_keys(before: &Definition, after: &Definition) -> Vec<String> {
    let [before, after] = [before, after].map(|it| serde_json::to_value(it).unwrap_or_default());
    let mut keys = Vec::new();
    compare("", &before, &after, &mut keys);
    keys.sort();
    keys.dedup();
    keys
}

fn compare(path: &str, before: &Value, after: &Value, keys: &mut Vec<String>) {
    if before == after {
        return;
    }
    let (Value::Object(old), Value::Object(new)) = (before, after) else {
        keys.push(name(path));
        return;
    };
    if path == "kind" && old.keys().ne(new.keys()) {
        keys.push(name(path));
        // The program may be the same all the same.
        if let (Some(old), Some(new)) = (old.values().next(), new.values().next()) {
            compare("", old, new, keys);
        }
        return;
    }
    let fields = old
        .keys()
        .chain(new.keys().filter(|it| !old.contains_key(*it)));
    for field in fields {
        let below = below(path, field);
        let [old, new] = [old, new].map(|it| it.get(field).unwrap_or(&Value::Null));
        compare(&below, old, new, keys);
    }
}

/// The path of a field. A program and the relations lie at the top of a file, whatever they lie in
/// here.
fn below(path: &str, field: &str) -> String {
    let field = field.replace('_', "-");
    match path {
        "" | "relations" | "begin" | "kind" if field.chars().any(char::is_uppercase) => {
            String::new()
        }
        "" | "relations" | "begin" => field,
        _ => format!("{path}.{field}"),
    }
}

/// The name that `path` has in a service file: its key, or else that of what it lies in.
fn name(path: &str) -> String {
    let mut path = path;
    loop {
        if let Some((_, key)) = OTHERWISE.iter().find(|(field, _)| *field == path) {
            return (*key).to_owned();
        }
        if KEYS.iter().any(|key| key.name == path || key.is_in(path)) {
            return path.to_owned();
        }
        match path.rsplit_once('.') {
            Some((outer, _)) => path = outer,
            None => return path.to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::file::{Source, load};

    fn definition(text: &str) -> crate::definition::Definition {
        let source = Source {
            path: "/s/a.toml".to_owned(),
            layer: 0,
            text: text.to_owned(),
        };
        let loaded = load(&[source], None);
        let graph = loaded
            .graph
            .unwrap_or_else(|| panic!("{:?}", loaded.diagnostics));
        let index = graph.index_of("a").unwrap();
        graph.service(index).unwrap().clone()
    }

    fn check(before: &str, after: &str, expect: &[&str]) {
        let [before, after] = [before, after].map(definition);
        assert_eq!(super::differing_keys(&before, &after), expect, "{after:?}");
        assert_eq!(super::differing_keys(&after, &before), expect, "{before:?}");
    }

    #[test]
    fn keys_have_the_names_they_are_written_with() {
        const A: &str = "exec = \"/bin/a\"\n";
        let with = |more: &str| format!("{A}{more}\n");
        check(A, A, &[]);
        check(A, "exec = \"/bin/b\"\n", &["exec"]);
        check(A, &with("type = \"notify\""), &["type"]);
        let both = "type = \"notify\"\nexec = \"/bin/b\"\n";
        check(A, both, &["exec", "type"]);
        check(A, "type = \"target\"\n", &["restart.policy", "type"]);
        check(A, &with("description = \"x\""), &["description"]);
        check(
            A,
            &with("requires = [\"default\"]\nwanted-by = []"),
            &["requires", "wanted-by"],
        );
        check(A, &with("env.A = \"b\""), &["env"]);
        check(A, &with("user = \"www\""), &["user"]);
        check(
            "exec = \"/bin/a\"\nuser = \"a\"",
            &with("user = \"a\"\ngroup = \"b\""),
            &["group"],
        );
        check(A, &with("stop.timeout = \"3s\""), &["stop.timeout"]);
        check(
            A,
            &with("restart.max-delay = \"40s\"\nnice = 3"),
            &["nice", "restart.max-delay"],
        );
        check(
            A,
            &with("cgroup.cpu-max = \"30%\"\ncgroup.pids-max = 3"),
            &["cgroup.cpu-max", "cgroup.pids-max"],
        );
        check(A, &with("limits.nofile = 30"), &["limits"]);
        check(A, &with("boot.essential = true"), &["boot"]);
        check(A, &with("health.exec = \"/bin/h\""), &["health"]);
        let health = with("health.exec = \"/bin/h\"");
        check(
            &health,
            &format!("{health}health.interval = \"3s\""),
            &["health.interval"],
        );
    }
}
