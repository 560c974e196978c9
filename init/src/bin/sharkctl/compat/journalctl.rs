//! `journalctl`, as journalctl(1) of systemd 252 documents it: what `sharkctl logs` finds, in the forms
//! that scripts read. Not here: finding it (`logs`).

mod kept;

use std::io::{self, Write};

use clap::Parser;
use init::log::stamp::Stamp;
use serde_json::{Value, json};

use super::units::{Unit, is_pattern, matches};
use super::words::{Known, Takes, Words, flag, value};
use super::{list, status};
use crate::Context;
use crate::cli::{Cli, Logs, ServiceVerb, Verb};
use crate::failure::Failure;
use crate::logs;
use crate::screen::Screen;
use crate::table::printable;

const OPTIONS: [Known; 40] = [
    flag("help", Some('h')),
    flag("version", None),
    value("unit", Some('u')),
    flag("follow", Some('f')),
    Known {
        long: "lines",
        short: Some('n'),
        takes: Takes::Maybe(is_count),
    },
    flag("no-tail", None),
    value("since", Some('S')),
    value("until", Some('U')),
    Known {
        long: "boot",
        short: Some('b'),
        takes: Takes::Maybe(is_boot),
    },
    flag("dmesg", Some('k')),
    value("priority", Some('p')),
    value("grep", Some('g')),
    Known {
        long: "case-sensitive",
        short: None,
        takes: Takes::Maybe(|_| false),
    },
    flag("reverse", Some('r')),
    value("output", Some('o')),
    flag("utc", None),
    flag("pager-end", Some('e')),
    flag("no-pager", None),
    flag("quiet", Some('q')),
    flag("catalog", Some('x')),
    flag("all", Some('a')),
    flag("full", Some('l')),
    flag("no-full", None),
    flag("no-hostname", None),
    flag("merge", Some('m')),
    flag("system", None),
    flag("user", None),
    value("directory", Some('D')),
    value("identifier", Some('t')),
    flag("list-boots", None),
    flag("disk-usage", None),
    value("vacuum-size", None),
    value("vacuum-time", None),
    value("vacuum-files", None),
    flag("rotate", None),
    flag("flush", None),
    flag("relinquish-var", None),
    flag("smart-relinquish-var", None),
    flag("sync", None),
    flag("verify", None),
];

/// Options that would have to do something that there is nothing like here.
const REFUSED: [&str; 3] = ["user", "directory", "identifier"];

const HELP: &str = "\
journalctl [OPTIONS...] [_SYSTEMD_UNIT=...]

The options of journalctl(1) that scripts use, done by Shark init (shark-compat(7)):
  -u -f -n -S -U -b -k -p -g -r -e -q -o short|short-iso|short-precise|short-unix|cat|json|export
  --list-boots --disk-usage
`sharkctl logs` can do more.
";

fn is_count(next: &str) -> bool {
    next == "all" || next.parse::<usize>().is_ok()
}

fn is_boot(next: &str) -> bool {
    next == "all" || next.parse::<i64>().is_ok() || init::log::boot::id(next).is_some()
}

/// How a line is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    Short,
    Iso,
    Precise,
    Unix,
    Cat,
    Json,
    Export,
}

