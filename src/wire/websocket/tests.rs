//! The assembler against a model: what was put into frames comes out, however it was cut.

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::Index;

use super::*;

const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];
const ROOMY: Limits = Limits { message_bytes_max: 1 << 20 };
const TEXT: u8 = 0x1;
const BINARY: u8 = 0x2;
const FIN: u8 = 0x80;

/// A message that owns its body.
#[derive(Clone, Debug, PartialEq)]
enum Owned {
    Text(String),
    Binary(Vec<u8>),
    Ping(Vec<u8>),
    Pong(Vec<u8>),
    Close(Option<(u16, String)>),
}

impl From<Message<'_>> for Owned {
    fn from(message: Message<'_>) -> Owned {
        match message {
            Message::Text(text) => Owned::Text(text.into()),
            Message::Binary(bytes) => Owned::Binary(bytes.into()),
            Message::Ping(body) => Owned::Ping(body.into()),
            Message::Pong(body) => Owned::Pong(body.into()),
            Message::Close(reason) => Owned::Close(reason.map(|(code, text)| (code, text.into()))),
        }
    }
}

/// One frame, written without the code under test.
fn frame(first: u8, mask: Option<[u8; 4]>, body: &[u8]) -> Vec<u8> {
    let mask_bit = if mask.is_some() { 0x80 } else { 0 };
    let mut bytes = vec![first];
    match body.len() {
        len @ 0..126 => bytes.push(mask_bit + len as u8),
        len @ 126..0x1_0000 => {
            bytes.push(mask_bit + 126);
            bytes.extend((len as u16).to_be_bytes());
        }
        len => {
            bytes.push(mask_bit + 127);
            bytes.extend((len as u64).to_be_bytes());
        }
    }
    bytes.extend(mask.iter().flatten());
    bytes.extend(body.iter().enumerate().map(|(at, byte)| byte ^ mask.map_or(0, |mask| mask[at % 4])));
    bytes
}

fn client(first: u8, body: &[u8]) -> Vec<u8> {
    frame(first, Some(MASK), body)
}

/// A connection's input: what is not consumed waits, as it does in a reactor.
struct Feed {
    assembler: Assembler,
    inflater: Inflater,
    limits: Limits,
    waiting: Vec<u8>,
    out: Vec<Owned>,
}

impl Feed {
    fn new(limits: Limits) -> Feed {
        Feed { assembler: Assembler::new(Role::Server), inflater: Inflater::default(), limits, waiting: Vec::new(), out: Vec::new() }
    }

    fn read(&mut self, bytes: &[u8]) -> Result<(), CloseCode> {
        self.waiting.extend_from_slice(bytes);
        loop {
            let (message, used) = match self.assembler.step(&mut self.waiting, &self.limits, &mut self.inflater)? {
                Step::Message { message, used } => (Some(Owned::from(message)), used),
                Step::NeedMore { used } => (None, used),
            };
            self.waiting.drain(..used);
            match message {
                Some(message) => self.out.push(message),
                None => return Ok(()),
            }
        }
    }
}

/// All messages, and the code of the end if there is one.
fn outcome(bytes: &[u8], chunk_sizes: &[usize]) -> (Vec<Owned>, Option<CloseCode>) {
    let mut feed = Feed::new(ROOMY);
    let mut sizes = chunk_sizes.iter().cycle();
    let mut rest = bytes;
    while !rest.is_empty() {
        let size = sizes.next().map_or(rest.len(), |size| (*size).min(rest.len()));
        let (chunk, after) = rest.split_at(size);
        rest = after;
        if let Err(code) = feed.read(chunk) {
            return (feed.out, Some(code));
        }
    }
    (feed.out, None)
}

fn control() -> impl Strategy<Value = Owned> {
    let body = || vec(any::<u8>(), 0..=CONTROL_BYTES_MAX);
    prop_oneof![body().prop_map(Owned::Ping), body().prop_map(Owned::Pong)]
}

fn message() -> impl Strategy<Value = Owned> {
    prop_oneof![
        4 => any::<String>().prop_map(Owned::Text),
        1 => "[a-zé漢𝄞]{120,300}".prop_map(Owned::Text),
        2 => vec(any::<u8>(), 0..200).prop_map(Owned::Binary),
        1 => vec(any::<u8>(), 65_530..65_540).prop_map(Owned::Binary),
        1 => control(),
        1 => option::of((prop_oneof![1000..1004u16, 3000..5000u16], "[a-zé]{0,40}")).prop_map(Owned::Close),
    ]
}

