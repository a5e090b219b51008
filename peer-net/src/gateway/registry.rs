//! What the tasks of a gateway share: who is there, and what was turned away.

use core::net::IpAddr;
use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex};

use peer_core::link::LinkError;
use peer_core::time::Instant;
use tokio::sync::Notify;

use super::counts::Counts;
use super::options::{GatewayLimits, Settings};
use super::rates::Rates;
use super::status::{AbsentLine, GatewayStatus, LeafStatus, LinkCounts, RefusedCounts};
use crate::sync::lock;

pub(super) struct Registry {
    started: Instant,
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    /// Of every leaf that ever proved its key, so never more than are configured.
    leaves: BTreeMap<String, Record>,
    /// In the order they came. One too many takes the place of another, so a flood of them keeps
    /// nobody out who is fast.
    unproven: VecDeque<Arc<Link>>,
    streams: u64,
    refused: RefusedCounts,
    /// Why each line is not there, and how often it was tried.
    absent: BTreeMap<String, (String, u64)>,
    present: usize,
    /// A leaf was one too many, and none has gone since.
    is_full: bool,
}

/// Why a leaf that has proved its key may not stay.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Unwelcome {
    #[error("there are as many leaves as there may be")]
    TooMany,
    #[error("it came too often")]
    TooSoon,
}

struct Record {
    link: Arc<Link>,
    present: bool,
    since: Instant,
    arrivals: u64,
    rates: Arc<Mutex<Rates>>,
    /// The id that the broker gave it last.
    given: Option<String>,
    last_end: Option<String>,
}

/// One stream, as others see it.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) line: String,
    /// Where it comes from, if not from where the options say.
    from: Option<IpAddr>,
    /// Rung when the stream has to end: another one has come in its place.
    pub(super) cut: Notify,
    pub(super) shown: Mutex<Shown>,
}

/// What is shown of a link.
#[derive(Debug, Default)]
pub(super) struct Shown {
    pub(super) id: Option<String>,
    pub(super) broker: &'static str,
    pub(super) counts: LinkCounts,
    pub(super) connections: Vec<Arc<Counts>>,
}

impl Inner {
    /// Which stream gives way to a new one: the oldest of those who have most, the new one counted.
    /// So a flood from one place is at the expense of that place.
    fn to_give_way(&self, new: Option<IpAddr>) -> Option<usize> {
        let mut counts = BTreeMap::from([(new, 1)]);
        for link in &self.unproven {
            *counts.entry(link.from).or_insert(0) += 1;
        }
        let of = |link: &Arc<Link>| counts.get(&link.from);
        let most = self.unproven.iter().map(of).max()?;
        self.unproven.iter().position(|link| of(link) == most)
    }
}

/// What an address counts as: one who has an IPv6 address has all of its network.
fn place(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => address.into(),
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            [a, b, c, d, 0, 0, 0, 0].into()
        }
    }
}

impl Link {
    pub(super) fn new(line: String, from: Option<IpAddr>) -> Arc<Self> {
        Arc::new(Self {
            line,
            from: from.map(place),
            cut: Notify::new(),
            shown: Mutex::default(),
        })
    }
}

