//! What is asked for and has not been taken yet, in order, and what of it has changed since it was last
//! written down. Not here: what is asked for (`event`), and where it is written (`frozen`).

use std::collections::VecDeque;

use serde::Serialize;

use super::event::Action;

/// The queue. A boot asks for hundreds of starts at once, of which each turn takes a few: these few
/// are what is written down, and not the hundreds.
#[derive(Debug, Default)]
pub(super) struct Actions {
    queue: VecDeque<Action>,
    /// So many at the front have been written down.
    known: usize,
    /// So many have been taken that had been written down before.
    taken: u32,
    /// What has been written down does not begin like the queue: an action was taken back.
    other: bool,
}

impl Actions {
    pub(super) fn push_back(&mut self, action: Action) {
        self.queue.push_back(action);
    }

    pub(super) fn pop_front(&mut self) -> Option<Action> {
        let action = self.queue.pop_front()?;
        if let Some(known) = self.known.checked_sub(1) {
            self.known = known;
            self.taken = self.taken.saturating_add(1);
        }
        Some(action)
    }

    pub(super) fn back(&self) -> Option<&Action> {
        self.queue.back()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Action> {
        self.queue.iter()
    }

    /// Takes the latest back.
    pub(super) fn pop_back(&mut self) {
        self.other |= self.known == self.queue.len();
        self.queue.pop_back();
    }

    /// Takes `action` back; whether it was there.
    pub(super) fn retract(&mut self, action: &Action) -> bool {
        let before = self.queue.len();
        self.queue.retain(|it| it != action);
        let was_there = self.queue.len() < before;
        self.other |= was_there;
        was_there
    }

    /// Whether anything has changed since it was last written down.
    pub(super) fn is_changed(&self) -> bool {
        self.other || self.taken > 0 || self.queue.len() > self.known
    }

    /// What has been taken and what has come since; `None`: that is not enough to know the queue by.
    pub(super) fn changes(&self) -> Option<impl Serialize> {
        (!self.other).then_some((self.taken, Added(self)))
    }

    /// All of them, to be written down.
    pub(super) const fn all(&self) -> &VecDeque<Action> {
        &self.queue
    }

    /// It has been written down.
    pub(super) fn written(&mut self) {
        self.known = self.queue.len();
        self.taken = 0;
        self.other = false;
    }

    /// The queue as it was written down; what has changed since is known as well.
    pub(super) fn thaw(queue: VecDeque<Action>) -> Self {
        let known = queue.len();
        Self {
            queue,
            known,
            ..Self::default()
        }
    }
}

/// Those that came since.
struct Added<'a>(&'a Actions);

impl Serialize for Added<'_> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.queue.range(self.0.known..))
    }
}

/// Applies to `queue` what [`Actions::changes`] said.
pub(super) fn apply(queue: &mut VecDeque<Action>, taken: u32, added: Vec<Action>) {
    let taken = usize::try_from(taken).unwrap_or(usize::MAX);
    queue.drain(..taken.min(queue.len()));
    queue.extend(added);
}
