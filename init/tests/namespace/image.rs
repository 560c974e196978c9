//! The graph that was made with the image: a boot begins with it as long as nothing has changed.

use std::fs;
use std::path::Path;

use serde_json::json;

use crate::machine::{Machine, Surroundings, possible};

const USED: &str = "the service files are as they were when the image was made";
const NOT_USED: &str = "as the graph of the image is not used: ";

/// A machine with two services and their graph, after `change`.
fn boot(change: impl FnOnce(&Path)) -> Machine {
    let machine = Machine::boot_prepared(Surroundings::Whole, &[], |dir| {
        let write = |name: &str, text: &str| fs::write(dir.join(name), text).unwrap();
        write(
            "services/a.toml",
            "exec = \"/bin/sleep 1000\"\nrequires = [\"b\"]\n",
        );
        write("services/b.toml", "exec = \"/bin/sleep 1000\"\n");
        fs::create_dir(dir.join("services/b.toml.d")).unwrap();
        write("services/b.toml.d/nice.toml", "nice = 3\n");
        std::os::unix::fs::symlink("/dev/null", dir.join("services/m.toml")).unwrap();
        let layers = ["services", "run/services", "admin"];
        let layers = layers.map(|it| dir.join(it).display().to_string());
        let made = init::load::image::make(Path::new("/"), &layers, None);
        let (bytes, services) = made.unwrap();
        assert_eq!(services, 4);
        fs::write(dir.join("graph"), bytes).unwrap();
        change(dir);
    });
    machine.call("WaitBoot", json!({})).unwrap();
    machine
}

#[test]
fn a_boot_begins_with_the_graph_of_the_image() {
    if !possible() {
        return;
    }
    let machine = boot(|_| {});
    assert!(machine.console().contains(USED), "{}", machine.console());
    assert!(machine.console().contains("4 services"));
    let (a, b) = (machine.pid("a"), machine.pid("b"));
    assert!(a.is_some() && b.is_some());
    // A reload reads the files, and finds nothing changed.
    let changed = machine.call("ReloadAll", json!({})).unwrap();
    assert_eq!(changed["changed"], json!([]), "{changed}");
    assert_eq!((a, b), (machine.pid("a"), machine.pid("b")));
    machine.write_service("a.toml", "exec = \"/bin/sleep 2000\"\nrequires = [\"b\"]\n");
    let changed = machine.call("ReloadAll", json!({})).unwrap();
    assert_eq!(changed["changed"], json!(["a"]), "{changed}");
}

#[test]
fn a_boot_reads_the_files_when_any_has_changed() {
    if !possible() {
        return;
    }
    let refused = |what: &str, change: fn(&Path), count: usize| {
        let machine = boot(change);
        let console = machine.console();
        assert!(console.contains(NOT_USED), "{what}: {console}");
        assert!(console.contains(what), "{what}: {console}");
        assert!(console.contains(&format!("{count} services")), "{console}");
    };
    let files = "the service files are not those that it was made from";
    refused(
        files,
        |dir| fs::write(dir.join("admin/c.toml"), "exec = \"/bin/sleep 1000\"\n").unwrap(),
        5,
    );
    refused(
        files,
        |dir| fs::remove_file(dir.join("services/m.toml")).unwrap(),
        3,
    );
    refused(
        files,
        |dir| {
            let changed = fs::File::options()
                .write(true)
                .open(dir.join("services/b.toml.d/nice.toml"));
            changed
                .unwrap()
                .set_modified(std::time::UNIX_EPOCH)
                .unwrap();
        },
        4,
    );
    refused(
        "the loader's result does not end with its mark",
        |dir| fs::write(dir.join("graph"), "torn").unwrap(),
        4,
    );
}
