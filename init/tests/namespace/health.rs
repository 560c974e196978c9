//! Probes of the health of services, as real processes.

use std::fs;

use serde_json::json;

use crate::machine::{Machine, Surroundings, possible};

/// A service whose probe does what the file `probe` says, every 100 ms.
const SERVICE: &str = r#"
exec = "/bin/sleep 1000"
restart.delay = "10ms"
[health]
exec = ["/bin/sh", "-c", ". @DIR@/probe"]
interval = "100ms"
timeout = "300ms"
failures = 2
"#;

fn boot(surroundings: Surroundings, probe: &str) -> Machine {
    boot_with(surroundings, SERVICE, probe)
}

/// With a probe that ends by itself, and has the time for it on a machine that stands still, too.
fn boot_patient(probe: &str) -> Machine {
    let patient = SERVICE.replace("300ms", "1min");
    boot_with(Surroundings::Whole, &patient, probe)
}

fn boot_with(surroundings: Surroundings, service: &str, probe: &str) -> Machine {
    // The probe is there before the first one runs.
    let machine = Machine::boot_in(surroundings, &[("later.toml", "exec = \"/bin/true\"\n")]);
    set_probe(&machine, probe);
    machine.write_service("a.toml", service);
    machine.call("ReloadAll", json!({})).unwrap();
    machine.on("Start", "a").unwrap();
    machine
}

/// Changed by a rename: no probe reads half of it.
fn set_probe(machine: &Machine, text: &str) {
    let text = text.replace("@DIR@", &machine.path(".").display().to_string());
    fs::write(machine.path("probe.new"), text).unwrap();
    fs::rename(machine.path("probe.new"), machine.path("probe")).unwrap();
}

fn lines(machine: &Machine) -> usize {
    let text = fs::read_to_string(machine.path("out/probes")).unwrap_or_default();
    text.lines().count()
}

#[test]
fn a_good_probe_runs_again_and_again_in_the_services_surroundings() {
    if !possible() {
        return;
    }
    let machine = boot_patient("grep ^0:: /proc/self/cgroup >> @DIR@/out/probes");
    machine.wait("three probes", || (lines(&machine) >= 3).then_some(()));
    assert_eq!(machine.status("a")["health"]["state"], "good");
    assert_eq!(machine.status("a")["restarts"], 0);
    if machine.has_cgroups() {
        let cgroups = fs::read_to_string(machine.path("out/probes")).unwrap();
        assert!(
            cgroups.lines().all(|line| line.ends_with("/services/a")),
            "{cgroups}"
        );
    }
}

#[test]
fn a_failing_probe_restarts_the_service() {
    if !possible() {
        return;
    }
    let machine = boot_patient("exit 0");
    machine.wait("it is healthy", || {
        (machine.status("a")["health"]["state"] == "good").then_some(())
    });
    let pid = machine.pid("a").unwrap();
    set_probe(&machine, "exit 3");
    machine.wait("it is started again", || {
        let status = machine.status("a");
        (status["restarts"].as_u64() > Some(0) && status["pid"].as_u64() != Some(pid)).then_some(())
    });
    machine.wait("the cause is told", || {
        machine
            .console()
            .contains("a: health: it exited with status 3")
            .then_some(())
    });
}

#[test]
fn a_hanging_probe_is_killed_with_all_it_started() {
    if !possible() {
        return;
    }
    for surroundings in [Surroundings::Whole, Surroundings::WithoutCgroups] {
        let machine = boot(
            surroundings,
            "echo x >> @DIR@/out/probes; sleep 4712 & sleep 4713",
        );
        machine.wait("one runs", || (lines(&machine) >= 1).then_some(()));
        machine.wait("the probe has failed", || {
            machine.console().contains("a: health: ").then_some(())
        });
        machine.wait("the service is up anew", || {
            (machine.status("a")["restarts"].as_u64() > Some(0)).then_some(())
        });
        set_probe(&machine, "exit 0");
        machine.wait("nothing is left of the killed ones", || {
            let left = machine.processes();
            let of_probe = |line: &String| line.contains("4712") || line.contains("4713");
            (!left.iter().any(of_probe)).then_some(())
        });
    }
}

/// By itself, with nothing of its service stopped for it.
#[test]
fn a_hanging_probe_is_killed_wherever_it_has_gone() {
    if !possible() {
        return;
    }
    let machine = boot(
        Surroundings::Whole,
        "echo x >> @DIR@/out/probes; exec setsid sleep 4716",
    );
    let lasting = SERVICE.replace("failures = 2", "failures = 1000");
    machine.write_service("a.toml", &lasting);
    machine.call("ReloadAll", json!({})).unwrap();
    machine.on("Restart", "a").unwrap();
    let pid = machine.pid("a");
    let before = lines(&machine);
    machine.wait("three run", || {
        (lines(&machine) >= before + 3).then_some(())
    });
    set_probe(&machine, "kill -SEGV $$");
    machine.wait("how the last one ended is told", || {
        let words = machine.status("a")["health"]["words"].to_string();
        words.contains("it was killed by signal 11").then_some(())
    });
    let left = machine.processes();
    assert!(!left.iter().any(|line| line.contains("4716")), "{left:?}");
    assert_eq!(machine.pid("a"), pid);
}

#[test]
fn a_stop_does_not_wait_for_a_probe() {
    if !possible() {
        return;
    }
    let machine = boot_patient("echo x >> @DIR@/out/probes; exec sleep 4714");
    machine.wait("one runs", || (lines(&machine) >= 1).then_some(()));
    machine.on("Stop", "a").unwrap();
    assert_eq!(machine.state("a"), "down");
    machine.wait("the probe is gone", || {
        let left = machine.processes();
        (!left.iter().any(|line| line.contains("4714"))).then_some(())
    });
}

#[test]
fn a_reload_command_past_its_limit_is_killed() {
    if !possible() {
        return;
    }
    let more = "type = \"notify\"\nreload = \"/bin/sleep 4715\"\nstart-timeout = \"6s\"\n";
    let service = crate::notify::service(&["READY=1"], more);
    let machine = Machine::boot(&[("a.toml", &service)]);
    machine.call("WaitBoot", json!({})).unwrap();
    let (error, _) = machine.on("ReloadService", "a").unwrap_err();
    assert_eq!(error, "Failed");
    machine.wait("the command is gone", || {
        let left = machine.processes();
        (!left.iter().any(|line| line.contains("4715"))).then_some(())
    });
    assert_eq!(machine.state("a"), "up");
}

#[test]
fn a_command_beside_a_service_leaves_its_limits_alone() {
    if !possible() {
        return;
    }
    let service = "exec = \"/bin/sleep 1000\"\nreload = \"/bin/true\"\n[cgroup]\npids-max = 50\n";
    let machine = Machine::boot(&[("a.toml", service)]);
    machine.call("WaitBoot", json!({})).unwrap();
    let limit = machine.cgroup_file("a", "pids.max");
    let Some(limit) = limit.filter(|file| file.exists()) else {
        eprintln!("NOT TESTED: no pids controller that this test may use");
        return;
    };
    // What somebody sets by hand lasts until the next start.
    fs::write(&limit, "40").unwrap();
    machine.on("ReloadService", "a").unwrap();
    assert_eq!(fs::read_to_string(&limit).unwrap(), "40\n");
}