impl Registry {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            started: now,
            inner: Mutex::default(),
        }
    }

    /// A stream has come over TCP.
    pub(super) fn stream(&self) {
        let streams = &mut lock(&self.inner).streams;
        *streams = streams.wrapping_add(1);
    }

    /// Nobody has proved a key on a stream that anybody may have opened.
    pub(super) fn unproven(&self, link: &Arc<Link>, limit: usize) {
        let mut inner = lock(&self.inner);
        if inner.unproven.iter().any(|other| Arc::ptr_eq(other, link)) {
            return;
        }
        while inner.unproven.len() >= limit
            && let Some(index) = inner.to_give_way(link.from)
            && let Some(other) = inner.unproven.remove(index)
        {
            inner.refused.unproven += 1;
            other.cut.notify_one();
        }
        inner.unproven.push_back(link.clone());
    }

    /// The stream's leaf proved its key, or the stream is over.
    pub(super) fn no_longer_unproven(&self, link: &Arc<Link>) {
        lock(&self.inner)
            .unproven
            .retain(|other| !Arc::ptr_eq(other, link));
    }

    /// A leaf has proved its key. If it may stay, it is no more where it was before.
    pub(super) fn arrived(
        &self,
        now: Instant,
        name: &str,
        link: &Arc<Link>,
        limits: &GatewayLimits,
    ) -> Result<Arc<Mutex<Rates>>, Unwelcome> {
        let mut inner = lock(&self.inner);
        let inner = &mut *inner;
        let mut known = inner.leaves.get_mut(name);
        if let Some(record) = &mut known
            && !lock(&record.rates).takes_arrival(now, limits)
        {
            inner.refused.rate += 1;
            return Err(Unwelcome::TooSoon);
        }
        let was_present = known.as_ref().is_some_and(|record| record.present);
        if !was_present && inner.present >= limits.leaves {
            inner.refused.limit += 1;
            // Once, however often they try.
            if !core::mem::replace(&mut inner.is_full, true) {
                tracing::warn!(target: "peer_net", leaf = name, "a leaf was cut: {} are here already", limits.leaves);
            }
            return Err(Unwelcome::TooMany);
        }
        if !was_present {
            inner.present += 1;
        }
        let rates = match known {
            Some(record) => {
                if record.present && !Arc::ptr_eq(&record.link, link) {
                    record.link.cut.notify_one();
                    record.last_end = Some("it came again on another line".to_owned());
                }
                record.link = link.clone();
                record.present = true;
                record.since = now;
                record.arrivals += 1;
                record.rates.clone()
            }
            None => {
                let rates = Arc::new(Mutex::new(Rates::new(now, limits)));
                lock(&rates).takes_arrival(now, limits);
                let record = Record {
                    link: link.clone(),
                    present: true,
                    since: now,
                    arrivals: 1,
                    rates: rates.clone(),
                    given: None,
                    last_end: None,
                };
                inner.leaves.insert(name.to_owned(), record);
                rates
            }
        };
        Ok(rates)
    }

    /// The broker gave the leaf an id, which it may use from now on wherever it comes from.
    pub(super) fn gave(&self, name: &str, id: &str) {
        if let Some(record) = lock(&self.inner).leaves.get_mut(name) {
            record.given = Some(id.to_owned());
        }
    }

    /// The id that the broker gave the leaf last.
    pub(super) fn given(&self, name: &str) -> Option<String> {
        lock(&self.inner).leaves.get(name)?.given.clone()
    }

    /// A leaf is gone, unless it is back on another stream already.
    pub(super) fn left(&self, now: Instant, name: &str, link: &Arc<Link>, reason: &str) {
        let mut inner = lock(&self.inner);
        let inner = &mut *inner;
        if let Some(record) = inner.leaves.get_mut(name)
            && record.present
            && Arc::ptr_eq(&record.link, link)
        {
            record.present = false;
            record.since = now;
            record.last_end = Some(reason.to_owned());
            inner.present -= 1;
            inner.is_full = false;
        }
    }

    pub(super) fn refused(&self, refusal: LinkError) {
        let refused = &mut lock(&self.inner).refused;
        *match refusal {
            LinkError::UnknownLeaf => &mut refused.name,
            LinkError::Key => &mut refused.key,
            _ => &mut refused.other,
        } += 1;
    }

    /// A stream was closed because nobody proved a key on it.
    pub(super) fn closed_unproven(&self) {
        lock(&self.inner).refused.unproven += 1;
    }

    /// So many frames were none, on streams where nobody has proved a key.
    pub(super) fn garbage(&self, frames: u32) {
        let garbage = &mut lock(&self.inner).refused.garbage;
        *garbage = garbage.wrapping_add(frames.into());
    }

    /// A port or a server is not there. Whether that, or why, is new.
    pub(super) fn absent(&self, line: &str, reason: &str) -> bool {
        let mut inner = lock(&self.inner);
        let (known, tries) = inner.absent.entry(line.to_owned()).or_default();
        *tries = tries.wrapping_add(1);
        let is_new = known != reason;
        reason.clone_into(known);
        is_new
    }

    pub(super) fn found(&self, line: &str) {
        lock(&self.inner).absent.remove(line);
    }

    /// Forgets leaves that are no longer configured.
    pub(super) fn retain(&self, settings: &Settings) {
        let mut inner = lock(&self.inner);
        inner
            .leaves
            .retain(|name, record| record.present || settings.leaves.contains_key(name));
    }

    pub(super) fn status(&self, now: Instant, settings: &Settings) -> GatewayStatus {
        let inner = lock(&self.inner);
        let mut names: Vec<_> = settings.leaves.keys().chain(inner.leaves.keys()).collect();
        names.sort();
        names.dedup();
        let leaves = names.into_iter().map(|name| match inner.leaves.get(name) {
            Some(record) => record.status(now, name),
            None => LeafStatus {
                name: name.clone(),
                present: false,
                line: String::new(),
                since: now.saturating_duration_since(self.started).as_secs(),
                arrivals: 0,
                last_end: None,
                id: None,
                broker: "none",
                link: LinkCounts::default(),
                connections: Vec::new(),
            },
        });
        let address = settings.client.address();
        GatewayStatus {
            uptime: now.saturating_duration_since(self.started).as_secs(),
            broker: format!("{}:{}", address.host, address.port),
            present: inner.present,
            limit: settings.limits.leaves,
            streams: inner.streams,
            unproven: inner.unproven.len(),
            refused: inner.refused,
            leaves: leaves.collect(),
            absent: inner
                .absent
                .iter()
                .map(|(line, (reason, tries))| AbsentLine {
                    line: line.clone(),
                    reason: reason.clone(),
                    tries: *tries,
                })
                .collect(),
        }
    }
}

impl Record {
    fn status(&self, now: Instant, name: &str) -> LeafStatus {
        let shown = lock(&self.link.shown);
        LeafStatus {
            name: name.to_owned(),
            present: self.present,
            line: self.link.line.clone(),
            since: now.saturating_duration_since(self.since).as_secs(),
            arrivals: self.arrivals,
            last_end: self.last_end.clone(),
            id: shown.id.clone(),
            broker: if self.present { shown.broker } else { "none" },
            link: shown.counts,
            connections: shown
                .connections
                .iter()
                // They went with it.
                .filter(|_| self.present)
                .map(|counts| counts.status(now))
                .collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_has_a_network_is_one() {
        let of = |text: &str| place(text.parse().unwrap());
        assert_eq!(of("2001:db8:1:2::7"), of("2001:db8:1:2:ffff::"));
        assert_ne!(of("2001:db8:1:2::7"), of("2001:db8:1:3::7"));
        assert_eq!(of("::ffff:192.0.2.7"), of("192.0.2.7"));
        assert_ne!(of("192.0.2.7"), of("192.0.2.8"));
    }
}
