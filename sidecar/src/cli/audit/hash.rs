//! Prints how the audit log hashes a subject, a context or a ciphertext, so that it can be searched for one.
//!
//! Depends on [`crate::cli::client`], [`crate::cli::context`], [`crate::cli::output`] and [`crate::audit`]. A subject is personal data:
//! it comes from a file or standard input, never from an argument, which every user of the machine can see. The hash of a
//! ciphertext needs no key, so no sidecar is asked for it. Test: `a_subject_is_never_an_argument`.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use zeroize::Zeroizing;

use crate::audit::ciphertext_hash;
use crate::cli::client::{Client, EndpointArgs};
use crate::cli::context::EncryptionContext;
use crate::cli::failure::Failure;
use crate::cli::{output, runtime};

const AFTER_HELP: &str = "\
Examples:
  printf %s patient-4711 | keypod audit hash --subject-file -
  keypod audit hash --context-file context.json
  keypod audit hash --ciphertext record.enc       asks no sidecar

Each line is a hash as entries of the log have it; one for each version of the key
keypod.audit, the newest first.";

/// What a ciphertext in text form begins with (FORMAT.md).
const TEXT_PREFIX: &[u8] = b"kp1.";
/// Digits of base64 that hold a header of 71 bytes, and no more than are needed to a multiple of four.
const HEADER_DIGITS: usize = 96;
/// What is read of a ciphertext.
const HEAD_BYTES: u64 = 128;
/// The longest subject, and the end of a line.
const SUBJECT_BYTES_MAX: usize = 1024;

/// What `keypod audit hash` takes.
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub(super) struct AuditHashArgs {
    #[command(flatten)]
    of: Of,
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    endpoint: EndpointArgs,
}

#[derive(Debug, clap::Args)]
#[group(required = true, multiple = false)]
struct Of {
    /// A file with the subject, or - for standard input; one end of line after it does not count
    #[arg(long, value_name = "FILE")]
    subject_file: Option<PathBuf>,
    /// A file with a whole context, a JSON object of strings
    #[arg(long, value_name = "FILE")]
    context_file: Option<PathBuf>,
    /// A ciphertext, or - for standard input
    #[arg(long, value_name = "FILE")]
    ciphertext: Option<PathBuf>,
}

/// `keypod audit hash`
pub(super) fn run(args: AuditHashArgs) -> anyhow::Result<()> {
    if let Some(path) = &args.of.ciphertext {
        let hash = of_ciphertext(&read(path, HEAD_BYTES)?)?;
        return match args.json {
            true => output::json(&json!({ "ciphertext": hash })),
            false => output::line(&hash),
        };
    }
    // Read before the runtime's signals would keep Ctrl-C from ending it.
    let request = request(&args.of)?;
    runtime::run(async move {
        let answer = ask(&mut Client::find(&args.endpoint)?, request).await?;
        if args.json {
            return output::json(&answer);
        }
        if let Some(disabled) = answer.get("disabled") {
            output::note(&format!(
                "versions {disabled} of keypod.audit are disabled: what was hashed with them is not found"
            ));
        }
        let hashes = answer.get("hashes").and_then(Value::as_array);
        let hashes = hashes.into_iter().flatten().filter_map(Value::as_str);
        hashes.into_iter().try_for_each(output::line)
    })
}

async fn ask(client: &mut Client, request: Zeroizing<Vec<u8>>) -> anyhow::Result<Value> {
    let answer = client.exchange(http::Method::POST, "/v1/audit/hash", Some(request)).await?;
    serde_json::from_slice(&answer).context("the sidecar's answer is not JSON")
}

/// The body of the request, which holds the subject or the context.
fn request(of: &Of) -> anyhow::Result<Zeroizing<Vec<u8>>> {
    #[derive(serde::Serialize)]
    struct Subject<'a> {
        subject: &'a str,
    }
    if let Some(path) = &of.subject_file {
        let subject = subject(read(path, SUBJECT_BYTES_MAX as u64 + 3)?)?;
        let body = serde_json::to_vec(&Subject { subject: &subject })?;
        return Ok(Zeroizing::new(body));
    }
    let context = EncryptionContext::read(&[], of.context_file.as_ref())?.unwrap_or_default();
    Ok(Zeroizing::new(json!({ "context": context.to_json() }).to_string().into_bytes()))
}

fn subject(mut bytes: Zeroizing<Vec<u8>>) -> anyhow::Result<Zeroizing<String>> {
    if bytes.last() == Some(&b'\n') {
        bytes.pop();
        if bytes.last() == Some(&b'\r') {
            bytes.pop();
        }
    }
    if bytes.len() > SUBJECT_BYTES_MAX {
        return Err(Failure::usage("a subject is at most 1024 bytes, as a value in a context"));
    }
    match std::str::from_utf8(&bytes) {
        Ok(subject) => Ok(Zeroizing::new(subject.to_owned())),
        Err(_) => Err(Failure::usage("a subject is UTF-8, as a value in a context")),
    }
}

