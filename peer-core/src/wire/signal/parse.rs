use crate::wire::json::{self, DecodeError, Kind, Reader};

use super::{Answer, IceCandidateInit, Offer, Peek, Signal, SignalError};

/// Reads what a broker's message is and whom it is from, without changing it, so that it can be
/// parsed later, or fed again.
///
/// Keys may come in any order. Returns `None` for what is no JSON object with a string as `type`,
/// and where an escape in a key or in one of the strings may hide what was looked for: only
/// [`Signal::parse`] reads these. PeerServer writes neither. Otherwise, if the message can be
/// parsed, both say the same.
#[must_use]
pub(crate) fn peek(text: &[u8]) -> Option<Peek<'_>> {
    let text = core::str::from_utf8(text).ok()?;
    let mut found = [None; 3];
    let mut escaped = json::members(text, &["type", "src", "payload"], &mut found)?;
    let [kind, src, payload] = found;
    let mut found = [None; 3];
    if let Some(payload) = payload {
        // A payload that is no object has no members.
        let keys = ["connectionId", "label", "metadata"];
        escaped |= json::members(payload, &keys, &mut found).unwrap_or(false);
    }
    if escaped {
        return None;
    }
    let [id, label, metadata] = found;
    Some(Peek {
        kind: plain(kind)??,
        src: plain(src)?,
        connection_id: plain(id)?,
        label: plain(label).flatten(),
        metadata,
    })
}

/// The text of a JSON string, `Some(None)` for another value or none, `None` for one with escapes.
fn plain(value: Option<&str>) -> Option<Option<&str>> {
    let text = value.and_then(|value| value.strip_prefix('"')?.strip_suffix('"'));
    (!text.is_some_and(|text| text.contains('\\'))).then_some(text)
}

impl<'a> Signal<'a> {
    /// Parses one WebSocket message in place. Changes the text: it cannot be parsed again.
    ///
    /// ```
    /// use peer_core::wire::signal::Signal;
    /// let mut frame = *br#"{"type":"LEAVE","src":"bob","dst":"alice"}"#;
    /// assert_eq!(Signal::parse(&mut frame)?, Signal::Leave { src: "bob" });
    /// # Ok::<(), peer_core::wire::signal::SignalError>(())
    /// ```
    ///
    /// # Errors
    /// [`SignalError`]; ignore the message.
    pub fn parse(text: &'a mut [u8]) -> Result<Self, SignalError> {
        let mut reader = Reader::new(text)?;
        let (mut kind, mut src, mut payload) = (None, None, Payload::default());
        reader.begin_object()?;
        while let Some(key) = reader.next_key()? {
            match key {
                "type" => kind = string(&mut reader)?,
                "src" => src = string(&mut reader)?,
                "payload" => payload = Payload::read(&mut reader)?,
                _ => reader.skip()?,
            }
        }
        reader.end()?;
        let src = src.ok_or(SignalError::Source);
        let msg = payload.msg.unwrap_or_default();
        Ok(match kind.ok_or(SignalError::Type)? {
            "OPEN" => Self::Open,
            "ERROR" => Self::Error { msg },
            "ID-TAKEN" => Self::IdTaken { msg },
            "INVALID-KEY" => Self::InvalidKey { msg },
            "HEARTBEAT" => Self::Heartbeat,
            "LEAVE" => Self::Leave { src: src? },
            "EXPIRE" => Self::Expire { src: src? },
            "OFFER" | "ANSWER" | "CANDIDATE" if payload.kind == Some("media") => Self::Media {
                src: src?,
                connection_id: payload.connection_id,
            },
            "OFFER" => Self::Offer {
                src: src?,
                offer: payload.offer()?,
            },
            "ANSWER" => Self::Answer {
                src: src?,
                answer: payload.answer()?,
            },
            "CANDIDATE" => Self::Candidate {
                src: src?,
                connection_id: payload.connection_id.ok_or(SignalError::ConnectionId)?,
                candidate: payload
                    .candidate
                    .map_err(|NotACandidate| SignalError::Candidate)?,
            },
            _ => return Err(SignalError::Type),
        })
    }
}

/// A candidate that is neither an object, nor null, nor empty.
#[derive(Clone, Copy)]
struct NotACandidate;

/// The fields of all payloads together, since `type` may come after `payload`.
struct Payload<'a> {
    msg: Option<&'a str>,
    kind: Option<&'a str>,
    connection_id: Option<&'a str>,
    sdp: Option<&'a str>,
    sdp_type: Option<&'a str>,
    metadata: Option<&'a str>,
    label: Option<&'a str>,
    reliable: bool,
    serialization: Option<&'a str>,
    candidate: Result<Option<IceCandidateInit<'a>>, NotACandidate>,
}

impl Default for Payload<'_> {
    fn default() -> Self {
        Self {
            msg: None,
            kind: None,
            connection_id: None,
            sdp: None,
            sdp_type: None,
            metadata: None,
            label: None,
            reliable: false,
            serialization: None,
            candidate: Ok(None),
        }
    }
}

