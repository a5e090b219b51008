use std::format;
use std::vec::Vec;

use super::*;
use crate::rtc::stun::{Method, Writer};

const SOCKET: SocketId = SocketId(0);
const OTHER_SOCKET: SocketId = SocketId(1);
const DATA: [u8; 20] = [23; 20];
const SECOND: Duration = Duration::from_secs(1);

fn address(port: u16) -> SocketAddr {
    SocketAddr::from(([192, 0, 2, 1], port))
}

fn at(seconds: u64) -> Instant {
    Instant::ZERO + Duration::from_secs(seconds)
}

fn stun(class: Class, id: u8, user: Option<&str>) -> Vec<u8> {
    let mut buffer = [0; 128];
    let mut writer = Writer::new(&mut buffer, class, Method::BINDING, [id; 12]);
    if let Some(user) = user {
        writer = writer.put(Attribute::Username(user.as_bytes()));
    }
    writer.finish().unwrap().to_vec()
}

/// A check for the session with that ufrag.
fn check(ufrag: &str) -> Vec<u8> {
    stun(Class::Request, 1, Some(&format!("{ufrag}:theirs")))
}

#[test]
fn a_check_is_for_whom_it_names() {
    let mut memory = Resources::<4, 4>::new();
    let mut stack = Stack::new(memory.lend());
    let a = stack.add("aaaaaaaa").unwrap();
    let b = stack.add("bbbbbbbb").unwrap();
    let mut route = |datagram: &[u8]| stack.route(at(0), SOCKET, address(1), datagram);
    assert_eq!(route(&check("aaaaaaaa")), Route::Session(a));
    assert_eq!(route(&check("bbbbbbbb")), Route::Session(b));
    for nobody in ["cccccccc", "aaaa", "aaaaaaaab", ""] {
        assert_eq!(route(&check(nobody)), Route::Nobody, "{nobody}");
    }
    let unnamed = stun(Class::Request, 1, None);
    assert_eq!(route(&unnamed), Route::Nobody);
    let indication = stun(Class::Indication, 1, Some("aaaaaaaa:theirs"));
    assert_eq!(route(&indication), Route::Nobody);
    let bare = stun(Class::Request, 1, Some("aaaaaaaa"));
    assert_eq!(route(&bare), Route::Nobody);
}

#[test]
fn an_answer_is_for_who_asked_and_a_request_that_was_repeated_is_noted_once() {
    let mut memory = Resources::<4, 2>::new();
    let mut stack = Stack::new(memory.lend());
    let a = stack.add("aaaaaaaa").unwrap();
    let b = stack.add("bbbbbbbb").unwrap();
    let route = |stack: &mut Stack<'_>, id| {
        let answer = stun(Class::Success, id, None);
        stack.route(at(0), SOCKET, address(1), &answer)
    };
    stack.sent(a, &stun(Class::Request, 1, None));
    stack.sent(b, &stun(Class::Request, 2, None));
    for _ in 0..5 {
        stack.sent(b, &stun(Class::Request, 2, None));
        stack.sent(b, &stun(Class::Success, 3, None));
        stack.sent(b, &DATA);
    }
    assert_eq!(route(&mut stack, 1), Route::Session(a));
    assert_eq!(route(&mut stack, 2), Route::Session(b));
    assert_eq!(route(&mut stack, 3), Route::Nobody);

    // Of more than there is memory for the oldest is forgotten.
    stack.sent(b, &stun(Class::Request, 4, None));
    assert_eq!(route(&mut stack, 1), Route::Nobody);
    assert_eq!(route(&mut stack, 4), Route::Session(b));
    // So are those of a session that is over.
    stack.remove(b);
    assert_eq!(route(&mut stack, 4), Route::Nobody);
}

