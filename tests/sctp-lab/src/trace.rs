//! Packets in words.

use std::fmt::Write;

/// The chunks of an SCTP packet, in a line.
pub fn describe(packet: &[u8]) -> String {
    let mut line = format!("{} B:", packet.len());
    let mut rest = packet.get(12..).unwrap_or_default();
    while let Some((head, _)) = rest.split_first_chunk::<4>() {
        let length = usize::from(u16::from_be_bytes([head[2], head[3]])).max(4);
        let Some(chunk) = rest.get(..length) else {
            line.push_str(" cut");
            break;
        };
        line.push(' ');
        line.push_str(&describe_chunk(head[0], head[1], chunk));
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    line
}

fn describe_chunk(kind: u8, flags: u8, chunk: &[u8]) -> String {
    let word = |at: usize| {
        chunk
            .get(at..at + 4)
            .map_or(0, |w| u32::from_be_bytes([w[0], w[1], w[2], w[3]]))
    };
    let half = |at: usize| {
        chunk
            .get(at..at + 2)
            .map_or(0, |h| u16::from_be_bytes([h[0], h[1]]))
    };
    match kind {
        0 => {
            let flags: String = [(8, 'I'), (4, 'U'), (2, 'B'), (1, 'E')]
                .into_iter()
                .filter_map(|(bit, letter)| (flags & bit != 0).then_some(letter))
                .collect();
            let length = chunk.len().saturating_sub(16);
            format!(
                "DATA {} {flags} stream {} ssn {} {length} B",
                word(4),
                half(8),
                half(10)
            )
        }
        1 => format!("INIT tag {:x} window {} tsn {}", word(4), word(8), word(16)),
        2 => format!(
            "INIT-ACK tag {:x} window {} tsn {}",
            word(4),
            word(8),
            word(16)
        ),
        3 => {
            let (gaps, doubles) = (usize::from(half(12)), usize::from(half(14)));
            let mut text = format!("SACK {} window {}", word(4), word(8));
            for gap in 0..gaps {
                let at = 16 + 4 * gap;
                write!(text, " +{}-{}", half(at), half(at + 2)).expect("a string takes all");
            }
            for double in 0..doubles {
                write!(text, " twice {}", word(16 + 4 * (gaps + double))).expect("as above");
            }
            text
        }
        4 => "HEARTBEAT".into(),
        5 => "HEARTBEAT-ACK".into(),
        6 => "ABORT".into(),
        7 => format!("SHUTDOWN {}", word(4)),
        8 => "SHUTDOWN-ACK".into(),
        9 => "ERROR".into(),
        10 => "COOKIE-ECHO".into(),
        11 => "COOKIE-ACK".into(),
        14 => "SHUTDOWN-COMPLETE".into(),
        130 => "RE-CONFIG".into(),
        192 => format!("FORWARD-TSN {}", word(4)),
        other => format!("chunk {other}"),
    }
}
