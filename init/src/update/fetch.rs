//! The fetching child, `shark-update fetch`: the only process that touches bytes nobody has vouched for.
//! It gives up all rights but to its source, shows the head of the bundle, and sends the chunks it is
//! asked for, checked and decompressed. Not here: what comes of them (`job`), what is tried again
//! (`supply`).
//!
//! Standard input is the source, unless it is a URL; standard output is the socket to the updater.

use std::os::unix::net::UnixStream;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use kernel::confine::{self, Kept, Who};
use mounts::bundle::{BundleError, Chunk, Front, PREFIX_SIZE, Prefix, Start};
use mounts::fetch::content::Decoder;
use mounts::fetch::words::{Fault, FaultKind, Order, Said};
use mounts::keyring::{self, Keyring, LINKS_MAX, LinkError};

use super::http::Http;
use super::source::Source;
use super::words::{hear, say};

/// What is needed to find a server by its name.
const RESOLVER: [&str; 2] = ["/etc/resolv.conf", "/etc/hosts"];
/// Bytes of address space: two chunks, the table, and the program itself.
const MEMORY: u64 = 96 << 20;
/// How often it says that bytes come in.
const HINT: Duration = Duration::from_secs(1);

/// Runs the child.
#[must_use]
pub fn run() -> ExitCode {
    let Ok(socket) = kernel::inherited::duplicate(1).map(UnixStream::from) else {
        return ExitCode::FAILURE;
    };
    let mut child = Child {
        updater: socket,
        heard: Instant::now(),
    };
    match child.serve() {
        Ok(()) => ExitCode::SUCCESS,
        Err(fault) => {
            // Where the updater is gone, nobody has to know.
            let _ = child.say(&Said::Failed(fault));
            ExitCode::FAILURE
        }
    }
}

struct Child {
    updater: UnixStream,
    /// When it last gave a sign of life.
    heard: Instant,
}

/// What one chunk after the other goes through, kept between them.
#[derive(Default)]
struct Work {
    stored: Vec<u8>,
    content: Vec<u8>,
    decoder: Decoder,
}

impl Child {
    fn serve(&mut self) -> Result<(), Fault> {
        let Some(Order::Open { url, basis }) = self.order()? else {
            return Err(Fault::lasting(
                "`shark-update fetch` is run by the updater itself",
            ));
        };
        self.confine(url.is_some())?;
        let mut source = match &url {
            Some(url) => Source::Http(Box::new(Http::new(url)?)),
            None => Source::standard_input()?,
        };
        let (keyring, _) = basis.keyring();
        let (base, front) = self.head(&mut source, keyring)?;
        let Front { header, table, .. } = front;
        let Some(Order::Send(runs)) = self.order()? else {
            return Ok(());
        };
        let mut work = Work::default();
        for (first, end) in runs {
            let until = table.stored_end(end).unwrap_or(header.size());
            source.will_read(base.saturating_add(until));
            for number in first..end {
                let chunk = table
                    .chunk(number)
                    .ok_or_else(|| Fault::lasting(format!("there is no chunk {number}")))?;
                let at = base.saturating_add(chunk.stored_at);
                self.send(&mut source, at, number, &chunk, &mut work)?;
            }
        }
        let ends = source.ends_at(base.saturating_add(header.size()));
        if !ends.map_err(|fault| in_part(fault, &source, "chunks"))? {
            return Err(bad(&BundleError::Trailing));
        }
        self.say(&Said::Done)
    }

    fn order(&mut self) -> Result<Option<Order>, Fault> {
        hear(&mut self.updater).map_err(Fault::lasting)
    }

    fn say(&mut self, what: &Said) -> Result<(), Fault> {
        say(&mut self.updater, what).map_err(Fault::lasting)
    }

    /// A sign of life, for whoever waits for a chunk: seldom, as each wakes the updater.
    fn hint(&mut self) -> Result<(), Fault> {
        if self.heard.elapsed() < HINT {
            return Ok(());
        }
        self.heard = Instant::now();
        self.say(&Said::Heard)
    }

    /// Before the first byte of the source is read.
    fn confine(&mut self, network: bool) -> Result<(), Fault> {
        let kept = Kept {
            readable: if network { &RESOLVER } else { &[] },
            executable: &[],
            network,
            memory: MEMORY,
            who: match kernel::system::uid() {
                0 => Who::Nobody,
                _ => Who::Itself,
            },
        };
        let lacking = confine::enter(&kept);
        for words in lacking.map_err(|error| Fault::lasting(error.to_string()))? {
            self.say(&Said::Lacking(words))?;
        }
        Ok(())
    }

