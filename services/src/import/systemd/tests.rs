//! Whole units, and what comes of them: files and account.

use std::collections::BTreeSet;

use super::super::report::Fate;
use super::*;

mod keys;

fn unit(name: &str, text: &str) -> Unit {
    Unit {
        name: name.to_owned(),
        aliases: Vec::new(),
        files: vec![UnitFile {
            path: name.to_owned(),
            text: text.to_owned(),
        }],
        instances: Vec::new(),
    }
}

fn import(units: &[(&str, &str)]) -> Import {
    let units: Vec<Unit> = units.iter().map(|(name, text)| unit(name, text)).collect();
    convert(&units, &Options::default())
}

/// The files without their first lines, each with its name.
fn files(import: &Import) -> String {
    assert_eq!(import.problems, [], "{:?}", import.made);
    let lines = import.made.iter().flat_map(|made| {
        let head = format!("--- {}", made.service);
        let body = made
            .text
            .lines()
            .filter(|line| !line.starts_with("# Imported"));
        std::iter::once(head).chain(body.map(str::to_owned))
    });
    lines
        .filter(|line| !line.is_empty())
        .collect::<Vec<_>>()
        .join("\n")
}

/// What became of lines that are no headings: a letter, and the text.
fn told(import: &Import) -> Vec<String> {
    let entries = import.entries.iter().filter(|it| !it.text.starts_with('['));
    entries
        .map(|entry| {
            let letter = match (entry.outcome.fate, entry.outcome.look.is_empty()) {
                (Fate::Carried, true) => "+",
                (Fate::Carried, false) => "?",
                (Fate::Lost, _) => "-",
                (Fate::Irrelevant, _) => " ",
            };
            format!("{letter} {}", entry.text)
        })
        .collect()
}

#[test]
fn a_service_says_what_systemd_only_means() {
    let it = import(&[(
        "web.service",
        "[Unit]\nDescription=A web\nDocumentation=man:web(8)\n[Service]\nExecStart=/bin/web -d\n\
         [Install]\nWantedBy=multi-user.target\n",
    )]);
    assert_eq!(
        files(&it),
        "--- web\n\
         description = \"A web\"\n\
         exec = \"/bin/web -d\"\n\
         [restart]\n\
         policy = \"never\"\n\
         [stop]\n\
         timeout = \"1min 30s\""
    );
    assert_eq!(
        told(&it),
        [
            "+ Description=A web",
            "  Documentation=man:web(8)",
            "+ ExecStart=/bin/web -d",
            "+ WantedBy=multi-user.target",
        ]
    );
    let implied: Vec<&str> = it.implied.iter().map(|it| it.key.as_str()).collect();
    assert_eq!(implied, ["restart.policy", "stop.timeout"]);
}

#[test]
fn commands_that_need_a_shell_get_one() {
    let it = import(&[(
        "a.service",
        "[Service]\nExecStartPre=-/bin/pre 'x y'\nExecStartPre=+/bin/root\nExecStart=@/bin/a other $B ${C}\n\
         ExecStartPost=/bin/post\nExecReload=/bin/check\nExecReload=/bin/kill -HUP $MAINPID\n\
         ExecStop=/bin/kill -INT $MAINPID\n",
    )]);
    assert_eq!(
        told(&it),
        [
            "? ExecStartPre=-/bin/pre 'x y'",
            "? ExecStartPre=+/bin/root",
            "- ExecStart=@/bin/a other $B ${C}",
            "- ExecStartPost=/bin/post",
            "- ExecReload=/bin/check",
            "+ ExecReload=/bin/kill -HUP $MAINPID",
            "+ ExecStop=/bin/kill -INT $MAINPID",
        ]
    );
    let file = files(&it);
    assert!(file.contains(
        "exec = [\"/bin/sh\", \"-c\", \"\"\"\nset -f\n/bin/pre 'x y' || true\n/bin/root || exit\n\
         exec /bin/a $B \\\"${C}\\\"\"\"\"]\nreload = \"HUP\""
    ), "{file}");
    assert!(file.contains("signal = \"INT\""), "{file}");
}

#[test]
fn what_runs_as_root_beside_a_user_is_not_mixed_up() {
    let it = import(&[(
        "a.service",
        "[Service]\nUser=www\nExecStartPre=+/bin/root\nExecStart=/bin/a\n",
    )]);
    assert_eq!(
        told(&it),
        [
            "+ User=www",
            "- ExecStartPre=+/bin/root",
            "+ ExecStart=/bin/a"
        ]
    );
    let it = import(&[("a.service", "[Service]\nUser=www\nExecStart=!/bin/a\n")]);
    assert_eq!(told(&it), ["- User=www", "+ ExecStart=!/bin/a"]);
    assert!(!files(&it).contains("user"));
    let with_dir = "[Service]\nUser=www\nRuntimeDirectory=a\nExecStart=!/bin/a\n";
    let it = import(&[("a.service", with_dir)]);
    assert!(it.made.is_empty() && it.refused[0].forceable);
}

