//! TEMP
#![forbid(unsafe_code)]
