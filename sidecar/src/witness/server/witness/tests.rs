use std::sync::Barrier;

use ed25519_dalek::SigningKey;
use tlog_tiles::Hash;

use super::*;
use crate::error_chain::error_chain;
use crate::witness::keys::CosignatureKey;
use crate::witness::protocol::Submission;
use crate::witness::testing::{Site, TestAuthority, TestLog};

const FIRST: &str = "keypod/ns/app/0001";
const SECOND: &str = "keypod/ns/app/0002";
const THIRD: &str = "keypod/ns/app/0003";

fn first() -> TestLog {
    TestLog::new(FIRST, 1)
}

fn second() -> TestLog {
    TestLog::new(SECOND, 2)
}

/// A site that knows the first log of a chain.
fn site() -> Site {
    let site = Site::new();
    site.witness.add_log(&site.authority.body(&first(), 1, None, 0)).unwrap();
    site
}

fn known(origin: &str, size: u64) -> Refusal {
    Refusal::OtherChain(Known::Log { origin: origin.to_owned(), size })
}

#[test]
fn a_log_is_cosigned_as_it_grows() {
    let site = site();
    let key = CosignatureKey::parse(&site.witness.verification_key()).unwrap();
    let log = first().grown(300, "entry");
    for (old, size) in [(0, 1), (1, 2), (2, 2), (2, 256), (256, 257), (257, 300)] {
        let line = site.witness.add_checkpoint(&log.body(old, size)).unwrap();
        let note = [&log.checkpoint(size)[..], line.as_bytes()].concat();
        let note = signed_note::Note::from_bytes(&note).unwrap();
        assert!(is_signed_by(&note, std::slice::from_ref(&key)), "{old} {size}");
        let signature = signed_note::Signature::from_bytes(line.trim_end().as_bytes()).unwrap();
        let time = key.cosigned_at(&log.text(size), signature.signature());
        assert_eq!(time, Some(crate::clock::Clock::now(&*site.clock).wall));
        // It says so of this text and of no other.
        assert_eq!(key.cosigned_at(&log.text(size + u64::from(size == 1)), b""), None);
        assert_eq!(key.cosigned_at(b"another\n", signature.signature()), None);
    }
}

#[test]
fn an_empty_log_is_cosigned_with_the_hash_of_nothing_alone() {
    let site = site();
    assert!(site.witness.add_checkpoint(&first().body(0, 0)).is_ok());
    let text = format!("{FIRST}\n0\n{}\n", Hash([1; 32]));
    let body = Submission::write(0, &[], &first().signed(text.as_bytes()));
    assert_eq!(site.witness.add_checkpoint(&body), Err(Refusal::OtherSize(0)));
}

#[test]
fn what_is_no_request_is_malformed() {
    let site = site();
    let log = first().grown(3, "entry");
    let good = String::from_utf8(log.body(0, 3)).unwrap();
    let huge = format!("{FIRST}\n{}\n{}\n", u64::MAX, Hash([1; 32]));
    let huge = Submission::write(0, &[], &log.signed(huge.as_bytes()));
    let many = format!("old 0\n{}{}", format!("{}\n", Hash([1; 32])).repeat(64), &good[6..]);
    for bad in [
        String::new(),
        "old 0".to_owned(),
        "old 0\n".to_owned(),
        good.replacen("old 0", "old 00", 1),
        good.replacen("old 0", "old +0", 1),
        good.replacen("old 0", "old -1", 1),
        good.replacen("old 0", "old 18446744073709551616", 1),
        good.replacen("old 0", "Old 0", 1),
        good.replacen("old 0", "old  0", 1),
        good.replacen("old 0\n", "old 0\r\n", 1),
        good.replacen("old 0\n", "old 0\nAAAA\n", 1),
        good.replacen("old 0\n", "", 1),
        good.replacen("\n3\n", "\n03\n", 1),
        good.replacen("\n3\n", "\n3 \n", 1),
        good.trim_end().to_owned(),
        good.replace('\u{2014}', "-"),
        String::from_utf8(huge).unwrap(),
        many,
    ] {
        let refused = site.witness.add_checkpoint(bad.as_bytes());
        assert!(matches!(refused, Err(Refusal::Malformed(_))), "{bad}: {refused:?}");
    }
    assert!(matches!(site.witness.add_checkpoint(b"\xff"), Err(Refusal::Malformed(_))));
    assert!(site.witness.add_checkpoint(good.as_bytes()).is_ok());
    // Larger than the checkpoint: 400, whatever is known.
    let body = Submission::write(4, &[], &log.checkpoint(3));
    assert!(matches!(site.witness.add_checkpoint(&body), Err(Refusal::Malformed(_))));
}

