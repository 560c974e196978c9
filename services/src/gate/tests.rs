//! The rules of the gate, one table each.

use super::*;
use crate::time::Duration;
use proptest::prelude::*;

fn second(at: u64) -> Time {
    Time::default() + Duration::from_secs(at)
}

/// Opened at 2 s, so the deadline of the default settings is at 302 s.
fn gate(needs_scrub: bool) -> Gate {
    Gate::new(GateSettings::default(), needs_scrub, second(2))
}

fn good(since: u64) -> Condition<'static> {
    Condition::Good {
        since: second(since),
    }
}

fn not_up(state: StateName, reason: Option<&'static str>) -> Condition<'static> {
    Condition::NotUp { state, reason }
}

fn essential(name: &'static str, condition: Condition<'static>) -> GateService<'static> {
    GateService {
        name,
        role: BootRole::Essential,
        condition,
        restarts: 0,
        last_failure: None,
    }
}

fn wanted(name: &'static str, condition: Condition<'static>) -> GateService<'static> {
    GateService {
        role: BootRole::Wanted,
        ..essential(name, condition)
    }
}

/// A target that has not settled: one service of it, and the target itself.
fn view(services: &[GateService<'static>]) -> GateView<'static> {
    GateView {
        target: "default",
        settled: None,
        pending: 2,
        pending_name: Some("slow"),
        services: services.to_vec(),
    }
}

fn settled(at: u64, services: &[GateService<'static>]) -> GateView<'static> {
    GateView {
        settled: Some(second(at)),
        pending: 0,
        pending_name: None,
        ..view(services)
    }
}

fn commit() -> Option<Verdict> {
    Some(Verdict::Commit(GateReport::default()))
}

fn fail(reason: &str) -> Option<Verdict> {
    let reason = reason.to_owned();
    Some(Verdict::Fail { reason })
}

/// What a gate that was opened at 2 s says of `view` at `at` seconds.
#[track_caller]
#[allow(
    clippy::needless_pass_by_value,
    reason = "the tables below read better without borrows"
)]
fn check(view: &GateView<'_>, at: u64, expect: Option<Verdict>) {
    assert_eq!(gate(false).update(view, second(at)), expect, "at {at} s");
}

#[test]
fn all_that_is_essential_is_good_for_the_whole_soak() {
    let both = view(&[essential("api", good(20)), essential("db", good(5))]);
    check(&both, 20, None);
    check(&both, 29, None);
    check(&both, 30, commit());
    let one = |condition| view(&[essential("api", good(5)), essential("db", condition)]);
    for condition in [
        Condition::Unproven,
        Condition::Unhealthy { words: "no" },
        Condition::Waiting {
            on: "net",
            why: None,
        },
        not_up(StateName::Starting, None),
        not_up(StateName::Backoff, Some("it exited with status 1")),
        not_up(StateName::Stopping, None),
        not_up(StateName::Down, Some("it was stopped by request")),
    ] {
        check(&one(condition), 301, None);
    }
}

#[test]
fn the_target_need_not_have_settled_when_something_is_essential() {
    check(&view(&[essential("api", good(3))]), 13, commit());
    check(&settled(40, &[essential("api", good(3))]), 41, commit());
}

#[test]
fn with_nothing_essential_the_target_has_settled() {
    check(&view(&[]), 100, None);
    check(&settled(20, &[]), 29, None);
    check(&settled(20, &[]), 30, commit());
    check(&settled(20, &[wanted("ntp", good(25))]), 30, commit());
}

#[test]
fn whoever_flaps_starts_the_soak_anew() {
    let mut gate = gate(false);
    let mut look = |condition, at| gate.update(&view(&[essential("api", condition)]), second(at));
    assert_eq!(look(good(3), 12), None);
    assert_eq!(look(not_up(StateName::Backoff, None), 12), None);
    assert_eq!(look(good(13), 14), None);
    assert_eq!(look(Condition::Unhealthy { words: "no" }, 22), None);
    assert_eq!(look(good(24), 33), None);
    // Down and up again between two looks.
    assert_eq!(look(good(33), 34), None);
    assert_eq!(look(good(33), 43), commit());
}

#[test]
fn a_verdict_is_told_once() {
    let mut gate = gate(false);
    let view = view(&[essential("api", good(3))]);
    assert!(!gate.told());
    assert_eq!(gate.update(&view, second(13)), commit());
    assert!(gate.told());
    assert_eq!(gate.update(&view, second(14)), None);
    assert_eq!(gate.poll_timeout(), None);
    assert_eq!(gate.waiting(&view, second(14)), [""; 0]);
}

#[test]
fn an_essential_service_that_has_failed_for_good_fails_the_boot_at_once() {
    let failed = Condition::Failed {
        cause: "it exited with status 1",
        blame: None,
    };
    let starting = not_up(StateName::Starting, None);
    let services = [essential("a", starting), essential("api", failed)];
    check(
        &view(&services),
        3,
        fail("api failed: exited with status 1"),
    );
    // Even where the soak would be over in the same moment.
    let services = [essential("a", good(2)), essential("api", failed)];
    check(
        &settled(2, &services),
        12,
        fail("api failed: exited with status 1"),
    );
}

#[test]
fn the_service_at_the_root_of_a_failure_is_named() {
    let failed = Condition::Failed {
        cause: "db, which it requires, failed",
        blame: Some(("db", "it exited with status 1")),
    };
    let expect = fail("api failed: db failed: exited with status 1");
    check(&view(&[essential("api", failed)]), 3, expect);
}

#[test]
fn what_is_wanted_is_reported_and_never_decides() {
    let failed = Condition::Failed {
        cause: "it exited with status 1",
        blame: None,
    };
    let waits = Condition::Waiting {
        on: "net",
        why: None,
    };
    let masked = GateService {
        role: BootRole::Masked,
        ..essential("old", good(3))
    };
    let services = [
        essential("api", good(3)),
        wanted("dhcp", failed),
        wanted("lamp", good(3)),
        wanted("ntp", waits),
        masked,
    ];
    let wanted_failing = [
        "dhcp: failed: exited with status 1",
        "ntp: waits for net",
        "old: masked",
    ];
    let report = GateReport {
        wanted_failing: wanted_failing.map(str::to_owned).to_vec(),
        fell_back: None,
    };
    check(&view(&services), 13, Some(Verdict::Commit(report)));
    check(&view(&services), 12, None);
}

#[test]
fn without_its_own_services_a_boot_fails() {
    let mut gate = gate(false);
    let nothing = GateView::default();
    assert_eq!(gate.update(&nothing, second(3)), None);
    gate.refuse("the service files have mistakes");
    let expect = fail("no services: the service files have mistakes");
    assert_eq!(gate.update(&settled(1, &[]), second(60)), expect);
}

#[test]
fn a_refused_file_of_the_administrator_is_reported_and_fails_nothing() {
    let mut gate = gate(false);
    gate.fell_back("/etc/shark/services/x.toml:1:1: key `exce`");
    let view = view(&[essential("api", good(3))]);
    let Some(Verdict::Commit(report)) = gate.update(&view, second(13)) else {
        panic!("the boot is good");
    };
    let why = report.fell_back.unwrap();
    assert!(why.starts_with("/etc/shark/services/x.toml"));
}

#[test]
fn the_root_is_read_whole_where_that_is_asked_for() {
    let view = view(&[essential("api", good(3))]);
    let mut gate = gate(true);
    assert_eq!(gate.update(&view, second(13)), None);
    assert_eq!(gate.poll_timeout(), Some(second(302)));
    assert_eq!(
        gate.waiting(&view, second(13)),
        ["root: it is being read whole"]
    );
    gate.scrubbed(Ok(()));
    assert_eq!(gate.update(&view, second(14)), commit());

    let mut gate = self::gate(true);
    gate.scrubbed(Ok(()));
    assert_eq!(gate.update(&view, second(12)), None, "the soak is not over");

    let mut gate = self::gate(true);
    gate.scrubbed(Err("block 7: Input/output error".into()));
    let expect = fail("root not read whole: block 7: Input/output error");
    assert_eq!(gate.update(&view, second(4)), expect);

    let mut gate = self::gate(true);
    assert_eq!(gate.update(&view, second(301)), None);
    let expect = fail("root not read whole within 5min");
    assert_eq!(gate.update(&view, second(302)), expect);
}

#[test]
fn the_settings_come_with_the_files() {
    let view = view(&[essential("api", good(3))]);
    let settings = GateSettings {
        deadline: Duration::from_secs(20),
        soak: Duration::from_secs(1),
        scrub: true,
    };
    let mut gate = gate(false);
    gate.configure(settings, true);
    assert_eq!(gate.deadline(), second(22));
    assert_eq!(gate.update(&view, second(4)), None);
    gate.scrubbed(Ok(()));
    gate.configure(settings, true);
    assert_eq!(gate.update(&view, second(5)), commit());
    // stage1 has read it already.
    let mut gate = self::gate(true);
    gate.configure(settings, false);
    assert_eq!(gate.update(&view, second(4)), commit());
}

#[test]
fn the_deadline_counts_from_the_opening() {
    let waits = view(&[essential("api", not_up(StateName::Starting, None))]);
    check(&waits, 301, None);
    check(&waits, 302, fail("api not ready within 5min: starting"));
    // A soak that ends with the deadline counts; one that would end after it does not, however
    // late somebody looks.
    check(&view(&[essential("api", good(292))]), 302, commit());
    check(&view(&[essential("api", good(292))]), 900, commit());
    let late = view(&[essential("api", good(293))]);
    check(
        &late,
        302,
        fail("api not good for 10s within 5min: it came up too late"),
    );
    check(
        &late,
        900,
        fail("api not good for 10s within 5min: it came up too late"),
    );
    check(
        &settled(293, &[]),
        302,
        fail("settled too late for 10s of soak within 5min"),
    );
}

#[test]
fn reasons_name_who_was_waited_for() {
    let overdue = |service: GateService<'static>, expect: &str| {
        check(&view(&[service]), 302, fail(expect));
        assert!(expect.len() <= 72, "{expect}");
    };
    let with = |condition, restarts, last_failure| GateService {
        restarts,
        last_failure,
        ..essential("api", condition)
    };
    let starting = not_up(StateName::Starting, None);
    let backoff = not_up(StateName::Backoff, Some("it exited with status 1"));
    let code = Some("it exited with status 1");
    overdue(
        with(starting, 0, None),
        "api not ready within 5min: starting",
    );
    overdue(
        with(starting, 7, code),
        "api not ready within 5min: exited with status 1, 7 restarts",
    );
    overdue(
        with(backoff, 1, code),
        "api not ready within 5min: exited with status 1, 1 restart",
    );
    overdue(
        with(Condition::Unproven, 0, None),
        "api not ready within 5min: its health is not known yet",
    );
    overdue(
        with(
            Condition::Unhealthy {
                words: "it exited with status 3",
            },
            2,
            None,
        ),
        "api not ready within 5min: unhealthy: exited with status 3, 2 restarts",
    );
    overdue(
        with(
            Condition::Waiting {
                on: "db",
                why: code,
            },
            0,
            None,
        ),
        "api not ready within 5min: waits for db: exited with status 1",
    );
    overdue(
        with(
            not_up(StateName::Down, Some("it was stopped by request")),
            0,
            None,
        ),
        "api not ready within 5min: was stopped by request",
    );
    overdue(
        with(good(300), 9, code),
        "api not good for 10s within 5min: exited with status 1, 9 restarts",
    );
}

#[test]
fn a_reason_that_is_not_of_one_service_says_how_many() {
    let starting = not_up(StateName::Starting, None);
    let three = ["a", "b", "c"].map(|name| essential(name, starting));
    check(
        &view(&three),
        302,
        fail("a not ready within 5min: starting (and 2 more)"),
    );
    check(
        &view(&[]),
        302,
        fail("not settled within 5min: default: waits for slow"),
    );
    let none = fail("not settled within 5min: the service files are being read");
    check(&GateView::default(), 302, none);
}

#[test]
fn a_reason_is_one_line_whatever_a_program_says() {
    let failed = Condition::Failed {
        cause: "it said\nno\x1b[2J",
        blame: None,
    };
    check(
        &view(&[essential("api", failed)]),
        3,
        fail("api failed: said no [2J"),
    );
}

#[test]
fn what_is_waited_for_is_told() {
    let told = |view: &GateView<'static>, at: u64| {
        let mut gate = gate(false);
        assert_eq!(gate.update(view, second(at)), None);
        gate.waiting(view, second(at))
    };
    assert_eq!(
        told(&GateView::default(), 3),
        ["the service files are being read"]
    );
    let starting = not_up(StateName::Starting, None);
    let services = [essential("api", starting), essential("db", good(3))];
    assert_eq!(told(&view(&services), 4), ["api: starting"]);
    assert_eq!(
        told(&view(&[essential("db", good(3))]), 4),
        ["soak: all of it good for 10s"]
    );
    assert_eq!(told(&view(&[]), 4), ["default: waits for slow"]);
    let many = GateView {
        pending: 5,
        ..view(&[])
    };
    assert_eq!(told(&many, 4), ["default: waits for slow and 3 more"]);
    assert_eq!(told(&settled(4, &[]), 5), ["soak: all of it good for 10s"]);
}

