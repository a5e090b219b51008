//! The HTTP half of PeerServer: what it answers to which request.
//!
//! PeerServer is built on Express and `ws`; the corners of their routing that a client can see are
//! kept: paths in any case, a trailing slash, any word in place of the key.

use hyper::body::Bytes;
use hyper::header::{self, HeaderMap, HeaderName, HeaderValue};
use hyper::{Method, Request, Response, StatusCode, Version};
use ring::rand::{SecureRandom, SystemRandom};
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use uuid::Builder;

use super::hub::Hub;
use super::options::{CorsOrigin, GenerateClientId};
use crate::url::is_decodable;

pub(super) type Body = http_body_util::Full<Bytes>;

const JSON: &str = "application/json; charset=utf-8";
const HTML: &str = "text/html; charset=utf-8";
const TEXT: &str = "text/plain; charset=utf-8";
const METHODS: &str = "GET,HEAD,PUT,PATCH,POST,DELETE";
const ABOUT: &str = concat!(
    r#"{"name":"PeerJS Server","description":"A server side element to broker connections "#,
    r#"between PeerJS clients.","website":"https://peerjs.com/"}"#
);

/// What to do about a request.
pub(super) enum Answer {
    /// Send this.
    Response(Response<Body>),
    /// Send this, and then speak WebSocket.
    Upgrade(Response<Body>),
}

/// Answers a request. Its body is of no interest.
pub(super) fn answer<B>(hub: &Hub, request: &Request<B>) -> Answer {
    if request.version() == Version::HTTP_11 && !request.headers().contains_key(header::HOST) {
        return Answer::Response(closing(StatusCode::BAD_REQUEST, ""));
    }
    if wants_upgrade(request.headers()) {
        return upgrade(hub, request);
    }
    let path = request.uri().path();
    let Some(rest) = strip_layer(path, &hub.base_path) else {
        return Answer::Response(not_found(request.method(), path));
    };
    Answer::Response(api(hub, request, rest))
}

/// `rest` is the path behind the `path` option, with its slash.
fn api<B>(hub: &Hub, request: &Request<B>, rest: &str) -> Response<Body> {
    let method = request.method();
    let origin = &hub.options.cors_options.origin;
    if method == Method::OPTIONS {
        return preflight(origin, request.headers());
    }
    let get = method == Method::GET || method == Method::HEAD;
    let mut response = match route(rest) {
        Route::About if get => typed(StatusCode::OK, JSON, ABOUT),
        Route::Id if get => id(hub),
        Route::Peers if get && hub.options.allow_discovery => peers(hub),
        Route::Peers if get => typed(StatusCode::UNAUTHORIZED, TEXT, "Unauthorized"),
        Route::Undecodable => error_page(StatusCode::BAD_REQUEST, "Bad Request"),
        _ => not_found(method, request.uri().path()),
    };
    allow_origin(origin, request.headers(), response.headers_mut());
    response
}

fn id(hub: &Hub) -> Response<Body> {
    let random = SystemRandom::new();
    let id = hub.free_id(GenerateClientId::ATTEMPTS, || {
        match &hub.options.generate_client_id {
            Some(generate) => Some(generate.generate()),
            None => uuid(&random),
        }
    });
    match id {
        Some(id) => typed(StatusCode::OK, HTML, id),
        None => error_page(StatusCode::INTERNAL_SERVER_ERROR, "No free id was found"),
    }
}

fn peers(hub: &Hub) -> Response<Body> {
    match hub.list() {
        Some(list) => typed(StatusCode::OK, JSON, list),
        None => error_page(
            StatusCode::SERVICE_UNAVAILABLE,
            "Too many lists are being read",
        ),
    }
}

/// A random UUID, RFC 9562 §5.4.
fn uuid(random: &SystemRandom) -> Option<String> {
    let mut bytes = [0; 16];
    random.fill(&mut bytes).ok()?;
    Some(Builder::from_random_bytes(bytes).into_uuid().to_string())
}

// --- routing ---

#[derive(Debug, PartialEq, Eq)]
enum Route {
    About,
    Id,
    Peers,
    /// The key's percent-encoding is broken.
    Undecodable,
    None,
}

fn route(rest: &str) -> Route {
    if rest.is_empty() || rest == "/" {
        return Route::About;
    }
    let Some(path) = rest.strip_prefix('/') else {
        return Route::None;
    };
    let key = path.split('/').next().unwrap_or_default();
    if key.is_empty() {
        return Route::None;
    }
    if !is_decodable(key) {
        return Route::Undecodable;
    }
    let call = path.strip_prefix(key).unwrap_or_default();
    // Express lets a layer end in one more slash.
    let call = call
        .strip_prefix("//")
        .or(call.strip_prefix('/'))
        .unwrap_or_default();
    match call
        .strip_suffix('/')
        .unwrap_or(call)
        .to_ascii_lowercase()
        .as_str()
    {
        "id" => Route::Id,
        "peers" => Route::Peers,
        _ => Route::None,
    }
}