#[test]
fn data_is_for_who_claims_its_source_on_that_socket() {
    let mut memory = Resources::<4, 4>::new();
    let mut stack = Stack::new(memory.lend());
    let a = stack.add("aaaaaaaa").unwrap();
    let b = stack.add("bbbbbbbb").unwrap();
    assert!(stack.claim(at(0), a, SOCKET, address(1)));
    assert!(stack.claim(at(0), b, OTHER_SOCKET, address(1)));
    assert!(
        !stack.claim(at(0), b, SOCKET, address(1)),
        "it is another's"
    );
    let channel_data = [64; 8];
    for data in [&DATA[..], &channel_data] {
        assert_eq!(
            stack.route(at(1), SOCKET, address(1), data),
            Route::Session(a)
        );
        assert_eq!(
            stack.route(at(1), OTHER_SOCKET, address(1), data),
            Route::Session(b)
        );
    }
    // Only DTLS may be of somebody who has moved.
    assert_eq!(
        stack.route(at(1), SOCKET, address(2), &DATA),
        Route::Unclaimed
    );
    assert_eq!(
        stack.route(at(1), SOCKET, address(2), &channel_data),
        Route::Nobody
    );
    for first in (4..20).chain(80..=255) {
        assert_eq!(
            stack.route(at(1), SOCKET, address(1), &[first; 30]),
            Route::Nobody
        );
    }
    assert_eq!(stack.route(at(1), SOCKET, address(1), &[]), Route::Nobody);
}

/// Where data would be another's there can be no path.
#[test]
fn a_check_from_a_source_of_another_session_is_nobodys_while_that_one_lives() {
    let mut memory = Resources::<4, 4>::new();
    let mut stack = Stack::new(memory.lend());
    let a = stack.add("aaaaaaaa").unwrap();
    let b = stack.add("bbbbbbbb").unwrap();
    assert!(stack.claim(at(0), a, SOCKET, address(1)));
    let route =
        |stack: &mut Stack<'_>, now| stack.route(now, SOCKET, address(1), &check("bbbbbbbb"));
    assert_eq!(route(&mut stack, at(14)), Route::Nobody);
    stack.sent(b, &stun(Class::Request, 9, None));
    let answer = stun(Class::Success, 9, None);
    assert_eq!(
        stack.route(at(14), SOCKET, address(1), &answer),
        Route::Nobody
    );

    assert!(stack.claim(at(14), a, SOCKET, address(1)));
    assert_eq!(route(&mut stack, at(28)), Route::Nobody);
    assert_eq!(route(&mut stack, at(29)), Route::Session(b));
    assert!(stack.claim(at(29), b, SOCKET, address(1)));
    assert_eq!(
        stack.route(at(29), SOCKET, address(1), &DATA),
        Route::Session(b)
    );
    assert!(!stack.claim(at(30), a, SOCKET, address(1)));

    stack.remove(b);
    assert!(stack.claim(at(30), a, SOCKET, address(1)));
}

#[test]
fn a_turn_server_stays_reserved_whatever_else_is_claimed() {
    let mut memory = Resources::<4, 4>::new();
    let mut stack = Stack::new(memory.lend());
    let a = stack.add("aaaaaaaa").unwrap();
    let b = stack.add("bbbbbbbb").unwrap();
    let server = address(3478);
    assert!(stack.reserve(a, SOCKET, server));
    assert!(!stack.reserve(b, SOCKET, server));
    assert!(stack.reserve(b, OTHER_SOCKET, server));
    for port in 0..20 {
        assert!(stack.claim(at(u64::from(port)), a, SOCKET, address(port)));
        assert!(stack.claim(at(20), a, SOCKET, server));
    }
    assert_eq!(
        stack.route(at(100), SOCKET, server, &[64; 8]),
        Route::Session(a)
    );
    assert!(!stack.claim(at(100), b, SOCKET, server));
    // Beside it there is room for the newest of the others.
    for port in 0..20 {
        let routed = stack.route(at(20), SOCKET, address(port), &DATA);
        let is_kept = usize::from(port) >= 20 - (SOURCES_MAX - 1);
        assert_eq!(routed == Route::Session(a), is_kept, "{port}");
    }

    // One that has nothing but servers claims no more.
    for socket in 2..=SOURCES_MAX {
        assert!(stack.reserve(b, SocketId(u8::try_from(socket).unwrap()), server));
    }
    assert!(!stack.claim(at(21), b, SOCKET, address(7000)));
    assert!(!stack.reserve(b, SOCKET, address(7000)));
}

