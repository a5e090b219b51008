//! A broker with a certificate of its own making.

use peer_net::broker::{Broker, BrokerOptions, Ssl};

use crate::process::{Folder, Outcome, Process, at, run};

#[tokio::test]
async fn a_certificate_that_is_given_is_trusted() -> Outcome {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()])?;
    let (cert, key) = (made.cert.pem(), made.key_pair.serialize_pem());
    let folder = Folder::new();
    let cafile = folder.file("broker.pem", &cert);
    let options = BrokerOptions {
        ssl: Some(Ssl {
            cert: cert.into_bytes(),
            key: key.into_bytes(),
        }),
        ..BrokerOptions::default()
    };
    let broker = Broker::bind("127.0.0.1:0", options).await?;
    let refused = run(&["listen", "--no-reconnect"], &at(&broker), "").await;
    refused.assert_code(3);
    let mut process = Process::start(&["listen", "--cafile", &cafile], &at(&broker));
    process.told("Listening").await;
    process.signal("TERM").await;
    process.ended().await.assert_code(0);
    let nothing = folder.path("nothing.pem");
    run(&["listen", "--cafile", &nothing], &at(&broker), "")
        .await
        .assert_code(6);
    Ok(())
}

/// That a TURN server is then trusted is seen in `tests/netlab`.
#[tokio::test]
async fn turn_certificates_that_cannot_be_read_are_told() -> Outcome {
    let broker = Broker::bind("127.0.0.1:0", BrokerOptions::default()).await?;
    let folder = Folder::new();
    let nothing = folder.path("nothing.pem");
    let no_pem = folder.file("no.pem", "certificate");
    for (file, word) in [(nothing, "cannot be read"), (no_pem, "CERTIFICATE")] {
        let ended = run(&["listen", "--turn-cafile", &file], &at(&broker), "").await;
        ended.assert_code(6);
        let told = &ended.stderr;
        assert!(told.contains(&file) && told.contains(word), "{told}");
    }
    Ok(())
}
