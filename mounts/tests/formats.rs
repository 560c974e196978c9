//! Manifests, verity and the hand-over: what is written is read, and what is forged is refused.
// The whole file is a test; clippy takes only what is marked `#[test]` for one.
#![allow(clippy::unwrap_used, clippy::panic)]

use ed25519_dalek::{Signer, SigningKey};
use mounts::dps::Architecture;
use mounts::envelope::{EnvelopeError, HEAD_SIZE};
use mounts::handover::{
    DmDevice, Handover, HandoverError, LIST_MAX, Mode, RecordFacts, Timing, WatchdogFacts,
};
use mounts::keyring::{Keyring, Named, SignatureError};
use mounts::manifest::{
    Algorithm, Filesystem, KeyError, MANIFEST_MAX, Manifest, ManifestError, PublicKey, encode,
    parse, verify,
};
use mounts::slot::Slot;
use mounts::verity::{
    OnCorruption, RootHash, Salt, Scope, Superblock, SuperblockError, check_superblock,
    hash_area_size, target,
};
use proptest::prelude::*;

fn manifest() -> Manifest {
    Manifest {
        version: "2026.11-1+shark~rc1".to_owned(),
        security_version: 3,
        architecture: Architecture::X86_64,
        image_size: 200 * 4096,
        data_blocks: 200,
        root_hash: RootHash::new([0xab; 32]),
        salt: Salt::default(),
        hash_size: 4 * 4096,
        block_size: 4096,
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

fn signed(json: &[u8], seed: u8) -> Vec<u8> {
    let message = [b"shark-manifest-v1\0", json].concat();
    let length = u32::try_from(json.len()).unwrap();
    let signature = key(seed).sign(&message).to_bytes();
    [
        b"SHARKMAN",
        &1u32.to_le_bytes()[..],
        &length.to_le_bytes(),
        &signature,
        json,
    ]
    .concat()
}

fn partition() -> Vec<u8> {
    encode(&manifest(), |message| key(1).sign(message).to_bytes()).unwrap()
}

#[test]
fn a_signed_manifest_is_read_back_with_any_of_the_keys() {
    let mut bytes = partition();
    assert_eq!(bytes, signed(&bytes[HEAD_SIZE..], 1));
    assert_eq!(verify(&bytes, &ring(&[2, 1])), Ok(manifest()));
    // A partition is larger than what is in it; the length rules.
    bytes.resize(1 << 20, 0);
    assert_eq!(verify(&bytes, &ring(&[1])), Ok(manifest()));
    bytes.fill_with(|| 0xff);
    bytes[..partition().len()].copy_from_slice(&partition());
    assert_eq!(verify(&bytes, &ring(&[1])), Ok(manifest()));
}

#[test]
fn what_no_trusted_key_signed_is_refused() {
    let bytes = partition();
    let error = |keys| ManifestError::Signature(SignatureError::Unknown { keys });
    let untrusted = |keys| Err(error(keys));
    assert_eq!(verify(&bytes, &ring(&[2, 3])), untrusted(2));
    assert_eq!(verify(&bytes, &ring(&[])), untrusted(0));
    let say = |keys: usize| error(keys).to_string();
    assert_eq!(say(2), "manifest signed by none of 2 trusted keys");
    assert!(say(0).contains("no trusted key"));
    // The signature of the bare JSON, without its context, is none.
    let bare = key(1).sign(&bytes[HEAD_SIZE..]).to_bytes();
    let mut forged = bytes.clone();
    forged[16..80].copy_from_slice(&bare);
    assert_eq!(verify(&forged, &ring(&[1])), untrusted(1));
}

#[test]
fn damage_to_the_header_is_named() {
    let kind = "manifest";
    let check = |change: &dyn Fn(&mut Vec<u8>), expect: EnvelopeError| {
        let mut bytes = partition();
        change(&mut bytes);
        let expect = Err(ManifestError::Envelope(expect));
        assert_eq!(verify(&bytes, &ring(&[1])), expect);
    };
    let length = partition().len();
    let short = |length, expected| EnvelopeError::Short {
        kind,
        length,
        expected,
    };
    check(&|b| b.clear(), short(0, HEAD_SIZE));
    check(&|b| b.truncate(79), short(79, HEAD_SIZE));
    check(&|b| b.truncate(length - 1), short(length - 1, length));
    let magic = "SHARKMAN";
    check(&|b| b.fill(0), EnvelopeError::Magic { kind, magic });
    let version = EnvelopeError::Version {
        kind,
        found: 2,
        known: 1,
    };
    check(&|b| b[8] = 2, version);
    check(
        &|b| b[14] = 1,
        EnvelopeError::TooLong {
            kind,
            length: length - HEAD_SIZE + 65536,
            most: MANIFEST_MAX,
        },
    );
}

#[test]
fn a_signed_manifest_must_still_make_sense() {
    let good = String::from_utf8(partition()[HEAD_SIZE..].to_vec()).unwrap();
    let check = |from: &str, to: &str, expect: &str| {
        assert!(good.contains(from), "{from} is not in {good}");
        let json = good.replace(from, to);
        let error = verify(&signed(json.as_bytes(), 1), &ring(&[1])).unwrap_err();
        assert!(error.to_string().contains(expect), "{error}");
    };
    check("\"version\"", "\"verison\"", "unknown field `verison`");
    check("{\"version\"", "{\"x\":1,\"version\"", "unknown field `x`");
    check(
        "\"security_version\":3,",
        "",
        "missing field `security_version`",
    );
    check(
        "\"block_size\":4096",
        "\"block_size\":4096,\"block_size\":4096",
        "duplicate field",
    );
    check(
        "\"block_size\":4096",
        "\"block_size\":512",
        "block_size is 512, expected 4096",
    );
    check(
        "\"data_blocks\":200",
        "\"data_blocks\":201",
        "image_size is 819200, expected 823296",
    );
    check(
        "\"hash_size\":16384",
        "\"hash_size\":12288",
        "hash_size is 12288, expected 16384",
    );
    check("819200", "0", "image_size is 0, expected 1 to 274877906944");
    check(
        "\"data_blocks\":200",
        "\"data_blocks\":4503599627370496",
        "image_size",
    );
    check("\"sha256\"", "\"sha1\"", "unknown variant `sha1`");
    check("\"erofs\"", "\"ext4\"", "unknown variant `ext4`");
    check("x86_64", "riscv64", "unknown variant `riscv64`");
    check(
        "abab",
        "ab",
        "not a root hash: expected 64 hexadecimal digits",
    );
    check("\"salt\":\"\"", "\"salt\":\"abc\"", "not a salt");
    check(
        "2026.11-1+shark~rc1",
        "",
        "version is \"\", expected 1 to 64",
    );
    check("2026.11-1+shark~rc1", "a b", "version is \"a b\"");
    check("2026.11-1+shark~rc1", "-1", "a letter or digit first");
    check("2026.11-1+shark~rc1", &"1".repeat(65), "expected 1 to 64");
    check("}", "} x", "trailing characters");
    let long = " ".repeat(MANIFEST_MAX);
    let error = verify(&signed((good.clone() + &long).as_bytes(), 1), &ring(&[1]));
    assert_eq!(
        error,
        Err(ManifestError::Envelope(EnvelopeError::TooLong {
            kind: "manifest",
            length: good.len() + MANIFEST_MAX,
            most: MANIFEST_MAX,
        }))
    );
}

#[test]
fn a_manifest_that_breaks_a_rule_is_not_signed() {
    let mut bad = manifest();
    bad.data_blocks = 0;
    bad.image_size = 0;
    let never = |_: &[u8]| -> [u8; 64] { panic!("nothing to sign") };
    assert!(matches!(
        encode(&bad, never),
        Err(ManifestError::Field {
            field: "image_size",
            ..
        })
    ));
}

#[test]
fn keys_have_one_text() {
    let text = public(1).to_text();
    assert_eq!(text.len(), 65);
    assert_eq!(PublicKey::parse(&text), Ok(public(1)));
    assert_eq!(PublicKey::parse(text.trim()), Ok(public(1)));
    for bad in [
        "",
        "\n",
        &text[1..],
        &format!("{text}\n"),
        &format!(" {text}"),
    ] {
        assert_eq!(PublicKey::parse(bad), Err(KeyError::Text), "{bad:?}");
    }
    // The identity point: order 1, so that every message has a signature.
    let mut identity = [0; 32];
    identity[0] = 1;
    assert_eq!(PublicKey::from_bytes(&identity), Err(KeyError::Weak));
    let mut none = [0xff; 32];
    none[0] = 2;
    assert!(PublicKey::from_bytes(&none).is_err());
}

#[test]
fn table_lines() {
    let check = |mode, scope, salt: &str, expect: &str| {
        let mut manifest = manifest();
        manifest.salt = salt.parse().unwrap();
        let target = target("/dev/vda2", "/dev/vda3", &manifest, mode, scope);
        assert_eq!(target.sectors, 1600);
        assert_eq!(target.target_type, "verity");
        let root = "ab".repeat(32);
        assert_eq!(
            target.parameters,
            format!("1 /dev/vda2 /dev/vda3 4096 4096 200 1 sha256 {root} {expect}")
        );
    };
    let [both, one] = Scope::ALL;
    assert_eq!(Scope::worth_asking(Some((1, 9, 0))), [one]);
    assert_eq!(Scope::worth_asking(Some((1, 10, 0))), [both, one]);
    assert_eq!(Scope::worth_asking(None), [one]);
    check(OnCorruption::Eio, both, "", "-");
    check(OnCorruption::Eio, one, "00Ff", "00ff");
    let panic = "- 2 panic_on_corruption panic_on_error";
    check(OnCorruption::Panic, both, "", panic);
    check(OnCorruption::Panic, one, "", "- 1 panic_on_corruption");
    let restart = "01 2 restart_on_corruption restart_on_error";
    check(OnCorruption::Restart, both, "01", restart);
    check(
        OnCorruption::Restart,
        one,
        "01",
        "01 1 restart_on_corruption",
    );
}

#[test]
fn sizes_of_hash_trees() {
    for (data, expect) in [
        (0, 1),
        (1, 1),
        (2, 2),
        (128, 2),
        (129, 4),
        (16384, 130),
        (16385, 133),
        (51200, 1 + 400 + 4 + 1),
    ] {
        assert_eq!(hash_area_size(data), Some(expect * 4096), "{data} blocks");
    }
    assert_eq!(hash_area_size(u64::MAX), None);
}

fn superblock() -> Vec<u8> {
    let mut bytes = vec![0; 4096];
    bytes[..8].copy_from_slice(b"verity\0\0");
    bytes[8] = 1;
    bytes[12] = 1;
    bytes[16..32].fill(7);
    bytes[32..38].copy_from_slice(b"sha256");
    bytes[65] = 0x10;
    bytes[69] = 0x10;
    bytes[72] = 200;
    bytes
}

#[test]
fn superblocks_are_compared_with_the_manifest() {
    assert_eq!(check_superblock(&superblock(), &manifest()), Ok(()));
    assert_eq!(Superblock::parse(&superblock()).unwrap().uuid, [7; 16]);
    let check = |offset: usize, value: u8, expect: &str| {
        let mut bytes = superblock();
        bytes[offset] = value;
        let error = check_superblock(&bytes, &manifest()).unwrap_err();
        assert_eq!(error.to_string(), format!("verity superblock: {expect}"));
    };
    check(
        0,
        0,
        "no \"verity\" at the start: the partition was not formatted",
    );
    check(8, 2, "version is 2, expected 1");
    check(12, 0, "hash type is 0, expected 1");
    check(35, b'5', "algorithm is sha556, expected sha256");
    check(65, 2, "data block size is 512, expected 4096");
    check(69, 2, "hash block size is 512, expected 4096");
    check(72, 201, "number of data blocks is 201, expected 200");
    check(80, 1, "salt is 00, expected ");
    check(81, 2, "salt size is 512, expected at most 256");
    let short = check_superblock(&superblock()[..511], &manifest());
    assert_eq!(short, Err(SuperblockError::Short(511)));
}

fn handover() -> Handover {
    Handover {
        slot: Some(Slot::B),
        why: "highest priority 2, committed".to_owned(),
        manifest_version: Some("1".to_owned()),
        security_version: Some(1),
        root_hash: Some(RootHash::new([1; 32])),
        disk: Some("/dev/vda".to_owned()),
        timings: vec![Timing {
            name: "disk-found".to_owned(),
            us: 3_000_000,
        }],
        missing: vec!["watchdog: none".to_owned()],
        devices: vec![DmDevice {
            name: "shark-root".to_owned(),
            node: "/dev/dm-0".to_owned(),
        }],
        boot_number: Some(7),
        trial: true,
        record: RecordFacts {
            device: Some("/dev/vda2".to_owned()),
            charged: true,
            problem: None,
        },
        watchdog: Some(WatchdogFacts {
            device: "/dev/watchdog0".to_owned(),
            fd: 5,
            identity: "i6300ESB timer".to_owned(),
            timeout_seconds: 60,
        }),
        root_read_whole: true,
        image_size: Some(1 << 20),
        last_good: true,
        ..Handover::new(Mode::Disk)
    }
}

#[test]
fn hand_overs_round_trip_and_are_strict() {
    let json = handover().encode().unwrap();
    assert_eq!(Handover::decode(&json), Ok(handover()));
    let text = String::from_utf8(json).unwrap();
    let check = |from: &str, to: &str, expect: &str| {
        assert!(text.contains(from), "{from} is not in {text}");
        let error = Handover::decode(text.replace(from, to).as_bytes()).unwrap_err();
        assert!(error.to_string().contains(expect), "{error}");
    };
    check(
        "\"version\":1",
        "\"version\":2,\"new\":0",
        "version 2, expected 1",
    );
    check("\"version\":1,", "", "missing field `version`");
    check("\"disk\",", "\"floppy\",", "unknown variant `floppy`");
    check("\"b\"", "\"c\"", "unknown variant `c`");
    let huge = vec![b' '; 70_000];
    assert_eq!(
        Handover::decode(&huge),
        Err(HandoverError::TooLarge(70_000))
    );
}

/// The initramfs and the slot may be of different ages: after a rollback, say.
#[test]
fn a_hand_over_of_an_older_or_newer_stage1_is_read() {
    let text = String::from_utf8(handover().encode().unwrap()).unwrap();
    let newer = text.replace("\"version\":1", "\"version\":1,\"new\":{\"a\":0}");
    assert_eq!(Handover::decode(newer.as_bytes()), Ok(handover()));
    let at = text.find(",\"boot_number\"").unwrap();
    let older = format!("{}}}", text.split_at(at).0);
    let read = Handover::decode(older.as_bytes()).unwrap();
    assert_eq!(read.devices, handover().devices);
    assert_eq!((read.boot_number, read.watchdog), (None, None));
    assert!(!read.last_good);
    assert_eq!(read.record, RecordFacts::default());
}

#[test]
fn a_hand_over_with_too_much_is_cut_when_written_and_refused_when_read() {
    let mut much = handover();
    much.notes = vec!["x".to_owned(); LIST_MAX + 1];
    much.why = "é".repeat(5000);
    let read = Handover::decode(&much.encode().unwrap()).unwrap();
    assert_eq!(read.notes.len(), LIST_MAX);
    assert_eq!(read.why.len(), 4096);
    let json = serde_json::to_vec(&much).unwrap();
    assert_eq!(Handover::decode(&json), Err(HandoverError::Bound("notes")));
    much.notes.clear();
    let json = serde_json::to_vec(&much).unwrap();
    assert_eq!(Handover::decode(&json), Err(HandoverError::Bound("a text")));
}

proptest! {
    #[test]
    fn a_flipped_bit_of_what_is_signed_is_found(bit in 0usize..4096) {
        let mut bytes = partition();
        let bit = bit % (bytes.len() * 8);
        bytes[bit / 8] ^= 1 << (bit % 8);
        prop_assert!(verify(&bytes, &ring(&[1])).is_err());
    }

    #[test]
    fn manifests_round_trip(blocks in 1u64..1_000_000, salt in prop::collection::vec(any::<u8>(), 0..=256), hash in any::<[u8; 32]>(), version in "[a-zA-Z0-9][a-zA-Z0-9._+~-]{0,63}") {
        let made = Manifest {
            version,
            data_blocks: blocks,
            image_size: blocks * 4096,
            hash_size: hash_area_size(blocks).unwrap(),
            root_hash: RootHash::new(hash),
            salt: salt.iter().map(|b| format!("{b:02x}")).collect::<String>().parse().unwrap(),
            architecture: Architecture::Aarch64,
            filesystem: Filesystem::Squashfs,
            ..manifest()
        };
        let bytes = encode(&made, |message| key(9).sign(message).to_bytes()).unwrap();
        prop_assert_eq!(verify(&bytes, &ring(&[9])), Ok(made));
    }

    #[test]
    fn noise_never_panics(noise in prop::collection::vec(any::<u8>(), 0..700)) {
        let _ = verify(&noise, &ring(&[1]));
        let _ = parse(&noise);
        let _ = Superblock::parse(&noise);
        let _ = Handover::decode(&noise);
    }
}
