//! Variables of the environment that hold the number of the very process that reads them, such as
//! `$LISTEN_PID` of sd_listen_fds(3). The number exists only after the clone, the environment before
//! it: the text is made with room for any number, and the child fills it in. Not here: which they are.

use core::ffi::c_char;
use core::sync::atomic::{AtomicU8, Ordering};
use std::ffi::CStr;

/// Digits of the largest number.
const DIGITS: usize = 10;

/// `NAME=`, and room for the number.
pub(super) struct OwnPid {
    text: Box<[AtomicU8]>,
    number: usize,
}

impl OwnPid {
    /// The variable `name`, without its number.
    pub(super) fn new(name: &CStr) -> Self {
        let head = name.to_bytes().iter().copied().chain([b'=']);
        // What is not filled in stays NUL: the end of the text.
        let text = head.chain([0; DIGITS]).chain([0]).map(AtomicU8::new);
        Self {
            text: text.collect(),
            number: name.to_bytes().len().saturating_add(1),
        }
    }

    /// Where execve(2) finds it.
    pub(super) fn pointer(&self) -> *const c_char {
        self.text.as_ptr().cast()
    }

    /// Fills in the number. For the child: no allocation, no panic.
    pub(super) fn fill(&self, pid: u32) {
        let mut digits = [0_u8; DIGITS];
        let mut rest = pid;
        let mut count = 0_usize;
        for digit in &mut digits {
            *digit = b'0'.wrapping_add(u8::try_from(rest % 10).unwrap_or(0));
            rest /= 10;
            count = count.wrapping_add(1);
            if rest == 0 {
                break;
            }
        }
        let places = self.text.iter().skip(self.number);
        for (place, digit) in places.zip(digits.iter().take(count).rev()) {
            place.store(*digit, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(pid: u32, expect: &str) {
        let variable = OwnPid::new(c"LISTEN_PID");
        variable.fill(pid);
        let bytes: Vec<u8> = variable
            .text
            .iter()
            .map(|byte| byte.load(Ordering::Relaxed))
            .collect();
        let text = CStr::from_bytes_until_nul(&bytes).unwrap();
        assert_eq!(text.to_str().unwrap(), expect);
    }

    #[test]
    fn any_number_has_room() {
        check(0, "LISTEN_PID=0");
        check(7, "LISTEN_PID=7");
        check(4_194_304, "LISTEN_PID=4194304");
        check(u32::MAX, "LISTEN_PID=4294967295");
    }
}
