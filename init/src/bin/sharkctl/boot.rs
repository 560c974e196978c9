//! `boot`: how the machine came up, how long it took, what it lacks; and waiting for it to be done. Not
//! here: finding any of it out (stage1 and init do).

use serde_json::{Value, json};
use services::control::{BootInfo, BootMode, BootState, GateInfo, GateState, Reply, Request};

use crate::Context;
use crate::client::{Client, unexpected_reply};
use crate::failure::{Failure, count};
use crate::quantity::{seconds, span};
use crate::screen::Screen;
use crate::table::{Align, Table, printable};
use crate::waiting::{ask, await_reply, describe_boot, describe_gate};

/// `boot` and `boot info`.
pub(crate) fn info(context: &Context, screen: &mut Screen<'_>) -> Result<(), Failure> {
    let boot = ask_boot(context, screen)?;
    if screen.json {
        screen.print_json(&to_json(&boot))
    } else {
        screen.print(for_people(&boot, (context.boottime_us)()))
    }
}

/// `boot wait`: for the verdict, or where there will be none, for the services.
pub(crate) fn wait(context: &Context, screen: &mut Screen<'_>) -> Result<(), Failure> {
    let boot = ask_boot(context, screen)?;
    match boot.gate.map(|gate| gate.state) {
        None | Some(GateState::None) => return wait_settled(context, screen),
        Some(GateState::Open | GateState::Passed | GateState::Failed) => {}
    }
    let patience = context.patience();
    let mut client = Client::call(patience.socket, Request::WaitGate)?;
    let mut what = || describe_gate(patience.socket);
    let reply = await_reply(&mut client, patience.limit, screen, &mut what)?;
    let Reply::Gate { committed, reason } = reply else {
        return Err(unexpected_reply());
    };
    if screen.json {
        screen.print_json(&json!({ "committed": committed, "reason": reason }))?;
    }
    if committed {
        return Ok(());
    }
    let reason = reason.as_deref().unwrap_or("init does not say why");
    Err(Failure::Failed(format!(
        "this boot is not good: {}",
        printable(reason)
    )))
}

/// `boot wait --settled`.
pub(crate) fn wait_settled(context: &Context, screen: &mut Screen<'_>) -> Result<(), Failure> {
    let patience = context.patience();
    let mut client = Client::call(patience.socket, Request::WaitBoot)?;
    let mut what = || describe_boot(patience.socket);
    let reply = await_reply(&mut client, patience.limit, screen, &mut what)?;
    let Reply::BootFailed { failed } = reply else {
        return Err(unexpected_reply());
    };
    if screen.json {
        screen.print_json(&json!({ "failed": failed }))?;
    }
    if failed.is_empty() {
        return Ok(());
    }
    Err(Failure::Failed(format!(
        "the boot is done, but {} failed: {}; `sharkctl status` tells why",
        count(failed.len(), "service"),
        printable(&failed.join(", "))
    )))
}

/// Asks init how the machine came up.
pub(crate) fn ask_boot(context: &Context, screen: &mut Screen<'_>) -> Result<BootInfo, Failure> {
    match ask(context.patience(), screen, Request::Boot)? {
        Reply::Boot { boot } => Ok(*boot),
        _ => Err(unexpected_reply()),
    }
}

/// The shape that `--json` prints: every key is there, in camel case; what is absent is null.
pub(crate) fn to_json(boot: &BootInfo) -> Value {
    let timings: Vec<Value> = boot
        .timings
        .iter()
        .map(|step| json!({ "name": step.name, "us": step.us }))
        .collect();
    json!({
        "state": boot.state,
        "target": boot.target,
        "failed": boot.failed,
        "mode": boot.mode,
        "slot": boot.slot,
        "why": boot.why,
        "version": boot.version,
        "rootHash": boot.root_hash,
        "kernel": boot.kernel,
        "timings": timings,
        "missing": boot.missing,
        "gate": boot.gate,
        "committed": boot.committed,
        "trial": boot.trial,
        "bootNumber": boot.boot_number,
        "watchdog": boot.watchdog,
    })
}

/// The word for a state of the boot.
pub(crate) const fn state_word(state: BootState) -> &'static str {
    match state {
        BootState::Starting => "starting",
        BootState::Ready => "ready",
        BootState::Degraded => "degraded",
    }
}

