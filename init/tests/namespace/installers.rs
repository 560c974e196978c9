//! What installers and packages' scripts call, one call after the other, with what each has to answer for
//! the script to go on: that of k3s, and those of Debian's packages. Not here: what each name answers by
//! itself (`compat`).

use std::fs;

use crate::compat::{SLEEP, Scripts};
use crate::machine::possible;
use crate::notify;

/// What an installer of k3s writes, but for its account and limits: in a user namespace neither can be set.
fn unit() -> String {
    let program = std::env::current_exe().unwrap();
    format!(
        "[Unit]\nDescription=Lightweight Kubernetes\nDocumentation=https://k3s.io\n\
         Wants=network-online.target\nAfter=network-online.target\n\n\
         [Install]\nWantedBy=multi-user.target\n\n\
         [Service]\nType=notify\nEnvironmentFile=-/etc/default/%N\nEnvironmentFile=-/etc/sysconfig/%N\n\
         EnvironmentFile=-/etc/systemd/system/k3s.service.env\nKillMode=process\nDelegate=yes\n\
         TasksMax=infinity\n\
         TimeoutStartSec=0\nRestart=always\nRestartSec=5s\n\
         ExecStartPre=-/sbin/modprobe br_netfilter\nExecStartPre=-/sbin/modprobe overlay\n\
         ExecStart={} \\\n    --exact \\\n    'notify::sender' \\\n    --nocapture\n\n",
        program.display()
    )
}

/// Writes a file where the scripts see it.
fn write(scripts: &Scripts, path: &str, text: &str) {
    let from = scripts.machine.path("text");
    fs::write(&from, text).unwrap();
    let copy = format!("cat {} > {path}", from.display());
    scripts.run(&copy).expect(0, "", "");
}

#[test]
fn the_installer_of_k3s_finds_what_it_calls() {
    if !possible() {
        return;
    }
    assert!(notify::service(&["READY=1"], "").contains("notify::sender"));
    let scripts = Scripts::new(&[("web.toml", SLEEP)]);
    let run = |line: &str| scripts.run(line);
    let write = |path: &str, text: &str| write(&scripts, path, text);
    // It looks for the one, and then for the other.
    run("[ -x /sbin/openrc-run ] || type systemctl").expect(0, "systemctl", "");
    // It takes away what was there before, which is nothing.
    run("systemctl disable k3s").expect(1, "", "Unit file k3s.service does not exist.");
    let place = "/etc/systemd/system/k3s.service";
    // Everything is in the service's environment by its file, as the installer keeps K3S_ variables.
    write(&format!("{place}.env"), "SHARK_TEST_SAY='READY=1'\n");
    let named = format!("-{place}.env");
    let inside = scripts.machine.path("k3s.env");
    fs::write(&inside, "SHARK_TEST_SAY='READY=1'\n").unwrap();
    // The init under test has another /etc than these scripts.
    let text = unit().replace(&named, &format!("-{}", inside.display()));
    write(place, &text);

    let enabled = run(&format!("systemctl enable {place}"));
    enabled.expect(0, "", "Removed ");
    // Nothing is left out without a word.
    enabled.expect(
        0,
        "",
        "/etc/systemd/system/k3s.service:18: look: TimeoutStartSec=0: ",
    );
    run("systemctl daemon-reload").says(0, "");
    run("systemctl is-enabled k3s").says(0, "enabled\n");
    // Enabled is not started, as an installer may be told to leave that to others.
    run("systemctl is-active k3s").says(3, "inactive\n");
    run("systemctl restart k3s").says(0, "");
    run("systemctl is-active k3s").says(0, "active\n");
    run("systemctl status k3s").expect(0, "● k3s.service - Lightweight Kubernetes\n", "");
    let shown = run("systemctl cat k3s");
    shown.expect(
        0,
        "# Imported by systemctl from /etc/systemd/system/k3s.service (",
        "",
    );
    for key in [
        "type = \"notify\"",
        "scope = \"main\"",
        "delegate = true",
        "policy = \"always\"",
    ] {
        assert!(shown.out.contains(key), "{key}: {shown:?}");
    }
    it_is_run_again(&scripts, place, &text);
    its_uninstaller_finds_what_it_calls(&scripts, place);
}

