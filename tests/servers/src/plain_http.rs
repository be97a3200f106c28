//! One call over plain HTTP to a server on this machine, from synchronous and asynchronous tests alike. An answer of any
//! status is an answer.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

/// Longer than any server of a test needs for an answer.
const PATIENCE: Duration = Duration::from_secs(30);

/// What a server answered.
#[derive(Clone, Debug)]
pub(crate) struct Reply {
    /// The status code.
    pub(crate) status: u16,
    /// The body.
    pub(crate) body: Vec<u8>,
}

/// Sends `method path` with `headers` and `body` to `address`, and waits for the whole answer.
///
/// # Errors
/// When there is no connection, or no answer that is HTTP's.
pub(crate) fn call(
    address: SocketAddr,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> io::Result<Reply> {
    let config = ureq::Agent::config_builder()
        .http_status_as_error(false)
        .proxy(None)
        .timeout_global(Some(PATIENCE))
        .build();
    let url = format!("http://{address}{path}");
    let mut request = ureq::http::Request::builder().method(method).uri(url);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let request = request.body(body).map_err(io::Error::other)?;
    let mut answer = ureq::Agent::new_with_config(config).run(request).map_err(io::Error::other)?;
    let status = answer.status().as_u16();
    let body = answer.body_mut().read_to_vec().map_err(io::Error::other)?;
    Ok(Reply { status, body })
}
