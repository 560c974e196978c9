//! The program `shark-update`: the updater and, under another word, its fetching child. Not here: either.
#![forbid(unsafe_code)]

use std::process::ExitCode;

const HELP: &str = "\
shark-update: installs updates; a service that `sharkctl update` talks to.

  shark-update serve    answer on the socket that init has opened
  shark-update fetch    the child that reads bundles; run by the updater itself
  shark-update prove    the child that has a new system checked; run by the updater itself

See shark-update(8).
";

fn main() -> ExitCode {
    let mut words = std::env::args().skip(1);
    match (words.next().as_deref(), words.next()) {
        (Some("serve"), None) => init::update::server::run(),
        (Some("fetch"), None) => init::update::fetch::run(),
        (Some("prove"), Some(root)) => init::update::proof::run(&root),
        (Some("--help" | "-h"), None) => {
            print!("{HELP}");
            ExitCode::SUCCESS
        }
        (Some("--version"), None) => {
            println!("shark-update {}", env!("CARGO_PKG_VERSION"));
            ExitCode::SUCCESS
        }
        _ => {
            eprint!("shark-update: expected `serve`\n\n{HELP}");
            ExitCode::from(2)
        }
    }
}
