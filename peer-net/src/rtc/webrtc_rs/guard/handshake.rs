//! What passes while the handshake runs: whole messages in order, out of whatever fragments came.

use std::collections::{BTreeMap, VecDeque};

use super::record::{
    self, ALERT, APPLICATION_DATA, CHANGE_CIPHER_SPEC, FRAGMENT_HEADER_LEN, Fragment, HANDSHAKE,
    RECORD_HEADER_LEN, Record,
};
use super::{DATAGRAM_MAX, GuardStats, Refusal, message};

/// Longest handshake message, in bytes: it must fit one record. Browsers' certificates have some
/// 300.
const MESSAGE_MAX: usize = 8000;
/// Messages ahead of the next one that are put together at the same time.
const WINDOW: u16 = 8;
/// Fragments of unfinished messages that are taken in one handshake. Chromium's hello comes in two.
const FRAGMENTS_MAX: u32 = 512;
/// Bytes of whole messages that are passed in one handshake.
const BYTES_MAX: usize = 64 * 1024;
/// Repeated messages shown to `dtls`, which answers some of them.
const NUDGES_MAX: u32 = 256;
/// ChangeCipherSpec records passed. One suffices, as `dtls` keeps it until its time.
const CIPHER_CHANGES_MAX: u32 = 16;
/// Encrypted records passed before there can be keys, and again until the handshake is done; `dtls`
/// may have to keep them. And how many can be handshake messages, that is, the Finished and its
/// repetitions.
const EARLY_MAX: u32 = 128;
const EARLY_HANDSHAKE_MAX: u32 = 48;
/// Longest such record. A Finished has 48 bytes, the first SCTP packets a few hundred.
const EARLY_LEN_MAX: usize = 1400;
const EARLY_HANDSHAKE_LEN_MAX: usize = 128;

/// The peer's side of a handshake.
pub(super) struct Handshake {
    is_client: bool,
    next: u16,
    partial: BTreeMap<u16, Partial>,
    ready: VecDeque<Vec<u8>>,
    /// Plaintext records are numbered anew, so a forged high number shuts out nothing.
    sequence: u64,
    fragments: u32,
    bytes: usize,
    nudges: u32,
    cipher_changes: u32,
    early: u32,
    early_handshake: u32,
    fatal_alert: Option<u8>,
}

impl Handshake {
    pub(super) fn new(is_client: bool) -> Self {
        Self {
            is_client,
            next: 0,
            partial: BTreeMap::new(),
            ready: VecDeque::new(),
            sequence: 0,
            fragments: 0,
            bytes: 0,
            nudges: 0,
            cipher_changes: 0,
            early: 0,
            early_handshake: 0,
            fatal_alert: None,
        }
    }

    /// The next datagram for `dtls`.
    pub(super) fn pop(&mut self) -> Option<Vec<u8>> {
        self.ready.pop_front()
    }

    pub(super) fn fatal_alert(&self) -> Option<u8> {
        self.fatal_alert
    }

    /// Frees what was kept of unfinished messages. What is ready stays: the far side's first data
    /// may be in it.
    pub(super) fn release(&mut self) {
        self.partial = BTreeMap::new();
    }

    /// Takes a datagram of the peer; what passes is then there to [`pop`](Self::pop). Returns
    /// whether the peer's handshake went on.
    pub(super) fn screen(&mut self, datagram: &[u8], stats: &GuardStats) -> bool {
        let mut out = Outgoing::default();
        let mut advanced = false;
        let mut rest = datagram;
        while let Some(record) = Record::parse(rest) {
            let (whole, after) = rest.split_at_checked(record.length).unwrap_or((rest, &[]));
            rest = after;
            let refusal = match (record.epoch, record.kind) {
                (0, HANDSHAKE) => {
                    advanced |= self.fragments_of(record.body, &mut out, stats);
                    continue;
                }
                (0, CHANGE_CIPHER_SPEC) => self.cipher_change(record.body, &mut out, stats),
                (0, ALERT) => self.alert(record.body),
                (1, HANDSHAKE | ALERT | APPLICATION_DATA) => {
                    let refusal = self.early(&record, stats.sealed_min());
                    if refusal.is_none() {
                        advanced |= record.kind == HANDSHAKE;
                        out.push(whole, stats);
                    }
                    refusal
                }
                (0 | 1, _) => Some(Refusal::Malformed),
                _ => Some(Refusal::Epoch),
            };
            if let Some(refusal) = refusal {
                stats.refuse(refusal);
            }
        }
        if !rest.is_empty() {
            stats.refuse(Refusal::Malformed);
        }
        self.ready.extend(out.finish());
        advanced
    }

    /// Takes the fragments of a record and passes the messages that are now whole; returns whether
    /// there were any.
    fn fragments_of(&mut self, body: &[u8], out: &mut Outgoing, stats: &GuardStats) -> bool {
        let (mut rest, mut nudge, mut advanced) = (body, None, false);
        while !rest.is_empty() {
            let Some((fragment, after)) = Fragment::parse(rest) else {
                stats.refuse(Refusal::Malformed);
                break;
            };
            rest = after;
            if fragment.sequence < self.next {
                stats.refuse(Refusal::Duplicate);
                if fragment.offset == 0 {
                    nudge = Some(fragment);
                }
            } else if let Err(refusal) = self.fragment(&fragment) {
                stats.refuse(refusal);
            }
        }
        while let Some(partial) = self.partial.remove(&self.next) {
            if partial.missing > 0 {
                self.partial.insert(self.next, partial);
                break;
            }
            let Partial { kind, body, .. } = partial;
            let header = record::fragment_header(kind, body.len(), self.next, body.len());
            out.handshake(self.number(), &[&header, &body], stats);
            if matches!(
                kind,
                message::CLIENT_KEY_EXCHANGE | message::SERVER_HELLO_DONE
            ) {
                // From here on the peer has keys. What was forged before must not cost it its
                // Finished.
                (self.early, self.early_handshake) = (0, 0);
            }
            self.next = self.next.saturating_add(1);
            advanced = true;
        }
        if let Some(fragment) = nudge
            && self.nudges < NUDGES_MAX
        {
            // A repeated hello may ask for a repeated answer. An empty fragment of the same message
            // says so without filling anything.
            self.nudges += 1;
            let header =
                record::fragment_header(fragment.kind, fragment.total, fragment.sequence, 0);
            out.handshake(self.number(), &[&header], stats);
        }
        advanced
    }

