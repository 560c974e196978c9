//! Keyrings: hostile files of links and copies of them; hostile links that trusted keys signed, in any order.
#![no_main]

use ed25519_dalek::{Signer, SigningKey};
use libfuzzer_sys::fuzz_target;
use mounts::keyring::copies::{MAGIC, chains, load};
use mounts::keyring::{Keyring, Link, Named, Trust, of_text, parse, split};
use mounts::manifest::PublicKey;
use mounts::slot::store::Medium;

/// A disk whose every place begins with the same bytes.
struct Disk(Vec<u8>);

impl Medium for Disk {
    fn read(&mut self, _offset: u64, into: &mut [u8]) -> Result<(), String> {
        let length = into.len().min(self.0.len());
        into.fill(0);
        into[..length].copy_from_slice(&self.0[..length]);
        Ok(())
    }

    fn write(&mut self, _offset: u64, _block: &[u8; 4096]) -> Result<(), String> {
        Err("nothing is written".to_owned())
    }
}

fn key(seed: u8) -> SigningKey {
    SigningKey::from_bytes(&[seed % 4; 32])
}

fn named(seed: u8) -> Named {
    let key = PublicKey::from_bytes(key(seed).verifying_key().as_bytes()).expect("a good key");
    let name = format!("key-{}", seed % 4);
    Named { name, key }
}

/// An envelope around anything, signed.
fn sealed(by: u8, content: &[u8]) -> Vec<u8> {
    let message = [b"shark-keys-v1\0", content].concat();
    let signature = key(by).sign(&message).to_bytes();
    let length = u32::try_from(content.len()).expect("short");
    [
        b"SHARKKEY",
        &1u32.to_le_bytes()[..],
        &length.to_le_bytes(),
        &signature,
        content,
    ]
    .concat()
}

/// Revoked keys stay so, and somebody is trusted.
fn holds(keyring: &Keyring, before: &Keyring) {
    let revoked = |keyring: &Keyring, key: &PublicKey| {
        let entry = keyring.entries().iter().find(|it| it.named.key == *key);
        entry.is_some_and(|it| matches!(it.trust, Trust::Revoked(_)))
    };
    for entry in before.entries() {
        let key = &entry.named.key;
        assert!(!revoked(before, key) || revoked(keyring, key), "it came back");
    }
    assert!(keyring.entries().iter().any(|it| it.trust == Trust::Trusted));
    assert!(keyring.sequence() >= before.sequence());
}

fuzz_target!(|data: &[u8]| {
    let fresh = Keyring::of([named(0), named(1)]);
    if let Ok((links, _)) = split(data) {
        let mut keyring = fresh.clone();
        keyring.extend(&links);
        holds(&keyring, &fresh);
    }
    if let Ok(text) = std::str::from_utf8(data) {
        let _ = of_text(text);
    }
    let copy = [&MAGIC[..], &1u32.to_le_bytes(), data].concat();
    for bytes in [data.to_vec(), copy] {
        let (chains, _) = chains(&load(&mut Disk(bytes)));
        for links in chains.iter().map(|chain| parse(chain)) {
            fresh.clone().extend(&links.unwrap_or_default());
        }
    }
    // Nonsense that is signed.
    let by = data.first().copied().unwrap_or_default();
    let mut keyring = fresh.clone();
    if let Ok(links) = parse(&sealed(by, data)) {
        keyring.extend(&links);
        holds(&keyring, &fresh);
    }
    // Sense that is signed: four bytes a link.
    for bytes in data.chunks_exact(4) {
        let &[number, by, trusted, revoked] = bytes else {
            continue;
        };
        let of = |bits: u8| (0..4).filter(move |seed| bits >> seed & 1 == 1).map(named);
        let link = Link {
            sequence: number.into(),
            trusted: of(trusted).collect(),
            revoked: of(revoked & !trusted).collect(),
        };
        let Ok(link) = link.seal(|it| key(by).sign(it).to_bytes()) else {
            continue;
        };
        let before = keyring.clone();
        keyring.extend(&[link]);
        holds(&keyring, &before);
    }
    let mut again = fresh.clone();
    again.extend(&parse(&keyring.chain()).expect("its own chain"));
    assert!(again == keyring, "what is kept is another keyring");
});
