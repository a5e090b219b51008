//! The laboratory as a command. See the crate's documentation.

use std::process::ExitCode;

use peer_sctp_lab::ends::Implementation;
use peer_sctp_lab::scenario::{Scenario, all};
use peer_sctp_lab::table;
use peer_sctp_lab::trace::describe;

const USAGE: &str = "\
usage: peer-sctp-lab list  [FILTER…]
       peer-sctp-lab pairs
       peer-sctp-lab table [--pairs A:B,…] [--seeds N] [--from SEED] [--exact NAME] [FILTER…]
       peer-sctp-lab trace [--pairs A:B] [--from SEED] [--exact NAME] FILTER…

A filter is a word of a scenario's name (`list` shows them); a scenario has to have all of them.
Ends are ours, dcsctp, sctp-proto and webrtc-sctp. Without --pairs each implementation meets
itself; `pairs` shows all that there are.
`head` and `rows` are the two parts of `table`.";

fn main() -> ExitCode {
    match Arguments::parse().and_then(|arguments| arguments.run()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(why) => {
            eprintln!("{why}\n\n{USAGE}");
            ExitCode::from(2)
        }
    }
}

struct Arguments {
    command: String,
    pairs: Vec<[Implementation; 2]>,
    seeds: u64,
    from: u64,
    exact: Option<String>,
    filters: Vec<String>,
}

impl Arguments {
    fn parse() -> Result<Self, String> {
        let mut words = std::env::args().skip(1);
        let mut arguments = Self {
            command: words.next().ok_or("no command")?,
            pairs: Implementation::ALL.map(|one| [one; 2]).to_vec(),
            seeds: 1,
            from: 1,
            exact: None,
            filters: Vec::new(),
        };
        while let Some(word) = words.next() {
            let mut value = || words.next().ok_or(format!("{word} wants a value"));
            match word.as_str() {
                "--pairs" => {
                    arguments.pairs = value()?.split(',').map(pair).collect::<Result<_, _>>()?;
                }
                "--seeds" => arguments.seeds = number(&value()?)?,
                "--exact" => arguments.exact = Some(value()?),
                "--from" => arguments.from = number(&value()?)?,
                option if option.starts_with("--") => return Err(format!("no option {option}")),
                _ => arguments.filters.push(word),
            }
        }
        Ok(arguments)
    }

    /// Whether all went well.
    fn run(&self) -> Result<bool, String> {
        match self.command.as_str() {
            "list" => {
                for scenario in self.scenarios()? {
                    println!("{}", scenario.name);
                }
                Ok(true)
            }
            "pairs" => {
                let all = Implementation::ALL.map(Implementation::name);
                let pairs = all
                    .iter()
                    .flat_map(|a| all.iter().map(move |b| format!("{a}:{b}")));
                println!("{}", pairs.collect::<Vec<_>>().join(","));
                Ok(true)
            }
            "head" => {
                println!("{}", table::HEAD);
                Ok(true)
            }
            "rows" => self.rows(),
            "table" => {
                println!("{}", table::HEAD);
                self.rows()
            }
            "trace" => self.trace(),
            other => Err(format!("no command {other}")),
        }
    }

    fn rows(&self) -> Result<bool, String> {
        let mut well = true;
        for scenario in self.scenarios()? {
            for &pair in &self.pairs {
                let outcomes: Vec<_> = (self.from..self.from + self.seeds)
                    .map(|seed| scenario.run(pair, seed, &mut |_, _, _| ()))
                    .collect();
                println!("{}", table::row(&scenario, pair, &outcomes));
                well &= outcomes.iter().all(|outcome| outcome.fault.is_none());
            }
        }
        Ok(well)
    }

    fn trace(&self) -> Result<bool, String> {
        let (scenarios, pair) = (self.scenarios()?, self.pairs[0]);
        let scenario = scenarios.first().ok_or("no such scenario")?;
        eprintln!("{}, {} > {}", scenario.name, pair[0].name(), pair[1].name());
        let outcome = scenario.run(pair, self.from, &mut |at, n, packet| {
            let arrow = ["->", "<-"][n];
            println!(
                "{:12.6} {arrow} {}",
                at.as_secs_f64() * 1e3,
                describe(packet)
            );
        });
        eprintln!(
            "{}",
            table::row(scenario, pair, std::slice::from_ref(&outcome))
        );
        Ok(outcome.fault.is_none())
    }

    fn scenarios(&self) -> Result<Vec<Scenario>, String> {
        let mut scenarios = all();
        scenarios.retain(|scenario| {
            let words: Vec<_> = scenario.name.split(' ').collect();
            let exact = self.exact.as_ref();
            exact.is_none_or(|name| *name == scenario.name)
                && self
                    .filters
                    .iter()
                    .all(|filter| words.contains(&filter.as_str()))
        });
        if scenarios.is_empty() {
            Err("no scenario has these words".into())
        } else {
            Ok(scenarios)
        }
    }
}

fn pair(text: &str) -> Result<[Implementation; 2], String> {
    let one = |name| Implementation::named(name).ok_or(format!("no implementation {name}"));
    let (first, second) = text.split_once(':').unwrap_or((text, text));
    Ok([one(first)?, one(second)?])
}

fn number(text: &str) -> Result<u64, String> {
    text.parse().map_err(|_| format!("{text} is no number"))
}
