//! The completions in the shells they are for: what each of them offers for the beginning of a line. Not
//! here: the verbs themselves. Where a shell is not installed, that is said, and its test passes.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that cannot go on fails, wherever it is"
)]

use std::fs;
use std::path::Path;
use std::process::Command;

/// A directory with the program in `bin`, service files in `services`, and the completions of a shell.
fn prepared(shell: &str, file: &str) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for sub in ["bin", "services", "home"] {
        fs::create_dir(dir.path().join(sub)).unwrap();
    }
    let link = dir.path().join("bin/sharkctl");
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_sharkctl"), link).unwrap();
    for name in ["web", "webcam", "db"] {
        let path = dir.path().join(format!("services/{name}.toml"));
        fs::write(path, "exec = '/bin/true'\n").unwrap();
    }
    let output = Command::new(env!("CARGO_BIN_EXE_sharkctl"))
        .args(["completions", shell])
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    fs::write(dir.path().join(file), output.stdout).unwrap();
    dir
}

/// What a shell prints; `None` where it is not installed.
fn run(shell: &str, arguments: &[&str], script: &str, dir: &Path) -> Option<String> {
    if Command::new(shell).arg("--version").output().is_err() {
        eprintln!("NOT TESTED: there is no {shell} here");
        return None;
    }
    let script = script.replace("@DIR@", &dir.display().to_string());
    let output = Command::new("timeout")
        .args(["60", shell])
        .args(arguments)
        .args(["-c", &script])
        .current_dir(dir)
        .env_clear()
        .env("PATH", format!("{}/bin:/usr/bin:/bin", dir.display()))
        .env("HOME", dir.join("home"))
        .env("TERM", "dumb")
        .env("SHARK_SERVICE_PATH", dir.join("services"))
        .env("SHARK_RUNTIME_DIR", dir.join("home"))
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr);
    eprintln!("{text}{errors}");
    assert!(output.status.success() && errors.is_empty(), "{output:?}");
    Some(text)
}

/// Lines, and what has to be offered for the last word of each, in any order.
const CASES: [(&str, &[&str]); 7] = [
    ("sharkctl se", &["service"]),
    ("sharkctl boot hi", &["history"]),
    ("sharkctl top --so", &["--socket", "--sort"]),
    ("sharkctl top --sort p", &["pressure"]),
    ("sharkctl restart we", &["web", "webcam"]),
    ("sharkctl service stop we", &["web", "webcam"]),
    ("sharkctl mask --now d", &["db"]),
];

#[test]
fn bash_completes() {
    let dir = prepared("bash", "completions");
    let mut script = "source @DIR@/completions\n\
        complete -p sharkctl | grep -q -e ' -F _sharkctl_and_services ' || echo not set up\n"
        .to_owned();
    for (line, _) in CASES {
        script.push_str(&format!(
            "COMP_WORDS=({line}); COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1))\n\
             _sharkctl_and_services sharkctl \"${{COMP_WORDS[COMP_CWORD]}}\" \"${{COMP_WORDS[COMP_CWORD-1]}}\"\n\
             echo \"${{COMPREPLY[@]}}\"\n"
        ));
    }
    let arguments = ["--norc", "--noprofile"];
    let Some(text) = run("bash", &arguments, &script, dir.path()) else {
        return;
    };
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.len(), CASES.len(), "{text}");
    for ((line, expect), got) in CASES.iter().zip(lines) {
        let mut offered: Vec<&str> = got.split(' ').collect();
        offered.sort_unstable();
        assert_eq!(offered, *expect, "{line}");
    }
    // What stands behind an option with a value is no service.
    let script = "source @DIR@/completions\n\
        COMP_WORDS=(sharkctl logs --since d); COMP_CWORD=3\n\
        _sharkctl_and_services sharkctl d --since; echo \"[${COMPREPLY[@]}]\"\n";
    let text = run("bash", &arguments, script, dir.path()).unwrap();
    assert!(!text.contains("db"), "{text}");
}

#[test]
fn fish_completes() {
    let dir = prepared("fish", "completions");
    let mut script = "source @DIR@/completions\n".to_owned();
    for (line, _) in CASES {
        script.push_str(&format!(
            "complete -C '{line}' | string split -f1 \\t; echo .\n"
        ));
    }
    let Some(text) = run("fish", &["--no-config"], &script, dir.path()) else {
        return;
    };
    let mut offers = text.split(".\n");
    for (line, expect) in CASES {
        let mut offered: Vec<&str> = offers.next().unwrap().lines().collect();
        offered.sort_unstable();
        assert_eq!(offered, expect, "{line}");
    }
}

/// A shell in a terminal of its own, whose line is shown after the key that completes it.
const ZSH: &str = r#"
zmodload zsh/zpty
zpty shell zsh -f -i
zpty -w shell 'PROMPT= RPROMPT= ; stty -echo; fpath=(@DIR@ $fpath); autoload -Uz compinit; compinit -D -u'
zpty -w shell 'unsetopt beep listambiguous; zstyle ":completion:*" menu no; LISTMAX=1000'
zpty -w shell 'show() { zle -I; print -r -- "<<$BUFFER>>"; BUFFER= }; zle -N show; bindkey "^X" show'
zpty -w shell 'print -r "set"" up"'
zpty -r shell answer '*set up*' || exit 1
for line in "${LINES_TO_TRY[@]}"; do
    zpty -n -w shell "$line"$'\t\x18'
    zpty -r shell answer '*>>*' || exit 1
    print -r -- "$answer"
    print -r -- "--next--"
done
zpty -d shell
"#;

#[test]
fn zsh_completes() {
    let dir = prepared("zsh", "_sharkctl");
    let lines = CASES.map(|(line, _)| format!("'{line}'")).join(" ");
    let script = format!("LINES_TO_TRY=({lines})\n{ZSH}");
    let Some(text) = run("zsh", &["-f"], &script, dir.path()) else {
        return;
    };
    let mut answers = text.split("--next--\n");
    for (line, expect) in CASES {
        let answer = answers.next().unwrap();
        let (shown, rest) = answer
            .split_once("<<")
            .unwrap_or_else(|| panic!("{line}: {answer:?}"));
        let (buffer, _) = rest.split_once(">>").unwrap();
        match expect {
            // The only one is put into the line.
            [only] => assert!(buffer.trim_end().ends_with(only), "{line}: {buffer:?}"),
            // Of several, what they have in common is, and all are listed.
            several => {
                for word in several {
                    assert!(shown.contains(word), "{line}: {word}: {shown:?}");
                }
            }
        }
    }
}
