//! `logs`: prints what services wrote, and follows it. Not here: reading the files
//! (`init::log::reader`), the order of their lines (`init::log::entry`), which boot is meant (`boots`),
//! and how a line is printed (`form`).

pub(crate) mod boots;
mod form;

use std::collections::VecDeque;
use std::path::PathBuf;
use std::time::Duration;

use init::log::entry::{Before, Entry, Merged};
use init::log::export::Machine;
use init::log::reader::{Found, Reader};
use init::log::segment::{Segments, list};
use init::log::stamp::Stamp;
use services::control::Request;
use services::id::ServiceName;

use crate::Context;
use crate::cli::Logs;
use crate::failure::Failure;
use crate::screen::{Paint, Screen};
use crate::waiting::ask;
use boots::Boot;
use form::Form;

/// How often followed logs are looked at.
const TURN: Duration = Duration::from_millis(200);

/// Lines shown before those that are followed, where nothing else is asked for.
const BEFORE_FOLLOWING: usize = 10;

/// So much is printed at a time.
const BLOCK: usize = 64 * 1024;

/// How often files are looked for that were moved just when they were to be read.
const ATTEMPTS: usize = 3;

/// `logs`.
pub(crate) fn logs(
    context: &Context,
    screen: &mut Screen<'_>,
    options: &Logs,
) -> Result<(), Failure> {
    if options.list_boots {
        return boots::print(context, screen);
    }
    let boot = boots::find(context, options.boot.as_ref())?;
    if options.follow && !boot.goes_on() {
        let why = "that boot has ended: nothing is written there from now on".to_owned();
        return Err(Failure::Usage(why));
    }
    let mut logs = named(context, screen, options, &boot)?;
    let form = form_of(context, screen, options, boot.id.clone());
    let count = match options.lines {
        Some(count) => count,
        None if options.follow => BEFORE_FOLLOWING,
        None => usize::MAX,
    };
    let mut asked = Asked {
        context,
        options,
        form: &form,
        boot: &boot,
        logs: &mut logs,
    };
    asked.turn(screen, count)?;
    while options.follow && options.until.is_none_or(|until| Stamp::now() <= until) {
        std::thread::sleep(TURN);
        asked.turn(screen, usize::MAX)?;
    }
    Ok(())
}

/// A log that is read.
struct Log {
    name: ServiceName,
    reader: Reader,
    before: Before,
}

impl Log {
    fn new(places: &[PathBuf], name: ServiceName) -> Self {
        Self {
            reader: Reader::new(places, &name),
            before: Before::default(),
            name,
        }
    }
}

/// Files of logs by the name of the service.
type Files = std::collections::BTreeMap<ServiceName, Segments>;

/// What is there of a boot.
fn files(context: &Context, boot: &Boot) -> Result<(Vec<PathBuf>, Files), Failure> {
    let places = boot.places(context)?;
    let files = list(&places);
    let files = files.map_err(|error| Failure::of_file("read", &context.log_dir, &error))?;
    Ok((places, files))
}

/// The logs that are asked for.
fn named(
    context: &Context,
    screen: &mut Screen<'_>,
    options: &Logs,
    boot: &Boot,
) -> Result<Vec<Log>, Failure> {
    let (places, files) = files(context, boot)?;
    let mut logs: Vec<Log> = Vec::new();
    for text in &options.services {
        let name =
            ServiceName::new(text).map_err(|error| Failure::Usage(format!("`{text}`: {error}")))?;
        let log = Log::new(&places, name);
        if !files.contains_key(&log.name) {
            if boot.goes_on() {
                ask_whether_it_exists(context, screen, text)?;
            }
            screen.say(&format!("{} has written nothing", log.name));
        }
        if logs.iter().all(|it| it.name != log.name) {
            logs.push(log);
        }
    }
    if options.services.is_empty() && files.is_empty() {
        let places: Vec<String> = places.iter().map(|it| it.display().to_string()).collect();
        screen.say(&format!("there are no logs in {}", places.join(" or ")));
    }
    Ok(logs)
}

/// No log may mean no such service, or a quiet one: init knows.
fn ask_whether_it_exists(
    context: &Context,
    screen: &mut Screen<'_>,
    name: &str,
) -> Result<(), Failure> {
    let request = Request::Status {
        name: name.to_owned(),
    };
    ask(context.patience(), screen, request).map(|_| ())
}

fn form_of(context: &Context, screen: &Screen<'_>, options: &Logs, boot: Option<String>) -> Form {
    if options.raw {
        Form::Raw
    } else if options.export {
        let now = Stamp::now().as_micros();
        Form::Export(Machine {
            boot,
            host: kernel::files::read_text("/proc/sys/kernel/hostname", 256)
                .ok()
                .map(|name| name.trim_end().to_owned()),
            began: now.saturating_sub((context.boottime_us)()),
        })
    } else if screen.json {
        Form::Json { boot }
    } else {
        Form::People {
            paint: screen.paint(),
            names: options.services.len() != 1,
        }
    }
}