impl<'a> Payload<'a> {
    fn read(reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        let mut payload = Self::default();
        if reader.kind()? != Kind::Object {
            reader.skip()?;
            return Ok(payload);
        }
        reader.begin_object()?;
        while let Some(key) = reader.next_key()? {
            match key {
                "msg" => payload.msg = string(reader)?,
                "type" => payload.kind = string(reader)?,
                "connectionId" => payload.connection_id = string(reader)?,
                "sdp" => (payload.sdp, payload.sdp_type) = description(reader)?,
                "metadata" => payload.metadata = Some(reader.raw()?),
                "label" => payload.label = string(reader)?,
                "reliable" => payload.reliable = truthy(reader)?,
                "serialization" => payload.serialization = string(reader)?,
                "candidate" => payload.candidate = candidate(reader)?,
                _ => reader.skip()?,
            }
        }
        Ok(payload)
    }

    fn offer(&self) -> Result<Offer<'a>, SignalError> {
        if self.kind != Some("data") {
            return Err(SignalError::ConnectionType);
        }
        Ok(Offer {
            sdp: self.sdp("offer")?,
            connection_id: self.connection_id,
            metadata: self.metadata,
            label: self.label,
            reliable: self.reliable,
            serialization: self.serialization,
        })
    }

    fn answer(&self) -> Result<Answer<'a>, SignalError> {
        Ok(Answer {
            sdp: self.sdp("answer")?,
            connection_id: self.connection_id.ok_or(SignalError::ConnectionId)?,
        })
    }

    fn sdp(&self, kind: &str) -> Result<&'a str, SignalError> {
        if self.sdp_type.is_some_and(|found| found != kind) {
            return Err(SignalError::Sdp);
        }
        self.sdp.ok_or(SignalError::Sdp)
    }
}

/// A string; anything else is skipped.
fn string<'a>(reader: &mut Reader<'a>) -> Result<Option<&'a str>, DecodeError> {
    if reader.kind()? == Kind::String {
        return reader.string().map(Some);
    }
    reader.skip()?;
    Ok(None)
}

/// What JavaScript makes of a value as a condition.
fn truthy(reader: &mut Reader<'_>) -> Result<bool, DecodeError> {
    Ok(match reader.kind()? {
        Kind::Boolean => reader.boolean()?,
        // Without reading a double, see `Number::parse_integer`. What is too small for one is 0 in
        // JavaScript; nobody says that.
        Kind::Number => reader
            .raw()?
            .bytes()
            .take_while(|byte| !matches!(byte, b'e' | b'E'))
            .any(|byte| matches!(byte, b'1'..=b'9')),
        Kind::String => !reader.string()?.is_empty(),
        kind => {
            reader.skip()?;
            kind != Kind::Null
        }
    })
}

/// An `RTCSessionDescription`: its text and its type. A plain string is taken as the text.
fn description<'a>(
    reader: &mut Reader<'a>,
) -> Result<(Option<&'a str>, Option<&'a str>), DecodeError> {
    if reader.kind()? != Kind::Object {
        return Ok((string(reader)?, None));
    }
    let (mut sdp, mut kind) = (None, None);
    reader.begin_object()?;
    while let Some(key) = reader.next_key()? {
        match key {
            "sdp" => sdp = string(reader)?,
            "type" => kind = string(reader)?,
            _ => reader.skip()?,
        }
    }
    Ok((sdp, kind))
}

fn candidate<'a>(
    reader: &mut Reader<'a>,
) -> Result<Result<Option<IceCandidateInit<'a>>, NotACandidate>, DecodeError> {
    match reader.kind()? {
        Kind::Null => {
            reader.null()?;
            return Ok(Ok(None));
        }
        Kind::String => {
            let empty = reader.string()?.is_empty();
            return Ok(if empty { Ok(None) } else { Err(NotACandidate) });
        }
        Kind::Object => reader.begin_object()?,
        _ => {
            reader.skip()?;
            return Ok(Err(NotACandidate));
        }
    }
    let mut candidate = IceCandidateInit {
        candidate: "",
        sdp_mid: None,
        sdp_m_line_index: None,
        username_fragment: None,
    };
    while let Some(key) = reader.next_key()? {
        match key {
            "candidate" => candidate.candidate = string(reader)?.unwrap_or_default(),
            "sdpMid" => candidate.sdp_mid = string(reader)?,
            "sdpMLineIndex" => candidate.sdp_m_line_index = index(reader)?,
            "usernameFragment" => candidate.username_fragment = string(reader)?,
            _ => reader.skip()?,
        }
    }
    Ok(Ok(
        Some(candidate).filter(|candidate| !candidate.candidate.is_empty())
    ))
}

fn index(reader: &mut Reader<'_>) -> Result<Option<u16>, DecodeError> {
    Ok(reader.raw()?.parse().ok())
}
