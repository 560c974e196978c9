//! `[timer]`.

use super::*;
use crate::definition::Timer;

/// Every key of the table.
pub(super) const TIMER: &str = "
type = 'oneshot'
exec = '/a'
[timer]
on-boot = '5min'
every = '1h'
on-calendar = ['Mon..Fri 04:00', 'daily']
persistent = true
random-delay = '10min'
";

#[test]
fn every_key_of_the_timer_arrives() {
    let timer = service(&[("/v/a.toml", TIMER)]).timer;
    let seconds = Duration::from_secs;
    let expect = Timer {
        on_boot: Some(seconds(300)),
        every: Some(seconds(3600)),
        calendar: ["Mon..Fri 04:00", "daily"]
            .map(|it| it.parse().unwrap())
            .to_vec(),
        persistent: true,
        random_delay: seconds(600),
    };
    assert_eq!(timer, Some(Box::new(expect)));
    let none = service(&[("/v/a.toml", "exec = '/a'")]).timer;
    assert_eq!(none, None);
}
