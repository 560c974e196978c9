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
fn what_a_shell_would_decide_about_dependencies_is_said() {
    let text = "supervisor=supervise-daemon\ncommand=/bin/a\ndepend() {\n\tneed b # first\n\tuse b; before c\n\
                \tif yesno $x; then\n\t\tneed c\n\tfi\n\tafter c && need b\n}\n";
    let other = |name: &str| script(name, "supervisor=supervise-daemon\ncommand=/bin/x\n");
    let it = convert(
        &[script("a", text), other("b"), other("c")],
        &Options::default(),
    );
    assert!(
        it.made[0].text.contains("requires = [\"b\", \"c\"]"),
        "{it:?}"
    );
    assert!(
        it.made[0]
            .text
            .contains("after = [\"b\"]\nbefore = [\"c\"]"),
        "{it:?}"
    );
    let of = |text: &str| {
        &it.entries
            .iter()
            .find(|it| it.text == text)
            .unwrap()
            .outcome
    };
    assert_eq!(of("need b # first").fate, Fate::Carried);
    assert_eq!(of("use b; before c").into, ["after", "before"]);
    assert!(of("need c").look[0].contains("whatever the lines around it ask"));
    assert_eq!(of("if yesno $x; then").fate, Fate::Lost);
    assert_eq!(of("after c && need b").fate, Fate::Lost);
}

#[test]
fn values_that_no_service_can_have_are_lost() {
    let text = "supervisor=supervise-daemon\ncommand=/bin/a\ndirectory=/\u{0}\nexport A=b\nexport B=\u{0}\n\
                input_file=/x\nstart_inactive=yes\nrespawn_delay_cap=5\nopts=x\n";
    let it = convert(&[script("a", text)], &Options::default());
    assert_eq!(it.problems, []);
    let of = |text: &str| {
        &it.entries
            .iter()
            .find(|it| it.text == text)
            .unwrap()
            .outcome
    };
    for lost in [
        "directory=/\u{0}",
        "export B=\u{0}",
        "input_file=/x",
        "start_inactive=yes",
        "respawn_delay_cap=5",
        "opts=x",
    ] {
        assert_eq!(
            (of(lost).fate, of(lost).into.len()),
            (Fate::Lost, 0),
            "{it:?}"
        );
    }
    assert_eq!(of("export A=b").fate, Fate::Carried);
    // As whom it would run is nothing that can be left out.
    let whom = format!("{text}command_user=\u{0}\n");
    let it = convert(&[script("a", &whom)], &Options::default());
    assert_eq!(it.made.len(), 0);
    assert!(it.refused[0].why[0].contains("NUL"), "{it:?}");
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
fn what_a_starter_is_told_counts() {
    let it = convert(
        &[script(
            "a",
            ": ${A_CONF:=/etc/${A_NAME:-a}.conf}\ncommand=/bin/a\ncommand_args=\"-c ${A_CONF} ${A_MORE:+-m}\"\n\
             export A_HOME=/srv/a\npidfile=/run/a/a.pid\noutput_log=/var/log/a\n\
             start_stop_daemon_args=\"-b --make-pidfile --stderr \\\"/var/log/a.err\\\" -u web:adm -d/srv -N 5 --env=B=c --wait 10\"\n\
             rc_ulimit=\"-n 1024 -c unlimited -l 64 -u 0\"\nextra_started_commands=reload\n\
             supervise_daemon_args=--odd\n\
             start_pre() {\n\tcheckpath -f -o web:adm /var/log/a.err\n}\n\
             reload() {\n\tebegin \"Reloading ${RC_SVCNAME}\"\n\
             \tstart-stop-daemon --signal HUP --pidfile \"${pidfile}\"\n\teend $? \"Not done\"\n}\n",
        )],
        &Options::default(),
    );
    let text = file(&it, 0);
    assert_eq!(
        text,
        "exec = \"/bin/a -c /etc/a.conf\"\nreload = \"HUP\"\nuser = \"web\"\ngroup = \"adm\"\n\
         working-dir = \"/srv\"\nnice = 5\n[env]\nA_HOME = \"/srv/a\"\nB = \"c\"\n[restart]\npolicy = \"never\"\n\
         [stop]\ntimeout = \"5s\"\n[limits]\ncore = \"unlimited\"\nmemlock = \"64K\"\nnofile = 1024"
    );
    let told = told(&it);
    let has = |text: &str| assert!(told.iter().any(|it| it.starts_with(text)), "{told:?}");
    has("  : ${A_CONF");
    has("+ export A_HOME");
    has("- start_stop_daemon_args");
    has("- rc_ulimit");
    has("+ extra_started_commands");
    has("+ start-stop-daemon --signal");
    has("  ebegin");
    has("  checkpath -f");
    has("  supervise_daemon_args");
}

#[test]
fn a_directory_that_is_made_before_a_start_is_made_by_init() {
    let check = |before: &str, expect: Option<&str>| {
        let text = format!(
            "supervisor=supervise-daemon\ncommand=/bin/a\ncommand_user=\"web:adm\"\n\
             supervise_daemon_args=\"--oom-score-adj -50\"\nstart_pre() {{\n{before}\n}}\n\
             reload() {{\n\tsupervise-daemon \"$RC_SVCNAME\" -s USR1\n}}\n"
        );
        let it = convert(&[script("a", &text)], &Options::default());
        assert_eq!(it.made.len(), usize::from(expect.is_some()), "{before}");
        match expect {
            Some(expect) => assert!(file(&it, 0).contains(expect), "{}", file(&it, 0)),
            None => assert_eq!(
                it.refused[0].why,
                ["its function `start_pre` would not be run"]
            ),
        }
    };
    check(
        "\tcheckpath -d -m 0755 -o web:adm \"/run/${RC_SVCNAME}\" || return 1",
        Some(
            "reload = \"USR1\"\nuser = \"web\"\ngroup = \"adm\"\noom-score-adj = -50\nruntime-dirs = [\"a\"]",
        ),
    );
    check(
        "\tcheckpath --directory --owner web /var/run/a/ /run/b",
        Some("runtime-dirs = [\"a\", \"b\"]"),
    );
    for wrong in [
        "\tcheckpath -d -o root /run/a",
        "\tcheckpath -d -o web:other /run/a",
        "\tcheckpath -d -o web /run/a/b",
        "\tcheckpath -d -o web /srv/a",
        "\tcheckpath -d -o web /run/shark",
        "\tcheckpath -d -o web /run/$GONE",
        "\tcheckpath -f -o web /run/a",
        "\tcheckpath -D -o web /run/a",
        "\tcheckpath -d -o web /run/a; rm -r /",
        "\tcheckpath -d -o web /run/a\n\trm -r /",
        "\teinfo $(rm -r /)",
        "\teinfo nothing",
    ] {
        check(wrong, None);
    }
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
        "start_pre() {\n\tcheckpath -d /var/cache/a\n}",
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
    check(
        "start_stop_daemon_args=\"-b -r /srv\"",
        "`-r` may say",
        true,
    );
    check(
        "start_stop_daemon_args=--user",
        "`--user` has no value",
        true,
    );
    check("start_stop_daemon_args=--background=yes", "may say", true);
    check("start_stop_daemon_args=\"-u 0\"", "no account", false);
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
