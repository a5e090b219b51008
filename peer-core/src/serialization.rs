//! The serializations of a data connection.

/// One data channel message, as WebRTC tells them apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Frame<'a> {
    /// A string message (PPID 51, 56 when empty).
    Text(&'a str),
    /// A binary message (PPID 53, 57 when empty).
    Binary(&'a [u8]),
}

/// How values travel on a connection. PeerJS's `serialization`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum Serialization {
    /// BinaryPack, chunked above 16,300 bytes. PeerJS's `default` and `binary`.
    #[default]
    Binary,
    /// The same under PeerJS's other name for it.
    BinaryUtf8,
    /// JSON in binary frames, at most 16,299 bytes.
    Json,
    /// Strings and bytes as they are.
    Raw,
    /// postcard, between our own peers only; never towards a browser.
    Postcard,
}
