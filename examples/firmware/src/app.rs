//! What the device does, whatever the board: readings to every page that is connected, and what
//! pages ask for.
//!
//! Nothing a page does can stop it. All messages are read as they come; answers wait in a queue of
//! [`ANSWERS_MAX`] a page, and those that find it full are dropped and counted. A reading that
//! could not be sent before the next one is old news.

use core::fmt;

use heapless::{Deque, String};
use peer_core::{
    PeerId,
    connection::SendError,
    peer::{ConnectOptions, ConnectionHandle, DataConnection, Event, Peer, PeerState},
    serialization::Serialization,
    time::{Duration, Instant},
};

use crate::{
    history::{self, Checksum},
    upload::Upload,
    words::{self, Command, Say, TEXT_MAX},
};

/// Pages at a time. At the limit an offer is dropped, and the page sees its connect time out.
pub const CONNECTIONS: usize = 4;
/// Answers that wait for a page.
pub const ANSWERS_MAX: usize = 4;
/// Milliseconds between readings at the start.
const INTERVAL_MS: u32 = 500;
/// What a page may ask for, in milliseconds.
const INTERVALS_MS: core::ops::RangeInclusive<u32> = 50..=10_000;
/// Bytes of a chunk, or a part, of the history.
const PIECE: usize = 512;
/// How long the device stays away from a broker that it lost.
const RECONNECT_AFTER: Duration = Duration::from_secs(2);

/// What the device has beside the link.
pub trait Hardware {
    /// Switches LED 0 or 1.
    fn set_led(&mut self, led: usize, on: bool);
    /// The temperature, in thousandths of a degree Celsius.
    fn temperature(&mut self) -> i32;
    /// Writes a line to the log.
    fn log(&mut self, line: fmt::Arguments<'_>);
}

/// What the device does. All zero at the start, so a static of it sits in `.bss`.
#[derive(Debug)]
pub struct App {
    /// Between readings, if a page asked for something else than [`INTERVAL_MS`].
    interval_ms: Option<u32>,
    /// `None` at the start: at once. Its zeros are `None`'s, not [`Instant::ZERO`]'s.
    next_reading: Option<Instant>,
    readings: u32,
    millidegrees: i32,
    leds: [bool; 2],
    pages: [Page; CONNECTIONS],
    reconnect_at: Option<Instant>,
    /// Who is to be connected to.
    call: Option<PeerId>,
    answers_dropped: u32,
}

/// A page, where one is connected.
#[derive(Debug)]
struct Page {
    handle: Option<ConnectionHandle>,
    answers: Deque<Answer, ANSWERS_MAX>,
    reading_due: bool,
    history: Option<History>,
    /// A message that comes in and is longer than the inbox.
    upload: Option<Upload>,
    /// The outbox is full; `Writable` will tell.
    waits: bool,
}

#[derive(Clone, Debug)]
enum Answer {
    Interval(u32),
    Led(u8),
    Text(String<TEXT_MAX>),
    History,
    Call,
    Upload(Upload),
    Error(&'static str),
}

/// How far the history is sent.
#[derive(Clone, Copy, Debug)]
struct History {
    at: usize,
    checksum: Checksum,
}

impl App {
    /// A device that takes its first reading at once.
    pub const fn new() -> Self {
        Self {
            interval_ms: None,
            next_reading: None,
            readings: 0,
            millidegrees: 0,
            leds: [false; 2],
            pages: [const { Page::VACANT }; CONNECTIONS],
            reconnect_at: None,
            call: None,
            answers_dropped: 0,
        }
    }

