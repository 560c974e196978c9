//! The fetching child, `shark-update fetch`: the only process that touches bytes nobody has vouched for.
//! It gives up all rights but to its source, shows the head of the bundle, and sends the chunks it is
//! asked for, checked and decompressed. Not here: what comes of them (`job`), what is tried again
//! (`supply`).
//!
//! Standard input is the source, unless it is a URL; standard output is the socket to the updater.

use std::io::Read;
use std::os::unix::net::UnixStream;
use std::process::ExitCode;

use kernel::confine::{self, Kept, Who};
use mounts::bundle::{BundleError, Chunk, Header, PREFIX_SIZE, Prefix, Table};
use mounts::manifest::PublicKey;
use ruzstd::decoding::StreamingDecoder;

use super::http::Http;
use super::source::Source;
use super::words::{Fault, FaultKind, Order, Said, hear, say};

/// What is needed to find a server by its name.
const RESOLVER: [&str; 2] = ["/etc/resolv.conf", "/etc/hosts"];
/// Bytes of address space: two chunks, the table, and the program itself.
const MEMORY: u64 = 96 << 20;

/// Runs the child.
#[must_use]
pub fn run() -> ExitCode {
    let Ok(socket) = kernel::inherited::duplicate(1).map(UnixStream::from) else {
        return ExitCode::FAILURE;
    };
    let mut child = Child { updater: socket };
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
}

impl Child {
    fn serve(&mut self) -> Result<(), Fault> {
        let Some(Order::Open { url, keys }) = self.order()? else {
            return Err(Fault::lasting(
                "`shark-update fetch` is run by the updater itself",
            ));
        };
        self.confine(url.is_some())?;
        let keys = keys
            .iter()
            .map(|text| PublicKey::parse(text))
            .collect::<Result<Vec<PublicKey>, _>>()
            .map_err(|error| Fault::lasting(error.to_string()))?;
        let mut source = match &url {
            Some(url) => Source::Http(Box::new(Http::new(url)?)),
            None => Source::standard_input()?,
        };
        let (header, table) = self.head(&mut source, &keys)?;
        let Some(Order::Send(runs)) = self.order()? else {
            return Ok(());
        };
        let mut stored = Vec::new();
        for (first, end) in runs {
            source.will_read(table.stored_end(end).unwrap_or(header.size()));
            for number in first..end {
                let chunk = table
                    .chunk(number)
                    .ok_or_else(|| Fault::lasting(format!("there is no chunk {number}")))?;
                self.send(&mut source, number, &chunk, &mut stored)?;
            }
        }
        if !source.ends_at(header.size())? {
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

    /// Reads and checks all that is before the chunks, and shows it.
    fn head(&mut self, source: &mut Source, keys: &[PublicKey]) -> Result<(Header, Table), Fault> {
        let mut head = vec![0; PREFIX_SIZE];
        self.read(source, 0, &mut head, "prefix")?;
        let first = head.first_chunk::<PREFIX_SIZE>();
        let prefix = first.ok_or(BundleError::Short { part: "prefix" });
        let prefix = prefix.and_then(Prefix::parse).map_err(|it| bad(&it))?;
        let mut json = vec![0; prefix.header_size()];
        self.read(source, PREFIX_SIZE as u64, &mut json, "header")?;
        let header = prefix.verify(&json, keys).map_err(|error| bad(&error))?;
        let mut table = vec![0; header.table_size()];
        let at = PREFIX_SIZE.saturating_add(json.len());
        self.read(source, at as u64, &mut table, "table")?;
        let checked = header.table(&table).map_err(|error| bad(&error))?;
        if let Some(length) = source.length().filter(|it| *it != header.size()) {
            let what = if length < header.size() {
                "cut short"
            } else {
                "damaged"
            };
            return Err(Fault::refused(format!(
                "bundle {what}: it has {length} bytes, expected {}",
                header.size()
            )));
        }
        head.extend_from_slice(&json);
        head.extend_from_slice(&table);
        self.say(&Said::Head(head))?;
        Ok((header, checked))
    }

    fn send(
        &mut self,
        source: &mut Source,
        number: u32,
        chunk: &Chunk,
        stored: &mut Vec<u8>,
    ) -> Result<(), Fault> {
        stored.resize(chunk.stored_length() as usize, 0);
        self.read(source, chunk.stored_at, stored, "chunks")?;
        if !chunk.is_stored_as(stored) {
            // A bad line or a bad proxy: another connection may bring it right.
            let error = BundleError::Chunk(number).to_string();
            return Err(match source {
                Source::Http(_) => Fault::passing(error),
                Source::File(_) | Source::Pipe(..) => Fault::refused(error),
            });
        }
        let content = decompress(stored, chunk.length as usize)
            .map_err(|why| bad(&BundleError::Content(number, why)))?;
        let length = chunk.length;
        self.say(&Said::Chunk { number, length })?;
        std::io::Write::write_all(&mut self.updater, &content)
            .map_err(|error| Fault::lasting(format!("write to the updater: {error}")))
    }

    fn read(
        &mut self,
        source: &mut Source,
        at: u64,
        into: &mut [u8],
        part: &'static str,
    ) -> Result<(), Fault> {
        let mut heard = |bytes| self.say(&Said::Heard(bytes));
        let read = source.read(at, into, &mut heard);
        // A file or a pipe that ends is what it is; a connection may have been lost.
        read.map_err(|fault| match (source, fault.kind) {
            (Source::Http(_), _) => fault,
            (Source::File(_) | Source::Pipe(..), FaultKind::Short) => {
                bad(&BundleError::Short { part })
            }
            (
                Source::File(_) | Source::Pipe(..),
                FaultKind::Lasting | FaultKind::Refused | FaultKind::Passing,
            ) => Fault::lasting(fault.words),
        })
    }
}

/// What a stored chunk holds: exactly so many bytes.
fn decompress(stored: &[u8], length: usize) -> Result<Vec<u8>, String> {
    let mut content = Vec::with_capacity(length);
    let decoder = StreamingDecoder::new(stored).map_err(|error| format!("zstd: {error}"))?;
    decoder
        .take((length as u64).saturating_add(1))
        .read_to_end(&mut content)
        .map_err(|error| format!("zstd: {error}"))?;
    if content.len() == length {
        Ok(content)
    } else {
        Err(format!("it holds another number of bytes than {length}"))
    }
}

fn bad(error: &BundleError) -> Fault {
    Fault::refused(error.to_string())
}
