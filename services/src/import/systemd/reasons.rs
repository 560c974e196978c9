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
            "JobTimeoutSec",
            "JobRunningTimeoutSec",
            "StopWhenUnneeded",
            "RefuseManualStart",
            "RefuseManualStop",
            "OnFailureJobMode",
            "OnFailureIsolate",
            "SurviveFinalKillSignal",
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
        &[
            "SyslogIdentifier",
            "SyslogFacility",
            "SyslogLevel",
            "SyslogLevelPrefix",
            "LogLevelMax",
            "LogExtraFields",
            "LogNamespace",
        ],
        "each service has a log of its own, under its name",
    ),
    (
        &[
            "PermissionsStartOnly",
            "RootDirectoryStartOnly",
            "NonBlocking",
        ],
        "nothing follows from it for what is carried over",
    ),
    (
        &[
            "TimeoutStopFailureMode",
            "TimeoutStartFailureMode",
            "TimeoutAbortSec",
            "FinalKillSignal",
            "SendSIGHUP",
            "TTYReset",
            "TTYVHangup",
            "TTYVTDisallocate",
            "UtmpIdentifier",
            "UtmpMode",
        ],
        "an end that does not come is forced by init in its own way",
    ),
    (
        &["PassEnvironment", "UnsetEnvironment"],
        "a service gets no variables of init's that it could keep or lose",
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

/// What is always true of the key.
pub(super) fn of(section: &str, key: &str, value: &str) -> Option<Outcome> {
    let no = boolean(value) == Some(false);
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