    /// Something happened on the network.
    pub fn event(
        &mut self,
        event: Event,
        now: Instant,
        peer: &mut Peer<'_>,
        board: &mut impl Hardware,
    ) {
        match event {
            Event::Open => {
                let id = peer.id().map_or("", |id| id.as_str());
                board.log(format_args!("app: open as {id}"));
            }
            Event::ConnectionOpen(handle) => self.welcome(handle, peer, board),
            Event::Data(handle) => self.listen(handle, now, peer, board),
            Event::Writable(handle) => {
                if let Some(page) = self.page(handle) {
                    page.waits = false;
                }
            }
            Event::ConnectionClosed(handle) | Event::ConnectionFailed(handle, _) => {
                if let Event::ConnectionFailed(_, failure) = event {
                    board.log(format_args!(
                        "app: page {} failed: {failure}",
                        handle.index()
                    ));
                } else {
                    board.log(format_args!("app: page {} is gone", handle.index()));
                }
                if let Some(page) = self.page(handle) {
                    page.handle = None;
                }
                if let Some(mut connection) = peer.connection(handle) {
                    connection.release();
                }
            }
            Event::ConnectionError(handle, error) => {
                board.log(format_args!("app: page {}: {error}", handle.index()));
            }
            Event::Error(error) => {
                let detail = peer.broker_message().unwrap_or_default();
                board.log(format_args!("app: {error} {detail}"));
            }
            Event::Disconnected => self.reconnect_at = Some(now + RECONNECT_AFTER),
            _ => {}
        }
    }

    /// Does what is due, and says when it has to be called again at the latest. Call it after
    /// events, too.
    pub fn run(&mut self, now: Instant, peer: &mut Peer<'_>, board: &mut impl Hardware) -> Instant {
        if self.reconnect_at.is_some_and(|at| at <= now) {
            self.reconnect_at = None;
            if peer.state() == PeerState::Disconnected {
                let _ = peer.reconnect(now);
            }
        }
        if let Some(id) = self.call.take() {
            let options = ConnectOptions {
                reliable: true,
                ..ConnectOptions::default()
            };
            if let Err(error) = peer.connect(now, &id, options) {
                board.log(format_args!("app: {error}"));
            }
        }
        let due = self.next_reading.unwrap_or(now);
        let next = if due <= now {
            now + Duration::from_millis(self.interval().into())
        } else {
            due
        };
        self.next_reading = Some(next);
        if due <= now {
            self.readings = self.readings.wrapping_add(1);
            self.millidegrees = board.temperature();
            for page in &mut self.pages {
                page.reading_due = true;
            }
        }
        for index in 0..CONNECTIONS {
            self.speak(index, now, peer);
        }
        self.reconnect_at.map_or(next, |at| at.min(next))
    }

    /// Answers that pages did not get because they did not take what came before.
    pub fn answers_dropped(&self) -> u32 {
        self.answers_dropped
    }

    fn page(&mut self, handle: ConnectionHandle) -> Option<&mut Page> {
        self.pages
            .get_mut(handle.index())
            .filter(|page| page.handle == Some(handle))
    }

    fn interval(&self) -> u32 {
        self.interval_ms.unwrap_or(INTERVAL_MS)
    }

    fn welcome(
        &mut self,
        handle: ConnectionHandle,
        peer: &mut Peer<'_>,
        board: &mut impl Hardware,
    ) {
        let Some(mut connection) = peer.connection(handle) else {
            return;
        };
        connection.set_streaming(true);
        let (who, how) = (connection.peer(), connection.serialization().as_str());
        board.log(format_args!("app: page {} is {who}, {how}", handle.index()));
        if let Some(place) = self.pages.get_mut(handle.index()) {
            *place = Page {
                handle: Some(handle),
                reading_due: self.readings > 0,
                ..Page::VACANT
            };
        }
    }

