//! `why`: from a service along what it waits for, or was ended by, to where that began. Not here: how a
//! service ended, which init says in words, and what helps then (`advice`).

use std::collections::{BTreeMap, VecDeque};

use init::log::lines::Line;
use init::log::reader::{Reader, last_lines};
use serde_json::json;
use services::id::ServiceName;
use services::status::{HealthName, ServiceStatus, StateName};

use super::advice::{Case, advice};
use super::files;
use super::known::{Kind, Known, One};
use crate::Context;
use crate::failure::{Failure, count};
use crate::logs;
use crate::quantity::span;
use crate::screen::{Paint, Screen, state_word};
use crate::table::printable;

/// Lines of the log of the culprit: with all else they fit a screen.
const LOG_LINES: usize = 8;
/// Problems of service files that are told.
const PROBLEMS: usize = 8;
/// A service that was started again has to have been up for so long to be well, microseconds.
const LATELY_US: u64 = 600_000_000;
/// Steps of one chain that are told, the last among them.
const STEPS: usize = 8;

/// What is said of one service.
struct Story<'a> {
    one: &'a One,
    /// From who wants it to the service itself, or why nobody does.
    wanted: String,
    /// The newest of the operators' requests that led to it.
    asked: Option<String>,
    /// From the service to the culprit: each step, and to whom.
    chain: Vec<(String, &'a str)>,
    /// Others where a wait of it ends.
    beside: Vec<&'a str>,
    /// Where it began; the service itself, where it is not up and nobody else is to blame.
    culprit: Option<&'a One>,
}

/// `why`.
pub(crate) fn why(context: &Context, screen: &mut Screen<'_>, name: &str) -> Result<(), Failure> {
    let known = Known::ask(context, screen)?;
    let Some(one) = known.get(name) else {
        return Err(unknown(context, name));
    };
    let now = (context.boottime_us)();
    let story = tell(context, &known, one, now);
    let subject = story.culprit.unwrap_or(one);
    let lines = log_of(context, &subject.status.name, LOG_LINES);
    if screen.json {
        return screen.print_json(&for_programs(&known, &story, &lines));
    }
    let paint = screen.paint();
    let mut text = for_people(&known, &story, wrote(&lines), now, paint);
    if let Err(error) = &lines {
        let whose = printable(&subject.status.name);
        text.push_str(&format!(
            "\nthe log of {whose} cannot be read: {}\n",
            printable(error)
        ));
    }
    if let Some(lines) = lines.ok().filter(|lines| !lines.is_empty()) {
        let whose = format!("\nlast lines of {}:\n", printable(&subject.status.name));
        text.push_str(&paint.dim(&whose));
        text.push_str(&logs::for_people(&lines, paint));
    }
    screen.print(text)
}

/// It may have files that init has refused, or not read.
fn unknown(context: &Context, name: &str) -> Failure {
    let Some(problems) = files::problems(&context.service_path, name) else {
        return Failure::NoSuchService(name.to_owned());
    };
    if name.ends_with('@') {
        return Failure::NoSuchService(name.to_owned());
    }
    if problems.is_empty() {
        return Failure::Refused(format!(
            "{name} has a service file, which init has not read yet: `sharkctl reload` makes it read all"
        ));
    }
    let mut text = format!(
        "init does not know {name}: it takes all service files or none of them, and they have {}. \
         Mend them, then `sharkctl reload`",
        count(problems.len(), "problem")
    );
    for problem in problems.iter().take(PROBLEMS) {
        text.push('\n');
        text.push_str(&problem.to_string());
    }
    Failure::Refused(text)
}

fn tell<'a>(context: &Context, known: &'a Known, one: &'a One, now: u64) -> Story<'a> {
    let (wanted, root) = wanted_by(known, one);
    let (chain, beside) = follow(known, one);
    let end = chain
        .last()
        .map_or(one, |(_, name)| known.get(name).unwrap_or(one));
    Story {
        one,
        wanted,
        asked: asked(context, &[&one.status.name, root, &end.status.name]),
        chain,
        beside,
        culprit: Some(end).filter(|end| end.status.name != one.status.name || !is_well(end, now)),
    }
}

