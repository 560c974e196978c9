//! The keyring: which links count, what becomes of the keys by them, and what a disk that is cut while it
//! is written leaves of the chain.
// The whole file is a test; clippy takes only what is marked `#[test]` for one.
#![allow(clippy::unwrap_used, clippy::panic)]

mod disk;

use ed25519_dalek::{Signer, SigningKey};
use mounts::dps::Architecture;
use mounts::keyring::{
    Basis, Keyring, Known, LINKS_MAX, Link, LinkError, LinkId, Named, Origin, REVOKED_MAX,
    SignatureError, SignedLink, TRUSTED_MAX, Trust, kept, parse, split,
};
use mounts::manifest::{
    self, Algorithm, Filesystem, Manifest, ManifestError, PublicKey, verify_installed,
};
use mounts::verity::{BLOCK_SIZE, RootHash, Salt, hash_area_size};
use proptest::prelude::*;

fn key(seed: u8) -> SigningKey {
    SigningKey::from_bytes(&[seed; 32])
}

fn named(seed: u8) -> Named {
    Named {
        name: format!("key-{seed}"),
        key: PublicKey::from_bytes(key(seed).verifying_key().as_bytes()).unwrap(),
    }
}

fn of(seeds: &[u8]) -> Vec<Named> {
    seeds.iter().copied().map(named).collect()
}

fn image(seeds: &[u8]) -> Link {
    Link {
        trusted: of(seeds),
        ..Link::default()
    }
}

fn link(sequence: u32, by: u8, trusted: &[u8], revoked: &[u8]) -> SignedLink {
    let link = Link {
        sequence,
        trusted: of(trusted),
        revoked: of(revoked),
    };
    link.seal(|message| key(by).sign(message).to_bytes())
        .unwrap()
}

/// The newest of `links`, on a machine that came with this key.
fn id(seed: u8, links: &[SignedLink]) -> LinkId {
    let mut keyring = Keyring::of(of(&[seed]));
    keyring.extend(links);
    keyring.newest()
}

fn trust(keyring: &Keyring, seed: u8) -> Option<Trust> {
    let entry = keyring.entries().iter().find(|it| it.named == named(seed));
    entry.map(|it| it.trust)
}

/// A signed manifest.
fn system(by: u8) -> Vec<u8> {
    let manifest = Manifest {
        version: "2".to_owned(),
        security_version: 2,
        architecture: Architecture::X86_64,
        image_size: u64::from(BLOCK_SIZE),
        data_blocks: 1,
        root_hash: RootHash::new([by; 32]),
        salt: Salt::default(),
        hash_size: hash_area_size(1).unwrap(),
        block_size: BLOCK_SIZE,
        algorithm: Algorithm::Sha256,
        filesystem: Filesystem::Erofs,
    };
    manifest::encode(&manifest, |message| key(by).sign(message).to_bytes()).unwrap()
}

fn said(keyring: &Keyring, by: u8) -> String {
    match manifest::verify(&system(by), keyring) {
        Ok(_) => String::new(),
        Err(error) => error.to_string(),
    }
}

#[test]
fn a_key_is_rotated_in_and_the_old_one_revoked_for_good() {
    let mut keyring = Keyring::of(of(&[1]));
    assert!(said(&keyring, 2).contains("signed by none of 1 trusted keys"));
    assert_eq!(keyring.extend(&[link(1, 1, &[1, 2], &[])]), [""; 0]);
    assert_eq!(
        (said(&keyring, 1), said(&keyring, 2)),
        (String::new(), String::new())
    );
    assert_eq!(keyring.extend(&[link(2, 2, &[2], &[1])]), [""; 0]);
    assert_eq!(said(&keyring, 2), "");
    assert_eq!(
        said(&keyring, 1),
        "manifest signed by key key-1, which was revoked by link 2"
    );
    let origins: Vec<Origin> = keyring.entries().iter().map(|it| it.origin).collect();
    assert_eq!(origins, [Origin::Image, Origin::Link(1)]);
    // It does not come back: not by its own link, nor by one of the others.
    let passed = keyring.extend(&[link(3, 1, &[1], &[2])]);
    assert_eq!(
        passed,
        ["link 3 of keys is signed by key key-1, which was revoked by link 2"]
    );
    let passed = keyring.extend(&[link(3, 2, &[1, 2], &[])]);
    assert!(passed[0].contains("trusts key-1 again"), "{passed:?}");
    assert_eq!(keyring.sequence(), 2);
    // A link that does not name it leaves it revoked.
    assert_eq!(keyring.extend(&[link(3, 2, &[2, 3], &[])]), [""; 0]);
    assert_eq!(trust(&keyring, 1), Some(Trust::Revoked(2)));
}