#[test]
fn an_unknown_origin_and_a_wrong_signature_are_told_apart() {
    let site = site();
    let grown = |log: TestLog| log.grown(3, "entry");
    for origin in ["keypod/ns/app/0009", "keypod/ns/other/0001", "elsewhere", "/", "a/"] {
        let body = grown(TestLog::new(origin, 1)).body(0, 3);
        assert_eq!(site.witness.add_checkpoint(&body), Err(Refusal::UnknownLog), "{origin}");
    }
    let other_key = grown(TestLog::new(FIRST, 9)).body(0, 3);
    let refused = site.witness.add_checkpoint(&other_key);
    assert!(matches!(refused, Err(Refusal::NotTrusted(_))), "{refused:?}");
    // The name and id of the log's key, and another signature.
    let good = grown(first());
    let forged = String::from_utf8(good.body(0, 3)).unwrap().replacen("\n3\n", "\n2\n", 1);
    let refused = site.witness.add_checkpoint(forged.as_bytes());
    assert!(matches!(refused, Err(Refusal::NotTrusted(_))), "{refused:?}");
    assert!(site.witness.add_checkpoint(&good.body(0, 3)).is_ok());
}

#[test]
fn another_old_size_is_answered_with_the_one_that_is_known() {
    let site = site();
    let log = first().grown(10, "entry");
    site.witness.add_checkpoint(&log.body(0, 5)).unwrap();
    for (old, size) in [(0, 10), (4, 10), (6, 10), (0, 5), (0, 3), (3, 3)] {
        let refused = site.witness.add_checkpoint(&log.body(old, size));
        assert_eq!(refused, Err(Refusal::OtherSize(5)), "{old} {size}");
    }
    assert!(site.witness.add_checkpoint(&log.body(5, 10)).is_ok());
}

#[test]
fn a_log_that_was_rolled_back_or_forked_is_not_cosigned() {
    let site = site();
    let log = first().grown(10, "entry");
    site.witness.add_checkpoint(&log.body(0, 7)).unwrap();
    // Back to five entries, and on from there with others.
    let forked = first().grown(5, "entry").grown(12, "another");
    assert_eq!(site.witness.add_checkpoint(&forked.body(7, 12)), Err(Refusal::Inconsistent));
    assert_eq!(site.witness.add_checkpoint(&forked.body(5, 12)), Err(Refusal::OtherSize(7)));
    assert_eq!(site.witness.add_checkpoint(&forked.body(7, 7)), Err(Refusal::OtherSize(7)));
    assert_eq!(site.witness.add_checkpoint(&log.body(5, 5)), Err(Refusal::OtherSize(7)));
    assert!(site.witness.add_checkpoint(&log.body(7, 10)).is_ok(), "and the honest one goes on");
}

#[test]
fn proofs_of_another_length_or_with_another_hash_prove_nothing() {
    let site = site();
    let log = first().grown(100, "entry");
    site.witness.add_checkpoint(&log.body(0, 37)).unwrap();
    let good = log.proof(37, 100);
    let mut bad = vec![vec![], good[1..].to_vec(), good[..good.len() - 1].to_vec()];
    bad.push([&good[..], &[Hash([0; 32])]].concat());
    bad.push([&[Hash([0; 32])], &good[..]].concat());
    bad.push(vec![Hash([7; 32]); 63]);
    for at in 0..good.len() {
        let mut changed = good.clone();
        changed[at].0[31] ^= 1;
        bad.push(changed);
    }
    for proof in bad {
        let body = Submission::write(37, &proof, &log.checkpoint(100));
        assert_eq!(site.witness.add_checkpoint(&body), Err(Refusal::Inconsistent), "{proof:?}");
    }
    // Where there is nothing to prove, a proof is wrong.
    let body = Submission::write(37, &good, &log.checkpoint(37));
    assert_eq!(site.witness.add_checkpoint(&body), Err(Refusal::Inconsistent));
    assert!(site.witness.add_checkpoint(&log.body(37, 100)).is_ok());
    let site = self::site();
    let body = Submission::write(0, &[Hash([0; 32])], &log.checkpoint(100));
    assert_eq!(site.witness.add_checkpoint(&body), Err(Refusal::Inconsistent));
}

