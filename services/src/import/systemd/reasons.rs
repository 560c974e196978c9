//! Keys that are lost, or of no consequence, for the same reason whatever they say. Not here: keys
//! that can be carried over.

use super::super::report::Outcome;
use super::values::boolean;

/// What confines a service.
const CONFINEMENT: &[&str] = &[
    "AmbientCapabilities",
    "AppArmorProfile",
    "BindPaths",
    "BindReadOnlyPaths",
    "CapabilityBoundingSet",
    "Capabilities",
    "DeviceAllow",
    "DevicePolicy",
    "ExecPaths",
    "InaccessibleDirectories",
    "InaccessiblePaths",
    "IPAddressAllow",
    "IPAddressDeny",
    "KeyringMode",
    "LockPersonality",
    "MemoryDenyWriteExecute",
    "NoExecPaths",
    "NoNewPrivileges",
    "PrivateDevices",
    "PrivateIPC",
    "PrivateMounts",
    "PrivateNetwork",
    "PrivateTmp",
    "PrivateUsers",
    "ProcSubset",
    "ProtectClock",
    "ProtectControlGroups",
    "ProtectHome",
    "ProtectHostname",
    "ProtectKernelLogs",
    "ProtectKernelModules",
    "ProtectKernelTunables",
    "ProtectProc",
    "ProtectSystem",
    "ReadOnlyDirectories",
    "ReadOnlyPaths",
    "ReadWriteDirectories",
    "ReadWritePaths",
    "RemoveIPC",
    "RestrictAddressFamilies",
    "RestrictFileSystems",
    "RestrictNamespaces",
    "RestrictNetworkInterfaces",
    "RestrictRealtime",
    "RestrictSUIDSGID",
    "SELinuxContext",
    "SecureBits",
    "SmackProcessLabel",
    "SocketBindAllow",
    "SocketBindDeny",
    "SystemCallArchitectures",
    "SystemCallErrorNumber",
    "SystemCallFilter",
    "SystemCallLog",
    "TemporaryFileSystem",
];

/// Keys without consequence here, and why.
const IRRELEVANT: &[(&[&str], &str)] = &[
    (&["Documentation", "SourcePath"], "is for people to read"),
    (
        &["DefaultDependencies"],
        "a service has the dependencies that it names, and no others",
    ),
    (
        &["RequiresMountsFor"],
        "what is mounted at boot is mounted before any service starts",
    ),
    (
        &[
            "IgnoreOnIsolate",
            "IgnoreOnSnapshot",
            "AllowIsolate",
            "CollectMode",
            "OnFailureJobMode",
            "OnFailureIsolate",
        ],
        "is about how systemd treats its jobs, which init has not",
    ),
    (
        &[
            "CPUAccounting",
            "MemoryAccounting",
            "IOAccounting",
            "BlockIOAccounting",
            "TasksAccounting",
            "IPAccounting",
        ],
        "the kernel counts for every service",
    ),
    (
        &["SyslogIdentifier", "LogNamespace"],
        "each service has a log of its own, under its name",
    ),
    (
        &["RootDirectoryStartOnly"],
        "nothing follows from it for what is carried over",
    ),
    (
        &["USBFunctionDescriptors", "USBFunctionStrings"],
        "is for hardware that has no unit here",
    ),
];

