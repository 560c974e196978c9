//! A checked graph in the shape in which a supervisor takes it over: definitions packed, with the part
//! that transitions need beside each, and relations resolved. Not here: checking service files
//! (`graph`), and taking over (`replace`).
//!
//! It is made by the loader, outside of PID 1, or when an image is built. To take it over costs little
//! more than to look through it: a definition that did not change is compared byte by byte, and none is
//! unpacked before somebody asks for it.
//!
//! Layout, little-endian: magic (8 bytes), version (u32), length of the body (u32), CRC32C of the
//! body (u32), body: in postcard's format, the services in the order of their names, then relations.

use std::fmt;
use std::ops::Range;

use serde::{Deserialize, Serialize};

use crate::definition::Definition;
use crate::diagnostic::Diagnostic;
use crate::graph::{Graph, MAX_SERVICES, promises};
use crate::id::ServiceName;

use super::service::Rules;
use super::topology::Relations;

const MAGIC: &[u8; 8] = b"SHARKGRA";
/// Counts up whenever the layout of a definition, of its rules or of relations changes.
const VERSION: u32 = 7;
/// Largest body that is read: room for [`MAX_SERVICES`] services of 4 KiB.
const MAX_BODY: usize = 64 << 20;
/// Magic, version, length, checksum.
const HEADER: usize = 8 + 4 + 4 + 4;

/// Why bytes are not a graph.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GraphBytesError {
    /// They do not start with the magic of a graph.
    NotAGraph,
    /// Another version of the layout: who wrote and who reads are of different builds.
    Version(u32),
    /// Fewer or more bytes than the header says, or more than is ever read.
    Length {
        /// Bytes of the body that are there.
        found: usize,
        /// Bytes of the body that the header speaks of.
        expected: usize,
    },
    /// The checksum differs.
    Checksum,
    /// The body is not what it should be, for this reason.
    Body(String),
    /// A definition breaks a rule that the loader would have refused.
    Definition(String),
    /// The definitions do not make a graph.
    Check(Vec<Diagnostic>),
}

impl fmt::Display for GraphBytesError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "read the graph: ")?;
        match self {
            Self::NotAGraph => write!(f, "these bytes are not a graph"),
            Self::Version(version) => write!(
                f,
                "it has version {version}, this program reads {VERSION}: use the loader of the same build"
            ),
            Self::Length { found, expected } => {
                write!(f, "it has {found} bytes where {expected} are announced")
            }
            Self::Checksum => write!(f, "its checksum differs: it was damaged on the way"),
            Self::Body(cause) => write!(f, "its body cannot be decoded: {cause}"),
            Self::Definition(cause) => write!(f, "{cause}"),
            Self::Check(diagnostics) => {
                write!(f, "it does not pass the check")?;
                diagnostics
                    .iter()
                    .try_for_each(|diagnostic| write!(f, "\n{diagnostic}"))
            }
        }
    }
}

impl std::error::Error for GraphBytesError {}

/// A graph as bytes that have been looked through: names in order and without repetition, relations
/// without a circle and between services that are there.
#[derive(Clone, Debug)]
pub struct Compiled {
    bytes: Vec<u8>,
    /// Where in the bytes each service is, in the order of names.
    spans: Vec<Span>,
    relations: Relations,
}

impl PartialEq for Compiled {
    fn eq(&self, other: &Self) -> bool {
        self.bytes == other.bytes
    }
}

impl Eq for Compiled {}

/// Where a service is in the bytes.
#[derive(Clone, Debug)]
struct Span {
    name: Range<u32>,
    runs: bool,
    rules: Range<u32>,
    packed: Range<u32>,
}

/// What the bytes say.
#[derive(Debug, Default, Serialize, Deserialize)]
struct View<'a> {
    /// In the order of names.
    #[serde(borrow)]
    services: Vec<Entry<'a>>,
    /// Between indices of these.
    relations: Relations,
}

/// One service.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(super) struct Entry<'a> {
    pub(super) name: &'a str,
    /// It has something to run.
    pub(super) runs: bool,
    /// Its [`Rules`], in postcard's encoding.
    pub(super) rules: &'a [u8],
    /// Its [`Definition`], in postcard's encoding.
    pub(super) packed: &'a [u8],
}

