//! `--bytes`: a pipe to another machine.

use crate::process::{Folder, Outcome, Process, at, broker, command};
use std::fs::File;
use std::process::Stdio;

#[tokio::test]
async fn any_bytes_arrive_as_they_are() -> Outcome {
    let broker = broker().await;
    let folder = Folder::new();
    let content: Vec<u8> = (0..3_000_000_u32)
        .map(|n| n.wrapping_mul(2_654_435_761) as u8)
        .collect();
    let (from, to) = (folder.file("from", &content), folder.path("to"));
    let mut listening = command(&["listen", "--bytes", "--id", "pipe"], &at(&broker));
    listening.stdout(Stdio::from(File::create(&to)?));
    let mut listening = Process::spawn(listening);
    listening.told("Listening").await;
    let mut connecting = command(&["connect", "pipe", "--bytes", "--wait", "0"], &at(&broker));
    connecting.stdin(Stdio::from(File::open(&from)?));
    let connecting = Process::spawn(connecting);
    connecting.ended().await.assert_code(0);
    listening.ended().await.assert_code(0);
    assert!(std::fs::read(&to)? == content);
    Ok(())
}