/// Keys that are lost, and what follows.
const LOST: &[(&[&str], &str)] = &[
    (
        &["SupplementaryGroups"],
        "its groups are those of its user in group(5): put the user into these",
    ),
    (
        &["CacheDirectory", "LogsDirectory", "ConfigurationDirectory"],
        "init makes no directory in /var/cache, /var/log or /etc: it has to be there",
    ),
    (
        &[
            "CacheDirectoryMode",
            "LogsDirectoryMode",
            "ConfigurationDirectoryMode",
        ],
        "init makes no such directory",
    ),
    (
        &["RuntimeDirectoryPreserve"],
        "a directory in /run is removed when the service has stopped",
    ),
    (
        &["RestartPreventExitStatus", "RestartForceExitStatus"],
        "restart.policy is the same for all bad ends, whatever the status",
    ),
    (
        &["StopWhenUnneeded"],
        "it stays up when nothing needs it any more",
    ),
    (
        &["RefuseManualStart", "RefuseManualStop"],
        "who may start and stop services may do it to this one by hand",
    ),
    (
        &["JobTimeoutSec", "JobRunningTimeoutSec"],
        "no limit of its own is on the wait for others: see start-timeout",
    ),
    (
        &["SurviveFinalKillSignal"],
        "what is left at the end of a shutdown is killed",
    ),
    (
        &["SyslogFacility", "SyslogLevel"],
        "lines have the priority that they say themselves, and no other",
    ),
    (
        &["SyslogLevelPrefix"],
        "`<3>` before a line is its priority here",
    ),
    (&["LogLevelMax"], "lines of every priority are kept"),
    (&["LogExtraFields"], "nothing is added to its lines"),
    (
        &["PermissionsStartOnly"],
        "all of a service runs as one user here, what comes before the program as well",
    ),
    (
        &["NonBlocking"],
        "sockets are handed over as blocking ones here",
    ),
    (
        &[
            "TimeoutStopFailureMode",
            "TimeoutStartFailureMode",
            "FinalKillSignal",
        ],
        "what does not end is killed by SIGKILL here",
    ),
    (
        &["TimeoutAbortSec"],
        "after a missed watchdog, stop.timeout counts",
    ),
    (
        &["SendSIGHUP"],
        "no SIGHUP follows the signal of a stop (stop.signal)",
    ),
    (
        &["TTYReset", "TTYVHangup", "TTYVTDisallocate"],
        "a terminal is taken as it is, and not taken from anybody",
    ),
    (&["UtmpMode"], "nobody is put down as logged in by init"),
    (
        &["PassEnvironment"],
        "init has no variables to pass on: `env` sets those of a service",
    ),
    (
        &["SendSIGKILL"],
        "what is left after stop.timeout is killed",
    ),
    (
        &["RestartKillSignal"],
        "a restart sends the signal of a stop",
    ),
    (
        &[
            "IOSchedulingClass",
            "IOSchedulingPriority",
            "CPUSchedulingPolicy",
            "CPUSchedulingPriority",
            "CPUSchedulingResetOnFork",
            "TimerSlackNSec",
            "NUMAPolicy",
            "NUMAMask",
        ],
        "it is scheduled like any other service",
    ),
    (
        &["IgnoreSIGPIPE"],
        "a signal has its usual meaning when the program begins: SIGPIPE ends it",
    ),
    (
        &["OOMPolicy"],
        "when a process of it is killed for memory, the others go on",
    ),
    (
        &[
            "Slice",
            "CPUShares",
            "StartupCPUWeight",
            "StartupCPUShares",
            "IOWeight",
            "BlockIOWeight",
            "IOReadBandwidthMax",
            "IOWriteBandwidthMax",
            "MemoryLow",
            "MemorySwapMax",
            "ManagedOOMSwap",
            "ManagedOOMMemoryPressure",
            "ManagedOOMPreference",
            "DisableControllers",
            "CPUQuotaPeriodSec",
            "AllowedMemoryNodes",
        ],
        "no key of [cgroup] says it: the kernel's default counts",
    ),
    (
        &[
            "ReloadPropagatedFrom",
            "PropagatesReloadTo",
            "PropagatesStopTo",
            "StopPropagatedFrom",
            "JoinsNamespaceOf",
            "OnSuccess",
        ],
        "no service passes this on to another one here",
    ),
    (
        &[
            "SuccessAction",
            "StartLimitAction",
            "JobTimeoutAction",
            "RebootArgument",
        ],
        "only a service that is left failed has consequences for the machine (on-failure.action)",
    ),
    (
        &["OnClockChange", "OnTimezoneChange"],
        "no service is started because the clock was set",
    ),
    (
        &[
            "FileDescriptorStorePreserve",
            "OpenFile",
            "ExitType",
            "SetLoginEnvironment",
            "PAMName",
            "Personality",
            "CoredumpFilter",
            "UtmpIdentifier",
            "MountAPIVFS",
            "MountFlags",
            "NetworkNamespacePath",
            "IPCNamespacePath",
            "LogFilterPatterns",
            "ExecSearchPath",
            "LoadCredentialEncrypted",
            "SetCredentialEncrypted",
            "ImportCredential",
            "StandardInputText",
            "StandardInputData",
            "ReloadSignal",
        ],
        "no key says it here: look whether the service can do without",
    ),
];

