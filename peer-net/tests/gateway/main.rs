//! Leaves behind a gateway: real engines over the link on TCP and on pseudo-terminals, our broker,
//! and peers of peer-net at the other side, over real ICE, DTLS and SCTP on 127.0.0.1.

mod device;
mod hostile;
mod leaves;
mod limits;
mod old;
mod reload;
#[cfg(unix)]
mod serial;
mod surroundings;
