//! Single keys: what each comes to in the smallest service.

use super::*;

/// The one line of a service besides the smallest one, and what becomes of it: letter, and the lines
/// that the file has more.
fn check_key(line: &str, letter: &str, more: &str) {
    check_beside("", line, letter, more);
}

fn check_beside(beside: &str, line: &str, letter: &str, more: &str) {
    let base = format!("[Service]\n{beside}\nExecStart=/bin/a\n");
    let without = files(&import(&[("a.service", &base)]));
    let with = import(&[("a.service", &format!("{base}{line}\n"))]);
    let told = told(&with);
    let found = told.last().map(String::as_str);
    assert_eq!(
        found,
        Some(format!("{letter} {line}").as_str()),
        "{:?}",
        with.entries.last()
    );
    let before: Vec<&str> = without.lines().collect();
    let files = files(&with);
    let new: Vec<&str> = files
        .lines()
        .filter(|line| !before.contains(line))
        .collect();
    assert_eq!(new.join("; "), more, "{line}");
}

#[test]
fn keys_of_a_service_are_carried_over() {
    check_key("User=www", "+", "user = \"www\"");
    check_key("Group=www", "+", "group = \"www\"");
    check_key("UMask=27", "+", "umask = \"0027\"");
    check_key("Nice=-5", "+", "nice = -5");
    check_key("OOMScoreAdjust=-900", "+", "oom-score-adj = -900");
    check_key("WorkingDirectory=/srv", "+", "working-dir = \"/srv\"");
    check_key("WorkingDirectory=-/srv", "?", "working-dir = \"/srv\"");
    check_key("WorkingDirectory=~", "-", "");
    check_key("LimitNOFILE=1024:4096", "?", "[limits]; nofile = 4096");
    check_key("LimitCORE=infinity", "+", "[limits]; core = \"unlimited\"");
    check_key("LimitMEMLOCK=8M", "+", "[limits]; memlock = \"8M\"");
    check_key("LimitAS=1G", "-", "");
    check_key("MemoryMax=1.5K", "+", "[cgroup]; memory-max = \"1536\"");
    check_key("MemoryMax=20%", "-", "");
    check_key("MemoryMax=infinity", " ", "");
    check_key("TasksMax=16", "+", "[cgroup]; pids-max = 16");
    check_key("CPUQuota=150%", "+", "[cgroup]; cpu-max = \"150%\"");
    check_key("AllowedCPUs=0-1 3", "+", "[cgroup]; cpus = \"0-1,3\"");
    check_key("Delegate=yes", "+", "[cgroup]; delegate = true");
    check_key("Delegate=pids memory", "?", "[cgroup]; delegate = true");
}

#[test]
fn keys_of_its_life_are_carried_over() {
    check_key("KillMode=process", "+", "scope = \"main\"");
    check_key("KillMode=none", "-", "");
    check_key("KillSignal=SIGINT", "+", "signal = \"INT\"");
    check_key("KillSignal=SIGCONT", "-", "");
    check_key("WatchdogSec=3min", "+", "[watchdog]; timeout = \"3min\"");
    check_key("WatchdogSec=0", " ", "");
    check_key("TimeoutStartSec=5", " ", "");
    check_beside(
        "Type=notify",
        "TimeoutStartSec=5",
        "+",
        "start-timeout = \"5s\"",
    );
    check_beside(
        "Type=notify",
        "TimeoutStartSec=0",
        "?",
        "start-timeout = \"365d\"",
    );
    check_key(
        "SuccessExitStatus=143 TEMPFAIL",
        "+",
        "success-status = [143, 75]",
    );
    check_key(
        "SuccessExitStatus=143 SIGKILL",
        "-",
        "success-status = [143]",
    );
    check_key("LogRateLimitBurst=9", "+", "[log]; burst = 9");
    check_beside(
        "LogRateLimitIntervalSec=5s",
        "LogRateLimitBurst=9",
        "+",
        "burst = 9",
    );
    check_beside(
        "LogRateLimitBurst=9",
        "LogRateLimitIntervalSec=5s",
        "+",
        "burst-within = \"5s\"",
    );
    check_key("LogRateLimitIntervalSec=0", "+", "[log]; burst = 0");
    check_beside("LogRateLimitIntervalSec=0", "LogRateLimitBurst=9", " ", "");
    check_key("FileDescriptorStoreMax=4", "+", "[fd-store]; max = 4");
    check_key(
        "LoadCredential=key:/etc/key",
        "+",
        "[credentials]; key = { file = \"/etc/key\" }",
    );
    check_key("PrivateTmp=yes", "-", "");
    check_key("PrivateTmp=no", " ", "");
    check_key("CapabilityBoundingSet=", "-", "");
    check_key("PIDFile=/run/a.pid", " ", "");
    check_beside(
        "Type=forking",
        "PIDFile=/var/run/a.pid",
        "+",
        "pid-file = \"/run/a.pid\"",
    );
    check_beside("Type=oneshot", "RemainAfterExit=yes", "+", "");
    check_beside("Type=oneshot", "RemainAfterExit=no", "-", "");
    check_beside("Type=oneshot", "WatchdogSec=5", "-", "");
    check_key("NoSuchKey=1", "-", "");
    check_key("X-Other=1", " ", "");
    check_key("OnCalendar=daily", "-", "");
    check_key("nonsense", "-", "");
}

