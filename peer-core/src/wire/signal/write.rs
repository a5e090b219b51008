use crate::wire::json::{EncodeError, Writer};

use super::{Answer, IceCandidateInit, Offer};

/// The HEARTBEAT message. Send it every ping interval; the broker does not answer.
pub const HEARTBEAT: &str = r#"{"type":"HEARTBEAT"}"#;

/// Writes the OFFER of a data connection to `dst`.
///
/// Leaves out fields that are `None`. Writes `metadata` as it is, so it must be JSON (see
/// [`json::check`](crate::wire::json::check)).
///
/// ```
/// use peer_core::wire::signal::{Offer, write_offer};
/// let offer = Offer { sdp: "v=0\r\n", connection_id: Some("dc_1"), ..Offer::default() };
/// let mut buffer = [0; 256];
/// assert_eq!(
///     write_offer("bob", &offer, &mut buffer)?,
///     concat!(
///         r#"{"type":"OFFER","payload":{"sdp":{"sdp":"v=0\r\n","type":"offer"},"type":"data","#,
///         r#""connectionId":"dc_1","reliable":false},"dst":"bob"}"#,
///     ),
/// );
/// # Ok::<(), peer_core::wire::json::EncodeError>(())
/// ```
///
/// # Errors
/// [`EncodeError::BufferTooSmall`] if the buffer is too small.
pub fn write_offer<'b>(
    dst: &str,
    offer: &Offer<'_>,
    buffer: &'b mut [u8],
) -> Result<&'b str, EncodeError> {
    let mut writer = Writer::new(buffer);
    writer.raw(r#"{"type":"OFFER","payload":{"sdp":{"sdp":"#)?;
    writer.string(offer.sdp)?;
    writer.raw(r#","type":"offer"},"type":"data""#)?;
    string_field(&mut writer, r#","connectionId":"#, offer.connection_id)?;
    if let Some(metadata) = offer.metadata {
        writer.raw(r#","metadata":"#)?;
        writer.raw(metadata)?;
    }
    string_field(&mut writer, r#","label":"#, offer.label)?;
    writer.raw(if offer.reliable {
        r#","reliable":true"#
    } else {
        r#","reliable":false"#
    })?;
    string_field(&mut writer, r#","serialization":"#, offer.serialization)?;
    finish(writer, dst)
}

/// Writes an ANSWER to `dst`.
///
/// # Errors
/// [`EncodeError::BufferTooSmall`] if the buffer is too small.
pub fn write_answer<'b>(
    dst: &str,
    answer: &Answer<'_>,
    buffer: &'b mut [u8],
) -> Result<&'b str, EncodeError> {
    let mut writer = Writer::new(buffer);
    writer.raw(r#"{"type":"ANSWER","payload":{"sdp":{"sdp":"#)?;
    writer.string(answer.sdp)?;
    writer.raw(r#","type":"answer"},"type":"data","connectionId":"#)?;
    writer.string(answer.connection_id)?;
    finish(writer, dst)
}

/// Writes the CANDIDATE of a data connection to `dst`. PeerJS needs `sdp_mid` or
/// `sdp_m_line_index`. It loses candidates that arrive before the ANSWER.
///
/// # Errors
/// [`EncodeError::BufferTooSmall`] if the buffer is too small.
pub fn write_candidate<'b>(
    dst: &str,
    connection_id: &str,
    candidate: &IceCandidateInit<'_>,
    buffer: &'b mut [u8],
) -> Result<&'b str, EncodeError> {
    let mut writer = Writer::new(buffer);
    writer.raw(r#"{"type":"CANDIDATE","payload":{"candidate":{"candidate":"#)?;
    writer.string(candidate.candidate)?;
    string_field(&mut writer, r#","sdpMid":"#, candidate.sdp_mid)?;
    if let Some(index) = candidate.sdp_m_line_index {
        writer.raw(r#","sdpMLineIndex":"#)?;
        writer.unsigned(index)?;
    }
    string_field(
        &mut writer,
        r#","usernameFragment":"#,
        candidate.username_fragment,
    )?;
    writer.raw(r#"},"type":"data","connectionId":"#)?;
    writer.string(connection_id)?;
    finish(writer, dst)
}

fn string_field(
    writer: &mut Writer<'_>,
    key: &str,
    value: Option<&str>,
) -> Result<(), EncodeError> {
    let Some(value) = value else { return Ok(()) };
    writer.raw(key)?;
    writer.string(value)
}

fn finish<'b>(mut writer: Writer<'b>, dst: &str) -> Result<&'b str, EncodeError> {
    writer.raw(r#"},"dst":"#)?;
    writer.string(dst)?;
    writer.raw("}")?;
    Ok(writer.finish())
}