#[test]
fn of_two_that_race_one_is_cosigned() {
    for _ in 0..20 {
        let site = site();
        let log = first().grown(5, "entry");
        site.witness.add_checkpoint(&log.body(0, 5)).unwrap();
        let ways: Vec<_> =
            (0..8).map(|way| log.clone().grown(6 + way % 4, &format!("way {way}"))).collect();
        let start = Barrier::new(ways.len());
        let answers: Vec<_> = std::thread::scope(|scope| {
            let asked: Vec<_> = ways
                .iter()
                .map(|log| {
                    scope.spawn(|| {
                        let body = log.body(5, log.size);
                        start.wait();
                        site.witness.add_checkpoint(&body)
                    })
                })
                .collect();
            asked.into_iter().map(|asked| asked.join().unwrap()).collect()
        });
        let cosigned: Vec<_> = (0..ways.len()).filter(|way| answers[*way].is_ok()).collect();
        assert_eq!(cosigned.len(), 1, "{answers:?}");
        let winner = &ways[cosigned[0]];
        // What is remembered is what was cosigned.
        assert!(site.witness.add_checkpoint(&winner.body(winner.size, winner.size)).is_ok());
        let site = site.restarted();
        assert!(site.witness.add_checkpoint(&winner.body(winner.size, winner.size)).is_ok());
    }
}

#[test]
fn of_two_successors_that_race_one_is_taken() {
    for _ in 0..20 {
        let site = site();
        let log = first().grown(5, "entry");
        site.witness.add_checkpoint(&log.body(0, 5)).unwrap();
        let successors: Vec<_> =
            (2..8).map(|seed| TestLog::new(&format!("keypod/ns/app/{seed}"), seed)).collect();
        let start = Barrier::new(successors.len());
        let taken: Vec<_> = std::thread::scope(|scope| {
            let asked: Vec<_> = successors
                .iter()
                .map(|successor| {
                    scope.spawn(|| {
                        let body = site.authority.body(successor, 2, Some((&log, 5)), 5);
                        start.wait();
                        site.witness.add_log(&body).is_ok()
                    })
                })
                .collect();
            asked.into_iter().map(|asked| asked.join().unwrap()).collect()
        });
        assert_eq!(taken.iter().filter(|taken| **taken).count(), 1, "{taken:?}");
    }
}

#[test]
fn what_was_cosigned_survives_a_restart() {
    let site = site();
    let log = first().grown(20, "entry");
    site.witness.add_checkpoint(&log.body(0, 9)).unwrap();
    let site = site.restarted();
    assert_eq!(site.witness.add_checkpoint(&log.body(0, 20)), Err(Refusal::OtherSize(9)));
    site.witness.add_checkpoint(&log.body(9, 20)).unwrap();
    let successor = second().grown(1, "start");
    site.witness.add_log(&site.authority.body(&successor, 2, Some((&log, 20)), 20)).unwrap();
    let site = site.restarted();
    assert!(site.witness.add_checkpoint(&successor.body(0, 1)).is_ok());
    assert!(
        site.witness.add_checkpoint(&log.body(20, 20)).is_ok(),
        "of the one that has ended too"
    );
}

