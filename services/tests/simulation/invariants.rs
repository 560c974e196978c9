//! What must always hold: a name and a sentence each. ARCHITECTURE.md has the same list.

use std::fmt;

macro_rules! invariants {
    ($($variant:ident, $name:literal, $sentence:literal;)*) => {
        /// Something that must always hold.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(crate) enum Invariant {
            $($variant,)*
        }

        impl Invariant {
            pub(crate) const ALL: &[Self] = &[$(Self::$variant,)*];

            pub(crate) const fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)*
                }
            }

            pub(crate) const fn sentence(self) -> &'static str {
                match self {
                    $(Self::$variant => $sentence,)*
                }
            }
        }
    };
}

invariants! {
    OneRun, "one-run", "there are never two runs of a service at once";
    RequiredUp, "required-up", "a service is started only when all it requires are up";
    OrderKept, "order-kept", "a service is started only after all that it wants or comes after are up, have failed, have been tried, or are not wanted";
    RivalsApart, "rivals-apart", "services that conflict never run at once";
    ReverseOrder, "reverse-order", "a service is stopped only after all that come after it and stop as well";
    StartsWanted, "starts-wanted", "nothing is started that is not wanted, has failed, or is in no graph, and nothing during a shutdown";
    Undisturbed, "undisturbed", "a run is signalled to stop, or killed, only when it has ended, is not wanted, is restarted, was late or unhealthy, or lost what it requires";
    StopTimeout, "stop-timeout", "what is stopping is killed when its `stop.timeout` is over, and not before";
    Spared, "spared", "where `stop.scope` is the main process, a stop, a restart and an end by itself kill nothing else of the run, and neither the answer nor the next start waits for the rest";
    Swept, "swept", "a shutdown, a reload that removes the service and a stop of all that is left ask all of that to end as soon as the main process has, and kill it when `stop.timeout` is over once more, and not before";
    Released, "released", "what a service that rests holds is given back once, as soon as nothing of it is left, and not before";
    StartTimeout, "start-timeout", "what is not ready within its `start-timeout` is stopped then";
    Wanted, "wanted", "what is wanted is what follows from the requests, the boot and the ends of services";
    Sequel, "sequel", "what follows the end of a run is what its restart policy and the failures in a row say";
    Pause, "pause", "the pause before a restart is `delay`, doubled with each failure in a row up to `max-delay` and less its `jitter` at most, and nothing is started before it is over";
    Burst, "burst", "no start after a pause is one too many for `burst` within `burst-within`, and none is held back for it before";
    FailedRightly, "failed-rightly", "a service is left failed only by its own restart policy or by what it requires";
    FailureSpreads, "failure-spreads", "nothing runs on whose required service is left failed";
    Bound, "bound", "what is bound to a service runs only while that is up, comes up again with it, and stays down with it when that has ended well";
    Lying, "lying", "what has a timer lies in wait while it is wanted and does not run, and is started when a time of its timer has come, or by somebody, and then only";
    Delayed, "delayed", "`random-delay` puts the times of a timer off by whole seconds up to it, and always by the same";
    Remembered, "remembered", "each start of a persistent service is told to be kept, and what former boots have kept of it is asked for once the boot has settled";
    Sockets, "sockets", "the sockets of a service stay open from its first start on, and are closed when it is stopped, left failed or skipped, and then only";
    Listening, "listening", "a lazy service only has its sockets opened while it is wanted and does not run, and is started by traffic, or by somebody, and then only";
    Skipped, "skipped", "a service is skipped, and counts as up with nothing running, when one of its conditions does not hold, and then only";
    Rescue, "rescue", "a service that is left failed starts what it names, unless eight failures have led to it, and tells once what is to become of the machine";
    UpRightly, "up-rightly", "a service is up only after its process was ready: at once, by its word or its line, by a good probe, by the process it has left, or by its good end, and never before its program is executed";
    NoIdleWait, "no-idle-wait", "no service waits that could start";
    OneProbe, "one-probe", "a service has one probe at a time, for its readiness while it starts or for its health while it is up, and none outlives its run";
    Unhealthy, "unhealthy", "a run with `health.failures` bad probes in a row is stopped, and none with fewer";
    Watchdog, "watchdog", "a service that is up, and silent for the time of its watchdog, gets the signal of it then, and none other does";
    Soak, "soak", "a boot is found good only after everything essential was up and healthy for a whole soak";
    SettlesOnce, "settles-once", "the boot settles once, when each service of its target is up, has failed, has been tried or is wanted no more";
    AnsweredOnce, "answered-once", "every request is answered exactly once, unless its client has gone";
    AnsweredRightly, "answered-rightly", "a request is answered with what became of what it asked for";
    FinishOnce, "finish-once", "`Finish` comes exactly once, after a shutdown, and nothing follows it";
    FinishEmpty, "finish-empty", "`Finish` comes after everything is empty, but for what does not even die of being killed";
    FinishBound, "finish-bound", "a shutdown ends within its bound";
    KnownIds, "known-ids", "no action names a service or a run that is not there";
    Bounded, "bounded", "no queue exceeds its bound";
    Ticks, "ticks", "a tick does all that is due, and time that goes back changes nothing";
    Rest, "rest", "everything comes to rest once accidents end: wanted services up, others down";
    Announced, "announced", "what was announced of a service is so";
    Ends, "ends", "a run of the simulation comes to an end";
    Replays, "replays", "the recorded events of a run give the same actions again";
    Thawed, "thawed", "a supervisor that is frozen and thawed between any two events goes on as if nothing had been";
    NoPanic, "no-panic", "the core cannot panic";
}

/// An invariant that does not hold, and of what.
#[derive(Clone, Debug)]
pub(crate) struct Broken {
    pub(crate) invariant: Invariant,
    pub(crate) of: String,
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { invariant, of } = self;
        write!(
            f,
            "{}: {of} (it must hold: {})",
            invariant.name(),
            invariant.sentence()
        )
    }
}

pub(crate) type Verdict = Result<(), Broken>;

pub(crate) fn ensure(holds: bool, invariant: Invariant, of: &dyn fmt::Display) -> Verdict {
    if holds {
        Ok(())
    } else {
        Err(invariant.broken(of))
    }
}

impl Invariant {
    pub(crate) fn broken(self, of: &dyn fmt::Display) -> Broken {
        Broken {
            invariant: self,
            of: of.to_string(),
        }
    }
}

#[test]
fn the_architecture_lists_the_invariants() {
    let page = include_str!("../../../ARCHITECTURE.md");
    let listed: Vec<&str> = page
        .lines()
        .filter(|line| line.starts_with("* *") && !line.starts_with("* **"))
        .collect();
    let named: Vec<String> = Invariant::ALL
        .iter()
        .map(|it| format!("* *{}*: {}", it.name(), it.sentence()))
        .collect();
    assert_eq!(listed, named);
}