    /// Files a fragment of a message that was not passed yet.
    fn fragment(&mut self, fragment: &Fragment<'_>) -> Result<(), Refusal> {
        let &Fragment {
            kind,
            total,
            sequence,
            offset,
            data,
        } = fragment;
        if !message::is_expected(kind, self.is_client, sequence)
            || total > MESSAGE_MAX
            || sequence - self.next >= WINDOW
            || (data.is_empty() && total > 0)
        {
            return Err(Refusal::Malformed);
        }
        let whole = data.len() == total;
        if !whole {
            if self.fragments >= FRAGMENTS_MAX {
                return Err(Refusal::Flood);
            }
            self.fragments += 1;
        }
        let fresh = || Partial {
            kind,
            body: vec![0; total],
            have: vec![false; total],
            missing: total,
        };
        if self
            .partial
            .get(&sequence)
            .is_some_and(|partial| partial.missing == 0)
        {
            return Err(Refusal::Duplicate);
        }
        let partial = self.partial.entry(sequence).or_insert_with(fresh);
        // A fragment that contradicts the ones before begins the message anew: the peer repeats its
        // flight whole, a forger's bits lose.
        if whole || partial.kind != kind || partial.body.len() != total {
            *partial = fresh();
        }
        let range = offset..offset + data.len();
        if let (Some(body), Some(have)) = (
            partial.body.get_mut(range.clone()),
            partial.have.get_mut(range),
        ) {
            body.copy_from_slice(data);
            partial.missing -= have.iter().filter(|have| !**have).count();
            have.fill(true);
        }
        if partial.missing == 0 {
            let formed = message::is_well_formed(kind, &partial.body);
            let fits = self.bytes + total + FRAGMENT_HEADER_LEN <= BYTES_MAX;
            if !formed || !fits {
                self.partial.remove(&sequence);
                return Err(if formed {
                    Refusal::Flood
                } else {
                    Refusal::Malformed
                });
            }
            self.bytes += total + FRAGMENT_HEADER_LEN;
        }
        Ok(())
    }

    fn cipher_change(
        &mut self,
        body: &[u8],
        out: &mut Outgoing,
        stats: &GuardStats,
    ) -> Option<Refusal> {
        if body != [1] {
            return Some(Refusal::Malformed);
        }
        if self.cipher_changes >= CIPHER_CHANGES_MAX {
            return Some(Refusal::Flood);
        }
        self.cipher_changes += 1;
        let mut record = Vec::with_capacity(RECORD_HEADER_LEN + 1);
        record::write(&mut record, CHANGE_CIPHER_SPEC, self.number(), &[body]);
        out.push(&record, stats);
        None
    }

    fn alert(&mut self, body: &[u8]) -> Option<Refusal> {
        if let &[2, description] = body {
            self.fatal_alert = Some(description);
        }
        Some(Refusal::Alert)
    }

    fn early(&mut self, record: &Record<'_>, sealed_min: usize) -> Option<Refusal> {
        let handshake = record.kind == HANDSHAKE;
        let longest = if handshake {
            EARLY_HANDSHAKE_LEN_MAX
        } else {
            EARLY_LEN_MAX
        };
        if record.body.len() < sealed_min || record.body.len() > longest {
            return Some(Refusal::Malformed);
        }
        let (count, most) = if handshake {
            (&mut self.early_handshake, EARLY_HANDSHAKE_MAX)
        } else {
            (&mut self.early, EARLY_MAX)
        };
        if *count >= most {
            return Some(Refusal::Early);
        }
        *count += 1;
        None
    }

    fn number(&mut self) -> u64 {
        self.sequence += 1;
        self.sequence - 1
    }
}

/// A message that is being put together.
struct Partial {
    kind: u8,
    body: Vec<u8>,
    have: Vec<bool>,
    missing: usize,
}

/// Records that pass, gathered into datagrams `dtls` can read.
#[derive(Default)]
struct Outgoing {
    full: Vec<Vec<u8>>,
    last: Vec<u8>,
}

impl Outgoing {
    fn handshake(&mut self, sequence: u64, parts: &[&[u8]], stats: &GuardStats) {
        let mut record = Vec::new();
        record::write(&mut record, HANDSHAKE, sequence, parts);
        let body = record.get(RECORD_HEADER_LEN..).unwrap_or_default();
        stats.see_suite(body);
        self.push(&record, stats);
    }

    fn push(&mut self, record: &[u8], stats: &GuardStats) {
        if self.last.len() + record.len() > DATAGRAM_MAX {
            self.full.push(core::mem::take(&mut self.last));
        }
        self.last.extend_from_slice(record);
        stats.pass(record.len());
    }

    fn finish(mut self) -> Vec<Vec<u8>> {
        if !self.last.is_empty() {
            self.full.push(self.last);
        }
        self.full
    }
}