/// What is asked for, and how far it is answered.
struct Asked<'a> {
    context: &'a Context,
    options: &'a Logs,
    form: &'a Form,
    boot: &'a Boot,
    logs: &'a mut Vec<Log>,
}

impl Asked<'_> {
    /// Reads what is new in all logs, and prints the last `count` lines of it that are asked for.
    fn turn(&mut self, screen: &mut Screen<'_>, count: usize) -> Result<(), Failure> {
        let found = self.read()?;
        for (log, found) in self.logs.iter().zip(&found) {
            tell_missing(screen, &log.name, found, self.boot.goes_on());
        }
        let names: Vec<ServiceName> = self.logs.iter().map(|log| log.name.clone()).collect();
        let lines = self.logs.iter_mut().zip(&found);
        let lines = Merged::new(lines.map(|(log, found)| log.before.all(&found.lines)))
            .filter(|(_, entry)| is_wanted(self.options, entry));
        print(screen, self.form, &names, last(lines, count))
    }

    /// What is new in each log, also in those that have come to be where all are asked for.
    fn read(&mut self) -> Result<Vec<Found>, Failure> {
        let mut found = Vec::new();
        for _ in 0..ATTEMPTS {
            let (places, files) = files(self.context, self.boot)?;
            if self.options.services.is_empty() {
                let known = |name: &ServiceName| self.logs.iter().any(|it| it.name == *name);
                let new: Vec<_> = files.keys().filter(|name| !known(name)).cloned().collect();
                let new = new.into_iter().map(|name| Log::new(&places, name));
                self.logs.extend(new);
            }
            found.resize(self.logs.len(), Found::default());
            let mut all = true;
            for (log, found) in self.logs.iter_mut().zip(&mut found) {
                if let Some(segments) = files.get(&log.name) {
                    let read = log.reader.read_listed(segments, found);
                    all &= read.map_err(|error| {
                        let path = segments.values().next().unwrap_or(&self.context.log_dir);
                        Failure::of_file("read", path, &error)
                    })?;
                }
            }
            if all {
                break;
            }
        }
        Ok(found)
    }
}

/// Says which lines cannot be shown.
fn tell_missing(screen: &mut Screen<'_>, name: &ServiceName, found: &Found, goes_on: bool) {
    if found.gap {
        screen.complain(&format!(
            "the log of {name} is forgotten faster than it is read: lines may be missing here"
        ));
    }
    let torn = found.torn + u64::from(found.unfinished && !goes_on);
    if torn > 0 {
        screen.complain(&format!(
            "{torn} lines of {name} are left out: they were being written when the power went"
        ));
    }
}

fn is_wanted(options: &Logs, entry: &Entry<'_>) -> bool {
    options.since.is_none_or(|since| entry.time >= Some(since))
        && options.until.is_none_or(|until| entry.time <= Some(until))
        && options.priority.is_none_or(|most| entry.priority <= most)
        && options
            .grep
            .as_ref()
            .is_none_or(|pattern| pattern.is_match(&String::from_utf8_lossy(entry.message)))
}

/// The last `count` of `lines`.
fn last<'a, T: 'a>(
    mut lines: impl Iterator<Item = T> + 'a,
    count: usize,
) -> Box<dyn Iterator<Item = T> + 'a> {
    if count == usize::MAX {
        return Box::new(lines);
    }
    let mut kept = VecDeque::new();
    for line in &mut lines {
        kept.push_back(line);
        if kept.len() > count {
            kept.pop_front();
        }
    }
    Box::new(kept.into_iter())
}

fn print<'a>(
    screen: &mut Screen<'_>,
    form: &Form,
    names: &[ServiceName],
    lines: impl Iterator<Item = (usize, Entry<'a>)>,
) -> Result<(), Failure> {
    let mut out = Vec::new();
    for (at, entry) in lines {
        let name = names.get(at).map_or("", ServiceName::as_str);
        form.push(&mut out, name, &entry);
        if out.len() >= BLOCK {
            screen.print(&out)?;
            out.clear();
        }
    }
    if out.is_empty() {
        Ok(())
    } else {
        screen.print(out)
    }
}

/// Lines of one log as people are shown them.
pub(crate) fn for_people(lines: &[u8], paint: Paint) -> String {
    let mut out = String::new();
    for entry in Before::default().all(lines) {
        form::push_for_people(&mut out, paint, None, &entry);
    }
    out
}
