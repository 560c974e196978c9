//! Why a service is in its state: the words for people, and the service they blame, for programs. Not
//! here: when a reason is noted, and which one is told of a state (`inform`).

use serde::{Deserialize, Serialize};

use crate::id::ServiceName;

/// What is noted of a service that ended, or is to end, or was never started.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Reason {
    text: Box<str>,
    because: Option<ServiceName>,
}

impl Reason {
    /// One that lies in the service itself, or with who asked.
    pub(super) fn own(text: impl Into<Box<str>>) -> Self {
        Self {
            text: text.into(),
            because: None,
        }
    }

    /// One that another service is to blame for; the words name it.
    pub(super) fn blaming(other: ServiceName, text: impl Into<Box<str>>) -> Self {
        Self {
            text: text.into(),
            because: Some(other),
        }
    }

    /// The same with more to say of it.
    pub(super) fn extended(&self, more: &str) -> Self {
        Self {
            text: format!("{}{more}", self.text).into(),
            because: self.because.clone(),
        }
    }

    pub(super) fn text(&self) -> &str {
        &self.text
    }

    pub(super) fn into_text(self) -> String {
        self.text.into_string()
    }

    pub(super) fn because(&self) -> Option<&ServiceName> {
        self.because.as_ref()
    }
}

impl From<&str> for Reason {
    fn from(text: &str) -> Self {
        Self::own(text)
    }
}

impl From<String> for Reason {
    fn from(text: String) -> Self {
        Self::own(text)
    }
}

#[cfg(test)]
mod tests {
    use super::super::Supervisor;
    use super::super::event::{Command, Event, ExitStatus, RequestId};
    use super::super::neighbours::tests::{booted, ends, settle};
    use super::*;
    use crate::status::{ServiceStatus, StateName};
    use crate::time::{Duration, Time};

    fn told(supervisor: &Supervisor, name: &str) -> ServiceStatus {
        supervisor.status(supervisor.lookup(name).unwrap()).unwrap()
    }

    fn at(seconds: u64) -> Time {
        Time::default() + Duration::from_secs(seconds)
    }

    fn ask(supervisor: &mut Supervisor, command: Command) {
        let request = RequestId(1);
        supervisor.handle_event(Event::Request { request, command }, Time::default());
    }

    #[test]
    fn whom_a_reason_blames_is_not_found_in_its_words() {
        let services = [("a", ""), ("b", "conflicts = ['a']\nwanted-by = []")];
        let mut supervisor = booted(&services, "");
        ask(
            &mut supervisor,
            Command::Start(ServiceName::new("b").unwrap()),
        );
        ends(&mut supervisor, "a", ExitStatus::Code(0));
        let a = told(&supervisor, "a");
        assert_eq!(
            a.reason.as_deref(),
            Some("b was started, which it conflicts with")
        );
        assert_eq!(a.because.as_deref(), Some("b"));
        // What the shell says of a program is nobody's name.
        let run = supervisor
            .current_run(supervisor.lookup("b").unwrap())
            .unwrap();
        let cause = "a, which it needs, is not there".to_owned();
        supervisor.handle_event(Event::SpawnFailed { run, cause }, Time::default());
        assert_eq!(told(&supervisor, "b").because, None);
    }

    #[test]
    fn what_ends_well_says_so() {
        let supervisor = &mut booted(&[("a", "")], "");
        assert_eq!(told(supervisor, "a").reason, None);
        ends(supervisor, "a", ExitStatus::Code(0));
        let a = told(supervisor, "a");
        assert_eq!((a.state, a.wanted), (StateName::Down, false));
        assert_eq!(
            a.reason.as_deref(),
            Some("it ended well, and is not started again")
        );
    }

    #[test]
    fn what_is_tried_again_says_when_and_goes_on_telling_why() {
        let again = "restart.policy = 'on-failure'\nrestart.delay = '3s'";
        let text = format!("exec = '/x'\n{again}");
        let source = crate::file::Source {
            path: "/v/a.toml".into(),
            layer: 0,
            text,
        };
        let graph = crate::file::load(&[source], None).graph.unwrap();
        let mut supervisor = Supervisor::new(graph);
        let target = ServiceName::new("default").unwrap();
        supervisor.handle_event(Event::Boot { target }, Time::default());
        settle(&mut supervisor, "");
        ends(&mut supervisor, "a", ExitStatus::Code(4));
        let a = told(&supervisor, "a");
        assert_eq!((a.state, a.retry_us), (StateName::Backoff, Some(3_000_000)));
        supervisor.handle_event(Event::Tick, at(3));
        settle(&mut supervisor, "");
        let a = told(&supervisor, "a");
        assert_eq!((a.state, a.restarts, a.retry_us), (StateName::Up, 1, None));
        assert_eq!(a.reason, None);
        assert_eq!(a.last_failure.as_deref(), Some("it exited with status 4"));
    }

    #[test]
    fn what_had_to_be_killed_says_so() {
        let mut supervisor = booted(&[("a", "stop.timeout = '2s'")], "");
        ask(
            &mut supervisor,
            Command::Stop(ServiceName::new("a").unwrap()),
        );
        settle(&mut supervisor, "");
        supervisor.handle_event(Event::Tick, at(2));
        ends(
            &mut supervisor,
            "a",
            ExitStatus::Signal {
                number: 9,
                core_dumped: false,
            },
        );
        let a = told(&supervisor, "a");
        assert_eq!(a.state, StateName::Down);
        let killed = "it was stopped by request; it had not ended after 2s, and was killed";
        assert_eq!(a.reason.as_deref(), Some(killed));
    }
}
