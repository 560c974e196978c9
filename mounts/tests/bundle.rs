//! Bundles: what is packed is read, and what was changed on the way is refused by the part that differs.
// The whole file is a test; clippy takes only what is marked `#[test]` for one.
#![allow(clippy::unwrap_used, clippy::panic)]

use ed25519_dalek::{Signer, SigningKey};
use mounts::bundle::{
    BundleError, CHUNK_SIZES, CHUNKS_MAX, Entry, Front, HEADER_MAX, Header, Layout, Part,
    STORED_MORE, Table, encode,
};
use mounts::dps::Architecture;
use mounts::envelope::EnvelopeError;
use mounts::keyring::{Keyring, Named, SignatureError};
use mounts::manifest::{self, Algorithm, Filesystem, Manifest, PublicKey};
use mounts::verity::{BLOCK_SIZE, RootHash, Salt, hash_area_size};
use proptest::prelude::*;

const CHUNK: u32 = 64 * 1024;

fn manifest(data_blocks: u64) -> Manifest {
    Manifest {
        version: "2".to_owned(),
        security_version: 2,
        architecture: Architecture::X86_64,
        image_size: data_blocks * u64::from(BLOCK_SIZE),
        data_blocks,
        root_hash: RootHash::new([7; 32]),
        salt: Salt::default(),
        hash_size: hash_area_size(data_blocks).unwrap(),
        block_size: BLOCK_SIZE,
        algorithm: Algorithm::Sha256,
        filesystem: Filesystem::Erofs,
    }
}

fn key(seed: u8) -> SigningKey {
    SigningKey::from_bytes(&[seed; 32])
}

fn public(seed: u8) -> PublicKey {
    PublicKey::from_bytes(key(seed).verifying_key().as_bytes()).unwrap()
}

fn ring(seeds: &[u8]) -> Keyring {
    Keyring::of(seeds.iter().map(|seed| Named {
        name: format!("key-{seed}"),
        key: public(*seed),
    }))
}

fn signed(manifest: &Manifest, seed: u8) -> Vec<u8> {
    manifest::encode(manifest, |message| key(seed).sign(message).to_bytes()).unwrap()
}

/// The head of a bundle of 40 blocks, three chunks and one of hashes.
fn head(seed: u8) -> Vec<u8> {
    let manifest = manifest(40);
    let layout = Layout::new(&manifest, CHUNK).unwrap();
    let entries: Vec<Entry> = (0..layout.chunks())
        .map(|number| {
            let stored = vec![u8::try_from(number).unwrap(); 100 + number as usize];
            Entry::of(&stored, b"content").unwrap()
        })
        .collect();
    let sign = |message: &[u8]| key(seed).sign(message).to_bytes();
    encode(&signed(&manifest, seed), &layout, &entries, sign).unwrap()
}

fn read(head: &[u8], keyring: &Keyring) -> Result<(Header, Table), BundleError> {
    let front = Front::read(head, &mut keyring.clone())?;
    Ok((front.header, front.table))
}

#[test]
fn what_is_packed_is_read_with_any_of_the_keys() {
    let head = head(1);
    let (header, table) = read(&head, &ring(&[2, 1])).unwrap();
    assert_eq!(header.manifest(), &manifest(40));
    assert_eq!(header.signed_manifest(), signed(&manifest(40), 1));
    let chunks: Vec<_> = table.chunks().collect();
    let places: Vec<_> = chunks
        .iter()
        .map(|it| (it.part, it.offset, it.length))
        .collect();
    assert_eq!(
        places,
        [
            (Part::Root, 0, CHUNK),
            (Part::Root, u64::from(CHUNK), CHUNK),
            (Part::Root, 2 * u64::from(CHUNK), 8 * BLOCK_SIZE),
            (Part::Verity, 0, 2 * BLOCK_SIZE),
        ]
    );
    // Without gaps, from the end of the table to the end of the bundle.
    let mut at = head.len() as u64;
    for (number, chunk) in (0..).zip(&chunks) {
        assert_eq!(chunk.stored_at, at);
        at += u64::from(chunk.stored_length());
        assert_eq!(table.stored_end(number + 1), Some(at));
        assert!(chunk.holds(b"content") && !chunk.holds(b"contents"));
        assert!(!chunk.is_stored_as(b"content"));
    }
    assert_eq!(header.size(), at);
    assert_eq!((table.stored_end(0), table.chunk(4)), (None, None));
}

#[test]
fn a_bit_that_was_changed_anywhere_is_noticed() {
    let good = head(1);
    for place in 0..good.len() {
        for bit in [0, 3, 7] {
            let mut changed = good.clone();
            changed[place] ^= 1 << bit;
            let error = read(&changed, &ring(&[1])).map(drop).unwrap_err();
            assert!(!error.to_string().is_empty(), "byte {place}");
        }
    }
    for length in 0..good.len() {
        assert!(
            read(&good[..length], &ring(&[1])).is_err(),
            "{length} bytes"
        );
    }
}

