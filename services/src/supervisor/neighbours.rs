//! What is told of the relations of services, and of what a service waits for. Not here: the type
//! (`crate::control::relations`), what a wait leads to (`machine`, `stop`).

use crate::control::relations::{RelationsPage, ServiceRelations};

use super::Supervisor;
use super::service::{Service, State};
use super::topology::Tie;

/// Names in one page after which it ends: so many are told of within a turn.
const PAGE_NAMES: usize = 512;

impl Supervisor {
    /// Relations of services by name, from `from` on, as many as make a page. Nothing is unpacked for it.
    #[must_use]
    pub fn relations(&self, from: &str) -> RelationsPage {
        let mut page = RelationsPage::default();
        let mut names = 0;
        for id in self.services_from(from) {
            let Some((index, service)) = self.table.by_id(id) else {
                continue;
            };
            if names >= PAGE_NAMES {
                page.next = Some(service.name.to_string());
                break;
            }
            let told = self.related(index, service);
            names += told.count();
            page.relations.push(told);
        }
        page
    }

    fn related(&self, index: u32, service: &Service) -> ServiceRelations {
        let names = |of: &[u32]| of.iter().map(|other| self.name_of(*other)).collect();
        let tied = |tie: Tie| {
            let edges = self.topology.predecessors(index).iter();
            let tied = edges.filter(|edge| edge.tie == tie);
            tied.map(|edge| self.name_of(edge.other)).collect()
        };
        ServiceRelations {
            name: service.name.to_string(),
            binds_to: tied(Tie::Binds),
            requires: tied(Tie::Requires),
            wants: tied(Tie::Wants),
            after: tied(Tie::Order),
            conflicts: names(self.topology.conflicts(index)),
            parts: names(self.topology.parts(index)),
            on_failure: names(self.topology.rescuers(index)),
            waits_for: names(&self.waits_for(index, service)),
        }
    }

    /// All that it waits for now. It remembers one of them only, the one that is looked at again first.
    fn waits_for(&self, index: u32, service: &Service) -> Vec<u32> {
        match service.state {
            State::Waiting { .. } => {
                let before = self.topology.predecessors(index).iter();
                let before = before.filter(|edge| self.blocks(**edge)).map(|it| it.other);
                let beside = self.topology.conflicts(index).iter().copied();
                let beside = beside.filter(|rival| self.rivals(index, *rival));
                before.chain(beside).collect()
            }
            State::Leaving { .. } => {
                let after = self.topology.successors(index).iter();
                let after = after.filter(|edge| self.is_above(**edge));
                after.map(|edge| edge.other).collect()
            }
            State::Down
            | State::Failed
            | State::Armed
            | State::Listening
            | State::Spawning { .. }
            | State::Starting(_)
            | State::Up { .. }
            | State::Stopping { .. }
            | State::Backoff => Vec::new(),
        }
    }
}

