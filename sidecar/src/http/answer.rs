//! A success: what a handler can make only of a receipt of the audit log.

use axum::response::Response;

use crate::audit::Receipt;

/// A success that the audit log has.
#[derive(Debug)]
pub(super) struct Answer(Response);

impl Answer {
    /// The answer to what `_receipt` was given for.
    pub(super) fn new(_receipt: &Receipt, response: Response) -> Self {
        Self(response)
    }

    pub(super) fn into_response(self) -> Response {
        self.0
    }
}
