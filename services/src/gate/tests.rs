//! The rules of the gate, one table each.

use super::*;

fn second(at: u64) -> Time {
    Time::default() + Duration::from_secs(at)
}

fn gate() -> Gate {
    Gate::new(GateSettings::default(), false, second(2))
}

#[test]
fn without_its_own_services_a_boot_fails() {
    let mut gate = gate();
    assert_eq!(gate.update(&GateView::default(), second(3)), None);
    gate.refuse("started a rescue shell");
    let reason = "no services: started a rescue shell".to_owned();
    let verdict = gate.update(&GateView::default(), second(4));
    assert_eq!(verdict, Some(Verdict::Fail { reason }));
    assert_eq!(
        gate.update(&GateView::default(), second(5)),
        None,
        "told once"
    );
}
