//! One link of the chain of keys: the complete set of keys that are trusted from then on, and those that
//! are revoked, in an envelope ([`crate::envelope`]) of the kind `SHARKKEY`, version 1, signed after the
//! bytes `shark-keys-v1` and a zero byte. Its content is JSON. Not here: whether it counts ([`super`]).

use std::fmt;

use ed25519_dalek::Signature;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::envelope::{EnvelopeError, HEAD_SIZE, Kind};
use crate::hex::{self, Hex};
use crate::key::PublicKey;

/// Longest content of a link, in bytes.
pub const LINK_MAX: usize = 8 * 1024;
/// Most links of a chain: all that a machine ever takes.
pub const LINKS_MAX: usize = 24;
/// Most bytes of a chain.
pub const CHAIN_MAX: usize = LINKS_MAX * (HEAD_SIZE + LINK_MAX);
/// Most keys that a link trusts.
pub const TRUSTED_MAX: usize = 16;
/// Most keys that a link revokes.
pub const REVOKED_MAX: usize = 32;
/// Longest name of a key, in bytes.
pub const NAME_MAX: usize = 64;

const KIND: Kind = Kind {
    name: "link of keys",
    magic: "SHARKKEY",
    version: 1,
    max: LINK_MAX,
    context: b"shark-keys-v1\0",
};

/// A key and what people call it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Named {
    /// Its name: 1 to [`NAME_MAX`] of `A-Z a-z 0-9 . _ -`.
    pub name: String,
    /// It.
    pub key: PublicKey,
}

/// Which link: its number, and the first half of the SHA-256 of its bytes. Two links may have one number,
/// and only one of them has counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LinkId {
    /// Its number; 0: no link.
    pub sequence: u32,
    /// The digest; zeros where there is no link.
    pub digest: [u8; 16],
}

/// What a link says.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Link {
    /// Its number, from 1: of two links the one with the higher says what holds.
    pub sequence: u32,
    /// All keys that are trusted from now on: 1 to [`TRUSTED_MAX`].
    pub trusted: Vec<Named>,
    /// Keys that are never trusted again: at most [`REVOKED_MAX`].
    pub revoked: Vec<Named>,
}

/// A link as it is signed. What it says is not looked at before somebody known is found to have signed
/// it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedLink {
    bytes: Vec<u8>,
    signature: Signature,
}

/// Why a link is none, or is not made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LinkError {
    /// It is none.
    Envelope(EnvelopeError),
    /// Signed, but no link: the JSON parser's words.
    Json(String),
    /// Signed, but it breaks a rule: which.
    Rule(String),
    /// More than [`LINKS_MAX`] of them.
    TooMany,
    /// Something follows the last one.
    Trailing,
}

impl fmt::Display for LinkError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Envelope(error) => write!(f, "{error}"),
            Self::Json(error) | Self::Rule(error) => write!(f, "link of keys: {error}"),
            Self::TooMany => write!(
                f,
                "more than {LINKS_MAX} links of keys; make an image that begins with the present keys"
            ),
            Self::Trailing => write!(f, "something else follows the links of keys"),
        }
    }
}

impl std::error::Error for LinkError {}

impl From<EnvelopeError> for LinkError {
    fn from(error: EnvelopeError) -> Self {
        Self::Envelope(error)
    }
}

impl Link {
    /// Checks every rule that the types do not.
    ///
    /// # Errors
    /// [`LinkError::Rule`] says which is broken.
    pub fn check(&self) -> Result<(), LinkError> {
        let rule = |text: String| Err(LinkError::Rule(text));
        if self.sequence == 0 {
            return rule("sequence is 0, expected at least 1".to_owned());
        }
        if self.trusted.is_empty() || self.trusted.len() > TRUSTED_MAX {
            let found = self.trusted.len();
            return rule(format!(
                "it trusts {found} keys, expected 1 to {TRUSTED_MAX}"
            ));
        }
        if self.revoked.len() > REVOKED_MAX {
            let found = self.revoked.len();
            return rule(format!(
                "it revokes {found} keys, expected at most {REVOKED_MAX}"
            ));
        }
        for (index, named) in self.all().enumerate() {
            if !is_name(&named.name) {
                let name: String = named.name.chars().take(80).collect();
                return rule(format!(
                    "a key is named {name:?}, expected 1 to {NAME_MAX} of A-Z a-z 0-9 . _ -"
                ));
            }
            if self.all().take(index).any(|it| it.key == named.key) {
                return rule(format!("key {} is there twice", named.name));
            }
        }
        Ok(())
    }

