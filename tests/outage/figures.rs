//! The figures by name.

mod cold;
mod gone;
mod preload;
mod restart;
mod revoked;
mod rotate;

use serde_json::Value;

use crate::figure::{Figure, Row};
use crate::machine::Machine;

/// A figure that can be measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Name {
    /// Thousands of requests for a key that is not in memory
    Cold,
    /// A thousand keys in memory before the sidecar is ready
    Preload,
    /// The root gone for longer than the bound
    Gone,
    /// The grant revoked under load
    Revoked,
    /// Twenty sidecars on one database that rotate at once
    Rotate,
    /// PostgreSQL restarted under load
    Restart,
}

impl Name {
    pub(crate) const ALL: [Self; 6] =
        [Self::Cold, Self::Preload, Self::Gone, Self::Revoked, Self::Rotate, Self::Restart];

    pub(crate) const fn text(self) -> &'static str {
        match self {
            Self::Cold => "cold",
            Self::Preload => "preload",
            Self::Gone => "gone",
            Self::Revoked => "revoked",
            Self::Rotate => "rotate",
            Self::Restart => "restart",
        }
    }
}

/// What a run showed.
struct Shown {
    title: &'static str,
    run: String,
    rows: Vec<Row>,
    data: Value,
}

/// Measures one of them.
pub(crate) async fn measure(name: Name, quick: bool) -> anyhow::Result<Figure> {
    let shown = match name {
        Name::Cold => cold::measure(quick).await?,
        Name::Preload => preload::measure(quick).await?,
        Name::Gone => gone::measure(quick).await?,
        Name::Revoked => revoked::measure(quick).await?,
        Name::Rotate => rotate::measure(quick).await?,
        Name::Restart => restart::measure(quick).await?,
    };
    Ok(Figure {
        name: name.text().to_owned(),
        title: shown.title.to_owned(),
        run: shown.run,
        machine: Machine::this(),
        quick,
        rows: shown.rows,
        data: shown.data,
    })
}
