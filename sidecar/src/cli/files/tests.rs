use std::path::Path;

use super::*;
use crate::cli::testing::{Answer, Seen, Sidecar};

/// Seals by flipping bits, after a first byte that is the format's.
fn sealed(plaintext: &[u8]) -> Vec<u8> {
    std::iter::once(1).chain(plaintext.iter().map(|byte| byte ^ 0x55)).collect()
}

fn answer(request: &Seen) -> Answer {
    match request.uri.as_str() {
        "/v1/encrypt?key=demo" => Answer::bytes(&sealed(&request.body)),
        "/v1/decrypt" => {
            Answer::bytes(&request.body[1..].iter().map(|byte| byte ^ 0x55).collect::<Vec<_>>())
        }
        "/v1/rewrap" => Answer::bytes(&[request.body.as_slice(), b"+"].concat()),
        other => panic!("{other}"),
    }
}

fn work(operation: Operation) -> Work {
    Work { operation, context: None, text: false, bytes_to_terminal: false }
}

fn encrypt() -> Operation {
    Operation::Encrypt { key: "demo".parse().unwrap() }
}

async fn run(
    sidecar: &Sidecar,
    work: &Work,
    paths: &[&Path],
    output: Option<&Path>,
) -> anyhow::Result<()> {
    let paths: Vec<_> = paths.iter().map(|&path| path.to_owned()).collect();
    let plan = Plan::make(&work.operation, &paths, output, false)?;
    carry_out(&mut sidecar.client(), work, plan, false).await
}

fn names(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).unwrap();
    let mut names: Vec<_> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[tokio::test]
async fn files_of_every_size_come_back_the_same() {
    let sidecar = Sidecar::start(|request| {
        let length = request.headers.get("content-length").expect("a file has a length");
        assert_eq!(length.to_str().unwrap(), request.body.len().to_string());
        answer(&request)
    });
    let folder = tempfile::tempdir().unwrap();
    let source = folder.path().join("a.bin");
    let (sealed_path, opened) = (folder.path().join("a.bin.kp1"), folder.path().join("b.bin"));
    for bytes in [0, 1, 65_535, 65_536, 65_537, 65_538, 3_000_000] {
        let content: Vec<u8> = (0..bytes).map(|i| u8::try_from(i % 251).unwrap()).collect();
        std::fs::write(&source, &content).unwrap();
        run(&sidecar, &work(encrypt()), &[&source], None).await.unwrap();
        assert!(std::fs::read(&sealed_path).unwrap() == sealed(&content), "{bytes}");
        let decrypt = work(Operation::Decrypt { key: Some("demo".parse().unwrap()) });
        run(&sidecar, &decrypt, &[&sealed_path], Some(&opened)).await.unwrap();
        assert!(std::fs::read(&opened).unwrap() == content, "{bytes}");
        std::fs::remove_file(&sealed_path).unwrap();
        std::fs::remove_file(&opened).unwrap();
    }
}

#[tokio::test]
async fn an_answer_that_breaks_off_leaves_no_file() {
    let sidecar = Sidecar::start(|request| answer(&request).breaking_off());
    let folder = tempfile::tempdir().unwrap();
    let source = folder.path().join("a.kp1");
    std::fs::write(&source, sealed(&[7; 50_000])).unwrap();
    for operation in [Operation::Decrypt { key: None }, Operation::Rewrap { new_context: None }] {
        let error = run(&sidecar, &work(operation), &[&source], None).await.unwrap_err();
        assert!(format!("{error:#}").contains("broke its answer off"), "{error:#}");
        assert_eq!(names(folder.path()), ["a.kp1"]);
        assert_eq!(std::fs::read(&source).unwrap(), sealed(&[7; 50_000]));
    }
}

#[tokio::test]
async fn another_key_than_the_expected_one_leaves_no_file() {
    let sidecar = Sidecar::start(|request| answer(&request));
    let folder = tempfile::tempdir().unwrap();
    let source = folder.path().join("a.kp1");
    std::fs::write(&source, sealed(b"x")).unwrap();
    let decrypt = work(Operation::Decrypt { key: Some("other".parse().unwrap()) });
    assert!(run(&sidecar, &decrypt, &[&source], None).await.is_err());
    assert_eq!(names(folder.path()), ["a.kp1"]);
}

#[tokio::test]
async fn a_folder_goes_on_past_a_failure_and_reports_it() {
    let sidecar = Sidecar::start(|request| match request.body.as_slice() {
        b"bad" => Answer::problem(400, "decryption_failed"),
        _ => answer(&request),
    });
    let folder = tempfile::tempdir().unwrap();
    for (name, content) in [("a", "good"), ("b", "bad"), ("c", "good")] {
        std::fs::write(folder.path().join(name), content).unwrap();
    }
    let error = run(&sidecar, &work(encrypt()), &[folder.path()], None).await.unwrap_err();
    assert!(matches!(error.downcast_ref(), Some(Failure::Reported)));
    assert_eq!(names(folder.path()), ["a", "a.kp1", "b", "c", "c.kp1"]);
}

