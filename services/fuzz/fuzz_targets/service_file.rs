//! Any text as a service file and as its drop-in: no panic, and either a graph or a diagnostic.
#![no_main]

use libfuzzer_sys::fuzz_target;
use services::file::{Source, load};
use services::supervisor::compiled::Compiled;
use services::users::Accounts;

fuzz_target!(|input: (&str, &str, Option<(&str, &str)>)| {
    let (service, drop_in, accounts) = input;
    let source = |path: &str, layer, text: &str| Source {
        path: path.to_owned(),
        layer,
        text: text.to_owned(),
    };
    let sources = [
        source("/usr/lib/shark/services/a.toml", 0, service),
        source("/etc/shark/services/a.toml.d/b.toml", 2, drop_in),
        source("/etc/shark/services/b.toml", 2, drop_in),
    ];
    let accounts = accounts.map(|(passwd, group)| Accounts::parse(passwd, group));
    let loaded = load(&sources, accounts.as_ref());
    assert_eq!(loaded.graph.is_some(), loaded.diagnostics.is_empty());
    for diagnostic in &loaded.diagnostics {
        assert!(!diagnostic.to_string().is_empty());
    }
    if let Some(graph) = loaded.graph {
        let compiled = Compiled::new(&graph).expect("a graph of two services is small");
        let back = Compiled::from_bytes(compiled.to_bytes().to_vec());
        assert_eq!(back.as_ref().map(Compiled::unpack), Ok(Ok(graph)));
    }
});
