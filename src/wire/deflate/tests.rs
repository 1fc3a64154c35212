//! What is compressed inflates to itself; what is hostile costs no more than its limit.

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

const LIMIT: usize = 64 * 1024;

/// Text that compresses, text that does not, and what lies between.
fn message() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        vec(any::<u8>(), 0..600),
        vec(prop::sample::select(&b"{}\":,0123456789abc"[..]), 200..5000),
        (vec(any::<u8>(), 1..40), 1..200usize).prop_map(|(part, times)| part.repeat(times)),
    ]
}

/// Compressed by the library's other interface, as one stream that is ended or flushed.
fn stream(message: &[u8], level: u32, flush: FlushCompress) -> Vec<u8> {
    let mut raw = Compress::new(Compression::new(level), false);
    let mut out = Vec::with_capacity(message.len() * 2 + 1000);
    raw.compress_vec(message, &mut out, flush).unwrap();
    out
}

/// A message of that many zeros, compressed.
fn bomb(bytes: usize) -> Vec<u8> {
    let mut raw = Compress::new(Compression::new(9), false);
    let (chunk, mut all) = (vec![0; 1 << 20], Vec::new());
    for _ in 0..bytes >> 20 {
        let mut out = Vec::with_capacity(1 << 20);
        raw.compress_vec(&chunk, &mut out, FlushCompress::None).unwrap();
        all.extend(out);
    }
    let mut out = Vec::with_capacity(1 << 20);
    raw.compress_vec(&[], &mut out, FlushCompress::Sync).unwrap();
    all.extend(out);
    all.truncate(all.len() - TAIL.len());
    all
}

proptest! {
    /// DLV-23: messages come back one by one, though nothing is taken over from one to the next; and only shorter ones are sent.
    #[test]
    fn what_is_compressed_inflates_to_itself(messages in vec(message(), 1..8), level in 1..=9u32, bytes_min in 0..300usize) {
        let (mut deflater, mut inflater) = (Deflater::new(level, bytes_min), Inflater::default());
        for message in &messages {
            if let Some(compressed) = deflater.message(message) {
                prop_assert!(compressed.len() < message.len() && message.len() >= bytes_min);
                prop_assert_eq!(inflater.message(compressed, LIMIT), Ok(&message[..]));
            }
        }
    }

    /// What others send: flushed, ended, ended with the byte that RFC 7692 section 7.2.3.5 asks for, stored.
    #[test]
    fn other_ways_to_compress_are_read(message in message(), level in 0..=9u32) {
        let mut inflater = Inflater::default();
        let flushed = stream(&message, level, FlushCompress::Sync);
        prop_assert_eq!(inflater.message(flushed.strip_suffix(&TAIL).unwrap(), LIMIT), Ok(&message[..]));
        let ended = stream(&message, level, FlushCompress::Finish);
        prop_assert_eq!(inflater.message(&ended, LIMIT), Ok(&message[..]));
        prop_assert_eq!(inflater.message(&[&ended[..], &[0]].concat(), LIMIT), Ok(&message[..]));
        let twice = [&ended[..], &ended[..]].concat();
        prop_assert_eq!(inflater.message(&twice, LIMIT), Ok(&message.repeat(2)[..]));
    }

    /// LIM-05: no input makes it panic or exceed its limit, and none leaves a trace in the next message.
    #[test]
    fn damage_is_survived(garbage in vec(any::<u8>(), 0..400), flips in vec((any::<prop::sample::Index>(), any::<u8>()), 0..4), bytes_max in 0..2000usize) {
        let mut inflater = Inflater::default();
        let good = stream(&b"what is sound is read ".repeat(20), 3, FlushCompress::Sync);
        let good = good.strip_suffix(&TAIL).unwrap();
        let mut damaged = good.to_vec();
        for (at, flip) in flips {
            let at = at.index(damaged.len());
            damaged[at] ^= flip;
        }
        for input in [&garbage, &damaged] {
            if let Ok(inflated) = inflater.message(input, bytes_max) {
                prop_assert!(inflated.len() <= bytes_max);
            }
            prop_assert!(inflater.out.len() <= bytes_max.max(INFLATED_BYTES_MIN) + 1);
            prop_assert_eq!(inflater.message(good, LIMIT), Ok(&b"what is sound is read ".repeat(20)[..]));
        }
    }
}