    /// Reads what a page says, all of it.
    fn listen(
        &mut self,
        handle: ConnectionHandle,
        now: Instant,
        peer: &mut Peer<'_>,
        board: &mut impl Hardware,
    ) {
        let Some(mut connection) = peer.connection(handle) else {
            return;
        };
        let packed = matches!(
            connection.serialization(),
            Serialization::Binary | Serialization::BinaryUtf8
        );
        loop {
            let is_within = self.page(handle).is_some_and(|page| page.upload.is_some());
            let answers = if is_within || connection.readable() == 0 {
                let Some(piece) = connection.recv_piece() else {
                    return;
                };
                let Some(page) = self.page(handle) else {
                    return;
                };
                match Upload::go_on(&mut page.upload, &piece, packed) {
                    Some(upload) => [Some(Answer::Upload(upload)), None, None, None, None],
                    None => continue,
                }
            } else {
                let obey = |command: Command<'_>| self.obey(command, now, board);
                match words::hear(&mut connection, obey) {
                    Some(heard) => heard.unwrap_or([const { None }; 5]),
                    None => return,
                }
            };
            let understood = answers.iter().any(Option::is_some);
            let refusal = (!understood).then_some(Answer::Error("that is no command"));
            let mut dropped = 0;
            if let Some(page) = self.page(handle) {
                for answer in answers.into_iter().flatten().chain(refusal) {
                    dropped += u32::from(page.answers.push_back(answer).is_err());
                }
            }
            self.answers_dropped = self.answers_dropped.wrapping_add(dropped);
        }
    }

    fn obey(
        &mut self,
        command: Command<'_>,
        now: Instant,
        board: &mut impl Hardware,
    ) -> [Option<Answer>; 5] {
        let interval = command.interval.map(|ms| {
            if !INTERVALS_MS.contains(&ms) {
                return Answer::Error("the interval must be from 50 to 10000 ms");
            }
            self.interval_ms = Some(ms);
            self.next_reading = Some(now + Duration::from_millis(ms.into()));
            Answer::Interval(ms)
        });
        let led = command
            .led
            .map(|led| match self.leds.get_mut(usize::from(led)) {
                Some(lit) => {
                    *lit = command.on;
                    board.set_led(led.into(), command.on);
                    board.log(format_args!(
                        "app: LED {led} {}",
                        if command.on { "on" } else { "off" }
                    ));
                    Answer::Led(led)
                }
                None => Answer::Error("there are LEDs 0 and 1"),
            });
        let text = command.text.map(|text| {
            String::try_from(text).map_or(
                Answer::Error("texts of up to 64 bytes are read"),
                Answer::Text,
            )
        });
        let history = command.blob.then_some(Answer::History);
        let call = command.call.map(|id| match PeerId::new(id) {
            Ok(id) => {
                self.call = Some(id);
                Answer::Call
            }
            Err(_) => Answer::Error("that is no id"),
        });
        [interval, led, text, history, call]
    }

    /// Sends a page what it has to get, as far as there is room.
    fn speak(&mut self, index: usize, now: Instant, peer: &mut Peer<'_>) {
        let reading = Say::Reading {
            number: self.readings,
            uptime: now.as_micros() / 1000,
            millidegrees: self.millidegrees,
            interval: self.interval(),
            leds: self.leds,
        };
        let leds = self.leds;
        let Some(page) = self.pages.get_mut(index) else {
            return;
        };
        let Some(mut connection) = page.handle.and_then(|handle| peer.connection(handle)) else {
            return;
        };
        while !page.waits {
            match page.say_next(&mut connection, &reading, leds) {
                Ok(true) => {}
                Ok(false) => return,
                Err(SendError::Full) => page.waits = true,
                // The connection is over, or it closes: its last event will come.
                Err(_) => return,
            }
        }
    }
}

impl Default for App {
    fn default() -> Self {
        Self::new()
    }
}

impl Page {
    const VACANT: Self = Self {
        handle: None,
        answers: Deque::new(),
        reading_due: false,
        history: None,
        upload: None,
        waits: false,
    };

