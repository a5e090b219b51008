//! The ICE agent: candidates in and out, states, the connection it finds.

use core::net::{IpAddr, SocketAddr};
use core::time::Duration;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use peer_core::wire::candidate::{self, Address, Candidate as Parsed, CandidateKind, Transport};
use tokio::sync::{Notify, Semaphore, SemaphorePermit, mpsc, watch};
use tokio::task::JoinHandle;
use tracing::Instrument as _;
use webrtc_ice::agent::Agent;
use webrtc_ice::agent::agent_config::{AgentConfig, InterfaceFilterFn, IpFilterFn};
use webrtc_ice::candidate::candidate_base::unmarshal_candidate;
use webrtc_ice::candidate::{Candidate, CandidateType};
use webrtc_ice::mdns::MulticastDnsMode;
use webrtc_ice::network_type::NetworkType;
use webrtc_ice::state::ConnectionState;
use webrtc_ice::udp_network::{EphemeralUDP, UDPNetwork};
use webrtc_ice::url::{ProtoType, SchemeType, Url};
use webrtc_util::Conn;

use super::minder::Minder;
use crate::rtc::{IceServer, IceTransportPolicy, RtcConfig};

/// Between two rounds of checks while no pair works.
const CHECK_INTERVAL: Duration = Duration::from_millis(100);
/// Checks of one pair until it is given up: 30 s of them, longer than the agent stays in
/// `Checking`. The crate's own 7 would be over before a slow remote has its candidates.
const MAX_BINDING_REQUESTS: u16 = 300;
/// Between two consent checks of the pair in use.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(2);
/// How long a pair that goes over a server-reflexive or a relayed address waits for a better one.
const SRFLX_WAIT: Duration = Duration::from_millis(100);
const RELAY_WAIT: Duration = Duration::from_millis(500);
/// Local candidates that wait for the session to report them; more are dropped.
const LOCAL_CANDIDATES: usize = 64;
/// URLs of STUN and TURN servers; each costs a socket an address. More are passed over.
const MAX_SERVERS: usize = 8;
/// The same of all sessions of this process that wait for their servers. A dead one is waited for
/// up to 8 s, whatever becomes of its session, and a name that is not resolved takes two threads of
/// tokio's blocking pool (512 unless the runtime was built otherwise), which webrtc-sctp needs for
/// every packet. A session that comes when they are taken does without servers, and says so in the
/// log.
static SERVERS: Semaphore = Semaphore::const_new(128);
/// The agent judges silence by the wall clock, so it must not judge: [`Minder`] does. Failing
/// altogether is off with zero, and disconnecting comes after this.
const NEVER: Duration = Duration::from_secs(u32::MAX as u64);
/// The agent's own close can wait for its locks.
const CLOSE_DEADLINE: Duration = Duration::from_secs(2);
/// Gathering that is under way when an agent closes cannot be ended: the crate has no way yet
/// (`agent/mod.rs`). It goes on until its servers answered or were waited for, 5 s for STUN and 8 s
/// for TURN, and only then can its sockets be closed. So long somebody waits, looking this often,
/// and no longer than this.
const SWEEP_INTERVAL: Duration = Duration::from_millis(250);
const SWEEPS_MAX: u32 = 120;
/// One that was about to begin does not show yet.
const SWEEPS_MIN: u32 = 2;

const STRANDED: &str = "only relayed paths are allowed, and no TURN server gave one: check the servers' addresses, user \
                        names and credentials";

/// An agent whose callbacks became channels.
pub(super) struct Ice {
    agent: Arc<Agent>,
    controlling: bool,
    state: Arc<watch::Sender<ConnectionState>>,
    /// There while gathering is under way.
    claim: Arc<Mutex<Option<Claim>>>,
    /// Why there will be no path, whatever the agent still tries.
    hopeless: Arc<watch::Sender<Option<&'static str>>>,
    /// The remote has not been heard for a while.
    quiet: Arc<Notify>,
    minder: Mutex<Option<JoinHandle<()>>>,
    disconnected_timeout: Duration,
    survive: Duration,
    mdns: bool,
}

