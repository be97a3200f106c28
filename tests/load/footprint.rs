//! What a sidecar takes before anybody calls it: time to be ready, memory, and room on the disk.

use std::path::Path;
use std::time::Duration;

use crate::median;
use crate::process::Sidecar;

/// Starts, of which the median is taken.
const STARTS: usize = 21;
/// What a start leaves behind has been given back by then.
const SETTLED_AFTER: Duration = Duration::from_secs(3);

/// An idle sidecar.
#[derive(Clone, Copy, Debug, serde::Serialize)]
pub(crate) struct Footprint {
    /// From exec until the line that says so, with a warm store.
    pub(crate) ready_ms: f64,
    pub(crate) idle_resident_bytes: u64,
    /// The program as it is built in release, stripped.
    pub(crate) binary_bytes: u64,
}

pub(crate) async fn measure(keypod: &Path, folder: &Path) -> anyhow::Result<Footprint> {
    let mut ready = Vec::new();
    for _ in 0..STARTS {
        let sidecar = Sidecar::start(keypod, folder, None, "group").await?;
        ready.push(sidecar.ready_after.as_secs_f64() * 1e3);
        sidecar.stop().await?;
    }
    let sidecar = Sidecar::start(keypod, folder, None, "group").await?;
    tokio::time::sleep(SETTLED_AFTER).await;
    let idle_resident_bytes = sidecar.memory()?.resident_bytes;
    sidecar.stop().await?;
    let binary_bytes = std::fs::metadata(keypod)?.len();
    Ok(Footprint { ready_ms: median(ready), idle_resident_bytes, binary_bytes })
}
