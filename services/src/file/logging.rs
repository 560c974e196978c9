//! The file that says how logs are kept, into settings. Not here: what they mean (`log::settings`), and
//! reading from disk.

use std::collections::BTreeSet;

use toml::Spanned;
use toml::de::{DeString, DeValue};

use super::address::tcp;
use super::document::Document;
use super::probe::SOCKET_PATH_MAX;
use super::value::Value;
use crate::diagnostic::{Diagnostic, nearest};
use crate::log::forward::Target;
use crate::log::limit::BURST_MOST;
use crate::log::priority::PRIORITY;
use crate::log::settings::{FORWARD_MAX, ROOM_MIN, Settings};
use crate::time::Duration;

/// All keys of the file.
const KEYS: [&str; 9] = [
    "boots",
    "burst",
    "burst-within",
    "directory",
    "disk",
    "flush",
    "forward",
    "forward-priority",
    "memory",
];
/// What a daemon is, for people.
const TARGET: &str = "a list of syslog daemons such as \"udp://10.0.0.1:514\", \"tcp://[::1]:601\" or \"unix:/run/x/log\"";
/// Shortest time within which lines are on the disk.
const FLUSH_MIN: Duration = Duration::from_millis(100);
/// Shortest time within which lines are counted.
pub(super) const WITHIN_MIN: Duration = Duration::from_millis(1);

/// Reads the settings in `text`, the content of `file`. What is wrong with it is told, and stays as it
/// is without the file.
#[must_use]
pub fn log_settings(file: &str, text: &str) -> (Settings, Vec<Diagnostic>) {
    let document = Document::new(file, text);
    let (table, mut diagnostics) = document.parse();
    let broken: BTreeSet<u32> = diagnostics.iter().map(|error| error.line).collect();
    let mut settings = Settings::default();
    let mut told = Vec::new();
    for (name, item) in &table {
        read(&document, name, item, &mut settings, &mut told);
    }
    // What an error of syntax leaves of its line is not what its writer meant.
    told.retain(|diagnostic| !broken.contains(&diagnostic.line));
    diagnostics.append(&mut told);
    diagnostics.sort();
    (settings, diagnostics)
}

fn read<'a>(
    document: &Document<'a>,
    name: &Spanned<DeString<'a>>,
    item: &Spanned<DeValue<'a>>,
    settings: &mut Settings,
    diagnostics: &mut Vec<Diagnostic>,
) {
    let key = name.get_ref().as_ref();
    let mut value = Value {
        document,
        key,
        item,
        diagnostics,
    };
    match key {
        "directory" => settings.directory = value.path().or(settings.directory.take()),
        "memory" => settings.memory = room(&mut value, false).unwrap_or(settings.memory),
        "disk" => settings.disk = room(&mut value, true).unwrap_or(settings.disk),
        "boots" => {
            let boots = value.integer(1_u32, 10_000_u32);
            settings.boots = boots.unwrap_or(settings.boots);
        }
        "flush" => settings.flush = value.duration(FLUSH_MIN).unwrap_or(settings.flush),
        "burst" => {
            let burst = value.integer(0, BURST_MOST);
            settings.limit.burst = burst.unwrap_or(settings.limit.burst);
        }
        "burst-within" => {
            let within = value.duration(WITHIN_MIN);
            settings.limit.within = within.unwrap_or(settings.limit.within);
        }
        "forward" => settings.forward = targets(&mut value).unwrap_or_default(),
        "forward-priority" => {
            let read = value.read(PRIORITY, str::parse);
            settings.forward_priority = read.unwrap_or(settings.forward_priority);
        }
        other => {
            let place = document.place(name.span().start);
            let told = Diagnostic::new(&place, "is not a key of the settings of logs").key(other);
            diagnostics.push(told.did_you_mean(nearest(other, KEYS)));
        }
    }
}

/// To whom lines are sent on.
fn targets(value: &mut Value<'_, '_>) -> Option<Vec<Target>> {
    let targets = value.list_of(TARGET, target)?;
    if targets.len() <= FORWARD_MAX {
        return Some(targets);
    }
    let problem = format!("names {} daemons", targets.len());
    value.refuse(&problem, &format!("at most {FORWARD_MAX}"));
    None
}

