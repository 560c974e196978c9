//! Seeds become scripts: services, operations at points in time, and the kernel's seed.

use std::path::PathBuf;
use std::time::Duration;

use fastrand::Rng;
use services::begin::{Begin, Condition, Test};
use services::definition::{
    BootRole, Burst, CgroupLimits, Definition, FailureAction, Health, Kind, Probe, Program, Ready,
    Relations, Reload, Restart, RestartPolicy, Signal, Stop, StopScope, Timer, Watchdog,
};
use services::gate::GateSettings;
use services::graph::Graph;
use services::id::ServiceName;
use services::log::limit::OwnLimit;
use services::status::ShutdownKind;

use crate::sockets::sockets;

/// What happens from outside.
#[derive(Clone, Debug)]
pub(crate) enum Operation {
    Start(ServiceName),
    Stop(ServiceName),
    /// With what it has left.
    StopAll(ServiceName),
    Restart(ServiceName),
    Reload(ServiceName),
    WaitBoot,
    /// The client of the latest request goes away.
    Forget,
    /// Other service files: those of this seed.
    Replace(Vec<Definition>),
    Shutdown(ShutdownKind),
    /// The main process dies.
    Crash(ServiceName),
    /// Main processes of all services die at once.
    Storm,
    /// Something told late, of a run that is no more.
    Stale(ServiceName),
    /// The service says something by sd_notify.
    Say(ServiceName, u8),
    /// The OOM killer.
    OutOfMemory(ServiceName),
    /// The machine sleeps for so long: its clock jumps.
    Suspend(Duration),
    /// A reading of the clock that is so much too early.
    ClockBack(Duration),
    /// The clock of the machine is set, so many seconds ahead.
    SetClock(i64),
    /// No memory and no descriptors are left for so long.
    Starve(Duration),
}

/// A whole run, replayable.
#[derive(Clone, Debug)]
pub(crate) struct Script {
    pub(crate) kernel_seed: u64,
    pub(crate) services: Vec<Definition>,
    pub(crate) operations: Vec<(Duration, Operation)>,
    pub(crate) gate: GateSettings,
}

/// A program that cannot be executed, until everything works.
pub(crate) const BROKEN: &str = "/bin/broken";

pub(crate) fn name(index: u8) -> ServiceName {
    ServiceName::new(&format!("s{index}")).unwrap()
}

fn program(rng: &mut Rng) -> Box<Program> {
    Box::new(Program {
        exec: vec!["/bin/true".into()],
        pid_file: None,
        reload: match rng.u8(0..3) {
            0 => None,
            1 => Some(Reload::Signal(Signal::Hup)),
            _ => Some(Reload::Command(vec!["/bin/reload".into()])),
        },
        begin: begin(rng),
        ready: None,
        health: (rng.u8(0..3) == 0).then(|| Health {
            probe: Probe::Exec(vec!["/bin/probe".into()]),
            interval: Duration::from_millis(rng.u64(500..9000)),
            timeout: Duration::from_millis(rng.u64(100..3000)),
            failures: rng.u32(1..4),
            delay: Duration::from_millis(rng.u64(0..2000)),
        }),
        watchdog: Watchdog {
            timeout: (rng.u8(0..4) == 0).then(|| Duration::from_millis(rng.u64(300..6000))),
            ..Watchdog::default()
        },
        fd_store_max: 0,
        log: OwnLimit::default(),
        account: None,
        environment: Vec::new(),
        working_dir: PathBuf::from("/"),
        umask: 0o22,
        nice: None,
        oom_score_adj: 0,
        runtime_dirs: Vec::new(),
        state_dirs: Vec::new(),
        tty: None,
        cgroup: CgroupLimits::default(),
        limits: Vec::new(),
    })
}

/// The path of a condition that always holds, that never does, and that does every other time.
pub(crate) const PATHS: [&str; 3] = ["/always", "/never", "/sometimes"];

fn begin(rng: &mut Rng) -> Begin {
    let path = PATHS.get(rng.usize(0..18));
    let condition = |path: &&str| Condition {
        test: Test::Path(path.into()),
        negated: false,
    };
    Begin {
        conditions: path.map(condition).into_iter().collect(),
        ..Begin::default()
    }
}

