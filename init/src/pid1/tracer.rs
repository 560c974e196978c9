//! The trace that a client takes of this PID 1: what the core is told and what it asks for, from the
//! moment of the first call on (`sharkctl debug record`). Not here: what a trace looks like
//! (`services::supervisor::trace`).
//!
//! The client fetches it piece by piece, each with a call of its own on the same connection. What it
//! has not fetched waits here, up to a bound; beyond that the trace is given up, as PID 1 neither waits
//! for the client nor leaves anything out in the middle.

use std::collections::VecDeque;

use services::control::{ControlError, Reply, Request};
use services::supervisor::event::{Action, Event, RequestId};
use services::supervisor::trace::{self, Start};
use services::time::Time;

use super::Init;
use super::clients::Peer;

/// Most bytes of the frozen core: it is the beginning of the trace.
const STATE_MAX: usize = 8 << 20;
/// Most bytes of text that wait for the client: the beginning, twice its bytes, and some of what
/// follows it.
const WAITING_MAX: usize = 2 * STATE_MAX + (2 << 20);
/// So long is a piece, or one line longer.
const PIECE: usize = 16 << 10;

/// A trace that is being taken.
#[derive(Debug)]
pub(super) struct Tracer {
    client: u32,
    /// The call that waits for the next piece.
    call: Option<RequestId>,
    pieces: VecDeque<String>,
    /// Bytes in all pieces.
    length: usize,
    /// More had to wait than may.
    given_up: bool,
}

impl Tracer {
    fn new(client: u32, start: &Start) -> Self {
        let mut tracer = Self {
            client,
            call: None,
            pieces: VecDeque::new(),
            length: 0,
            given_up: false,
        };
        tracer.push(&trace::beginning(start));
        tracer
    }

    fn push(&mut self, text: &str) {
        if self.given_up || self.length + text.len() > WAITING_MAX {
            self.given_up = true;
            self.pieces = VecDeque::new();
            return;
        }
        self.length += text.len();
        for line in text.split_inclusive('\n') {
            match self.pieces.back_mut() {
                Some(piece) if piece.len() + line.len() <= PIECE => piece.push_str(line),
                Some(_) | None => self.pieces.push_back(line.to_owned()),
            }
        }
    }

    fn take(&mut self) -> Option<String> {
        let piece = self.pieces.pop_front()?;
        self.length -= piece.len();
        Some(piece)
    }

    /// The core is about to be told this.
    pub(super) fn event(&mut self, now: Time, event: &Event) {
        self.push(&trace::event_line(now, event));
    }

    /// The core asks for this.
    pub(super) fn action(&mut self, now: Time, action: &Action) {
        self.push(&trace::action_line(now, action));
    }
}

impl Init {
    /// A call for the next piece; the first one of a connection begins the trace.
    pub(super) fn trace(
        &mut self,
        client: Option<u32>,
        peer: &Peer,
        request: &Request,
    ) -> Option<Result<Reply, ControlError>> {
        // Who wants no answer wants no trace.
        let number = client?;
        let refused = |reason: &str| {
            Some(Err(ControlError::Refused {
                reason: reason.to_owned(),
            }))
        };
        match &self.tracer {
            Some(tracer) if tracer.client == number => {}
            Some(_) => return refused("another client takes a trace already: one at a time"),
            None => {
                // Environments are in it.
                let allowed = peer.may_change(self.control_group);
                self.audit(peer, request, allowed);
                if !allowed {
                    return Some(Err(ControlError::PermissionDenied {}));
                }
                let state = self.supervisor.as_ref().map(|it| it.snapshot(STATE_MAX));
                let Some(Ok(state)) = state else {
                    return refused("there are too many services for a trace");
                };
                self.tracer = Some(Tracer::new(number, &Start::State(state)));
            }
        }
        let id = self.clients.owe(client, request.clone());
        if let Some(tracer) = &mut self.tracer {
            tracer.call = Some(id);
        }
        self.pay_trace();
        None
    }

    /// Gives the client that takes a trace its next piece, where it waits for one and there is one.
    pub(super) fn pay_trace(&mut self) {
        let Some(tracer) = &mut self.tracer else {
            return;
        };
        let Some(id) = tracer.call else { return };
        if tracer.given_up {
            self.tracer = None;
            let reason = "the trace was given up: it was not fetched fast enough".to_owned();
            self.fail(id, ControlError::Refused { reason });
        } else if let Some(text) = tracer.take() {
            tracer.call = None;
            self.pay(id, &Ok(Reply::Trace { text }));
        }
    }

    /// The client is gone, and with it the trace.
    pub(super) fn end_trace_of(&mut self, client: u32) {
        if self.tracer.as_ref().is_some_and(|it| it.client == client) {
            self.tracer = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tracer() -> Tracer {
        Tracer::new(1, &Start::State(vec![7; 100]))
    }

    #[test]
    fn pieces_are_whole_lines_and_give_the_text_again() {
        let mut tracer = tracer();
        for at in 0..2000 {
            tracer.event(Time::from_nanos(at), &Event::Tick);
        }
        let mut text = String::new();
        while let Some(piece) = tracer.take() {
            assert!(piece.ends_with('\n') && piece.len() <= PIECE);
            text.push_str(&piece);
        }
        assert_eq!(text.lines().count(), 2 + 2000);
        assert_eq!(tracer.length, 0);
    }

    #[test]
    fn what_nobody_fetches_is_given_up() {
        let mut tracer = tracer();
        let cause = "x".repeat(1 << 20);
        for _ in 0..19 {
            tracer.push(&cause);
        }
        assert!(tracer.given_up);
        assert_eq!(tracer.take(), None);
    }
}