/// A message, where it is cut into fragments, and the control frame after each of them.
type Plan = (Owned, Vec<Index>, Vec<Option<Owned>>);

fn plan() -> impl Strategy<Value = Plan> {
    (message(), vec(any::<Index>(), 0..4), vec(option::of(control()), 4))
}

fn encode((message, cuts, controls): &Plan, mask: [u8; 4], bytes: &mut Vec<u8>, expected: &mut Vec<Owned>) {
    let (opcode, body) = match message {
        Owned::Text(text) => (TEXT, text.as_bytes()),
        Owned::Binary(body) => (BINARY, &body[..]),
        other => return encode_control(other, mask, bytes, expected),
    };
    let mut ends: Vec<usize> = cuts.iter().map(|cut| cut.index(body.len() + 1)).collect();
    ends.sort_unstable();
    let mut start = 0;
    for (nth, end) in ends.into_iter().enumerate() {
        let first = if nth == 0 { opcode } else { 0 };
        bytes.extend(frame(first, Some(mask), &body[start..end]));
        start = end;
        if let Some(control) = &controls[nth] {
            encode_control(control, mask, bytes, expected);
        }
    }
    let first = if cuts.is_empty() { opcode } else { 0 };
    bytes.extend(frame(FIN | first, Some(mask), &body[start..]));
    expected.push(message.clone());
}

fn encode_control(message: &Owned, mask: [u8; 4], bytes: &mut Vec<u8>, expected: &mut Vec<Owned>) {
    let (first, body) = match message {
        Owned::Ping(body) => (0x89, body.clone()),
        Owned::Pong(body) => (0x8a, body.clone()),
        Owned::Close(None) => (0x88, Vec::new()),
        Owned::Close(Some((code, reason))) => (0x88, [&code.to_be_bytes()[..], reason.as_bytes()].concat()),
        Owned::Text(_) | Owned::Binary(_) => unreachable!("data is not control"),
    };
    bytes.extend(frame(first, Some(mask), &body));
    expected.push(message.clone());
}

proptest! {
    /// What is put into frames comes out: whatever the fragments, the control frames between them, and the reads.
    #[test]
    fn what_goes_in_comes_out(plans in vec(plan(), 1..6), mask: [u8; 4], chunk_sizes in vec(1..400usize, 1..20)) {
        let (mut bytes, mut expected) = (Vec::new(), Vec::new());
        for plan in &plans {
            encode(plan, mask, &mut bytes, &mut expected);
        }
        prop_assert_eq!(outcome(&bytes, &chunk_sizes), (expected, None));
    }

    /// LIM-05, ERR-02: no input makes it panic, and how input was cut by the network changes nothing.
    #[test]
    fn damage_has_the_same_outcome_however_it_is_read(
        plans in vec(plan(), 1..4), damage in vec((any::<Index>(), any::<u8>()), 0..6), chunk_sizes in vec(1..50usize, 1..20),
    ) {
        let (mut bytes, mut expected) = (Vec::new(), Vec::new());
        for plan in &plans {
            encode(plan, MASK, &mut bytes, &mut expected);
        }
        for (at, flip) in damage {
            let at = at.index(bytes.len().min(200));
            bytes[at] ^= flip;
        }
        prop_assert_eq!(outcome(&bytes, &chunk_sizes), outcome(&bytes, &[]));
    }

    /// Text is refused with 1007 by the first fragment after which it cannot become UTF-8, and not before.
    #[test]
    fn bad_text_is_refused_at_the_earliest_fragment(fragments in vec(vec(prop_oneof![
        Just(b'a'), Just(0xc3), Just(0xa9), Just(0xe2), Just(0x82), Just(0xac), Just(0xf0), Just(0x9f), Just(0x92), Just(0xed), Just(0xf4),
    ], 0..4), 1..8)) {
        let mut feed = Feed::new(ROOMY);
        let mut whole = Vec::new();
        for (nth, fragment) in fragments.iter().enumerate() {
            whole.extend(fragment);
            let hopeless = std::str::from_utf8(&whole).is_err_and(|error| error.error_len().is_some());
            let got = feed.read(&client(if nth == 0 { TEXT } else { 0 }, fragment));
            prop_assert_eq!(got, if hopeless { Err(CLOSE_INVALID_PAYLOAD) } else { Ok(()) });
            if hopeless {
                return Ok(());
            }
        }
        let got = feed.read(&client(FIN, b""));
        prop_assert_eq!(got.is_ok(), std::str::from_utf8(&whole).is_ok());
    }

    #[test]
    fn unmasking_is_an_exclusive_or(body in vec(any::<u8>(), 0..100), mask: [u8; 4]) {
        let mut unmasked = body.clone();
        unmask(&mut unmasked, mask);
        let expected: Vec<u8> = body.iter().enumerate().map(|(at, byte)| byte ^ mask[at % 4]).collect();
        prop_assert_eq!(unmasked, expected);
    }
}