/// With another unit, and then that unit changes, and somebody edits what has become of it.
fn it_is_run_again(scripts: &Scripts, place: &str, text: &str) {
    let run = |line: &str| scripts.run(line);
    let write = |path: &str, text: &str| write(scripts, path, text);
    // A later run of the whole installer: it takes the unit away first, while the service runs on.
    let before = scripts.machine.pid("k3s");
    run(&format!(
        "systemctl disable k3s >/dev/null 2>&1 && rm -f {place} {place}.env"
    ))
    .says(0, "");
    write(place, &text.replace("Lightweight", "Upgraded"));
    run(&format!(
        "systemctl enable {place} >/dev/null 2>&1 && systemctl daemon-reload >/dev/null 2>&1"
    ))
    .says(0, "");
    assert_eq!(scripts.machine.pid("k3s"), before);
    run("systemctl is-enabled k3s").says(0, "enabled\n");
    run("systemctl restart k3s").says(0, "");
    run("systemctl show -p Description --value k3s").says(0, "Upgraded Kubernetes\n");
    assert_ne!(scripts.machine.pid("k3s"), before);

    // A later change of the unit is followed.
    write(place, &text.replace("Lightweight", "Light"));
    run("systemctl daemon-reload").expect(0, "", "");
    run("systemctl restart k3s").says(0, "");
    run("systemctl show -p Description --value k3s").says(0, "Light Kubernetes\n");
    // What somebody has edited stays.
    let own = scripts.machine.path("admin/k3s.toml");
    let edited = fs::read_to_string(&own).unwrap() + "# mine\n";
    fs::write(&own, &edited).unwrap();
    write(place, text);
    run("systemctl daemon-reload").expect(0, "", "has been edited, and does not follow");
    assert_eq!(fs::read_to_string(&own).unwrap(), edited);
    fs::write(&own, edited.replace("# mine\n", "")).unwrap();
}

fn its_uninstaller_finds_what_it_calls(scripts: &Scripts, place: &str) {
    let run = |line: &str| scripts.run(line);
    run("for it in /etc/systemd/system/k3s*.service; do [ -s $it ] && systemctl stop $(basename $it); done")
        .says(0, "");
    run("command -v systemctl && command -v rc-update").expect(0, "/rc-update\n", "");
    run("systemctl disable k3s && systemctl reset-failed k3s && systemctl daemon-reload")
        .expect(0, "", "");
    // It is in no runlevel any more, which the script does not mind.
    run("rc-update delete k3s default").expect(1, "", "is not in the runlevel `default'");
    run(&format!(
        "rm -f {place} {place}.env && systemctl daemon-reload"
    ))
    .expect(0, "", "k3s: removed, as ");
    run("systemctl status k3s").expect(4, "", "could not be found");
    assert!(
        !scripts.machine.path("admin/k3s.toml").exists()
            && !scripts.machine.path("admin/k3s.toml.d").exists()
    );
}

#[test]
fn what_cannot_be_a_service_is_said() {
    if !possible() {
        return;
    }
    let scripts = Scripts::new(&[("web.toml", SLEEP)]);
    let unit = "[Service]\\nType=dbus\\nBusName=org.x\\nExecStart=/bin/sleep 9\\n";
    scripts
        .run(&format!(
            "printf '{unit}' > /etc/systemd/system/x.service; systemctl daemon-reload"
        ))
        .expect(0, "", "x: its unit is no service here: ");
    scripts
        .run("systemctl start x")
        .expect(1, "", "its unit is no service here");
    scripts
        .run(
            "printf '[Service]\\nExecStart=/bin/sleep 9\\n' > /etc/systemd/system/web.service; \
              systemctl daemon-reload",
        )
        .expect(0, "", "web: there is a service of this name, which counts");
}