/// Bytes that are whole and of this build: the first of three steps to a graph, between which whoever may
/// not be held up can do something else.
#[derive(Debug)]
pub struct Intact(Vec<u8>);

impl Intact {
    /// Looks at the header and at the checksum.
    ///
    /// # Errors
    /// [`GraphBytesError`], but for [`GraphBytesError::Body`].
    pub fn new(bytes: Vec<u8>) -> Result<Self, GraphBytesError> {
        body(&bytes)?;
        Ok(Self(bytes))
    }

    /// Finds everything that is in the bytes.
    ///
    /// # Errors
    /// [`GraphBytesError::Body`].
    pub fn read(self) -> Result<Unchecked, GraphBytesError> {
        let Self(bytes) = self;
        let body = bytes.get(HEADER..).unwrap_or_default();
        let view: View<'_> =
            postcard::from_bytes(body).map_err(|error| GraphBytesError::Body(error.to_string()))?;
        let spans = view.services.iter().map(|entry| Span {
            name: span_of(body, entry.name.as_bytes()),
            runs: entry.runs,
            rules: span_of(body, entry.rules),
            packed: span_of(body, entry.packed),
        });
        Ok(Unchecked(Compiled {
            spans: spans.collect(),
            relations: view.relations,
            bytes,
        }))
    }
}

/// What was found in the bytes, and may be no graph.
#[derive(Debug)]
pub struct Unchecked(Compiled);

impl Unchecked {
    /// Looks it through.
    ///
    /// # Errors
    /// [`GraphBytesError::Body`].
    pub fn check(self) -> Result<Compiled, GraphBytesError> {
        match self.fault() {
            Some(fault) => Err(GraphBytesError::Body(fault)),
            None => Ok(self.0),
        }
    }

    /// What is wrong with it.
    fn fault(&self) -> Option<String> {
        let Self(graph) = self;
        if graph.count() > MAX_SERVICES + 1 {
            return Some(format!("it has {} services", graph.count()));
        }
        let mut before = "";
        for Entry { name, .. } in graph.services() {
            if !ServiceName::is_valid(name) {
                return Some(format!("nobody can be called `{name}`"));
            }
            if before >= name {
                return Some(format!("`{name}` is out of order"));
            }
            before = name;
        }
        graph.relations.fault(graph.count())
    }
}

impl Compiled {
    /// The graph that is in `bytes`.
    ///
    /// A definition is believed only when it is unpacked, and then looked through. [`Intact`] is the way
    /// in steps.
    ///
    /// # Errors
    /// [`GraphBytesError`] says in what the bytes are not a graph; no bytes make it panic.
    pub fn from_bytes(bytes: Vec<u8>) -> Result<Self, GraphBytesError> {
        Intact::new(bytes)?.read()?.check()
    }

