//! Measures throughput and latency: a closed loop of requests on each of some connections.
//!
//! Depends on [`super::client`] for the connections, on [`crate::clock`], and on hdrhistogram. [`load`] makes the
//! load, [`report`] shows it. A closed loop waits for each answer before the next request: it measures the
//! sidecar under a load that gives way, not a queue that grows.

mod load;
mod report;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context as _;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde_json::json;

use super::client::{Client, Endpoint, EndpointArgs, shared};
use super::context::{EncryptionContext, Pair};
use super::output;
use crate::clock::SystemClock;
use crate::names::KeyName;
use load::{Load, Target};
use report::Run;

/// What `keypod bench` takes.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Each connection sends its next request when the last one has been answered (closed loop),
over HTTP/1.1 with keep-alive. The client uses one core; give the sidecar others.

Examples:
  keypod bench --key demo
  keypod bench --key demo --size 65536 --connections 1,8 --operation decrypt --json results.json")]
pub(super) struct BenchArgs {
    /// The key to encrypt with
    #[arg(long, value_name = "NAME", default_value = "demo")]
    key: KeyName,
    /// Bytes of plaintext in a request
    #[arg(long, value_name = "BYTES", default_value_t = 1024)]
    size: usize,
    /// A pair of the encryption context; the decryptions are of what was encrypted with it
    #[arg(long = "context", value_name = "NAME=VALUE")]
    context: Vec<Pair>,
    /// Connections at once; each number is a run
    #[arg(long, value_name = "N,N", value_delimiter = ',', default_value = "1,16,64",
        value_parser = clap::value_parser!(u16).range(1..))]
    connections: Vec<u16>,
    /// How long each run is measured
    #[arg(long, value_name = "SECONDS", default_value_t = 5,
        value_parser = clap::value_parser!(u64).range(1..=3600))]
    seconds: u64,
    /// How long each run warms up before it is measured
    #[arg(long, value_name = "SECONDS", default_value_t = 1,
        value_parser = clap::value_parser!(u64).range(0..=3600))]
    warm_up: u64,
    /// What to measure
    #[arg(long, value_enum, default_value_t = Operations::Both)]
    operation: Operations,
    /// Use the binary routes, not the JSON ones
    #[arg(long)]
    binary: bool,
    /// Also write the results as JSON; `-` is standard output, in place of the table
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Send the requests for encryption to this path instead, of any HTTP server
    #[arg(long, value_name = "PATH", hide = true)]
    raw_path: Option<http::uri::PathAndQuery>,
    #[command(flatten)]
    endpoint: EndpointArgs,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Operations {
    /// Encryption
    Encrypt,
    /// Decryption
    Decrypt,
    /// One after the other
    Both,
}

/// `keypod bench`
pub(super) fn run(args: BenchArgs) -> anyhow::Result<()> {
    let endpoint = Endpoint::find(&args.endpoint)?;
    // One thread: what the client takes of the machine is what the sidecar lacks. An interrupt ends it at once:
    // it holds nothing that would have to be put away.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let runs = runtime.block_on(measure(&endpoint, &args))?;
    let results = report::to_json(&args, &runs);
    match &args.json {
        Some(path) if path.as_os_str() == "-" => output::json(&results)?,
        Some(path) => {
            output::line(&report::table(&runs))?;
            std::fs::write(path, format!("{results:#}\n"))
                .with_context(|| format!("cannot write {}", path.display()))?;
        }
        None => output::line(&report::table(&runs))?,
    }
    let errors: u64 = runs.iter().map(|run| run.tally.errors).sum();
    let first = runs.iter().find_map(|run| run.tally.first_error.as_deref());
    anyhow::ensure!(errors == 0, "{errors} requests failed; the first: {}", first.unwrap_or("?"));
    Ok(())
}

async fn measure(endpoint: &Endpoint, args: &BenchArgs) -> anyhow::Result<Vec<Run>> {
    let mut runs = Vec::new();
    for (operation, target) in targets(endpoint, args).await? {
        for &connections in &args.connections {
            let load = Load {
                endpoint,
                target: &target,
                connections,
                warm_up: Duration::from_secs(args.warm_up),
                measured: Duration::from_secs(args.seconds),
                clock: &SystemClock,
            };
            let tally = load.run().await?;
            runs.push(Run { operation, connections, tally });
        }
    }
    Ok(runs)
}