const fn mode_text(mode: BootMode) -> &'static str {
    match mode {
        BootMode::Disk => "disk (verified slot)",
        BootMode::Initramfs => "initramfs (everything in memory)",
        BootMode::Direct => "direct (ordinary root)",
        BootMode::Container => "container (PID namespace)",
    }
}

fn for_people(boot: &BootInfo, now_us: u64) -> String {
    let mut text = String::new();
    let mut line = |key: &str, value: &str| {
        if !value.is_empty() {
            text.push_str(&format!("{key:>9}: {}\n", printable(value)));
        }
    };
    line(
        "state",
        &format!("{}, target {}", state_word(boot.state), boot.target),
    );
    line("failed", &boot.failed.join(", "));
    if let Some(gate) = &boot.gate {
        line("gate", &gate_text(gate, now_us));
        for waiting in &gate.waiting {
            line("waits for", waiting);
        }
        for wanted in &gate.wanted_failing {
            line("wanted", wanted);
        }
        for slow in &gate.slow {
            line("slow", slow);
        }
    }
    line("mode", mode_text(boot.mode));
    match &boot.slot {
        Some(slot) => line("slot", &slot_text(slot, boot)),
        None => line("why", &boot.why),
    }
    line(
        "boot",
        &boot
            .boot_number
            .map_or_else(String::new, |it| it.to_string()),
    );
    line("version", boot.version.as_deref().unwrap_or_default());
    line("root hash", boot.root_hash.as_deref().unwrap_or_default());
    line("kernel", &boot.kernel);
    line("watchdog", boot.watchdog.as_deref().unwrap_or_default());
    for missing in &boot.missing {
        line("missing", missing);
    }
    if !boot.timings.is_empty() {
        text.push('\n');
        text.push_str(&timings_table(boot));
    }
    text
}

/// `b, on trial: slot a has no tries left`
fn slot_text(slot: &str, boot: &BootInfo) -> String {
    let standing = match (boot.trial, boot.committed) {
        (true, true) => ", on trial and found good",
        (true, false) => ", on trial",
        (false, true) => ", committed",
        (false, false) => "",
    };
    format!("{slot}{standing}: {}", boot.why)
}

/// How far the gate is, in a line.
fn gate_text(gate: &GateInfo, now_us: u64) -> String {
    let why = match &gate.reason {
        Some(reason) => format!(": {reason}"),
        None => String::new(),
    };
    match gate.state {
        GateState::Open => match gate.deadline_us {
            Some(deadline) if deadline > now_us => {
                format!("open, {} left{why}", span(deadline - now_us))
            }
            Some(_) | None => format!("open{why}"),
        },
        GateState::Passed => format!("passed after {}{why}", seconds(gate.since_us)),
        GateState::Failed => format!("failed after {}{why}", seconds(gate.since_us)),
        GateState::None => format!("none{why}"),
    }
}

/// When each step was reached, and how long it took from the step before.
fn timings_table(boot: &BootInfo) -> String {
    let mut table = Table::new(vec![
        (Align::Right, "REACHED".into()),
        (Align::Right, "TOOK".into()),
        (Align::Left, "STEP".into()),
    ]);
    let mut before = 0;
    for step in &boot.timings {
        table.row(vec![
            seconds(step.us).into(),
            seconds(step.us.saturating_sub(before)).into(),
            step.name.as_str().into(),
        ]);
        before = step.us;
    }
    table.render()
}

#[cfg(test)]
mod tests {
    use services::control::Timing;

    use super::*;

    fn boot() -> BootInfo {
        let timing = |name: &str, us| Timing {
            name: name.into(),
            us,
        };
        BootInfo {
            mode: BootMode::Disk,
            slot: Some("b".into()),
            why: "slot a did not verify".into(),
            version: Some("1.2.3".into()),
            root_hash: Some("ab12".into()),
            kernel: "6.1.0".into(),
            target: "default".into(),
            state: BootState::Ready,
            failed: vec![],
            timings: vec![timing("stage1", 1_204_000), timing("ready", 2_402_999)],
            missing: vec!["watchdog: no /dev/watchdog".into()],
            gate: None,
            committed: false,
            trial: false,
            boot_number: None,
            watchdog: None,
        }
    }

