//! BinaryPack, PeerJS's own packing (`peerjs-js-binarypack` 2.1.0), as a serde format.

mod de;
mod ser;
mod value;
