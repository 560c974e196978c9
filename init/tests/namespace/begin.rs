//! What is done before a program: conditions, files of variables, credentials.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use serde_json::json;

use crate::machine::{Machine, Surroundings, possible, write_program};
use crate::surroundings::runs_as_root;

/// A program that writes down what `$1` gives, and stays.
fn printing(what: &str, more: &str) -> String {
    format!(
        "exec = [\"/bin/sh\", \"-c\", '{what} > @DIR@/out/$0.new; mv @DIR@/out/$0.new @DIR@/out/$0; \
         exec sleep 1000', \"it\"]\nrestart.policy = \"never\"\n{more}"
    )
}

fn written(machine: &Machine) -> String {
    machine.wait("it has written", || {
        fs::read_to_string(machine.path("out/it")).ok()
    })
}

#[test]
fn a_condition_that_does_not_hold_skips_and_holds_up_nobody() {
    if !possible() {
        return;
    }
    let machine = Machine::boot(&[
        (
            "a.toml",
            "exec = \"/bin/sleep 1000\"\nconditions.path-exists = [\"@DIR@/flag\"]\n\
             boot.essential = true\n",
        ),
        ("b.toml", "exec = \"/bin/sleep 1000\"\nrequires = [\"a\"]\n"),
        (
            "c.toml",
            "exec = \"/bin/sleep 1000\"\n[conditions]\npath-missing = [\"@DIR@/flag\"]\n\
             virtualization = [\"container\", \"!vm\"]\narchitecture = [\"!arm64\", \"!x86_64\"]\n",
        ),
        (
            "d.toml",
            "exec = \"/bin/sleep 1000\"\n[conditions]\npath-missing = [\"@DIR@/flag\"]\n\
             virtualization = [\"yes\"]\nslot = [\"!a\", \"!b\"]\n",
        ),
    ]);
    let failed = machine.call("WaitBoot", json!({})).unwrap();
    assert_eq!(failed, json!({ "failed": [] }));
    let status = machine.status("a");
    assert_eq!(
        (&status["state"], &status["wanted"]),
        (&json!("skipped"), &json!(true))
    );
    let reason = status["reason"].as_str().unwrap();
    assert!(
        reason.starts_with("condition: path-exists /") && reason.ends_with("/flag"),
        "{reason}"
    );
    assert_eq!(
        (machine.state("b").as_str(), machine.pid("a")),
        ("up", None)
    );
    let reason = machine.status("c")["reason"].clone();
    assert!(
        reason
            .as_str()
            .unwrap()
            .starts_with("condition: architecture !"),
        "{reason}"
    );
    assert_eq!(machine.state("d"), "up");

    // It is asked again at each start.
    fs::write(machine.path("flag"), "").unwrap();
    machine.on("Restart", "a").unwrap();
    assert_eq!(
        (machine.state("a").as_str(), machine.state("b").as_str()),
        ("up", "up")
    );
    fs::remove_file(machine.path("flag")).unwrap();
    machine.on("Restart", "a").unwrap();
    assert_eq!(machine.state("a"), "skipped");
    let before = machine.pid("b").unwrap();
    machine.on("Start", "a").unwrap();
    assert_eq!(machine.state("a"), "skipped");
    fs::write(machine.path("flag"), "").unwrap();
    machine.on("Start", "a").unwrap();
    assert_eq!(machine.state("a"), "up");
    assert_eq!(machine.pid("b"), Some(before), "nobody is disturbed");
    machine.on("Stop", "a").unwrap();
    assert_eq!(machine.state("a"), "down");
}

/// Asked of the command line of the kernel that runs here, whatever that is.
#[test]
fn a_condition_on_the_kernel_command_line_is_looked_up_there() {
    if !possible() {
        return;
    }
    let options = fs::read_to_string("/proc/cmdline").unwrap();
    let plain = |word: &&str| !word.contains(['"', '\'', '\\']) && !word.starts_with(['=', '!']);
    let Some(option) = options.split_whitespace().find(plain) else {
        eprintln!("NOT TESTED: this machine's kernel has no command line");
        return;
    };
    let key = option.split('=').next().unwrap();
    let service =
        |words: &str| format!("exec = \"/bin/sleep 1000\"\nconditions.kernel-option = [{words}]\n");
    let machine = Machine::boot(&[
        (
            "whole.toml",
            &service(&format!("'{option}', '!no-such.word'")),
        ),
        ("key.toml", &service(&format!("'{key}'"))),
        ("other.toml", &service(&format!("'{key}=no-such-value'"))),
        ("without.toml", &service(&format!("'!{key}'"))),
    ]);
    machine.call("WaitBoot", json!({})).unwrap();
    let states = ["whole", "key", "other", "without"].map(|name| machine.state(name));
    assert_eq!(states, ["up", "up", "skipped", "skipped"], "{options}");
    let reason = machine.status("without")["reason"].clone();
    assert_eq!(reason, format!("condition: kernel-option !{key}"));
}