/// deb-systemd-helper, deb-systemd-invoke, invoke-rc.d, update-rc.d and service(8) of Debian 12.
#[test]
fn scripts_of_debians_packages_find_what_they_call() {
    if !possible() {
        return;
    }
    let scripts = Scripts::new(&[
        ("web.toml", SLEEP),
        ("off.toml", "exec = \"/bin/sleep 1000\"\nwanted-by = []\n"),
        (
            "again.toml",
            "exec = \"/bin/sleep 1000\"\nreload = \"HUP\"\n",
        ),
    ]);
    let run = |line: &str| scripts.run(line);
    // A package has put its unit where packages do.
    let place = "/usr/local/lib/systemd/system";
    run(&format!(
        "mount -t tmpfs none /usr/local/lib && mkdir -p {place} && printf '[Unit]\nDescription=Package\n\
         [Service]\nExecStart=/bin/sleep 1000\n[Install]\nWantedBy=multi-user.target\n' > {place}/pkg.service"
    ))
    .says(0, "");
    // It counts for nothing before somebody names it.
    run("systemctl daemon-reload").says(0, "");
    run("systemctl is-enabled pkg.service").expect(1, "", "No such file or directory");

    // One of the image's own, whose package brings a unit as well: nothing is said of that.
    run(&format!(
        "cp {place}/pkg.service {place}/web.service && systemctl enable web 2>&1 && rm {place}/web.service"
    ))
    .says(0, "");

    // deb-systemd-helper enable.
    run("systemctl --root=/ --system --preset-mode=enable-only preset pkg.service")
        .expect(0, "", "");
    run("systemctl --root=/ --system --preset-mode=enable-only preset gone.service").expect(
        1,
        "",
        "does not exist",
    );
    run("systemctl --preset-mode=disable-only preset web").says(0, "");
    run("systemctl --preset-mode=some preset web").expect(
        1,
        "",
        "Failed to parse preset mode: some",
    );
    run("systemctl is-enabled web").says(0, "enabled\n");
    // Enabled is not started.
    run("systemctl --system daemon-reload").says(0, "");
    run("systemctl is-active pkg").says(3, "inactive\n");
    what_is_started_and_asked(&scripts);
    a_package_is_upgraded_and_removed(&scripts, place);
}

/// By deb-systemd-invoke, invoke-rc.d and service(8).
fn what_is_started_and_asked(scripts: &Scripts) {
    let run = |line: &str| scripts.run(line);
    // deb-systemd-invoke start: what is enabled, or runs.
    run("systemctl --system is-enabled -- 'pkg.service'").says(0, "enabled\n");
    run("systemctl --system is-enabled -- 'off.service'").says(1, "disabled\n");
    run("systemctl --system --quiet is-active -- pkg.service").says(3, "");
    run("systemctl --quiet --system start pkg.service").says(0, "");
    run("systemctl --system --quiet is-active -- pkg.service").says(0, "");
    run("systemctl --quiet --system restart pkg.service web.service").says(0, "");
    run("systemctl --version --quiet | sed -n -r 's/systemd ([0-9]+) \\(.*/\\1/p'")
        .says(0, "252\n");
    run("systemctl --no-legend --quiet list-units 'user@*'").says(0, "");

    // invoke-rc.d and service(8).
    run("systemctl --quiet is-enabled pkg.service 2>/dev/null").says(0, "");
    run("systemctl show --value --property SourcePath pkg.service").says(0, "\n");
    run("systemctl -p LoadState show pkg.service 2>/dev/null").says(0, "LoadState=loaded\n");
    run("systemctl -p CanReload show pkg.service 2>/dev/null").says(0, "CanReload=no\n");
    run("systemctl -p CanReload show again.service").says(0, "CanReload=yes\n");
    run("systemctl --quiet is-system-running").says(0, "");
    run("systemctl --no-block reload again.service").says(0, "");
    run("systemctl list-unit-files --full --type=socket 2>/dev/null | sed -ne 's/\\.socket\\s*[a-z]*\\s*$/.socket/p'")
        .says(0, "");
    run("systemctl -p Triggers show web.socket").says(0, "Triggers=web.service\n");
    run("systemctl try-restart off.service").says(0, "");
    run("systemctl status --full --no-pager off.service || true").expect(0, "off.service", "");
}

fn a_package_is_upgraded_and_removed(scripts: &Scripts, place: &str) {
    let run = |line: &str| scripts.run(line);
    // An upgrade brings another unit; a removal stops it, and takes it away.
    run(&format!(
        "sed -i s/Package/Upgraded/ {place}/pkg.service && systemctl daemon-reload"
    ))
    .expect(0, "", "");
    run("systemctl --quiet --system restart pkg.service").says(0, "");
    run("systemctl show -p Description --value pkg").says(0, "Upgraded\n");
    run("systemctl stop pkg.service").says(0, "");
    // update-rc.d.
    run("systemctl --root=/ --quiet disable pkg").says(0, "");
    run("systemctl is-enabled pkg").says(1, "disabled\n");
    run("systemctl --root=/ --quiet enable pkg").says(0, "");
    run("rc-update -qqa delete nobody").expect(1, "", "");
    run(&format!(
        "rm {place}/pkg.service && systemctl daemon-reload"
    ))
    .expect(0, "", "pkg: removed, as ");
    run("systemctl status pkg").expect(4, "", "could not be found");
}
