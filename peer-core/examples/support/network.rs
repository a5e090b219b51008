//! In place of a network: a broker that relays between two engines, and WebRTC sessions that always
//! work.

use std::collections::VecDeque;

use peer_core::{
    peer::{
        BrokerCommand, BrokerInput, ConnectionHandle, Input, InputError, Output, RtcCommand,
        RtcInput,
    },
    serialization::{Fragment, MessageKind},
};

/// Which engine.
type Side = usize;
type End = (Side, ConnectionHandle);

/// What an engine is going to be told.
enum Stimulus {
    Attached,
    Signal(String),
    Description(End, String),
    Opened(End),
    /// A message, of which so many bytes were taken.
    Data(End, MessageKind, Vec<u8>, usize),
    Delivered(End),
    Closed(End),
}

/// Between two engines, each of which has chosen its id.
#[derive(Default)]
pub(crate) struct Network {
    ids: [String; 2],
    queues: [VecDeque<Stimulus>; 2],
    sessions: Vec<[Option<End>; 2]>,
    /// Messages that are not whole.
    halves: Vec<(End, Vec<u8>)>,
}

impl Network {
    /// Does what an engine wants done.
    pub(crate) fn carry_out(&mut self, side: Side, output: Output<'_>) {
        match output {
            Output::Broker(BrokerCommand::Open { id, .. }) => {
                self.ids[side] = id.to_owned();
                self.queues[side].push_back(Stimulus::Attached);
                self.queues[side].push_back(Stimulus::Signal(r#"{"type":"OPEN"}"#.to_owned()));
            }
            Output::Broker(BrokerCommand::Close) => self.ids[side].clear(),
            Output::Broker(BrokerCommand::Send(text)) => self.relay(side, text),
            Output::Rtc(handle, command) => self.session((side, handle), command),
            Output::Broker(BrokerCommand::RetrieveId) | Output::Event(_) | Output::Timeout(_) => {}
        }
    }

    /// Tells an engine what happened, until it has no room. Whether there was something.
    pub(crate) fn deliver(
        &mut self,
        side: Side,
        mut feed: impl FnMut(Input<'_>) -> Result<(), InputError>,
    ) -> bool {
        let mut busy = false;
        while let Some(stimulus) = self.queues[side].front_mut() {
            let fed = match stimulus {
                Stimulus::Attached => feed(Input::Broker(BrokerInput::Opened)),
                // Parsed in place, so a copy: the engine may want it again.
                Stimulus::Signal(text) => {
                    let mut bytes = text.clone().into_bytes();
                    feed(Input::Broker(BrokerInput::Message(&mut bytes)))
                }
                Stimulus::Description(end, sdp) => {
                    feed(Input::Rtc(end.1, RtcInput::LocalDescription(sdp)))
                }
                Stimulus::Opened(end) => feed(Input::Rtc(end.1, RtcInput::ChannelOpened)),
                Stimulus::Data(end, kind, bytes, given) => {
                    let fragment = Fragment {
                        first: *given == 0,
                        last: true,
                        kind: *kind,
                        bytes: &bytes[*given..],
                    };
                    let fed = feed(Input::Rtc(end.1, RtcInput::Fragment(fragment)));
                    if let Err(InputError::InboxFull { taken }) = fed {
                        *given += taken;
                    }
                    fed
                }
                Stimulus::Delivered(end) => feed(Input::Rtc(end.1, RtcInput::ChannelBuffered(0))),
                Stimulus::Closed(end) => feed(Input::Rtc(end.1, RtcInput::ChannelClosed)),
            };
            if matches!(fed, Err(InputError::Full | InputError::InboxFull { .. })) {
                break;
            }
            self.queues[side].pop_front();
            busy = true;
        }
        busy
    }

    fn tell(&mut self, end: End, stimulus: Stimulus) {
        self.queues[end.0].push_back(stimulus);
    }

    fn relay(&mut self, side: Side, text: &str) {
        let mut message: serde_json::Value =
            serde_json::from_str(text).expect("engines write JSON");
        message["src"] = self.ids[side].clone().into();
        let there = self.ids.iter().position(|id| message["dst"] == id.as_str());
        if let Some(there) = there {
            self.queues[there].push_back(Stimulus::Signal(message.to_string()));
        }
    }

    fn session(&mut self, end: End, command: RtcCommand<'_>) {
        let found = self
            .sessions
            .iter()
            .position(|ends| ends.contains(&Some(end)));
        let other =
            found.and_then(|n| self.sessions[n].into_iter().flatten().find(|it| *it != end));
        match command {
            RtcCommand::CreateOffer { .. } => {
                let sdp = format!("offer {}", self.sessions.len());
                self.sessions.push([Some(end), None]);
                self.tell(end, Stimulus::Description(end, sdp));
            }
            RtcCommand::AcceptOffer { sdp } => {
                let n = sdp
                    .strip_prefix("offer ")
                    .and_then(|n| n.parse::<usize>().ok());
                if let Some(ends) = n.and_then(|n| self.sessions.get_mut(n)) {
                    ends[1] = Some(end);
                    self.tell(
                        end,
                        Stimulus::Description(end, sdp.replace("offer", "answer")),
                    );
                }
            }
            RtcCommand::ApplyAnswer { .. } => {
                for end in [Some(end), other].into_iter().flatten() {
                    self.tell(end, Stimulus::Opened(end));
                }
            }
            RtcCommand::AddCandidate { .. } => {}
            RtcCommand::Send(fragment) => {
                if fragment.first {
                    self.halves.retain(|(half, _)| *half != end);
                    self.halves.push((end, Vec::new()));
                }
                let half = self.halves.iter_mut().find(|(half, _)| *half == end);
                let bytes = &mut half.expect("a message has begun").1;
                bytes.extend_from_slice(fragment.bytes);
                if fragment.last
                    && let Some(other) = other
                {
                    let bytes = core::mem::take(bytes);
                    self.tell(other, Stimulus::Data(other, fragment.kind, bytes, 0));
                    self.tell(end, Stimulus::Delivered(end));
                }
            }
            RtcCommand::Close => {
                if let Some(n) = found {
                    self.sessions[n] = [None, None];
                }
                if let Some(other) = other {
                    self.tell(other, Stimulus::Closed(other));
                }
            }
        }
    }
}