/// What is left of `path` behind a mount point, in any case. `None`: another place.
fn strip_layer<'a>(path: &'a str, base: &str) -> Option<&'a str> {
    let base = base.strip_suffix('/').unwrap_or(base);
    let (layer, rest) = path.split_at_checked(base.len())?;
    if !layer.eq_ignore_ascii_case(base) || !(rest.is_empty() || rest.starts_with('/')) {
        return None;
    }
    if base.is_empty() {
        Some(rest)
    } else {
        Some(
            rest.strip_prefix('/')
                .filter(|r| r.starts_with('/'))
                .unwrap_or(rest),
        )
    }
}

// --- WebSocket upgrade, in the order in which `ws` checks ---

fn wants_upgrade(headers: &HeaderMap) -> bool {
    headers.contains_key(header::UPGRADE)
        && headers
            .get_all(header::CONNECTION)
            .iter()
            .flat_map(|value| value.as_bytes().split(|&byte| byte == b','))
            .any(|option| option.trim_ascii().eq_ignore_ascii_case(b"upgrade"))
}

fn upgrade<B>(hub: &Hub, request: &Request<B>) -> Answer {
    let refuse = |status, body| Answer::Response(closing(status, body));
    let headers = request.headers();
    let text = |name: HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
    if request.method() != Method::GET {
        return refuse(StatusCode::METHOD_NOT_ALLOWED, "Invalid HTTP method");
    }
    if !text(header::UPGRADE).is_some_and(|value| value.eq_ignore_ascii_case("websocket")) {
        return refuse(StatusCode::BAD_REQUEST, "Invalid Upgrade header");
    }
    let Some(key) = text(header::SEC_WEBSOCKET_KEY).filter(|key| is_nonce(key)) else {
        return refuse(
            StatusCode::BAD_REQUEST,
            "Missing or invalid Sec-WebSocket-Key header",
        );
    };
    if !matches!(text(header::SEC_WEBSOCKET_VERSION), Some("13" | "8")) {
        let mut response = closing(
            StatusCode::BAD_REQUEST,
            "Missing or invalid Sec-WebSocket-Version header",
        );
        set(
            response.headers_mut(),
            header::SEC_WEBSOCKET_VERSION,
            "13, 8",
        );
        return Answer::Response(response);
    }
    // The word is fixed; it has nothing to do with the key.
    if request.uri().path().strip_prefix(hub.base_path.as_str()) != Some("peerjs") {
        return refuse(StatusCode::BAD_REQUEST, "Bad Request");
    }

    let mut response = Response::new(Body::default());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let answer = response.headers_mut();
    set(answer, header::UPGRADE, "websocket");
    set(answer, header::CONNECTION, "Upgrade");
    set(
        answer,
        header::SEC_WEBSOCKET_ACCEPT,
        &derive_accept_key(key.as_bytes()),
    );
    // PeerJS asks for none; whoever does gets its first choice.
    if let Some(protocol) =
        text(header::SEC_WEBSOCKET_PROTOCOL).and_then(|protocols| protocols.split(',').next())
    {
        set(answer, header::SEC_WEBSOCKET_PROTOCOL, protocol.trim());
    }
    Answer::Upgrade(response)
}

/// Sixteen bytes in base64.
fn is_nonce(key: &str) -> bool {
    key.strip_suffix("==").is_some_and(|digits| {
        digits.len() == 22
            && digits
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b == b'+' || b == b'/')
    })
}

// --- CORS, as the npm package `cors` does it ---

fn preflight(origin: &CorsOrigin, request: &HeaderMap) -> Response<Body> {
    let mut response = Response::new(Body::default());
    *response.status_mut() = StatusCode::NO_CONTENT;
    let headers = response.headers_mut();
    allow_origin(origin, request, headers);
    set(headers, header::ACCESS_CONTROL_ALLOW_METHODS, METHODS);
    let vary = match headers.get(header::VARY) {
        Some(_) => "Origin, Access-Control-Request-Headers",
        None => "Access-Control-Request-Headers",
    };
    set(headers, header::VARY, vary);
    if let Some(wanted) = request.get(header::ACCESS_CONTROL_REQUEST_HEADERS)
        && !wanted.is_empty()
    {
        headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, wanted.clone());
    }
    set(headers, header::CONTENT_LENGTH, "0");
    response
}

