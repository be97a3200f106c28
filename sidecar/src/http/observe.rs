//! Counts and times every request, per operation and outcome. No label holds anything of a caller's.

use std::time::Duration;

use metrics::{Counter, Histogram, counter, histogram};

use super::routes::Route;
use crate::service::Code;

/// Handles of the metrics that every success touches, so that the hot path looks nothing up.
#[derive(Debug)]
pub(super) struct Observer(Vec<Handles>);

struct Handles {
    operation: &'static str,
    duration: Histogram,
    succeeded: Counter,
}

impl std::fmt::Debug for Handles {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(self.operation)
    }
}

impl Observer {
    pub(super) fn new(routes: &[Route]) -> Self {
        let handles = |route: &Route| Handles {
            operation: route.operation,
            duration: histogram!("keypod_operation_duration_seconds", "operation" => route.operation),
            succeeded: counter!("keypod_operations_total", "operation" => route.operation, "code" => "ok"),
        };
        Self(routes.iter().map(handles).collect())
    }

    /// Notes a request that took `elapsed` until its answer began. `None` for a route: it never reached one.
    pub(super) fn observe(
        &self,
        route: Option<&'static Route>,
        code: Option<Code>,
        elapsed: Duration,
    ) {
        let operation = route.map_or("none", |route| route.operation);
        if let Some(handles) = self.0.iter().find(|handles| handles.operation == operation) {
            handles.duration.record(elapsed);
            if code.is_none() {
                handles.succeeded.increment(1);
            }
        }
        if let Some(code) = code {
            let code = code.as_str();
            counter!("keypod_operations_total", "operation" => operation, "code" => code)
                .increment(1);
        }
    }
}