    /// Says one thing. `false`: there is none.
    fn say_next(
        &mut self,
        connection: &mut DataConnection<'_>,
        reading: &Say<'_>,
        leds: [bool; 2],
    ) -> Result<bool, SendError> {
        // A streamed message is one message: nothing can be said in the midst of it.
        if connection.stream_left() > 0
            && let Some(history) = &mut self.history
        {
            return history.stream_on(connection).map(|()| true);
        }
        if let Some(answer) = self.answers.front() {
            match answer {
                // One at a time.
                Answer::History if self.history.is_some() => {}
                Answer::History => {
                    words::say(
                        connection,
                        &Say::Blob {
                            bytes: history::LEN,
                        },
                    )?;
                    self.history = Some(History::START);
                    self.answers.pop_front();
                    return Ok(true);
                }
                answer => {
                    words::say(connection, &answer.to_say(leds))?;
                    self.answers.pop_front();
                    return Ok(true);
                }
            }
        }
        if self.reading_due {
            words::say(connection, reading)?;
            self.reading_due = false;
            return Ok(true);
        }
        let Some(history) = &mut self.history else {
            return Ok(false);
        };
        if history.at < history::LEN {
            return history.go_on(connection).map(|()| true);
        }
        let (bytes, checksum) = (history::LEN, history.checksum.0);
        words::say(connection, &Say::Done { bytes, checksum })?;
        self.history = None;
        Ok(true)
    }
}

impl Answer {
    fn to_say(&self, leds: [bool; 2]) -> Say<'_> {
        match self {
            Self::Interval(ms) => Say::Interval { ms: *ms },
            Self::Led(led) => Say::Led {
                led: *led,
                on: leds.get(usize::from(*led)).copied().unwrap_or_default(),
            },
            Self::Text(text) => Say::Text { text },
            Self::Call => Say::Call {},
            Self::History => Say::Blob {
                bytes: history::LEN,
            },
            Self::Upload(upload) => Say::Upload {
                bytes: upload.bytes,
                checksum: upload.checksum.0,
            },
            Self::Error(message) => Say::Error { message },
        }
    }
}

impl History {
    const START: Self = Self {
        at: 0,
        checksum: Checksum::new(),
    };

    /// Begins the one long message, or sends the next part.
    fn go_on(&mut self, connection: &mut DataConnection<'_>) -> Result<(), SendError> {
        const PLACE: usize = 4;
        let mut part = [0; PLACE + PIECE];
        let (place, bytes) = part.split_at_mut(PLACE);
        let mut len = 0;
        while let Some(room) = bytes.get_mut(len..)
            && let more @ 1.. = history::read(self.at + len, room)
        {
            len += more;
        }
        let bytes = bytes.get(..len).unwrap_or_default();
        match connection.serialization() {
            Serialization::Raw => {
                place.copy_from_slice(&(self.at as u32).to_be_bytes());
                connection.send(part.get(..PLACE + len).unwrap_or_default())?;
            }
            Serialization::Json => {
                let text = core::str::from_utf8(bytes).unwrap_or_default();
                words::say(connection, &Say::Part { at: self.at, text })?;
            }
            _ => return self.stream(connection),
        }
        self.pass(len);
        Ok(())
    }

    /// BinaryPack's `bin 32`, as PeerJS calls an ArrayBuffer, then the bytes.
    fn stream(&mut self, connection: &mut DataConnection<'_>) -> Result<(), SendError> {
        let [a, b, c, d] = (history::LEN as u32).to_be_bytes();
        let head = [0xdb, a, b, c, d];
        connection.stream(head.len() + history::LEN, PIECE)?;
        if connection.stream_write(&head) != Ok(head.len()) {
            // No room for the first chunk: later, from the start.
            connection.abort_stream();
            return Err(SendError::Full);
        }
        Ok(())
    }

    fn stream_on(&mut self, connection: &mut DataConnection<'_>) -> Result<(), SendError> {
        let mut piece = [0; 64];
        let len = history::read(self.at, &mut piece);
        let taken = connection.stream_write(piece.get(..len).unwrap_or_default())?;
        self.pass(taken);
        Ok(())
    }

    /// So many bytes more are on their way.
    fn pass(&mut self, len: usize) {
        let mut piece = [0; 64];
        let end = self.at + len;
        while self.at < end {
            let room = (end - self.at).min(piece.len());
            let len = history::read(self.at, &mut piece[..room]);
            self.checksum.add(&piece[..len]);
            self.at += len.max(1);
        }
    }
}

#[cfg(test)]
mod tests;