#[test]
fn a_log_is_followed_by_the_next_and_ends_with_that() {
    let site = site();
    let log = first().grown(12, "entry");
    site.witness.add_checkpoint(&log.body(0, 5)).unwrap();
    // Its sidecar was killed after the checkpoint at 5; eight entries were found.
    let successor = second().grown(4, "entry");
    let body = site.authority.body(&successor, 2, Some((&log, 8)), 5);
    site.witness.add_log(&body).unwrap();
    site.witness.add_log(&body).unwrap();
    assert!(site.witness.add_checkpoint(&successor.body(0, 4)).is_ok());
    // Up to what was found it is cosigned, and no further: whoever still writes it writes a second one.
    assert!(site.witness.add_checkpoint(&log.body(8, 8)).is_ok());
    let refused = site.witness.add_checkpoint(&log.body(8, 12));
    assert!(matches!(refused, Err(Refusal::NotTrusted(_))), "{refused:?}");
    // The one before is forgotten once two have followed.
    let third = TestLog::new(THIRD, 3);
    site.witness.add_log(&site.authority.body(&third, 3, Some((&successor, 4)), 4)).unwrap();
    assert_eq!(site.witness.add_checkpoint(&log.body(8, 8)), Err(Refusal::UnknownLog));
}

#[test]
fn a_log_that_was_rolled_back_is_refused_at_its_start() {
    let site = site();
    let log = first().grown(12, "entry");
    site.witness.add_checkpoint(&log.body(0, 10)).unwrap();
    // The disk is back at six entries.
    let refused = site.witness.add_log(&site.authority.body(&second(), 2, Some((&log, 6)), 6));
    assert_eq!(refused, Err(known(FIRST, 10)));
    // Back at six, and on from there to eleven others.
    let forked = first().grown(6, "entry").grown(11, "another");
    let refused = site.witness.add_log(&site.authority.body(&second(), 2, Some((&forked, 11)), 10));
    assert_eq!(refused, Err(Refusal::Inconsistent));
    // As many as were cosigned, and others.
    let forked = first().grown(10, "another");
    let refused = site.witness.add_log(&site.authority.body(&second(), 2, Some((&forked, 10)), 10));
    assert_eq!(refused, Err(Refusal::Inconsistent));
    // A disk without anything on it.
    let refused = site.witness.add_log(&site.authority.body(&second(), 1, None, 0));
    assert_eq!(refused, Err(known(FIRST, 10)));
    // And nothing of it was remembered.
    let honest = site.authority.body(&second(), 2, Some((&log, 12)), 10);
    assert_eq!(site.witness.add_log(&honest), Ok(()));
}

#[test]
fn a_second_log_on_a_copy_of_the_disk_is_refused() {
    let site = site();
    let log = first().grown(5, "entry");
    site.witness.add_checkpoint(&log.body(0, 5)).unwrap();
    site.witness.add_log(&site.authority.body(&second(), 2, Some((&log, 5)), 5)).unwrap();
    // The copy starts too: its log follows the same one.
    let copy = TestLog::new(THIRD, 3);
    let refused = site.witness.add_log(&site.authority.body(&copy, 2, Some((&log, 5)), 5));
    assert_eq!(refused, Err(known(SECOND, 0)));
    // The same origin with another key is another log.
    let impostor = TestLog::new(SECOND, 9);
    let refused = site.witness.add_log(&site.authority.body(&impostor, 2, Some((&log, 5)), 5));
    assert_eq!(refused, Err(known(SECOND, 0)));
}

#[test]
fn a_log_that_was_left_out_is_missed() {
    let site = site();
    let log = first().grown(5, "entry");
    site.witness.add_checkpoint(&log.body(0, 5)).unwrap();
    for number in [1, 3, 4] {
        let certificate = second().certificate(number, Some((&log, 5))).text();
        let body = Submission::write(5, &[], &site.authority.signed(&certificate));
        let refused = site.witness.add_log(&body).unwrap_err();
        let malformed = matches!(refused, Refusal::Malformed(_));
        assert!(if number == 1 { malformed } else { refused == known(FIRST, 5) }, "{refused:?}");
    }
    let unseen = second().grown(4, "entry");
    let body = site.authority.body(&TestLog::new(THIRD, 3), 3, Some((&unseen, 4)), 4);
    assert_eq!(site.witness.add_log(&body), Err(known(FIRST, 5)));
}

