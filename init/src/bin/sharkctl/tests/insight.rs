//! The verbs that explain, against a machine whose services and relations are made up.

use services::control::{RelationsPage, Reply, Request, ServiceRelations};
use services::status::{ServiceStatus, StateName};

use super::server::{Answer, Server, machine, service};

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
                because: Some("cron".into()),
                conflicts: names(&["cron"]),
                ..none()
            },
        )
        .reason("cron was started, which it conflicts with"),
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
        Request::List => Ok(Reply::Services {
            services: some.map(|Made(status, _)| status).collect(),
        }),
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
        |what: &str| format!("2026-11-30T12:00:00.000000Z audit: uid 0 pid 9 asks: {what}\n");
    let asked = audit("restart web") + &audit("stop web: denied") + &audit("start left");
    log("init", &asked);
    let ran = server.run("why web");
    ran.expect(0, "\n   wanted: by the boot: default wants web\n", "");
    ran.expect(
        0,
        "    asked: 2026-11-30T12:00:00.000000Z: uid 0 pid 9 asked: restart web\n",
        "",
    );
    ran.expect(
        0,
        "    chain: web requires api\n           api requires db\n",
        "",
    );
    ran.expect(0, "    cause: db is backoff for ", "");
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
