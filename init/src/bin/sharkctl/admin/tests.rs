//! The verbs that change service files, on a root in a directory: no init is asked.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use crate::tests::{Ran, run};

struct Root(tempfile::TempDir);

const VENDOR: &str = "usr/lib/shark/services";
const ADMIN: &str = "etc/shark/services";

impl Root {
    fn new(files: &[(&str, &str)]) -> Self {
        let root = Self(tempfile::tempdir().unwrap());
        for (path, text) in files {
            root.write(path, text);
        }
        root
    }

    fn at(&self, path: &str) -> PathBuf {
        self.0.path().join(path)
    }

    fn write(&self, path: &str, text: &str) {
        let path = self.at(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn run(&self, verb: &str, rest: &str) -> Ran {
        run(&format!("{verb} --root {} {rest}", self.0.path().display()))
    }

    /// All that is in the administrator's directory, with a mask's target.
    fn admin(&self) -> Vec<String> {
        let mut found = Vec::new();
        let mut open = vec![self.at(ADMIN)];
        while let Some(directory) = open.pop() {
            for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
                let path = entry.path();
                match path.is_dir() {
                    true => open.push(path),
                    false => found.push(self.tell(&path)),
                }
            }
        }
        found.sort();
        found
    }

    fn tell(&self, path: &Path) -> String {
        let short = path.strip_prefix(self.at(ADMIN)).unwrap().display();
        match fs::read_link(path) {
            Ok(target) => format!("{short} -> {}", target.display()),
            Err(_) => short.to_string(),
        }
    }
}

fn two() -> Root {
    Root::new(&[
        ("usr/lib/shark/services/web.toml", "exec = '/bin/web'\n"),
        (
            "usr/lib/shark/services/db.toml",
            "exec = '/bin/db'\nwanted-by = []\n",
        ),
        (
            "usr/lib/shark/services/app.toml",
            "exec = '/bin/app'\nrequires = ['web']\n",
        ),
        ("usr/lib/shark/services/tty@.toml", "exec = '/bin/tty %i'\n"),
    ])
}

#[test]
fn a_service_is_disabled_and_enabled_by_one_drop_in() {
    let root = two();
    let off = root.run("disable", "web");
    off.expect(
        0,
        "web: disabled\n  wrote ",
        "web still comes up with what needs it: app; `sharkctl mask web`",
    );
    let drop_in = "etc/shark/services/web.toml.d/zz-enablement.toml";
    let text = fs::read_to_string(root.at(drop_in)).unwrap();
    assert!(text.ends_with("\nwanted-by = []\n"), "{text}");
    root.run("disable", "web")
        .expect(0, "web: disabled already\n", "");
    root.run("enable", "web")
        .expect(0, "web: enabled\n  removed ", "");
    assert_eq!(root.admin(), [""; 0]);
    root.run("enable", "web")
        .expect(0, "web: enabled already\n", "");

    root.run("enable", "db")
        .expect(0, "db: enabled\n  wrote ", "");
    root.run("enable", "db")
        .expect(0, "db: enabled already\n", "");
    root.run("disable", "db")
        .expect(0, "db: disabled\n  removed ", "");
    assert_eq!(root.admin(), [""; 0]);
    // A drop-in of somebody's own says otherwise, and the last one counts.
    root.write(
        "etc/shark/services/db.toml.d/own.toml",
        "wanted-by = ['default']\n",
    );
    root.run("disable", "db").expect(0, "db: disabled\n", "");
    assert_eq!(
        root.admin(),
        ["db.toml.d/own.toml", "db.toml.d/zz-enablement.toml"]
    );
    root.run("enable", "db nobody")
        .expect(3, "db: enabled\n", "no service `nobody`");
}

#[test]
fn an_instance_gets_a_file_of_its_own() {
    let root = two();
    root.run("disable", "tty@1")
        .expect(0, "disabled already", "");
    root.run("enable", "tty@1")
        .expect(0, "tty@1: enabled\n", "");
    assert_eq!(root.admin(), ["tty@1.toml"]);
    root.run("enable", "tty@1").expect(0, "enabled already", "");
    root.run("disable", "tty@1")
        .expect(0, "tty@1: disabled\n", "");
    assert_eq!(root.admin(), [""; 0]);
    root.write("etc/shark/services/tty@2.toml", "nice = 3\n");
    root.run("disable", "tty@2")
        .expect(0, "tty@2: disabled\n", "");
    assert_eq!(
        root.admin(),
        ["tty@2.toml", "tty@2.toml.d/zz-enablement.toml"]
    );
}

#[test]
fn a_mask_is_a_link_where_there_is_no_file_to_lose() {
    let root = two();
    root.run("mask", "web")
        .expect(0, "web: masked: it does not start\n", "");
    assert_eq!(root.admin(), ["web.toml -> /dev/null"]);
    root.run("mask", "web")
        .expect(0, "web: masked already, by ", "");
    root.run("enable", "web")
        .expect(6, "", "web is masked: `sharkctl unmask web` first");
    let verified = run(&format!(
        "verify --root {} {} {}",
        root.0.path().display(),
        root.at(VENDOR).display(),
        root.at(ADMIN).display()
    ));
    assert!(!verified.err.contains("web.toml"), "{verified:?}");
    root.run("unmask", "web")
        .expect(0, "web: masked no more\n  removed ", "");
    root.run("unmask", "web").expect(0, "web: not masked\n", "");
    assert_eq!(root.admin(), [""; 0]);

    root.write("etc/shark/services/web.toml", "exec = '/bin/other'\n");
    root.run("mask", "web").expect(0, "zz-mask.toml\n", "");
    assert_eq!(root.admin(), ["web.toml", "web.toml.d/zz-mask.toml"]);
    root.run("unmask", "web").expect(0, "", "");
    assert_eq!(root.admin(), ["web.toml"]);

    root.run("mask", "tty@ tty@1").expect(0, "tty@: masked", "");
    assert_eq!(
        root.admin(),
        [
            "tty@.toml -> /dev/null",
            "tty@1.toml -> /dev/null",
            "web.toml"
        ]
    );
    root.run("unmask", "tty@")
        .expect(0, "tty@: masked no more", "");
    root.run("mask", "nobody")
        .expect(3, "", "no service `nobody`");

    root.write("etc/shark/services/db.toml.d/own.toml", "masked = true\n");
    let refused = root.run("unmask", "db");
    refused.expect(6, "", "db.toml.d/own.toml masks it");
}

#[test]
fn a_broken_service_can_be_masked_and_nothing_else_is_made_worse() {
    let root = two();
    root.write("usr/lib/shark/services/db.toml", "exec = 3\n");
    // It is broken already: what has nothing to do with it can be changed all the same.
    root.run("disable", "web").expect(0, "web: disabled\n", "");
    root.run("mask", "db").expect(0, "db: masked", "");
    root.run("enable", "web").expect(0, "web: enabled\n", "");
    // Without the mask, it is as before it; but what is right now is not made wrong.
    root.run("unmask", "db")
        .expect(6, "", "db.toml:1:8: key `exec`");
    root.run("mask", "web").expect(0, "", "");
    root.write(
        "usr/lib/shark/services/late.toml",
        "exec = '/bin/l'\nafter = ['default']\nwanted-by = []\n",
    );
    let refused = root.run("enable", "late");
    refused.expect(
        6,
        "",
        "refused: the service files would have 1 problem; nothing was changed\n",
    );
    assert!(refused.err.contains("circle"), "{refused:?}");
    assert_eq!(
        root.admin(),
        ["db.toml -> /dev/null", "web.toml -> /dev/null"]
    );
}

#[test]
fn diff_tells_what_the_administrator_has_changed() {
    let root = two();
    root.run("diff", "").expect(0, "nothing is changed", "");
    root.write(
        "etc/shark/services/web.toml",
        "exec = '/bin/web'\nnice = 3\n",
    );
    root.write(
        "etc/shark/services/db.toml.d/x.toml",
        "[restart]\ndelay = '3s'\n",
    );
    root.write("etc/shark/services/own.toml", "exec = '/bin/own'\n");
    symlink("/dev/null", root.at("etc/shark/services/app.toml")).unwrap();
    let all = root.run("diff", "");
    let etc = root.at(ADMIN).display().to_string();
    let lib = root.at(VENDOR).display().to_string();
    let expect = format!(
        "app: masked by {etc}/app.toml\n+++ {etc}/app.toml -> /dev/null\n\n\
         db: changed: restart.delay\n+++ {etc}/db.toml.d/x.toml\n+[restart]\n+delay = '3s'\n\n\
         own: added\n+++ {etc}/own.toml\n+exec = '/bin/own'\n\n\
         web: changed: nice\n--- {lib}/web.toml\n+++ {etc}/web.toml\n exec = '/bin/web'\n+nice = 3\n"
    );
    assert_eq!(all.out, expect);
    let json = root.run("diff", "web db --json").json();
    assert_eq!(json["services"][0]["keys"][0], "restart.delay");
    assert_eq!(json["services"].as_array().unwrap().len(), 2);
    root.run("diff", "nobody")
        .expect(3, "", "no service `nobody`");
}

/// Runs `edit` with an editor that does what is said to the file `$1`.
fn edited(root: &Root, script: &str, rest: &str) -> Ran {
    let editor = root.at("editor");
    fs::write(&editor, format!("#!/bin/sh\n{script}\n")).unwrap();
    // Read by a shell and not executed: another test may have forked while it was open for writing.
    let line = format!("sh {}", editor.display());
    crate::admin::edit::with_editor(&line, || root.run("edit", rest))
}

#[test]
fn what_is_edited_is_checked_before_it_is_put_in_place() {
    let root = two();
    let drop_in = root.at("etc/shark/services/web.toml.d/override.toml");
    edited(&root, "exit 0", "web").expect(0, "web: nothing was changed\n", "");
    assert_eq!(root.admin(), [""; 0]);
    let given_up = edited(&root, "exit 3", "web");
    given_up.expect(1, "", "see $VISUAL and $EDITOR; nothing was changed");
    assert_eq!(root.admin(), [""; 0]);
    let cut_off = edited(&root, "echo 'nice = 4' > \"$1\"; exit 3", "web");
    cut_off.expect(1, "", "what was edited is kept in ");
    assert_eq!(root.admin().len(), 1);
    fs::remove_dir_all(drop_in.parent().unwrap()).unwrap();
    let script = "grep -q \"^#   exec = '/bin/web'\" \"$1\" && echo 'nice = 3' >> \"$1\"";
    edited(&root, script, "web").expect(0, "web: edited\n  wrote ", "");
    assert!(
        fs::read_to_string(&drop_in)
            .unwrap()
            .ends_with("\nnice = 3\n")
    );
    edited(&root, "exit 0", "web").expect(0, "nothing was changed", "");

    let refused = edited(&root, "echo 'nice = 300' > $1", "web");
    refused.expect(6, "", "override.toml:1:8: key `nice`");
    assert!(
        fs::read_to_string(&drop_in)
            .unwrap()
            .ends_with("\nnice = 3\n")
    );
    let kept = root
        .admin()
        .into_iter()
        .find(|it| it.contains(".edit-"))
        .unwrap();
    assert!(refused.err.contains(&kept), "{refused:?} {kept}");
    assert_eq!(
        fs::read_to_string(root.at(ADMIN).join(&kept)).unwrap(),
        "nice = 300\n"
    );
    fs::remove_file(root.at(ADMIN).join(&kept)).unwrap();

    edited(&root, "exit 3", "web").expect(
        1,
        "",
        "failed (exit status: 3), see $VISUAL and $EDITOR; nothing was changed",
    );
    edited(&root, "echo '# no' > $1", "web").expect(0, "web: edited\n  removed ", "");
    assert!(!drop_in.exists());

    edited(&root, "sed -i s/web/www/ $1", "--full web").expect(0, "web: edited\n", "");
    let text = fs::read_to_string(root.at("etc/shark/services/web.toml")).unwrap();
    assert_eq!(text, "exec = '/bin/www'\n");
    edited(&root, "exit 0", "nobody").expect(3, "", "no service `nobody`");
}
