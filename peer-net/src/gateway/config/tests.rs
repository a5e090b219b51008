use super::blame::read_key;
use super::*;
use crate::gateway::GatewayLimits;

const KEY: &str = "00112233445566778899aabbccddeeff00112233445566778899AABBCCDDEEFF";

fn parse(text: &str) -> Result<GatewayConfig, ConfigError> {
    GatewayConfig::parse(text, ".".as_ref())
}

#[test]
fn the_example_says_everything() {
    let text = crate::gateway::EXAMPLE;
    let config = parse(text).unwrap();
    assert_eq!(config.status, STATUS_ADDRESS.parse().ok());
    assert!(!config.options.leaves.is_empty());
    assert_eq!(config.options.limits, GatewayLimits::default());
}

#[test]
fn what_is_left_out_has_a_default() {
    let config = parse("broker = 'ws://127.0.0.1:9000/'").unwrap();
    assert_eq!(config.options.limits, GatewayLimits::default());
    assert_eq!(config.status.unwrap().to_string(), STATUS_ADDRESS);
    let off = parse("broker = 'ws://127.0.0.1:9000/'\nstatus = 'off'").unwrap();
    assert_eq!(off.status, None);
}

#[test]
fn keys_are_hexadecimal_or_in_a_file() {
    let key = read_key(KEY).unwrap();
    assert_eq!((key[0], key[1], key[31]), (0, 0x11, 0xFF));
    let path = std::env::temp_dir().join(format!("peer-key-{}", std::process::id()));
    std::fs::write(&path, format!("{KEY}\n")).unwrap();
    let file = path.file_name().unwrap().to_str().unwrap();
    let text = format!("broker='ws://a/'\n[[leaf]]\nname='a'\nkey_file='{file}'");
    let config = GatewayConfig::parse(&text, &std::env::temp_dir()).unwrap();
    std::fs::remove_file(&path).unwrap();
    assert_eq!(config.options.leaves[0].key, key);
}

#[test]
fn mistakes_are_sentences_with_their_line() {
    for (text, line, words) in [
        ("", 1, "`broker` is missing"),
        ("broker = 'x'", 1, "http://"),
        ("broker = 'ws://a/'\nlisten = ['x']", 2, "'x' is no address"),
        ("broker = 'ws://a/'\nconnect = [\n'a:0']", 3, "no host"),
        ("broker = 'ws://a/'\nliste = []", 2, "no setting `liste`"),
        ("broker = 'ws://a/'\n\n\n]", 4, ""),
        (
            "broker = 'ws://a/'\n[rtc]\nudp_port = '9-8'",
            3,
            "FIRST-LAST",
        ),
        (
            "broker = 'ws://a/'\n[rtc]\nturn_cafile = 'absent.pem'",
            3,
            "absent.pem",
        ),
        (
            "broker = 'ws://a/'\nlisten = ':1'",
            2,
            "`listen` takes a list",
        ),
        ("broker = 'ws://a/'\n\n[leaf]", 3, "[[leaf]]"),
        (
            "broker = 'ws://a/'\nbroker = 'ws://a/'",
            2,
            "`broker` is there twice",
        ),
        (
            "broker = 'ws://a/'\n[[ice_server]]\nurls = 7",
            3,
            "list of texts",
        ),
        (
            "broker = 'ws://a/'\n[rtc]\naddresses = ['x']",
            3,
            "192.0.2.7",
        ),
        ("broker = 'ws://a/'\n[[leaf]]\nname = 'a'", 2, "'a' needs"),
        (
            "broker = 'ws://a/'\n[[leaf]]\nname = 'a'\nkey = 'q'",
            4,
            "64 hex",
        ),
        (
            "broker = 'ws://a/'\n[[leaf]]\nname = ''\nkey = 'q'",
            3,
            "32 bytes",
        ),
        ("broker = 'ws://a/'\n[limits]\nbytes = 1", 3, "2097152"),
        ("broker = 'ws://a/'\n[limits]\n\nstall = 0", 4, "`stall`"),
        ("broker = 'ws://a/'\n[limits]\nstall = -1", 3, "seconds"),
        (
            "broker = 'ws://a/'\n[limits]\nopens = { burst = 0, per_second = 1 }",
            3,
            "`opens`",
        ),
        (
            "broker = 'ws://a/'\n[[serial]]\npath = 'p'\n[[serial]]\npath = 'p'",
            5,
            "'p' is named twice",
        ),
        (
            "broker = 'ws://a/'\n[[serial]]\npath = 'p'\nspeed = 0",
            4,
            "115200",
        ),
        (
            "broker = 'ws://a/'\n[[ice_server]]\nurls = 'http://a'",
            2,
            "'http://a' is no URL",
        ),
        (
            "broker = 'ws://a/'\n[[leaf]]\nname = 'a'\nkey_file = 'nowhere'",
            4,
            "nowhere",
        ),
    ] {
        let error = parse(text).unwrap_err();
        assert_eq!(error.line(), Some(line), "{text}: {error}");
        assert!(error.to_string().contains(words), "{text}: {error}");
    }
    let twice = format!(
        "broker = 'ws://a/'\n[[leaf]]\nname='a'\nkey='{KEY}'\n[[leaf]]\nname='a'\nkey='{KEY}'"
    );
    assert_eq!(parse(&twice).unwrap_err().line(), Some(6));
}