    /// The bytes that [`Self::from_bytes`] takes.
    #[must_use]
    pub fn to_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The same, given away.
    #[must_use]
    pub fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }

    fn part(&self, span: &Range<u32>) -> &[u8] {
        let body = self.bytes.get(HEADER..).unwrap_or_default();
        body.get(span.start as usize..span.end as usize)
            .unwrap_or_default()
    }

    /// All services, in the order of their names.
    pub(super) fn services(&self) -> impl Iterator<Item = Entry<'_>> {
        self.spans.iter().map(|span| Entry {
            // It was a name when it was read.
            name: core::str::from_utf8(self.part(&span.name)).unwrap_or_default(),
            runs: span.runs,
            rules: self.part(&span.rules),
            packed: self.part(&span.packed),
        })
    }

    /// Relations between the indices of services.
    pub(super) const fn relations(&self) -> &Relations {
        &self.relations
    }

    /// How many services it has.
    #[must_use]
    pub const fn count(&self) -> usize {
        self.spans.len()
    }

    /// Whether it has a service of that name.
    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        self.services().any(|entry| entry.name == name)
    }

    /// Whether any of its services has something to run.
    #[must_use]
    pub fn runs_something(&self) -> bool {
        self.spans.iter().any(|span| span.runs)
    }

    /// The graph that it was made from, checked again from the start.
    ///
    /// # Errors
    /// [`GraphBytesError::Definition`], [`GraphBytesError::Check`].
    pub fn unpack(&self) -> Result<Graph, GraphBytesError> {
        let definitions: Result<Vec<Definition>, _> = self.services().map(unpack).collect();
        Graph::from_definitions(definitions?).map_err(GraphBytesError::Check)
    }

    /// The graph as bytes.
    ///
    /// # Errors
    /// [`GraphBytesError::Length`] when it is larger than is ever read back.
    pub fn new(graph: &Graph) -> Result<Self, GraphBytesError> {
        let text = |error: postcard::Error| GraphBytesError::Body(error.to_string());
        let pack = |definition: &Definition| {
            let rules = postcard::to_stdvec(&Rules::new(definition))?;
            Ok((rules, postcard::to_stdvec(definition)?))
        };
        let packed: Result<Vec<_>, postcard::Error> = graph.services().iter().map(pack).collect();
        let packed = packed.map_err(text)?;
        let entries = graph.services().iter().zip(&packed);
        let view = View {
            services: entries
                .map(|(definition, (rules, packed))| Entry {
                    name: definition.name.as_str(),
                    runs: definition.kind.program().is_some(),
                    rules,
                    packed,
                })
                .collect(),
            relations: Relations::new(graph),
        };
        let body = postcard::to_stdvec(&view).map_err(text)?;
        let length = match u32::try_from(body.len()) {
            Ok(length) if body.len() <= MAX_BODY => length,
            Ok(_) | Err(_) => {
                return Err(GraphBytesError::Length {
                    found: body.len(),
                    expected: MAX_BODY,
                });
            }
        };
        let mut bytes = Vec::with_capacity(HEADER + body.len());
        bytes.extend_from_slice(MAGIC);
        bytes.extend_from_slice(&VERSION.to_le_bytes());
        bytes.extend_from_slice(&length.to_le_bytes());
        bytes.extend_from_slice(&crc32c::crc32c(&body).to_le_bytes());
        bytes.extend_from_slice(&body);
        Self::from_bytes(bytes)
    }
}

/// For those who have a graph at hand, and no bytes on a way.
impl From<&Graph> for Compiled {
    fn from(graph: &Graph) -> Self {
        // Too large a graph is refused where one comes from, the loader; here it has no services.
        Self::new(graph).unwrap_or(Self {
            bytes: Vec::new(),
            spans: Vec::new(),
            relations: Relations::default(),
        })
    }
}

impl From<Graph> for Compiled {
    fn from(graph: Graph) -> Self {
        Self::from(&graph)
    }
}

/// The body, once the header has been believed.
fn body(bytes: &[u8]) -> Result<&[u8], GraphBytesError> {
    let rest = bytes
        .strip_prefix(MAGIC)
        .ok_or(GraphBytesError::NotAGraph)?;
    let (version, rest) = number(rest)?;
    if version != VERSION {
        return Err(GraphBytesError::Version(version));
    }
    let (length, rest) = number(rest)?;
    let (checksum, body) = number(rest)?;
    if length as usize != body.len() || body.len() > MAX_BODY {
        return Err(GraphBytesError::Length {
            found: body.len(),
            expected: length as usize,
        });
    }
    if crc32c::crc32c(body) != checksum {
        return Err(GraphBytesError::Checksum);
    }
    Ok(body)
}

/// Where in `body` the `part` of it is.
fn span_of(body: &[u8], part: &[u8]) -> Range<u32> {
    let start = part.as_ptr().addr().saturating_sub(body.as_ptr().addr());
    let number = |at: usize| u32::try_from(at).unwrap_or(0);
    number(start)..number(start.saturating_add(part.len()))
}

/// The next number of the header, and what follows it.
fn number(bytes: &[u8]) -> Result<(u32, &[u8]), GraphBytesError> {
    match bytes.split_first_chunk::<4>() {
        Some((number, rest)) => Ok((u32::from_le_bytes(*number), rest)),
        None => Err(GraphBytesError::NotAGraph),
    }
}

/// Whether both are the same bytes. Comparing slices does that one byte after the other where the C
/// library is made for size, as the one of our programs is, and a reload compares all definitions.
pub(super) fn is_same(one: &[u8], other: &[u8]) -> bool {
    let ((words, rest), (other_words, other_rest)) = (one.as_chunks(), other.as_chunks());
    let mut pairs = words.iter().zip(other_words);
    one.len() == other.len()
        && pairs.all(|(word, other)| u64::from_ne_bytes(*word) == u64::from_ne_bytes(*other))
        && rest == other_rest
}

