//! The other names on files of a root, and how they are found and put in place.

use std::ffi::OsStr;
use std::fs;

use super::Name;
use crate::tests::{Ran, run};

#[test]
fn a_name_is_known_by_the_end_of_its_path() {
    let of = |text: &str| Name::of(OsStr::new(text));
    assert_eq!(of("/usr/bin/systemctl"), Some(Name::Systemctl));
    assert_eq!(of("rc-update"), Some(Name::RcUpdate));
    assert_eq!(of("/usr/bin/sharkctl"), None);
    assert_eq!(of("systemctl/x"), None);
}

#[test]
fn links_are_made_where_nothing_is_in_their_place() {
    let root = tempfile::tempdir().unwrap();
    let dir = root.path().display();
    let install = |rest: &str| run(&format!("compat install --root {dir} /usr/bin {rest}"));
    install("systemctl").expect(0, "/usr/bin/systemctl -> /usr/bin/sharkctl\n", "");
    install("systemctl").expect(0, "all names are there already", "");
    fs::write(root.path().join("usr/bin/service"), "").unwrap();
    install("").expect(
        6,
        "",
        "usr/bin/service is there already, and no link to /usr/bin/sharkctl",
    );
    assert!(!root.path().join("usr/bin/journalctl").exists());
    install("systemd").expect(2, "", "invalid value 'systemd'");
    let json = install("journalctl systemctl --json").json();
    assert_eq!(json["program"], "/usr/bin/sharkctl");
    assert_eq!(
        (
            json["made"].as_array().unwrap().len(),
            json["there"].as_array().unwrap().len()
        ),
        (1, 1)
    );
}

#[test]
fn a_system_that_does_not_run_is_changed_by_the_other_name_too() {
    let root = tempfile::tempdir().unwrap();
    let vendor = root.path().join("usr/lib/shark/services");
    fs::create_dir_all(&vendor).unwrap();
    fs::write(vendor.join("web.toml"), "exec = '/bin/web'\n").unwrap();
    let dir = root.path().display();
    let ctl = |rest: &str| -> Ran { run(&format!("compat run systemctl --root={dir} {rest}")) };
    ctl("disable web.service").expect(0, "", "Created ");
    ctl("is-enabled web").expect(1, "disabled\n", "");
    ctl("enable web").expect(0, "", "Removed ");
    ctl("is-enabled --quiet web").expect(0, "", "");
    ctl("list-unit-files --no-legend").expect(0, "web.service enabled  -\n", "");
    ctl("cat web").expect(0, "web.toml\nexec = '/bin/web'\n", "");
    ctl("").expect(1, "", "systemctl: ");
    run("compat run rc-update --nothing").expect(
        1,
        "",
        "rc-update: unrecognized option '--nothing'",
    );
    run("compat run service").expect(1, "", "Usage: service");
    run("compat run journalctl -o nothing").expect(1, "", "Unknown output format 'nothing'");
}