#[test]
fn a_chain_is_taken_up_at_its_first_log_or_where_the_operator_says() {
    let log = first().grown(5, "entry");
    let site = Site::new();
    let body = site.authority.body(&second(), 2, Some((&log, 5)), 0);
    let unproven = Submission::write(
        0,
        &[],
        &site.authority.signed(&second().certificate(2, Some((&log, 5))).text()),
    );
    assert_eq!(site.witness.add_log(&body), Err(Refusal::OtherChain(Known::Nothing)));
    assert_eq!(site.witness.add_log(&unproven), Err(Refusal::OtherChain(Known::Nothing)));
    let site = Site::with(|settings| settings.adopt = true);
    assert_eq!(site.witness.add_log(&unproven), Ok(()));
    assert!(site.witness.add_checkpoint(&second().grown(1, "start").body(0, 1)).is_ok());
    // It is taken up once: what does not follow is refused from then on.
    let other = TestLog::new(THIRD, 3);
    let body = site.authority.body(&other, 3, Some((&second(), 0)), 0);
    assert_eq!(site.witness.add_log(&body), Err(known(SECOND, 1)));
}

#[test]
fn a_certificate_is_believed_from_an_authority_that_is_known_and_from_no_other() {
    let site = Site::new();
    let stranger = TestAuthority::new(7);
    let refused = site.witness.add_log(&stranger.body(&first(), 1, None, 0));
    assert!(matches!(refused, Err(Refusal::NotTrusted(_))), "{refused:?}");
    // A log does not certify itself.
    let text = first().certificate(1, None).text();
    let body = Submission::write(0, &[], &first().signed(text.as_bytes()));
    assert!(matches!(site.witness.add_log(&body), Err(Refusal::NotTrusted(_))));
    // What an authority has signed for a check is no certificate.
    let check =
        site.authority.signed("keypod-authority-check/v1\n00112233445566778899aabbccddeeff\n");
    let body = Submission::write(0, &[], &check);
    assert!(matches!(site.witness.add_log(&body), Err(Refusal::Malformed(_))));
    // Changed after it was signed.
    let good = String::from_utf8(site.authority.body(&first(), 1, None, 0)).unwrap();
    let changed = good.replacen("2026-11-24", "2026-11-25", 1);
    let refused = site.witness.add_log(changed.as_bytes());
    assert!(matches!(refused, Err(Refusal::NotTrusted(_))), "{refused:?}");
    assert_eq!(site.witness.add_log(good.as_bytes()), Ok(()));
    assert_eq!(site.witness.chains(), 1);
}

#[test]
fn logs_without_certificates_are_cosigned_if_the_operator_names_them() {
    let log = TestLog::new("example.com/behind-the-sofa", 5).grown(10, "entry");
    let site = Site::with(|settings| settings.logs = vec![log.vkey()]);
    site.witness.add_checkpoint(&log.body(0, 4)).unwrap();
    let mut settings = site.settings();
    settings.logs = vec![log.vkey()];
    let site = site.restarted_with(settings);
    assert_eq!(site.witness.add_checkpoint(&log.body(0, 10)), Err(Refusal::OtherSize(4)));
    assert!(site.witness.add_checkpoint(&log.body(4, 10)).is_ok());
    // Nobody takes its place by a certificate.
    let body = site.authority.body(&TestLog::new("example.com/behind-the-sofa", 9), 1, None, 0);
    assert!(matches!(site.witness.add_log(&body), Err(Refusal::Malformed(_))));
}

#[test]
fn no_more_chains_are_taken_than_are_allowed() {
    let site = Site::with(|settings| settings.logs_max = 3);
    let body = |number: u8| {
        let log = TestLog::new(&format!("chain-{number}/0001"), number);
        site.authority.body(&log, 1, None, 0)
    };
    for number in 1..=3 {
        assert_eq!(site.witness.add_log(&body(number)), Ok(()));
    }
    assert_eq!(site.witness.add_log(&body(4)), Err(Refusal::Full));
    assert_eq!(site.witness.add_log(&body(3)), Ok(()), "one that is known is not one more");
}

#[test]
fn what_it_cannot_write_down_it_does_not_cosign() {
    let site = site();
    let log = first().grown(5, "entry");
    let state = site.settings().state;
    let away = state.with_file_name("away");
    std::fs::rename(&state, &away).unwrap();
    let refused = site.witness.add_checkpoint(&log.body(0, 5));
    assert!(matches!(refused, Err(Refusal::Disk(_))), "{refused:?}");
    std::fs::rename(&away, &state).unwrap();
    assert!(site.witness.add_checkpoint(&log.body(0, 5)).is_ok(), "and nothing was remembered");
}