/// Whether there is nothing to explain about it.
fn is_well(one: &One, now: u64) -> bool {
    let timer = one.status.timer.as_ref();
    let restless = one.status.restarts > 0 && now.saturating_sub(one.status.since_us) < LATELY_US;
    let healthy = one
        .status
        .health
        .as_ref()
        .is_none_or(|it| it.state != HealthName::Failing);
    match one.status.state {
        StateName::Up => healthy && !restless,
        // One that was never started by its timer, and never will be.
        StateName::Armed => timer.is_none_or(|it| it.next_us.is_some() || it.last_unix.is_some()),
        StateName::Listening => true,
        StateName::Down
        | StateName::Waiting
        | StateName::Starting
        | StateName::Stopping
        | StateName::Backoff
        | StateName::Failed
        | StateName::Skipped => false,
    }
}

/// Who wants it, and the service at the beginning of that.
fn wanted_by<'a>(known: &'a Known, one: &'a One) -> (String, &'a str) {
    let name = one.status.name.as_str();
    if !one.status.wanted {
        return ("by nobody".to_owned(), name);
    }
    let target = known.boot.target.as_str();
    if name == target {
        return ("it is the boot target".to_owned(), name);
    }
    if let Some(way) = known.way(target, name, &Kind::NEEDS) {
        return (format!("by the boot: {}", steps_text(target, &way)), target);
    }
    let needed_by = known.needed_by();
    let mut root = name;
    // Along the first that wants it: who has been seen is not gone to again.
    let mut seen = vec![name];
    while let Some((_, above)) = needed_by
        .get(root)
        .into_iter()
        .flatten()
        .find(|(_, above)| {
            let wanted = known.get(above).is_some_and(|it| it.status.wanted);
            wanted && !seen.contains(above)
        })
    {
        root = above;
        seen.push(above);
    }
    match known.way(root, name, &Kind::NEEDS) {
        Some(way) if !way.is_empty() => {
            (format!("beside the boot: {}", steps_text(root, &way)), root)
        }
        Some(_) | None => ("beside the boot: it was started itself".to_owned(), name),
    }
}

/// `default wants app, app requires web`
fn steps_text(from: &str, way: &[(Kind, &str)]) -> String {
    let mut before = from;
    let steps = way.iter().map(|(kind, name)| {
        let text = format!("{before} {} {name}", kind.verb());
        before = name;
        text
    });
    steps.collect::<Vec<_>>().join(", ")
}

/// The services that hold `one` up, or that ended it.
fn blamed<'a>(known: &'a Known, one: &'a One) -> Vec<&'a str> {
    let names = match one.status.state {
        StateName::Waiting | StateName::Stopping => one.relations.waits_for.as_slice(),
        StateName::Failed | StateName::Down | StateName::Backoff => one.status.because.as_slice(),
        StateName::Starting
        | StateName::Up
        | StateName::Armed
        | StateName::Listening
        | StateName::Skipped => &[],
    };
    let names = names.iter().map(String::as_str);
    names.filter(|name| known.get(name).is_some()).collect()
}

/// The chain to the service where it began, and others where chains end.
fn follow<'a>(known: &'a Known, one: &'a One) -> (Vec<(String, &'a str)>, Vec<&'a str>) {
    let start = one.status.name.as_str();
    let mut reached: BTreeMap<&str, Option<&str>> = BTreeMap::from([(start, None)]);
    let mut work = VecDeque::from([start]);
    let mut ends = Vec::new();
    while let Some(name) = work.pop_front() {
        let Some(one) = known.get(name) else { continue };
        let blamed = blamed(known, one);
        if blamed.is_empty() {
            ends.push((rank(one), one.status.since_us, name));
        }
        for other in blamed {
            reached.entry(other).or_insert_with(|| {
                work.push_back(other);
                Some(name)
            });
        }
    }
    ends.sort_unstable();
    let mut ends = ends.into_iter().map(|(_, _, name)| name);
    let mut chain = Vec::new();
    let mut at = ends.next().unwrap_or(start);
    while let Some(Some(before)) = reached.get(at) {
        chain.splice(0..0, steps_between(known, before, at));
        at = before;
    }
    (chain, ends.collect())
}

