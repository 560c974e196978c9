//! The verbs that explain, against a machine whose services and relations are made up.

use services::control::{
    BootMode, BootState, RelationsPage, Reply, Request, ServiceRelations, ServicesPage, Timing,
};
use services::status::{ServiceStatus, StateName};

use super::server::{Answer, Server, boot, machine, service, services_page};

/// A service: name, state, reason, started and ready in milliseconds, relations.
struct Made(ServiceStatus, ServiceRelations);

fn made(name: &str, state: StateName, relations: ServiceRelations) -> Made {
    let name_ = name.to_owned();
    let relations = ServiceRelations {
        name: name_,
        ..relations
    };
    Made(service(name, state), relations)
}

impl Made {
    fn reason(mut self, reason: &str) -> Self {
        self.0.reason = Some(reason.into());
        self
    }

    fn because(mut self, name: &str) -> Self {
        self.0.because = Some(name.into());
        self
    }

    fn times(mut self, started: u64, ready: u64) -> Self {
        (self.0.started_us, self.0.ready_us) = (Some(started * 1000), Some(ready * 1000));
        self
    }
}

fn names(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

/// The default target wants `web` and `cron`; `web` requires `api`, and that `db`, all after `net`.
fn some() -> Vec<Made> {
    let none = ServiceRelations::default;
    vec![
        made(
            "api",
            StateName::Waiting,
            ServiceRelations {
                requires: names(&["db"]),
                after: names(&["net"]),
                waits_for: names(&["db"]),
                ..none()
            },
        )
        .times(2000, 2600),
        made(
            "cron",
            StateName::Up,
            ServiceRelations {
                wants: names(&["net"]),
                ..none()
            },
        )
        .times(1300, 1400),
        made(
            "db",
            StateName::Backoff,
            ServiceRelations {
                after: names(&["net"]),
                ..none()
            },
        )
        .reason("it was killed because memory ran out")
        .times(1250, 2000),
        made(
            "default",
            StateName::Up,
            ServiceRelations {
                wants: names(&["cron", "web"]),
                ..none()
            },
        )
        .times(3100, 3100),
        made(
            "left",
            StateName::Failed,
            ServiceRelations {
                conflicts: names(&["cron"]),
                ..none()
            },
        )
        .reason("cron was started, which it conflicts with")
        .because("cron"),
        made("net", StateName::Up, none()).times(1000, 1250),
        made(
            "web",
            StateName::Waiting,
            ServiceRelations {
                requires: names(&["api"]),
                wants: names(&["net"]),
                waits_for: names(&["api"]),
                ..none()
            },
        )
        .times(2600, 3100),
    ]
}

fn answer(request: &Request) -> Answer {
    let some = some().into_iter();
    match request {
        Request::List { .. } => Ok(services_page(some.map(|Made(status, _)| status).collect())),
        // Two pages.
        Request::Relations { from } => {
            let from = from.clone().unwrap_or_default();
            let next = Some("db".to_owned()).filter(|next| from < *next);
            let relations = some
                .map(|Made(_, relations)| relations)
                .filter(|it| it.name >= from && next.as_ref().is_none_or(|next| it.name < *next));
            Ok(Reply::Relations(RelationsPage {
                relations: relations.collect(),
                next: next.clone(),
            }))
        }
        Request::Boot => {
            let mut boot = boot(BootState::Ready);
            boot.mode = BootMode::Disk;
            let timing = |name: &str, us| Timing {
                name: name.into(),
                us,
            };
            boot.timings = vec![timing("stage1 <&>", 700_000), timing("init", 900_000)];
            Ok(Reply::Boot {
                boot: Box::new(boot),
            })
        }
        other => machine(other),
    }
}

#[test]
fn why_goes_to_where_it_began() {
    let server = Server::new(answer);
    std::fs::create_dir(server.directory.path().join("log")).unwrap();
    let log = |name: &str, text: &str| {
        std::fs::write(server.directory.path().join("log").join(name), text).unwrap();
    };
    let lines: String = (0..20).map(|it| format!("line {it}\n")).collect();
    log("db", &lines);
    let audit =
        |what: &str| format!("2026-11-30T12:00:00.000000Z <5>uid 0 pid 9 (sh) asks: {what}\n");
    let asked = audit("restart web") + &audit("stop web: denied") + &audit("start left");
    log("audit", &asked);
    let ran = server.run("why web");
    ran.expect(0, "\n   wanted: by the boot: default wants web\n", "");
    ran.expect(
        0,
        "    asked: 2026-11-30T12:00:00.000000Z: uid 0 pid 9 (sh) asked: restart web\n",
        "",
    );
    ran.expect(
        0,
        "    chain: web requires api\n           api requires db\n",
        "",
    );
    ran.expect(0, "    cause: db is in backoff for ", "");
    ran.expect(
        0,
        ": it was killed because memory ran out\n   advice: let it have more",
        "",
    );
    let tail: String = (12..20).map(|it| format!("line {it}\n")).collect();
    ran.expect(0, &format!("\nlast lines of db:\n{tail}"), "");
    assert!(!ran.out.contains("line 11\n"), "{ran:?}");
    let json = server.run("--json why web").json();
    assert_eq!(json["cause"]["name"], "db");
    assert_eq!(json["lines"].as_array().unwrap().len(), 8);
    // What is to blame is up, and a rival.
    server.run("why left").expect(
        0,
        "chain: left conflicts with cron\n    cause: cron is up",
        "",
    );
    server
        .run("why cron")
        .expect(0, "cause: nothing is wrong with it\n", "");
    server
        .run("why none")
        .expect(3, "", "there is no service `none`");
}

#[test]
fn a_tree_has_each_subtree_once() {
    let server = Server::new(answer);
    let text = "default: up\n\
        ├─ wants cron: up\n\
        │  └─ wants net: up\n\
        └─ wants web: waiting\n   \
           ├─ requires api: waiting\n   \
           │  └─ requires db: backoff\n   \
           └─ wants net: up\n";
    assert_eq!(server.run("tree").out, text);
    let text = "net: up\n\
        ├─ wants cron: up\n\
        │  └─ wants default: up\n\
        └─ wants web: waiting\n   \
           └─ wants default: up\n";
    assert_eq!(server.run("tree net --reverse").out, text);
    let text = server.run("tree db --reverse").out;
    assert_eq!(
        text,
        "db: backoff\n└─ requires api: waiting\n   └─ requires web: waiting\n      └─ wants default: up\n"
    );
    let json = server.run("tree --json").json();
    assert_eq!(
        (&json["root"], json["services"].as_array().unwrap().len()),
        (&"default".into(), 6)
    );
    assert_eq!(json["services"][1]["below"][0]["relation"], "wants");
    server
        .run("tree none")
        .expect(3, "", "there is no service `none`");
}

#[test]
fn blame_has_the_longest_first() {
    let server = Server::new(answer);
    let text = " TOOK  STARTED  STATE    SERVICE\n\
        750ms   1.250s  backoff  db\n\
        600ms   2.000s  waiting  api\n\
        500ms   2.600s  waiting  web\n\
        250ms   1.000s  up       net\n\
        100ms   1.300s  up       cron\n";
    let ran = server.run("blame");
    // The target of this machine is a service like others.
    assert_eq!(
        ran.out.replace("  0us   3.100s  up       default\n", ""),
        text
    );
    let json = server.run("blame --json").json();
    assert_eq!(json["services"][0]["name"], "db");
    assert_eq!(json["services"][0]["tookUs"], 750_000);
}

#[test]
fn a_chain_is_of_those_that_were_ready_last() {
    let server = Server::new(answer);
    let text = " READY   TOOK  STARTED  WAITED  SERVICE\n\
        3.100s    0us   3.100s     0us  default\n\
        3.100s  500ms   2.600s     0us  web (wants): waiting\n\
        2.600s  600ms   2.000s     0us  api (requires): waiting\n\
        2.000s  750ms   1.250s     0us  db (requires): backoff\n\
        1.250s  250ms   1.000s     0us  net (after)\n";
    assert_eq!(server.run("critical-chain").out, text);
    let text = server.run("critical-chain cron").out;
    assert!(
        text.ends_with(
            "1.400s  100ms   1.300s    50ms  cron\n1.250s  250ms   1.000s     0us  net (wants)\n"
        ),
        "{text}"
    );
    let json = server.run("critical-chain --json").json();
    assert_eq!(json["chain"][4]["name"], "net");
    let ran = server.run("critical-chain left");
    ran.expect(1, "", "left has not been ready: `sharkctl why left` tells");
    server
        .run("critical-chain none")
        .expect(3, "", "there is no service");
}

#[test]
fn a_graph_is_one_that_dot_reads() {
    let server = Server::new(answer);
    let ran = server.run("graph");
    ran.expect(0, "digraph services {\n", "");
    ran.expect(
        0,
        "  \"db\" [label=\"db\\nbackoff\", fillcolor=\"#f5b98a\"];\n",
        "",
    );
    ran.expect(
        0,
        "  \"api\" -> \"net\" [style=dotted, color=\"gray60\", tooltip=\"after\"];\n",
        "",
    );
    assert!(ran.out.ends_with("}\n"));
    let json = server.run("graph --json api").json();
    let of = |key: &str| json[key].as_array().unwrap().len();
    assert_eq!((of("services"), of("edges")), (2, 1), "{json}");
    server
        .run("graph none")
        .expect(3, "", "there is no service");
}

/// Every bar, as its title tells, with where it begins and how wide it is.
fn drawn(text: &str) -> Vec<(String, f64, f64)> {
    let document = roxmltree::Document::parse(text).unwrap();
    let root = document.root_element();
    assert_eq!(root.tag_name().name(), "svg");
    let number =
        |node: &roxmltree::Node<'_, '_>, key| node.attribute(key).unwrap().parse().unwrap();
    let height: f64 = number(&root, "height");
    let groups = root
        .children()
        .filter(|it| it.has_tag_name("g") || it.tag_name().name() == "g");
    let mut last = 0.0;
    let bars = groups.map(|group| {
        let child = |name: &str| {
            group
                .children()
                .find(|it| it.tag_name().name() == name)
                .unwrap()
        };
        let bar = child("rect");
        let (x, y, width): (f64, f64, f64) =
            (number(&bar, "x"), number(&bar, "y"), number(&bar, "width"));
        assert!(
            y >= last + 14.0 && y + 14.0 < height,
            "no bar lies over another"
        );
        assert!(x >= 230.0 && x + width <= 1112.0, "{x} {width}");
        last = y;
        (child("title").text().unwrap().to_owned(), x, width)
    });
    bars.collect()
}

#[test]
fn a_plot_is_right_xml_with_a_bar_for_each() {
    let server = Server::new(answer);
    let bars = drawn(&server.run("plot").out);
    let titles: Vec<&str> = bars.iter().map(|(title, ..)| title.as_str()).collect();
    assert_eq!(titles[0], "stage1 <&>: 700ms, from 0.000s to 0.700s");
    assert_eq!(titles[2], "net: 250ms, from 1.000s to 1.250s");
    assert_eq!(bars.len(), 2 + 6, "one was never started");
    let file = server.directory.path().join("boot.svg");
    let ran = server.run(&format!("plot -o {}", file.display()));
    ran.expect(0, "boot.svg: 8 bars\n", "");
    assert_eq!(drawn(&std::fs::read_to_string(&file).unwrap()).len(), 8);
    server
        .run("plot -o /nowhere/x")
        .expect(1, "", "write /nowhere/x: ");
    assert_eq!(
        server.run("plot --json").json()["bars"]
            .as_array()
            .unwrap()
            .len(),
        8
    );
}

#[test]
fn a_plot_of_many_has_room_for_all() {
    let server = Server::new(|request| match request {
        // Page by page.
        Request::List { from } => {
            let all = (0..500).map(|it| format!("s{it:03}"));
            let from = from.clone().unwrap_or_default();
            let mut names = all.filter(|name| *name >= from);
            let page = names.by_ref().take(64);
            let made = page.map(|name| made(&name, StateName::Up, ServiceRelations::default()));
            Ok(Reply::Services(ServicesPage {
                services: made.map(|made| made.times(10, 300).0).collect(),
                next: names.next(),
            }))
        }
        Request::Relations { .. } => Ok(Reply::Relations(RelationsPage::default())),
        other => answer(other),
    });
    assert_eq!(drawn(&server.run("plot").out).len(), 502);
}
