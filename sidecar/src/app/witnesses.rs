//! Has witnesses cosign the audit log, and keeps a sidecar from starting on a log that a witness knows more of.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tlog_tiles::Hash;

use super::StartError;
use crate::audit::{Log, LogStatus, prove::Prover};
use crate::error_chain::error_chain;
use crate::http::Api;
use crate::witness::client::{
    AskError, ClientError, Proofs, Source, SourceError, WitnessClient, WitnessSettings,
};

/// How long a stop waits for the last cosignatures.
const LAST_MAX: Duration = Duration::from_secs(2);

/// The witnesses of the audit log.
#[derive(Debug)]
pub(super) struct Witnesses {
    clients: Vec<Arc<WitnessClient>>,
    folder: PathBuf,
}

/// A log as it is on disk.
struct OnDisk {
    folder: PathBuf,
    number: u64,
}

impl OnDisk {
    /// What `read` finds in the log, away from the threads that serve.
    async fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Prover) -> Result<T, crate::audit::prove::ProveError> + Send + 'static,
    ) -> Result<T, SourceError> {
        let (folder, number) = (self.folder.clone(), self.number);
        let task = tokio::task::spawn_blocking(move || read(&Prover::open(&folder, number)?));
        let found = task.await.map_err(|error| SourceError { source: error.into() })?;
        found.map_err(|error| SourceError { source: error.into() })
    }
}

#[async_trait]
impl Proofs for OnDisk {
    async fn consistency(&self, old: u64, new: u64) -> Result<Vec<Hash>, SourceError> {
        self.read(move |log| log.path(old, new)).await
    }
}

#[async_trait]
impl Source for OnDisk {
    async fn checkpoint(&self) -> Result<Vec<u8>, SourceError> {
        self.read(|log| Ok(log.checkpoint().to_vec())).await
    }
}

impl Witnesses {
    /// The witnesses that the configuration names. Asks nobody.
    pub(super) fn new(
        settings: &[WitnessSettings],
        folder: &std::path::Path,
    ) -> Result<Self, ClientError> {
        let client = |settings: &WitnessSettings| WitnessClient::new(settings.clone());
        let clients = settings.iter().map(|settings| client(settings).map(Arc::new));
        Ok(Self { clients: clients.collect::<Result<_, _>>()?, folder: folder.to_owned() })
    }

    /// Tells every witness of the log that has begun. One that is away is asked again later; one that knows of more
    /// than there is on this disk ends the start.
    pub(super) async fn begin(&self, log: &Log) -> Result<(), StartError> {
        for client in &self.clients {
            let status = log.status();
            match self.cosign(client, log, &status).await {
                Ok(()) => tracing::info!(witness = client.name(), "the audit log is witnessed"),
                Err(source) if source.is_alarm() => {
                    let witness = client.name().to_owned();
                    return Err(StartError::Witness { witness, source });
                }
                Err(error) => say(client, &error),
            }
        }
        Ok(())
    }

    /// Has every witness cosign what is new.
    async fn cosign_all(&self, log: &Log) {
        let status = log.status();
        for client in &self.clients {
            if let Err(error) = self.cosign(client, log, &status).await {
                say(client, &error);
            }
        }
    }

    /// The same for the last time, once the log is closed, and not for long.
    pub(super) async fn end(&self, log: &Log) {
        if self.clients.is_empty() {
            return;
        }
        if tokio::time::timeout(LAST_MAX, self.cosign_all(log)).await.is_err() {
            tracing::warn!(
                "the end of the audit log is not witnessed: a witness did not answer in time"
            );
        }
    }

    /// Tells the witness of the log of this number; of those before it first, as far as it has missed them.
    async fn tell(&self, client: &WitnessClient, number: u64) -> Result<(), AskError> {
        let (origin, size) = match self.add(client, number).await {
            Err(AskError::RolledBack { origin, size }) => (origin, size),
            other => return other,
        };
        let Some(known) = self.number_of(&origin).filter(|known| *known + 1 < number) else {
            return Err(AskError::RolledBack { origin, size });
        };
        for missed in known + 1..=number {
            self.add(client, missed).await?;
        }
        Ok(())
    }

    async fn add(&self, client: &WitnessClient, number: u64) -> Result<(), AskError> {
        let log = OnDisk { folder: self.folder.clone(), number };
        let previous = OnDisk { folder: self.folder.clone(), number: number.saturating_sub(1) };
        let certificate = log.read(|log| Ok(log.certificate().to_vec())).await?;
        client.add_log(&certificate, &previous).await
    }

    /// The number of the log on this disk that has this origin.
    fn number_of(&self, origin: &str) -> Option<u64> {
        let (_, id) = origin.rsplit_once('/')?;
        let names = std::fs::read_dir(&self.folder).ok()?.flatten();
        names.into_iter().find_map(|entry| {
            let name = entry.file_name().into_string().ok()?;
            let (number, of_log) = name.split_once('-')?;
            (of_log == id).then(|| number.parse().ok()).flatten()
        })
    }

    async fn cosign(
        &self,
        client: &WitnessClient,
        log: &Log,
        status: &LogStatus,
    ) -> Result<(), AskError> {
        let newest = OnDisk { folder: self.folder.clone(), number: status.number };
        let cosigned = match client.cosign(&newest).await {
            Err(AskError::UnknownLog) => {
                self.tell(client, status.number).await?;
                client.cosign(&newest).await?
            }
            other => other?,
        };
        let labels = [("witness", client.name().to_owned())];
        #[expect(clippy::cast_precision_loss, reason = "counts far below 2^52")]
        metrics::gauge!("keypod_audit_witnessed_entries", &labels).set(cosigned.size as f64);
        let added = log.add_cosignature(&cosigned.origin, cosigned.size, &cosigned.line).await;
        if let Err(error) = added {
            tracing::warn!(error = error_chain(&error), "a cosignature was not kept");
        }
        Ok(())
    }
}

/// Has the witnesses cosign on a timer.
pub(super) async fn keep(api: Arc<Api>, witnesses: Arc<Witnesses>, every: Duration) {
    if witnesses.clients.is_empty() {
        return;
    }
    let mut timer = super::timer(every);
    loop {
        timer.tick().await;
        witnesses.cosign_all(api.service().audit().log()).await;
    }
}

fn say(client: &WitnessClient, error: &AskError) {
    let (witness, labels) = (client.name(), [("witness", client.name().to_owned())]);
    metrics::counter!("keypod_audit_witness_failures_total", &labels).increment(1);
    match error.is_alarm() {
        true => tracing::error!(
            alert = "audit_rolled_back",
            witness,
            error = error_chain(error),
            "a witness does not agree with the audit log"
        ),
        false => {
            tracing::warn!(witness, error = error_chain(error), "the audit log is not witnessed")
        }
    }
}