#[test]
fn what_cannot_be_expressed_has_no_file() {
    let check = |text: &str, why: &str, forceable: bool| {
        let it = import(&[("a.service", text)]);
        assert!(it.made.is_empty(), "{text}");
        assert!(it.refused[0].why[0].contains(why), "{:?}", it.refused);
        assert_eq!(it.refused[0].forceable, forceable, "{text}");
        assert!(
            it.entries.iter().all(|it| it.outcome.into.is_empty()),
            "{text}"
        );
        let options = Options {
            force: true,
            ..Options::default()
        };
        let it = convert(&[unit("a.service", text)], &options);
        assert_eq!(it.made.len(), usize::from(forceable), "{text}");
        assert_eq!(it.problems, []);
    };
    check(
        "[Service]\nType=dbus\nBusName=a.b\nExecStart=/bin/a\n",
        "D-Bus",
        true,
    );
    check("[Service]\nBusName=a.b\nExecStart=/bin/a\n", "D-Bus", true);
    check(
        "[Service]\nDynamicUser=yes\nExecStart=/bin/a\n",
        "root",
        true,
    );
    check("[Service]\nExecStop=/bin/a\n", "runs nothing", false);
    check("[Service]\nExecStart=/bin/a\nUser=1000\n", "number", false);
    check("[Service]\nExecStart=/bin/a %H\n", "%H", false);
    check(
        "[Service]\nExecStart=/bin/a\nRootDirectory=/srv\n",
        "root of the machine",
        false,
    );
    check(
        "[Service]\nExecStart=/bin/a\nExecStart=/bin/b\n",
        "oneshot",
        false,
    );
    check("", "masked", false);
    let it = import(&[
        ("a.mount", "[Mount]\nWhat=/dev/x\n"),
        ("b.timer", "[Timer]\nOnBootSec=1\n"),
    ]);
    assert_eq!(it.refused.len(), 2);
    assert_eq!(told(&it), ["- What=/dev/x", "- OnBootSec=1"]);
}

#[test]
fn sockets_become_a_part_of_their_service() {
    let service = "[Unit]\nRequires=web.socket\n[Service]\nExecStart=/bin/web\n";
    let socket = "[Socket]\nListenStream=80\nListenStream=/run/web\nSocketMode=0660\nSocketUser=www\n\
                  ListenStream=@web\nBacklog=16\n[Install]\nWantedBy=sockets.target\n";
    let it = import(&[("web.service", service), ("web.socket", socket)]);
    assert_eq!(
        files(&it),
        "--- web\nexec = \"/bin/web\"\nlazy = true\n\
         [sockets.\"web.socket.01\"]\nbacklog = 16\nlisten = \"tcp:[::]:80\"\n\
         [sockets.\"web.socket.02\"]\nbacklog = 16\nlisten = \"unix:/run/web\"\nmode = \"0660\"\nuser = \"www\"\n\
         [restart]\npolicy = \"never\"\n[stop]\ntimeout = \"1min 30s\""
    );
    assert_eq!(
        told(&it)[..5],
        [
            "  Requires=web.socket",
            "+ ExecStart=/bin/web",
            "? ListenStream=80",
            "? ListenStream=/run/web",
            "+ SocketMode=0660",
        ]
    );
    let enabled = format!("{service}[Install]\nWantedBy=multi-user.target\n");
    let it = import(&[("web.service", &enabled), ("web.socket", socket)]);
    assert!(!files(&it).contains("lazy"));
    let accept = "[Socket]\nListenStream=80\nAccept=yes\n";
    let it = import(&[("web@.service", service), ("web.socket", accept)]);
    assert_eq!(it.refused.len(), 1, "{:?}", it.refused);
    let it = import(&[("web.service", service), ("web.socket", accept)]);
    assert_eq!(it.refused.len(), 2, "{:?}", it.refused);
}

#[test]
fn both_kinds_of_addresses_are_one_socket() {
    let socket = "[Socket]\nBindIPv6Only=ipv6-only\nListenStream=0.0.0.0:111\nListenStream=[::]:111\n\
                  ListenDatagram=127.0.0.1:111\n";
    let it = import(&[
        ("a.service", "[Service]\nExecStart=/bin/a\n"),
        ("a.socket", socket),
    ]);
    let file = files(&it);
    assert_eq!(file.matches("listen = ").count(), 2, "{file}");
    assert!(file.contains("\"tcp:[::]:111\"") && file.contains("\"udp:127.0.0.1:111\""));
}

