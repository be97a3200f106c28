//! The local HTTP API (API.md): one route table, one way in.
//!
//! Depends on [`crate::service`] and nothing below it but types. [`Api::serve`] is what every request goes
//! through, in this order: request id, proxy marks, route, caller, a place in flight, handler. Handlers are
//! about ten lines each: bytes to types, the operation, types to bytes. No handler decides who may do what, none can
//! make an [`answer::Answer`] without a receipt of the audit log, and what none answers is recorded here.

mod answer;
mod audit;
mod batch;
mod body;
mod caller;
mod crypt;
mod emergency;
mod error;
mod gate;
mod guesses;
mod health;
mod json;
mod keys;
mod listen;
mod observe;
mod openapi;
mod places;
mod request_id;
mod routes;
mod source;
mod status;
mod stream;
mod unread;
mod wire;

pub use caller::{Callers, CallersError, Proof};
pub use error::status_of;
pub use health::{Health, Phase};
pub use listen::{ListenError, Listeners, Served, serve_health};
pub use routes::document;

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::response::Response;
use futures_util::FutureExt;
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, header};
use http_body::Body as _;
use hyper::body::Incoming;

use answer::Answer;
use body::{BodyReader, Media, WholeBody};
use caller::Connection;
use error::Failure;
use guesses::Guesses;
use observe::Observer;
use request_id::RequestId;
use routes::{Params, ROUTES, Route};
use source::Source;

use crate::audit::Attempt;
use crate::clock::Now;
use crate::limits::InFlight;
use crate::names::{CallerName, KeyName};
use crate::policy::Caller;
use crate::service::{Code, Service};

/// Sizes and times of the API.
#[derive(Clone, Copy, Debug)]
pub struct HttpSettings {
    /// Bytes of a JSON body, or of a whole message in binary form.
    pub json_body_bytes_max: usize,
    /// How long a request's head may take.
    pub header_timeout: Duration,
    /// How long a request's body may make no progress.
    pub body_timeout: Duration,
    /// How long an answer may make no progress because its client does not read.
    pub answer_timeout: Duration,
    /// Connections of each listener.
    pub connections_max: usize,
    /// Of those on the Unix socket, what one user may hold.
    pub user_connections_max: usize,
}

/// The API over one service.
#[derive(Debug)]
pub struct Api {
    service: Service,
    callers: Callers,
    settings: HttpSettings,
    observer: Observer,
    guesses: Guesses,
}

/// How far a request came.
#[derive(Default)]
struct Reached {
    /// It is of this caller.
    caller: Option<CallerName>,
    /// It was let in, to be handled by this route.
    route: Option<&'static Route>,
}

/// One request of a known caller; who that is, is in its [`Attempt`].
struct Call {
    parts: Parts,
    params: Params,
    body: BodyReader,
    in_flight: InFlight,
}

impl Api {
    /// An API over these parts.
    #[must_use]
    pub fn new(service: Service, callers: Callers, settings: HttpSettings) -> Self {
        let (observer, guesses) = (Observer::new(ROUTES), Guesses::new());
        Self { service, callers, settings, observer, guesses }
    }

    /// The service.
    #[must_use]
    pub fn service(&self) -> &Service {
        &self.service
    }

    /// The callers.
    #[must_use]
    pub fn callers(&self) -> &Callers {
        &self.callers
    }

    /// Serves one request, whatever comes of it.
    async fn serve(
        self: Arc<Self>,
        connection: Connection,
        request: Request<Incoming>,
    ) -> Response {
        let started = self.service.now();
        let request_id = RequestId::of(request.headers());
        let is_head = request.method() == Method::HEAD;
        let mut reached = Reached::default();
        let handled =
            Arc::clone(&self).handle(&connection, request, &request_id, started, &mut reached);
        let handled = AssertUnwindSafe(handled).catch_unwind().await;
        let outcome = handled.unwrap_or_else(|_| Err(error::panicked()));
        let code = outcome.as_ref().err().map(Failure::code);
        self.observer.observe(reached.route, code, self.service.now().since(started.monotonic));
        match code {
            Some(Code::Unauthenticated) => self.hold_back(&connection).await,
            Some(code) if reached.route.is_none() => {
                self.count_refusal(&connection, &reached, code)
            }
            _ => {}
        }
        let mut response = match outcome {
            Ok(response) => response,
            Err(failure) => {
                tracing::debug!(
                    code = failure.code().as_str(),
                    request_id = request_id.as_str(),
                    "refused"
                );
                failure.into_response(&request_id)
            }
        };
        let headers = response.headers_mut();
        headers.insert(&request_id::HEADER, request_id.to_header());
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if is_head { without_body(response) } else { response }
    }

    /// Waits as long as wrong credentials from there have to. They are counted even if their sender hangs up.
    async fn hold_back(self: &Arc<Self>, connection: &Connection) {
        let (api, connection) = (Arc::clone(self), connection.clone());
        let counted = tokio::spawn(async move {
            let source = connection.source().await;
            api.service.audit().refused(Code::Unauthenticated.as_str(), &source.to_string());
            api.guesses.count(source, api.service.now().monotonic)
        });
        if let Ok(delay) = counted.await
            && !delay.is_zero()
        {
            tokio::time::sleep(delay).await;
        }
    }