impl Form {
    const NAMES: [(&'static str, Self); 8] = [
        ("short", Self::Short),
        ("with-unit", Self::Short),
        ("short-iso", Self::Iso),
        ("short-precise", Self::Precise),
        ("short-unix", Self::Unix),
        ("cat", Self::Cat),
        ("json", Self::Json),
        ("export", Self::Export),
    ];

    fn of(words: &Words) -> Result<Self, String> {
        let Some(name) = words.value("output") else {
            return Ok(Self::Short);
        };
        let known = Self::NAMES.iter().find(|(known, _)| *known == name);
        known.map(|(_, form)| *form).ok_or(format!(
            "Unknown output format '{name}'; Shark init knows short, short-iso, short-precise, short-unix, \
             cat, json, export."
        ))
    }
}

/// `journalctl`.
pub(super) fn journalctl(
    context: &Context,
    screen: &mut Screen<'_>,
    arguments: &[String],
) -> Result<u8, Failure> {
    let wrong = |screen: &mut Screen<'_>, text: &str| {
        screen.complain_bare(text);
        Ok(1)
    };
    let words = match Words::scan(arguments, &OPTIONS) {
        Ok(words) => words,
        Err(text) => return wrong(screen, &format!("journalctl: {text}")),
    };
    if words.has("version") {
        return screen
            .print("systemd 252 (the names of Shark init; this is not systemd)\n")
            .map(|()| 0);
    }
    if words.has("help") {
        return screen.print(HELP).map(|()| 0);
    }
    if let Some(option) = REFUSED.iter().find(|option| words.has(option)) {
        return wrong(
            screen,
            &format!("--{option} is not supported by Shark init (shark-compat(7))."),
        );
    }
    if let Some((option, why)) = kept::REFUSED.iter().find(|(option, _)| words.has(option)) {
        let text = format!("--{option} is not supported by Shark init: {why} (shark-log(5)).");
        return wrong(screen, &text);
    }
    let form = match Form::of(&words) {
        Ok(form) => form,
        Err(text) => return wrong(screen, &text),
    };
    if words.has("list-boots") {
        return kept::boots(context, screen, &words);
    }
    if words.has("disk-usage") {
        return kept::usage(context, screen);
    }
    let services = match services(context, screen, &words) {
        Ok(services) => services?,
        Err(text) => return wrong(screen, &text),
    };
    let quiet = words.has("quiet") || matches!(form, Form::Json | Form::Export);
    let Some(services) = services else {
        return no_entries(screen, quiet);
    };
    let options = match options(&words, form, &services) {
        Ok(options) => options,
        Err(text) => return wrong(screen, &text),
    };
    let shown = show(context, screen, &options, form, words.has("reverse"))?;
    match shown == 0 && !options.follow {
        true => no_entries(screen, quiet),
        false => Ok(0),
    }
}

fn no_entries(screen: &mut Screen<'_>, quiet: bool) -> Result<u8, Failure> {
    match quiet {
        true => Ok(0),
        false => screen.print("-- No entries --\n").map(|()| 0),
    }
}

/// The last lines of one service, as they stand below a status.
pub(super) fn last_lines(context: &Context, service: &str, count: usize) -> String {
    let mut text = Vec::new();
    let mut complaints = Vec::new();
    let mut screen = Screen::new(&mut text, &mut complaints, false);
    let (count, services) = (count.to_string(), [service.to_owned()]);
    // A log that cannot be read is no reason not to tell the rest.
    if let Ok(options) = parse(&["-n", &count], Form::Short, &services) {
        let _ = show(context, &mut screen, &options, Form::Short, false);
    }
    String::from_utf8_lossy(&text).into_owned()
}

/// The services whose lines are asked for: all, where the list is empty; `None`, where there is none of
/// those that are named.
type Services = Result<Option<Vec<String>>, Failure>;

fn services(context: &Context, screen: &mut Screen<'_>, words: &Words) -> Result<Services, String> {
    let mut units: Vec<&str> = words.values("unit").collect();
    for word in &words.words {
        match word.split_once('=') {
            Some(("_SYSTEMD_UNIT" | "UNIT", unit)) => units.push(unit),
            Some(_) | None => {
                return Err(format!(
                    "{word}: Shark init finds lines by their unit only: -u, or _SYSTEMD_UNIT=."
                ));
            }
        }
    }
    if words.has("dmesg") {
        return Ok(Ok(Some(vec!["kernel".to_owned()])));
    }
    Ok(named(context, screen, &units))
}

fn named(context: &Context, screen: &mut Screen<'_>, units: &[&str]) -> Services {
    let mut services = Vec::new();
    for word in units {
        if is_pattern(word) {
            let all = list(context, screen)?;
            let meant = all
                .iter()
                .filter(|it| matches(word, &Unit::of(it).name()) || matches(word, &it.name));
            services.extend(meant.map(|it| it.name.clone()));
            continue;
        }
        let Some(unit) = Unit::parse(word) else {
            continue;
        };
        // Logs are files, and can be read where init cannot be asked.
        match status(context, screen, &unit.service) {
            Ok(None) => {}
            Ok(Some(_)) | Err(_) => services.push(unit.service),
        }
    }
    Ok(match services.is_empty() && !units.is_empty() {
        true => None,
        false => Some(services),
    })
}

