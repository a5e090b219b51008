//! A PeerServer-compatible broker, and the client of one.
