//! The table that the command prints.

use std::time::Duration;

use crate::ends::Implementation;
use crate::run::Outcome;
use crate::scenario::Scenario;

/// The head of the table.
pub const HEAD: &str = "\
| scenario | ends | MiB/s | messages/s | silence ms | round trip ms | packets | lost | overflowed \
| CPU µs/packet | CPU s/GiB | result |
|---|---|---|---|---|---|---|---|---|---|---|---|";

/// A row: the run whose throughput is the median of the seeds', with the longest silence of all.
pub fn row(scenario: &Scenario, pair: [Implementation; 2], outcomes: &[Outcome]) -> String {
    let mut sorted: Vec<&Outcome> = outcomes.iter().collect();
    sorted.sort_by(|a, b| a.bytes_per_second().total_cmp(&b.bytes_per_second()));
    let Some(median) = sorted.get(sorted.len() / 2) else {
        return String::new();
    };
    let silence = outcomes
        .iter()
        .map(Outcome::silence)
        .max()
        .unwrap_or_default();
    let cells = [
        scenario.name.clone(),
        format!("{} > {}", pair[0].name(), pair[1].name()),
        format!("{:.2}", median.bytes_per_second() / f64::from(1 << 20)),
        format!("{:.0}", median.messages_per_second()),
        millis(silence),
        round_trips(&median.round_trips),
        both(|n| median.links[n].packets.to_string()),
        both(|n| median.links[n].lost.to_string()),
        both(|n| median.links[n].overflowed.to_string()),
        both(|n| cpu_per_packet(median, n)),
        cpu_per_gib(median),
        result(outcomes),
    ];
    format!("| {} |", cells.join(" | "))
}

fn both(cell: impl Fn(usize) -> String) -> String {
    format!("{} {}", cell(0), cell(1))
}

fn millis(time: Duration) -> String {
    format!("{:.2}", time.as_secs_f64() * 1e3)
}

/// Median and 99th of a hundred.
fn round_trips(times: &[Duration]) -> String {
    let mut sorted = times.to_vec();
    sorted.sort_unstable();
    match sorted
        .get(sorted.len() / 2)
        .zip(sorted.get(sorted.len() * 99 / 100))
    {
        Some((median, high)) => format!("{} ({})", millis(*median), millis(*high)),
        None => String::new(),
    }
}

fn cpu_per_packet(outcome: &Outcome, n: usize) -> String {
    let end = &outcome.ends[n];
    end.cpu.map_or("-".into(), |cpu| {
        format!("{:.2}", cpu.as_secs_f64() * 1e6 / end.packets.max(1) as f64)
    })
}

fn cpu_per_gib(outcome: &Outcome) -> String {
    let bytes: u64 = outcome.ends.iter().map(|end| end.bytes).sum();
    let [Some(first), Some(second)] = outcome.ends.map(|end| end.cpu) else {
        return "-".into();
    };
    format!(
        "{:.2}",
        (first + second).as_secs_f64() * f64::from(1 << 30) / bytes.max(1) as f64
    )
}

fn result(outcomes: &[Outcome]) -> String {
    let fault = outcomes.iter().find_map(|outcome| outcome.fault.clone());
    let late = outcomes.iter().filter(|outcome| !outcome.complete).count();
    match (fault, late) {
        (Some(fault), _) => format!("FAULT: {fault}"),
        (None, 0) => "all arrived".into(),
        (None, late) => format!("not all in time ({late} of {})", outcomes.len()),
    }
}
