//! What the program and the library log: lines on stderr, for people or as JSON.

use core::fmt;
use std::io::{self, Write as _};
use std::sync::{Mutex, PoisonError};

use clap::ValueEnum;
use tokio::sync::mpsc;
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Metadata, Subscriber};
use tracing_subscriber::filter::{FilterExt as _, LevelFilter, Targets, filter_fn};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::{FormatTime as _, SystemTime};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt as _};
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::shown;

/// Warnings that wait to be told as events of `--json`. More are only logged.
const WARNINGS_MAX: usize = 64;

/// How much to tell.
#[derive(Clone, Copy, ValueEnum)]
pub(crate) enum LogLevel {
    Off,
    Error,
    Warn,
    Info,
    Debug,
    Trace,
}

/// How log lines look.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    /// For people: time, level and message in a line.
    Text,
    /// One JSON object a line: `timestamp`, `level`, `target`, `message`, and what belongs to it.
    Json,
}

impl LogLevel {
    /// The crates below are chatty: they are heard only when asked for with `trace`.
    fn targets(self) -> Targets {
        let level = match self {
            Self::Off => LevelFilter::OFF,
            Self::Error => LevelFilter::ERROR,
            Self::Warn => LevelFilter::WARN,
            Self::Info => LevelFilter::INFO,
            Self::Debug => LevelFilter::DEBUG,
            Self::Trace => return Targets::new().with_default(LevelFilter::TRACE),
        };
        Targets::new()
            .with_target("peer", level)
            .with_target("peer_net", level)
    }
}

/// Starts logging. There are never colours: what strangers say goes through [`shown::Shown`], which
/// cannot tell their escapes from ours.
pub(crate) fn start(level: LogLevel, format: LogFormat) {
    let warnings = Targets::new().with_target("peer_net", LevelFilter::WARN);
    let warnings = warnings.and(filter_fn(is_not_told));
    let registry = tracing_subscriber::registry().with(Warnings::start().with_filter(warnings));
    // Who asked for more wants them in their place among the others.
    let twice = !matches!(level, LogLevel::Error | LogLevel::Warn);
    match format {
        LogFormat::Text => registry
            .with(
                tracing_subscriber::fmt::layer()
                    .with_ansi(false)
                    .with_target(false)
                    .with_writer(|| Stderr)
                    .with_filter(
                        level
                            .targets()
                            .and(filter_fn(move |of| twice || is_not_told(of))),
                    ),
            )
            .init(),
        LogFormat::Json => registry.with(Json.with_filter(level.targets())).init(),
    }
}

/// Whether the commands do not say it themselves: the library logs each event of a peer, and they
/// tell those that matter.
fn is_not_told(of: &Metadata<'_>) -> bool {
    of.target() != "peer_net::event"
}

/// Takes whole lines and writes them to stderr with what could steer a terminal escaped.
struct Stderr;

impl io::Write for Stderr {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let text = String::from_utf8_lossy(line);
        shown::write_stderr(text.trim_end_matches('\n'));
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// One JSON object an event.
struct Json;

impl<S: Subscriber> Layer<S> for Json {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let mut timestamp = String::new();
        // A clock that cannot be written is left out.
        let _ = SystemTime.format_time(&mut Writer::new(&mut timestamp));
        let mut object = serde_json::Map::new();
        object.insert("timestamp".to_owned(), timestamp.into());
        object.insert("level".to_owned(), event.metadata().level().as_str().into());
        object.insert("target".to_owned(), event.metadata().target().into());
        event.record(&mut JsonFields(&mut object));
        let line = shown::json(serde_json::Value::Object(object).to_string()) + "\n";
        drop(io::stderr().write_all(line.as_bytes()));
    }
}

struct JsonFields<'o>(&'o mut serde_json::Map<String, serde_json::Value>);

impl JsonFields<'_> {
    fn set(&mut self, field: &Field, value: impl Into<serde_json::Value>) {
        self.0.insert(field.name().to_owned(), value.into());
    }
}

impl Visit for JsonFields<'_> {
    fn record_bool(&mut self, field: &Field, value: bool) {
        self.set(field, value);
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.set(field, value);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.set(field, value);
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.set(field, value);
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.set(field, value);
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.set(field, format!("{value:?}"));
    }
}

/// The library's warnings, as sentences, until somebody takes this end.
static WARNINGS: Mutex<Option<mpsc::Receiver<String>>> = Mutex::new(None);

/// The library's warnings since logging started, as sentences. The first call gets them; to others
/// none come.
pub(crate) fn warnings() -> mpsc::Receiver<String> {
    let warnings = WARNINGS
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .take();
    warnings.unwrap_or_else(|| mpsc::channel(1).1)
}

struct Warnings(mpsc::Sender<String>);

impl Warnings {
    fn start() -> Self {
        let (sender, warnings) = mpsc::channel(WARNINGS_MAX);
        *WARNINGS.lock().unwrap_or_else(PoisonError::into_inner) = Some(warnings);
        Self(sender)
    }
}

impl<S: Subscriber> Layer<S> for Warnings {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        if *event.metadata().level() == Level::WARN {
            let mut text = Sentence::default();
            event.record(&mut text);
            // The log has it in any case.
            drop(self.0.try_send(format!("{}{}", text.message, text.fields)));
        }
    }
}

/// The message, and what belongs to it.
#[derive(Default)]
struct Sentence {
    message: String,
    fields: String,
}

impl Visit for Sentence {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.record_debug(field, &format_args!("{value}"));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if field.name() == "message" {
            self.message = format!("{value:?}");
        } else {
            self.fields += &format!("; {} {value:?}", field.name());
        }
    }
}
