//! Every call over the wire and back, and what is refused.

use super::*;
use proptest::prelude::*;

/// The first page.
const LIST: Request = Request::List { from: None };

#[allow(
    clippy::needless_pass_by_value,
    reason = "the tables below read better without borrows"
)]
fn check(message: &str, expect: Result<Request, ControlError>) {
    let parsed = match Request::parse(message.as_bytes()) {
        Ok(call) => Ok(call.request),
        Err(Rejected::Answered { error, .. }) => Err(error),
        Err(Rejected::Malformed(why)) => panic!("{message}: {why}"),
    };
    assert_eq!(parsed, expect, "{message}");
}

fn invalid(parameter: &str) -> Result<Request, ControlError> {
    Err(super::invalid(parameter))
}

fn every_request() -> Vec<Request> {
    let name = || "web".to_owned();
    vec![
        LIST,
        Request::List {
            from: Some("web".into()),
        },
        Request::Status { name: name() },
        Request::Start { name: name() },
        Request::Stop {
            name: name(),
            all: false,
        },
        Request::Stop {
            name: name(),
            all: true,
        },
        Request::Restart { name: name() },
        Request::ReloadService { name: name() },
        Request::ReloadAll { dry_run: false },
        Request::ReloadAll { dry_run: true },
        Request::Boot,
        Request::WaitBoot,
        Request::WaitGate,
        Request::BootGood { reason: None },
        Request::BootGood {
            reason: Some("seen by me".into()),
        },
        Request::BootBad {
            reason: "no light".into(),
            reboot: true,
        },
        Request::SetSlot { slot: SlotName::B },
        Request::Reexec { program: None },
        Request::Reexec {
            program: Some("/sbin/init".into()),
        },
        Request::DebugPanic,
        Request::BootRecord,
        Request::Trace,
        Request::Metrics,
        Request::Relations { from: None },
        Request::Relations {
            from: Some("web".into()),
        },
        Request::Shutdown {
            kind: ShutdownKind::Reboot,
        },
        Request::GetInfo,
        Request::GetInterfaceDescription {
            interface: INTERFACE.into(),
        },
    ]
}

#[test]
fn every_request_survives_the_wire() {
    for request in every_request() {
        let mut message = encode_call(&request);
        assert_eq!(message.pop(), Some(0));
        let call = Request::parse(&message).unwrap();
        assert_eq!(call.request, request);
        assert!(!call.oneway && !call.more);
    }
}

#[test]
fn reads_what_varlinkctl_sends() {
    check(r#"{"method":"io.shark.Init.List"}"#, Ok(LIST));
    check(
        r#"{"method":"io.shark.Init.List","parameters":{}}"#,
        Ok(LIST),
    );
    check(
        r#"{"method":"io.shark.Init.List","parameters":null}"#,
        Ok(LIST),
    );
    let call = Request::parse(br#"{"method":"io.shark.Init.List","more":true,"oneway":true}"#);
    let call = call.unwrap();
    assert!(call.more && call.oneway);
}

#[test]
fn is_strict_about_names_and_types() {
    check(
        r#"{"method":"io.shark.Init.Start","parameters":{"name":3}}"#,
        invalid("name"),
    );
    check(r#"{"method":"io.shark.Init.Start"}"#, invalid("name"));
    check(
        r#"{"method":"io.shark.Init.Start","parameters":{"name":"a","now":true}}"#,
        invalid("now"),
    );
    check(
        r#"{"method":"io.shark.Init.List","parameters":{"x":1}}"#,
        invalid("x"),
    );
    check(
        r#"{"method":"io.shark.Init.Shutdown","parameters":{"kind":"sleep"}}"#,
        invalid("kind"),
    );
    let bad = |parameters: &str, wrong: &str| {
        let message = format!(r#"{{"method":"io.shark.Init.BootBad","parameters":{parameters}}}"#);
        check(&message, invalid(wrong));
    };
    bad(r#"{"reboot":true}"#, "reason");
    bad(r#"{"reason":"x"}"#, "reboot");
    bad(r#"{"reason":"x","reboot":1}"#, "reboot");
    bad(r#"{"reason":7,"reboot":1}"#, "reason");
    bad(r#"{"reason":" \n","reboot":true}"#, "reason");
    bad(r#"{"reason":"x","reboot":true,"now":1}"#, "now");
    check(
        r#"{"method":"io.shark.Init.SetSlot","parameters":{"slot":"c"}}"#,
        invalid("slot"),
    );
    check(
        r#"{"method":"io.shark.Init.BootGood","parameters":{"reason":null}}"#,
        Ok(Request::BootGood { reason: None }),
    );
    check(r#"{"method":"List"}"#, invalid("method"));
    check(
        r#"{"method":"io.shark.Init.List","upgrade":true}"#,
        invalid("upgrade"),
    );
    check(
        r#"{"method":"io.shark.Init.Nap"}"#,
        Err(ControlError::MethodNotFound {
            method: "io.shark.Init.Nap".into(),
        }),
    );
    check(
        r#"{"method":"io.other.X.Nap"}"#,
        Err(ControlError::InterfaceNotFound {
            interface: "io.other.X".into(),
        }),
    );
}

#[test]
fn what_is_no_call_is_malformed() {
    for message in [
        "",
        "[]",
        "7",
        "{",
        r#"{"method":7}"#,
        r#"{"parameters":{}}"#,
        r#"{"method":"io.shark.Init.List","extra":1}"#,
        r#"{"method":"io.shark.Init.List","parameters":[]}"#,
        r#"{"method":"io.shark.Init.List","more":"yes"}"#,
    ] {
        let parsed = Request::parse(message.as_bytes());
        assert!(
            matches!(parsed, Err(Rejected::Malformed(_))),
            "{message}: {parsed:?}"
        );
    }
}

proptest! {
    #[test]
    fn any_bytes_are_answered_or_rejected(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = Request::parse(&bytes);
    }

    #[test]
    fn any_name_survives_the_wire(name in ".*") {
        let request = Request::Start { name };
        let mut message = encode_call(&request);
        message.pop();
        prop_assert_eq!(Request::parse(&message).map(|call| call.request), Ok(request));
    }
}