fn target(text: &str) -> Result<Target, String> {
    if let Some(path) = text.strip_prefix("unix:") {
        let path = path.strip_prefix("//").unwrap_or(path);
        return match path.starts_with('/') && path.len() < SOCKET_PATH_MAX {
            true => Ok(Target::Unix(path.into())),
            false => Err("does not name a socket by its whole path".to_owned()),
        };
    }
    let address = |rest| tcp(rest).map_err(str::to_owned);
    if let Some(rest) = text.strip_prefix("udp://") {
        return address(rest).map(Target::Udp);
    }
    match text.strip_prefix("tcp://") {
        Some(rest) => address(rest).map(Target::Tcp),
        None => Err("says neither `udp://`, nor `tcp://`, nor `unix:`".to_owned()),
    }
}

/// An amount of room that is worth having, or none where there may be none.
fn room(value: &mut Value<'_, '_>, may_be_none: bool) -> Option<u64> {
    let bytes = value.bytes()?;
    if bytes >= ROOM_MIN || (bytes == 0 && may_be_none) {
        return Some(bytes);
    }
    let least = ROOM_MIN >> 10;
    let expected = match may_be_none {
        true => format!("at least \"{least}K\", or 0 to keep logs in memory alone"),
        false => format!("at least \"{least}K\""),
    };
    value.refuse("is too little to keep logs in", &expected);
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::limit::Limit;
    use crate::log::priority::Priority;

    fn told(text: &str) -> Vec<String> {
        let (settings, diagnostics) = log_settings("log.toml", text);
        assert!(!diagnostics.is_empty(), "{settings:?}");
        let lines = diagnostics.iter().map(ToString::to_string);
        lines.collect()
    }

    #[test]
    fn what_is_said_counts_and_the_rest_goes_without_saying() {
        let (settings, told) = log_settings("log.toml", "");
        assert_eq!((settings, told.as_slice()), (Settings::default(), &[][..]));
        let text = "directory = \"/data/log\"\nmemory = \"1M\"\ndisk = 0\nboots = 3\nflush = \"1s\"\n\
            burst = 7\nburst-within = \"2s\"\n\
            forward = [\"udp://:514\", \"unix:///run/log\"]\nforward-priority = \"err\"\n";
        let (settings, told) = log_settings("log.toml", text);
        let expect = Settings {
            directory: Some("/data/log".into()),
            memory: 1 << 20,
            disk: 0,
            boots: 3,
            flush: Duration::from_secs(1),
            limit: Limit {
                burst: 7,
                within: Duration::from_secs(2),
            },
            forward: vec![
                Target::Udp("127.0.0.1:514".parse().unwrap()),
                Target::Unix("/run/log".into()),
            ],
            forward_priority: Priority::Error,
        };
        assert_eq!((settings, told.as_slice()), (expect, &[][..]));
    }

    #[test]
    fn what_is_wrong_is_told_with_its_place() {
        let text = "directory = \"log\"\nmemroy = \"1M\"\nmemory = \"1K\"\nflush = \"1us\"\nboots = 0\n\
            burst = -1\nburst-within = \"0s\"\n";
        let all = told(text).join("\n");
        for part in [
            "log.toml:1:13",
            "does not start with `/`",
            "log.toml:2:1",
            "`memory`",
            "log.toml:3:10",
            "is too little to keep logs in",
            "log.toml:4:9",
            "too short",
            "log.toml:5:9",
            "out of range",
            "log.toml:6:9",
            "log.toml:7:16",
        ] {
            assert!(all.contains(part), "{part} in {all}");
        }
        let text = "forward = [\"log.example:514\", \"udp://log.example:514\", \"unix:log\", \
            \"tcp://10.0.0.1\"]\nforward-priority = \"loud\"\n";
        let all = told(text).join("\n");
        for part in [
            "says neither",
            "no name server is asked",
            "by its whole path",
            "has no port",
            "not one of emerg",
        ] {
            assert!(all.contains(part), "{part} in {all}");
        }
        let many = format!(
            "forward = [{}]",
            "\":1\",".replace(":1", "udp://:1").repeat(5)
        );
        assert!(told(&many).join("\n").contains("names 5 daemons"));
        assert!(told("disk = \n").join("\n").contains("not TOML"));
    }
}