#[test]
fn ends_and_starts_are_counted_as_systemd_does() {
    let usual = "burst = 5; burst-within = \"10s\"";
    check_key(
        "Restart=on-failure",
        "+",
        &format!("policy = \"on-failure\"; delay = \"100ms\"; max-delay = \"100ms\"; {usual}"),
    );
    check_key("Restart=no", "+", "");
    check_key("Restart=on-watchdog", "-", "");
    check_beside(
        "Restart=always",
        "RestartSec=5",
        "+",
        "delay = \"5s\"; max-delay = \"5s\"",
    );
    check_beside(
        "Restart=always",
        "RestartSec=0",
        "+",
        "delay = \"0s\"; max-delay = \"1ms\"",
    );
    check_beside("Restart=always", "StartLimitBurst=3", "+", "burst = 3");
    check_beside("Restart=always", "StartLimitBurst=0", " ", "");
    check_beside(
        "Restart=always",
        "StartLimitInterval=60s",
        "+",
        "burst-within = \"1min\"",
    );
    check_beside("Type=oneshot", "Restart=always", "-", "");
    check_key(
        "FailureAction=reboot",
        "+",
        "[on-failure]; action = \"reboot\"",
    );
}

#[test]
fn the_environment_is_unquoted() {
    check_key(
        r#"Environment="A=b c" D='e' F=%n"#,
        "+",
        "[env]; A = \"b c\"; D = \"e\"; F = \"a.service\"",
    );
    check_key("Environment=A=%H", "-", "");
    check_key(
        "EnvironmentFile=-/etc/default/a",
        "+",
        "env-files = [\"-/etc/default/a\"]",
    );
    check_key("EnvironmentFile=/etc/a/*.conf", "-", "");
    check_key(
        "RuntimeDirectory=a b/c",
        "-",
        "runtime-dirs = [\"a\"]; [env]; RUNTIME_DIRECTORY = \"/run/a\"",
    );
}

#[test]
fn conditions_are_carried_over_or_always_hold() {
    let check = |line: &str, letter: &str, more: &str| {
        let it = import(&[(
            "a.service",
            &format!("[Unit]\n{line}\n[Service]\nExecStart=/bin/a\n"),
        )]);
        assert_eq!(told(&it)[0], format!("{letter} {line}"), "{:?}", it.entries);
        let file = files(&it);
        let more = more.is_empty() && !file.contains("[conditions]") || file.ends_with(more);
        assert!(more, "{line}: {file}");
    };
    check("ConditionPathExists=!/a", "+", "path-missing = [\"/a\"]");
    check("AssertPathExists=/a", "?", "path-exists = [\"/a\"]");
    check("ConditionPathExists=|/a", "-", "");
    check(
        "ConditionFileIsExecutable=/a",
        "-",
        "path-exists = [\"/a\"]",
    );
    check("ConditionFileIsExecutable=!/a", "-", "");
    check(
        "ConditionVirtualization=!container",
        "+",
        "virtualization = [\"!container\"]",
    );
    check(
        "ConditionVirtualization=no",
        "+",
        "virtualization = [\"!yes\"]",
    );
    check("ConditionVirtualization=wsl", "-", "");
    check(
        "ConditionKernelCommandLine=!quiet",
        "+",
        "kernel-option = [\"!quiet\"]",
    );
    check(
        "ConditionArchitecture=x86-64",
        "+",
        "architecture = [\"x86_64\"]",
    );
    check("ConditionArchitecture=s390x", "-", "");
    check("ConditionFirstBoot=!yes", "+", "first-boot = false");
    check("ConditionACPower=true", "-", "");
}

