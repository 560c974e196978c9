//! Which keys may sign: those that the machine came with, and what a chain of signed links has made of
//! them since.
//!
//! Each link ([`Link`]) names the complete set of keys that are trusted from then on and those that are
//! revoked for good, has a number higher than that of the link before, and is signed by a key that was
//! trusted until then. The first set is that of the initramfs. A link vouches for itself, so it does not
//! matter where it comes from: a machine gathers all that it finds ([`copies`], a bundle, what follows
//! the manifest in a signature partition) and lets each one count that is newer and rightly signed. Links
//! between may be missing, since each is complete.
//!
//! What was revoked stays so, and at least one key is trusted always. A system that the machine has found
//! good goes on to boot whatever becomes of the key that has signed it ([`Keyring::admits`]): revocation
//! keeps new systems out, and must not take the last one away.
//!
//! The boot record keeps which link was the newest that ever counted. When that one is not found, links
//! were lost, and nobody knows what they revoked: then nothing new is trusted until it is back, which any
//! bundle does that brings it. Its number alone would not do, since a key that it had revoked could then
//! sign another in its place.
//!
//! Not here: the signatures' envelope ([`crate::envelope`]), the disk.

pub mod copies;
mod link;

pub use link::{
    CHAIN_MAX, LINK_MAX, LINKS_MAX, Link, LinkError, LinkId, NAME_MAX, Named, REVOKED_MAX,
    SignedLink, TRUSTED_MAX, is_name, link_size, of_text, parse, split, to_text,
};

use std::fmt;

use ed25519_dalek::Signature;
use serde::{Deserialize, Serialize};

use crate::key::PublicKey;

/// What a machine makes its keyring of.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Basis {
    /// What its initramfs says: the keys that it came with. Where that was made later than links, it says
    /// as much as one of them, and has its number; otherwise the number is 0.
    pub image: Link,
    /// Chains of links, wherever they were found.
    pub chains: Vec<Vec<u8>>,
    /// The newest link that ever counted, by the boot record.
    pub needed: LinkId,
}

impl Basis {
    /// The keyring, and what was passed over on the way: where nothing is lost, only what is no chain, since
    /// links that an initramfs has outgrown need not be known to it.
    #[must_use]
    pub fn keyring(&self) -> (Keyring, Vec<String>) {
        let mut keyring = Keyring::begin(&self.image);
        keyring.needed = self.needed;
        let (mut passed, mut damaged) = (Vec::new(), Vec::new());
        for chain in &self.chains {
            match parse(chain) {
                Ok(links) => passed.extend(keyring.extend(&links)),
                Err(error) => damaged.push(error.to_string()),
            }
        }
        if keyring.lost().is_some() {
            damaged.extend(passed);
        }
        (keyring, damaged)
    }
}

/// Where a key comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The machine came with it.
    Image,
    /// This link was the first that named it.
    Link(u32),
}

/// What a key is good for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trust {
    /// It may sign.
    Trusted,
    /// This link has left it out; another may bring it back.
    Retired(u32),
    /// This link has revoked it for good.
    Revoked(u32),
}

/// A key that is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Key and name.
    pub named: Named,
    /// Where it comes from.
    pub origin: Origin,
    /// What it is good for.
    pub trust: Trust,
}

/// What a machine knows of a system that a manifest describes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Known {
    /// A boot of it was found good.
    Good,
    /// None was yet.
    Untried,
    /// There is no boot record that could tell.
    Untold,
}

/// Why a signature does not count. Printed after what was signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SignatureError {
    /// No key that is known made it.
    Unknown {
        /// How many keys are trusted.
        keys: usize,
    },
    /// A key made it that was left out.
    Retired {
        /// Its name.
        name: String,
        /// The link that left it out.
        link: u32,
    },
    /// A key made it that was revoked.
    Revoked {
        /// Its name.
        name: String,
        /// The link that revoked it.
        link: u32,
    },
    /// Links were lost, and what they revoked is not known.
    Lost {
        /// The newest link there is.
        has: u32,
        /// The newest that there was.
        needed: u32,
    },
}