/// RFC 6455 section 5.7.
#[test]
fn the_rfcs_examples_read_as_it_says() {
    let hello = [0x81, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58];
    assert_eq!(outcome(&hello, &[]), (vec![Owned::Text("Hello".into())], None));
    let ping = [0x89, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58];
    assert_eq!(outcome(&ping, &[]), (vec![Owned::Ping(b"Hello".into())], None));
}

/// LIM-05: every violation has its close code.
#[test]
fn every_violation_has_its_code() {
    let masked_len = |len: u8, rest: &[u8]| [&[0x82, 0x80 | len], rest, &MASK].concat();
    let cases: &[(&str, Vec<u8>, CloseCode)] = &[
        ("not masked", frame(0x81, None, b"x"), CLOSE_PROTOCOL),
        ("RSV1", client(0xc1, b"x"), CLOSE_PROTOCOL),
        ("RSV2", client(0xa1, b"x"), CLOSE_PROTOCOL),
        ("RSV3", client(0x91, b"x"), CLOSE_PROTOCOL),
        ("data opcode 3", client(0x83, b"x"), CLOSE_PROTOCOL),
        ("data opcode 7", client(0x87, b""), CLOSE_PROTOCOL),
        ("control opcode 11", client(0x8b, b""), CLOSE_PROTOCOL),
        ("control opcode 15", client(0x8f, b""), CLOSE_PROTOCOL),
        ("ping of 126 bytes", client(0x89, &[0; 126]), CLOSE_PROTOCOL),
        ("ping in fragments", client(0x09, b"x"), CLOSE_PROTOCOL),
        ("close in fragments", client(0x08, b""), CLOSE_PROTOCOL),
        ("continuation of nothing", client(0x00, b"x"), CLOSE_PROTOCOL),
        ("last continuation of nothing", client(0x80, b"x"), CLOSE_PROTOCOL),
        ("text within text", [client(TEXT, b"x"), client(FIN | TEXT, b"x")].concat(), CLOSE_PROTOCOL),
        ("binary fragment within text", [client(TEXT, b"x"), client(BINARY, b"x")].concat(), CLOSE_PROTOCOL),
        ("continuation after the last", [client(TEXT, b"x"), client(FIN, b"x"), client(FIN, b"x")].concat(), CLOSE_PROTOCOL),
        ("continuation after a whole message", [client(FIN | TEXT, b"x"), client(FIN, b"x")].concat(), CLOSE_PROTOCOL),
        ("a length of 16 bits that fits 7", masked_len(126, &[0, 125]), CLOSE_PROTOCOL),
        ("a length of 64 bits that fits 16", masked_len(127, &[0, 0, 0, 0, 0, 0, 0xff, 0xff]), CLOSE_PROTOCOL),
        ("a length with the top bit", masked_len(127, &[0x80, 0, 0, 0, 0, 0, 0, 0]), CLOSE_PROTOCOL),
        ("a length beyond the limit", masked_len(127, &[0x7f, 0, 0, 0, 0, 0, 0, 0]), CLOSE_TOO_BIG),
        ("text that is no UTF-8", client(0x81, &[0xff]), CLOSE_INVALID_PAYLOAD),
        ("text that ends within a character", client(0x81, &[0xc3]), CLOSE_INVALID_PAYLOAD),
        ("an encoded surrogate", client(0x81, &[0xed, 0xa0, 0x80]), CLOSE_INVALID_PAYLOAD),
        ("fragments that end within a character", [client(TEXT, &[0xc3]), client(FIN, b"")].concat(), CLOSE_INVALID_PAYLOAD),
        ("beyond U+10FFFF in a first fragment", client(TEXT, &[0xf4, 0x90]), CLOSE_INVALID_PAYLOAD),
        ("close of 1 byte", client(0x88, &[3]), CLOSE_PROTOCOL),
        ("close with a bad reason", client(0x88, &[3, 0xe8, 0xff]), CLOSE_INVALID_PAYLOAD),
    ];
    for (name, bytes, code) in cases {
        assert_eq!(outcome(bytes, &[]).1, Some(*code), "{name}");
        assert_eq!(outcome(bytes, &[1]).1, Some(*code), "{name}, byte by byte");
    }
}

