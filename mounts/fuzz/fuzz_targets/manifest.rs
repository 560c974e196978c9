//! Signature partitions: hostile bytes, and hostile JSON that a trusted key signed.
#![no_main]

use ed25519_dalek::{Signer, SigningKey};
use libfuzzer_sys::fuzz_target;
use mounts::keyring::{Keyring, Named};
use mounts::manifest::{PublicKey, encode, parse, verify};
use mounts::verity::{Superblock, check_superblock};

fuzz_target!(|data: &[u8]| {
    let key = SigningKey::from_bytes(&[7; 32]);
    let public = PublicKey::from_bytes(key.verifying_key().as_bytes()).expect("a good key");
    let name = "test".to_owned();
    let trusted = Keyring::of([Named { name, key: public }]);
    assert!(verify(data, &trusted).is_err(), "nobody signed this");
    if let Ok(text) = std::str::from_utf8(data) {
        let _ = PublicKey::parse(text);
    }
    let _ = Superblock::parse(data);
    if let Ok(manifest) = parse(data) {
        let bytes = encode(&manifest, |message| key.sign(message).to_bytes()).expect("checked");
        assert_eq!(verify(&bytes, &trusted).as_ref(), Ok(&manifest));
        let _ = check_superblock(data, &manifest);
    }
});
