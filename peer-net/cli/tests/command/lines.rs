//! Lines, like netcat.

use core::future::IntoFuture as _;

use crate::process::{Outcome, Process, at, broker, peer, run, soon};
use crate::shared::limited;

#[tokio::test]
async fn a_good_line_before_one_that_is_not_text_is_not_lost() -> Outcome {
    let broker = broker().await;
    let bob = peer(&broker).id("bob").open().await?;
    let mut process = Process::start(&["connect", "bob"], &at(&broker));
    let connection = soon(bob.accept()).await.expect("it comes");
    process.write(b"good\n\xff\xfe\n").await;
    assert_eq!(soon(connection.recv()).await?, Some("good".into()));
    let ended = process.ended().await;
    ended.assert_code(1);
    assert!(ended.stderr.contains("UTF-8"), "{}", ended.stderr);
    Ok(())
}

#[tokio::test]
async fn waiting_for_replies_counts_what_arrives() -> Outcome {
    let broker = broker().await;
    let bob = peer(&broker).id("bob").open().await?;
    let mut process = Process::start(&["connect", "bob", "--wait", "1"], &at(&broker));
    let connection = soon(bob.accept()).await.expect("it comes");
    process.end();
    // Each comes within the wait of the one before, and nothing is printed of what is not read yet.
    for number in 0..4 {
        tokio::time::sleep(core::time::Duration::from_millis(600)).await;
        connection.send(&number.to_string()).await?;
    }
    for number in 0..4 {
        assert_eq!(process.line().await, number.to_string());
    }
    process.ended().await.assert_code(0);
    Ok(())
}

#[tokio::test]
async fn many_short_lines_are_printed_fast_and_all() -> Outcome {
    const LINES: usize = 50_000;
    let broker = broker().await;
    let bob = peer(&broker).open().await?;
    let mut process = Process::start(&["listen", "--id", "many"], &at(&broker));
    process.told("Listening").await;
    let connection = soon(bob.connect("many").reliable(true).into_future()).await?;
    let started = std::time::Instant::now();
    let sending = async {
        for number in 0..LINES {
            connection.send(&number.to_string()).await?;
        }
        Ok::<_, peer_net::SendError>(())
    };
    let reading = async {
        for number in 0..LINES {
            assert_eq!(process.line().await, number.to_string());
        }
        Ok(())
    };
    tokio::try_join!(sending, reading)?;
    println!(
        "{:.0} lines/s",
        LINES as f64 / started.elapsed().as_secs_f64()
    );
    Ok(())
}

/// As many as `PEER_TEST_LINES` says, with as many on their way back.
#[tokio::test]
async fn short_lines_of_two_commands_arrive_in_order() -> Outcome {
    /// Lines.
    const BLOCK: usize = 1000;
    let lines = std::env::var("PEER_TEST_LINES");
    let lines: usize = lines.map_or(2000, |text| text.parse().expect("PEER_TEST_LINES: lines"));
    let broker = broker().await;
    let mut listening = Process::start(&["listen", "--id", "many"], &at(&broker));
    listening.told("Listening").await;
    let mut connected = Process::start(&["connect", "many", "--reliable"], &at(&broker));
    listening.told("connected.").await;
    let (there, back) = (
        |number: usize| format!("{number:06}"),
        |number: usize| format!("r{number}"),
    );
    let writing = connected.writing((0..lines).map(|number| there(number) + "\n").collect());
    for number in 0..lines {
        // A `listen` does not wait for who is slow: no more is on the way than it keeps for one.
        if number % BLOCK == 0 {
            let block = number..lines.min(number + BLOCK);
            let block: String = block.map(|number| back(number) + "\n").collect();
            listening.write(block).await;
        }
        assert_eq!(listening.line().await, there(number));
        assert_eq!(connected.line().await, back(number));
    }
    // The end of stdin ends the command.
    drop(writing.await?);
    connected.ended().await.assert_code(0);
    Ok(())
}

#[tokio::test]
async fn the_address_of_a_broker_that_is_gone_is_told_once() -> Outcome {
    let broker = broker().await;
    let options = at(&broker);
    broker.shutdown().await;
    let ended = run(&["connect", "bob"], &options, "").await;
    ended.assert_code(3);
    assert_eq!(ended.stderr.lines().count(), 1, "{}", ended.stderr);
    Ok(())
}

#[tokio::test]
async fn who_lacks_descriptors_says_so() -> Outcome {
    let broker = broker().await;
    let _bob = peer(&broker).id("bob").open().await?;
    // Enough for the broker, not for a connection.
    let more = at(&broker);
    let args: Vec<_> = ["connect", "bob"]
        .into_iter()
        .chain(more.iter().map(String::as_str))
        .collect();
    let ended = Process::spawn(limited(&args, 10)).ended().await;
    assert!(
        ended.code.is_some_and(|code| code != 0 && code != 101),
        "{ended:?}"
    );
    let told = ended.stderr.contains("ulimit -n") || ended.stderr.contains("Too many open files");
    assert!(told && !ended.stderr.contains("TURN"), "{}", ended.stderr);
    Ok(())
}