/// Keys of `[Socket]` that are lost.
const LOST_OF_SOCKETS: &[(&[&str], &str)] = &[
    (
        &[
            "ExecStartPre",
            "ExecStartPost",
            "ExecStopPre",
            "ExecStopPost",
        ],
        "nothing is run when a socket is opened or closed",
    ),
    (
        &[
            "KeepAlive",
            "NoDelay",
            "FreeBind",
            "Mark",
            "Priority",
            "SendBuffer",
            "ReceiveBuffer",
            "Symlinks",
            "PassCredentials",
            "PassSecurity",
            "PassPacketInfo",
            "Timestamping",
            "SocketProtocol",
            "BindToDevice",
            "DirectoryMode",
            "Transparent",
            "Broadcast",
            "KeepAliveTimeSec",
            "KeepAliveIntervalSec",
            "KeepAliveProbes",
            "DeferAcceptSec",
            "IPTOS",
            "IPTTL",
            "PipeSize",
            "TCPCongestion",
            "MaxConnections",
            "MaxConnectionsPerSource",
            "Writable",
            "TriggerLimitIntervalSec",
            "TriggerLimitBurst",
            "FlushPending",
            "SmackLabel",
            "SELinuxContextFromNet",
            "TimeoutSec",
            "KillMode",
            "KillSignal",
        ],
        "no key of [sockets] says it: the kernel's default counts",
    ),
];

/// Values that say what is so in any case.
const DEFAULTS: &[(&str, &str)] = &[
    ("FinalKillSignal", "SIGKILL"),
    ("JobTimeoutSec", "infinity"),
    ("JobRunningTimeoutSec", "infinity"),
    ("LogLevelMax", "debug"),
    ("SyslogFacility", "daemon"),
    ("SyslogLevel", "info"),
    ("SyslogLevelPrefix", "yes"),
    ("SyslogLevelPrefix", "true"),
    ("TimeoutStartFailureMode", "terminate"),
    ("TimeoutStopFailureMode", "terminate"),
];

/// What is always true of the key.
pub(super) fn of(section: &str, key: &str, value: &str) -> Option<Outcome> {
    if DEFAULTS.contains(&(key, value)) {
        return Some(Outcome::irrelevant("is so without it"));
    }
    // Of this one it is what changes something.
    let no = boolean(value) == Some(false) && key != "SyslogLevelPrefix";
    if CONFINEMENT.contains(&key) && section != "Unit" {
        return Some(match no {
            true => Outcome::irrelevant("is so without it"),
            false => {
                Outcome::lost("confines the service: here it may see and do all that its user may")
            }
        });
    }
    let has = |(keys, _): &&(&[&str], &str)| keys.contains(&key);
    if let Some((_, why)) = IRRELEVANT.iter().find(has) {
        return Some(Outcome::irrelevant(*why));
    }
    let lost = match section {
        "Socket" => LOST_OF_SOCKETS.iter().find(has),
        _ => None,
    };
    let (_, why) = lost.or_else(|| LOST.iter().find(has))?;
    Some(match no {
        true => Outcome::irrelevant("is so without it"),
        false => Outcome::lost(*why),
    })
}

/// Whether the key confines, and several lines of it add up.
pub(super) fn is_confinement_list(key: &str) -> bool {
    CONFINEMENT.contains(&key)
        && !key.starts_with("Protect")
        && !key.starts_with("Private")
        && key != "NoNewPrivileges"
}