    /// Reads and checks all that is before the chunks, and shows it. With it, where its header begins:
    /// from there all places are counted.
    fn head(&mut self, source: &mut Source, mut keyring: Keyring) -> Result<(u64, Front), Fault> {
        let (mut head, prefix) = self.links(source)?;
        let base = head.len().saturating_sub(PREFIX_SIZE) as u64;
        let header = self.append(source, &mut head, prefix.header_size(), "header")?;
        let json = head.get(header..).unwrap_or_default();
        // Whom the links make trustworthy is seen before the rest is read.
        let links = head.get(..header.saturating_sub(PREFIX_SIZE));
        let links = keyring::parse(links.unwrap_or_default());
        keyring.extend(&links.map_err(|error| bad(&BundleError::Links(error)))?);
        let checked = prefix.verify(json, &keyring).map_err(|error| bad(&error))?;
        self.append(source, &mut head, checked.table_size(), "table")?;
        let front = Front::read(&head, &mut keyring).map_err(|error| bad(&error))?;
        let expected = base.saturating_add(checked.size());
        if let Some(length) = source.length().filter(|it| *it != expected) {
            let what = if length < expected {
                "cut short"
            } else {
                "damaged"
            };
            return Err(Fault::refused(format!(
                "bundle {what}: it has {length} bytes, expected {expected}"
            )));
        }
        self.say(&Said::Head(head))?;
        Ok((base, front))
    }

    /// Reads the links of keys, and the prefix of the header behind them.
    fn links(&mut self, source: &mut Source) -> Result<(Vec<u8>, Prefix), Fault> {
        let mut head = Vec::new();
        for _ in 0..=LINKS_MAX {
            let at = self.append(source, &mut head, PREFIX_SIZE, "prefix")?;
            let first = head.get(at..).and_then(|it| it.first_chunk());
            let start = first.ok_or(BundleError::Short { part: "prefix" });
            match start.and_then(Start::parse).map_err(|it| bad(&it))? {
                Start::Header(prefix) => return Ok((head, prefix)),
                Start::Link(size) => {
                    let rest = size.saturating_sub(PREFIX_SIZE);
                    self.append(source, &mut head, rest, "links of keys")?;
                }
            }
        }
        Err(bad(&BundleError::Links(LinkError::TooMany)))
    }

    /// Reads so many bytes more of the head; where they begin.
    fn append(
        &mut self,
        source: &mut Source,
        head: &mut Vec<u8>,
        length: usize,
        part: &'static str,
    ) -> Result<usize, Fault> {
        let at = head.len();
        head.resize(at.saturating_add(length), 0);
        let into = head.get_mut(at..).unwrap_or_default();
        self.read(source, at as u64, into, part)?;
        Ok(at)
    }

    fn send(
        &mut self,
        source: &mut Source,
        at: u64,
        number: u32,
        chunk: &Chunk,
        work: &mut Work,
    ) -> Result<(), Fault> {
        let Work {
            stored,
            content,
            decoder,
        } = work;
        stored.resize(chunk.stored_length() as usize, 0);
        self.read(source, at, stored, "chunks")?;
        if !chunk.is_stored_as(stored) {
            // A bad line or a bad proxy: another connection may bring it right.
            let error = BundleError::Chunk(number).to_string();
            return Err(match source {
                Source::Http(_) => Fault::passing(error),
                Source::File(_) | Source::Pipe(..) => Fault::refused(error),
            });
        }
        decoder
            .decode(stored, chunk.length as usize, content)
            .map_err(|why| bad(&BundleError::Content(number, why)))?;
        let length = chunk.length;
        self.say(&Said::Chunk { number, length })?;
        std::io::Write::write_all(&mut self.updater, content)
            .map_err(|error| Fault::lasting(format!("write to the updater: {error}")))
    }

    fn read(
        &mut self,
        source: &mut Source,
        at: u64,
        into: &mut [u8],
        part: &'static str,
    ) -> Result<(), Fault> {
        let mut heard = || self.hint();
        let read = source.read(at, into, &mut heard);
        read.map_err(|fault| in_part(fault, source, part))
    }
}

/// What a fault means in this part of the bundle: a file or a pipe that ends is what it is, a connection
/// may have been lost.
fn in_part(fault: Fault, source: &Source, part: &'static str) -> Fault {
    match (source, fault.kind) {
        (Source::Http(_), _) => fault,
        (Source::File(_) | Source::Pipe(..), FaultKind::Short) => bad(&BundleError::Short { part }),
        (
            Source::File(_) | Source::Pipe(..),
            FaultKind::Lasting | FaultKind::Refused | FaultKind::Passing,
        ) => Fault::lasting(fault.words),
    }
}

fn bad(error: &BundleError) -> Fault {
    Fault::refused(error.to_string())
}