#[test]
fn nothing_is_called_irrelevant_that_would_change_something() {
    for lost in [
        "TTYVHangup=yes",
        "UtmpMode=login",
        "LogLevelMax=warning",
        "SyslogLevel=debug",
        "SyslogLevelPrefix=no",
        "TimeoutStopFailureMode=abort",
        "FinalKillSignal=SIGQUIT",
        "TimeoutAbortSec=10",
        "SendSIGHUP=yes",
        "PassEnvironment=A",
        "PermissionsStartOnly=yes",
        "NonBlocking=yes",
        "StandardOutput=journal+console",
        "StandardOutput=kmsg",
    ] {
        check_key(lost, "-", "");
    }
    for irrelevant in [
        "TTYVHangup=no",
        "SyslogLevelPrefix=yes",
        "LogLevelMax=debug",
        "TimeoutStopFailureMode=terminate",
        "FinalKillSignal=SIGKILL",
        "SendSIGHUP=no",
        "UnsetEnvironment=A",
        "StandardOutput=journal",
    ] {
        check_key(irrelevant, " ", "");
    }
    check_beside("Environment=A=1", "UnsetEnvironment=A", "-", "");
    check_beside("StartLimitBurst=0", "StartLimitIntervalSec=10", " ", "");
}

#[test]
fn the_end_of_the_machine_is_what_a_failure_can_bring() {
    let check = |line: &str, letter: &str, more: &str| {
        let it = import(&[(
            "a.service",
            &format!("[Unit]\n{line}\n[Service]\nExecStart=/bin/a\n"),
        )]);
        assert_eq!(told(&it)[0], format!("{letter} {line}"), "{:?}", it.entries);
        assert!(files(&it).contains(more), "{line}: {}", files(&it));
    };
    check(
        "OnFailure=reboot.target",
        "+",
        "[on-failure]\naction = \"reboot\"",
    );
    check("OnFailure=poweroff.target", "+", "action = \"poweroff\"");
    check("OnFailure=emergency.target", "-", "");
    check("Wants=reboot.target", "-", "");
    check("Requires=emergency.service", "-", "");
    check("Before=shutdown.target", " ", "");
    check("Conflicts=shutdown.target", " ", "");
    for lost in [
        "StopWhenUnneeded=yes",
        "RefuseManualStart=yes",
        "JobTimeoutSec=5s",
    ] {
        check(lost, "-", "");
    }
    check("JobTimeoutSec=infinity", " ", "");
}

#[test]
fn what_runs_as_root_beside_a_program_that_does_is_said() {
    let it = import(&[(
        "a.service",
        "[Service]\nUser=www\nExecStartPre=/bin/one\nExecStartPre=+/bin/two\nExecStart=!/bin/a\n",
    )]);
    assert_eq!(
        told(&it),
        [
            "- User=www",
            "? ExecStartPre=/bin/one",
            "? ExecStartPre=+/bin/two",
            "? ExecStart=!/bin/a"
        ]
    );
    let looks = |at: usize| it.entries[at].outcome.look.join(" ");
    assert!(looks(2).contains("runs as root here"), "{:?}", it.entries);
    assert!(!looks(3).contains("runs as root here"), "{:?}", it.entries);
    assert!(files(&it).contains("/bin/one || exit\n/bin/two || exit\nexec /bin/a"));
}