#[tokio::test]
async fn a_refusal_of_the_caller_ends_a_folder_at_once() {
    let sidecar = Sidecar::refusing(401, "unauthenticated");
    let folder = tempfile::tempdir().unwrap();
    for name in ["a", "b"] {
        std::fs::write(folder.path().join(name), vec![0; 1 << 20]).unwrap();
    }
    let error = run(&sidecar, &work(encrypt()), &[folder.path()], None).await.unwrap_err();
    assert_eq!(error.downcast_ref().map(Problem::code), Some("unauthenticated"), "{error:#}");
    assert_eq!(names(folder.path()), ["a", "b"]);
}

#[tokio::test]
async fn rewrap_replaces_in_place_and_sends_both_contexts() {
    use std::os::unix::fs::PermissionsExt as _;
    let sidecar = Sidecar::start(|request| {
        let header = |name: &str| request.headers.get(name).unwrap().to_str().unwrap().to_owned();
        assert_eq!(header("keypod-context"), "eyJhIjoiMSJ9");
        assert_eq!(header("keypod-new-context"), "eyJhIjoiMiJ9");
        assert_eq!(header("content-type"), "application/octet-stream");
        answer(&request)
    });
    let folder = tempfile::tempdir().unwrap();
    let source = folder.path().join("a.kp1");
    std::fs::write(&source, sealed(b"x")).unwrap();
    std::fs::set_permissions(&source, std::fs::Permissions::from_mode(0o640)).unwrap();
    let context = |pair: &str| EncryptionContext::read(&[pair.parse().unwrap()], None).unwrap();
    let mut rewrap = work(Operation::Rewrap { new_context: context("a=2") });
    rewrap.context = context("a=1");
    run(&sidecar, &rewrap, &[&source], None).await.unwrap();
    assert_eq!(std::fs::read(&source).unwrap(), [sealed(b"x").as_slice(), b"+"].concat());
    assert_eq!(source.metadata().unwrap().permissions().mode() & 0o777, 0o640);
}

#[tokio::test]
async fn text_form_goes_through_the_json_routes() {
    let sidecar = Sidecar::start(|request| {
        let body: serde_json::Value = serde_json::from_slice(&request.body).unwrap();
        let answer = match request.uri.as_str() {
            "/v1/encrypt" => {
                let expected =
                    json!({"key": "demo", "plaintext": "aGVsbG8=", "context": {"a": "1"}});
                assert_eq!(body, expected);
                json!({"ciphertext": "kp1.AAAA", "key": "demo", "key_version": 1})
            }
            "/v1/decrypt" => {
                assert_eq!(body, json!({ "ciphertext": "kp1.AAAA" }));
                json!({"plaintext": "aGVsbG8=", "key": "demo", "key_version": 1})
            }
            "/v1/rewrap" => {
                assert_eq!(body, json!({"ciphertext": "kp1.AAAA", "new_context": {"a": "2"}}));
                json!({"ciphertext": "kp1.BBBB", "key": "demo", "key_version": 2})
            }
            other => panic!("{other}"),
        };
        Answer::json(200, &answer)
    });
    let folder = tempfile::tempdir().unwrap();
    let (source, opened) = (folder.path().join("a"), folder.path().join("opened"));
    let sealed_path = folder.path().join("a.kp1");
    std::fs::write(&source, "hello").unwrap();
    let context = |pair: &str| EncryptionContext::read(&[pair.parse().unwrap()], None).unwrap();
    let encrypt = Work { text: true, context: context("a=1"), ..work(encrypt()) };
    run(&sidecar, &encrypt, &[&source], None).await.unwrap();
    assert_eq!(std::fs::read(&sealed_path).unwrap(), b"kp1.AAAA\n");
    let decrypt = work(Operation::Decrypt { key: None });
    run(&sidecar, &decrypt, &[&sealed_path], Some(&opened)).await.unwrap();
    assert_eq!(std::fs::read(&opened).unwrap(), b"hello");
    let rewrap = work(Operation::Rewrap { new_context: context("a=2") });
    run(&sidecar, &rewrap, &[&sealed_path], None).await.unwrap();
    assert_eq!(std::fs::read(&sealed_path).unwrap(), b"kp1.BBBB\n");
}

#[tokio::test]
async fn a_result_with_json_lines_names_the_key() {
    let sidecar = Sidecar::start(|request| answer(&request));
    let folder = tempfile::tempdir().unwrap();
    let source = folder.path().join("a");
    std::fs::write(&source, "x").unwrap();
    let plan = Plan::make(&encrypt(), std::slice::from_ref(&source), None, false).unwrap();
    let job = plan.jobs.first().unwrap();
    let progress = Progress::hidden();
    let work = work(encrypt());
    let done = transfer::transfer(&mut sidecar.client(), &work, job, &progress).await.unwrap();
    let line = success_line(job, &done);
    assert_eq!(
        (&line["key"], &line["key_version"], &line["bytes"]),
        (&json!("demo"), &json!(3), &json!(2))
    );
    let again = transfer::transfer(&mut sidecar.client(), &work, job, &progress).await.unwrap_err();
    let line = failure_line(job, &again);
    assert!(line["error"]["message"].as_str().unwrap().contains("--force"), "{line}");
}
