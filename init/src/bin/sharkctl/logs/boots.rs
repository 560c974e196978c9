//! Which boots there are logs of, and which one is meant. Not here: reading its lines.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use init::log::boot;
use init::log::lines::Line;
use init::log::reader;
use init::log::segment::{Segments, list};
use init::log::stamp::Stamp;
use serde_json::json;

use crate::Context;
use crate::cli::logs::BootWord;
use crate::failure::Failure;
use crate::screen::Screen;
use crate::table::{Align, Cell, Table};

/// So much of a file is looked at for its first or its last line.
const LOOKED_AT: u64 = 32 * 1024;

/// A boot whose logs are read.
#[derive(Debug)]
pub(super) struct Boot {
    /// Its ID, where that is known.
    pub(super) id: Option<String>,
    /// The directory of its logs, if it has ended.
    ended: Option<PathBuf>,
}

impl Boot {
    /// Whether lines may still come.
    pub(super) const fn goes_on(&self) -> bool {
        self.ended.is_none()
    }

    /// Where its logs are.
    pub(super) fn places(&self, context: &Context) -> Result<Vec<PathBuf>, Failure> {
        match &self.ended {
            Some(directory) => Ok(vec![directory.clone()]),
            None => reader::places(&context.log_dir)
                .map_err(|error| Failure::of_file("read", &context.log_dir, &error)),
        }
    }
}

/// All boots with logs, from the oldest to the present one.
fn all(context: &Context) -> Result<Vec<Boot>, Failure> {
    let present = boot::of(&context.log_dir);
    let disk = boot::disk_of(&context.log_dir);
    let kept = match &disk {
        Some(disk) => boot::kept(disk).map_err(|error| Failure::of_file("read", disk, &error))?,
        None => Vec::new(),
    };
    let former = kept
        .into_iter()
        .filter(|it| Some(&it.id) != present.as_ref());
    let mut boots: Vec<Boot> = former
        .map(|it| Boot {
            id: Some(it.id),
            ended: Some(it.path),
        })
        .collect();
    boots.push(Boot {
        id: present,
        ended: None,
    });
    Ok(boots)
}

/// The boot that is meant; the present one, where none is named.
pub(super) fn find(context: &Context, word: Option<&BootWord>) -> Result<Boot, Failure> {
    let mut boots = all(context)?;
    let count = boots.len();
    let at = match word {
        None => count.checked_sub(1),
        Some(BootWord::Before(before)) => count.checked_sub(1 + *before as usize),
        Some(BootWord::Id(id)) => boots.iter().rposition(|it| it.id.as_ref() == Some(id)),
    };
    at.map(|at| boots.swap_remove(at)).ok_or_else(|| {
        let kept = match count {
            0 | 1 => "only those of the present boot".to_owned(),
            _ => format!("those of {count} boots (`sharkctl logs --list-boots`)"),
        };
        Failure::Failed(format!(
            "no logs are kept of that boot, but {kept}; `sharkctl boot history` tells of more"
        ))
    })
}

/// A boot with logs, as it is told of.
#[derive(Debug)]
pub(crate) struct Told {
    /// How many boots ago; 0 is the present one.
    pub(crate) before: u64,
    /// Its ID, where that is known.
    pub(crate) id: Option<String>,
    /// The times of its first and its last line.
    pub(crate) span: Option<(Stamp, Stamp)>,
    /// Bytes of its logs.
    pub(crate) bytes: u64,
}

impl Told {
    /// As it is named: `-1` is the one before.
    pub(crate) fn number(&self) -> String {
        match self.before {
            0 => "0".to_owned(),
            before => format!("-{before}"),
        }
    }
}

/// All boots with logs, from the oldest to the present one.
pub(crate) fn told(context: &Context) -> Result<Vec<Told>, Failure> {
    let boots = all(context)?;
    let numbers = (0_u64..).take(boots.len()).collect::<Vec<_>>();
    let numbers = numbers.into_iter().rev();
    let told = numbers.zip(&boots).map(|(before, boot)| {
        let places = boot.places(context)?;
        Ok(Told {
            before,
            id: boot.id.clone(),
            span: span(&places)?,
            bytes: bytes(&places)?,
        })
    });
    told.collect()
}

/// Prints all boots with logs.
pub(super) fn print(context: &Context, screen: &mut Screen<'_>) -> Result<(), Failure> {
    let boots = told(context)?;
    if screen.json {
        let boots = boots.iter().map(|boot| {
            let text = |stamp: Stamp| stamp.to_string();
            json!({
                "number": boot.number().parse::<i64>().unwrap_or(0),
                "boot": boot.id,
                "first": boot.span.map(|it| text(it.0)),
                "last": boot.span.map(|it| text(it.1)),
            })
        });
        return screen.print_json(&json!({ "boots": boots.collect::<Vec<_>>() }));
    }
    let paint = screen.paint();
    let head = |text: &str| Cell::painted(text, |text| paint.bold(text));
    let mut table = Table::new(vec![
        (Align::Right, head("BOOT")),
        (Align::Left, head("ID")),
        (Align::Left, head("FIRST LINE (UTC)")),
        (Align::Left, head("LAST LINE (UTC)")),
    ]);
    for boot in boots {
        let text = |stamp: Option<Stamp>| stamp.map_or("-".to_owned(), Stamp::to_seconds_text);
        table.row(vec![
            boot.number().into(),
            boot.id.unwrap_or_else(|| "-".to_owned()).into(),
            text(boot.span.map(|it| it.0)).into(),
            text(boot.span.map(|it| it.1)).into(),
        ]);
    }
    screen.print(table.render())
}

/// Bytes of all logs; a file that has gone meanwhile has none.
fn bytes(places: &[PathBuf]) -> Result<u64, Failure> {
    let place = places.first().map_or(Path::new("/"), PathBuf::as_path);
    let logs = list(places).map_err(|error| Failure::of_file("read", place, &error))?;
    let files = logs.values().flat_map(Segments::values);
    let sizes = files.filter_map(|path| path.metadata().ok());
    Ok(sizes.map(|it| it.len()).sum())
}

/// The times of the first line and of the last one in all logs.
fn span(places: &[PathBuf]) -> Result<Option<(Stamp, Stamp)>, Failure> {
    let place = places.first().map_or(Path::new("/"), PathBuf::as_path);
    let logs = list(places).map_err(|error| Failure::of_file("read", place, &error))?;
    let firsts = logs.values().filter_map(|it| end_of(it, false));
    let lasts = logs.values().filter_map(|it| end_of(it, true));
    Ok(firsts.min().zip(lasts.max()))
}

/// The time of the first or the last whole line of a log. A file that cannot be read has none.
fn end_of(segments: &Segments, last: bool) -> Option<Stamp> {
    let time = |path: &PathBuf| {
        let mut file = File::open(path).ok()?;
        if last {
            let length = file.metadata().ok()?.len();
            file.seek(SeekFrom::Start(length.saturating_sub(LOOKED_AT)))
                .ok()?;
        }
        let mut block = Vec::new();
        file.take(LOOKED_AT).read_to_end(&mut block).ok()?;
        let whole = block.split_inclusive(|byte| *byte == b'\n');
        let mut times = whole.filter_map(|line| {
            let line = line.strip_suffix(b"\n")?;
            Stamp::parse(Line::parse(line).stamp)
        });
        if last {
            times.next_back()
        } else {
            times.next()
        }
    };
    match last {
        true => segments.values().rev().find_map(time),
        false => segments.values().find_map(time),
    }
}
