//! The heap of PID 1 and its children: dlmalloc, which keeps what is freed for the next that want it. Not
//! here: whoever wants it.
//!
//! musl's own gives a page back to the kernel as soon as nothing is in it, and asks for one again with the
//! next few bytes, which was a twentieth of the time that five hundred services take to start. For what is
//! large, such as a file that is read or a graph, that is right, and it comes from musl: between what stays,
//! it would leave holes that nobody fills. What is kept of the rest is given back where somebody says that
//! the work is done ([`trim`]).

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::{Mutex, MutexGuard, PoisonError};

use dlmalloc::Dlmalloc;

/// From so many bytes on an allocation is musl's.
const LARGE: usize = 16 * 1024;

static HEAP: Mutex<Dlmalloc> = Mutex::new(Dlmalloc::new());

/// The one heap, as the `#[global_allocator]` of a program that wants it.
#[derive(Debug)]
pub struct Heap;

/// Gives back to the kernel what is free at the heap's end; nothing in a program that has another heap.
pub fn trim() {
    // SAFETY: it moves nothing, and the lock is held.
    let _released = unsafe { heap().trim(0) };
}

/// A panic leaves the heap whole: none is raised in it.
fn heap() -> MutexGuard<'static, Dlmalloc> {
    HEAP.lock().unwrap_or_else(PoisonError::into_inner)
}

// SAFETY: all four are handed on to one of two allocators whose contract is the same: dlmalloc with the lock
// held, or the system's. Which one an allocation is of follows from its size alone.
unsafe impl GlobalAlloc for Heap {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller keeps to the contract of this trait, which is the same.
        unsafe {
            match layout.size() < LARGE {
                true => heap().malloc(layout.size(), layout.align()),
                false => System.alloc(layout),
            }
        }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: as above.
        unsafe {
            match layout.size() < LARGE {
                true => heap().calloc(layout.size(), layout.align()),
                false => System.alloc_zeroed(layout),
            }
        }
    }

    unsafe fn dealloc(&self, place: *mut u8, layout: Layout) {
        // SAFETY: as above; it comes from here, with that layout.
        unsafe {
            match layout.size() < LARGE {
                true => heap().free(place, layout.size(), layout.align()),
                false => System.dealloc(place, layout),
            }
        }
    }

    unsafe fn realloc(&self, place: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: as above.
        unsafe {
            match (layout.size() < LARGE, size < LARGE) {
                (true, true) => heap().realloc(place, layout.size(), layout.align(), size),
                (false, false) => System.realloc(place, layout, size),
                (true, false) | (false, true) => self.moved(place, layout, size),
            }
        }
    }
}

impl Heap {
    /// To the other allocator.
    ///
    /// # Safety
    /// As [`GlobalAlloc::realloc`].
    unsafe fn moved(&self, place: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: the caller says that `size` with that alignment is a layout; both places have the smaller
        // of the two sizes, and are two.
        unsafe {
            let new = self.alloc(Layout::from_size_align_unchecked(size, layout.align()));
            if !new.is_null() {
                new.copy_from_nonoverlapping(place, layout.size().min(size));
                self.dealloc(place, layout);
            }
            new
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_stays_while_others_come_go_and_grow() {
        let heap = Heap;
        let layout = |size| Layout::from_size_align(size, 8).unwrap();
        let mut held = Vec::new();
        for round in 0..2000_usize {
            let size = 1 + (round * 7919) % (2 * LARGE);
            // SAFETY: sizes above nothing, each written to its end and no further.
            unsafe {
                let place = heap.alloc(layout(size));
                assert!(!place.is_null());
                place.write_bytes(round.to_le_bytes()[0], size);
                held.push((place, size, round.to_le_bytes()[0]));
            }
            if round % 3 == 0 {
                let (place, size, byte) = held.swap_remove((round * 31) % held.len());
                // SAFETY: it was given out with that size, and is not used afterwards.
                unsafe {
                    let grown = heap.realloc(place, layout(size), size * 2);
                    let kept = std::slice::from_raw_parts(grown, size);
                    assert!(kept.iter().all(|it| *it == byte));
                    heap.dealloc(grown, layout(size * 2));
                }
            }
            if round % 500 == 0 {
                trim();
            }
        }
        for (place, size, byte) in held {
            // SAFETY: as above.
            unsafe {
                let kept = std::slice::from_raw_parts(place, size);
                assert!(kept.iter().all(|it| *it == byte));
                heap.dealloc(place, layout(size));
            }
        }
        // SAFETY: as above.
        let zeroed = unsafe {
            let place = heap.alloc_zeroed(layout(4096));
            std::slice::from_raw_parts(place, 4096)
        };
        assert!(zeroed.iter().all(|it| *it == 0));
    }
}