/// The requests to send, made once.
async fn targets(
    endpoint: &Endpoint,
    args: &BenchArgs,
) -> anyhow::Result<Vec<(&'static str, Target)>> {
    let plaintext = vec![0x5a; args.size];
    let context = EncryptionContext::read(&args.context, None)?.unwrap_or_default();
    let (key, shown) = (args.key.as_str(), context.to_json());
    let text = STANDARD.encode(&plaintext);
    let json_body = json!({ "key": key, "plaintext": text, "context": shown });
    let encrypt = if args.binary {
        let path = format!("/v1/encrypt?key={}", args.key);
        Target::binary(endpoint, path.parse()?, context.to_header()?, plaintext.into())
    } else {
        let path = http::uri::PathAndQuery::from_static("/v1/encrypt");
        Target::json(endpoint, path, json_body.to_string().into())
    };
    if let Some(path) = &args.raw_path {
        return Ok(vec![("raw", encrypt.sent_to(path.clone()))]);
    }
    let mut targets = Vec::new();
    if args.operation != Operations::Decrypt {
        targets.push(("encrypt", encrypt.clone()));
    }
    if args.operation != Operations::Encrypt {
        let decrypt = http::uri::PathAndQuery::from_static("/v1/decrypt");
        targets.push((
            "decrypt",
            if args.binary {
                let sealed = ciphertext(endpoint, &encrypt).await?;
                Target::binary(endpoint, decrypt, context.to_header()?, sealed)
            } else {
                let answer = ciphertext(endpoint, &encrypt).await?;
                let answer: serde_json::Value = serde_json::from_slice(&answer)?;
                let ciphertext =
                    answer.get("ciphertext").context("the answer has no ciphertext")?;
                let body = json!({ "ciphertext": ciphertext, "context": shown });
                Target::json(endpoint, decrypt, body.to_string().into())
            },
        ));
    }
    Ok(targets)
}

/// One answer to `encrypt`.
async fn ciphertext(endpoint: &Endpoint, encrypt: &Target) -> anyhow::Result<Bytes> {
    let mut client = Client::of(endpoint.clone());
    let answer = client.exchange_prepared(encrypt.request().map(shared)).await?;
    Ok(Bytes::from_owner(answer))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::testing::{Answer, Sidecar};

    #[derive(clap::Parser)]
    struct Parsed {
        #[command(flatten)]
        args: BenchArgs,
    }

    fn args(arguments: &[&str]) -> BenchArgs {
        let line = ["bench", "--seconds", "1", "--warm-up", "0", "--connections", "2"];
        <Parsed as clap::Parser>::parse_from(line.iter().chain(arguments)).args
    }

    #[tokio::test]
    async fn both_operations_are_measured_without_errors() {
        let sidecar = Sidecar::start(|request| match request.uri.as_str() {
            "/v1/encrypt" => Answer::json(200, &json!({ "ciphertext": "kp1.AAAA" })),
            "/v1/decrypt" => {
                let body = br#"{"ciphertext":"kp1.AAAA","context":{"tenant":"7"}}"#;
                assert_eq!(request.body, body);
                Answer::json(200, &json!({ "plaintext": "" }))
            }
            other => panic!("{other}"),
        });
        let args = args(&["--context", "tenant=7"]);
        let runs = measure(&sidecar.endpoint(), &args).await.unwrap();
        assert_eq!(
            runs.iter().map(|run| run.operation).collect::<Vec<_>>(),
            ["encrypt", "decrypt"]
        );
        for run in &runs {
            assert_eq!(run.tally.errors, 0, "{:?}", run.tally.first_error);
            assert!(run.tally.latencies.len() > 10);
        }
        let results = report::to_json(&args, &runs);
        assert_eq!(results["runs"].as_array().unwrap().len(), 2);
        assert!(results["runs"][0]["latency_us"]["p99.9"].as_f64().unwrap() > 0.0);
        assert_eq!(report::table(&runs).lines().count(), 3);
    }

    #[tokio::test]
    async fn any_server_can_be_measured_and_refusals_are_errors() {
        let sidecar = Sidecar::start(|request| {
            assert_eq!(request.uri, "/echo");
            Answer::problem(429, "rate_limited")
        });
        let runs = measure(&sidecar.endpoint(), &args(&["--raw-path", "/echo"])).await.unwrap();
        let run = runs.first().unwrap();
        assert_eq!((run.operation, run.tally.latencies.len()), ("raw", 0));
        assert!(run.tally.errors > 0);
        assert!(run.tally.first_error.as_ref().unwrap().contains("429"));
    }
}