/// A part of a message is damaged, or holds less. That is not so of every message (deflate has no checksum, and what the flush left out is
/// put back), but of one like ours.
#[test]
fn a_truncated_message_is_told() {
    let message =
        br#"{"type":"subscribe","id":1,"room":"challenge:8f","since":{"epoch":"k3","seq":{"alert":118,"update":8840}}}"#.repeat(3);
    for level in [1, 3, 9] {
        let flushed = stream(&message, level, FlushCompress::Sync);
        let whole = flushed.strip_suffix(&TAIL).unwrap();
        let mut inflater = Inflater::default();
        let damaged = (1..whole.len()).filter(|cut| match inflater.message(&whole[..*cut], LIMIT) {
            Err(_) => true,
            Ok(part) => {
                assert!(part.len() < message.len(), "{cut} of {} bytes", whole.len());
                false
            }
        });
        assert!(damaged.count() > whole.len() * 9 / 10);
        assert_eq!(inflater.message(whole, LIMIT), Ok(&message[..]));
    }
}

/// The limit is checked while inflating: a bomb costs what its limit costs. 16 MiB and 1 GiB of zeros are 16 KiB and 1 MiB here.
#[test]
fn bombs_cost_no_more_than_the_limit() {
    for bytes in [16 << 20, 1 << 30] {
        let bomb = bomb(bytes);
        assert!(bomb.len() < bytes / 900, "{}", bomb.len());
        let mut inflater = Inflater::default();
        assert_eq!(inflater.message(&bomb, LIMIT), Err(InflateError::TooLong));
        assert_eq!(inflater.len, LIMIT + 1);
        assert!(inflater.out.capacity() <= 2 * LIMIT);
    }
}

#[test]
fn the_limit_itself_is_allowed() {
    let flushed = stream(&[b'x'; 1000], 3, FlushCompress::Sync);
    let compressed = flushed.strip_suffix(&TAIL).unwrap();
    let mut inflater = Inflater::default();
    assert_eq!(inflater.message(compressed, 1000), Ok(&[b'x'; 1000][..]));
    assert_eq!(inflater.message(compressed, 999), Err(InflateError::TooLong));
}

/// RFC 7692 section 7.2.3: its own examples.
#[test]
fn the_rfcs_examples_read_as_it_says() {
    let mut inflater = Inflater::default();
    assert_eq!(inflater.message(&[0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00], LIMIT), Ok(&b"Hello"[..]));
    assert_eq!(inflater.message(&[0x00, 0x05, 0x00, 0xfa, 0xff, 0x48, 0x65, 0x6c, 0x6c, 0x6f, 0x00], LIMIT), Ok(&b"Hello"[..]));
    assert_eq!(inflater.message(&[0xf3, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00, 0x00], LIMIT), Ok(&b"Hello"[..]));
    assert_eq!(inflater.message(&[0xf2, 0x48, 0x05, 0x00, 0x00, 0x00, 0xff, 0xff, 0xca, 0xc9, 0xc9, 0x07, 0x00], LIMIT), Ok(&b"Hello"[..]));
    assert_eq!(inflater.message(&[0x00], LIMIT), Ok(&b""[..]));
    // The second message of a client that takes its context over, which it was told not to.
    assert_eq!(inflater.message(&[0xf2, 0x00, 0x11, 0x00, 0x00], LIMIT), Err(InflateError::Damaged));
}

#[test]
fn what_does_not_become_shorter_is_not_sent_compressed() {
    let mut deflater = Deflater::new(3, 0);
    let mut random = 1u32;
    let noise = [(); 1000].map(|()| {
        random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (random >> 24) as u8
    });
    assert_eq!(deflater.message(&noise), None);
    assert_eq!(deflater.message(b""), None);
    assert_eq!(Deflater::new(3, 256).message(&[b'x'; 255]), None);
    assert!(Deflater::new(3, 256).message(&[b'x'; 256]).is_some_and(|compressed| compressed.len() < 20));
}