fn ready(rng: &mut Rng) -> Option<Ready> {
    match rng.u8(0..6) {
        0 | 1 => Some(Ready::Probe {
            probe: Probe::Path("/run/there".into()),
            interval: Duration::from_millis(rng.u64(1..2000)),
            timeout: Duration::from_millis(rng.u64(100..3000)),
        }),
        2 => Some(Ready::Line(3)),
        _ => None,
    }
}

fn restart(rng: &mut Rng) -> Restart {
    let milli = Duration::from_millis;
    let success: &[u8] = match rng.u8(0..5) {
        0 => &[3],
        1 => &[5],
        _ => &[],
    };
    Restart {
        policy: match rng.u8(0..10) {
            0 | 1 => RestartPolicy::Never,
            2 | 3 => RestartPolicy::Always,
            4 => RestartPolicy::OnAbnormal,
            5 => RestartPolicy::OnSuccess,
            _ => RestartPolicy::OnFailure,
        },
        delay: match rng.u8(0..8) {
            0 => Duration::ZERO,
            _ => milli(rng.u64(1..500)),
        },
        max_delay: milli(rng.u64(500..9000)),
        jitter: match rng.u8(0..4) {
            0 => rng.u8(1..101),
            _ => 0,
        },
        reset_after: milli(rng.u64(100..9000)),
        max_failures: rng.bool().then(|| rng.u32(1..6)),
        burst: (rng.u8(0..5) == 0).then(|| Burst {
            starts: rng.u8(1..5),
            within: milli(rng.u64(500..20_000)),
        }),
        success: success.into(),
    }
}

/// With points of the calendar each so many seconds.
fn timer(rng: &mut Rng) -> Timer {
    let which = rng.u8(1..8);
    let step = [2, 5, 10, 15, 20, 30][rng.usize(0..6)];
    let calendar = format!("*:*:0/{step}").parse();
    Timer {
        on_boot: (which & 1 > 0).then(|| Duration::from_millis(rng.u64(1..20_000))),
        every: (which & 2 > 0).then(|| Duration::from_millis(rng.u64(2000..30_000))),
        calendar: calendar.into_iter().filter(|_| which & 4 > 0).collect(),
        persistent: which & 4 > 0 && rng.bool(),
        random_delay: match rng.u8(0..3) {
            0 if which & 5 > 0 => Duration::from_secs(rng.u64(1..12)),
            _ => Duration::ZERO,
        },
    }
}

fn failure_action(rng: &mut Rng) -> FailureAction {
    match rng.u8(0..40) {
        0 => FailureAction::Reboot,
        1 => FailureAction::Poweroff,
        2 => FailureAction::BootBad,
        _ => FailureAction::None,
    }
}

fn definition(rng: &mut Rng, index: u8) -> Definition {
    let kind = match rng.u8(0..11) {
        0 => Kind::Target,
        1..5 => Kind::Simple(Box::new(Program {
            ready: ready(rng),
            ..*program(rng)
        })),
        5..8 => Kind::Notify(program(rng)),
        8 => Kind::Forking(program(rng)),
        _ => Kind::Oneshot(Box::new(Program {
            health: None,
            watchdog: Watchdog::default(),
            ..*program(rng)
        })),
    };
    let mut relations = Relations::default();
    for other in 0..index {
        match rng.u8(0..16) {
            0 | 1 => relations.requires.push(name(other)),
            2 => relations.wants.push(name(other)),
            3 => relations.after.push(name(other)),
            4 => relations.binds_to.push(name(other)),
            5 => relations.part_of.push(name(other)),
            _ => {}
        }
    }
    if rng.u8(0..10) < 7 {
        relations
            .wanted_by
            .push(ServiceName::new("default").unwrap());
    }
    // A role only for those that the boot target is certain to bring up.
    let role = match (relations.wanted_by.is_empty(), rng.u8(0..6)) {
        (false, 0) => BootRole::Essential,
        (false, 1) => BootRole::Wanted,
        _ => BootRole::None,
    };
    let restart = restart(rng);
    let program = kind.program().is_some() && restart.policy != RestartPolicy::Always;
    let timer = (program && rng.u8(0..9) == 0).then(|| Box::new(timer(rng)));
    // It would be started again at once, and so without end.
    let timer = timer.filter(|_| restart.policy != RestartPolicy::OnSuccess);
    let role = timer.as_ref().map_or(role, |_| BootRole::None);
    let sockets = sockets(rng, kind.program().is_some());
    let stays = timer.is_none() && !matches!(kind, Kind::Oneshot(_));
    let lazy = stays && !sockets.is_empty() && !index.is_multiple_of(2);
    let milli = Duration::from_millis;
    Definition {
        name: name(index),
        description: String::new(),
        source: format!("s{index}.toml"),
        kind,
        relations,
        restart,
        failure_action: failure_action(rng),
        start_timeout: milli(rng.u64(500..9000)),
        timer,
        sockets,
        lazy,
        stop: Stop {
            signal: Signal::Term,
            timeout: milli(rng.u64(100..9000)),
            scope: match rng.u8(0..4) {
                0 if index.is_multiple_of(2) => StopScope::Main,
                _ => StopScope::Cgroup,
            },
        },
        boot: role,
        gate: None,
        masked: None,
    }
}

