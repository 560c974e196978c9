//! Public keys, and their text. Not here: which of them is trusted ([`crate::keyring`]).

use std::fmt;

use ed25519_dalek::{Signature, VerifyingKey};
use serde::{Deserialize, Serialize};

use crate::hex;

/// A public Ed25519 key that may sign. Its text, in a `.pub` file, is 64
/// hexadecimal digits and a newline.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct PublicKey(VerifyingKey);

impl PublicKey {
    /// The key of these bytes.
    ///
    /// # Errors
    /// They are no point of the curve, or one of the weak ones.
    pub fn from_bytes(bytes: &[u8; 32]) -> Result<Self, KeyError> {
        let key = VerifyingKey::from_bytes(bytes).map_err(|_| KeyError::NoPoint)?;
        if key.is_weak() {
            return Err(KeyError::Weak);
        }
        Ok(Self(key))
    }

    /// Reads the content of a `.pub` file.
    ///
    /// # Errors
    /// [`KeyError`] says what is wrong with it.
    pub fn parse(text: &str) -> Result<Self, KeyError> {
        let digits = text.strip_suffix('\n').unwrap_or(text);
        Self::from_bytes(&hex::parse_array(digits).ok_or(KeyError::Text)?)
    }

    /// Whether this key made `signature` over `message`.
    pub(crate) fn signed(&self, message: &[u8], signature: &Signature) -> bool {
        self.0.verify_strict(message, signature).is_ok()
    }

    /// The content of its `.pub` file.
    #[must_use]
    pub fn to_text(&self) -> String {
        format!("{self}\n")
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        hex::write(f, self.0.as_bytes())
    }
}

/// Why something is no public key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyError {
    /// Not 64 digits.
    Text,
    /// No point of the curve.
    NoPoint,
    /// A point of small order, for which anyone can make signatures.
    Weak,
}

impl fmt::Display for KeyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Text => "no public key: expected 64 hexadecimal digits and a newline",
            Self::NoPoint => "no public key: these 32 bytes are no point of the curve",
            Self::Weak => "a weak public key: anyone could sign for it",
        })
    }
}

impl std::error::Error for KeyError {}

impl TryFrom<String> for PublicKey {
    type Error = KeyError;

    fn try_from(text: String) -> Result<Self, KeyError> {
        Self::from_bytes(&hex::parse_array(&text).ok_or(KeyError::Text)?)
    }
}

impl From<PublicKey> for String {
    fn from(key: PublicKey) -> Self {
        key.to_string()
    }
}