#[test]
fn a_witness_whose_memory_was_altered_does_not_start() {
    let site = site();
    site.witness.add_checkpoint(&first().grown(5, "entry").body(0, 5)).unwrap();
    let state = site.settings().state;
    let entries = std::fs::read_dir(&state).unwrap().map(|entry| entry.unwrap().path());
    let file = entries.into_iter().find(|path| path.extension().is_some()).unwrap();
    let good = std::fs::read_to_string(&file).unwrap();
    let stopped = site.stopped();
    let open = |text: &str, path: &std::path::Path| {
        std::fs::write(path, text).unwrap();
        let opened = Witness::open(stopped.settings(), Arc::clone(&stopped.clock) as _);
        opened.err().map(|error| error_chain(&error))
    };
    for bad in ["", "{}", &good[1..], &good.replace("\"5\"", "\"-5\""), &good.replace("app", "apq")]
    {
        let error = open(bad, &file).expect(bad);
        assert!(error.contains("was altered or is damaged"), "{error}");
    }
    let elsewhere = state.join(format!("{}.json", "0".repeat(64)));
    std::fs::write(&file, &good).unwrap();
    assert!(open(&good, &elsewhere).is_some(), "a file under another chain's name");
    std::fs::remove_file(elsewhere).unwrap();
    assert_eq!(open(&good, &file), None);
}

#[test]
fn two_witnesses_do_not_share_a_folder() {
    let site = site();
    let second = Witness::open(site.settings(), Arc::clone(&site.clock) as _).unwrap_err();
    assert!(error_chain(&second).contains("another witness has"), "{second}");
    let mut settings = site.settings();
    settings.authorities.clear();
    let nobody = Witness::open(settings, Arc::clone(&site.clock) as _).unwrap_err();
    assert!(matches!(nobody, WitnessError::Nobody));
}

#[test]
fn the_time_of_a_cosignature_is_the_witness_s() {
    let site = site();
    let log = first().grown(2, "entry");
    let at = |line: &str, size: u64| {
        let key = CosignatureKey::parse(&site.witness.verification_key()).unwrap();
        let signature = signed_note::Signature::from_bytes(line.trim_end().as_bytes()).unwrap();
        key.cosigned_at(&log.text(size), signature.signature()).unwrap().0
    };
    let one = at(&site.witness.add_checkpoint(&log.body(0, 1)).unwrap(), 1);
    site.clock.advance(std::time::Duration::from_secs(60));
    let two = at(&site.witness.add_checkpoint(&log.body(1, 2)).unwrap(), 2);
    assert_eq!(two - one, 60);
}

/// A vector of this format, made with another implementation of Ed25519: seed, name, time and text are in it.
#[test]
fn a_cosignature_is_as_the_specification_says() {
    let seed = [0x42; 32];
    let key = SigningKey::from_bytes(&seed);
    let text =
        "example.com/behind-the-sofa\n20852163\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n";
    let message = format!("cosignature/v1\ntime 1679315147\n{text}");
    let signature = ed25519_dalek::Signer::sign(&key, message.as_bytes()).to_bytes();
    let bytes = [&1_679_315_147_u64.to_be_bytes()[..], &signature].concat();
    let vkey = COSIGNATURE_VECTOR.0;
    let parsed = CosignatureKey::parse(vkey).unwrap();
    assert_eq!(parsed.to_string(), vkey);
    assert_eq!(parsed.cosigned_at(text.as_bytes(), &bytes).unwrap().0, 1_679_315_147);
    let line = signed_note::Signature::from_bytes(COSIGNATURE_VECTOR.1.as_bytes()).unwrap();
    assert_eq!(line.signature(), bytes);
}

/// The witness's verification key, and its line.
const COSIGNATURE_VECTOR: (&str, &str) = (
    "witness.example/w1+f1ed8c47+BCFS+NGbeR0kRTJC4V8uq2y3z/p7al7TAJeWDgaYgdsS",
    "— witness.example/w1 8e2MRwAAAABkGFDLEqgtDUsneMqeLcGMqk8Xx08OQIVxF72ZJmEtUU5sbo5WiTljN+UF1cQ+vSoh1gRQ0wV3Nz9m8DFvjwHDTDcQBA==",
);