#[test]
fn close_codes_are_those_that_may_be_on_the_wire() {
    for code in [0, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65_535u16] {
        assert_eq!(outcome(&client(0x88, &code.to_be_bytes()), &[]), (vec![], Some(CLOSE_PROTOCOL)), "{code}");
    }
    for code in [1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014, 3000, 3999, 4000, 4999u16] {
        let expected = Owned::Close(Some((code, String::new())));
        assert_eq!(outcome(&client(0x88, &code.to_be_bytes()), &[]), (vec![expected], None), "{code}");
    }
}

/// LIM-04: the header alone is enough for 1009, and the limit itself is allowed.
#[test]
fn a_message_too_long_is_refused_by_its_header() {
    let limits = Limits { message_bytes_max: 1000 };
    let mut feed = Feed::new(limits);
    assert_eq!(feed.read(&client(FIN | TEXT, &[b'x'; 1000])), Ok(()));
    assert_eq!(feed.read(&client(FIN | TEXT, &[b'x'; 1001])[..8]), Err(CLOSE_TOO_BIG));

    let mut feed = Feed::new(limits);
    assert_eq!(feed.read(&client(TEXT, &[b'x'; 600])), Ok(()));
    assert_eq!(feed.read(&client(0x89, &[b'x'; 125])), Ok(()), "control frames do not count");
    assert_eq!(feed.read(&client(0, &[b'x'; 400])), Ok(()));
    assert_eq!(feed.read(&client(0, b"x")[..6]), Err(CLOSE_TOO_BIG));
}

/// LIM-04: a message of nothing but empty fragments has no end by its length.
#[test]
fn empty_fragments_are_limited() {
    let message = |empty: usize| [client(TEXT, b""), client(0, b"").repeat(empty - 1), client(FIN, b"x")].concat();
    assert_eq!(outcome(&message(1024), &[]), (vec![Owned::Text("x".into())], None));
    assert_eq!(outcome(&message(1025), &[]), (Vec::new(), Some(CLOSE_TOO_BIG)));
    let twice = [message(1000), message(1000)].concat();
    assert_eq!(outcome(&twice, &[]).1, None, "each message has its own");
}

/// LIM-04: a flood of tiny fragments costs no more memory than one message, and an idle connection none.
#[test]
fn memory_is_bounded_and_given_back() {
    assert!(size_of::<Assembler>() <= 64);
    let mut feed = Feed::new(Limits { message_bytes_max: 1000 });
    feed.read(&client(BINARY, b"")).unwrap();
    for _ in 0..1000 {
        feed.read(&client(0, b"")).unwrap();
        feed.read(&client(0, b"x")).unwrap();
        assert!(feed.assembler.buffer.capacity() <= 1000);
    }
    feed.read(&client(FIN, b"")).unwrap();
    assert_eq!(feed.out, [Owned::Binary(vec![b'x'; 1000])]);
    assert_eq!(feed.assembler.buffer.capacity(), 0);
}

#[test]
fn a_message_in_one_frame_is_not_copied() {
    let mut input = client(FIN | TEXT, b"Hello");
    let body = input[6..].as_ptr();
    let mut assembler = Assembler::new(Role::Server);
    match assembler.step(&mut input, &ROOMY, &mut Inflater::default()) {
        Ok(Step::Message { message: Message::Text(text), used: 11 }) => assert_eq!((text, text.as_ptr()), ("Hello", body)),
        other => panic!("{other:?}"),
    }
}

#[test]
fn an_incomplete_frame_is_left_as_it_is() {
    let whole = client(FIN | TEXT, b"Hello");
    for len in 0..whole.len() {
        let mut input = whole[..len].to_vec();
        assert_eq!(Assembler::new(Role::Server).step(&mut input, &ROOMY, &mut Inflater::default()), Ok(Step::NeedMore { used: 0 }));
        assert_eq!(input, whole[..len]);
    }
}

