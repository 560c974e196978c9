//! The service files that people begin with are right: each folder of `examples/` beside the services
//! of the base image. Not here: whether they work (`tests-qemu`).
#![allow(
    clippy::unwrap_used,
    reason = "an example that cannot be read is broken"
)]

use std::fs;
use std::path::{Path, PathBuf};

use services::file::{Source, load};

fn top() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// The service files of a folder, as one layer.
fn sources(folder: &Path, layer: u8) -> Vec<Source> {
    let paths = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let files = paths.filter(|path| path.extension().is_some_and(|it| it == "toml"));
    files
        .map(|path| Source {
            text: fs::read_to_string(&path).unwrap(),
            path: path.display().to_string(),
            layer,
        })
        .collect()
}

fn check(folder: &str) {
    let mut all = sources(&top().join("xtask/root/usr/lib/shark/services"), 0);
    let own = sources(&top().join(folder), 1);
    assert!(!own.is_empty(), "{folder} has no service files");
    all.extend(own);
    let loaded = load(&all, None);
    assert!(
        loaded.graph.is_some(),
        "{folder}: {:#?}",
        loaded.diagnostics
    );
}

#[test]
fn those_of_the_top_fit_the_base_image() {
    check("examples");
}

#[test]
fn those_of_daemons_fit_the_base_image() {
    check("examples/daemons");
}

#[test]
fn those_of_patterns_fit_the_base_image() {
    check("examples/patterns");
}
