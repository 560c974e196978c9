//! One client of the control socket: bytes in, messages out, replies back, all bounded. Not here:
//! what a message means (`requests`), and who may ask for what.

use std::collections::VecDeque;
use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;

use serde::{Deserialize, Serialize};
use services::control::{Frames, TooLong};
use services::time::{Duration, Time};

use super::kept::stream;

/// A client that reads nothing of its reply for so long is dropped.
const READER_PATIENCE: Duration = Duration::from_secs(10);
const CHUNK: usize = 4096;
/// A client that sends calls ahead is not read from while it has so many.
const CALLS_MAX: usize = 1;

/// What a turn of reading has brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Progress {
    /// There may be messages now, or there will be more bytes later.
    Open,
    /// The client is gone, or sends what no client should; the text says what.
    Ended(&'static str),
}

/// One client. It has one call in hand at a time; the next is read when the reply is on its way, so
/// that a client can hold up nobody but itself.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Connection {
    #[serde(with = "stream")]
    stream: UnixStream,
    frames: Frames,
    calls: VecDeque<Vec<u8>>,
    output: Vec<u8>,
    written: usize,
    stalled_since: Option<Time>,
}

impl Connection {
    /// Takes a stream over; it must be non-blocking.
    #[must_use]
    pub(super) fn new(stream: UnixStream) -> Self {
        Self {
            stream,
            frames: Frames::new(),
            calls: VecDeque::new(),
            output: Vec::new(),
            written: 0,
            stalled_since: None,
        }
    }

    /// The stream, to be watched.
    #[must_use]
    pub(super) fn stream(&self) -> &UnixStream {
        &self.stream
    }

    /// Reads what is there, up to a few calls ahead.
    pub(super) fn receive(&mut self) -> Progress {
        let mut chunk = [0; CHUNK];
        while self.calls.len() < CALLS_MAX {
            match self.stream.read(&mut chunk) {
                Ok(0) => return Progress::Ended("closed"),
                Ok(count) => {
                    if self
                        .take_in(chunk.get(..count).unwrap_or_default())
                        .is_err()
                    {
                        return Progress::Ended("sent a message of more than 64 KiB");
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => return Progress::Ended("failed"),
            }
        }
        Progress::Open
    }

    fn take_in(&mut self, bytes: &[u8]) -> Result<(), TooLong> {
        self.frames.feed(bytes)?;
        while let Some(call) = self.frames.take()? {
            self.calls.push_back(call);
        }
        Ok(())
    }

    /// The next call, without its NUL.
    pub(super) fn take_call(&mut self) -> Option<Vec<u8>> {
        self.calls.pop_front()
    }

    /// Whether more may be read: not behind calls that wait. So a client that has closed only its
    /// sending side is found out after it has its answer.
    #[must_use]
    pub(super) fn is_reading(&self) -> bool {
        self.calls.is_empty()
    }

    /// Appends a reply (with its NUL), and sends what the socket takes.
    pub(super) fn reply(&mut self, message: Vec<u8>, now: Time) -> Progress {
        if self.output.is_empty() {
            self.output = message;
        } else {
            self.output.extend_from_slice(&message);
        }
        self.flush(now)
    }

    /// Sends what the socket takes.
    pub(super) fn flush(&mut self, now: Time) -> Progress {
        while let Some(rest) = self.output.get(self.written..).filter(|r| !r.is_empty()) {
            match self.stream.write(rest) {
                Ok(0) => return Progress::Ended("takes nothing"),
                Ok(count) => {
                    self.written += count;
                    self.stalled_since = None;
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    self.stalled_since.get_or_insert(now);
                    return Progress::Open;
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => return Progress::Ended("closed"),
            }
        }
        self.output = Vec::new();
        self.written = 0;
        self.stalled_since = None;
        Progress::Open
    }

    /// Whether there is something left to send.
    #[must_use]
    pub(super) fn is_sending(&self) -> bool {
        !self.output.is_empty()
    }

    /// When a client that reads nothing is dropped.
    #[must_use]
    pub(super) fn deadline(&self) -> Option<Time> {
        self.stalled_since.map(|since| since + READER_PATIENCE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Time = Time::from_nanos(1);

    fn pair() -> (UnixStream, Connection) {
        let (client, server) = UnixStream::pair().unwrap();
        server.set_nonblocking(true).unwrap();
        (client, Connection::new(server))
    }

    #[test]
    fn messages_come_out_one_by_one_however_they_came_in() {
        let (mut client, mut connection) = pair();
        client.write_all(b"on").unwrap();
        assert_eq!(connection.receive(), Progress::Open);
        assert_eq!(connection.take_call(), None);
        client.write_all(b"e\0two\0thr").unwrap();
        assert_eq!(connection.receive(), Progress::Open);
        assert_eq!(connection.take_call().as_deref(), Some(&b"one"[..]));
        assert_eq!(connection.receive(), Progress::Open);
        assert_eq!(connection.take_call().as_deref(), Some(&b"two"[..]));
        assert_eq!(connection.take_call(), None);
    }

    #[test]
    fn a_message_without_an_end_is_refused() {
        let (mut client, mut connection) = pair();
        client.set_nonblocking(true).unwrap();
        let mut progress = Progress::Open;
        for _ in 0..40 {
            let _full = client.write(&[b'x'; CHUNK]);
            progress = connection.receive();
            if progress != Progress::Open {
                break;
            }
        }
        assert!(matches!(progress, Progress::Ended(_)), "{progress:?}");
    }

    #[test]
    fn a_client_that_only_closes_its_sending_side_gets_its_answer() {
        let (mut client, mut connection) = pair();
        client.write_all(b"ask\0").unwrap();
        client.shutdown(std::net::Shutdown::Write).unwrap();
        assert_eq!(connection.receive(), Progress::Open);
        assert!(connection.take_call().is_some());
        assert_eq!(connection.reply(b"answer\0".to_vec(), NOW), Progress::Open);
        assert_eq!(connection.receive(), Progress::Ended("closed"));
        drop(connection);
        let mut got = Vec::new();
        client.read_to_end(&mut got).unwrap();
        assert_eq!(got, b"answer\0");
    }

    #[test]
    fn a_client_that_does_not_read_gets_a_deadline() {
        let (client, mut connection) = pair();
        assert_eq!(connection.reply(vec![b'x'; 4 << 20], NOW), Progress::Open);
        assert!(connection.is_sending());
        assert_eq!(connection.deadline(), Some(NOW + READER_PATIENCE));
        drop(client);
        assert!(matches!(connection.flush(NOW), Progress::Ended(_)));
    }
}