#[test]
fn a_key_that_is_left_out_may_come_back() {
    let mut keyring = Keyring::of(of(&[1, 2]));
    assert_eq!(keyring.extend(&[link(1, 2, &[2], &[])]), [""; 0]);
    assert_eq!(
        said(&keyring, 1),
        "manifest signed by key key-1, which is not trusted since link 1"
    );
    let passed = keyring.extend(&[link(2, 1, &[1], &[])]);
    assert!(passed[0].contains("not trusted since link 1"), "{passed:?}");
    assert_eq!(keyring.extend(&[link(2, 2, &[1, 2], &[])]), [""; 0]);
    assert_eq!(said(&keyring, 1), "");
}

#[test]
fn links_count_by_number_and_signature_wherever_they_come_from() {
    let all = [
        link(1, 1, &[1, 2], &[]),
        link(2, 2, &[2, 3], &[1]),
        link(5, 3, &[3], &[2]),
    ];
    let mut once = Keyring::of(of(&[1]));
    assert_eq!(once.extend(&all), [""; 0]);
    assert_eq!(once.sequence(), 5);
    // Again, and from several places, each with a part of them.
    let chain = |links: &[SignedLink]| {
        let bytes = links.iter().map(SignedLink::as_bytes);
        bytes.collect::<Vec<_>>().concat()
    };
    let basis = Basis {
        image: image(&[1]),
        chains: vec![chain(&all[..1]), chain(&all[..2]), chain(&all)],
        needed: once.newest(),
    };
    let (again, passed) = basis.keyring();
    assert_eq!((passed.len(), again.lost()), (0, None));
    assert_eq!(again.entries(), once.entries());
    assert_eq!(parse(&again.chain()).unwrap(), all);
    // A machine that came with a later key needs no earlier links, and says that it cannot check them.
    let mut later = Keyring::of(of(&[2]));
    let passed = later.extend(&all);
    assert_eq!(
        passed,
        ["a link of keys is signed by none of 1 trusted keys"]
    );
    assert_eq!((later.sequence(), said(&later, 3)), (5, String::new()));
    // Without the one between, nobody known has signed the third.
    let mut gap = Keyring::of(of(&[1]));
    assert_eq!(gap.extend(&[all[0].clone(), all[2].clone()]).len(), 1);
    assert_eq!(gap.sequence(), 1);
    // A stranger has no say.
    let mut keyring = once.clone();
    assert_eq!(keyring.extend(&[link(9, 8, &[8], &[3])]).len(), 1);
    assert_eq!(keyring, once);
}

#[test]
fn what_was_found_good_boots_whatever_becomes_of_its_key() {
    let mut keyring = Keyring::of(of(&[1]));
    keyring.extend(&[link(1, 1, &[2], &[1])]);
    let boots = |keyring: &Keyring, by, known| {
        let told = |manifest: &Manifest| {
            assert_eq!(manifest.root_hash, RootHash::new([by; 32]));
            known
        };
        verify_installed(&system(by), keyring, told).map(drop)
    };
    let revoked = Err(ManifestError::Signature(SignatureError::Revoked {
        name: "key-1".to_owned(),
        link: 1,
    }));
    assert_eq!(boots(&keyring, 1, Known::Good), Ok(()));
    assert_eq!(boots(&keyring, 1, Known::Untold), Ok(()));
    assert_eq!(boots(&keyring, 1, Known::Untried), revoked);
    assert_eq!(boots(&keyring, 2, Known::Untried), Ok(()));
    // Nobody's signature is no signature, good or not.
    assert!(boots(&keyring, 3, Known::Good).is_err());
}

