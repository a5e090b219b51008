//! Steps of the wall clock, as NTP or a user makes them, under an open connection. A library loaded
//! before libc's sets the clock of a second run of this program; nobody else's.
#![cfg(target_os = "linux")]

use core::time::Duration;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::SystemTime;

use peer_net::{DataConnection, RtcConfig, Serialization, Value};
use peer_tests::{Outcome, broker, builder, connected, rtc, soon, stack};
use tokio::time::sleep;

/// Silence until a connection is lost, and so long it has to live on after a step. Slower machines
/// only make it last longer.
const SILENCE: Duration = Duration::from_secs(6);
/// Names the file with the offset of the clock in seconds: eight bytes of this machine's order.
const OFFSET: &str = "PEER_TEST_CLOCK";
const HOUR: i64 = 3600;

const LIBRARY: &str = r#"
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static volatile long long *offset;

__attribute__((constructor)) static void map_offset(void) {
    const char *path = getenv("PEER_TEST_CLOCK");
    int file = path ? open(path, O_RDONLY) : -1;
    if (file < 0) return;
    void *map = mmap(0, sizeof *offset, PROT_READ, MAP_SHARED, file, 0);
    if (map != MAP_FAILED) offset = map;
    close(file);
}

int clock_gettime(clockid_t clock, struct timespec *time) {
    int result = (int)syscall(SYS_clock_gettime, clock, time);
    if (result == 0 && clock == CLOCK_REALTIME && offset) time->tv_sec += *offset;
    return result;
}
"#;

#[test]
fn steps_of_the_wall_clock() -> Outcome {
    if let Some(file) = std::env::var_os(OFFSET) {
        return tokio::runtime::Runtime::new()?.block_on(under_steps(Path::new(&file)));
    }
    let folder = std::env::temp_dir().join(format!("peer-clock-{}", std::process::id()));
    std::fs::create_dir_all(&folder)?;
    let [source, library, offset] = ["clock.c", "clock.so", "offset"].map(|name| folder.join(name));
    std::fs::write(&source, LIBRARY)?;
    std::fs::write(&offset, 0_i64.to_ne_bytes())?;
    let compiled = Command::new("cc")
        .args(["-shared", "-fPIC", "-O1", "-o"])
        .args([&library, &source])
        .status()
        .map_err(|error| format!("a C compiler is needed; install gcc: {error}"))?;
    assert!(compiled.success());
    let again = Command::new(std::env::current_exe()?)
        .args(["--exact", "steps_of_the_wall_clock", "--nocapture"])
        .env("LD_PRELOAD", &library)
        .env(OFFSET, &offset)
        .stdin(Stdio::null())
        .output()?;
    let said = [again.stdout, again.stderr].concat();
    assert!(again.status.success(), "{}", String::from_utf8_lossy(&said));
    std::fs::remove_dir_all(folder)?;
    Ok(())
}

async fn under_steps(offset: &Path) -> Outcome {
    // In place: the library reads it at any time.
    let offset = std::fs::OpenOptions::new().write(true).open(offset)?;
    let step_to = |seconds: i64| offset.write_all_at(&seconds.to_ne_bytes(), 0);
    let broker = broker().await;
    let open = |id: &str| {
        let stack = stack();
        let rtc = RtcConfig {
            disconnected_timeout: SILENCE / 2,
            survive: SILENCE,
            ..rtc(stack)
        };
        builder(&broker, stack).rtc(rtc).id(id).open()
    };
    let (alice, bob) = (soon(open("alice")).await?, soon(open("bob")).await?);
    let (ours, theirs) = connected(&alice, &bob, Serialization::Raw, false).await;
    exchange(&ours, &theirs).await?;

    // Nothing is under way any more that could come right after the step.
    sleep(SILENCE / 6).await;
    let before = SystemTime::now();
    step_to(HOUR)?;
    let passed = SystemTime::now().duration_since(before)?;
    assert!(
        passed.as_secs() >= 3600,
        "the clock did not go forward: {passed:?}"
    );
    sleep(SILENCE / 2).await;
    exchange(&ours, &theirs).await?;

    // Both agents stop checking until the clock has come so far again.
    step_to(-HOUR)?;
    assert!(SystemTime::now() < before, "the clock did not go back");
    sleep(SILENCE * 3 / 2).await;
    exchange(&ours, &theirs).await
}

async fn exchange(ours: &DataConnection, theirs: &DataConnection) -> Outcome {
    for (from, to) in [(ours, theirs), (theirs, ours)] {
        from.send_text("still here").await?;
        let arrived = soon(to.recv()).await?;
        assert_eq!(arrived, Some(Value::from("still here")));
    }
    Ok(())
}
