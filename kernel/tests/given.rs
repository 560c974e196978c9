//! What a child is given and what is left of that here: descriptors at low numbers, few and many.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::os::fd::AsFd;

use kernel::spawn::{Plan, Spawner, Stdio, Wiring};

#[test]
fn what_a_child_was_given_is_not_kept_for_it() {
    let mut spawner = Spawner::new().unwrap();
    let (read, write) = kernel::pipe::pair().unwrap();
    let plan = Plan::new(&["/bin/sh", "-c", "echo out; exec 2>&-; echo extra >&7"]).unwrap();
    let extra = [(write.as_fd(), 7)];
    let wiring = Wiring {
        stdio: Stdio::Each {
            stdin: None,
            stdout: Some(write.as_fd()),
            stderr: Some(write.as_fd()),
        },
        extra: &extra,
        cgroup: None,
    };
    // More descriptors than a child needs, some below and some above those it is given.
    let many: Vec<_> = (0..300).map(|_| write.try_clone().unwrap()).collect();
    let child = spawner.spawn(&plan, &wiring).unwrap();
    drop(many);
    drop(write);
    // The end comes only when nobody has the other end any more.
    let mut text = String::new();
    std::io::Read::read_to_string(&mut std::fs::File::from(read), &mut text).unwrap();
    assert_eq!(text, "out\nextra\n");
    assert_eq!(
        kernel::reap::wait(child.pid).unwrap(),
        kernel::reap::End::Exited(0)
    );
}

#[test]
fn a_child_can_be_given_more_than_fits_below() {
    let mut spawner = Spawner::new().unwrap();
    let pipes: Vec<_> = (0..20).map(|_| kernel::pipe::pair().unwrap()).collect();
    let extra: Vec<_> = pipes
        .iter()
        .zip(10..)
        .map(|((_, write), number)| (write.as_fd(), number))
        .collect();
    let plan = Plan::new(&[
        "/bin/bash",
        "-c",
        "for i in {10..29}; do echo $i >&$i || exit 1; done",
    ])
    .unwrap();
    let wiring = Wiring {
        stdio: Stdio::Each {
            stdin: None,
            stdout: None,
            stderr: None,
        },
        extra: &extra,
        cgroup: None,
    };
    let child = spawner.spawn(&plan, &wiring).unwrap();
    assert_eq!(
        kernel::reap::wait(child.pid).unwrap(),
        kernel::reap::End::Exited(0)
    );
    for ((read, write), number) in pipes.into_iter().zip(10..) {
        drop(write);
        let mut text = String::new();
        std::io::Read::read_to_string(&mut std::fs::File::from(read), &mut text).unwrap();
        assert_eq!(text, format!("{number}\n"));
    }
}
