//! What strangers, dead servers and clocks do to the agent.

use core::net::SocketAddr;

use ring::hmac::{HMAC_SHA1_FOR_LEGACY_USE_ONLY, Key, sign};
use tokio::net::UdpSocket;

use super::*;

/// The value of a line of an SDP.
fn line<'a>(sdp: &'a str, name: &str) -> &'a str {
    sdp.lines()
        .find_map(|line| line.strip_prefix(name))
        .unwrap()
}

/// A connectivity check (RFC 8445, section 7.2) of a controlled agent.
fn check(transaction: u32, username: &str, password: &str) -> Vec<u8> {
    fn attribute(message: &mut Vec<u8>, kind: u16, value: &[u8]) {
        message.extend_from_slice(&kind.to_be_bytes());
        message.extend_from_slice(&(value.len() as u16).to_be_bytes());
        message.extend_from_slice(value);
        message.resize(message.len().next_multiple_of(4), 0);
        let length = (message.len() - 20) as u16;
        message[2..4].copy_from_slice(&length.to_be_bytes());
    }
    let mut message = vec![0, 1, 0, 0, 0x21, 0x12, 0xa4, 0x42];
    message.extend_from_slice(&[&[0; 8][..], &transaction.to_be_bytes()].concat());
    attribute(&mut message, 0x0006, username.as_bytes());
    attribute(&mut message, 0x0024, &[0x6e, 0, 0x1e, 0xff]);
    attribute(&mut message, 0x8029, &[7; 8]);
    // The signature covers a length that counts it too.
    let mut signed = message.clone();
    attribute(&mut signed, 0x0008, &[0; 20]);
    signed.truncate(message.len());
    let key = Key::new(HMAC_SHA1_FOR_LEGACY_USE_ONLY, password.as_bytes());
    attribute(&mut message, 0x0008, sign(&key, &signed).as_ref());
    // So does the fingerprint.
    let mut covered = message.clone();
    attribute(&mut covered, 0x8028, &[0; 4]);
    covered.truncate(message.len());
    let fingerprint = crc32(&covered) ^ 0x5354_554e;
    attribute(&mut message, 0x8028, &fingerprint.to_be_bytes());
    message
}

/// CRC-32 of ISO 3309.
fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(u32::MAX, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| {
            (crc >> 1) ^ (0xedb8_8320 & (crc & 1).wrapping_neg())
        })
    })
}

/// Checks from `count` addresses until each is answered.
async fn check_from(count: u32, target: SocketAddr, username: &str, password: &str) {
    for transaction in 0..count {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let check = check(transaction, username, password);
        let mut answer = [0; 512];
        let answered = async {
            loop {
                socket.send_to(&check, target).await.unwrap();
                let wait = socket.recv_from(&mut answer);
                // The agent checks back from the same port.
                if let Ok(Ok((length, _))) = timeout(Duration::from_millis(200), wait).await
                    && answer[..length].starts_with(&[1, 1])
                {
                    return;
                }
            }
        };
        timeout(PATIENCE, answered)
            .await
            .expect("the check is answered");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_remote_that_checks_from_everywhere_is_left_or_harmless() {
    let config = Arc::new(config());
    let (a, mut from_a, offer) = offer_of(&config).await;
    let (sender, mut from_b) = mpsc::channel(16);
    let _b = answer(config, offer.clone(), sender);
    let Some(SessionEvent::LocalDescription(answer)) = from_b.recv().await else {
        panic!("the description comes first");
    };
    let username = format!(
        "{}:{}",
        line(&offer, "a=ice-ufrag:"),
        line(&answer, "a=ice-ufrag:")
    );
    let password = line(&offer, "a=ice-pwd:");
    let target = loop {
        if let Some(SessionEvent::LocalCandidate(candidate)) = from_a.recv().await {
            let port = candidate.split(' ').nth(5).unwrap().parse().unwrap();
            break SocketAddr::from(([127, 0, 0, 1], port));
        }
    };
    a.apply_answer(answer);

    check_from(100, target, &username, password).await;
    while let Ok(event) = from_a.try_recv() {
        assert!(matches!(event, SessionEvent::IceState(_)), "{event:?}");
    }
    if stacks()[0] != Stack::WebrtcRs {
        // Its tables do not grow: of addresses that only checks show, old ones give way.
        check_from(100, target, &username, line(&offer, "a=ice-pwd:")).await;
        a.close();
        assert!(matches!(last(&mut from_a).await, SessionEvent::Closed));
        return;
    }
    let flood = tokio::spawn(async move {
        let password = line(&offer, "a=ice-pwd:").to_owned();
        check_from(100, target, &username, &password).await;
    });
    let end = last(&mut from_a).await;
    flood.abort();
    let SessionEvent::Failed(RtcFailure::Ice, why) = end else {
        panic!("unexpected {end:?}");
    };
    assert!(why.contains("too many addresses"), "{why}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn closing_while_servers_are_waited_for_leaves_nothing_behind() {
    // Bound and silent.
    let dead = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let port = dead.local_addr().unwrap().port();
    let config = Arc::new(RtcConfig {
        ice_servers: vec![IceServer {
            urls: vec![
                format!("stun:127.0.0.1:{port}"),
                format!("turn:127.0.0.1:{port}"),
            ],
            username: "peer".into(),
            credential: "secret".into(),
        }],
        ..config()
    });
    let metrics = Handle::current().metrics();
    let before = metrics.num_alive_tasks();
    for round in 0..50 {
        let (session, mut events, _) = offer_of(&config).await;
        if round % 2 == 0 {
            // Once something was gathered.
            while !matches!(events.recv().await, Some(SessionEvent::LocalCandidate(_))) {}
        }
        drop(session);
        let end = last(&mut events).await;
        assert!(matches!(end, SessionEvent::Closed), "{end:?}");
    }
    settle(before).await;
}