impl ServiceRelations {
    /// How many names it has.
    fn count(&self) -> usize {
        let lists = [
            &self.binds_to,
            &self.requires,
            &self.wants,
            &self.after,
            &self.conflicts,
            &self.parts,
            &self.on_failure,
            &self.waits_for,
        ];
        1 + lists.iter().map(|list| list.len()).sum::<usize>()
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::event::{Action, Command, Event, ExitStatus, RequestId};
    use super::*;
    use crate::file::{Source, load};
    use crate::id::ServiceName;
    use crate::time::Time;

    /// A supervisor of these services, booted; processes of all but `absent` are there.
    pub(in super::super) fn booted(services: &[(&str, &str)], absent: &str) -> Supervisor {
        let sources: Vec<Source> = services
            .iter()
            .map(|(name, text)| Source {
                path: format!("/v/{name}.toml"),
                layer: 0,
                text: format!("exec = '/x'\nrestart.policy = 'never'\n{text}"),
            })
            .collect();
        let loaded = load(&sources, None);
        let graph = loaded.graph.expect("a right graph");
        let mut supervisor = Supervisor::new(graph);
        let target = ServiceName::new("default").unwrap();
        supervisor.handle_event(Event::Boot { target }, Time::default());
        settle(&mut supervisor, absent);
        supervisor
    }

    /// Answers spawns until nothing more is asked for.
    pub(in super::super) fn settle(supervisor: &mut Supervisor, absent: &str) {
        while let Some(action) = supervisor.poll_action() {
            if let Action::Spawn { run } = action
                && supervisor.name(run.service) != Some(absent)
            {
                supervisor.handle_event(Event::Spawned { run }, Time::default());
            }
        }
    }

    fn of(supervisor: &Supervisor, name: &str) -> ServiceRelations {
        let page = supervisor.relations(name);
        page.relations.first().cloned().unwrap()
    }

    /// The run of a service ends, and nothing is left of it.
    pub(in super::super) fn ends(supervisor: &mut Supervisor, name: &str, status: ExitStatus) {
        let id = supervisor.lookup(name).unwrap();
        let run = supervisor.current_run(id).unwrap();
        supervisor.handle_event(Event::Exited { run, status }, Time::default());
        supervisor.handle_event(Event::Emptied { run }, Time::default());
    }

    fn because(supervisor: &Supervisor, name: &str) -> Option<String> {
        let id = supervisor.lookup(name).unwrap();
        supervisor.status(id).unwrap().because
    }

    #[test]
    fn each_relation_is_told_of_one_end() {
        let supervisor = booted(
            &[
                (
                    "a",
                    "binds-to = ['b']\nafter = ['d']\nconflicts = ['e']\non-failure.start = ['f']",
                ),
                ("b", "requires = ['c']\nwants = ['d']\nbefore = ['f']"),
                ("c", "part-of = ['d']"),
                ("d", ""),
                ("e", "wanted-by = []"),
                ("f", "wanted-by = []"),
            ],
            "",
        );
        let page = supervisor.relations("");
        let names: Vec<&str> = page.relations.iter().map(|it| it.name.as_str()).collect();
        assert_eq!(names, ["a", "b", "c", "d", "default", "e", "f"]);
        assert_eq!(page.next, None);
        let a = of(&supervisor, "a");
        assert_eq!((a.binds_to, a.after), (vec!["b".into()], vec!["d".into()]));
        assert_eq!(
            (a.conflicts, a.on_failure),
            (vec!["e".into()], vec!["f".into()])
        );
        let b = of(&supervisor, "b");
        assert_eq!((b.requires, b.wants), (vec!["c".into()], vec!["d".into()]));
        assert_eq!(of(&supervisor, "d").parts, ["c"]);
        assert_eq!(of(&supervisor, "f").after, ["b"]);
        assert_eq!(of(&supervisor, "default").wants, ["a", "b", "c", "d"]);
        assert_eq!(supervisor.relations("d0").relations[0].name, "default");
    }

    #[test]
    fn all_that_is_waited_for_is_told() {
        let services = [
            ("a", "requires = ['b', 'c', 'd']"),
            ("b", "type = 'notify'"),
            ("c", "type = 'notify'"),
            ("d", ""),
        ];
        let supervisor = booted(&services, "");
        assert_eq!(of(&supervisor, "a").waits_for, ["b", "c"]);
        assert_eq!(of(&supervisor, "b").waits_for, [""; 0]);
        let mut supervisor = supervisor;
        let command = Command::Stop(ServiceName::new("d").unwrap());
        let request = RequestId(1);
        supervisor.handle_event(Event::Request { request, command }, Time::default());
        assert_eq!(
            of(&supervisor, "a").waits_for,
            [""; 0],
            "it is wanted no more"
        );
    }

    #[test]
    fn a_stop_waits_for_those_that_come_after() {
        let mut supervisor = booted(&[("a", "requires = ['b']"), ("b", "")], "");
        let command = Command::Stop(ServiceName::new("b").unwrap());
        let request = RequestId(1);
        supervisor.handle_event(Event::Request { request, command }, Time::default());
        assert_eq!(of(&supervisor, "b").waits_for, ["a"]);
        assert_eq!(because(&supervisor, "a").as_deref(), Some("b"));
    }

    #[test]
    fn the_neighbour_of_a_reason_is_told() {
        let services = [
            ("a", "requires = ['b']"),
            ("b", "requires = ['c']"),
            ("c", ""),
        ];
        let mut supervisor = booted(&services, "");
        ends(&mut supervisor, "c", ExitStatus::Code(3));
        assert_eq!(because(&supervisor, "c"), None);
        // It waits until that is down which comes after it.
        assert_eq!(because(&supervisor, "b").as_deref(), Some("a"));
        ends(&mut supervisor, "a", ExitStatus::Code(0));
        ends(&mut supervisor, "b", ExitStatus::Code(0));
        assert_eq!(because(&supervisor, "b").as_deref(), Some("c"));
        // It was ended for that which failed, however many are between them.
        assert_eq!(because(&supervisor, "a").as_deref(), Some("c"));
    }

    #[test]
    fn pages_are_bounded_and_lead_on() {
        let wanted: Vec<String> = (0..300).map(|it| format!("'s{it:03}'")).collect();
        let all = format!("after = [{}]\nwanted-by = []", wanted.join(","));
        let mut services: Vec<(String, &str)> = (0..300)
            .map(|it| (format!("s{it:03}"), "wanted-by = []"))
            .collect();
        services.extend((0..60).map(|it| (format!("t{it:03}"), all.as_str())));
        let services: Vec<(&str, &str)> = services
            .iter()
            .map(|(name, text)| (name.as_str(), *text))
            .collect();
        let supervisor = booted(&services, "");
        let (mut from, mut told, mut pages) = (String::new(), 0, 0);
        loop {
            let page = supervisor.relations(&from);
            let names: usize = page.relations.iter().map(ServiceRelations::count).sum();
            assert!(names < PAGE_NAMES + 301, "{names}");
            told += page.relations.len();
            pages += 1;
            match page.next {
                Some(next) => from = next,
                None => break,
            }
        }
        assert_eq!((told, pages), (361, 31));
    }
}
