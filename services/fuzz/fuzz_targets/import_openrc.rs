//! Any texts as scripts for OpenRC: no panic, every line is accounted for, what is written is a service
//! file, and none of it is much longer than what was read.
#![no_main]

use libfuzzer_sys::fuzz_target;
use services::import::Options;
use services::import::openrc::{Script, convert};
use services::import::report::{Fate, Import};

/// What scripts are made of, so that not each piece has to be found by chance.
const PIECES: [&str; 72] = [
    "\n",
    "=",
    "\"",
    "'",
    "${",
    "}",
    ":-",
    ":=",
    ": ${a:=",
    "$a",
    "\\",
    "\\\n",
    " #",
    "a=",
    "b=",
    "a=$a$a\n",
    "export ",
    "depend() {\n",
    "}\n",
    "{",
    "start_pre() {\n",
    "reload() {\n",
    "start()\n",
    "need ",
    "want ",
    "use ",
    "after ",
    "before ",
    "provide ",
    "keyword ",
    "a b c net",
    "checkpath -d -m 0755 -o ",
    "/run/a",
    "/run/a/",
    "start-stop-daemon --signal HUP --pidfile ",
    "supervise-daemon c -s 1",
    "ebegin x\n",
    "|| return 1\n",
    "command=",
    "command_args=",
    "command_args_foreground=",
    "command_background=",
    "command_user=",
    "pidfile=",
    "supervisor=",
    "start_stop_daemon_args=",
    "supervise_daemon_args=",
    "chroot=",
    "description=",
    "directory=",
    "umask=",
    "stopsig=",
    "retry=",
    "respawn_delay=",
    "respawn_max=",
    "respawn_period=",
    "required_files=",
    "notify=",
    "output_log=",
    "rc_ulimit=",
    "capabilities=",
    "extra_started_commands=reload\n",
    "rc_need=",
    "/bin/a",
    "yes",
    "TERM/30/KILL/5",
    "fd:3",
    "u:g",
    "-n 1024",
    "--background -N -5 -e A=b ",
    "0",
    "4294967295",
];

type Pieces<'a> = Vec<(u8, &'a str)>;

fn text_of(pieces: &Pieces) -> String {
    let mut text = String::new();
    for (which, own) in pieces {
        text.push_str(PIECES.get(usize::from(*which)).map_or(*own, |it| *it));
    }
    text
}

fuzz_target!(|input: (Pieces, Pieces, Pieces, bool)| {
    let (text, variables, other, force) = input;
    let (text, variables, other) = (text_of(&text), text_of(&variables), text_of(&other));
    let script = |name: &str, text: &str, conf: Option<&str>| Script {
        name: name.to_owned(),
        path: format!("init.d/{name}"),
        text: text.to_owned(),
        conf: conf.map(|text| (format!("conf.d/{name}"), text.to_owned())),
    };
    // Most of what is thrown at it names no program; with one, the rest counts.
    let with_program = format!("#!/sbin/openrc-run\ncommand=/bin/a\n{text}");
    let scripts = [
        script("a", &text, Some(&variables)),
        script("b", &with_program, None),
        script(
            "c",
            &format!("command=/bin/c\n{other}"),
            Some("supervisor=supervise-daemon"),
        ),
    ];
    let options = Options {
        force,
        ..Options::default()
    };
    let import = convert(&scripts, &options);
    for script in &scripts {
        all_told(&import, &script.path, &script.text);
        if let Some((path, text)) = &script.conf {
            all_told(&import, path, text);
        }
        let made = import.made.iter().any(|it| it.service == script.name);
        let refused = import
            .refused
            .iter()
            .any(|it| it.unit == script.name && !it.why.is_empty());
        assert!(made != refused, "{}", script.name);
    }
    for entry in &import.entries {
        let outcome = &entry.outcome;
        assert!(
            outcome.fate == Fate::Carried || !outcome.why.is_empty() || !outcome.look.is_empty()
        );
        assert!(outcome.fate != Fate::Carried || !outcome.into.is_empty());
        assert!(entry.line <= entry.last);
    }
    for made in &import.made {
        // A service file may say more than it was made of, but not much more.
        assert!(
            made.text.len() <= (1 << 20) + 64 * (text.len() + variables.len() + other.len() + 64)
        );
    }
    assert!(
        import.problems.is_empty(),
        "{:?}: {:?}",
        import.problems,
        import.made
    );
});

/// Every line that says something is one that the report tells of.
fn all_told(import: &Import, path: &str, text: &str) {
    let mut told = vec![false; text.lines().count() + 1];
    for entry in import.entries.iter().filter(|it| it.file == path) {
        let lines = entry.line as usize..=entry.last as usize;
        told[lines].fill(true);
    }
    for (at, line) in text.lines().enumerate() {
        let says_nothing = line.trim().is_empty() || line.trim().starts_with('#');
        assert!(told[at + 1] || says_nothing, "{path}:{}: {line:?}", at + 1);
    }
}
