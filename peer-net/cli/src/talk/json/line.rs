//! One line of stdout, and one of stdin, as `peer-net/docs/json-lines.md` documents them.

use peer_net::{CloseReason, Side, Value};
use serde::{Deserialize, Serialize};

use super::value::Json;

/// The `kind` of errors that are the script's own; all others are PeerJS's.
pub(super) const BAD_COMMAND: &str = "bad-command";
/// The `kind` where there is no such connection any more; PeerJS's.
pub(super) const CLOSED: &str = "connection-closed";
/// The `kind` of a warning about a message that is not in its connection's serialization.
pub(super) const UNREADABLE: &str = "unreadable-message";
/// The `kind` of a warning that lines about a connection were left out.
pub(super) const LEFT_OUT: &str = "events-left-out";
/// The `kind` of a warning of the library, for example about an ICE server that is passed over.
pub(super) const GENERAL: &str = "warning";

/// One line of stdout. A `tag` is that of the command that it answers.
#[derive(Serialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub(super) enum Line<'a> {
    Open {
        id: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        tag: Option<&'a Value>,
    },
    Connection {
        connection: &'a str,
        peer: &'a str,
        label: &'a str,
        metadata: Option<Json<'a>>,
        serialization: &'a str,
        reliable: bool,
        incoming: bool,
        #[serde(skip_serializing_if = "Option::is_none")]
        tag: Option<&'a Value>,
    },
    ConnectionOpen {
        connection: &'a str,
        stack: &'a str,
    },
    Data {
        connection: &'a str,
        data: Json<'a>,
    },
    /// Only for a `send` with a tag: the message is on its way.
    Sent {
        connection: &'a str,
        tag: &'a Value,
    },
    ConnectionClose {
        connection: &'a str,
        /// `local`, `remote` or `path`.
        side: &'a str,
        reason: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        tag: Option<&'a Value>,
    },
    Error {
        kind: &'a str,
        connection: Option<&'a str>,
        message: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        tag: Option<&'a Value>,
    },
    Warning {
        kind: &'a str,
        connection: Option<&'a str>,
        message: &'a str,
    },
    Disconnected {
        #[serde(skip_serializing_if = "Option::is_none")]
        tag: Option<&'a Value>,
    },
    Close {
        #[serde(skip_serializing_if = "Option::is_none")]
        tag: Option<&'a Value>,
    },
}

/// Which side ended a connection.
pub(super) fn side(reason: &CloseReason) -> &'static str {
    match reason.side() {
        Side::Local => "local",
        Side::Remote => "remote",
        _ => "path",
    }
}

/// One line of stdin.
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct CommandLine {
    connect: Option<String>,
    label: Option<String>,
    metadata: Option<Value>,
    serialization: Option<String>,
    reliable: Option<bool>,
    #[serde(deserialize_with = "present")]
    send: Option<Value>,
    connection: Option<String>,
    close: Option<String>,
    flush: bool,
    disconnect: bool,
    reconnect: bool,
    destroy: bool,
    #[serde(deserialize_with = "present")]
    tag: Option<Value>,
}

/// `{"send":null}` is a command; an absent `send` is not.
fn present<'de, D: serde::Deserializer<'de>>(d: D) -> Result<Option<Value>, D::Error> {
    Value::deserialize(d).map(Some)
}

/// What a line of stdin asks for.
pub(super) enum Command {
    Connect(Connect),
    Send {
        json: Value,
        connection: Option<String>,
    },
    Close {
        connection: String,
        flush: bool,
    },
    Disconnect,
    Reconnect,
    Destroy,
}

/// A connection to be made; what is not said is as the flags say.
#[derive(Default)]
pub(super) struct Connect {
    pub(super) remote: String,
    pub(super) label: Option<String>,
    pub(super) metadata: Option<Value>,
    pub(super) serialization: Option<String>,
    pub(super) reliable: Option<bool>,
}

impl CommandLine {
    /// The one command of the line, and its tag.
    ///
    /// # Errors
    /// A sentence: there is none, or there are several.
    pub(super) fn command(self) -> (Result<Command, &'static str>, Option<Value>) {
        let asked = [
            self.connect.is_some(),
            self.send.is_some(),
            self.close.is_some(),
            self.disconnect,
            self.reconnect,
            self.destroy,
        ];
        let several = asked.into_iter().filter(|asked| *asked).count() > 1;
        let command = if several {
            Err("there are several commands on one line; give each its own")
        } else if let Some(remote) = self.connect {
            Ok(Command::Connect(Connect {
                remote,
                label: self.label,
                metadata: self.metadata,
                serialization: self.serialization,
                reliable: self.reliable,
            }))
        } else if let Some(json) = self.send {
            Ok(Command::Send {
                json,
                connection: self.connection,
            })
        } else if let Some(connection) = self.close {
            Ok(Command::Close {
                connection,
                flush: self.flush,
            })
        } else if self.disconnect {
            Ok(Command::Disconnect)
        } else if self.reconnect {
            Ok(Command::Reconnect)
        } else if self.destroy {
            Ok(Command::Destroy)
        } else {
            Err("connect, send, close, disconnect, reconnect or destroy is needed")
        };
        (command, self.tag)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn command(text: &str) -> (Result<Command, &'static str>, Option<Value>) {
        let line: CommandLine = serde_json::from_str(text).expect("a line");
        line.command()
    }

    #[test]
    fn one_command_a_line() {
        assert!(command(r#"{"send":1,"close":"a"}"#).0.is_err());
        assert!(command(r#"{"connect":"a","destroy":true}"#).0.is_err());
        assert!(command("{}").0.is_err());
        let (close, tag) = command(r#"{"close":"a","flush":true,"tag":[7]}"#);
        assert!(matches!(close, Ok(Command::Close { flush: true, .. })));
        assert_eq!(tag, Some(Value::Array(vec![7.into()])));
        let (send, tag) = command(r#"{"send":null}"#);
        assert!(matches!(
            send,
            Ok(Command::Send {
                json: Value::Null,
                ..
            })
        ));
        assert_eq!(tag, None);
    }
}
