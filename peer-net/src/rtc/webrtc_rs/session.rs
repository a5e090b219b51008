//! One session: its handle, and the tasks that take it from descriptions to an open channel and to
//! its end.

use core::net::SocketAddr;
use core::sync::atomic::{AtomicU64, Ordering};
use core::time::Duration;
use std::sync::{Arc, Mutex, PoisonError};

use peer_core::peer::RtcFailure;
use peer_core::wire::sdp::{Emit, SCTP_PORT, Setup};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until, timeout};
use tracing::Instrument as _;
use webrtc_ice::state::ConnectionState;
use webrtc_util::Conn;

use super::CLOSE_STEP;
use super::association::{Association, Opening, Ours, Purpose};
use super::certificate::Certificate;
use super::channel::Opened;
use super::dtls::{self, Dtls};
use super::ice::Ice;
use crate::rtc::channel::{Channel, End};
use crate::rtc::description::Remote;
use crate::rtc::session::Role;
use crate::rtc::stage::{Failure, SharedStage, Stage};
use crate::rtc::{IceState, REMOTE_CANDIDATES_MAX, RtcConfig, SessionEvent};

/// How long a channel's reader may need to empty the stream after the remote's end.
const DRAIN_DEADLINE: Duration = Duration::from_secs(1);
/// What is said when what runs the association is gone without a word.
pub(super) const ASSOCIATION_DIED: &str = "the SCTP association died";

/// One peer connection with one data channel. Dropping it closes it.
///
/// Its tasks run on the tokio runtime it was made in.
#[derive(Debug)]
pub(in crate::rtc) struct Session {
    answer: watch::Sender<Option<String>>,
    candidates: mpsc::Sender<String>,
    candidates_dropped: AtomicU64,
    closing: watch::Sender<bool>,
    progress: Arc<Progress>,
}

impl core::fmt::Debug for Progress {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Progress")
            .field("stage", &self.stage)
            .finish_non_exhaustive()
    }
}

impl Session {
    /// Gives the offerer the remote's answer, an SDP. Only the first one counts.
    pub(in crate::rtc) fn apply_answer(&self, sdp: String) {
        self.answer.send_if_modified(|answer| {
            let first = answer.is_none();
            if first {
                *answer = Some(sdp);
            }
            first
        });
    }