#[test]
fn each_defect_has_its_own_word() {
    let good = head(1);
    let unknown = |keys| BundleError::Signature(SignatureError::Unknown { keys });
    let with = |change: &dyn Fn(&mut Vec<u8>)| {
        let mut changed = good.clone();
        change(&mut changed);
        read(&changed, &ring(&[1])).map(drop).unwrap_err()
    };
    let (kind, magic) = ("bundle", "SHARKBUN");
    let envelope = BundleError::Envelope;
    assert_eq!(
        with(&|it| it[0] = b'X'),
        envelope(EnvelopeError::Magic { kind, magic })
    );
    let version = EnvelopeError::Version {
        kind,
        found: 2,
        known: 1,
    };
    assert_eq!(with(&|it| it[8] = 2), envelope(version));
    let long = |it: &mut Vec<u8>| it[12..16].copy_from_slice(&0x10001_u32.to_le_bytes());
    assert_eq!(
        with(&long),
        envelope(EnvelopeError::TooLong {
            kind,
            length: HEADER_MAX + 1,
            most: HEADER_MAX
        })
    );
    assert_eq!(with(&|it| it[20] ^= 1), unknown(1));
    let last = good.len() - 1;
    assert_eq!(with(&|it| it[last] ^= 1), BundleError::Table);
    assert_eq!(with(&|it| it.push(0)), BundleError::Table);
    let none = read(&good, &ring(&[])).map(drop).unwrap_err();
    assert!(none.to_string().contains("no trusted key"));
    assert_eq!(
        read(&good, &ring(&[2, 3])).map(drop).unwrap_err(),
        unknown(2)
    );
}

/// A header that is signed, with one of its fields changed.
fn resigned(from: &str, to: &str) -> BundleError {
    let good = head(1);
    let length = u32::from_le_bytes(good[12..16].try_into().unwrap()) as usize;
    let json = std::str::from_utf8(&good[80..80 + length]).unwrap();
    assert!(json.contains(from), "{json}");
    let json = json.replace(from, to);
    let message = [b"shark-bundle-v1\0", json.as_bytes()].concat();
    let signature = key(1).sign(&message).to_bytes();
    let changed = [
        &good[..12],
        &u32::try_from(json.len()).unwrap().to_le_bytes(),
        &signature,
        json.as_bytes(),
        &good[80 + length..],
    ]
    .concat();
    read(&changed, &ring(&[1])).map(drop).unwrap_err()
}

#[test]
fn what_is_signed_and_nonsense_is_refused_as_well() {
    let check = |from: &str, to: &str, expect: &str| {
        let error = resigned(from, to).to_string();
        assert!(error.contains(expect), "{to}: {error}");
    };
    check(
        "\"chunk_size\":65536",
        "\"chunk_size\":65535",
        "power of two",
    );
    check(
        "\"chunk_size\":65536",
        "\"chunk_size\":32768",
        "power of two",
    );
    check(
        "\"chunk_size\":65536",
        "\"chunk_size\":8388608",
        "power of two",
    );
    check("\"size\":", "\"size\":1", "add up");
    check("\"size\":", "\"sise\":", "sise");
    check("\"table\":\"", "\"table\":\"0", "hexadecimal");
    check("\"manifest\":\"53", "\"manifest\":\"54", "SHARKMAN");
    check("{\"", "{\"more\":1,\"", "more");
}

#[test]
fn another_key_s_manifest_does_not_come_in_by_a_bundle() {
    let manifest = manifest(40);
    let layout = Layout::new(&manifest, CHUNK).unwrap();
    let entry = Entry::of(b"x", b"x").unwrap();
    let entries = vec![entry; layout.chunks() as usize];
    let sign = |message: &[u8]| key(1).sign(message).to_bytes();
    let head = encode(&signed(&manifest, 9), &layout, &entries, sign).unwrap();
    let error = read(&head, &ring(&[1])).map(drop).unwrap_err();
    assert!(matches!(error, BundleError::Manifest(_)), "{error}");
}

#[test]
fn sizes_have_their_bounds() {
    let entry = Entry::of(b"", b"x").map(drop);
    assert_eq!(entry, Err(BundleError::Stored(0)));
    let manifest = manifest(40);
    let layout = Layout::new(&manifest, CHUNK).unwrap();
    let stored = vec![0; (CHUNK + STORED_MORE) as usize + 1];
    let entries = vec![Entry::of(&stored, b"x").unwrap(); layout.chunks() as usize];
    let sign = |message: &[u8]| key(1).sign(message).to_bytes();
    let head = encode(&signed(&manifest, 1), &layout, &entries, sign).unwrap();
    assert_eq!(
        read(&head, &ring(&[1])).map(drop),
        Err(BundleError::Stored(stored.len()))
    );
    assert!(encode(&signed(&manifest, 1), &layout, &entries[1..], sign).is_err());
    let [smallest, largest] = CHUNK_SIZES;
    let blocks = u64::from(CHUNKS_MAX) * u64::from(smallest / BLOCK_SIZE);
    let huge = self::manifest(blocks);
    assert!(Layout::new(&huge, smallest).is_err());
    assert!(Layout::new(&huge, largest).unwrap().chunks() <= CHUNKS_MAX);
}

proptest! {
    #[test]
    fn chunks_cover_both_images_once(blocks in 1u64..5000, power in 16u32..=22) {
        let manifest = manifest(blocks);
        let layout = Layout::new(&manifest, 1 << power).unwrap();
        let mut ends = [(Part::Root, 0), (Part::Verity, 0)];
        for number in 0..layout.chunks() {
            let (part, offset, length) = layout.place(number).unwrap();
            let end = ends.iter_mut().find(|(it, _)| *it == part).unwrap();
            prop_assert_eq!(end.1, offset);
            prop_assert!(length > 0 && length <= 1 << power && length.is_multiple_of(BLOCK_SIZE));
            end.1 += u64::from(length);
        }
        prop_assert_eq!(layout.place(layout.chunks()), None);
        prop_assert_eq!(ends.map(|(_, end)| end), [manifest.image_size, manifest.hash_size]);
    }
}