/// What `sharkctl logs` is asked for.
fn options(words: &Words, form: Form, services: &[String]) -> Result<Logs, String> {
    let mut line: Vec<String> = Vec::new();
    let mut option = |name: &str, value: Option<String>| {
        line.extend(value.map(|value| format!("--{name}={value}")));
    };
    for name in ["since", "until"] {
        option(name, words.value(name).map(moment));
    }
    let lines = match words.value("lines") {
        Some(count) => Some(count.to_owned()),
        None if words.has("lines") => Some("10".to_owned()),
        None if words.has("pager-end") => Some("1000".to_owned()),
        None if words.has("no-tail") && words.has("follow") => Some(usize::MAX.to_string()),
        None => None,
    };
    option("lines", lines.filter(|count| count != "all"));
    let boot = match words.value("boot") {
        None if words.has("boot") || words.has("dmesg") => Some("0"),
        given => given.filter(|boot| *boot != "all"),
    };
    option(
        "boot",
        boot.map(|boot| boot.trim_start_matches('+').replace("-0", "0")),
    );
    if words.value("priority").is_some_and(|it| it.contains("..")) {
        return Err(
            "Shark init knows no ranges of priorities: name the least grave one.".to_owned(),
        );
    }
    option("priority", words.value("priority").map(str::to_owned));
    option("grep", words.value("grep").map(pattern));
    if words.has("follow") {
        line.push("--follow".to_owned());
    }
    let line: Vec<&str> = line.iter().map(String::as_str).collect();
    parse(&line, form, services)
}

/// As `sharkctl logs` would be told on its command line, so that both mean the same.
fn parse(line: &[&str], form: Form, services: &[String]) -> Result<Logs, String> {
    let mut whole = vec!["sharkctl", "logs"];
    whole.extend(line);
    if form == Form::Export {
        whole.push("--export");
    }
    whole.push("--");
    whole.extend(services.iter().map(String::as_str));
    match Cli::try_parse_from(whole).map(|cli| cli.verb) {
        Ok(Verb::Short(ServiceVerb::Logs(options))) => Ok(options),
        Ok(_) => Err("journalctl: these options cannot be understood".to_owned()),
        Err(error) => {
            let text = error.to_string();
            let first = text.lines().next().unwrap_or_default();
            Err(format!(
                "journalctl: {}",
                first.trim_start_matches("error: ")
            ))
        }
    }
}

/// `10 minutes ago` is `-10min` here.
fn moment(text: &str) -> String {
    let Some(span) = text.strip_suffix(" ago") else {
        return text.to_owned();
    };
    let mut short = String::from("-");
    for word in span.split_whitespace() {
        let (number, unit) = word.split_at(
            word.find(|c: char| !c.is_ascii_digit())
                .unwrap_or(word.len()),
        );
        short.push_str(number);
        short.push_str(match unit {
            "second" | "seconds" | "sec" | "s" => "s",
            "minute" | "minutes" | "min" | "m" => "min",
            "hour" | "hours" | "hr" | "h" => "h",
            "day" | "days" | "d" => "d",
            other => other,
        });
    }
    short
}

/// Without a capital letter, a pattern stands for capitals too.
fn pattern(text: &str) -> String {
    match text.chars().any(char::is_uppercase) {
        true => text.to_owned(),
        false => format!("(?i){text}"),
    }
}

/// Prints the lines in their form; gives how many.
fn show(
    context: &Context,
    screen: &mut Screen<'_>,
    options: &Logs,
    form: Form,
    reverse: bool,
) -> Result<usize, Failure> {
    let mut rewriter = Rewriter {
        screen,
        form,
        reverse,
        host: host(),
        begun: Vec::new(),
        kept: Vec::new(),
        shown: 0,
    };
    let mut complaints = Vec::new();
    let mut inner = Screen::new(&mut rewriter, &mut complaints, false);
    (inner.json, inner.quiet) = (form != Form::Export, true);
    match logs::logs(context, &mut inner, options) {
        Ok(()) | Err(Failure::NoSuchService(_)) => {}
        Err(other) => return Err(other),
    }
    rewriter.kept.reverse();
    for line in std::mem::take(&mut rewriter.kept) {
        rewriter.screen.print(line)?;
    }
    Ok(rewriter.shown)
}

