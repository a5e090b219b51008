//! What the log says around its lines.

use std::sync::{Arc, Mutex};

use tracing_subscriber::layer::{Context, Layer, SubscriberExt as _};
use tracing_subscriber::registry::{LookupSpan, Registry};

use super::*;

/// The target of a line, and the names of the spans around it.
type Line = (String, Vec<&'static str>);

#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<Line>>>);

impl<S: tracing::Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Lines {
    fn on_event(&self, event: &tracing::Event<'_>, context: Context<'_, S>) {
        let spans = context.event_scope(event).into_iter().flatten();
        let names = spans.map(|span| span.name()).collect();
        let target = event.metadata().target().to_owned();
        self.0.lock().expect("no panic").push((target, names));
    }
}

/// A line about a connection names it, and so its peer, in whatever task it was written.
#[tokio::test]
async fn lines_of_a_session_stand_in_its_connection() -> Outcome {
    let lines = Lines::default();
    // While there is one subscriber alone, a line is wanted or not for good by what the thread has
    // that comes to it first, and that may be another test's.
    let _another = tracing::Dispatch::new(Registry::default());
    let _guard = tracing::subscriber::set_default(Registry::default().with(lines.clone()));
    let broker = broker().await;
    // The native stack says how each association ended.
    let open = |id| {
        let builder = peer_tests::builder(&broker, Stack::Native);
        builder.id(id).open()
    };
    let (alice, bob) = (soon(open("alice")).await?, soon(open("bob")).await?);
    let (ours, theirs) = peer_tests::connected(&alice, &bob, Serialization::Binary, false).await;
    ours.send("hello").await?;
    soon(theirs.recv()).await?;
    ours.close();
    soon(theirs.closed()).await;
    for peer in [alice, bob] {
        soon(peer.shutdown()).await;
    }
    let lines = lines.0.lock().expect("no panic");
    let rtc: Vec<_> = lines
        .iter()
        .filter(|(target, _)| target.starts_with("peer_net::rtc"))
        .collect();
    assert!(!rtc.is_empty());
    for (target, spans) in rtc {
        assert_eq!(spans[..], ["connection", "peer"], "{target}");
    }
    Ok(())
}
