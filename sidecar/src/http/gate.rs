//! Refuses requests that came through somebody else: proxied ones, and on TCP those for a foreign host.
//!
//! A page in a browser or a server that can be made to send requests (server-side request forgery, DNS
//! rebinding) reaches loopback too; what it cannot do is leave out these marks.

use http::request::Parts;
use http::uri::Authority;
use http::{HeaderName, header};

use super::error::Failure;
use crate::policy::Transport;
use crate::service::Code;

/// Lets through what came straight from a client on this machine.
pub(super) fn check(parts: &Parts, transport: Transport) -> Result<(), Failure> {
    if parts.headers.keys().any(is_proxy_mark) {
        return Err(refused("call the sidecar directly, not through a proxy"));
    }
    if transport == Transport::Tcp && !names_loopback(parts) {
        return Err(refused("send one Host header: localhost, 127.0.0.1 or [::1]"));
    }
    Ok(())
}

fn refused(detail: &'static str) -> Failure {
    Failure::new(Code::ProxiedRequest, detail)
}

fn is_proxy_mark(name: &HeaderName) -> bool {
    *name == header::FORWARDED || name.as_str().starts_with("x-forwarded-")
}

/// Whether every name of the host that the request has, and it must have one, is of this machine.
fn names_loopback(parts: &Parts) -> bool {
    let mut hosts = parts.headers.get_all(header::HOST).iter();
    let (host, second) = (hosts.next(), hosts.next());
    if second.is_some() {
        return false;
    }
    let from_header = host.map(|host| {
        host.to_str().ok().and_then(|host| host.parse().ok()).is_some_and(|host| is_loopback(&host))
    });
    let from_uri = parts.uri.authority().map(is_loopback);
    match (from_header, from_uri) {
        (None, None) => false,
        (header, uri) => header.unwrap_or(true) && uri.unwrap_or(true),
    }
}

fn is_loopback(authority: &Authority) -> bool {
    let host = authority.host();
    !authority.as_str().contains('@')
        && (host.eq_ignore_ascii_case("localhost") || host == "127.0.0.1" || host == "[::1]")
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    fn check_with(uri: &str, headers: &[(&str, &str)], transport: Transport) -> bool {
        let mut request = Request::builder().uri(uri);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        check(&request.body(()).unwrap().into_parts().0, transport).is_ok()
    }

    #[test]
    fn hosts_of_this_machine_pass_and_any_other_is_refused() {
        for good in ["localhost", "LOCALHOST:1", "127.0.0.1:7480", "[::1]", "[::1]:7480"] {
            assert!(check_with("/", &[("host", good)], Transport::Tcp), "{good}");
        }
        for bad in [
            "evil.example",
            "localhost.evil.example",
            "127.0.0.1.evil.example",
            "127.0.0.2",
            "10.0.0.1:7480",
            "::1",
            "localhost@evil.example",
            "evil@localhost",
            "",
        ] {
            assert!(!check_with("/", &[("host", bad)], Transport::Tcp), "{bad}");
        }
        assert!(!check_with("/", &[], Transport::Tcp));
        assert!(!check_with("/", &[("host", "localhost"), ("host", "evil")], Transport::Tcp));
    }

    #[test]
    fn an_absolute_target_must_be_of_this_machine_too() {
        let host = [("host", "localhost")];
        assert!(!check_with("http://evil.example/v1/status", &host, Transport::Tcp));
        assert!(check_with("http://localhost:7480/v1/status", &host, Transport::Tcp));
        assert!(check_with("http://127.0.0.1/v1/status", &[], Transport::Tcp));
    }

    #[test]
    fn marks_of_a_proxy_are_refused_on_both_transports() {
        for transport in [Transport::Tcp, Transport::Unix] {
            for mark in
                ["forwarded", "X-Forwarded-For", "x-forwarded-proto", "x-forwarded-anything"]
            {
                let headers = [("host", "localhost"), (mark, "x")];
                assert!(!check_with("/", &headers, transport), "{mark}");
            }
        }
    }

    #[test]
    fn on_the_socket_any_host_passes() {
        assert!(check_with("/", &[("host", "anything")], Transport::Unix));
        assert!(check_with("/", &[], Transport::Unix));
    }
}
