//! Stored chunks: hostile bytes; blocks of a hostile frame; and frames of a real compressor with bytes
//! changed, beside the decoder of the ones who made the format.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mounts::fetch::content::Decoder;

/// Longest content that is asked for.
const LENGTH_MAX: usize = 256 * 1024;
/// The head of a frame that does not tell how much it holds, with a window of 128 KiB (RFC 8878).
const HEAD: [u8; 6] = [0x28, 0xb5, 0x2f, 0xfd, 0x00, 0x38];

/// Decodes, once with what chunks before have left and once without; both must come to the same.
fn decode(used: &mut Decoder, stored: &[u8], length: usize) -> Option<Vec<u8>> {
    let decode = |decoder: &mut Decoder| {
        let mut content = Vec::new();
        let done = decoder.decode(stored, length, &mut content);
        assert!(content.len() <= length, "more than was asked for");
        assert!(
            content.capacity() <= length.max(LENGTH_MAX) + (1 << 17),
            "memory beyond the bound: {} for {length}",
            content.capacity()
        );
        done.is_ok().then_some(content)
    };
    let one = decode(used);
    assert!(one.as_ref().is_none_or(|it| it.len() == length));
    assert!(one == decode(&mut Decoder::default()), "it has kept something");
    one
}

fuzz_target!(|data: &[u8]| {
    let Some((numbers, data)) = data.split_first_chunk::<6>() else {
        return;
    };
    let &[kind, level, low, high, at, change] = numbers;
    let length = usize::from(u16::from_le_bytes([low, high])) * 4 % LENGTH_MAX;
    let mut used = Decoder::default();
    let _ = decode(&mut used, data, length);
    let framed = [&HEAD[..], data].concat();
    let _ = decode(&mut used, &framed, length);

    // The content repeats, so that there is something to compress.
    let content = data.repeat(1 + usize::from(kind % 8));
    let level = i32::from(level % 19) + 1;
    let mut stored = zstd::bulk::compress(&content, level).expect("it is compressed");
    let there = decode(&mut used, &stored, content.len());
    assert!(there.as_deref() == Some(&content[..]), "a good chunk");
    assert!(decode(&mut used, &stored, content.len() + 1).is_none());
    if let Some(less) = content.len().checked_sub(1) {
        assert!(decode(&mut used, &stored, less).is_none());
    }
    let place = usize::from(at) * stored.len() / 256;
    if let Some(byte) = stored.get_mut(place) {
        *byte ^= change;
    }
    let ours = decode(&mut used, &stored, content.len());
    let theirs = zstd::bulk::decompress(&stored, content.len()).ok();
    let theirs = theirs.filter(|it| it.len() == content.len());
    if let (Some(ours), Some(theirs)) = (&ours, &theirs) {
        assert!(ours == theirs, "two decoders do not agree");
    }
    stored.truncate(place);
    assert!(decode(&mut used, &stored, content.len()).is_none() || content.is_empty());
});