#[test]
fn variables_of_files_go_over_those_of_the_service() {
    if !possible() {
        return;
    }
    let machine = Machine::boot(&[(
        "it.toml",
        &printing(
            "echo \"$A $B $C $NOTIFY_SOCKET $PPID\"",
            "type = \"simple\"\nwanted-by = []\nenv = { A = \"1\", B = \"1\" }\n\
             env-files = [\"@DIR@/one\", \"-@DIR@/none\", \"@DIR@/two\"]\n",
        ),
    )]);
    machine.call("WaitBoot", json!({})).unwrap();
    let (error, parameters) = machine.on("Start", "it").unwrap_err();
    let reason = parameters["reason"].to_string();
    assert_eq!(error, "Failed");
    assert!(
        reason.contains("env-files: open ") && reason.contains("/one"),
        "{reason}"
    );
    assert_eq!(machine.state("it"), "failed");
    assert_eq!(machine.status("it")["reason"].to_string(), reason);

    fs::write(
        machine.path("one"),
        "# one\nB='2 2'\nC=2\nNOTIFY_SOCKET=/x\n",
    )
    .unwrap();
    fs::write(machine.path("two"), "C=\"3\"\n").unwrap();
    machine.on("Start", "it").unwrap();
    assert_eq!(written(&machine), "1 2 2 3 /x 1\n".replace(" /x", " "));
    // The program is the main process itself.
    let pid = machine.pid("it").unwrap();
    machine.kill("KILL", pid);
    machine.wait_state("it", "failed");
}

#[test]
fn a_service_that_tells_when_it_is_ready_still_does() {
    if !possible() {
        return;
    }
    let machine = Machine::boot(&[(
        "once.toml",
        "type = \"oneshot\"\nexec = [\"/bin/sh\", \"-c\", \"test $A = 1\"]\n\
         env-files = [\"@DIR@/services/env\"]\nwanted-by = []\n",
    )]);
    fs::write(machine.path("services/env"), "A=1\n").unwrap();
    machine.on("Start", "once").unwrap();
    assert_eq!(machine.state("once"), "up");
    machine.on("Stop", "once").unwrap();
    fs::write(machine.path("services/env"), "A=2\n").unwrap();
    assert_eq!(machine.on("Start", "once").unwrap_err().0, "Failed");
}

#[test]
fn a_program_that_cannot_be_executed_is_told_with_its_cause() {
    if !possible() {
        return;
    }
    let machine = Machine::boot(&[
        (
            "none.toml",
            "exec = \"/no/such/program\"\nconditions.path-exists = [\"/\"]\nwanted-by = []\n\
             restart.policy = \"never\"\n",
        ),
        (
            "data.toml",
            "exec = \"/etc/passwd\"\nconditions.path-exists = [\"/\"]\nwanted-by = []\n\
             restart.policy = \"never\"\n",
        ),
    ]);
    let (_, parameters) = machine.on("Start", "none").unwrap_err();
    assert!(
        parameters["reason"]
            .to_string()
            .contains("/no/such/program"),
        "{parameters}"
    );
    // It is refused by the kernel alone, at the last moment: nobody is told that it was up.
    let (error, parameters) = machine.on("Start", "data").unwrap_err();
    assert_eq!(error, "Failed", "{parameters}");
    assert_eq!(machine.state("data"), "failed");
    let reason = machine.status("data")["reason"].to_string();
    assert!(
        reason.contains("execve /etc/passwd: ") && reason.contains("EACCES"),
        "{reason}"
    );
    let console = machine.console();
    assert!(!console.contains("data: up"), "{console}");
    assert_eq!(machine.status("data").get("readyUs"), None);
}

