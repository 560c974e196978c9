//! `import`: units are found in a root, and what comes of them is written whole or not at all. Not
//! here: what comes of single lines (`services::import`).

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use super::{Ran, run};

const WEB: &str = "[Unit]\nDescription=Web\nAfter=network.target\n[Service]\nExecStart=/bin/web\n\
                   [Install]\nWantedBy=multi-user.target\nAlias=www.service\n";

struct Root(tempfile::TempDir);

impl Root {
    fn new(files: &[(&str, &str)]) -> Self {
        let root = Self(tempfile::tempdir().unwrap());
        for (path, text) in files {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        root
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn import(&self, rest: &str) -> Ran {
        let root = self.path().display();
        run(&format!("import --root {root} --output {root}/out {rest}"))
    }

    fn made(&self, name: &str) -> String {
        fs::read_to_string(self.path().join("out").join(name)).unwrap()
    }
}

#[test]
fn a_unit_is_found_by_name_with_its_drop_ins_and_other_names() {
    let root = Root::new(&[
        ("lib/systemd/system/web.service", WEB),
        (
            "lib/systemd/system/web.socket",
            "[Socket]\nListenStream=80\n",
        ),
        (
            "lib/systemd/system/web.service.d/b.conf",
            "[Service]\nNice=1\n",
        ),
        (
            "etc/systemd/system/web.service.d/b.conf",
            "[Service]\nNice=2\n",
        ),
        (
            "etc/systemd/system/web.service.d/c.conf",
            "[Service]\nUser=www\n",
        ),
        (
            "etc/systemd/system/service.d/a.conf",
            "[Service]\nUser=nobody\nUMask=7\n",
        ),
        ("etc/shark/services/dhcp.toml", "exec = \"/bin/dhcp\"\n"),
    ]);
    symlink(
        "web.service",
        root.path().join("lib/systemd/system/httpd.service"),
    )
    .unwrap();
    root.import("--map network.target=dhcp httpd")
        .expect(0, "1 service file in", "");
    let text = root.made("web.toml");
    assert!(
        text.contains("nice = 2") && text.contains("user = \"www\""),
        "{text}"
    );
    assert!(
        text.contains("umask = \"0007\"") && !text.contains("sockets"),
        "{text}"
    );
    assert!(text.contains("after = [\"dhcp\"]"), "{text}");
    // With the name of its own comes its socket. What is there is kept.
    root.import("web").expect(6, "", "there already");
    assert_eq!(root.made("web.toml"), text);
    root.import("--overwrite web").expect(
        0,
        "web.socket:2: carried: ListenStream=80 -> sockets",
        "",
    );
    assert!(root.made("web.toml").contains("[sockets.\"web.socket\"]"));
    let out = root.path().join("out");
    assert_eq!(fs::read_dir(&out).unwrap().count(), 1);
    run(&format!("verify {}", out.display())).expect(0, "services, no problems", "");
}

#[test]
fn what_cannot_be_made_is_told_and_the_others_are_written() {
    let root = Root::new(&[
        ("usr/lib/systemd/system/web.service", WEB),
        (
            "usr/lib/systemd/system/bus.service",
            "[Service]\nBusName=a.b\nExecStart=/bin/bus\n",
        ),
        (
            "usr/lib/systemd/system/vpn@.service",
            "[Service]\nExecStart=/bin/vpn %i\n",
        ),
    ]);
    symlink(
        "/dev/null",
        root.path().join("usr/lib/systemd/system/masked.service"),
    )
    .unwrap();
    let directory = root.path().join("usr/lib/systemd/system");
    let ran = root.import(&format!("{} vpn@home.service", directory.display()));
    ran.expect(
        1,
        "bus.service: no file: it is ready when it has its name on D-Bus",
        "2 units",
    );
    ran.expect(1, "masked.service: no file: it is empty, or masked", "");
    assert_eq!(
        root.made("vpn@home.toml"),
        "# An instance of vpn@.toml, without changes\n"
    );
    let out = root.path().join("out");
    run(&format!("verify {}", out.display())).expect(0, "services, no problems", "");
    root.import("--force bus")
        .expect(0, "bus.service:2: lost: BusName=a.b", "");
    let json = root.import("--json --overwrite web").json();
    assert_eq!(json["made"][0]["service"], "web");
    assert_eq!(json["lines"][2]["fate"], "lost");
    assert_eq!(json["lines"][2]["line"], 3);
}

#[test]
fn without_an_output_nothing_is_written() {
    let root = Root::new(&[("lib/systemd/system/web.service", WEB)]);
    let unit = root.path().join("lib/systemd/system/web.service");
    run(&format!("import {}", unit.display())).expect(
        0,
        "not written, as there is no --output",
        "",
    );
    run(&format!("import {}/none.service", root.path().display())).expect(1, "", "No such file");
    run(&format!("import --root {} none", root.path().display())).expect(1, "", "no unit `none`");
    run("import /etc/passwd").expect(2, "", "is no unit");
    run("import --map x web").expect(2, "", "has no `=`");
    run("import").expect(2, "", "UNIT");
}

#[test]
fn a_service_directory_is_found_and_left_where_it_is() {
    let root = Root::new(&[
        ("etc/sv/web/run", "#!/bin/sh\nexec /bin/web\n"),
        ("etc/sv/web/log/run", "#!/bin/sh\nexec svlogd .\n"),
        ("etc/sv/web/down", ""),
        ("etc/sv/notes", "no service"),
    ]);
    let run_file = root.path().join("etc/sv/web/run");
    fs::set_permissions(&run_file, PermissionsExt::from_mode(0o755)).unwrap();
    let all = root.path().join("etc/sv");
    root.import(&all.display().to_string())
        .expect(0, "web/log/run:1: lost: log/run: ", "");
    let text = root.made("web.toml");
    assert!(
        text.contains("exec = \"/etc/sv/web/run\"\nwanted-by = []\n"),
        "{text}"
    );
    let out = root.path().join("out");
    run(&format!("verify {}", out.display())).expect(0, "services, no problems", "");
    root.import("--from s6 --overwrite web")
        .expect(0, "web/run:1: carried: run -> exec", "");
    fs::set_permissions(&run_file, PermissionsExt::from_mode(0o644)).unwrap();
    root.import("--from runit --overwrite web").expect(
        1,
        "web: no file: its `run` is not",
        "1 unit",
    );
    root.import("--from runit gone")
        .expect(1, "", "no service directory `gone`");
}

#[test]
fn a_script_for_openrc_is_found_with_its_variables() {
    let root = Root::new(&[
        (
            "etc/init.d/web",
            "#!/sbin/openrc-run\ncommand=/bin/web\ncommand_args=\"$args\"\ncommand_background=yes\n",
        ),
        ("etc/init.d/own", "#!/sbin/openrc-run\nstart() {\n\t:\n}\n"),
        ("etc/init.d/old", "#!/bin/sh\n### BEGIN INIT INFO\n"),
        ("etc/conf.d/web", "args=-v\n"),
    ]);
    root.import("--from openrc web")
        .expect(0, "conf.d/web:1: irrelevant: args=-v", "");
    assert!(root.made("web.toml").contains("exec = \"/bin/web -v\""));
    let all = root.path().join("etc/init.d");
    let ran = root.import(&format!("--overwrite {}", all.display()));
    ran.expect(
        1,
        "own: no file: it has a function `start` of its own",
        "1 unit",
    );
    let out = root.path().join("out");
    run(&format!("verify {}", out.display())).expect(0, "services, no problems", "");
    root.import("--from openrc gone")
        .expect(1, "", "No such file");
}
