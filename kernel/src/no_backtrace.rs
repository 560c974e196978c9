//! No walk up the stack in the finished programs: they are stripped and a panic ends them, so what
//! std would print of the stack are numbers that nobody can use. Its code for that, a reader of
//! debugging information, is a third of a small program. Not here: what a panic leads to (init).
//!
//! What is here takes the place of the unwinder's functions by their names. As the linker then sees
//! that no frame is ever visited, it leaves out all that would be done with one, and the unwinder.
#![allow(non_snake_case, reason = "the names are the unwinder's")]

use core::ffi::c_void;

/// `_URC_END_OF_STACK` of the Itanium C++ ABI for exceptions.
const END_OF_STACK: i32 = 5;

/// There is no frame to visit.
// SAFETY: it does what the contract of that name allows.
#[unsafe(no_mangle)]
extern "C" fn _Unwind_Backtrace(_visit: *const c_void, _argument: *mut c_void) -> i32 {
    END_OF_STACK
}

/// What only somebody would call who unwinds, and where panics abort nobody does.
macro_rules! never_called {
    ($($name:ident)*) => {
        $(
            // SAFETY: nobody calls it; if somebody did, that would be the end.
            #[unsafe(no_mangle)]
            extern "C" fn $name() -> usize {
                std::process::abort()
            }
        )*
    };
}

never_called! {
    _Unwind_DeleteException
    _Unwind_FindEnclosingFunction
    _Unwind_GetCFA
    _Unwind_GetDataRelBase
    _Unwind_GetGR
    _Unwind_GetIP
    _Unwind_GetIPInfo
    _Unwind_GetLanguageSpecificData
    _Unwind_GetRegionStart
    _Unwind_GetTextRelBase
    _Unwind_RaiseException
    _Unwind_Resume
    _Unwind_SetGR
    _Unwind_SetIP
}