fn unpack(entry: Entry<'_>) -> Result<Definition, GraphBytesError> {
    let definition = unpack_definition(entry.packed).map_err(GraphBytesError::Definition)?;
    if definition.name.as_str() == entry.name {
        Ok(definition)
    } else {
        let (own, other) = (entry.name, definition.name);
        let cause = format!("`{own}` has the definition of `{other}`");
        Err(GraphBytesError::Definition(cause))
    }
}

/// The definition that is in `packed`, if it is one that the loader would have let pass.
pub(super) fn unpack_definition(packed: &[u8]) -> Result<Definition, String> {
    let definition: Definition = postcard::from_bytes(packed).map_err(|error| error.to_string())?;
    promises::check(&definition)?;
    Ok(definition)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::file::{Source, load};
    use crate::supervisor::topology::Topology;

    fn graph(files: &[(&str, &str)]) -> Graph {
        let sources: Vec<Source> = files
            .iter()
            .map(|(name, text)| Source {
                path: format!("/v/{name}.toml"),
                layer: 0,
                text: (*text).to_owned(),
            })
            .collect();
        load(&sources, None).graph.unwrap()
    }

    fn everything() -> Graph {
        let all = "exec = '/a b'\nuser = '7'\nreload = 'HUP'\nenv = { A = '1' }\ntty = '/t'\n\
            cgroup.memory-max = '1G'\nlimits.core = 0\nwants = ['b']\nbinds-to = ['c']\n\
            conflicts = ['d']\nhealth.tcp = ':1'\n[on-failure]\nstart = ['d']\n";
        graph(&[
            ("a", all),
            ("b", "exec = '/b'\npart-of = ['c']"),
            ("c", "exec = '/c'\nafter = ['b']"),
            ("d", "exec = '/d'\nwanted-by = []\nwatchdog.timeout = '1s'"),
        ])
    }

    fn with_header(version: u32, body: &[u8]) -> Vec<u8> {
        let length = u32::try_from(body.len()).unwrap();
        let header = [version, length, crc32c::crc32c(body)].map(u32::to_le_bytes);
        [MAGIC.as_slice(), header.as_flattened(), body].concat()
    }

    #[test]
    fn what_is_packed_is_unpacked_as_the_same() {
        let graph = everything();
        let compiled = Compiled::new(&graph).unwrap();
        let again = Compiled::from_bytes(compiled.to_bytes().to_vec()).unwrap();
        assert_eq!(again, compiled);
        assert_eq!(again.count(), 5, "and the default target");
        assert!(again.has("a") && again.has("default") && !again.has("e"));
        assert!(again.runs_something());
        assert_eq!(again.unpack(), Ok(graph.clone()));
        for (entry, definition) in again.services().zip(graph.services()) {
            let rules: Rules = postcard::from_bytes(entry.rules).unwrap();
            assert_eq!(rules, Rules::new(definition));
        }
        let places: Vec<u32> = (0..5).collect();
        let topology = Topology::new(again.relations(), &places, Vec::new(), 5);
        let others = |index: u32| {
            let edges = topology.predecessors(index).iter();
            edges.map(|edge| edge.other).collect::<Vec<_>>()
        };
        for index in 0..5 {
            assert_eq!(others(index), graph.predecessors(index));
            let after = topology.successors(index).iter().map(|edge| edge.other);
            assert_eq!(after.collect::<Vec<_>>(), graph.successors(index));
            assert_eq!(topology.conflicts(index), graph.conflicts(index));
            assert_eq!(topology.parts(index), graph.parts(index));
            assert_eq!(topology.rescuers(index), graph.rescuers(index));
        }
    }

    #[test]
    fn bytes_that_are_no_graph_are_refused_with_the_reason() {
        let good = Compiled::new(&graph(&[("a", "type = 'target'")])).unwrap();
        let good = good.to_bytes();
        let change = |at: usize, value: u8| {
            let mut bytes = good.to_vec();
            bytes[at] = value;
            Compiled::from_bytes(bytes).unwrap_err()
        };
        assert_eq!(change(0, b'X'), GraphBytesError::NotAGraph);
        assert_eq!(change(8, 9), GraphBytesError::Version(9));
        assert_eq!(change(16, good[16] ^ 1), GraphBytesError::Checksum);
        assert_eq!(change(30, good[30] ^ 1), GraphBytesError::Checksum);
        let none = Compiled::from_bytes(Vec::new());
        assert_eq!(none, Err(GraphBytesError::NotAGraph));
        let body = good.len() - HEADER;
        let length = GraphBytesError::Length {
            found: body - 1,
            expected: body,
        };
        let cut = Compiled::from_bytes(good[..good.len() - 1].to_vec());
        assert_eq!(cut, Err(length));
    }

    fn view(compiled: &Compiled) -> View<'_> {
        postcard::from_bytes(body(compiled.to_bytes()).unwrap()).unwrap()
    }

    /// What is said of the graph whose view was changed.
    fn said(change: impl Fn(&mut View<'_>)) -> String {
        let compiled = Compiled::new(&everything()).unwrap();
        let mut view = view(&compiled);
        change(&mut view);
        let bytes = with_header(VERSION, &postcard::to_stdvec(&view).unwrap());
        Compiled::from_bytes(bytes).unwrap_err().to_string()
    }

    #[test]
    fn names_out_of_order_and_circles_are_refused() {
        let prefix = "read the graph: its body cannot be decoded: ";
        let refused = said(|view| view.services.swap(0, 1));
        assert_eq!(refused, format!("{prefix}`a` is out of order"));
        let refused = said(|view| view.services[0].name = "-");
        assert_eq!(refused, format!("{prefix}nobody can be called `-`"));
        let refused = said(|view| {
            view.services.pop();
        });
        assert_eq!(refused, format!("{prefix}a relation leads nowhere"));
        // The order of another graph, which has no relations.
        let (a, b) = (
            "type = 'target'\nafter = ['b']",
            "type = 'target'\nafter = ['a']",
        );
        let (a, b) = (
            graph(&[("a", a), ("b", "type = 'target'")]),
            graph(&[("a", "type = 'target'"), ("b", b)]),
        );
        let (a, b) = (Compiled::from(a), Compiled::from(b));
        let mut changed = view(&a);
        changed.relations.take_order(view(&b).relations);
        let bytes = with_header(VERSION, &postcard::to_stdvec(&changed).unwrap());
        let refused = Compiled::from_bytes(bytes).unwrap_err().to_string();
        assert_eq!(refused, format!("{prefix}its order breaks a relation"));
    }

    #[test]
    fn bytes_are_the_same_only_if_each_is() {
        let bytes: Vec<u8> = (0..20).collect();
        for length in 0..=bytes.len() {
            assert!(is_same(&bytes[..length], &bytes[..length]));
            assert!(length == bytes.len() || !is_same(&bytes, &bytes[..length]));
            for at in 0..length {
                let mut other = bytes[..length].to_vec();
                other[at] ^= 1;
                assert!(!is_same(&bytes[..length], &other), "{at} of {length}");
            }
        }
    }

    #[test]
    fn a_definition_of_somebody_else_is_refused() {
        let compiled = Compiled::new(&everything()).unwrap();
        let mut view = view(&compiled);
        view.services[0].packed = view.services[1].packed;
        let bytes = with_header(VERSION, &postcard::to_stdvec(&view).unwrap());
        let refused = Compiled::from_bytes(bytes).unwrap().unpack().unwrap_err();
        assert_eq!(
            refused.to_string(),
            "read the graph: `a` has the definition of `b`"
        );
    }

    proptest! {
        #[test]
        fn no_change_of_bytes_panics(
            at in 0usize..800,
            value: u8,
            length in 0usize..800,
            right_checksum: bool,
        ) {
            let mut bytes = Compiled::from(everything()).to_bytes().to_vec();
            if let Some(byte) = bytes.get_mut(at) {
                *byte = value;
            }
            bytes.truncate(bytes.len().min(length.max(HEADER)));
            if right_checksum {
                bytes = with_header(VERSION, &bytes[HEADER..]);
            }
            // Accepted or refused: what is accepted can be taken over.
            if let Ok(compiled) = Compiled::from_bytes(bytes) {
                let supervisor = crate::supervisor::Supervisor::new(compiled.clone());
                prop_assert_eq!(supervisor.services().count(), compiled.count());
                let _ = compiled.unpack();
            }
        }

        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = Compiled::from_bytes(bytes.clone());
            let _ = Compiled::from_bytes(with_header(VERSION, &bytes));
        }
    }
}