#[test]
fn a_timer_becomes_a_part_of_its_service() {
    let service = "[Service]\nType=oneshot\nExecStart=/bin/a\n";
    let timer = "[Timer]\nOnCalendar=*-*-*  6,18:00\nOnCalendar=Mon *-*-* 04:00 Europe/Berlin\n\
                 RandomizedDelaySec=12h\nPersistent=true\nOnUnitInactiveSec=1h\nAccuracySec=1min\n\
                 [Install]\nWantedBy=timers.target\n";
    let it = import(&[("a.service", service), ("a.timer", timer)]);
    let file = files(&it);
    assert!(file.contains(
        "[timer]\nevery = \"1h\"\non-calendar = [\"*-*-* 6,18:00\"]\npersistent = true\nrandom-delay = \"12h\""
    ), "{file}");
    assert!(!file.contains("wanted-by"), "{file}");
    assert_eq!(
        told(&it)[2..7],
        [
            "? OnCalendar=*-*-*  6,18:00",
            "- OnCalendar=Mon *-*-* 04:00 Europe/Berlin",
            "? RandomizedDelaySec=12h",
            "+ Persistent=true",
            "? OnUnitInactiveSec=1h",
        ]
    );
    let it = import(&[
        ("a.service", service),
        ("a.timer", "[Timer]\nOnCalendar=sometimes\n"),
    ]);
    assert_eq!(it.refused.len(), 2);
    let enabled = format!("{service}[Install]\nWantedBy=multi-user.target\n");
    let it = import(&[("a.service", &enabled), ("a.timer", timer)]);
    assert!(files(&it).contains("on-boot = \"0s\""));
}

#[test]
fn a_name_means_what_is_there() {
    let text = "[Unit]\nAfter=local-fs.target b.service c.service\nWants=b.service\nRequires=gone.service\n\
                Conflicts=shutdown.target\nBefore=multi-user.target\nOnFailure=known.service\n\
                PartOf=my.target\nBindsTo=dev-sda.device\n[Service]\nExecStart=/bin/a\n";
    let units = [
        unit("a.service", text),
        unit(
            "b.service",
            "[Service]\nExecStart=/bin/b\n[Install]\nAlias=c.service\n",
        ),
        unit("my.target", "[Unit]\nWants=a.service\n"),
    ];
    let options = Options {
        known: BTreeSet::from(["known".to_owned()]),
        map: BTreeMap::from([("gone.service".to_owned(), "known".to_owned())]),
        force: false,
    };
    let it = convert(&units, &options);
    let file = files(&it);
    assert!(file.contains(
        "requires = [\"known\"]\nwants = [\"b\"]\nafter = [\"b\"]\nwanted-by = []\npart-of = [\"my.target\"]\n"
    ), "{file}");
    assert!(
        file.contains("--- my.target\ntype = \"target\"\nwants = [\"a\"]\nwanted-by = []"),
        "{file}"
    );
    assert_eq!(
        told(&it)[..8],
        [
            "+ After=local-fs.target b.service c.service",
            "+ Wants=b.service",
            "? Requires=gone.service",
            "  Conflicts=shutdown.target",
            "  Before=multi-user.target",
            "+ OnFailure=known.service",
            "+ PartOf=my.target",
            "- BindsTo=dev-sda.device",
        ]
    );
}

#[test]
fn no_circle_is_made_of_what_is_none() {
    let it = import(&[
        (
            "a.service",
            "[Unit]\nWants=b.service\n[Service]\nExecStart=/bin/a\n",
        ),
        (
            "b.service",
            "[Unit]\nAfter=a.service\n[Service]\nExecStart=/bin/b\n[Install]\nWantedBy=a.service\n",
        ),
    ]);
    assert_eq!(
        told(&it),
        [
            "- Wants=b.service",
            "+ ExecStart=/bin/a",
            "+ After=a.service",
            "+ ExecStart=/bin/b",
            "- WantedBy=a.service",
        ]
    );
    files(&it);
    // A circle that is one there too is left to people.
    let it = import(&[
        (
            "a.service",
            "[Unit]\nAfter=b.service\n[Service]\nExecStart=/bin/a\n",
        ),
        (
            "b.service",
            "[Unit]\nAfter=a.service\n[Service]\nExecStart=/bin/b\n",
        ),
    ]);
    assert!(
        it.problems[0].message.contains("circle"),
        "{:?}",
        it.problems
    );
}