#[test]
fn places_are_used_again_and_names_are_not() {
    let mut memory = Resources::<2, 4>::new();
    let mut stack = Stack::new(memory.lend());
    assert_eq!(stack.add("short"), Err(AddError::NoUfrag));
    let a = stack.add("aaaaaaaa").unwrap();
    assert_eq!(stack.add("aaaaaaaa"), Err(AddError::Taken));
    let b = stack.add("bbbbbbbb").unwrap();
    assert_eq!(stack.add("cccccccc"), Err(AddError::Full));
    stack.remove(a);
    let c = stack.add("cccccccc").unwrap();
    assert_eq!(c.place(), a.place());
    assert_ne!(c, a);

    // What is done for one that is over harms nobody.
    stack.remove(a);
    assert!(!stack.claim(at(0), a, SOCKET, address(1)));
    assert!(!stack.reserve(a, SOCKET, address(1)));
    assert_eq!(stack.set_ufrag(a, "dddddddd"), Ok(()));
    let mut route = |ufrag| stack.route(at(0), SOCKET, address(1), &check(ufrag));
    assert_eq!(route("dddddddd"), Route::Nobody);
    assert_eq!(route("cccccccc"), Route::Session(c));

    assert_eq!(stack.set_ufrag(b, "cccccccc"), Err(AddError::Taken));
    assert_eq!(stack.set_ufrag(b, "bbbbbbbb"), Ok(()));
    assert_eq!(stack.set_ufrag(b, "eeeeeeee"), Ok(()));
    let mut route = |ufrag| stack.route(at(0), SOCKET, address(1), &check(ufrag));
    assert_eq!(route("bbbbbbbb"), Route::Nobody);
    assert_eq!(route("eeeeeeee"), Route::Session(b));
}

#[test]
fn of_those_on_a_socket_the_ones_silent_longest_hear_of_unclaimed_data() {
    let mut memory = Resources::<8, 4>::new();
    let mut stack = Stack::new(memory.lend());
    let names = ["a", "b", "c", "d", "e", "f", "g", "h"].map(|name| name.repeat(8));
    let ids = names.each_ref().map(|name| stack.add(name).unwrap());
    let times = [7, 3, 9, 1, 8, 2];
    for (port, (id, time)) in (0..).zip(ids.into_iter().zip(times)) {
        assert!(stack.claim(at(time), id, SOCKET, address(port)));
    }
    assert!(stack.claim(at(0), ids[6], OTHER_SOCKET, address(9)));
    assert!(stack.reserve(ids[7], SOCKET, address(10)));
    let heard = |stack: &Stack<'_>| stack.on_socket(SOCKET).collect::<Vec<_>>();
    assert_eq!(heard(&stack), [ids[3], ids[5], ids[1], ids[0]]);
    // One that was heard a moment ago from one of its sources is not silent.
    assert!(stack.claim(at(10), ids[3], SOCKET, address(11)));
    assert_eq!(heard(&stack), [ids[5], ids[1], ids[0], ids[4]]);
    assert_eq!(stack.on_socket(SocketId(5)).count(), 0);
}

/// Whatever comes in whatever order, no source has two sessions and nobody's data goes to another.
#[test]
fn no_source_ever_has_two_sessions() {
    let mut state = 7_u64;
    let mut draw = |below: u64| {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (state >> 33) % below
    };
    let mut memory = Resources::<6, 8>::new();
    let mut stack = Stack::new(memory.lend());
    let mut ids = Vec::new();
    let mut now = Instant::ZERO;
    let mut routed = 0;
    for round in 0..20_000 {
        now = now + SECOND * u32::try_from(draw(3)).unwrap();
        let (socket, source) = (
            SocketId(u8::try_from(draw(2)).unwrap()),
            address(u16::try_from(draw(6)).unwrap()),
        );
        match draw(8) {
            0 => ids.extend(stack.add(&format!("{round:08}"))),
            1 if !ids.is_empty() => {
                let id = ids.swap_remove(usize::try_from(draw(ids.len() as u64)).unwrap());
                stack.remove(id);
                let routed = stack.route(now, socket, source, &DATA);
                assert_ne!(routed, Route::Session(id));
            }
            _ if ids.is_empty() => {}
            2 => drop(stack.reserve(ids[0], socket, source)),
            _ => {
                let id = ids[usize::try_from(draw(ids.len() as u64)).unwrap()];
                let before = stack.route(now, socket, source, &DATA);
                let claimed = stack.claim(now, id, socket, source);
                let after = stack.route(now, socket, source, &DATA);
                if claimed {
                    routed += 1;
                    assert_eq!(after, Route::Session(id));
                } else {
                    assert!(after == before && before != Route::Session(id));
                }
            }
        }
        let sources = stack
            .memory
            .sessions
            .iter()
            .flat_map(|place| &place.sources);
        let mut all: Vec<_> = sources.map(|it| (it.socket.0, it.address)).collect();
        let count = all.len();
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), count);
    }
    assert!(routed > 1_000, "{routed}");
}