#[test]
fn the_next_look_is_due_when_time_alone_changes_something() {
    let due = |view: &GateView<'static>| {
        let mut gate = gate(false);
        assert_eq!(gate.update(view, second(4)), None);
        gate.poll_timeout()
    };
    assert_eq!(due(&GateView::default()), Some(second(302)));
    assert_eq!(due(&view(&[essential("api", good(3))])), Some(second(13)));
    assert_eq!(due(&settled(4, &[])), Some(second(14)));
    assert_eq!(
        due(&view(&[essential("api", Condition::Unproven)])),
        Some(second(302))
    );
}

/// Any condition, with times up to 400 s.
fn condition() -> impl Strategy<Value = Condition<'static>> {
    prop_oneof![
        4 => (0u64..400).prop_map(good),
        1 => Just(Condition::Unproven),
        1 => Just(Condition::Unhealthy { words: "no" }),
        1 => Just(not_up(StateName::Starting, None)),
        1 => Just(Condition::Failed { cause: "it ended", blame: None }),
    ]
}

fn is_fail(verdict: Option<&Verdict>) -> bool {
    matches!(verdict, Some(Verdict::Fail { .. }))
}

proptest! {
    /// However often and whenever one looks, the verdict is the one that the rules give, and a gate
    /// that says when it wants to be asked is never late.
    #[test]
    fn verdicts_follow_from_the_view_alone(
        conditions in prop::collection::vec((condition(), 0u8..3), 0..4),
        at in 0u64..400,
        scrubbed in prop::option::of(any::<bool>()),
    ) {
        let roles = [BootRole::Essential, BootRole::Wanted, BootRole::Masked];
        let services: Vec<GateService<'static>> = conditions
            .iter()
            .map(|(condition, role)| GateService {
                role: roles[usize::from(*role)],
                ..essential("api", *condition)
            })
            .collect();
        let mut gate = gate(scrubbed.is_some());
        if let Some(good) = scrubbed {
            gate.scrubbed(if good { Ok(()) } else { Err("no".into()) });
        }
        let decisive = || services.iter().filter(|it| it.role == BootRole::Essential);
        let failed = decisive().any(|it| matches!(it.condition, Condition::Failed { .. }));
        let since = decisive().map(super::good).collect::<Option<Vec<_>>>();
        let since = since.and_then(|all| all.into_iter().max());
        let soaked = since.map(|since| since + Duration::from_secs(10));
        let good = soaked.is_some_and(|end| end <= second(at) && end <= second(302));
        let verdict = gate.update(&view(&services), second(at));
        if failed || scrubbed == Some(false) {
            prop_assert!(is_fail(verdict.as_ref()));
        } else if good {
            prop_assert!(verdict.is_some() && !is_fail(verdict.as_ref()));
        } else if at >= 302 {
            prop_assert!(is_fail(verdict.as_ref()));
        } else {
            prop_assert_eq!(verdict, None);
            prop_assert!(gate.poll_timeout().is_some_and(|next| next > second(at)));
        }
    }
}