#[test]
fn lost_links_are_noticed_and_nothing_new_is_trusted_until_they_are_back() {
    let links = [link(1, 1, &[1, 2], &[]), link(2, 2, &[2], &[1])];
    let lost = Basis {
        image: image(&[1]),
        chains: vec![links[0].as_bytes().to_vec(), b"SHARKKEY".to_vec()],
        needed: id(1, &links),
    };
    let (mut keyring, passed) = lost.keyring();
    assert_eq!(passed.len(), 1);
    assert_eq!(
        keyring.lost(),
        Some(SignatureError::Lost { has: 1, needed: 2 })
    );
    for by in [1, 2] {
        assert!(said(&keyring, by).contains("are lost"));
        let good = verify_installed(&system(by), &keyring, |_| Known::Good);
        assert!(good.is_ok(), "{good:?}");
    }
    // The key that the lost link revoked signs another in its place, and one beyond it.
    for number in [2, 9] {
        let mut forged = keyring.clone();
        forged.extend(&[link(number, 1, &[1, 8], &[2])]);
        assert_eq!(forged.sequence(), number);
        assert!(forged.lost().is_some() && said(&forged, 8).contains("are lost"));
    }
    assert_eq!(keyring.extend(&links), [""; 0]);
    assert_eq!((keyring.lost(), said(&keyring, 2)), (None, String::new()));
    assert!(said(&keyring, 1).contains("revoked by link 2"));
}

#[test]
fn an_initramfs_that_is_newer_than_links_needs_none_of_them_and_keeps_them_for_an_older_one() {
    let links = [
        link(1, 1, &[1, 2], &[]),
        link(2, 1, &[2], &[1]),
        link(3, 2, &[2, 3], &[1]),
    ];
    let bytes = |links: &[SignedLink]| {
        let bytes = links.iter().map(SignedLink::as_bytes);
        bytes.collect::<Vec<_>>().concat()
    };
    let newer = Basis {
        image: Link {
            sequence: 2,
            trusted: of(&[2]),
            revoked: of(&[1]),
        },
        chains: vec![bytes(&links[..2])],
        needed: id(1, &links[..2]),
    };
    let (mut keyring, passed) = newer.keyring();
    assert_eq!((passed.len(), keyring.lost()), (0, None));
    assert!(said(&keyring, 1).contains("revoked by link 2"));
    assert_eq!(keyring.extend(&links[2..]), [""; 0]);
    assert_eq!(trust(&keyring, 3), Some(Trust::Trusted));
    // Only the last counts here, and an older initramfs still finds all.
    assert_eq!(keyring.chain(), links[2].as_bytes());
    let all = kept(&newer.chains, &keyring);
    assert_eq!(all, bytes(&links));
    let (older, passed) = Basis {
        image: image(&[1]),
        chains: vec![all],
        needed: id(1, &links),
    }
    .keyring();
    assert_eq!((passed.len(), older.lost(), older.sequence()), (0, None, 3));
    // What is kept has its bound: the oldest go.
    let many: Vec<SignedLink> = (1..=40).map(|it| link(it, 1, &[1], &[])).collect();
    let chains: Vec<Vec<u8>> = many.chunks(20).map(bytes).collect();
    let bounded = parse(&kept(&chains, &keyring)).unwrap();
    assert_eq!(bounded.len(), LINKS_MAX);
    assert_eq!(bounded.last(), many.last());
}