impl Ice {
    /// The agent, and the local candidates that [`gather`](Self::gather) will find.
    pub(super) async fn new(
        config: &RtcConfig,
        controlling: bool,
    ) -> Result<(Self, mpsc::Receiver<String>), webrtc_ice::Error> {
        let (urls, claim) = claim(&SERVERS, server_urls(&config.ice_servers));
        let relay_only = config.ice_transport_policy == IceTransportPolicy::Relay;
        let candidate_types = match (relay_only, urls.is_empty()) {
            (true, _) => vec![CandidateType::Relay],
            (false, true) => vec![CandidateType::Host],
            (false, false) => vec![
                CandidateType::Host,
                CandidateType::ServerReflexive,
                CandidateType::Relay,
            ],
        };
        let agent = Agent::new(AgentConfig {
            urls,
            candidate_types,
            network_types: vec![NetworkType::Udp4, NetworkType::Udp6],
            multicast_dns_mode: if config.mdns {
                MulticastDnsMode::QueryOnly
            } else {
                MulticastDnsMode::Disabled
            },
            disconnected_timeout: Some(NEVER),
            failed_timeout: Some(Duration::ZERO),
            keepalive_interval: Some(KEEPALIVE_INTERVAL.min(config.disconnected_timeout / 2)),
            check_interval: CHECK_INTERVAL,
            max_binding_requests: Some(MAX_BINDING_REQUESTS),
            is_controlling: controlling,
            host_acceptance_min_wait: Some(Duration::ZERO),
            srflx_acceptance_min_wait: Some(SRFLX_WAIT),
            // A browser behind mDNS names is only ever seen as peer-reflexive.
            prflx_acceptance_min_wait: Some(Duration::ZERO),
            // Where all are relayed there is no better one to wait for.
            relay_acceptance_min_wait: Some(if relay_only {
                Duration::ZERO
            } else {
                RELAY_WAIT
            }),
            include_loopback: config.include_loopback,
            ip_filter: Arc::new(Some(ip_filter(config))),
            interface_filter: Arc::new(interface_filter(config)),
            udp_network: udp_network(config)?,
            ..Default::default()
        })
        .await?;

        let state = Arc::new(watch::Sender::new(ConnectionState::New));
        let states = Arc::clone(&state);
        agent.on_connection_state_change(Box::new(move |state| {
            states.send_replace(state);
            Box::pin(async {})
        }));
        let (candidate_sender, candidates) = mpsc::channel(LOCAL_CANDIDATES);
        let hopeless = Arc::new(watch::Sender::new(None));
        let stranded = Arc::clone(&hopeless);
        let claim = Arc::new(Mutex::new(Some(claim)));
        let claimed = Arc::clone(&claim);
        let mut found = false;
        agent.on_candidate(Box::new(move |candidate| {
            match candidate {
                Some(candidate) => {
                    found = true;
                    let line = format!("candidate:{}", candidate.marshal());
                    if candidate_sender.try_send(line).is_err() {
                        tracing::warn!(%candidate, "a local candidate too many, dropped");
                    }
                }
                None => {
                    *lock(&claimed) = None;
                    if relay_only && !found {
                        stranded.send_replace(Some(STRANDED));
                    }
                }
            }
            Box::pin(async {})
        }));
        let ice = Self {
            agent: Arc::new(agent),
            controlling,
            state,
            claim,
            hopeless,
            quiet: Arc::default(),
            minder: Mutex::default(),
            disconnected_timeout: config.disconnected_timeout,
            survive: config.survive,
            mdns: config.mdns,
        };
        Ok((ice, candidates))
    }

    /// The user name fragment and the password.
    pub(super) async fn credentials(&self) -> (String, String) {
        self.agent.get_local_user_credentials().await
    }