fn allow_origin(allowed: &CorsOrigin, request: &HeaderMap, response: &mut HeaderMap) {
    let origin = request.get(header::ORIGIN);
    let allow = match allowed {
        CorsOrigin::Any => {
            set(response, header::ACCESS_CONTROL_ALLOW_ORIGIN, "*");
            return;
        }
        CorsOrigin::Fixed(allowed) => {
            set(response, header::ACCESS_CONTROL_ALLOW_ORIGIN, allowed);
            set(response, header::VARY, "Origin");
            return;
        }
        CorsOrigin::Reflect => origin,
        CorsOrigin::List(origins) => {
            origin.filter(|origin| origins.iter().any(|o| o.as_bytes() == origin.as_bytes()))
        }
    };
    if let Some(origin) = allow {
        response.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
    }
    set(response, header::VARY, "Origin");
}

// --- responses ---

fn typed(status: StatusCode, content_type: &'static str, body: impl Into<Bytes>) -> Response<Body> {
    let mut response = Response::new(Body::new(body.into()));
    *response.status_mut() = status;
    set(response.headers_mut(), header::CONTENT_TYPE, content_type);
    response
}

/// What `ws` answers when it does not upgrade.
fn closing(status: StatusCode, body: &'static str) -> Response<Body> {
    let mut response = typed(status, "text/html", body);
    set(response.headers_mut(), header::CONNECTION, "close");
    response
}

/// What a client gets that has as many connections as one address may have.
pub(super) fn too_many_connections() -> Response<Body> {
    let mut response = typed(
        StatusCode::TOO_MANY_REQUESTS,
        TEXT,
        "Too many connections come from this address, see --max_connections_per_address. (A broker behind a \
         reverse proxy has to be told so: --proxied.)",
    );
    set(response.headers_mut(), header::CONNECTION, "close");
    response
}

fn not_found(method: &Method, path: &str) -> Response<Body> {
    error_page(
        StatusCode::NOT_FOUND,
        &format!("Cannot {method} {}", encode_url(path)),
    )
}

/// Express's page for errors. `text` is not to be trusted.
fn error_page(status: StatusCode, text: &str) -> Response<Body> {
    let text = escape_html(text);
    let page = format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <title>Error</title>\n</head>\n<body>\n<pre>{text}</pre>\n</body>\n</html>\n"
    );
    let mut response = typed(status, HTML, page);
    let headers = response.headers_mut();
    set(
        headers,
        header::CONTENT_SECURITY_POLICY,
        "default-src 'none'",
    );
    set(headers, header::X_CONTENT_TYPE_OPTIONS, "nosniff");
    response
}

fn escape_html(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c => out.push(c),
        }
    }
    out
}

/// Escapes what does not belong into a URL, and leaves the escapes it has.
fn encode_url(path: &str) -> String {
    let mut out = String::with_capacity(path.len());
    for byte in path.bytes() {
        if byte.is_ascii_alphanumeric() || b"!#$%&'()*+,-./:;=?@[]_~|".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

/// Sets a header whose value is ours, or from a header of the request and so a legal one.
fn set(headers: &mut HeaderMap, name: HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        headers.insert(name, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn routes_are_expresses() {
        for (path, expected) in [
            ("", Route::About),
            ("/", Route::About),
            ("/peerjs", Route::None),
            ("/peerjs/", Route::None),
            ("/peerjs/id", Route::Id),
            ("/ANY/Id/", Route::Id),
            ("/a//id", Route::Id),
            ("/a///id", Route::None),
            ("//a/id", Route::None),
            ("/a/id/b", Route::None),
            ("/a/peers", Route::Peers),
            ("/%ff/peers", Route::Undecodable),
            ("/%f", Route::Undecodable),
            ("/%C3%A9/peers", Route::Peers),
        ] {
            assert_eq!(route(path), expected, "{path}");
        }
    }

    #[test]
    fn mount_points_end_at_a_slash() {
        assert_eq!(strip_layer("/peerjs/id", "/"), Some("/peerjs/id"));
        assert_eq!(strip_layer("/App/k/id", "/app/"), Some("/k/id"));
        assert_eq!(strip_layer("/app", "/app/"), Some(""));
        assert_eq!(strip_layer("/apple/id", "/app/"), None);
        assert_eq!(strip_layer("/é", "/a/"), None);
    }

    #[test]
    fn uuids_are_version_4() {
        let id = uuid(&SystemRandom::new()).unwrap();
        let shape: String = id
            .chars()
            .map(|c| if c.is_ascii_hexdigit() { 'x' } else { c })
            .collect();
        assert_eq!(shape, "xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx");
        assert_eq!(id.as_bytes()[14], b'4');
        assert!(b"89ab".contains(&id.as_bytes()[19]));
    }
}
