//! Scripts, and what comes of them.

use super::super::report::Fate;
use super::*;

fn script(name: &str, text: &str) -> Script {
    Script {
        name: name.to_owned(),
        path: name.to_owned(),
        text: text.to_owned(),
        conf: None,
    }
}

fn file(import: &Import, at: usize) -> String {
    assert_eq!(import.problems, []);
    let text = import.made[at].text.lines().filter(|line| !line.is_empty());
    text.skip(1).collect::<Vec<_>>().join("\n")
}

fn told(import: &Import) -> Vec<String> {
    let letter = |fate| match fate {
        Fate::Carried => '+',
        Fate::Lost => '-',
        Fate::Irrelevant => ' ',
    };
    let entries = import.entries.iter();
    entries
        .map(|it| format!("{} {}", letter(it.outcome.fate), it.text))
        .collect()
}

#[test]
fn a_supervised_script_is_a_service() {
    let mut web = script(
        "web",
        "#!/sbin/openrc-run\nsupervisor=supervise-daemon\nname=\"Web\"\ncommand=/bin/web\n\
         command_args=\"-c '${cfg:-/etc/a b}' ${WEB_ARGS}\"\ncommand_args_foreground=-f\ncommand_user=www:adm\n\
         pidfile=/run/web.pid\nrespawn_max=3\nrespawn_period=60\nretry=\"QUIT/30/KILL/5\"\n\
         output_log=/var/log/web\ndepend() {\n\tneed net db\n\tuse logger gone\n}\n",
    );
    web.conf = Some((
        "conf.d/web".to_owned(),
        "# why\nWEB_ARGS=\"-v -v\"\n".to_owned(),
    ));
    let db = script(
        "db",
        "command=/bin/db\ncommand_background=yes\npidfile=/run/db\ndepend() {\n\tprovide sql\n}\n",
    );
    let map = BTreeMap::from([("net".to_owned(), "loopback".to_owned())]);
    let options = Options {
        known: BTreeSet::from(["loopback".to_owned()]),
        map,
        force: false,
    };
    let it = convert(&[web, db], &options);
    assert_eq!(
        file(&it, 0),
        "# Imported from conf.d/web\n\
         exec = [\"/bin/web\", \"-c\", \"/etc/a b\", \"-v\", \"-v\", \"-f\"]\n\
         requires = [\"loopback\", \"db\"]\nuser = \"www\"\ngroup = \"adm\"\n\
         [restart]\npolicy = \"always\"\ndelay = \"0s\"\nmax-delay = \"1s\"\nburst = 4\nburst-within = \"60s\"\n\
         [stop]\nsignal = \"QUIT\"\ntimeout = \"30s\""
    );
    assert_eq!(
        file(&it, 1),
        "exec = \"/bin/db\"\n[restart]\npolicy = \"never\"\n[stop]\ntimeout = \"5s\""
    );
    let told = told(&it);
    assert!(
        told.contains(&"- output_log=/var/log/web".to_owned()),
        "{told:?}"
    );
    assert!(told.contains(&"+ need net db".to_owned()), "{told:?}");
    assert!(told.contains(&"- use logger gone".to_owned()), "{told:?}");
    assert!(told.contains(&"- provide sql".to_owned()), "{told:?}");
}

#[test]
fn one_that_goes_into_the_background_is_forking() {
    let it = convert(
        &[script(
            "a",
            "command=/bin/a\ncommand_args=-d\npidfile=\"/run/${RC_SVCNAME}.pid\"\n",
        )],
        &Options::default(),
    );
    let text = file(&it, 0);
    assert!(
        text.contains("type = \"forking\"\nexec = \"/bin/a -d\"\npid-file = \"/run/a.pid\""),
        "{text}"
    );
}

#[test]
fn what_is_said_in_commands_has_no_file() {
    let check = |text: &str, why: &str, forceable: bool| {
        let text = format!("command=/bin/a\n{text}\n");
        let it = convert(&[script("a", &text)], &Options::default());
        assert!(it.made.is_empty(), "{text}");
        assert!(it.refused[0].why[0].contains(why), "{:?}", it.refused);
        assert_eq!(it.refused[0].forceable, forceable, "{text}");
        assert!(it.entries.iter().all(|it| it.outcome.fate != Fate::Carried));
        let forced = Options {
            force: true,
            ..Options::default()
        };
        let it = convert(&[script("a", &text)], &forced);
        assert_eq!(it.made.len(), usize::from(forceable), "{text}");
        assert_eq!(it.problems, []);
    };
    check("start() {\n\tebegin\n}", "function `start`", false);
    check(
        "start_pre() {\n\tcheckpath -d /run/a\n}",
        "`start_pre` would not be run",
        true,
    );
    check("if true; then\nx=1\nfi", "line 2: it runs a command", false);
    check(
        "pidfile=$(cat x)",
        "line 2: `pidfile` takes what a command writes",
        false,
    );
    check("command=a", "names no program", false);
    check("command_args='a | b'", "mean something to a shell", false);
    check("supervisor=s6", "leaves its program", true);
    check("command_user=1000", "no account", false);
    check("chroot=/srv", "another root", false);
}

proptest::proptest! {
    #[test]
    fn every_statement_is_accounted_for(
        lines in proptest::collection::vec("(command|command_args|pidfile|retry|respawn_max|umask|notify)=[-a-z/$\"' {}0-9:]{0,12}|depend\\(\\) \\{|\\}|(need|use|after) [a-z ]{0,6}|.{0,20}", 0..20),
    ) {
        let text = lines.join("\n");
        for force in [false, true] {
            let options = Options { force, ..Options::default() };
            let it = convert(&[script("a", &text)], &options);
            proptest::prop_assert_eq!(it.entries.len(), shell::statements(&text).len());
            proptest::prop_assert_eq!(it.made.len() + it.refused.len(), 1);
        }
    }
}