#[test]
fn a_client_reads_what_a_server_writes_and_no_mask() {
    let mut bytes = Vec::new();
    ping(&mut bytes, b"1");
    pong(&mut bytes, &[b'2'; 125]);
    close(&mut bytes, CLOSE_TOO_BIG);
    let (mut assembler, mut inflater) = (Assembler::new(Role::Client), Inflater::default());
    let mut out = Vec::new();
    while let Step::Message { message, used } = assembler.step(&mut bytes, &ROOMY, &mut inflater).unwrap() {
        out.push(Owned::from(message));
        bytes.drain(..used);
    }
    assert_eq!(out, [Owned::Ping(b"1".into()), Owned::Pong(vec![b'2'; 125]), Owned::Close(Some((1009, "message_too_big".into())))]);
    assert_eq!(assembler.step(&mut client(FIN | TEXT, b"x"), &ROOMY, &mut inflater), Err(CLOSE_PROTOCOL));
}

/// "Hello" as RFC 7692 section 7.2.3.1 compresses it.
const HELLO: [u8; 7] = [0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00];
const RSV1: u8 = 0x40;

fn compressed(bytes: &[u8], limits: Limits) -> (Vec<Owned>, Option<CloseCode>) {
    let mut feed = Feed::new(limits);
    feed.assembler = Assembler::inflating(Role::Server);
    let end = feed.read(bytes).err();
    (feed.out, end)
}

/// DLV-23: RFC 7692 section 6: a message in one frame or in fragments with control frames between them, beside one that is not compressed.
#[test]
fn compressed_messages_are_inflated() {
    let fragments = [client(RSV1 | TEXT, &HELLO[..3]), client(FIN | 0x9, b"p"), client(0, b""), client(FIN, &HELLO[3..])].concat();
    let bytes = [client(FIN | RSV1 | TEXT, &HELLO), fragments, client(FIN | TEXT, b"plain"), client(FIN | RSV1 | BINARY, &HELLO)].concat();
    let hello = || Owned::Text("Hello".into());
    let expected = vec![hello(), Owned::Ping(b"p".into()), hello(), Owned::Text("plain".into()), Owned::Binary(b"Hello".into())];
    assert_eq!(compressed(&bytes, ROOMY), (expected, None));
}

/// LIM-05: every violation of RFC 7692 has its close code; the limit binds what comes and what it becomes.
#[test]
fn every_violation_by_compressed_messages_has_its_code() {
    let deflated = |text: &[u8]| {
        let mut deflater = crate::wire::deflate::Deflater::new(3, 0);
        client(FIN | RSV1 | TEXT, deflater.message(text).unwrap())
    };
    let cases: &[(&str, Vec<u8>, CloseCode)] = &[
        ("RSV1 on a continuation", [client(RSV1 | TEXT, &HELLO[..3]), client(FIN | RSV1, &HELLO[3..])].concat(), CLOSE_PROTOCOL),
        ("RSV1 on the continuation alone", [client(TEXT, b"x"), client(FIN | RSV1, &HELLO)].concat(), CLOSE_PROTOCOL),
        ("RSV1 on a ping", client(FIN | RSV1 | 0x9, &HELLO), CLOSE_PROTOCOL),
        ("RSV1 on a pong", client(FIN | RSV1 | 0xa, &HELLO), CLOSE_PROTOCOL),
        ("RSV1 on a close", client(FIN | RSV1 | 0x8, &HELLO), CLOSE_PROTOCOL),
        ("RSV1 and RSV2", client(FIN | RSV1 | 0x20 | TEXT, &HELLO), CLOSE_PROTOCOL),
        ("RSV1 and RSV3", client(FIN | RSV1 | 0x10 | TEXT, &HELLO), CLOSE_PROTOCOL),
        ("a truncated stream", client(FIN | RSV1 | TEXT, &HELLO[..4]), CLOSE_INVALID_PAYLOAD),
        ("a block of the reserved type", client(FIN | RSV1 | TEXT, &[0x06, 0x00]), CLOSE_INVALID_PAYLOAD),
        ("text that is no UTF-8", deflated(&[0xff; 300]), CLOSE_INVALID_PAYLOAD),
        ("a message that becomes too long", deflated(&[b'x'; 1001]), CLOSE_TOO_BIG),
        ("a message that is too long as it comes", client(FIN | RSV1 | TEXT, &[0; 1001])[..8].to_vec(), CLOSE_TOO_BIG),
    ];
    for (name, bytes, code) in cases {
        assert_eq!(compressed(bytes, Limits { message_bytes_max: 1000 }).1, Some(*code), "{name}");
    }
    assert_eq!(compressed(&deflated(&[b'x'; 1000]), Limits { message_bytes_max: 1000 }).1, None);
}