/// Some services; with conflicts, where the graph allows them.
fn services(rng: &mut Rng) -> Vec<Definition> {
    let count = rng.u8(1..11);
    let skipped = rng.u8(0..30);
    let mut plain: Vec<Definition> = (0..count).map(|index| definition(rng, index)).collect();
    for index in 0..count {
        let (whole, helper) = (rng.u8(0..count * 6), rng.u8(0..count * 4));
        let relations = &mut plain[usize::from(index)].relations;
        // Nothing is part of what requires it.
        if whole < index {
            relations.part_of.push(name(whole));
        }
        if helper < count && helper != index {
            relations.on_failure.push(name(helper));
        }
    }
    if count > 1 && rng.u8(0..12) == 0 {
        let first = rng.u8(0..count - 1);
        fail_in_a_circle(&mut plain, first, first + 1);
    }
    let mut rivals = plain.clone();
    if count > 1 && rng.u8(0..3) == 0 {
        let (a, b) = (rng.u8(0..count), rng.u8(0..count));
        rivals[usize::from(a)].relations.conflicts.push(name(b));
        // Only one of the two is brought up at boot.
        rivals[usize::from(b)].relations.wanted_by.clear();
        rivals[usize::from(b)].boot = BootRole::None;
    }
    let chosen = match Graph::from_definitions(rivals.clone()) {
        Ok(_) => rivals,
        Err(_) => plain,
    };
    if skipped < count {
        return without(&chosen, &name(skipped));
    }
    chosen
}

/// Two that cannot start, and start each other when they are left failed.
fn fail_in_a_circle(services: &mut [Definition], a: u8, b: u8) {
    for (one, other) in [(a, b), (b, a)] {
        let service = &mut services[usize::from(one)];
        service.relations.requires.clear();
        service.relations.binds_to.clear();
        service.relations.on_failure = vec![name(other)];
        service.restart.policy = RestartPolicy::Never;
        if let Kind::Simple(program)
        | Kind::Notify(program)
        | Kind::Oneshot(program)
        | Kind::Forking(program) = &mut service.kind
        {
            program.exec = vec![BROKEN.into()];
        }
    }
}

fn without(services: &[Definition], gone: &ServiceName) -> Vec<Definition> {
    let mut rest: Vec<Definition> = services.to_vec();
    rest.retain(|service| service.name != *gone);
    for service in &mut rest {
        let relations = &mut service.relations;
        for names in [
            &mut relations.requires,
            &mut relations.wants,
            &mut relations.after,
            &mut relations.before,
            &mut relations.conflicts,
            &mut relations.binds_to,
            &mut relations.part_of,
            &mut relations.on_failure,
        ] {
            names.retain(|name| name != gone);
        }
    }
    rest
}

