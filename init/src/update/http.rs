//! A bundle on a web server: asked for from the place that is needed, and asked again from there when
//! the connection is lost. Not here: for how long that goes on (`supply`).

use std::time::Duration;

use mounts::fetch::range::Part;
use mounts::fetch::words::Fault;
use ureq::http::StatusCode;
use ureq::{Agent, Body, BodyReader};

use super::source::{fill, pass, read_some};

/// How long a connection may take to be made.
const CONNECT_WITHIN: Duration = Duration::from_secs(30);
/// How long a server may take to begin its answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(60);
/// Redirections that are followed.
const REDIRECTS_MAX: u32 = 5;
/// What is asked for first: the head of most bundles.
const HEAD: u64 = 64 * 1024;
/// So many bytes are rather read and forgotten than left out by a new request.
const GAP: u64 = 256 * 1024;

/// A file on a web server.
pub(super) struct Http {
    agent: Agent,
    url: String,
    stream: Option<Stream>,
    length: Option<u64>,
    /// Up to where will be read from here, as far as is known.
    until: u64,
}

/// An answer under way.
struct Stream {
    /// The place that its next byte has.
    at: u64,
    /// The place after its last one.
    end: u64,
    body: BodyReader<'static>,
}

impl Http {
    /// The file at `url`; nothing is asked yet.
    ///
    /// # Errors
    /// A URL of another scheme.
    pub(super) fn new(url: &str) -> Result<Self, Fault> {
        let scheme = url
            .split(':')
            .next()
            .unwrap_or_default()
            .to_ascii_lowercase();
        if scheme != "http" {
            return Err(Fault::lasting(format!(
                "{url}: only http is built in, and a bundle needs no more, as it is signed; for \
                 everything else: curl -fsSL {url} | sharkctl update install -"
            )));
        }
        let agent = Agent::config_builder()
            .timeout_connect(Some(CONNECT_WITHIN))
            .timeout_recv_response(Some(ANSWER_WITHIN))
            .max_redirects(REDIRECTS_MAX)
            .http_status_as_error(false)
            .user_agent(concat!("shark-update/", env!("CARGO_PKG_VERSION")))
            .build()
            .new_agent();
        Ok(Self {
            agent,
            url: url.to_owned(),
            stream: None,
            length: None,
            until: HEAD,
        })
    }

    /// Bytes of all of it, if the server has told.
    pub(super) fn length(&self) -> Option<u64> {
        self.length
    }

    /// Says up to where will be read next: what is beyond need not be sent.
    pub(super) fn will_read(&mut self, until: u64) {
        self.until = until;
    }

    /// Fills `into` from `at`.
    pub(super) fn read(
        &mut self,
        at: u64,
        into: &mut [u8],
        heard: &mut dyn FnMut() -> Result<(), Fault>,
    ) -> Result<(), Fault> {
        let end = at.saturating_add(into.len() as u64);
        let mut stream = self.stream_at(at, end, heard)?;
        // What is left of an answer that broke off is of no use.
        fill(&mut stream.body, into, heard).map_err(|fault| self.named(&fault))?;
        stream.at = end;
        self.stream = Some(stream);
        Ok(())
    }

    /// Whether nothing follows `at`.
    pub(super) fn ends_at(&mut self, at: u64) -> Result<bool, Fault> {
        self.stream = None;
        self.until = at.saturating_add(1);
        let Some(mut stream) = self.ask(at)? else {
            return Ok(true);
        };
        let skip = at.saturating_sub(stream.at);
        pass(&mut stream.body, skip, &mut || Ok(())).map_err(|fault| self.named(&fault))?;
        read_some(&mut stream.body, &mut [0])
            .map(|count| count == 0)
            .map_err(|error| self.named(&Fault::passing(format!("read: {error}"))))
    }

    fn stream_at(
        &mut self,
        at: u64,
        end: u64,
        heard: &mut dyn FnMut() -> Result<(), Fault>,
    ) -> Result<Stream, Fault> {
        let serves =
            |it: &Stream| at.checked_sub(it.at).is_some_and(|gap| gap <= GAP) && end <= it.end;
        let mut stream = match self.stream.take().filter(serves) {
            Some(stream) => stream,
            None => {
                self.until = self.until.max(end);
                let asked = self.ask(at)?;
                asked.ok_or_else(|| self.named(&Fault::lasting("it ends too early")))?
            }
        };
        let skip = at.saturating_sub(stream.at);
        pass(&mut stream.body, skip, heard).map_err(|fault| self.named(&fault))?;
        stream.at = at;
        Ok(stream)
    }

    /// Asks for what is to be read from `at`; none when nothing is there. A server that knows no ranges
    /// gives all from the start.
    fn ask(&mut self, at: u64) -> Result<Option<Stream>, Fault> {
        let range = format!("bytes={at}-{}", self.until.saturating_sub(1));
        let request = self.agent.get(&self.url).header("Range", range);
        let answer = request.call().map_err(|error| self.refused(&error))?;
        let status = answer.status();
        let header = |name: &str| answer.headers().get(name)?.to_str().ok().map(str::to_owned);
        let (begins, end, length) = match status {
            StatusCode::OK => {
                let length = header("content-length").and_then(|it| it.parse().ok());
                (0, u64::MAX, length)
            }
            StatusCode::PARTIAL_CONTENT => header("content-range")
                .as_deref()
                .and_then(Part::parse)
                .filter(|part| part.begins == at)
                .map(|part| (at, part.ends, part.length))
                .ok_or_else(|| {
                    self.named(&Fault::lasting("the server answers with another range"))
                })?,
            StatusCode::RANGE_NOT_SATISFIABLE => return Ok(None),
            other => return Err(self.named(&unwanted(other))),
        };
        if let (Some(before), Some(now)) = (self.length, length)
            && before != now
        {
            let words = format!("it had {before} bytes a moment ago and has {now} now");
            return Err(self.named(&Fault::lasting(words)));
        }
        self.length = self.length.or(length);
        Ok(Some(Stream {
            at: begins,
            end,
            body: reader(answer.into_body()),
        }))
    }

    fn refused(&self, error: &ureq::Error) -> Fault {
        let words = error.to_string();
        let lasting = matches!(
            error,
            ureq::Error::BadUri(_)
                | ureq::Error::TooManyRedirects
                | ureq::Error::RequireHttpsOnly(_)
        );
        let fault = if lasting {
            Fault::lasting(words)
        } else {
            Fault::passing(words)
        };
        self.named(&fault)
    }

    fn named(&self, fault: &Fault) -> Fault {
        Fault {
            words: format!("{}: {}", self.url, fault.words),
            kind: fault.kind,
        }
    }
}

/// No limit but that of what reads it: each piece goes into a buffer of known size.
fn reader(body: Body) -> BodyReader<'static> {
    body.into_with_config().limit(u64::MAX).reader()
}

fn unwanted(status: StatusCode) -> Fault {
    let words = format!("the server answers {status}");
    let again = status.is_server_error()
        || status == StatusCode::TOO_MANY_REQUESTS
        || status == StatusCode::REQUEST_TIMEOUT;
    if again {
        Fault::passing(words)
    } else {
        Fault::lasting(words)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_schemes_are_refused() {
        for url in ["https://h/x", "file:///x", "x"] {
            let words = Http::new(url).map(drop).unwrap_err().words;
            assert!(words.contains("| sharkctl update install -"), "{words}");
        }
        assert!(Http::new("HTTP://h/x").is_ok());
    }
}
