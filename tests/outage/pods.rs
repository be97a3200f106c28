//! Sidecars and the KMS that they share: moto behind a stand-in that sees every call, and a proxy that can break.

use std::time::{Duration, Instant};

use anyhow::Context as _;
use keypod_test_servers::{FaultProxy, KmsStandIn, MotoServer, Seen};
use keypod_tests::{Client, Sidecar, SidecarBuilder};
use serde_json::{Value, json};

const REGION: &str = "eu-central-1";

/// A KMS with one key, and what stands before it.
#[derive(Debug)]
pub(crate) struct Kms {
    pub(crate) stand_in: KmsStandIn,
    /// What the sidecars talk to.
    pub(crate) proxy: FaultProxy,
    key: String,
}

/// The patience that sidecars have with it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Patience {
    pub(crate) attempt_timeout: Duration,
    pub(crate) retry_interval: Duration,
}

impl Kms {
    pub(crate) fn start() -> anyhow::Result<Self> {
        let moto = MotoServer::shared();
        let stand_in = KmsStandIn::before(moto);
        let address = stand_in.endpoint();
        let address = address.strip_prefix("http://").context("an endpoint")?.parse()?;
        let proxy = FaultProxy::start(address)?;
        Ok(Self { stand_in, proxy, key: moto.create_key(REGION) })
    }

    /// A sidecar whose root this is. Calls of pod `number` are told apart by the access key.
    pub(crate) fn pod(&self, number: usize, patience: Patience) -> anyhow::Result<SidecarBuilder> {
        let builder = SidecarBuilder::new();
        let credentials = builder.folder().join("aws-credentials");
        let text = format!(
            "[default]\naws_access_key_id = {}\naws_secret_access_key = of-a-test\n",
            access_key(number)
        );
        std::fs::write(&credentials, text)?;
        let nowhere = builder.folder().join("no-aws-config").display().to_string();
        let attempt = patience.attempt_timeout.as_millis();
        let root = format!(
            "[root]\nattempt_timeout = \"{attempt}ms\"\ncall_timeout = \"{}ms\"\nretry_interval = \"{}ms\"\n\
             [[root.aws_kms]]\nname = \"kms\"\nkey = \"{}\"\nregion = \"{REGION}\"\nendpoint = \"http://{}\"\n",
            attempt * 3,
            patience.retry_interval.as_millis(),
            self.key,
            self.proxy.address(),
        );
        Ok(builder
            .root(&root)
            .variable("AWS_SHARED_CREDENTIALS_FILE", &credentials.display().to_string())
            .variable("AWS_CONFIG_FILE", &nowhere)
            .variable("AWS_EC2_METADATA_DISABLED", "true")
            .variable("KEYPOD_LOG__FILTER", "info"))
    }

    /// The last time before `end` that pod `number` asked to unwrap a version of the key with this id.
    pub(crate) fn last_unwrap(&self, number: usize, id: &str, end: Instant) -> Option<Seen> {
        let wanted = |seen: &Seen| {
            let context = "/EncryptionContext/keypod:key";
            let of_key = seen.parameters.pointer(context).and_then(Value::as_str) == Some(id);
            let of_pod = seen.access_key.as_deref() == Some(&access_key(number));
            seen.operation == "Decrypt" && of_key && of_pod && seen.at < end
        };
        self.stand_in.seen().into_iter().rfind(wanted)
    }
}

fn access_key(number: usize) -> String {
    format!("AKIAPOD{number}")
}

/// Makes a key through a pod.
pub(crate) async fn make_key(client: &Client, name: &str) -> anyhow::Result<()> {
    let made = client.post_json("/v1/keys", &json!({ "name": name })).await;
    anyhow::ensure!(made.status == 201, "the key {name} was not made: {}", made.code());
    Ok(())
}

/// The id of a pod's key, by which the root knows it.
pub(crate) async fn id_of(pod: &Sidecar, key: &str) -> String {
    pod.client().get(&format!("/v1/keys/{key}")).await.text("id")
}

/// Ends a sidecar in order, and starts it again with nothing in memory.
pub(crate) async fn start_anew(sidecar: &mut Sidecar) -> anyhow::Result<()> {
    let ended = sidecar.stop().await;
    anyhow::ensure!(ended.success(), "a sidecar did not end in order: {ended}");
    sidecar.restart().await;
    Ok(())
}
