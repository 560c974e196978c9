//! Descriptions of services for other inits into service files, with an account of every line. Not
//! here: reading and writing files (`sharkctl import` does), and whether the result holds together
//! (`file` and `graph` say that of it as of any other service file).
//!
//! Each line ends in one of three ways: it is carried over, it is lost, with the reason and what
//! follows, or it is of no consequence here. Nothing is made up for what cannot be expressed: where
//! a service would be another one without it, there is no file.

mod draft;
pub mod report;
mod shell;
pub mod systemd;