    /// Counts a request that was turned away before anybody knew whose it was, or what it wanted.
    fn count_refusal(&self, connection: &Connection, reached: &Reached, code: Code) {
        let audit = self.service.audit();
        if let Some(caller) = &reached.caller {
            return audit.refused(code.as_str(), caller.as_str());
        }
        let who = connection.peer().map_or(Source::Unknown, |peer| Source::User(peer.uid));
        audit.refused(code.as_str(), &who.to_string());
    }

    async fn handle(
        self: Arc<Self>,
        connection: &Connection,
        request: Request<Incoming>,
        request_id: &RequestId,
        now: Now,
        reached: &mut Reached,
    ) -> Result<Response, Failure> {
        let (parts, body) = request.into_parts();
        let body = BodyReader::new(Body::new(body), self.settings.body_timeout);
        let (route, params, caller, in_flight) =
            self.enter(connection, &parts, now, reached).await?;
        reached.route = Some(route);
        let memory = in_flight.memory().clone();
        let attempt = self.service.audit().attempt(caller, route.operation, request_id.as_str());
        let call = Call { parts, params, body, in_flight };
        let answer = if route.runs_to_the_end {
            let task = tokio::spawn(Arc::clone(&self).run(route, call, attempt));
            task.await.unwrap_or_else(|_| Err(error::panicked()))?
        } else {
            Arc::clone(&self).run(route, call, attempt).await?
        };
        unread::hold(answer.into_response(), &memory).await
    }

    /// Runs the handler. A failure is answered when the audit log has it.
    async fn run(
        self: Arc<Self>,
        route: &'static Route,
        call: Call,
        mut attempt: Attempt,
    ) -> Result<Answer, Failure> {
        let handled = (route.handler)(&self, call, &mut attempt).await;
        let Err(failure) = handled else { return handled };
        let recorded = attempt.fail(failure.code().as_str());
        if failure.code() == Code::AuditUnavailable {
            // That there was no answer is recorded if it can be; it could not a moment ago, so nobody waits.
            return Err(failure);
        }
        match recorded.await {
            Ok(_) => Err(failure),
            Err(error) => Err(crate::service::Error::from(error).into()),
        }
    }

    /// All that is checked before a handler runs.
    async fn enter(
        &self,
        connection: &Connection,
        parts: &Parts,
        now: Now,
        reached: &mut Reached,
    ) -> Result<(&'static Route, Params, Caller, InFlight), Failure> {
        gate::check(parts, connection.transport())?;
        let (route, params) = routes::find(parts.uri.path(), &parts.method)?;
        let caller = self.callers.authenticate(connection, &parts.headers, now).await?;
        reached.caller = Some(caller.name().clone());
        let in_flight = self.service.limits().enter(caller.name(), now.monotonic)?;
        Ok((route, params, caller, in_flight))
    }

    /// The body of a request that must be JSON, with nothing in its query and no context beside it.
    async fn only_json_body(&self, call: &mut Call) -> Result<WholeBody, Failure> {
        call.refuse_query()?;
        if call.media()? != Media::Json {
            return Err(unsupported_media());
        }
        call.refuse_header(&stream::CONTEXT)?;
        call.refuse_header(&stream::NEW_CONTEXT)?;
        call.body.whole(self.settings.json_body_bytes_max, call.in_flight.memory()).await
    }

    /// Refuses a batch past its limit before its items are decoded.
    fn check_items(&self, items: usize) -> Result<(), Failure> {
        let checked = self.service.limits().check_batch(items);
        checked.map_err(|error| crate::service::Error::from(error).into())
    }
}

impl Call {
    fn headers(&self) -> &HeaderMap {
        &self.parts.headers
    }

    fn query(&self) -> Option<&str> {
        self.parts.uri.query()
    }

    fn media(&self) -> Result<Media, Failure> {
        body::media(self.headers()).ok_or_else(unsupported_media)
    }

    /// Refuses a query where the route knows none: a misspelt parameter must not pass silently.
    fn refuse_query(&self) -> Result<(), Failure> {
        match self.query() {
            None | Some("") => Ok(()),
            Some(_) => Err(invalid("this route takes no query parameters")),
        }
    }

    /// Refuses a header that would have no effect here: a context must not pass silently.
    fn refuse_header(&self, name: &HeaderName) -> Result<(), Failure> {
        if self.headers().contains_key(name) {
            return Err(invalid(format!("{name} has no effect on this request: leave it out")));
        }
        Ok(())
    }

    fn param(&self, name: &str) -> &str {
        self.params.value(name)
    }

    fn key_name(&self) -> Result<KeyName, Failure> {
        self.param("name")
            .parse()
            .map_err(|error: crate::names::NameError| invalid(error.to_string()))
    }
}

fn invalid(detail: impl Into<std::borrow::Cow<'static, str>>) -> Failure {
    Failure::new(Code::InvalidRequest, detail)
}

fn unsupported_media() -> Failure {
    Failure::new(
        Code::UnsupportedMediaType,
        "send Content-Type: application/json, or application/octet-stream where the route takes it",
    )
}

/// The answer to a HEAD: all its headers, the length among them, and no body. On HTTP/2 nobody else sees to that.
fn without_body(response: Response) -> Response {
    let (mut parts, body) = response.into_parts();
    if let Some(len) = body.size_hint().exact() {
        parts.headers.insert(header::CONTENT_LENGTH, HeaderValue::from(len));
    }
    Response::from_parts(parts, Body::empty())
}

/// An answer without a body worth mentioning: for the health listener.
fn plain(status: http::StatusCode, text: String) -> Response {
    let mut response = Response::new(Body::from(text));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8"),
    );
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