impl fmt::Display for SignatureError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown { keys: 0 } => write!(f, "cannot be verified: there is no trusted key"),
            Self::Unknown { keys } => write!(f, "signed by none of {keys} trusted keys"),
            Self::Retired { name, link } => write!(
                f,
                "signed by key {name}, which is not trusted since link {link}"
            ),
            Self::Revoked { name, link } => {
                write!(f, "signed by key {name}, which was revoked by link {link}")
            }
            Self::Lost { has, needed } => write!(
                f,
                "cannot be trusted: the links of keys up to {needed} are lost (the newest is {has}), and \
                 with them what was revoked; install a bundle that brings them, or give them to \
                 `sharkctl update keys --add`"
            ),
        }
    }
}

impl std::error::Error for SignatureError {}

/// All keys that are known, and what each is good for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Keyring {
    entries: Vec<Entry>,
    links: Vec<SignedLink>,
    sequence: u32,
    /// The number that it began with.
    begun: u32,
    needed: LinkId,
    /// The last of `links`.
    newest: LinkId,
}

impl Keyring {
    /// The keys that a machine came with.
    #[must_use]
    pub fn of(keys: impl IntoIterator<Item = Named>) -> Self {
        Self::begin(&Link {
            trusted: keys.into_iter().collect(),
            ..Link::default()
        })
    }

    /// What an initramfs says.
    #[must_use]
    pub fn begin(image: &Link) -> Self {
        let mut keyring = Self {
            sequence: image.sequence,
            begun: image.sequence,
            ..Self::default()
        };
        let revoked = Trust::Revoked(image.sequence);
        let trusted = image.trusted.iter().map(|it| (it, Trust::Trusted));
        let all = trusted.chain(image.revoked.iter().map(|it| (it, revoked)));
        for (named, trust) in all {
            if keyring.find(&named.key).is_none() {
                keyring.entries.push(Entry {
                    named: named.clone(),
                    origin: Origin::Image,
                    trust,
                });
            }
        }
        keyring
    }

    /// All keys, in the order in which they became known.
    #[must_use]
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// The number of the newest link that counts; 0: none does.
    #[must_use]
    pub fn sequence(&self) -> u32 {
        self.sequence
    }

    /// Whether links are missing that have counted once: the error that follows from it.
    #[must_use]
    pub fn lost(&self) -> Option<SignatureError> {
        let LinkId { sequence, digest } = self.needed;
        let is_there =
            self.begun >= sequence || self.links.iter().any(|link| link.digest() == digest);
        (!is_there).then_some(SignatureError::Lost {
            has: self.sequence,
            needed: sequence,
        })
    }

    /// The newest link that counts, for the boot record.
    #[must_use]
    pub fn newest(&self) -> LinkId {
        self.newest
    }

    /// The links that count.
    #[must_use]
    pub fn chain(&self) -> Vec<u8> {
        let links = self.links.iter().map(SignedLink::as_bytes);
        links.collect::<Vec<_>>().concat()
    }

    /// Lets each link count that is newer than the one before and signed by a key trusted until then.
    /// What is passed over is told; older links are no news, and are not.
    pub fn extend(&mut self, links: &[SignedLink]) -> Vec<String> {
        let mut passed = Vec::new();
        for link in links {
            if let Err(why) = self.take(link) {
                passed.push(why);
            }
        }
        passed
    }

    fn take(&mut self, signed: &SignedLink) -> Result<(), String> {
        let signer = self.signer(&signed.message(), signed.signature());
        let signer = signer.map_err(|error| format!("a link of keys is {error}"))?;
        let (by, trust) = (signer.named.name.clone(), signer.trust);
        let link = signed.read().map_err(|error| error.to_string())?;
        if link.sequence <= self.sequence {
            return Ok(());
        }
        let number = link.sequence;
        if let Some(error) = refusal(&by, trust) {
            return Err(format!("link {number} of keys is {error}"));
        }
        let back = link
            .trusted
            .iter()
            .find(|it| matches!(self.trust(&it.key), Some(Trust::Revoked(_))));
        if let Some(back) = back {
            return Err(format!(
                "link {number} of keys trusts {} again, which was revoked for good",
                back.name
            ));
        }
        if self.links.len() == LINKS_MAX {
            return Err(format!("link {number}: {}", LinkError::TooMany));
        }
        self.apply(&link);
        self.newest = LinkId {
            sequence: number,
            digest: signed.digest(),
        };
        self.links.push(signed.clone());
        Ok(())
    }

