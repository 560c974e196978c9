//! TEMP
#![allow(unsafe_code)]