#[test]
fn a_link_that_makes_no_sense_is_neither_made_nor_taken() {
    let check = |change: &dyn Fn(&mut Link), words: &str| {
        let mut bad = Link {
            sequence: 1,
            trusted: of(&[1]),
            revoked: Vec::new(),
        };
        change(&mut bad);
        let never = |_: &[u8]| -> [u8; 64] { panic!("nothing to sign") };
        let error = bad.seal(never).map(drop).unwrap_err().to_string();
        assert!(error.contains(words), "{error}: {words}");
    };
    check(&|it| it.sequence = 0, "sequence is 0");
    check(&|it| it.trusted.clear(), "trusts 0 keys");
    let many: Vec<u8> = (1..=50).collect();
    check(
        &|it| it.trusted = of(&many[..=TRUSTED_MAX]),
        "expected 1 to 16",
    );
    check(
        &|it| it.revoked = of(&many[10..=10 + REVOKED_MAX]),
        "expected at most 32",
    );
    check(&|it| it.revoked = of(&[1]), "key-1 is there twice");
    for name in ["", "a b", "é", &"x".repeat(65)] {
        let renamed = |it: &mut Link| it.trusted[0].name = name.to_owned();
        check(&renamed, "a key is named");
    }
    // The largest that may be is not too long.
    let mut largest = Link {
        sequence: u32::MAX,
        trusted: of(&many[..TRUSTED_MAX]),
        revoked: of(&many[TRUSTED_MAX..TRUSTED_MAX + REVOKED_MAX]),
    };
    let all = largest.trusted.iter_mut().chain(&mut largest.revoked);
    all.for_each(|it| it.name = "n".repeat(64));
    assert!(largest.seal(|_| [0; 64]).is_ok());
    // Signed by hand, it is passed over.
    let json = br#"{"sequence":7,"trusted":[],"revoked":[]}"#;
    let signature = key(1).sign(&[b"shark-keys-v1\0", &json[..]].concat());
    let bytes = [
        b"SHARKKEY",
        &1u32.to_le_bytes()[..],
        &u32::try_from(json.len()).unwrap().to_le_bytes(),
        &signature.to_bytes(),
        json,
    ]
    .concat();
    let mut keyring = Keyring::of(of(&[1]));
    let passed = keyring.extend(&parse(&bytes).unwrap());
    assert_eq!((passed.len(), keyring.sequence()), (1, 0), "{passed:?}");
}

#[test]
fn a_file_of_links_holds_nothing_else() {
    let two = [link(1, 1, &[1], &[]), link(2, 1, &[1], &[])];
    let bytes = [two[0].as_bytes(), two[1].as_bytes()].concat();
    assert_eq!(parse(&bytes).unwrap(), two);
    assert_eq!(parse(b"").unwrap(), []);
    let (links, rest) = split(&[&bytes[..], b"SHARKBUN..."].concat())
        .map(|(links, rest)| (links, rest.to_vec()))
        .unwrap();
    assert_eq!((links.len(), rest.as_slice()), (2, &b"SHARKBUN..."[..]));
    let trailing = parse(&[&bytes[..], b"x"].concat());
    assert_eq!(trailing, Err(LinkError::Trailing));
    assert!(parse(b"x").unwrap_err().to_string().contains("SHARKKEY") || parse(b"x").is_err());
    assert!(parse(&bytes[..bytes.len() - 1]).is_err());
    let many = bytes.repeat(LINKS_MAX / 2 + 1);
    assert_eq!(parse(&many), Err(LinkError::TooMany));
}

#[test]
fn a_chain_has_its_end_and_says_so() {
    let mut keyring = Keyring::of(of(&[1]));
    for number in 1..=u32::try_from(LINKS_MAX).unwrap() {
        assert_eq!(keyring.extend(&[link(number, 1, &[1], &[])]), [""; 0]);
    }
    let passed = keyring.extend(&[link(1000, 1, &[1], &[])]);
    assert!(passed[0].contains("make an image"), "{passed:?}");
}

proptest! {
    /// Whatever links come, in whatever order: what was revoked stays so, and somebody is trusted.
    #[test]
    fn nothing_revoked_comes_back(links in prop::collection::vec(
        (1u32..8, 1u8..6, prop::collection::btree_set(1u8..6, 1..4), prop::collection::btree_set(1u8..6, 0..3)),
        0..12,
    )) {
        let mut keyring = Keyring::of(of(&[1, 2]));
        let mut gone = Vec::new();
        for (sequence, by, trusted, revoked) in links {
            let trusted: Vec<u8> = trusted.into_iter().collect();
            let revoked: Vec<u8> = revoked.into_iter().filter(|it| !trusted.contains(it)).collect();
            let before = keyring.sequence();
            keyring.extend(&[link(sequence, by, &trusted, &revoked)]);
            prop_assert!(keyring.sequence() >= before);
            for seed in 1..6 {
                let revoked = matches!(trust(&keyring, seed), Some(Trust::Revoked(_)));
                prop_assert!(revoked || !gone.contains(&seed));
                if revoked {
                    gone.push(seed);
                }
            }
            prop_assert!(keyring.entries().iter().any(|it| it.trust == Trust::Trusted));
            let basis = Basis { image: image(&[1, 2]), chains: vec![keyring.chain()], needed: LinkId::default() };
            prop_assert_eq!(basis.keyring(), (keyring.clone(), Vec::new()));
        }
    }
}