    /// Starts to look for local candidates.
    pub(super) fn gather(&self) -> Result<(), webrtc_ice::Error> {
        self.agent.gather_candidates()
    }

    /// Takes a candidate of the remote. Those that cannot be used are dropped: other transports,
    /// names unless mDNS is on, garbage.
    pub(super) fn add_candidate(&self, line: &str) {
        match parse_candidate(line, self.mdns) {
            Ok(candidate) => {
                if let Err(error) = self.agent.add_remote_candidate(&candidate) {
                    tracing::debug!(%error, line, "candidate refused");
                }
            }
            Err(reason) => tracing::debug!(reason, line, "candidate passed over"),
        }
    }

    /// Where the remote is by the pair of candidates that was chosen.
    pub(super) fn remote_address(&self) -> Option<SocketAddr> {
        let pair = self.agent.get_selected_candidate_pair()?;
        Some(pair.remote.addr())
    }

    /// Checking, connected, disconnected after some silence, failed after more.
    pub(super) fn state(&self) -> watch::Receiver<ConnectionState> {
        self.state.subscribe()
    }

    /// Waits until it is certain that there will be no path, and says why: gathering left nothing
    /// that the policy allows, or the remote checks from too many addresses.
    pub(super) async fn hopeless(&self) -> &'static str {
        let mut hopeless = self.hopeless.subscribe();
        // The sender lives in `self`.
        match hopeless.wait_for(Option::is_some).await.map(|why| *why) {
            Ok(Some(why)) => why,
            _ => core::future::pending().await,
        }
    }

    /// Waits until the remote has not been heard for a while, once for each look. What it sends
    /// then, in answer to whatever it is sent, ends the silence. The agent's own checks do not come
    /// while the wall clock is behind where it was (`agent_internal.rs`, `check_keepalive`).
    pub(super) async fn quiet(&self) {
        self.quiet.notified().await;
    }

    /// Checks until a pair works. Whether it took too long is told by [`state`](Self::state) alone.
    pub(super) async fn connect(
        &self,
        ufrag: String,
        pwd: String,
    ) -> Result<Arc<dyn Conn + Send + Sync>, webrtc_ice::Error> {
        let minder = Minder {
            agent: Arc::clone(&self.agent),
            controlling: self.controlling,
            state: Arc::clone(&self.state),
            hopeless: Arc::clone(&self.hopeless),
            quiet: Arc::clone(&self.quiet),
            disconnected_timeout: self.disconnected_timeout,
            survive: self.survive,
        };
        *lock(&self.minder) = Some(tokio::spawn(minder.run().in_current_span()));
        // Dropping the future cancels; the agent's own channel for that is never used.
        let (_cancel, cancelled) = mpsc::channel(1);
        Ok(if self.controlling {
            self.agent.dial(cancelled, ufrag, pwd).await?
        } else {
            self.agent.accept(cancelled, ufrag, pwd).await?
        })
    }

    /// Frees sockets and tasks. An agent that is merely dropped leaks them.
    pub(super) async fn close(&self) {
        if let Some(minder) = lock(&self.minder).take() {
            minder.abort();
        }
        if tokio::time::timeout(CLOSE_DEADLINE, self.agent.close())
            .await
            .is_err()
        {
            tracing::warn!("the ICE agent did not close in time");
        }
        let Some(claim) = lock(&self.claim).take() else {
            return;
        };
        let agent = Arc::clone(&self.agent);
        tokio::spawn(async move {
            for sweep in 0..SWEEPS_MAX {
                if sweep >= SWEEPS_MIN && !is_gathering(&agent).await {
                    break;
                }
                tokio::time::sleep(SWEEP_INTERVAL).await;
            }
            for candidate in agent.get_local_candidates().await.unwrap_or_default() {
                let _ = candidate.close().await;
            }
            drop(claim);
        });
    }
}

/// A session's share of [`SERVERS`]; none without servers.
type Claim = Option<SemaphorePermit<'static>>;

