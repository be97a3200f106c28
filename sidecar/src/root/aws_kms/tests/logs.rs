use std::io::{self, Write};
use std::sync::Mutex;

use super::*;

/// A log in memory.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// All that is logged at `level` while a root wraps, unwraps and is refused with `answer`.
async fn log(level: &str, answer: Answer) -> String {
    let lines = Lines::default();
    let writer = lines.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_ansi(false)
        .with_env_filter(level)
        .with_writer(move || writer.clone())
        .finish();
    let _guard = tracing::subscriber::set_default(subscriber);
    let ok = |body: Value| Answer::raw(200, "application/x-amz-json-1.1", &body.to_string());
    let stand_in = KmsStandIn::alone(ok(json!({ "CiphertextBlob": "AQID" })));
    let root = root("alias/keypod", &stand_in.endpoint());
    let wrapped = root.wrap(&secret(), binding()).await.unwrap();
    stand_in.answer(ok(json!({ "Plaintext": in_base64() })));
    root.unwrap_key(&wrapped, binding()).await.unwrap();
    stand_in.answer(answer);
    root.wrap(&secret(), binding()).await.unwrap_err();
    let bytes = lines.0.lock().unwrap().clone();
    String::from_utf8(bytes).unwrap()
}

fn in_base64() -> String {
    base64::Engine::encode(&*crate::secret::STANDARD, [0x42; 32])
}

#[tokio::test]
#[ignore = "the test below runs it: which places log at all is decided once for a whole process"]
async fn child() {
    let plaintext = in_base64();
    let secrets = [SECRET_KEY, SESSION_TOKEN, &plaintext, "42424242", "66, 66, 66", "BBBBBBBB"];
    let repeating = Answer::invalid_signature(SESSION_TOKEN);
    for (level, answer) in [("trace", Answer::access_denied()), ("debug", repeating.clone())] {
        let log = log(level, answer).await;
        assert!(log.contains("KMS.Decrypt"), "the SDK logs to somewhere else");
        for secret in secrets {
            let line = log.lines().find(|line| line.contains(secret));
            assert_eq!(line, None, "{secret} at {level}");
        }
    }
    // The guard above would see it: at trace, answers are shown whole.
    assert!(log("trace", repeating).await.contains(SESSION_TOKEN));
}

#[test]
fn the_sdk_logs_no_secret_even_at_trace_and_what_aws_repeats_at_trace_alone() {
    crate::alone::run("root::aws_kms::tests::logs::child");
}
