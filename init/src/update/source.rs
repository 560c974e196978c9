//! Where the bytes of a bundle come from: a file, a pipe, or a server. Not here: what they mean
//! (`fetch`), and how a server is asked (`http`).

use std::io::{ErrorKind, Read, Seek, SeekFrom};

use mounts::fetch::words::{Fault, FaultKind};

use super::http::Http;

/// Bytes that are read at once.
pub(super) const PIECE: usize = 64 * 1024;

/// A source. Each read names its place; places only ever grow.
pub(super) enum Source {
    /// A file that can be read at any place.
    File(std::fs::File),
    /// What comes in order only, and how much has come.
    Pipe(std::io::Stdin, u64),
    /// A server.
    Http(Box<Http>),
}

impl Source {
    /// What standard input is.
    pub(super) fn standard_input() -> Result<Self, Fault> {
        let input =
            kernel::inherited::duplicate(0).map_err(|error| Fault::lasting(error.to_string()))?;
        let mut file = std::fs::File::from(input);
        match file.rewind() {
            Ok(()) => Ok(Self::File(file)),
            Err(_) => Ok(Self::Pipe(std::io::stdin(), 0)),
        }
    }

    /// Bytes of all of it, where that is known.
    pub(super) fn length(&self) -> Option<u64> {
        match self {
            Self::File(file) => file
                .metadata()
                .ok()
                .filter(std::fs::Metadata::is_file)
                .map(|it| it.len()),
            Self::Pipe(..) => None,
            Self::Http(http) => http.length(),
        }
    }

    /// Says up to where will be read next.
    pub(super) fn will_read(&mut self, until: u64) {
        match self {
            Self::Http(http) => http.will_read(until),
            Self::File(_) | Self::Pipe(..) => {}
        }
    }

    /// Fills `into` from `at`; `heard` is told of all that comes in.
    ///
    /// # Errors
    /// [`Fault`]: it cannot be read, or ends before.
    pub(super) fn read(
        &mut self,
        at: u64,
        into: &mut [u8],
        heard: &mut dyn FnMut() -> Result<(), Fault>,
    ) -> Result<(), Fault> {
        match self {
            Self::File(file) => {
                file.seek(SeekFrom::Start(at))
                    .map_err(|error| unread(&error))?;
                fill(file, into, heard)
            }
            Self::Pipe(pipe, position) => {
                let skip = at.checked_sub(*position).ok_or_else(backwards)?;
                pass(pipe, skip, heard)?;
                fill(pipe, into, heard)?;
                *position = at.saturating_add(into.len() as u64);
                Ok(())
            }
            Self::Http(http) => http.read(at, into, heard),
        }
    }

    /// Whether nothing follows `at`.
    ///
    /// # Errors
    /// [`Fault`]: it cannot be read.
    pub(super) fn ends_at(&mut self, at: u64) -> Result<bool, Fault> {
        if let Some(length) = self.length() {
            return Ok(length == at);
        }
        let mut nothing = || Ok(());
        let mut more = [0];
        match self {
            Self::File(file) => {
                file.seek(SeekFrom::Start(at))
                    .map_err(|error| unread(&error))?;
                Ok(read_some(file, &mut more).map_err(|error| unread(&error))? == 0)
            }
            Self::Pipe(pipe, position) => {
                let skip = at.checked_sub(*position).ok_or_else(backwards)?;
                pass(pipe, skip, &mut nothing)?;
                *position = at;
                Ok(read_some(pipe, &mut more).map_err(|error| unread(&error))? == 0)
            }
            Self::Http(http) => http.ends_at(at),
        }
    }
}

/// Fills `into` from a stream.
pub(super) fn fill(
    from: &mut impl Read,
    into: &mut [u8],
    heard: &mut dyn FnMut() -> Result<(), Fault>,
) -> Result<(), Fault> {
    let mut done = 0_usize;
    while let Some(rest) = into.get_mut(done..).filter(|rest| !rest.is_empty()) {
        let most = rest.len().min(PIECE);
        let piece = rest.get_mut(..most).unwrap_or_default();
        match read_some(from, piece) {
            Ok(0) => {
                return Err(Fault {
                    words: "it ends too early".to_owned(),
                    kind: FaultKind::Short,
                });
            }
            Ok(count) => {
                done = done.saturating_add(count);
                heard()?;
            }
            Err(error) => return Err(unread(&error)),
        }
    }
    Ok(())
}

/// Reads so many bytes of a stream and forgets them.
pub(super) fn pass(
    from: &mut impl Read,
    mut bytes: u64,
    heard: &mut dyn FnMut() -> Result<(), Fault>,
) -> Result<(), Fault> {
    let mut piece = vec![0; PIECE];
    while bytes > 0 {
        let most = usize::try_from(bytes).unwrap_or(PIECE).min(PIECE);
        let place = piece.get_mut(..most).unwrap_or_default();
        fill(from, place, heard)?;
        bytes = bytes.saturating_sub(most as u64);
    }
    Ok(())
}

/// read(2), again after a signal.
pub(super) fn read_some(from: &mut impl Read, into: &mut [u8]) -> std::io::Result<usize> {
    loop {
        match from.read(into) {
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            other => return other,
        }
    }
}

fn unread(error: &std::io::Error) -> Fault {
    Fault::passing(format!("read: {error}"))
}

fn backwards() -> Fault {
    Fault::lasting("what has been read of a pipe does not come again")
}
