//! Service directories, and what comes of them.

use super::super::report::Fate;
use super::*;

fn directory(name: &str, files: &[(&str, &str)]) -> Directory {
    let files = files.iter().map(|(path, text)| {
        let content = Content {
            text: Some((*text).to_owned()),
            executable: matches!(*path, "run" | "finish" | "check" | "log/run"),
        };
        ((*path).to_owned(), content)
    });
    Directory {
        name: name.to_owned(),
        path: format!("/etc/sv/{name}"),
        shown: format!("sv/{name}"),
        files: files.collect(),
    }
}

fn file(import: &Import, at: usize) -> String {
    assert_eq!(import.problems, []);
    import.made[at].text.clone()
}

fn fate(import: &Import, file: &str) -> Fate {
    let entry = import
        .entries
        .iter()
        .find(|it| it.file.ends_with(file))
        .unwrap();
    entry.outcome.fate
}

#[test]
fn a_run_is_executed_where_it_is() {
    let web = directory(
        "web",
        &[
            ("run", "#!/bin/sh\n# chpst\nexec chpst -u www /bin/web\n"),
            ("finish", "#!/bin/sh\n"),
            ("check", "#!/bin/bash\n"),
            ("log/run", "#!/bin/sh\nexec svlogd /var/log/web\n"),
            ("down", ""),
            ("notes", "x"),
        ],
    );
    let it = convert(&[web], &Options::default());
    assert_eq!(
        file(&it, 0),
        "# Imported from sv/web\nexec = \"/etc/sv/web/run\"\nwanted-by = []\nworking-dir = \"/etc/sv/web\"\n\
         \n[restart]\npolicy = \"always\"\ndelay = \"1s\"\nmax-delay = \"1s\"\n\
         \n[ready]\nexec = \"/etc/sv/web/check\"\n"
    );
    assert_eq!(it.entries.len(), 6);
    let run = it.entries.iter().find(|it| it.text == "run").unwrap();
    assert_eq!(run.outcome.look, ["it needs `chpst`"]);
    assert_eq!((run.line, run.last), (1, 3));
    for lost in ["finish", "log/run", "notes"] {
        assert_eq!(fate(&it, lost), Fate::Lost, "{lost}");
    }
}

#[test]
fn files_of_s6_are_keys() {
    let files = [
        ("run", "#!/usr/bin/execlineb -P\ns6-setuidgid www web\n"),
        ("notification-fd", "3\n"),
        ("timeout-kill", "5000\n"),
        ("down-signal", "SIGINT\n"),
        ("type", "longrun\n"),
        ("dependencies.d/db", ""),
        ("dependencies", "gone\n"),
        ("timeout-finish", "0"),
    ];
    let bundle = [("type", "bundle\n"), ("contents", "web\ndb\n")];
    let set = [
        directory("web", &files),
        directory("db", &[("run", "#!/bin/sh\n")]),
        directory("all", &bundle),
    ];
    let it = convert(&set, &Options::default());
    let web = file(&it, 0);
    assert!(
        web.contains("requires = [\"db\"]") && web.contains("fd = 3"),
        "{web}"
    );
    assert!(web.contains("signal = \"INT\"\ntimeout = \"5s\""), "{web}");
    assert_eq!(fate(&it, "web/dependencies"), Fate::Lost);
    assert!(file(&it, 2).contains("type = \"target\"\nrequires = [\"web\", \"db\"]"));
    let run = it.entries.iter().find(|it| it.text == "run").unwrap();
    assert_eq!(
        run.outcome.look,
        [
            "it needs `/usr/bin/execlineb -P`",
            "it needs `s6-setuidgid`"
        ]
    );
}

#[test]
fn what_has_no_program_has_no_file() {
    let mut plain = directory("a", &[("run", "#!/bin/sh\n")]);
    plain.files.get_mut("run").unwrap().executable = false;
    let set = [
        plain,
        directory("b", &[("finish", "")]),
        directory("c", &[("type", "oneshot"), ("up", "echo")]),
        directory(".d", &[("run", "")]),
    ];
    let it = convert(&set, &Options::default());
    assert_eq!((it.made.len(), it.refused.len()), (0, 4));
    assert!(it.entries.iter().all(|it| it.outcome.fate == Fate::Lost));
}

#[test]
fn a_place_that_no_service_file_can_name_has_none() {
    let mut odd = directory("odd", &[("run", "#!/bin/sh\n")]);
    odd.path = "/etc/sv/\u{0}".to_owned();
    let it = convert(&[odd], &Options::default());
    assert_eq!((it.made.len(), it.problems.len()), (0, 0));
    assert!(it.refused[0].why[0].contains("NUL"), "{it:?}");
}

#[test]
fn one_that_names_itself_needs_nothing() {
    let own = directory("a", &[("run", "#!/bin/sh\n"), ("dependencies.d/a", "")]);
    let it = convert(&[own], &Options::default());
    assert!(!file(&it, 0).contains("requires"), "{it:?}");
    assert_eq!(fate(&it, "dependencies.d/a"), Fate::Irrelevant);
}