/// Which end of a chain tells most: what has failed before what merely takes its time.
fn rank(one: &One) -> u8 {
    match one.status.state {
        StateName::Failed => 0,
        StateName::Backoff => 1,
        StateName::Skipped | StateName::Down => 2,
        StateName::Starting | StateName::Stopping | StateName::Waiting => 3,
        StateName::Up | StateName::Armed | StateName::Listening => 4,
    }
}

/// From one service to another that it blames: all steps between, where it needs it by way of others.
fn steps_between<'a>(known: &'a Known, from: &'a str, to: &'a str) -> Vec<(String, &'a str)> {
    if known.are_rivals(from, to) {
        return vec![(format!("{from} conflicts with {to}"), to)];
    }
    let whole = known.get(to);
    if whole.is_some_and(|it| it.relations.parts.iter().any(|part| part == from)) {
        return vec![(format!("{from} is part of {to}"), to)];
    }
    let way = known
        .way(from, to, &Kind::STRONG)
        .or_else(|| known.way(from, to, &Kind::ORDER));
    let Some(way) = way else {
        return vec![(format!("{to} comes after {from}, and goes before it"), to)];
    };
    let mut before = from;
    let steps = way.into_iter().map(|(kind, name)| {
        let text = format!("{before} {} {name}", kind.verb());
        before = name;
        (text, name)
    });
    steps.collect()
}

/// The newest request of an operator that is about one of the services.
fn asked(context: &Context, names: &[&str]) -> Option<String> {
    let log = log_of(context, "audit", usize::MAX).unwrap_or_default();
    let mut found = None;
    for line in log.split(|byte| *byte == b'\n') {
        let line = Line::parse(line);
        let text = String::from_utf8_lossy(line.text);
        let Some((who, what)) = text.split_once(" asks: ") else {
            continue;
        };
        let who = who.strip_prefix("<5>").unwrap_or(who);
        let mut words = what.split(' ');
        let verb = words
            .next()
            .is_some_and(|it| ["start", "stop", "restart"].contains(&it));
        let about = words.next().is_some_and(|it| names.contains(&it));
        if verb && about && !what.ends_with(": denied") {
            found = Some(format!("{}: {who} asked: {what}", line.stamp));
        }
    }
    found
}

/// Whether there are lines, or may be.
fn wrote(lines: &Result<Vec<u8>, String>) -> bool {
    lines.as_ref().map_or(true, |lines| !lines.is_empty())
}

/// Lines of a log, or why they cannot be read: the rest can be told without.
fn log_of(context: &Context, name: &str, count: usize) -> Result<Vec<u8>, String> {
    let Ok(name) = ServiceName::new(name) else {
        return Ok(Vec::new());
    };
    let found = Reader::new(&context.log_places(), &name).read();
    let found = found.map_err(|error| error.to_string())?;
    Ok(last_lines(&found.lines, count).to_vec())
}

impl Story<'_> {
    /// What helps against the culprit, where there is one.
    fn advice(&self, known: &Known, wrote: bool) -> Option<String> {
        let culprit = &self.culprit?.status;
        let of = self.one.status.name.as_str();
        let of = Some(of).filter(|of| *of != culprit.name);
        let case = Case {
            status: culprit,
            of,
            rivals: of.is_some_and(|of| known.are_rivals(of, &culprit.name)),
            wrote,
        };
        Some(advice(case))
    }
}