/// One of an account that does not reach init's socket any more when it fails.
#[test]
fn a_program_that_its_account_cannot_execute_is_told_with_its_cause() {
    if !possible() || !runs_as_root() {
        return;
    }
    let service = "exec = \"@DIR@/private/program\"\nuser = \"nobody\"\nwanted-by = []\n\
                   conditions.path-exists = [\"/\"]\nrestart.policy = \"never\"\n";
    let services = [("it.toml", service)];
    let machine = Machine::boot_prepared(Surroundings::Accounts, &services, |dir| {
        let set = |path: &str, mode| {
            fs::set_permissions(dir.join(path), fs::Permissions::from_mode(mode)).unwrap();
        };
        fs::create_dir(dir.join("private")).unwrap();
        let program = fs::read("/bin/sleep").unwrap();
        write_program(&dir.join("private/program"), &program);
        set("private", 0o700);
        set("run", 0o700);
        set(".", 0o755);
    });
    let (error, parameters) = machine.on("Start", "it").unwrap_err();
    let reason = parameters["reason"].to_string();
    assert_eq!(error, "Failed");
    assert!(
        reason.contains("execve") && reason.contains("EACCES"),
        "{reason}"
    );
    let console = machine.console();
    assert!(!console.contains("it: up"), "{console}");
}

/// Init is replaced while the start is at its last step, time and again: none is lost.
#[test]
fn a_start_that_goes_on_while_init_is_replaced_arrives() {
    if !possible() {
        return;
    }
    let machine = Machine::boot(&[(
        "it.toml",
        "exec = \"/bin/sleep 1000\"\nconditions.path-exists = [\"/\"]\nwanted-by = []\n",
    )]);
    machine.call("WaitBoot", json!({})).unwrap();
    for _ in 0..10 {
        std::thread::scope(|scope| {
            let start = scope.spawn(|| machine.on("Start", "it"));
            for _ in 0..3 {
                machine.call("Reexec", json!({})).unwrap();
            }
            start.join().unwrap().unwrap();
        });
        assert_eq!(machine.state("it"), "up");
        machine.on("Stop", "it").unwrap();
    }
}

#[test]
fn credentials_are_files_of_the_run_on_ramfs() {
    if !possible() {
        return;
    }
    let machine = Machine::boot(&[(
        "it.toml",
        &printing(
            "(cd $CREDENTIALS_DIRECTORY; pwd; cat a b; echo; stat -f -c %T .; stat -c %a . a)",
            "wanted-by = []\n[credentials]\na = { text = \"one \" }\nb = { file = \"@DIR@/secret\" }\n",
        ),
    )]);
    machine.call("WaitBoot", json!({})).unwrap();
    let (_, parameters) = machine.on("Start", "it").unwrap_err();
    assert!(
        parameters["reason"]
            .to_string()
            .contains("credential b: open"),
        "{parameters}"
    );
    let directory = machine.path("run/credentials/it");

    fs::write(machine.path("secret"), "two").unwrap();
    machine.on("Start", "it").unwrap();
    let text = written(&machine);
    let expect = format!("{}\none two\nramfs\n500\n400\n", directory.display());
    assert_eq!(text, expect);
    let inside = format!("/proc/{}/root{}", machine.host_pid(), directory.display());
    assert!(fs::exists(&inside).unwrap());
    let root = format!(
        "/proc/{}/root{}",
        machine.host_pid(),
        machine.path("run/credentials").display()
    );
    assert_eq!(
        fs::metadata(root).unwrap().permissions().mode() & 0o777,
        0o711
    );
    machine.on("Stop", "it").unwrap();
    machine.wait("the credentials are gone", || {
        (!fs::exists(&inside).unwrap()).then_some(())
    });
}

