//! Root keys that live elsewhere: in AWS KMS, in Vault. What works, what an outage does, and what is said of mistakes.

mod kms;
mod mistakes;
mod moves;
mod outage;
mod vault;

use keypod_test_servers::{KmsStandIn, MotoServer};
use keypod_tests::SidecarBuilder;

const REGION: &str = "eu-central-1";
/// What must never be in a message.
const SECRET_KEY: &str = "canary-secret-access-key";
const SESSION_TOKEN: &str = "canary-session-token";

/// A root of this name in AWS KMS, reached at `endpoint`.
fn kms(name: &str, key: &str, region: &str, endpoint: &str) -> String {
    format!(
        "[[root.aws_kms]]\nname = \"{name}\"\nkey = \"{key}\"\nregion = \"{region}\"\nendpoint = \"{endpoint}\"\n"
    )
}

/// A root of this name in the transit engine at `address`, which logs in by `auth`.
fn vault(name: &str, key: &str, address: &str, auth: &str) -> String {
    format!("[[root.vault]]\nname = \"{name}\"\nkey = \"{key}\"\naddress = \"{address}\"\n{auth}\n")
}

/// Patience that a test has.
const PATIENCE: &str =
    "[root]\nattempt_timeout = \"500ms\"\ncall_timeout = \"2s\"\nretry_interval = \"300ms\"\n";

/// A sidecar with credentials for AWS, and none from elsewhere.
fn with_credentials(builder: SidecarBuilder) -> SidecarBuilder {
    let file = builder.folder().join("aws-credentials");
    let text = format!(
        "[default]\naws_access_key_id = AKIATEST\naws_secret_access_key = {SECRET_KEY}\naws_session_token = {SESSION_TOKEN}\n"
    );
    std::fs::write(&file, text).unwrap();
    let nowhere = builder.folder().join("no-aws-config").display().to_string();
    builder
        .variable("AWS_SHARED_CREDENTIALS_FILE", &file.display().to_string())
        .variable("AWS_CONFIG_FILE", &nowhere)
        .variable("AWS_EC2_METADATA_DISABLED", "true")
}

/// A sidecar whose one root, `frankfurt`, is a new key of moto's behind a stand-in.
fn in_kms(extra_of_root: &str) -> (SidecarBuilder, KmsStandIn, String) {
    let moto = MotoServer::shared();
    let stand_in = KmsStandIn::before(moto);
    let key = moto.create_key(REGION);
    let root = kms("frankfurt", &key, REGION, &stand_in.endpoint());
    let builder = SidecarBuilder::new().root(&format!("{PATIENCE}{extra_of_root}{root}"));
    (with_credentials(builder), stand_in, key)
}