fn for_people(known: &Known, story: &Story<'_>, wrote: bool, now: u64, paint: Paint) -> String {
    let status = &story.one.status;
    let mut text = format!("{}\n", paint.bold(&printable(&status.name)));
    let mut line = |key: &str, value: &str| {
        let colon = if key.is_empty() { ' ' } else { ':' };
        text.push_str(&format!("{key:>9}{colon} {value}\n"));
    };
    line("state", &standing(story.one, now, paint));
    line("wanted", &printable(&story.wanted));
    if let Some(timer) = &status.timer {
        line("timer", &printable(&crate::timers::text(timer, now)));
    }
    if let Some(asked) = &story.asked {
        line("asked", &printable(asked));
    }
    let left_out = story.chain.len().saturating_sub(STEPS);
    for (at, (step, _)) in story.chain.iter().enumerate() {
        match at {
            0 => line("chain", &printable(step)),
            at if at < STEPS - 1 || at >= STEPS - 1 + left_out => line("", &printable(step)),
            at if at == STEPS - 1 => line("", &format!("... {left_out} more ...")),
            _ => {}
        }
    }
    if let Some(culprit) = story.culprit {
        if !story.chain.is_empty() {
            let name = printable(&culprit.status.name);
            line(
                "cause",
                &format!(
                    "{name} is {}{}",
                    before(culprit),
                    standing(culprit, now, paint)
                ),
            );
        }
        if let Some(advice) = story.advice(known, wrote) {
            line("advice", &printable(&advice));
        }
    } else {
        line("cause", "nothing is wrong with it");
    }
    if let Some(beside) = names(&story.beside) {
        line("beside", &format!("it waits for {beside} too"));
    }
    let lacking: Vec<&str> = story
        .one
        .others(&Kind::NEEDS)
        .filter(|(_, name)| {
            let state = known.state(name);
            let lacking = [StateName::Failed, StateName::Backoff, StateName::Skipped];
            state.is_some_and(|state| lacking.contains(&state))
        })
        .map(|(_, name)| name)
        .collect();
    if story.culprit.is_none()
        && let Some(lacking) = names(&lacking)
    {
        line("without", &format!("{lacking}: see `sharkctl why` of it"));
    }
    text
}

/// Between `is` and the word for a state.
fn before(one: &One) -> &'static str {
    match one.status.state {
        StateName::Backoff => "in ",
        StateName::Up
        | StateName::Down
        | StateName::Armed
        | StateName::Listening
        | StateName::Waiting
        | StateName::Starting
        | StateName::Stopping
        | StateName::Failed
        | StateName::Skipped => "",
    }
}

/// `failed for 3.2s: it exited with status 1`
fn standing(one: &One, now: u64, paint: Paint) -> String {
    let status = &one.status;
    let state = paint.state(status.state, state_word(status.state));
    let mut text = format!("{state} for {}", span(now.saturating_sub(status.since_us)));
    let failing = status
        .health
        .as_ref()
        .filter(|it| it.state == HealthName::Failing);
    let health = failing.map(|it| it.words.as_deref().unwrap_or("its probes are bad"));
    let again = again(status, now);
    let words = [status.reason.as_deref(), health, again.as_deref()];
    for words in words.into_iter().flatten() {
        text.push_str(": ");
        text.push_str(&printable(words));
    }
    text
}

/// How often it was started again, or when it is.
fn again(status: &ServiceStatus, now: u64) -> Option<String> {
    match status.state {
        StateName::Backoff => {
            let pause = status.retry_us?.saturating_sub(now);
            Some(format!("it is started again in {}", span(pause)))
        }
        StateName::Up if status.restarts > 0 => {
            let times = count(status.restarts.try_into().unwrap_or(usize::MAX), "time");
            let last = status.last_failure.as_deref().unwrap_or("it ended");
            Some(format!("it was started again {times}, last because {last}"))
        }
        StateName::Up
        | StateName::Down
        | StateName::Armed
        | StateName::Listening
        | StateName::Waiting
        | StateName::Starting
        | StateName::Stopping
        | StateName::Failed
        | StateName::Skipped => None,
    }
}

/// `a, b and 3 more`
fn names(all: &[&str]) -> Option<String> {
    const NAMED: usize = 5;
    let named = all
        .get(..NAMED.min(all.len()))
        .unwrap_or_default()
        .join(", ");
    match all.len() {
        0 => None,
        count if count > NAMED => Some(format!("{named} and {} more", count - NAMED)),
        _ => Some(named),
    }
    .map(|text| printable(&text))
}

fn for_programs(
    known: &Known,
    story: &Story<'_>,
    lines: &Result<Vec<u8>, String>,
) -> serde_json::Value {
    let text = String::from_utf8_lossy(lines.as_deref().unwrap_or_default());
    let chain: Vec<&str> = story.chain.iter().map(|(text, _)| text.as_str()).collect();
    json!({
        "service": story.one.status,
        "wanted": story.wanted,
        "asked": story.asked,
        "chain": chain,
        "cause": story.culprit.map(|one| &one.status),
        "advice": story.advice(known, wrote(lines)),
        "beside": story.beside,
        "lines": text.lines().collect::<Vec<_>>(),
        "unread": lines.as_ref().err(),
    })
}