/// The hash of a ciphertext in binary or text form.
fn of_ciphertext(head: &[u8]) -> anyhow::Result<String> {
    let none = || Failure::usage("that is no ciphertext of Keypod's: it is too short");
    let Some(digits) = head.strip_prefix(TEXT_PREFIX) else {
        return ciphertext_hash(head).ok_or_else(none);
    };
    let digits = digits.get(..HEADER_DIGITS).ok_or_else(none)?;
    let header = URL_SAFE_NO_PAD.decode(digits);
    let header = header.map_err(|_| Failure::usage("that is no ciphertext in text form"))?;
    ciphertext_hash(&header).ok_or_else(none)
}

/// At most so many bytes of a file, or of standard input.
fn read(path: &Path, bytes_max: u64) -> anyhow::Result<Zeroizing<Vec<u8>>> {
    let mut bytes = Zeroizing::new(Vec::with_capacity(SUBJECT_BYTES_MAX + 4));
    let done = match path == Path::new("-") {
        true => io::stdin().lock().take(bytes_max).read_to_end(&mut bytes),
        false => File::open(path).and_then(|file| file.take(bytes_max).read_to_end(&mut bytes)),
    };
    done.with_context(|| path.display().to_string())?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory as _, Parser};

    use super::*;
    use crate::cli::testing::Sidecar;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        args: AuditHashArgs,
    }

    fn of(arguments: &[&str]) -> Result<Of, clap::Error> {
        let line = [&["hash"][..], arguments].concat();
        Line::try_parse_from(line).map(|line| line.args.of)
    }

    fn file(text: &[u8]) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        file
    }

    #[tokio::test]
    async fn a_subject_and_a_context_are_the_requests_that_the_api_describes() {
        let sidecar = Sidecar::echoing();
        let context = file(br#"{"tenant": "clinic-7", "subject": "patient-4711"}"#);
        for (option, file, body) in [
            ("--subject-file", file(b"patient-4711\n"), r#"{"subject":"patient-4711"}"#),
            ("--subject-file", file(b"patient-4711\r\n"), r#"{"subject":"patient-4711"}"#),
            ("--subject-file", file("\"ä\\\n\n".as_bytes()), "{\"subject\":\"\\\"ä\\\\\\n\"}"),
            (
                "--context-file",
                context,
                r#"{"context":{"subject":"patient-4711","tenant":"clinic-7"}}"#,
            ),
        ] {
            let of = of(&[option, file.path().to_str().unwrap()]).unwrap();
            let answer = ask(&mut sidecar.client(), request(&of).unwrap()).await.unwrap();
            assert_eq!(answer["seen"], format!("POST /v1/audit/hash {body}"));
        }
    }

    #[test]
    fn a_subject_that_no_context_could_hold_is_wrong_usage() {
        for bad in [&[b'a'; 1025][..], b"\xff", &[b'a'; 4000]] {
            let file = file(bad);
            let of = of(&["--subject-file", file.path().to_str().unwrap()]).unwrap();
            assert!(request(&of).is_err());
        }
    }

    #[test]
    fn both_forms_of_a_ciphertext_have_one_hash_and_what_is_none_has_none() {
        let ciphertext: Vec<u8> = (0..200).collect();
        let text = crate::envelope::encode_text(&ciphertext);
        let binary = of_ciphertext(&ciphertext[..128]).unwrap();
        assert_eq!(binary, "gYnj1Udn1R4");
        assert_eq!(of_ciphertext(&text.as_bytes()[..128]).unwrap(), binary);
        for bad in [&b""[..], b"kp1.", &ciphertext[..70], &text.as_bytes()[..99], b"kp1.!!!!"] {
            assert!(of_ciphertext(bad).is_err());
        }
    }

    #[test]
    fn exactly_one_of_the_three_is_asked_about() {
        assert!(of(&[]).is_err());
        assert!(of(&["--subject-file", "-", "--ciphertext", "-"]).is_err());
        assert!(of(&["--subject-file", "-"]).is_ok());
    }

    #[test]
    fn a_subject_is_never_an_argument() {
        let command = Line::command();
        let names: Vec<_> =
            command.get_arguments().filter_map(|argument| argument.get_long()).collect();
        assert!(names.contains(&"subject-file") && !names.contains(&"subject"), "{names:?}");
        assert!(!names.contains(&"context"), "{names:?}");
        assert!(command.get_positionals().next().is_none());
    }
}
