//! What strangers say does not steer a terminal.

use core::future::IntoFuture as _;

use crate::process::{Folder, Outcome, Process, at, broker, command, peer, soon};

/// `script` gives the command a terminal; what it shows there goes to stdout.
fn on_a_terminal(args: &[&str], more: &[String]) -> tokio::process::Command {
    let words = args.iter().copied().chain(more.iter().map(String::as_str));
    let quoted: Vec<_> = words.map(|word| format!("'{word}'")).collect();
    let line = format!("{} {}", env!("CARGO_BIN_EXE_peer"), quoted.join(" "));
    let mut command = tokio::process::Command::new("script");
    command
        .args(["--quiet", "--return", "--command", &line, "/dev/null"])
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .kill_on_drop(true);
    command
}

const HOSTILE: &str = "a\u{1b}[2Jb\u{9b}31m\u{202e}c\nd";

#[tokio::test]
async fn messages_on_a_terminal_and_names_on_stderr_are_escaped() -> Outcome {
    let broker = broker().await;
    let bob = peer(&broker).open().await?;
    for json in [false, true] {
        let id = if json { "json" } else { "plain" };
        let args = ["listen", "--id", id, "--json"];
        let args = if json { &args[..] } else { &args[..3] };
        let mut process = Process::spawn(on_a_terminal(args, &at(&broker)));
        // stdout and stderr are one there.
        let ready = if json { "open" } else { "Listening" };
        while !process.line().await.contains(ready) {}
        let connection = soon(bob.connect(id).into_future()).await?;
        connection.send(HOSTILE).await?;
        let line = loop {
            let line = process.line().await;
            if line.contains("2J") {
                break line;
            }
        };
        let shown = line.trim_end_matches('\r');
        assert!(
            !shown.contains(|c: char| c.is_control() || c == '\u{202e}'),
            "{shown:?}"
        );
        assert!(shown.contains("\\n"), "{shown:?}");
    }
    // In a pipe it stays as it was.
    let mut process = Process::start(&["listen", "--id", "pipe"], &at(&broker));
    process.told("Listening").await;
    let connection = soon(bob.connect("pipe").into_future()).await?;
    connection.send("a\u{1b}[2J").await?;
    assert_eq!(process.line().await, "a\u{1b}[2J");

    // What comes from elsewhere reaches stderr escaped, too.
    let folder = Folder::new();
    let name = folder.path("no\u{1b}[31m\u{202e}such");
    let ended = Process::start(&["send", "bob", &name], &at(&broker))
        .ended()
        .await;
    ended.assert_code(6);
    assert!(
        ended.stderr.contains("no\\u{1b}[31m\\u{202e}such"),
        "{}",
        ended.stderr
    );
    Ok(())
}

#[tokio::test]
async fn logs_are_plain_text_or_json() -> Outcome {
    let broker = broker().await;
    let bob = peer(&broker).open().await?;
    for format in ["text", "json"] {
        let args = ["listen", "--id", format, "--log-format", format];
        let passed_over = ["--ice-server", "stuns:192.0.2.1:5349"];
        let args = [&args[..], &passed_over].concat();
        let mut process = Process::spawn(command(&args, &at(&broker)));
        // Said at the start by one stack, and by the other when it is asked for a connection.
        let (mut connection, mut line) = (None, None);
        while connection.is_none() || line.is_none() {
            let said = process.told("").await;
            if said.contains("Listening") {
                connection = Some(soon(bob.connect(format).into_future()).await?);
            } else if said.contains("passed over") {
                line = Some(said);
            }
        }
        let line = line.expect("it was said");
        assert!(!line.contains('\u{1b}'), "{line}");
        if format == "json" {
            let line: serde_json::Value = serde_json::from_str(&line)?;
            let target = line["target"].as_str().unwrap_or_default();
            assert!(
                line["level"] == "WARN" && target.starts_with("peer_net"),
                "{line}"
            );
            assert!(
                line["timestamp"].is_string() && line["url"].is_string(),
                "{line}"
            );
        } else {
            assert!(line.contains("WARN"), "{line}");
        }
        drop(connection);
        process.signal("TERM").await;
        let ended = process.ended().await;
        ended.assert_code(0);
        assert!(!ended.stderr.contains("is lost"), "{}", ended.stderr);
    }
    Ok(())
}
