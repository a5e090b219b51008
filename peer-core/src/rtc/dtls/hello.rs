//! The hellos of a client's handshake: the ClientHello that it writes, the ServerHello and the
//! HelloVerifyRequest that it reads (RFC 5246 §7.4.1, RFC 6347 §4.2.1).

use super::error::DtlsError;
use super::protection::Suite;
use super::reader::{Reader, u24};
use super::record::VERSION;
use super::step::Message;
use crate::bytes;

/// Bytes of the longest hello that is written: with a cookie of 255 bytes.
pub(super) const HELLO_MAX: usize = 400;
/// Extensions of a hello that are looked at. Browsers send less than 20.
const EXTENSIONS_MAX: usize = 64;

pub(super) mod extension {
    pub(in crate::rtc::dtls) const SUPPORTED_GROUPS: u16 = 10;
    pub(in crate::rtc::dtls) const POINT_FORMATS: u16 = 11;
    #[cfg(feature = "dtls-server")]
    pub(in crate::rtc::dtls) const SIGNATURE_ALGORITHMS: u16 = 13;
    pub(in crate::rtc::dtls) const USE_SRTP: u16 = 14;
    pub(in crate::rtc::dtls) const EXTENDED_MASTER_SECRET: u16 = 23;
    pub(in crate::rtc::dtls) const RENEGOTIATION_INFO: u16 = 0xff01;
}

/// Writes the body of a ClientHello to the start of `out`; its bytes.
pub(super) fn write_client_hello(
    out: &mut [u8],
    random: &[u8; 32],
    cookie: &[u8],
    suites: &[Suite],
    use_srtp: bool,
) -> Option<usize> {
    let mut ids = [0; 4];
    for (to, suite) in ids.as_chunks_mut().0.iter_mut().zip(suites) {
        *to = suite.id();
    }
    let ids = ids.get(..2 * suites.len())?;
    let cookie_len = [u8::try_from(cookie.len()).ok()?];
    let srtp = if use_srtp { SRTP } else { &[] };
    let extensions = u24(EXTENSIONS.len() + srtp.len())?;
    bytes::concat(
        out,
        &[
            &VERSION,
            random,
            &[0],
            &cookie_len,
            cookie,
            u24(ids.len())?.get(1..)?,
            ids,
            &[1, 0],
            extensions.get(1..)?,
            EXTENSIONS,
            srtp,
        ],
    )
}

/// supported_groups, ec_point_formats, signature_algorithms, extended_master_secret,
/// renegotiation_info.
const EXTENSIONS: &[u8] = &[
    0, 10, 0, 4, 0, 2, 0, 23, //
    0, 11, 0, 2, 1, 0, //
    0, 13, 0, 4, 0, 2, 4, 3, //
    0, 23, 0, 0, //
    0xff, 1, 0, 1, 0,
];
/// use_srtp with one profile and no MKI (RFC 5764 §4.1.1). No media is ever sent: some peers insist
/// on an agreement.
pub(super) const SRTP: &[u8] = &[0, 14, 0, 5, 0, 2, 0, 1, 0];

/// Reads a ServerHello: the random and the suite. Refuses what was not offered.
pub(super) fn read_server_hello(
    body: &[u8],
    offered: &[Suite],
    srtp_offered: bool,
) -> Result<([u8; 32], Suite), DtlsError> {
    const MALFORMED: DtlsError = DtlsError::Malformed(Message::ServerHello);
    let mut reader = Reader::new(body);
    let mut fixed = || {
        let (version, random) = (reader.array::<2>()?, reader.array()?);
        let _session = reader.vec8().filter(|id| id.len() <= 32)?;
        Some((version, random, reader.array::<2>()?, reader.u8()?))
    };
    let (version, random, suite, compression) = fixed().ok_or(MALFORMED)?;
    if version != VERSION {
        return Err(DtlsError::Version);
    }
    let suite = offered
        .iter()
        .copied()
        .find(|it| it.id() == suite)
        .ok_or(DtlsError::CipherSuite)?;
    if compression != 0 {
        return Err(DtlsError::Compression);
    }
    let mut master_secret = false;
    for_each_extension(reader, Message::ServerHello, |kind, value| {
        let mut value = Reader::new(value);
        match kind {
            extension::EXTENDED_MASTER_SECRET => master_secret = true,
            extension::RENEGOTIATION_INFO => {
                let connection = value.vec8().ok_or(MALFORMED)?;
                ensure(connection.is_empty(), DtlsError::Renegotiation)?;
            }
            extension::POINT_FORMATS => {
                let formats = value.vec8().ok_or(MALFORMED)?;
                ensure(formats.contains(&0), DtlsError::PointFormat)?;
            }
            // A server should not send this one, and some do; the curve is looked at where it is
            // used.
            extension::SUPPORTED_GROUPS => {}
            extension::USE_SRTP if srtp_offered => {}
            unsolicited => return Err(DtlsError::UnsolicitedExtension(unsolicited)),
        }
        Ok(())
    })?;
    if !master_secret {
        return Err(DtlsError::NoExtendedMasterSecret);
    }
    Ok((random, suite))
}

/// Reads a HelloVerifyRequest: the cookie. Its version says nothing (RFC 6347 §4.2.1).
pub(super) fn read_cookie(body: &[u8]) -> Result<&[u8], DtlsError> {
    let mut reader = Reader::new(body);
    let cookie = reader.array::<2>().and_then(|_version| reader.vec8());
    cookie
        .filter(|_| reader.is_empty())
        .ok_or(DtlsError::Malformed(Message::HelloVerifyRequest))
}

pub(super) fn ensure(right: bool, error: DtlsError) -> Result<(), DtlsError> {
    if right { Ok(()) } else { Err(error) }
}

/// Goes through what is left of a hello: nothing, or a vector of extensions. None may come twice.
pub(super) fn for_each_extension(
    mut hello: Reader<'_>,
    message: Message,
    mut each: impl FnMut(u16, &[u8]) -> Result<(), DtlsError>,
) -> Result<(), DtlsError> {
    let malformed = DtlsError::Malformed(message);
    if hello.is_empty() {
        return Ok(());
    }
    let all = hello
        .vec16()
        .filter(|_| hello.is_empty())
        .ok_or(malformed)?;
    let mut reader = Reader::new(all);
    let (mut kinds, mut count) = ([0; EXTENSIONS_MAX], 0);
    while !reader.is_empty() {
        let mut next = || Some((reader.u16()?, reader.vec16()?));
        let (kind, value) = next().ok_or(malformed)?;
        let (before, after) = kinds.split_at_mut_checked(count).ok_or(malformed)?;
        if before.contains(&kind) {
            return Err(malformed);
        }
        *after.first_mut().ok_or(malformed)? = kind;
        count += 1;
        each(kind, value)?;
    }
    Ok(())
}