    fn gate(state: GateState) -> GateInfo {
        GateInfo {
            state,
            since_us: 12_345_678,
            ..GateInfo::none("")
        }
    }

    #[test]
    fn people() {
        assert_eq!(
            for_people(&boot(), 3_000_000),
            "    state: ready, target default\n     \
                 mode: disk (verified slot)\n     \
                 slot: b: slot a did not verify\n  \
              version: 1.2.3\n\
             root hash: ab12\n   \
               kernel: 6.1.0\n  \
              missing: watchdog: no /dev/watchdog\n\
             \n\
             REACHED    TOOK  STEP\n \
              1.204s  1.204s  stage1\n \
              2.402s  1.198s  ready\n"
        );
    }

    #[test]
    fn a_boot_under_watch() {
        let mut boot = boot();
        boot.timings.clear();
        boot.missing.clear();
        (boot.trial, boot.boot_number) = (true, Some(9));
        boot.watchdog = Some("i6300ESB timer, 60s".into());
        boot.gate = Some(GateInfo {
            deadline_us: Some(302_000_000),
            reason: None,
            waiting: vec![
                "api: starting".into(),
                "root: it is being read whole".into(),
            ],
            ..gate(GateState::Open)
        });
        assert_eq!(
            for_people(&boot, 3_000_000),
            "    state: ready, target default\n     \
                 gate: open, 4min 59s left\n\
             waits for: api: starting\n\
             waits for: root: it is being read whole\n     \
                 mode: disk (verified slot)\n     \
                 slot: b, on trial: slot a did not verify\n     \
                 boot: 9\n  \
              version: 1.2.3\n\
             root hash: ab12\n   \
               kernel: 6.1.0\n \
             watchdog: i6300ESB timer, 60s\n"
        );
        boot.committed = true;
        let slot = slot_text("b", &boot);
        assert_eq!(slot, "b, on trial and found good: slot a did not verify");
        boot.trial = false;
        assert_eq!(slot_text("b", &boot), "b, committed: slot a did not verify");
    }

    #[test]
    fn verdicts() {
        let check = |gate: GateInfo, expect: &str| assert_eq!(gate_text(&gate, 9), expect);
        let because = |gate: GateInfo, why: &str| GateInfo {
            reason: Some(why.into()),
            ..gate
        };
        let passed = GateInfo {
            reason: None,
            ..gate(GateState::Passed)
        };
        check(passed, "passed after 12.345s");
        check(
            because(gate(GateState::Failed), "api failed: exited with status 1"),
            "failed after 12.345s: api failed: exited with status 1",
        );
        check(
            GateInfo::none("a container has no slots"),
            "none: a container has no slots",
        );
        let reported = BootInfo {
            gate: Some(GateInfo {
                wanted_failing: vec!["ntp: waits for net".into()],
                slow: vec!["db: took 12.0s to start, usually 1.1s".into()],
                ..because(gate(GateState::Passed), "by hand")
            }),
            ..boot()
        };
        let text = for_people(&reported, 9);
        for line in [
            "     gate: passed after 12.345s: by hand\n",
            "   wanted: ntp: waits for net\n",
            "     slow: db: took 12.0s to start, usually 1.1s\n",
        ] {
            assert!(text.contains(line), "{text}");
        }
    }

    #[test]
    fn programs() {
        let value = to_json(&boot());
        assert_eq!(value["rootHash"], "ab12");
        assert_eq!(value["state"], "ready");
        assert_eq!(value["mode"], "disk");
        assert_eq!(value["timings"][1]["us"], 2_402_999);
        let mut none = boot();
        none.slot = None;
        assert!(to_json(&none)["slot"].is_null());
        assert!(to_json(&none)["gate"].is_null());
        none.gate = Some(gate(GateState::Open));
        (none.boot_number, none.committed) = (Some(4), true);
        let value = to_json(&none);
        assert_eq!(value["gate"]["state"], "open");
        assert_eq!(value["gate"]["sinceUs"], 12_345_678);
        assert_eq!(value["bootNumber"], 4);
        assert_eq!(
            (&value["committed"], &value["trial"]),
            (&true.into(), &false.into())
        );
        assert!(value["watchdog"].is_null());
    }
}