#[test]
fn a_template_stays_one() {
    let mut template = unit(
        "vpn@.service",
        "[Unit]\nDescription=VPN %i, 5%% of %I\nAfter=net@%i.service\n[Service]\nExecStart=/bin/vpn %i.conf\n\
         [Install]\nWantedBy=multi-user.target\nDefaultInstance=x\n",
    );
    template.instances = vec!["home".to_owned()];
    let units = [
        template,
        unit("net@.service", "[Service]\nExecStart=/bin/net %i\n"),
        unit(
            "web.service",
            "[Unit]\nWants=vpn@work.service\nAfter=vpn@gone.service\n[Service]\nExecStart=/bin/web\n",
        ),
    ];
    let it = convert(&units, &Options::default());
    let file = files(&it);
    assert!(
        file.contains(
            "description = \"VPN %i, 5%% of %i\"\nexec = \"/bin/vpn %i.conf\"\nafter = [\"net@%i\"]"
        ),
        "{file}"
    );
    assert!(file.contains("--- vpn@home\n# An instance of"), "{file}");
    assert!(file.contains("wants = [\"vpn@work\"]\nwanted-by"), "{file}");
    let alone = [unit(
        "vpn@home.service",
        "[Service]\nExecStart=/bin/vpn %i\n",
    )];
    assert!(
        files(&convert(&alone, &Options::default()))
            .contains("--- vpn@home\nexec = \"/bin/vpn home\"")
    );
    let template = "[Unit]\nAfter=b.service\n[Service]\nExecStart=/bin/vpn %i\n";
    let both = |instance: &str| {
        let template = unit("vpn@.service", template);
        let b = unit("b.service", "[Service]\nExecStart=/bin/b\n");
        convert(
            &[template, unit("vpn@home.service", instance), b],
            &Options::default(),
        )
    };
    // It says less than its template, and would get the rest from it.
    let less = both("[Service]\nExecStart=/bin/vpn %i\n");
    assert_eq!(less.refused[0].unit, "vpn@home.service");
    let all = both(&format!("{template}User=vpn\n"));
    assert!(
        files(&all).contains("--- vpn@home\nexec = \"/bin/vpn home\""),
        "{:?}",
        all.refused
    );
}

#[test]
fn drop_ins_replace_and_take_back() {
    let mut service = unit(
        "a.service",
        "[Unit]\nConditionPathExists=/a\n[Service]\nExecStart=/bin/a\nUser=one\nEnvironment=A=1\n",
    );
    service.files.push(UnitFile {
        path: "a.service.d/x.conf".to_owned(),
        text: "[Unit]\nConditionPathExists=\nConditionPathExists=!/b\n[Service]\nExecStart=\nExecStart=/bin/b\nUser=two\nEnvironment=B=2\n"
            .to_owned(),
    });
    let it = convert(&[service], &Options::default());
    assert_eq!(
        told(&it),
        [
            "  ConditionPathExists=/a",
            "  ExecStart=/bin/a",
            "  User=one",
            "+ Environment=A=1",
            "  ConditionPathExists=",
            "+ ConditionPathExists=!/b",
            "  ExecStart=",
            "+ ExecStart=/bin/b",
            "+ User=two",
            "+ Environment=B=2",
        ]
    );
    let file = files(&it);
    assert!(
        file.contains("exec = \"/bin/b\"") && file.contains("A = \"1\"\nB = \"2\""),
        "{file}"
    );
    assert!(
        it.entries[1].outcome.why[0].contains("a.service.d/x.conf:2"),
        "{:?}",
        it.entries[1]
    );
}

proptest::proptest! {
    #[test]
    fn no_units_panic_and_every_line_is_accounted_for(
        lines in proptest::collection::vec("(\\[(Unit|Service|Socket|Timer|Install)\\]|(ExecStart|ExecStartPre|After|Type|User|Environment|ListenStream|OnCalendar|WantedBy|Restart|RestartSec|RuntimeDirectory)=[-a-z /.@:0-9$%{}'\"]{0,12}|.{0,20})", 0..24),
        socket in proptest::bool::ANY,
    ) {
        let text = lines.join("\n");
        let mut units = vec![unit("a@.service", &text), unit("b.service", &text)];
        if socket {
            units.push(unit("b.socket", &text));
        }
        for force in [false, true] {
            let it = convert(&units, &Options { force, ..Options::default() });
            for part in &units {
                let known = syntax::lines(&part.name, &text).len();
                let told = it.entries.iter().filter(|it| it.file == part.name).count();
                proptest::prop_assert_eq!(known, told);
            }
        }
    }
}