/// What of `urls` may be used now, and the claim to hold as long as they are.
fn claim(servers: &'static Semaphore, urls: Vec<Url>) -> (Vec<Url>, Claim) {
    let count = u32::try_from(urls.len()).unwrap_or(u32::MAX);
    if count == 0 {
        return (urls, None);
    }
    match servers.try_acquire_many(count) {
        Ok(permit) => (urls, Some(permit)),
        Err(_) => {
            tracing::warn!("too many sessions wait for ICE servers; one goes without");
            (Vec::new(), None)
        }
    }
}

/// Whether a closed agent still gathers. It does not tell, but a restart is refused for another
/// reason then.
async fn is_gathering(agent: &Agent) -> bool {
    let refusal = agent.restart(String::new(), String::new()).await;
    matches!(refusal, Err(webrtc_ice::Error::ErrRestartWhenGathering))
}

/// The lock holds a plain value, valid after any panic.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Where sockets are bound: to any port, or to those allowed.
fn udp_network(config: &RtcConfig) -> Result<UDPNetwork, webrtc_ice::Error> {
    let ports = match config.ports {
        Some(ports) => EphemeralUDP::new(ports.first(), ports.last())?,
        None => EphemeralUDP::default(),
    };
    Ok(UDPNetwork::Ephemeral(ports))
}

fn ip_filter(config: &RtcConfig) -> IpFilterFn {
    let only = config.ip_filter.clone();
    Box::new(move |ip| {
        // A link-local IPv6 address cannot be bound without its scope, which candidates do not
        // carry.
        let link_local = matches!(ip, IpAddr::V6(ip) if ip.is_unicast_link_local());
        !link_local && !ip.is_unspecified() && (only.is_empty() || only.contains(&ip))
    })
}

fn interface_filter(config: &RtcConfig) -> Option<InterfaceFilterFn> {
    let only = config.interfaces.clone();
    (!only.is_empty()).then(|| -> InterfaceFilterFn {
        Box::new(move |name| only.iter().any(|interface| interface == name))
    })
}

/// What the stack can use of `servers`. The rest is said once and passed over.
fn server_urls(servers: &[IceServer]) -> Vec<Url> {
    let mut urls = Vec::new();
    for server in servers {
        for text in &server.urls {
            match server_url(text, server) {
                Ok(url) if urls.len() < MAX_SERVERS => urls.push(url),
                Ok(_) => tracing::warn!(url = %text, "ICE server passed over: too many"),
                Err(reason) => tracing::warn!(url = %text, reason, "ICE server passed over"),
            }
        }
    }
    urls
}

fn server_url(text: &str, server: &IceServer) -> Result<Url, &'static str> {
    let mut url = Url::parse_url(text).map_err(|_| "not a stun: or turn: URL")?;
    match (url.scheme, url.proto) {
        (SchemeType::Stun, _) => {}
        (SchemeType::Turn, ProtoType::Udp) => {
            if server.username.is_empty() || server.credential.is_empty() {
                return Err("a TURN server needs a user name and a credential");
            }
            if url.host.contains(':') {
                return Err("TURN servers are reached over IPv4 only");
            }
        }
        (SchemeType::Turn, _) => return Err("TURN over TCP is not supported"),
        _ => return Err("STUN and TURN over TLS are not supported"),
    }
    url.username.clone_from(&server.username);
    url.password.clone_from(&server.credential);
    Ok(url)
}

