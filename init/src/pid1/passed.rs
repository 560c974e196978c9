//! Descriptors that a run finds at its start, as sd_listen_fds(3) has it: from 3 on, in order, with
//! `$LISTEN_FDS`, `$LISTEN_FDNAMES` and `$LISTEN_PID`. Not here: whose they are, and where they are
//! kept.

use std::os::fd::BorrowedFd;

use kernel::spawn::Plan;

/// The number of the first one (SD_LISTEN_FDS_START).
pub(super) const FIRST: i32 = 3;

/// A descriptor and the name under which the service knows it: without colons or control characters.
pub(super) type Passed<'a> = (&'a str, BorrowedFd<'a>);

/// Tells the service of them. Of none, nothing is told.
///
/// # Errors
/// EINVAL: a name holds a NUL byte.
pub(super) fn tell(plan: &mut Plan, passed: &[Passed<'_>]) -> kernel::Result<()> {
    if passed.is_empty() {
        return Ok(());
    }
    let names: Vec<&str> = passed.iter().map(|(name, _)| *name).collect();
    plan.set_env("LISTEN_FDS", &passed.len().to_string())?;
    plan.set_env("LISTEN_FDNAMES", &names.join(":"))?;
    plan.set_env_own_pid("LISTEN_PID")
}

/// The places of them.
pub(super) fn places<'a>(passed: &[Passed<'a>]) -> Vec<(BorrowedFd<'a>, i32)> {
    let fds = passed.iter().map(|(_, fd)| *fd);
    fds.zip(FIRST..).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsFd;

    #[test]
    fn they_are_told_in_the_order_of_their_places() {
        let null = std::fs::File::open("/dev/null").unwrap();
        let passed: [Passed<'_>; 2] = [("web", null.as_fd()), ("stored", null.as_fd())];
        let mut plan = Plan::new(&["/bin/x"]).unwrap();
        plan.set_env("LISTEN_FDS", "9").unwrap();
        tell(&mut plan, &passed).unwrap();
        let environment: Vec<_> = plan
            .environment
            .iter()
            .filter_map(|it| it.to_str().ok())
            .collect();
        assert_eq!(environment, ["LISTEN_FDS=2", "LISTEN_FDNAMES=web:stored"]);
        assert_eq!(plan.own_pid, [c"LISTEN_PID".to_owned()]);
        let numbers: Vec<i32> = places(&passed).iter().map(|(_, place)| *place).collect();
        assert_eq!(numbers, [3, 4]);
    }

    #[test]
    fn nothing_is_told_of_none() {
        let mut plan = Plan::new(&["/bin/x"]).unwrap();
        tell(&mut plan, &[]).unwrap();
        assert_eq!((plan.environment.len(), plan.own_pid.len()), (0, 0));
    }
}