    fn apply(&mut self, link: &Link) {
        let number = link.sequence;
        for entry in &mut self.entries {
            if entry.trust == Trust::Trusted {
                entry.trust = Trust::Retired(number);
            }
        }
        for named in &link.trusted {
            self.set(named, number, Trust::Trusted);
        }
        for named in &link.revoked {
            if !matches!(self.trust(&named.key), Some(Trust::Revoked(_))) {
                self.set(named, number, Trust::Revoked(number));
            }
        }
        self.sequence = number;
    }

    fn set(&mut self, named: &Named, number: u32, trust: Trust) {
        match self.entries.iter_mut().find(|it| it.named.key == named.key) {
            Some(entry) => {
                entry.named = named.clone();
                entry.trust = trust;
            }
            None => self.entries.push(Entry {
                named: named.clone(),
                origin: Origin::Link(number),
                trust,
            }),
        }
    }

    fn find(&self, key: &PublicKey) -> Option<&Entry> {
        self.entries.iter().find(|it| it.named.key == *key)
    }

    fn trust(&self, key: &PublicKey) -> Option<Trust> {
        self.find(key).map(|it| it.trust)
    }

    /// The key that made a signature, whatever it is good for.
    pub(crate) fn signer(
        &self,
        message: &[u8],
        signature: &Signature,
    ) -> Result<&Entry, SignatureError> {
        let keys = self.entries.iter().filter(|it| it.trust == Trust::Trusted);
        let unknown = SignatureError::Unknown { keys: keys.count() };
        self.entries
            .iter()
            .find(|it| it.named.key.signed(message, signature))
            .ok_or(unknown)
    }

    /// Whether a key made this signature that may sign what is new here.
    pub(crate) fn check(
        &self,
        message: &[u8],
        signature: &Signature,
    ) -> Result<(), SignatureError> {
        let signer = self.signer(message, signature)?;
        self.admits(signer, Known::Untried)
    }

    /// Whether a system may be booted that `signer` has signed. One that was found good always may: what
    /// is revoked later must not leave a machine without a system. So may all where no record tells what
    /// was good, since nothing new was written then.
    ///
    /// # Errors
    /// [`SignatureError`].
    pub fn admits(&self, signer: &Entry, known: Known) -> Result<(), SignatureError> {
        match known {
            Known::Good | Known::Untold => Ok(()),
            Known::Untried => match refusal(&signer.named.name, signer.trust) {
                Some(error) => Err(error),
                None => self.lost().map_or(Ok(()), Err),
            },
        }
    }
}

/// The chain to keep where `copies` were kept so far: what was there, since a slot with an older initramfs
/// needs links that this one has outgrown, and all that count now. When there are too many, the oldest go.
#[must_use]
pub fn kept(copies: &[Vec<u8>], keyring: &Keyring) -> Vec<u8> {
    let there = copies.iter().filter_map(|chain| parse(chain).ok());
    let mut all: Vec<SignedLink> = Vec::new();
    for link in there.flatten().chain(keyring.links.iter().cloned()) {
        if !all.contains(&link) {
            all.push(link);
        }
    }
    all.sort_by_key(|link| link.read().map_or(0, |it| it.sequence));
    let surplus = all.len().saturating_sub(LINKS_MAX);
    let bytes = all.iter().skip(surplus).map(SignedLink::as_bytes);
    bytes.collect::<Vec<_>>().concat()
}

/// What speaks against a signature of this key.
fn refusal(name: &str, trust: Trust) -> Option<SignatureError> {
    let name = name.to_owned();
    match trust {
        Trust::Trusted => None,
        Trust::Retired(link) => Some(SignatureError::Retired { name, link }),
        Trust::Revoked(link) => Some(SignatureError::Revoked { name, link }),
    }
}
