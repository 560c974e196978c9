//! `logs`: prints what services wrote, and follows it. Not here: reading the files
//! (`init::log::reader`), the order of their lines (`init::log::entry`), and how a line is printed
//! (`form`).

mod form;

use std::collections::VecDeque;
use std::time::Duration;

use init::log::boot;
use init::log::entry::{Before, Entry, Merged};
use init::log::export::Machine;
use init::log::file::current_path;
use init::log::reader::{Found, Reader, services_in};
use init::log::stamp::Stamp;
use services::control::Request;
use services::id::ServiceName;

use crate::Context;
use crate::cli::Logs;
use crate::cli::logs::BootWord;
use crate::failure::Failure;
use crate::screen::{Paint, Screen};
use crate::waiting::ask;
use form::Form;

/// How often followed logs are looked at.
const TURN: Duration = Duration::from_millis(200);

/// Lines shown before those that are followed, where nothing else is asked for.
const BEFORE_FOLLOWING: usize = 10;

/// So much is printed at a time.
const BLOCK: usize = 64 * 1024;

/// Descriptors beside those of the logs.
const OTHER_DESCRIPTORS: u64 = 64;

/// `logs`.
pub(crate) fn logs(
    context: &Context,
    screen: &mut Screen<'_>,
    options: &Logs,
) -> Result<(), Failure> {
    let mut logs = named(context, screen, options)?;
    let boot = boot::of(&context.log_dir);
    if let Some(word) = &options.boot {
        only_this(word, boot.as_deref())?;
    }
    let form = form_of(context, screen, options, boot);
    let count = match options.lines {
        Some(count) => count,
        None if options.follow => BEFORE_FOLLOWING,
        None => usize::MAX,
    };
    turn(context, screen, options, &form, &mut logs, count)?;
    while options.follow && options.until.is_none_or(|until| Stamp::now() <= until) {
        std::thread::sleep(TURN);
        if options.services.is_empty() {
            add_new(context, &mut logs)?;
        }
        turn(context, screen, options, &form, &mut logs, usize::MAX)?;
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
    fn new(context: &Context, name: ServiceName) -> Self {
        Self {
            reader: Reader::new(&context.log_dir, &name),
            before: Before::default(),
            name,
        }
    }
}

/// The logs that are asked for.
fn named(context: &Context, screen: &mut Screen<'_>, options: &Logs) -> Result<Vec<Log>, Failure> {
    let mut logs: Vec<Log> = Vec::new();
    for text in &options.services {
        let name =
            ServiceName::new(text).map_err(|error| Failure::Usage(format!("`{text}`: {error}")))?;
        let log = Log::new(context, name);
        if !log.reader.exists() {
            ask_whether_it_exists(context, screen, text)?;
            screen.say(&format!("{} has written nothing", log.name));
        }
        if logs.iter().all(|it| it.name != log.name) {
            logs.push(log);
        }
    }
    if options.services.is_empty() {
        add_new(context, &mut logs)?;
        if logs.is_empty() {
            screen.say(&format!(
                "there are no logs in {}",
                context.log_dir.display()
            ));
        }
    }
    Ok(logs)
}

/// Adds the logs that have come to be.
fn add_new(context: &Context, logs: &mut Vec<Log>) -> Result<(), Failure> {
    let names = services_in(&context.log_dir)
        .map_err(|error| Failure::of_file("read", &context.log_dir, &error))?;
    let known = logs.len();
    for name in names {
        let old = logs.get(..known).unwrap_or_default();
        if old.iter().all(|log| log.name != name) {
            logs.push(Log::new(context, name));
        }
    }
    Ok(())
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

/// Fails unless the boot that is asked for is the one that the logs are of.
fn only_this(word: &BootWord, boot: Option<&str>) -> Result<(), Failure> {
    let this = match word {
        BootWord::Id(id) => boot == Some(id.as_str()),
        BootWord::Before(count) => *count == 0,
    };
    if this {
        return Ok(());
    }
    let only = boot.map_or_else(String::new, |id| format!(" ({id})"));
    Err(Failure::Failed(format!(
        "only the logs of the present boot{only} are kept: they are in memory. \
         `sharkctl boot history` tells of the boots before it"
    )))
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

/// Reads what is new in all logs, and prints the last `count` lines of it that are asked for.
fn turn(
    context: &Context,
    screen: &mut Screen<'_>,
    options: &Logs,
    form: &Form,
    logs: &mut [Log],
    count: usize,
) -> Result<(), Failure> {
    if options.follow {
        // Each log that is followed stays open. Where the limit stays, reading tells.
        let wanted = OTHER_DESCRIPTORS.saturating_add(logs.len() as u64);
        if wanted > 1024 {
            let _ = kernel::system::raise_descriptor_limit(wanted);
        }
    }
    let mut found = Vec::new();
    for log in &mut *logs {
        found.push(read(context, screen, log)?);
        if !options.follow {
            log.reader = Reader::new(&context.log_dir, &log.name);
        }
    }
    let names: Vec<ServiceName> = logs.iter().map(|log| log.name.clone()).collect();
    let lines = logs.iter_mut().zip(&found);
    let lines = Merged::new(lines.map(|(log, found)| log.before.all(&found.lines)))
        .filter(|(_, entry)| is_wanted(options, entry));
    print(screen, form, &names, last(lines, count))
}

fn read(context: &Context, screen: &mut Screen<'_>, log: &mut Log) -> Result<Found, Failure> {
    let found = log.reader.read().map_err(|error| {
        Failure::of_file("read", &current_path(&context.log_dir, &log.name), &error)
    })?;
    if found.gap {
        screen.complain(&format!(
            "the log of {} is rotated faster than it is read: lines may be missing here",
            log.name
        ));
    }
    Ok(found)
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
