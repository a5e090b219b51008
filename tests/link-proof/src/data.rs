//! `binarypack`, `serialization` and `connection`: values to bytes to values.

use peer_core::{
    binarypack::{self, Value},
    connection::{Inbox, Outbox, Received},
    serialization::{Fragment, Serialization},
};
use serde::{Deserialize, Serialize};

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Reading<'a> {
    sensor: &'a str,
    celsius: f64,
    flags: [bool; 2],
    note: Option<&'a str>,
}

const READING: Reading<'_> = Reading {
    sensor: "kitchen",
    celsius: 21.5,
    flags: [true, false],
    note: None,
};

pub(crate) fn run() -> Option<()> {
    let mut buffer = [0; 256];
    let packed = binarypack::to_slice(&READING, &mut buffer).ok()?;
    let len = packed.len();
    (binarypack::serialized_len(&READING).ok()? == len).then_some(())?;
    matches!(
        binarypack::from_slice::<Value<'_>>(buffer.get(..len)?),
        Ok(Value::Map(_))
    )
    .then_some(())?;

    for serialization in [
        Serialization::Binary,
        Serialization::Json,
        Serialization::Postcard,
    ] {
        travel(serialization)?;
    }
    let message = Serialization::Raw.encode("text", &mut buffer).ok()?;
    (message == Fragment::text("text")).then_some(())
}

/// Out of an outbox, into an inbox.
fn travel(serialization: Serialization) -> Option<()> {
    let (mut outbox, mut out) = (Outbox::new(serialization), [0; 256]);
    let (mut inbox, mut memory) = (Inbox::new(serialization), [0; 256]);
    outbox.send(&mut out, &READING).ok()?;
    let piece: Fragment<'_> = outbox.poll_piece(&mut out, 0, usize::MAX)?;
    (inbox.feed(&mut memory, piece).ok()? == Received::Message).then_some(())?;
    (inbox.decode::<Reading<'_>>(&mut memory).ok()? == READING).then_some(())?;
    inbox.pop(&mut memory);
    inbox.is_empty().then_some(())
}
