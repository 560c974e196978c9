//! What befalls one service has the effect on another that shark-service(5) tells: its table is read
//! from the page and played cell by cell.
#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test that cannot go on says so"
)]

use std::collections::BTreeMap;

use services::file::{Source, load};
use services::id::{RunId, ServiceName};
use services::status::StateName;
use services::supervisor::Supervisor;
use services::supervisor::event::{Action, Command, Event, ExitStatus, RequestId};
use services::time::{Duration, Time};

/// Services `a` and `b`, and processes that do as they are told.
struct World {
    core: Supervisor,
    now: Time,
    runs: BTreeMap<String, RunId>,
    spawns: BTreeMap<String, u32>,
    requests: u64,
}

impl World {
    /// `a` never fails twice in a row: its policy decides what one failure leads to.
    fn new(relation: &str, policy: &str) -> Self {
        let a = format!("exec = \"/sbin/a\"\nrestart.policy = \"{policy}\"\nwanted-by = []\n");
        let b = format!("exec = \"/sbin/b\"\n{relation} = [\"a\"]\nwanted-by = []\n");
        let sources = [("a.toml", a), ("b.toml", b)].map(|(path, text)| Source {
            path: path.into(),
            layer: 0,
            text,
        });
        let loaded = load(&sources, None);
        let graph = loaded
            .graph
            .unwrap_or_else(|| panic!("{relation}: {:?}", loaded.diagnostics));
        Self {
            core: Supervisor::new(graph),
            now: Time::default(),
            runs: BTreeMap::new(),
            spawns: BTreeMap::new(),
            requests: 0,
        }
    }

    fn tell(&mut self, event: Event) {
        let mut events = vec![event];
        while let Some(event) = events.pop() {
            self.core.handle_event(event, self.now);
            while let Some(action) = self.core.poll_action() {
                match action {
                    Action::Spawn { run } => {
                        let name = self.core.name(run.service).unwrap().to_owned();
                        *self.spawns.entry(name.clone()).or_default() += 1;
                        self.runs.insert(name, run);
                        events.push(Event::Spawned { run });
                    }
                    Action::Signal { run, .. } => {
                        let status = ExitStatus::Code(0);
                        events.push(Event::Emptied { run });
                        events.push(Event::Exited { run, status });
                    }
                    Action::KillAll { run } => events.push(Event::Emptied { run }),
                    _ => {}
                }
            }
        }
    }

    fn ask(&mut self, command: Command) {
        self.requests += 1;
        let request = RequestId(self.requests);
        self.tell(Event::Request { request, command });
    }

    fn ends(&mut self, name: &str, code: u8) {
        let run = self.runs[name];
        let status = ExitStatus::Code(code);
        self.tell(Event::Exited { run, status });
    }

    /// Lets all pauses pass.
    fn settle(&mut self) {
        for _ in 0..10 {
            self.now = self.now + Duration::from_secs(60);
            self.tell(Event::Tick);
        }
    }

    fn state(&self, name: &str) -> StateName {
        let id = self.core.lookup(name).unwrap();
        self.core.status(id).unwrap().state
    }
}

fn name(text: &str) -> ServiceName {
    ServiceName::new(text).unwrap()
}

/// What happens to whom, as the table says it.
fn effect(event: &str, relation: &str) -> String {
    let policy = if event == "A is left failed" {
        "never"
    } else {
        "on-failure"
    };
    let mut world = World::new(relation, policy);
    let began_down = event.ends_with("is started");
    if !began_down {
        world.ask(Command::Start(name("a")));
        world.ask(Command::Start(name("b")));
    }
    let before = world.spawns.clone();
    match event {
        "A is stopped" => world.ask(Command::Stop(name("a"))),
        "A is restarted" => world.ask(Command::Restart(name("a"))),
        "A ends well" => world.ends("a", 0),
        "A fails, goes on" | "A is left failed" => world.ends("a", 1),
        "A is started" => world.ask(Command::Start(name("a"))),
        "B is started" => world.ask(Command::Start(name("b"))),
        _ => panic!("{event}: no such event"),
    }
    world.settle();
    // The other one of the two is looked at.
    let (who, word) = if event == "B is started" {
        ("a", "A")
    } else {
        ("b", "B")
    };
    let again = world.spawns.get(who) != before.get(who);
    let verb = match (world.state(who), again) {
        (StateName::Up, true) if began_down => "starts",
        (StateName::Up, true) => "restarts",
        (StateName::Up, false) => return "-".to_owned(),
        (StateName::Down, false) if began_down => return "-".to_owned(),
        (StateName::Down, false) => "stops",
        (StateName::Failed, false) => "fails",
        other => panic!("{event}, {relation}: {other:?}"),
    };
    format!("{word} {verb}")
}

#[test]
fn the_table_of_relations_is_true() {
    let page = include_str!("../../man/shark-service.5").replace("\\-", "-");
    let mut lines = page.lines().skip_while(|line| !line.starts_with("Event|"));
    let head: Vec<&str> = lines
        .next()
        .expect("the table")
        .split('|')
        .skip(1)
        .collect();
    assert_eq!(head, ["requires", "binds-to", "part-of", "wants", "after"]);
    let mut rows = 0;
    for row in lines.take_while(|line| *line != ".TE") {
        let (event, cells) = row.split_once('|').expect("cells");
        for (relation, expect) in head.iter().zip(cells.split('|')) {
            assert_eq!(effect(event, relation), expect, "{event}: {relation}");
        }
        rows += 1;
    }
    assert_eq!(rows, 7);
}

/// Services that start each other when they fail.
#[test]
fn a_circle_of_rescuers_ends() {
    let service = |other: &str| {
        format!(
            "exec = \"/sbin/x\"\nrestart.policy = \"never\"\n[on-failure]\nstart = [\"{other}\"]\n"
        )
    };
    let sources = [("a.toml", service("b")), ("b.toml", service("a"))].map(|(path, text)| Source {
        path: path.into(),
        layer: 0,
        text: format!("wanted-by = []\n{text}"),
    });
    let mut world = World {
        core: Supervisor::new(load(&sources, None).graph.unwrap()),
        now: Time::default(),
        runs: BTreeMap::new(),
        spawns: BTreeMap::new(),
        requests: 0,
    };
    world.ask(Command::Start(name("a")));
    for _ in 0..100 {
        for who in ["a", "b"] {
            if world.runs.contains_key(who) && world.state(who) == StateName::Up {
                world.ends(who, 1);
            }
        }
    }
    let starts: u32 = world.spawns.values().sum();
    assert_eq!(starts, 9, "one by hand, eight by failures");
    assert_eq!([world.state("a"), world.state("b")], [StateName::Failed; 2]);
    // By hand it begins anew.
    world.ask(Command::Start(name("a")));
    world.ends("a", 1);
    assert_eq!(world.state("b"), StateName::Up);
}