    /// Gives either side a candidate of the remote, `candidate:…`. What cannot be used is dropped,
    /// and so are more than 32 of them.
    pub(in crate::rtc) fn add_candidate(&self, candidate: String) {
        if self.candidates.try_send(candidate).is_err() {
            self.candidates_dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// What it gathered at the start is all that it ever tells.
    pub(in crate::rtc) const fn signalled_again(&self) {}

    /// Candidates that came too fast or too late to be looked at.
    pub(in crate::rtc) fn candidates_dropped(&self) -> u64 {
        self.candidates_dropped.load(Ordering::Relaxed)
    }

    /// Where the remote is, once a path to it works.
    pub(in crate::rtc) fn remote_address(&self) -> Option<SocketAddr> {
        self.progress
            .parts(|parts| parts.ice.clone())?
            .remote_address()
    }

    /// Closes the session; the remote notices at once. What was sent and is not yet acknowledged is
    /// lost. Closing twice is harmless.
    pub(in crate::rtc) fn close(&self) {
        self.closing.send_replace(true);
    }

    pub(in crate::rtc) fn start(
        config: Arc<RtcConfig>,
        role: Role,
        events: mpsc::Sender<SessionEvent>,
    ) -> Self {
        let (answer, answers) = watch::channel(None);
        let (candidates, remote_candidates) = mpsc::channel(REMOTE_CANDIDATES_MAX);
        let (closing, close) = watch::channel(false);
        let progress = Arc::new(Progress::default());
        let negotiation = Negotiation {
            config,
            role,
            events: events.clone(),
            answers,
            remote_candidates: Some(remote_candidates),
            progress: Arc::clone(&progress),
        };
        // The span of the connection goes with the tasks.
        let session = supervise(negotiation, Arc::clone(&progress), close, events);
        tokio::spawn(session.in_current_span());
        Self {
            progress,
            answer,
            candidates,
            candidates_dropped: AtomicU64::new(0),
            closing,
        }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.close();
    }
}

/// What the session has made so far; it has to be taken down in order, whatever happens to the task
/// that made it.
#[derive(Default)]
struct Progress {
    stage: SharedStage,
    parts: Mutex<Parts>,
}

#[derive(Default)]
struct Parts {
    ice: Option<Arc<Ice>>,
    trickle: Option<JoinHandle<()>>,
    dtls: Option<Arc<Dtls>>,
    association: Option<Arc<Association>>,
}

impl Progress {
    fn enter(&self, stage: Stage) {
        self.stage.enter(stage);
    }

    fn fail(&self, why: &str) -> Failure {
        self.stage.get().failure(why)
    }

    fn told(&self, end: End) -> Result<(), Failure> {
        match end {
            End::Ended => Ok(()),
            End::Failed(why) => Err(self.fail(why)),
        }
    }

    fn parts<T>(&self, change: impl FnOnce(&mut Parts) -> T) -> T {
        change(&mut self.parts.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Runs the negotiation in a task of its own, where a panic in the stack ends no more than this
/// session, and cleans up after it.
async fn supervise(
    negotiation: Negotiation,
    progress: Arc<Progress>,
    mut close: watch::Receiver<bool>,
    events: mpsc::Sender<SessionEvent>,
) {
    let mut task = tokio::spawn(negotiation.run().in_current_span());
    let end = tokio::select! {
        () = closed(&mut close) => {
            task.abort();
            let _ = (&mut task).await;
            Ok(())
        }
        result = &mut task => result.unwrap_or_else(|error| {
            tracing::error!(%error, "a WebRTC session panicked");
            Err(progress.fail("the WebRTC stack failed"))
        }),
    };
    take_down(&progress).await;
    let last = match end {
        Err((failure, sentence)) => SessionEvent::Failed(failure, sentence),
        Ok(()) => SessionEvent::Closed,
    };
    let _ = events.send(last).await;
}

/// Waits until the handle is closed or gone.
async fn closed(close: &mut watch::Receiver<bool>) {
    let _ = close.wait_for(|close| *close).await;
}

async fn take_down(progress: &Progress) {
    let parts = progress.parts(core::mem::take);
    if let Some(trickle) = parts.trickle {
        trickle.abort();
        let _ = trickle.await;
    }
    if let Some(association) = &parts.association {
        association.close().await;
    }
    if let Some(dtls) = &parts.dtls {
        dtls.report();
        let _ = timeout(CLOSE_STEP, dtls.conn.close()).await;
    }
    if let Some(ice) = &parts.ice {
        ice.close().await;
    }
}

struct Negotiation {
    config: Arc<RtcConfig>,
    role: Role,
    events: mpsc::Sender<SessionEvent>,
    answers: watch::Receiver<Option<String>>,
    remote_candidates: Option<mpsc::Receiver<String>>,
    progress: Arc<Progress>,
}

impl Negotiation {
    async fn run(mut self) -> Result<(), Failure> {
        let progress = Arc::clone(&self.progress);
        let deadline = crate::time::after(Instant::now(), self.config.connect_timeout);
        let (channel, association, mut ice_state) = tokio::select! {
            opened = self.open() => opened?,
            () = sleep_until(deadline) => return Err(progress.fail("the time was up")),
        };
        progress.enter(Stage::Open);
        let Opened {
            channel: Channel { sender, receiver },
            mut drained,
        } = channel;
        self.emit(SessionEvent::Open(sender, receiver)).await;

        let (ice, dtls) = progress.parts(|parts| (parts.ice.clone(), parts.dtls.clone()));
        let Some(ice) = ice else {
            return Ok(());
        };
        let dead = async {
            match &dtls {
                Some(dtls) => dtls.dead().await,
                None => core::future::pending().await,
            }
        };
        tokio::pin!(dead);
        let end = loop {
            tokio::select! {
                end = association.ended() => break progress.told(end),
                // Told before, unless what runs the channel panicked.
                _ = &mut drained => {
                    let died = End::Failed(ASSOCIATION_DIED);
                    return progress.told(association.end_reason().unwrap_or(died));
                }
                () = over(&mut ice_state) => break Err(progress.fail("the network path was lost")),
                why = ice.hopeless() => break Err(progress.fail(why)),
                () = ice.quiet() => {
                    let _ = timeout(CLOSE_STEP, association.heartbeat()).await;
                }
                () = &mut dead => break Err(progress.fail("the transport failed")),
            }
        };
        // Whatever ends it, what came before was acknowledged and is handed over: a remote's ABORT
        // and its close_notify come together, and either may be seen first.
        association.end();
        let _ = timeout(DRAIN_DEADLINE, drained).await;
        end
    }

    async fn open(
        &mut self,
    ) -> Result<(Opened, Arc<Association>, watch::Receiver<ConnectionState>), Failure> {
        let progress = Arc::clone(&self.progress);
        let resources = |error: &dyn core::fmt::Display| {
            (
                RtcFailure::Resources,
                format!("this machine could not start a session: {error}"),
            )
        };
        // Nothing is made for an offer that cannot be answered.
        let offered = match &self.role {
            Role::Answer { offer } => Some(Remote::parse(offer, true)?),
            Role::Offer { .. } => None,
        };
        let certificate = Certificate::generate().map_err(|error| resources(&error))?;
        let (ice, local_candidates) = Ice::new(&self.config, offered.is_none())
            .await
            .map_err(|error| resources(&error))?;
        let ice = Arc::new(ice);
        progress.parts(|parts| parts.ice = Some(Arc::clone(&ice)));

        let (ufrag, pwd) = ice.credentials().await;
        let local = Emit {
            session_id: session_id().map_err(|error| resources(&error))?,
            ufrag: &ufrag,
            pwd: &pwd,
            fingerprint: &certificate.fingerprint,
            setup: offered
                .as_ref()
                .map_or(Setup::Actpass, |remote| remote.setup),
            mid: offered.as_ref().map_or("0", |remote| &remote.mid),
            sctp_port: SCTP_PORT,
            max_message_size: self.config.max_message_size,
            candidates: &[],
        };
        self.emit(SessionEvent::LocalDescription(local.to_string()))
            .await;
        self.trickle(&ice, local_candidates);
        ice.gather().map_err(|error| resources(&error))?;

        let negotiated = async {
            let remote = match offered {
                Some(remote) => remote,
                None => {
                    progress.enter(Stage::AwaitingAnswer);
                    self.answer().await?
                }
            };
            for candidate in &remote.candidates {
                ice.add_candidate(candidate);
            }
            let mut state = ice.state();
            let connected = async {
                let (channel, association) = self.connect(&ice, &certificate, &remote).await?;
                Ok((channel, association, ice.state()))
            };
            tokio::select! {
                result = connected => result,
                () = over(&mut state) => {
                    let none = "no network path to the remote works; a TURN server may be needed";
                    Err((RtcFailure::Ice, none.to_owned()))
                }
            }
        };
        tokio::select! {
            result = negotiated => result,
            why = ice.hopeless() => Err((RtcFailure::Ice, why.to_owned())),
        }
    }

    /// ICE, DTLS, SCTP and the channel, one after the other.
    async fn connect(
        &self,
        ice: &Ice,
        certificate: &Certificate,
        remote: &Remote,
    ) -> Result<(Opened, Arc<Association>), Failure> {
        let progress = &self.progress;
        progress.enter(Stage::Checking);
        let path = ice
            .connect(remote.ufrag.clone(), remote.pwd.clone())
            .await
            .map_err(|error| {
                (
                    RtcFailure::Ice,
                    format!("connectivity checks failed: {error}"),
                )
            })?;

        progress.enter(Stage::Encrypting);
        let fingerprints = remote.fingerprints.clone();
        let dtls = dtls::handshake(path, certificate, fingerprints, remote.is_client())
            .await
            .map_err(|error| {
                (
                    RtcFailure::Dtls,
                    format!("the DTLS handshake failed: {error}"),
                )
            })?;
        let conn = Arc::clone(&dtls.conn) as Arc<dyn Conn + Send + Sync>;
        progress.parts(|parts| parts.dtls = Some(Arc::new(dtls)));
        self.emit(SessionEvent::DtlsConnected).await;

        progress.enter(Stage::Associating);
        let opening = match &self.role {
            Role::Offer { label, ordered } => Opening::Ours(Ours {
                label: label.clone(),
                ordered: *ordered,
                dtls_client: remote.is_client(),
            }),
            Role::Answer { .. } => Opening::Theirs,
        };
        let purpose = Purpose {
            config: Arc::clone(&self.config),
            remote_port: remote.sctp_port,
            max_message_size: remote.max_message_size.min(self.config.max_message_size),
            opening,
        };
        let association = Arc::new(Association::new(conn, purpose));
        progress.parts(|parts| parts.association = Some(Arc::clone(&association)));
        association.associate().await?;

        progress.enter(Stage::Opening);
        let channel = tokio::select! {
            biased;
            channel = association.open() => channel?,
            end = association.ended() => {
                progress.told(end)?;
                let gone = "the remote closed before the channel was open";
                return Err((RtcFailure::Channel, gone.to_owned()));
            }
        };
        Ok((channel, association))
    }

    /// Waits for the remote's answer.
    async fn answer(&mut self) -> Result<Remote, Failure> {
        let answer = self.answers.wait_for(Option::is_some).await;
        let text = answer.ok().and_then(|answer| answer.clone());
        let Some(text) = text else {
            // The handle is gone, which ends this task in a moment; until then it did not fail.
            return core::future::pending().await;
        };
        Remote::parse(&text, false)
    }

    /// Carries candidates both ways, and the states of the agent out, until the session ends.
    fn trickle(&mut self, ice: &Arc<Ice>, mut local: mpsc::Receiver<String>) {
        let Some(mut remote) = self.remote_candidates.take() else {
            return;
        };
        let ice = Arc::clone(ice);
        let events = self.events.clone();
        let mut state = ice.state();
        let trickle = async move {
            let mut taken = 0;
            loop {
                let event = tokio::select! {
                    Some(candidate) = local.recv() => SessionEvent::LocalCandidate(candidate),
                    Some(candidate) = remote.recv(), if taken < REMOTE_CANDIDATES_MAX => {
                        taken += 1;
                        ice.add_candidate(&candidate);
                        continue;
                    }
                    Ok(()) = state.changed() => match ice_state(*state.borrow_and_update()) {
                        Some(state) => SessionEvent::IceState(state),
                        None => continue,
                    },
                    else => return,
                };
                if events.send(event).await.is_err() {
                    return;
                }
            }
        };
        let trickle = tokio::spawn(trickle.in_current_span());
        self.progress.parts(|parts| parts.trickle = Some(trickle));
    }

    /// Nobody listening is no reason to end: the handle tells when to.
    async fn emit(&self, event: SessionEvent) {
        let _ = self.events.send(event).await;
    }
}

fn ice_state(state: ConnectionState) -> Option<IceState> {
    match state {
        ConnectionState::Checking => Some(IceState::Checking),
        ConnectionState::Connected | ConnectionState::Completed => Some(IceState::Connected),
        ConnectionState::Disconnected => Some(IceState::Disconnected),
        _ => None,
    }
}

/// Waits until the agent gives up.
async fn over(state: &mut watch::Receiver<ConnectionState>) {
    let given_up = |state: &ConnectionState| {
        matches!(state, ConnectionState::Failed | ConnectionState::Closed)
    };
    let _ = state.wait_for(given_up).await;
}

fn session_id() -> Result<u64, ring::error::Unspecified> {
    let mut bytes = [0; 8];
    ring::rand::SecureRandom::fill(&ring::rand::SystemRandom::new(), &mut bytes)?;
    Ok(u64::from_be_bytes(bytes) >> 1)
}