fn host() -> String {
    let name = kernel::files::read_text("/proc/sys/kernel/hostname", 256);
    name.map_or_else(|_| "localhost".to_owned(), |it| it.trim_end().to_owned())
}

/// Takes the lines that `logs` prints for programs, and prints them for those of journalctl.
struct Rewriter<'r, 's> {
    screen: &'r mut Screen<'s>,
    form: Form,
    reverse: bool,
    host: String,
    /// What there is of a line.
    begun: Vec<u8>,
    /// Lines that come in the other order.
    kept: Vec<Vec<u8>>,
    shown: usize,
}

impl Write for Rewriter<'_, '_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.form == Form::Export {
            self.shown += usize::from(!bytes.is_empty());
            return self.print(bytes).map(|()| bytes.len());
        }
        for part in bytes.split_inclusive(|byte| *byte == b'\n') {
            self.begun.extend_from_slice(part);
            if part.ends_with(b"\n") {
                let line = std::mem::take(&mut self.begun);
                if let Ok(entry) = serde_json::from_slice::<Value>(&line) {
                    self.shown += 1;
                    let text = shaped(self.form, &self.host, &entry);
                    match self.reverse {
                        true => self.kept.push(text),
                        false => self.print(&text)?,
                    }
                }
            }
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Rewriter<'_, '_> {
    fn print(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.screen.print(bytes).map_err(|failure| match failure {
            Failure::OutputClosed => io::ErrorKind::BrokenPipe.into(),
            other => io::Error::other(other.to_string()),
        })
    }
}

/// The bytes of a message: text, or numbers where it is none.
fn message(entry: &Value) -> Vec<u8> {
    match entry.get("message") {
        Some(Value::String(text)) => text.clone().into_bytes(),
        Some(Value::Array(bytes)) => {
            let bytes = bytes.iter().filter_map(Value::as_u64);
            bytes.filter_map(|it| u8::try_from(it).ok()).collect()
        }
        _ => Vec::new(),
    }
}

/// One line of the log in the form that is asked for.
pub(super) fn shaped(form: Form, host: &str, entry: &Value) -> Vec<u8> {
    let message = message(entry);
    let time = entry.get("time").and_then(Value::as_str);
    let time = time.and_then(Stamp::parse).unwrap_or(Stamp::from_micros(0));
    if form == Form::Cat {
        return [message.as_slice(), b"\n"].concat();
    }
    if form == Form::Json {
        return format!("{}\n", as_journal(host, time, entry, &message)).into_bytes();
    }
    let text = |key| entry.get(key).and_then(Value::as_str);
    let who = text("program").or(text("service")).unwrap_or("unknown");
    let pid = entry.get("pid").and_then(Value::as_u64);
    let pid = pid.map_or_else(String::new, |pid| format!("[{pid}]"));
    let message = printable(&String::from_utf8_lossy(&message));
    let who = printable(who);
    format!("{} {host} {who}{pid}: {message}\n", stamp(form, time)).into_bytes()
}

fn stamp(form: Form, time: Stamp) -> String {
    const MONTHS: [&str; 12] = [
        "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
    ];
    let text = time.to_seconds_text();
    let micros = time.as_micros() % 1_000_000;
    let (date, clock) = text.split_once(' ').unwrap_or((&text, ""));
    let month = date
        .get(5..7)
        .and_then(|it| it.parse::<usize>().ok())
        .unwrap_or(1);
    let month = MONTHS
        .get(month.saturating_sub(1))
        .copied()
        .unwrap_or("Jan");
    let day = date.get(8..).unwrap_or("01");
    match form {
        Form::Iso => format!("{date}T{clock}+0000"),
        Form::Precise => format!("{month} {day} {clock}.{micros:06}"),
        Form::Unix => format!("{}.{micros:06}", time.as_micros() / 1_000_000),
        Form::Short | Form::Cat | Form::Json | Form::Export => format!("{month} {day} {clock}"),
    }
}

/// The fields of systemd.journal-fields(7), each a string.
fn as_journal(host: &str, time: Stamp, entry: &Value, message: &[u8]) -> Value {
    let text = |key| entry.get(key).and_then(Value::as_str);
    let service = text("service").unwrap_or_default();
    let mut fields = json!({
        "__REALTIME_TIMESTAMP": time.as_micros().to_string(),
        "_HOSTNAME": host,
        "SYSLOG_IDENTIFIER": text("program").unwrap_or(service),
        "PRIORITY": entry.get("priority").and_then(Value::as_u64).unwrap_or(6).to_string(),
    });
    let mut put = |key: &str, value: Value| {
        if let Some(fields) = fields.as_object_mut() {
            fields.insert(key.to_owned(), value);
        }
    };
    match service {
        "kernel" => put("_TRANSPORT", json!("kernel")),
        "syslog" => put("_TRANSPORT", json!("syslog")),
        service => put("_SYSTEMD_UNIT", json!(format!("{service}.service"))),
    }
    if let Some(boot) = text("boot") {
        put("_BOOT_ID", json!(boot));
    }
    if let Some(pid) = entry.get("pid").and_then(Value::as_u64) {
        put("_PID", json!(pid.to_string()));
    }
    match std::str::from_utf8(message) {
        Ok(text) => put("MESSAGE", json!(text)),
        Err(_) => put("MESSAGE", json!(message)),
    }
    fields
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(message: &Value) -> Value {
        json!({
            "time": "2026-11-30T12:34:56.789012Z", "boot": "0123", "service": "web", "kind": "line",
            "priority": 3, "program": null, "pid": 7, "message": message,
        })
    }

    #[test]
    fn lines_have_the_forms_of_the_journal() {
        let said =
            |form| String::from_utf8(shaped(form, "box", &entry(&json!("no \u{1b}room")))).unwrap();
        assert_eq!(said(Form::Short), "Nov 30 12:34:56 box web[7]: no  room\n");
        assert_eq!(
            said(Form::Iso),
            "2026-11-30T12:34:56+0000 box web[7]: no  room\n"
        );
        assert!(said(Form::Precise).starts_with("Nov 30 12:34:56.789012 box "));
        assert!(said(Form::Unix).starts_with("1796042096.789012 box "));
        assert_eq!(said(Form::Cat), "no \u{1b}room\n");
        let json: Value = serde_json::from_str(&said(Form::Json)).unwrap();
        assert_eq!(json["_SYSTEMD_UNIT"], "web.service");
        assert_eq!(
            (&json["PRIORITY"], &json["_PID"]),
            (&json!("3"), &json!("7"))
        );
        assert_eq!(json["__REALTIME_TIMESTAMP"], "1796042096789012");
        let bytes = shaped(Form::Cat, "box", &entry(&json!([255, 10])));
        assert_eq!(bytes, [255, 10, 10]);
    }

    #[test]
    fn times_and_patterns_are_ours() {
        assert_eq!(moment("10 minutes ago"), "-10min");
        assert_eq!(moment("1h 30min ago"), "-1h30min");
        assert_eq!(moment("2026-11-30 12:00"), "2026-11-30 12:00");
        assert_eq!(pattern("time ?out"), "(?i)time ?out");
        assert_eq!(pattern("Time"), "Time");
    }

    #[test]
    fn what_journalctl_is_told_is_what_logs_is_told() {
        let of = |line: &str| {
            let words: Vec<String> = line.split('|').map(str::to_owned).collect();
            let words = Words::scan(&words, &OPTIONS).unwrap();
            options(&words, Form::of(&words).unwrap(), &["web".to_owned()])
        };
        let all = of("-u|web|-n|5|--no-pager|-b|--since|10 min ago|-g|x|-p|err").unwrap();
        assert_eq!(
            (all.lines, all.services.as_slice()),
            (Some(5), ["web".to_owned()].as_slice())
        );
        assert!(all.since.is_some() && all.boot.is_some() && all.grep.is_some() && !all.follow);
        assert_eq!(of("-xeu|web").unwrap().lines, Some(1000));
        assert_eq!(of("-n").unwrap().lines, Some(10));
        assert_eq!(of("-n|all|-f").unwrap().lines, None);
        assert!(of("-o|export").unwrap().export);
        assert!(
            of("-S|no time")
                .unwrap_err()
                .starts_with("journalctl: invalid value")
        );
        assert!(of("-p|err..info").unwrap_err().contains("ranges"));
    }
}