fn parse_candidate(
    line: &str,
    mdns: bool,
) -> Result<Arc<dyn Candidate + Send + Sync>, &'static str> {
    let parsed = candidate::parse(line).map_err(|_| "not a candidate")?;
    if parsed.component != 1 {
        return Err("another component");
    }
    if parsed.transport != Transport::Udp {
        return Err("another transport than UDP");
    }
    if parsed.port == 0 {
        return Err("port 0");
    }
    match parsed.address {
        Address::Ip(ip) if ip.is_unspecified() || ip.is_multicast() => {
            return Err("not a host's address");
        }
        Address::Ip(IpAddr::V4(ip)) if ip.is_broadcast() => return Err("not a host's address"),
        Address::Mdns(_) if !mdns || parsed.kind != CandidateKind::Host => {
            return Err("an mDNS name");
        }
        Address::Ip(_) | Address::Mdns(_) => {}
    }
    // Rewritten, so that the crate's parser sees nothing that ours did not understand.
    let line = Parsed {
        extensions: "",
        ..parsed
    }
    .to_string();
    let line = line.strip_prefix("candidate:").unwrap_or(&line);
    Ok(Arc::new(
        unmarshal_candidate(line).map_err(|_| "not a candidate of this stack")?,
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server(url: &str) -> IceServer {
        IceServer {
            urls: vec![url.into()],
            username: "u".into(),
            credential: "c".into(),
        }
    }

    #[test]
    fn servers_that_work_and_those_that_cannot() {
        for url in [
            "stun:stun.example.org",
            "stun:192.0.2.1:3479",
            "turn:turn.example.org:3478",
        ] {
            assert!(server_url(url, &server(url)).is_ok(), "{url}");
        }
        assert!(server_url("turn:a.example?transport=udp", &server("")).is_ok());
        for url in [
            "turns:a.example",
            "stuns:a.example",
            "turn:a.example?transport=tcp",
            "",
            "x",
        ] {
            assert!(server_url(url, &server(url)).is_err(), "{url}");
        }
        assert!(server_url("turn:a.example", &IceServer::default()).is_err());
    }

    #[test]
    fn sessions_beyond_the_servers_that_may_be_waited_for_do_without() {
        static SERVERS: Semaphore = Semaphore::const_new(3);
        let urls = || ["stun:192.0.2.1", "stun:192.0.2.2"].map(|url| Url::parse_url(url).unwrap());
        let (first, held) = claim(&SERVERS, urls().to_vec());
        assert_eq!(first.len(), 2);
        assert_eq!(claim(&SERVERS, urls().to_vec()).0.len(), 0);
        drop(held);
        assert_eq!(claim(&SERVERS, urls().to_vec()).0.len(), 2);
        assert!(claim(&SERVERS, Vec::new()).1.is_none());
    }

    #[test]
    fn one_url_or_a_list() {
        let one: IceServer = serde_json::from_str(r#"{"urls":"stun:a"}"#).unwrap();
        let many: IceServer = serde_json::from_str(r#"{"urls":["stun:a"]}"#).unwrap();
        assert_eq!(one, many);
    }

    #[test]
    fn candidates() {
        let chromium = "candidate:568500495 1 udp 2113937151 192.0.2.2 60459 typ host \
                        generation 0 ufrag OKBb network-cost 999";
        assert_eq!(
            parse_candidate(chromium, false).unwrap().addr().port(),
            60459
        );
        assert!(parse_candidate(&format!("a={}", chromium.replace("udp", "UDP")), false).is_ok());
        let refused = [
            "candidate:1 1 udp 1 7e1f0000-0000-4000-8000-000000000000.local 5000 typ host",
            "candidate:1 2 udp 1 192.0.2.2 5000 typ host",
            "candidate:1 1 tcp 1 192.0.2.2 9 typ host tcptype active",
            "candidate:1 1 udp 1 192.0.2.2 0 typ host",
            "candidate:1 1 udp 1 0.0.0.0 5000 typ host",
            "candidate:1 1 udp 1 224.0.0.1 5000 typ host",
            "candidate:1 1 udp x 192.0.2.2 5000 typ host",
            "candidate:1 1 udp 1 192.0.2.2 5000 typ",
            "candidate:1 1 udp 1 192.0.2.2 5000 typ nothing",
            "candidate:1 1 udp 1 192.0.2.2 5000 typ srflx raddr",
            "candidate:",
            "",
        ];
        for line in refused {
            assert!(parse_candidate(line, false).is_err(), "{line}");
        }
    }
}
