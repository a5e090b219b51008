//! Form of handshake messages (RFC 5246, section 7.4). `dtls` indexes past the end of malformed
//! hellos and key exchanges; nothing malformed gets there.

pub(super) const CLIENT_HELLO: u8 = 1;
pub(super) const SERVER_HELLO: u8 = 2;
pub(super) const HELLO_VERIFY_REQUEST: u8 = 3;
pub(super) const CERTIFICATE: u8 = 11;
pub(super) const SERVER_KEY_EXCHANGE: u8 = 12;
pub(super) const CERTIFICATE_REQUEST: u8 = 13;
pub(super) const SERVER_HELLO_DONE: u8 = 14;
pub(super) const CERTIFICATE_VERIFY: u8 = 15;
pub(super) const CLIENT_KEY_EXCHANGE: u8 = 16;

const NAMED_CURVE: u8 = 3;

/// Whether a plaintext message of this kind can come to this role, as this message of the
/// handshake.
pub(super) fn is_expected(kind: u8, is_client: bool, sequence: u16) -> bool {
    match (is_client, sequence) {
        (true, 0) => matches!(kind, SERVER_HELLO | HELLO_VERIFY_REQUEST),
        (true, _) => matches!(
            kind,
            SERVER_HELLO
                | HELLO_VERIFY_REQUEST
                | CERTIFICATE
                | SERVER_KEY_EXCHANGE
                | CERTIFICATE_REQUEST
                | SERVER_HELLO_DONE
        ),
        (false, 0) => kind == CLIENT_HELLO,
        (false, _) => {
            matches!(
                kind,
                CLIENT_HELLO | CERTIFICATE | CERTIFICATE_VERIFY | CLIENT_KEY_EXCHANGE
            )
        }
    }
}

/// Whether a whole message has the form its kind demands, to the last byte.
pub(super) fn is_well_formed(kind: u8, body: &[u8]) -> bool {
    let mut reader = Reader(body);
    let formed = match kind {
        CLIENT_HELLO => client_hello(&mut reader),
        SERVER_HELLO => server_hello(&mut reader),
        HELLO_VERIFY_REQUEST => reader.take(2).and_then(|_| reader.vector8()).map(|_| ()),
        CERTIFICATE => certificate(&mut reader),
        SERVER_KEY_EXCHANGE => server_key_exchange(&mut reader),
        CERTIFICATE_REQUEST => certificate_request(&mut reader),
        SERVER_HELLO_DONE => Some(()),
        CERTIFICATE_VERIFY => reader.take(2).and_then(|_| reader.vector16()).map(|_| ()),
        CLIENT_KEY_EXCHANGE => reader.vector8().filter(|key| !key.is_empty()).map(|_| ()),
        _ => None,
    };
    formed.is_some() && reader.0.is_empty()
}

fn client_hello(reader: &mut Reader<'_>) -> Option<()> {
    reader.take(2 + 32)?;
    // `dtls` reads on as if the session id were empty. It is, in every hello of DTLS 1.2 without
    // resumption.
    reader.vector8().filter(|id| id.is_empty())?;
    reader.vector8()?;
    let suites = reader.vector16()?;
    let compressions = reader.vector8()?;
    if suites.is_empty() || suites.len() % 2 != 0 || compressions.is_empty() {
        return None;
    }
    extensions(reader)
}

fn server_hello(reader: &mut Reader<'_>) -> Option<()> {
    reader.take(2 + 32)?;
    reader.vector8().filter(|id| id.len() <= 32)?;
    reader.take(2 + 1)?;
    extensions(reader)
}

fn extensions(reader: &mut Reader<'_>) -> Option<()> {
    let mut list = Reader(reader.vector16()?);
    while !list.0.is_empty() {
        list.take(2)?;
        list.vector16()?;
    }
    Some(())
}

fn certificate(reader: &mut Reader<'_>) -> Option<()> {
    let mut list = Reader(reader.vector24()?);
    while !list.0.is_empty() {
        list.vector24()
            .filter(|certificate| !certificate.is_empty())?;
    }
    Some(())
}

fn server_key_exchange(reader: &mut Reader<'_>) -> Option<()> {
    (reader.take(1)? == [NAMED_CURVE]).then_some(())?;
    reader.take(2)?;
    reader.vector8().filter(|key| !key.is_empty())?;
    reader.take(2)?;
    reader.vector16().map(|_| ())
}

fn certificate_request(reader: &mut Reader<'_>) -> Option<()> {
    reader.vector8()?;
    reader
        .vector16()
        .filter(|algorithms| algorithms.len() % 2 == 0)?;
    let mut authorities = Reader(reader.vector16()?);
    while !authorities.0.is_empty() {
        authorities.vector16()?;
    }
    Some(())
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    /// Bytes behind a length of `width` bytes.
    fn vector(&mut self, width: usize) -> Option<&'a [u8]> {
        let length = self
            .take(width)?
            .iter()
            .fold(0, |sum, &byte| sum << 8 | usize::from(byte));
        self.take(length)
    }

    fn vector8(&mut self) -> Option<&'a [u8]> {
        self.vector(1)
    }

    fn vector16(&mut self) -> Option<&'a [u8]> {
        self.vector(2)
    }

    fn vector24(&mut self) -> Option<&'a [u8]> {
        self.vector(3)
    }
}