    /// Reads what a link says where nobody has to sign it: in an initramfs, which is trusted as it is.
    ///
    /// # Errors
    /// [`LinkError`].
    pub fn of_json(json: &[u8]) -> Result<Self, LinkError> {
        let link: Self =
            serde_json::from_slice(json).map_err(|error| LinkError::Json(error.to_string()))?;
        link.check()?;
        Ok(link)
    }

    /// What [`Link::of_json`] reads.
    ///
    /// # Errors
    /// It breaks a rule of [`Link::check`].
    pub fn to_json(&self) -> Result<Vec<u8>, LinkError> {
        self.check()?;
        serde_json::to_vec(self).map_err(|error| LinkError::Json(error.to_string()))
    }

    fn all(&self) -> impl Iterator<Item = &Named> {
        self.trusted.iter().chain(&self.revoked)
    }

    /// The link as it is signed. `sign` gets the message to sign and gives its Ed25519 signature.
    ///
    /// # Errors
    /// It breaks a rule of [`Link::check`], or is too long.
    pub fn seal(&self, sign: impl FnOnce(&[u8]) -> [u8; 64]) -> Result<SignedLink, LinkError> {
        let bytes = KIND.seal(&self.to_json()?, sign)?;
        let (head, ..) = KIND.open(&bytes)?;
        Ok(SignedLink {
            signature: head.signature,
            bytes,
        })
    }
}

/// Whether a key may be called so.
#[must_use]
pub fn is_name(name: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    (1..=NAME_MAX).contains(&name.len()) && name.bytes().all(allowed)
}

impl SignedLink {
    /// The envelope.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    pub(super) fn digest(&self) -> [u8; 16] {
        let digest: [u8; 32] = Sha256::digest(&self.bytes).into();
        digest.first_chunk().copied().unwrap_or_default()
    }

    pub(super) fn message(&self) -> Vec<u8> {
        KIND.message(self.content())
    }

    pub(super) fn signature(&self) -> &Signature {
        &self.signature
    }

    /// What it says: only for what somebody known has signed, or oneself has made.
    ///
    /// # Errors
    /// [`LinkError`]: nonsense was signed.
    pub fn read(&self) -> Result<Link, LinkError> {
        Link::of_json(self.content())
    }

    fn content(&self) -> &[u8] {
        self.bytes.get(HEAD_SIZE..).unwrap_or_default()
    }
}

/// Bytes of the link whose envelope begins with `head`; `None`: it begins with something else.
#[must_use]
pub fn link_size(head: &[u8; HEAD_SIZE]) -> Option<Result<usize, LinkError>> {
    let size = || Ok(HEAD_SIZE.saturating_add(KIND.head(head)?.length));
    KIND.is_start_of(head).then(size)
}

/// The links at the start of `bytes`, and what follows them.
///
/// # Errors
/// [`LinkError`]: one of them is cut short, or there are too many.
pub fn split(mut bytes: &[u8]) -> Result<(Vec<SignedLink>, &[u8]), LinkError> {
    let mut links = Vec::new();
    while KIND.is_start_of(bytes) {
        if links.len() == LINKS_MAX {
            return Err(LinkError::TooMany);
        }
        let (head, _, rest) = KIND.open(bytes)?;
        let size = bytes.len().saturating_sub(rest.len());
        links.push(SignedLink {
            bytes: bytes.get(..size).unwrap_or_default().to_vec(),
            signature: head.signature,
        });
        bytes = rest;
    }
    Ok((links, bytes))
}

/// Links as text, for a protocol that has no bytes: hexadecimal digits.
#[must_use]
pub fn to_text(chain: &[u8]) -> String {
    Hex(chain.to_vec()).to_string()
}

/// Reads what [`to_text`] has made.
///
/// # Errors
/// [`LinkError`].
pub fn of_text(text: &str) -> Result<Vec<SignedLink>, LinkError> {
    let bytes = hex::parse(text);
    parse(&bytes.ok_or_else(|| LinkError::Json("expected hexadecimal digits".to_owned()))?)
}

/// Links, and nothing else: the content of a file of them. An empty one is none.
///
/// # Errors
/// [`LinkError`].
pub fn parse(bytes: &[u8]) -> Result<Vec<SignedLink>, LinkError> {
    let (links, rest) = split(bytes)?;
    if rest.is_empty() {
        return Ok(links);
    }
    if links.is_empty() {
        return Err(KIND
            .open(rest)
            .map_or_else(LinkError::Envelope, |_| LinkError::Trailing));
    }
    Err(LinkError::Trailing)
}