fn operation(rng: &mut Rng, services: &[Definition]) -> Operation {
    let who = name(rng.u8(0..11));
    match rng.u8(0..49) {
        0..6 => Operation::Start(who),
        6..12 => Operation::Stop(who),
        12..17 => Operation::Restart(who),
        17..20 => Operation::Reload(who),
        20 => Operation::WaitBoot,
        21 => Operation::Forget,
        22..25 => {
            // Mostly the same services, some of them changed, gone or new.
            let fresh = self::services(rng);
            let mut mixed = services.to_vec();
            for service in fresh {
                if rng.bool() {
                    mixed.retain(|old| old.name != service.name);
                    mixed.push(service);
                }
            }
            let mixed = if rng.bool() {
                without(&mixed, &who)
            } else {
                mixed
            };
            Operation::Replace(mixed)
        }
        25..31 => Operation::Crash(who),
        31 => Operation::Storm,
        32..35 => Operation::Stale(who),
        35..41 => Operation::Say(who, rng.u8(0..14)),
        41 => Operation::OutOfMemory(who),
        42 => Operation::Suspend(Duration::from_secs(rng.u64(1..4000))),
        43 => Operation::ClockBack(Duration::from_millis(rng.u64(1..9000))),
        47 => Operation::SetClock(match rng.u8(0..3) {
            0 => rng.i64(-20_000..20_000),
            _ => rng.i64(-60..60),
        }),
        44 => Operation::Starve(Duration::from_millis(rng.u64(1..9000))),
        45 | 46 => Operation::StopAll(who),
        _ => Operation::Shutdown(ShutdownKind::Reboot),
    }
}

impl Script {
    pub(crate) fn generate(seed: u64) -> Self {
        let mut rng = Rng::with_seed(seed);
        let services = services(&mut rng);
        let mut at = Duration::ZERO;
        let mut operations = Vec::new();
        for _ in 0..rng.usize(0..60) {
            // In bursts, and with long pauses.
            at += Duration::from_micros(match rng.u8(0..4) {
                0 => 0,
                1 => rng.u64(0..2_000),
                2 => rng.u64(0..500_000),
                _ => rng.u64(0..5_000_000),
            });
            operations.push((at, operation(&mut rng, &services)));
        }
        Self {
            kernel_seed: rng.u64(..),
            services,
            operations,
            gate: GateSettings {
                deadline: Duration::from_secs(rng.u64(5..120)),
                soak: Duration::from_millis(rng.u64(0..5000)),
                scrub: false,
            },
        }
    }

    pub(crate) fn names(&self) -> Vec<ServiceName> {
        self.services.iter().map(|s| s.name.clone()).collect()
    }

    /// The same run without one service.
    pub(crate) fn without(&self, gone: &ServiceName) -> Self {
        let mut script = self.clone();
        script.services = without(&self.services, gone);
        for (_, operation) in &mut script.operations {
            if let Operation::Replace(services) = operation {
                *services = without(services, gone);
            }
        }
        script
    }

    pub(crate) fn describe_services(&self) -> String {
        describe(&self.services)
    }

    pub(crate) fn describe_operations(&self) -> String {
        let lines = self.operations.iter().map(|(at, operation)| {
            let what = match operation {
                Operation::Replace(services) => format!("Replace\n{}", describe(services)),
                other => format!("{other:?}"),
            };
            format!("  {at:?} {what}")
        });
        lines.collect::<Vec<_>>().join("\n")
    }
}

fn describe(services: &[Definition]) -> String {
    let lines = services.iter().map(|service| {
        let kind = match &service.kind {
            Kind::Target => "target",
            Kind::Simple(_) => "simple",
            Kind::Notify(_) => "notify",
            Kind::Oneshot(_) => "oneshot",
            Kind::Forking(_) => "forking",
        };
        let r = &service.relations;
        let list = |names: &[ServiceName]| {
            let names: Vec<&str> = names.iter().map(ServiceName::as_str).collect();
            names.join(" ")
        };
        format!(
            "    {} {kind} {:?} {:?} {:?} requires[{}] binds-to[{}] part-of[{}] wants[{}] after[{}] conflicts[{}] wanted-by[{}] on-failure[{}] {:?} {:?} {:?} stop {:?}",
            service.name,
            service.boot,
            service.kind.program().and_then(|it| it.ready.as_ref()),
            service.kind.program().and_then(|it| it.health.as_ref()),
            list(&r.requires),
            list(&r.binds_to),
            list(&r.part_of),
            list(&r.wants),
            list(&r.after),
            list(&r.conflicts),
            list(&r.wanted_by),
            list(&r.on_failure),
            service.timer,
            service.failure_action,
            service.restart,
            service.stop,
        )
    });
    lines.collect::<Vec<_>>().join("\n")
}
