//! Heads of bundles: hostile bytes; hostile JSON that a trusted key signed; and a hostile table whose
//! digest is in a header that holds.
#![no_main]

use ed25519_dalek::{Signer, SigningKey};
use libfuzzer_sys::fuzz_target;
use mounts::bundle::{BundleError, Front, Header, PREFIX_SIZE, Prefix};
use mounts::keyring::{Keyring, Named};
use mounts::manifest::{self, PublicKey};
use sha2::{Digest, Sha256};

/// A manifest of 40 blocks.
const MANIFEST: &str = concat!(
    r#"{"version":"2","security_version":2,"architecture":"x86_64","image_size":163840,"#,
    r#""data_blocks":40,"root_hash":"#,
    r#""0707070707070707070707070707070707070707070707070707070707070707","salt":"","#,
    r#""hash_size":8192,"block_size":4096,"algorithm":"sha256","filesystem":"erofs"}"#
);

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn verify(json: &[u8], key: &SigningKey, trusted: &Keyring) -> Result<Header, BundleError> {
    let message = [b"shark-bundle-v1\0", json].concat();
    let signature = key.sign(&message).to_bytes();
    let length = u32::try_from(json.len()).expect("short");
    let bytes = [
        b"SHARKBUN",
        &1u32.to_le_bytes()[..],
        &length.to_le_bytes(),
        &signature,
    ]
    .concat();
    let first = bytes.first_chunk::<PREFIX_SIZE>().expect("80 bytes");
    Prefix::parse(first)?.verify(json, trusted)
}

fuzz_target!(|data: &[u8]| {
    let key = SigningKey::from_bytes(&[7; 32]);
    let public = PublicKey::from_bytes(key.verifying_key().as_bytes()).expect("a good key");
    let name = "test".to_owned();
    let trusted = Keyring::of([Named { name, key: public }]);
    let _ = Front::read(data, &mut trusted.clone());
    if let Some((first, rest)) = data.split_first_chunk::<PREFIX_SIZE>()
        && let Ok(prefix) = Prefix::parse(first)
    {
        let length = prefix.header_size().min(rest.len());
        let json = rest.get(..length).unwrap_or_default();
        assert!(prefix.verify(json, &trusted).is_err(), "nobody signed this");
    }
    let _ = verify(data, &key, &trusted);

    let Some((numbers, table)) = data.split_first_chunk::<12>() else {
        return;
    };
    let (chunk, size) = numbers.split_at(4);
    let chunk = u32::from_le_bytes(chunk.try_into().expect("4 bytes"));
    let size = u64::from_le_bytes(size.try_into().expect("8 bytes"));
    let manifest = manifest::parse(MANIFEST.as_bytes()).expect("a good manifest");
    let signed = manifest::encode(&manifest, |it| key.sign(it).to_bytes()).expect("checked");
    let json = format!(
        r#"{{"manifest":"{}","chunk_size":{chunk},"table":"{}","size":{size}}}"#,
        hex(&signed),
        hex(&Sha256::digest(table))
    );
    let Ok(header) = verify(json.as_bytes(), &key, &trusted) else {
        return;
    };
    assert!(header.table_size() == 68 * header.layout().chunks() as usize);
    if let Ok(table) = header.table(table) {
        let end = table
            .chunks()
            .last()
            .map(|it| it.stored_at + u64::from(it.stored_length()));
        assert_eq!(end, Some(size), "the chunks end where the bundle does");
    }
});
