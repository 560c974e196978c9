//! The key that signs manifests: the one given, or one made on first use and kept out of the
//! history. Not here: what is signed (`slots`).

use std::fs::{self, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use anyhow::{Context, Result, anyhow};
use ed25519_dalek::pkcs8::spki::der::pem::LineEnding;
use ed25519_dalek::pkcs8::{DecodePrivateKey, EncodePrivateKey};
use ed25519_dalek::{Signer, SigningKey};
use mounts::keyring::{Keyring, Named};
use mounts::manifest::PublicKey;

use crate::{command, paths};

/// Where a key lies that nobody gave, below the checkout.
const DEFAULT: &str = "keys/shark-image.key";

/// A private key, with a name for its public half.
pub(super) struct ImageKey {
    signing: SigningKey,
    /// The file's name without its extension.
    pub(super) name: String,
    /// The public half, as initramfs and init know it.
    pub(super) public: PublicKey,
}

impl ImageKey {
    /// Reads the key at `path` (Ed25519, PKCS#8, PEM: `openssl genpkey -algorithm ed25519`), or
    /// makes one at the default place.
    pub(super) fn open(path: Option<&Path>) -> Result<Self> {
        let default = paths::workspace().join(DEFAULT);
        let path = path.unwrap_or(&default);
        if path == default && !path.exists() {
            generate(path)?;
        }
        let pem = fs::read_to_string(path)
            .with_context(|| format!("cannot read the key {}", path.display()))?;
        let signing = SigningKey::from_pkcs8_pem(&pem).map_err(|error| {
            anyhow!(
                "{} is no Ed25519 key in PKCS#8 PEM: {error}",
                path.display()
            )
        })?;
        let public = PublicKey::from_bytes(signing.verifying_key().as_bytes())
            .map_err(|error| anyhow!("the key {} cannot be used: {error}", path.display()))?;
        let name = path
            .file_stem()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        Ok(Self {
            signing,
            name,
            public,
        })
    }

    /// Name and text of the public half: what trusts it.
    pub(super) fn trusted(&self) -> [(String, String); 1] {
        [(self.name.clone(), self.public.to_text())]
    }

    /// A keyring with this key alone.
    pub(super) fn keyring(&self) -> Keyring {
        Keyring::of([self.named()])
    }

    /// The public half and its name.
    pub(super) fn named(&self) -> Named {
        Named {
            name: self.name.clone(),
            key: self.public,
        }
    }

    /// Another key, made anew at `path`.
    pub(super) fn fresh(path: &Path) -> Result<Self> {
        generate(path)?;
        Self::open(Some(path))
    }

    /// The signature of `message`; the same message always gets the same.
    pub(super) fn sign(&self, message: &[u8]) -> [u8; 64] {
        self.signing.sign(message).to_bytes()
    }
}

/// Name and text of the public key in the file `path`.
pub(super) fn public(path: &Path) -> Result<(String, String)> {
    let named = named(path)?;
    Ok((named.name, named.key.to_text()))
}

/// The public key in the file `path`, with its name.
pub(super) fn named(path: &Path) -> Result<Named> {
    let text = fs::read_to_string(path)
        .with_context(|| format!("cannot read the key {}", path.display()))?;
    let key = PublicKey::parse(&text).map_err(|error| anyhow!("{}: {error}", path.display()))?;
    let name = path.file_stem().unwrap_or_default().to_string_lossy();
    Ok(Named {
        name: name.into_owned(),
        key,
    })
}

fn generate(path: &Path) -> Result<()> {
    command::step(&format!("making a key for images: {}", path.display()));
    if let Some(dir) = path.parent() {
        paths::make_dir(dir)?;
    }
    let mut seed = [0; 32];
    fs::File::open("/dev/urandom")
        .and_then(|mut random| random.read_exact(&mut seed))
        .context("cannot read /dev/urandom")?;
    let pem = SigningKey::from_bytes(&seed)
        .to_pkcs8_pem(LineEnding::LF)
        .map_err(|error| anyhow!("cannot write the key as PEM: {error}"))?;
    OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .and_then(|mut file| file.write_all(pem.as_bytes()))
        .with_context(|| format!("cannot write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_made_key_is_private_and_signs_what_its_public_half_verifies() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("test.key");
        generate(&path).unwrap();
        assert_eq!(
            fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            0o600
        );
        let key = ImageKey::open(Some(&path)).unwrap();
        assert_eq!(key.name, "test");
        let signature = key.sign(b"message");
        assert_eq!(signature, key.sign(b"message"));
        let verifying = key.signing.verifying_key();
        let signature = ed25519_dalek::Signature::from_bytes(&signature);
        assert!(verifying.verify_strict(b"message", &signature).is_ok());
        assert!(verifying.verify_strict(b"massage", &signature).is_err());
    }

    #[test]
    fn what_is_no_key_says_so() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("bad.key");
        fs::write(&path, "not a key").unwrap();
        let error = ImageKey::open(Some(&path))
            .map(drop)
            .unwrap_err()
            .to_string();
        assert!(error.contains("no Ed25519 key"), "{error}");
        let error = ImageKey::open(Some(&dir.path().join("absent")))
            .map(drop)
            .unwrap_err();
        assert!(error.to_string().contains("cannot read the key"), "{error}");
    }
}
