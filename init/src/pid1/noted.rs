//! A value that knows whether it may have changed: what PID 1 freezes of itself again. Not here: the
//! freezing (`blackbox`).

use std::ops::{Deref, DerefMut};

/// A value, and whether it has been borrowed to be changed.
#[derive(Debug, Default)]
pub(super) struct Noted<T> {
    value: T,
    changed: bool,
}

impl<T> Noted<T> {
    /// One that counts as changed.
    pub(super) const fn new(value: T) -> Self {
        Self {
            value,
            changed: true,
        }
    }

    /// Whether it may have changed since this was last asked.
    pub(super) const fn take_changed(&mut self) -> bool {
        std::mem::replace(&mut self.changed, false)
    }
}

impl<T> Deref for Noted<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

impl<T> DerefMut for Noted<T> {
    fn deref_mut(&mut self) -> &mut T {
        self.changed = true;
        &mut self.value
    }
}