/// They are those of its account, and nobody else's.
#[test]
fn credentials_are_readable_for_the_account_of_the_service_alone() {
    if !possible() || !runs_as_root() {
        return;
    }
    let of = |user: &str, script: &str| {
        let reading = printing(script, "wanted-by = []\n");
        let reading = reading.replace("$0", user);
        format!("{reading}user = \"{user}\"\n")
    };
    let own = of("nobody", "cat $CREDENTIALS_DIRECTORY/a");
    let own = format!("{own}[credentials]\na = {{ text = \"secret\" }}\n");
    let other = of(
        "daemon",
        "(cat @DIR@/run/credentials/own/a || ls @DIR@/run/credentials/own || echo refused)",
    );
    let services = [("own.toml", own.as_str()), ("other.toml", other.as_str())];
    let machine = Machine::boot_prepared(Surroundings::Accounts, &services, |dir| {
        for (path, mode) in [("out", 0o777), (".", 0o755)] {
            let mode = fs::Permissions::from_mode(mode);
            fs::set_permissions(dir.join(path), mode).unwrap();
        }
    });
    let said = |name: &str| {
        let path = machine.path("out").join(name);
        machine.wait("it has written", || fs::read_to_string(&path).ok())
    };
    machine.on("Start", "own").unwrap();
    assert_eq!(said("nobody"), "secret");
    machine.on("Start", "other").unwrap();
    assert_eq!(said("daemon"), "refused\n");
}

#[test]
fn a_mistake_in_a_file_of_variables_is_told_with_its_line() {
    if !possible() {
        return;
    }
    let machine = Machine::boot(&[(
        "it.toml",
        "exec = \"/bin/sleep 1000\"\nwanted-by = []\nenv-files = [\"/proc/self/environ\"]\n\
         restart.policy = \"never\"\n",
    )]);
    let (_, parameters) = machine.on("Start", "it").unwrap_err();
    assert!(
        parameters["reason"].to_string().contains("environ: line 1"),
        "{parameters}"
    );
    assert_eq!(machine.state("it"), "failed");
}

#[test]
fn probes_and_reload_commands_have_the_same_variables_and_credentials() {
    if !possible() {
        return;
    }
    let machine = Machine::boot(&[(
        "it.toml",
        "exec = \"/bin/sleep 1000\"\nwanted-by = []\nenv-files = [\"@DIR@/services/env\"]\n\
         conditions.path-exists = [\"@DIR@/services/env\"]\n\
         reload = [\"/bin/sh\", \"-c\", \"cp $CREDENTIALS_DIRECTORY/a @DIR@/out/$A; rm @DIR@/services/env\"]\n\
         [health]\nexec = [\"/bin/sh\", \"-c\", \"test $A$(cat $CREDENTIALS_DIRECTORY/a) = 1secret\"]\n\
         interval = \"100ms\"\nfailures = 1000\n[credentials]\na = { text = \"secret\" }\n",
    )]);
    fs::write(machine.path("services/env"), "A=1\n").unwrap();
    machine.on("Start", "it").unwrap();
    machine.wait("a probe was good", || {
        (machine.status("it")["health"]["state"] == "good").then_some(())
    });
    let before = machine.pid("it");
    machine.on("ReloadService", "it").unwrap();
    assert_eq!(fs::read_to_string(machine.path("out/1")).unwrap(), "secret");
    // Without the file, probes fail, and say why; the service itself is another matter.
    machine.wait("a probe was bad", || {
        (machine.status("it")["health"]["state"] == "failing").then_some(())
    });
    assert_eq!(machine.pid("it"), before);
    machine.wait("its status says why", || {
        let words = machine.status("it")["health"]["words"].to_string();
        words.contains("env-files: open").then_some(())
    });
    let refused = machine.on("ReloadService", "it").unwrap_err();
    let why = refused.1.to_string();
    assert!(why.contains("env-files: open"), "{refused:?}");
}

#[test]
fn descriptors_are_passed_on_to_the_program_and_the_order_is_not() {
    if !possible() {
        return;
    }
    let machine = Machine::boot(&[(
        "it.toml",
        &printing(
            "(test $LISTEN_PID = $$ && echo $LISTEN_FDS $A; ls /proc/$$/fd | grep -c \"^[345]$\")",
            "env-files = [\"@DIR@/services/env\"]\nwanted-by = []\n\
             [sockets.one]\nlisten = \"unix:@DIR@/out/one\"\n\
             [sockets.two]\nlisten = \"unix:@DIR@/out/two\"\n",
        ),
    )]);
    fs::write(machine.path("services/env"), "A=yes\nLISTEN_FDS=9\n").unwrap();
    machine.on("Start", "it").unwrap();
    assert_eq!(written(&machine), "2 yes\n2\n");
}
