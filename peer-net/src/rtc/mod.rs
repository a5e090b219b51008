//! WebRTC sessions: ICE, DTLS and SCTP for one data channel. The only module that knows how bytes travel.
