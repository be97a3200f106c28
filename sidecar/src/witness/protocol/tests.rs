use proptest::prelude::*;

use super::*;
use crate::witness::testing::TestLog;

fn log() -> TestLog {
    TestLog::new("keypod/ns/app/0001", 1).grown(5, "entry")
}

fn next() -> TestLog {
    TestLog::new("keypod/ns/app/0002", 2)
}

#[test]
fn a_certificate_reads_back_what_it_writes() {
    for certificate in [log().certificate(1, None), next().certificate(2, Some((&log(), 5)))] {
        let text = certificate.text();
        assert_eq!(Certificate::parse(text.as_bytes()), Ok(certificate.clone()));
        assert_eq!(certificate.chain(), "keypod/ns/app");
    }
    let text = next().certificate(2, Some((&log(), 5))).text();
    let expected = format!(
        "keypod-audit-certificate/v1\nlog keypod/ns/app/0002\nkey {}\ntime 2026-11-24T06:00:00Z\nnumber 2\nprevious keypod/ns/app/0001 5 {}\n",
        next().vkey(),
        log().root(5)
    );
    assert_eq!(text, expected);
}

#[test]
fn a_certificate_has_one_spelling_and_parts_that_fit() {
    let good = next().certificate(2, Some((&log(), 5))).text();
    let other = log().vkey().to_string();
    for (from, to) in [
        ("/v1\n", "/v2\n"),
        ("log keypod/ns/app/0002", "log keypod/ns/app/0003"),
        ("log keypod", "log  keypod"),
        (&next().vkey().to_string(), other.as_str()),
        ("06:00:00Z", "06:00:00.0Z"),
        ("06:00:00Z", "06:00:00+00:00"),
        ("T06", " 06"),
        ("number 2", "number 02"),
        ("number 2", "number 0"),
        ("number 2", "number 1"),
        ("number 2", "number -2"),
        ("app/0001 5", "app/0001 05"),
        ("app/0001 5", "app/0001"),
        ("app/0001 5", "other/0001 5"),
        ("app/0001 5", "app/0002 5"),
        ("previous keypod", "previous  keypod"),
        ("number 2\n", ""),
        ("number 2\n", "number 2\nnumber 2\n"),
        ("time", "Time"),
    ] {
        let changed = good.replacen(from, to, 1);
        assert_ne!(changed, good, "{from}");
        assert!(Certificate::parse(changed.as_bytes()).is_err(), "{changed}");
    }
    for changed in [
        good.trim_end().to_owned(),
        format!("{good}\n"),
        format!("{good}more x\n"),
        format!("\n{good}"),
        good.replace('\n', "\r\n"),
        String::new(),
    ] {
        assert!(Certificate::parse(changed.as_bytes()).is_err(), "{changed}");
    }
    let alone = TestLog::new("nochain", 1).certificate(1, None).text();
    assert!(Certificate::parse(alone.as_bytes()).is_err());
    let second_without = next().certificate(2, None).text();
    assert!(Certificate::parse(second_without.as_bytes()).is_err());
}

#[test]
fn the_example_of_the_specification_is_read() {
    let body = "old 20852014\n\
        PlRNCrwHpqhGrupue0L7gxbjbMiKA9temvuZZDDpkaw=\n\
        jrJZDmY8Y7SyJE0MWLpLozkIVMSMZcD5kvuKxPC3swk=\n\
        5+pKlUdi2LeF/BcMHBn+Ku6yhPGNCswZZD1X/6QgPd8=\n\
        /6WVhPs2CwSsb5rYBH5cjHV/wSmA79abXAwhXw3Kj/0=\n\
        \n\
        example.com/behind-the-sofa\n\
        20852163\n\
        CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n\
        \n\
        \u{2014} example.com/behind-the-sofa Az3grlgtzPICa5OS8npVmf1Myq/5IZniMp+ZJurmRDeOoRDe4URYN7u5/Zhcyv2q1gGzGku9nTo+zyWE+xeMcTOAYQ8=\n\
        \u{2014} example.com/behind-the-sofa opLqBQsREYCgu6xQkYQwJr9fo45a62DN9EdmHXnZdXNqlcVGlCum2Wks+49/V6267UEjw6QUXTS5Rovnzv++qbSzm9Q=\n";
    let submission = Submission::parse(body.as_bytes()).unwrap();
    let checkpoint = submission.checkpoint().unwrap();
    assert_eq!((submission.old, submission.proof.len()), (20_852_014, 4));
    assert_eq!(
        (checkpoint.origin(), checkpoint.size()),
        ("example.com/behind-the-sofa", 20_852_163)
    );
    let written = Submission::write(submission.old, &submission.proof, &submission.note.to_bytes());
    assert_eq!(written, body.as_bytes());
}

#[test]
fn a_size_has_one_spelling_and_a_bound() {
    assert_eq!(size("0"), Some(0));
    assert_eq!(size("4611686018427387904"), Some(SIZE_MAX));
    for bad in ["", "00", "01", "+1", "-1", " 1", "1 ", "4611686018427387905", "1e3", "\u{661}"] {
        assert_eq!(size(bad), None, "{bad}");
    }
}

#[test]
fn what_is_known_reads_back_what_it_writes() {
    let log = Known::Log { origin: "a b/c".to_owned(), size: 7 };
    for known in [Known::Nothing, log] {
        assert_eq!(Known::parse(&known.write()), Some(known));
    }
    for bad in ["", "\n", "none", "a/b 07\n", "a/b 7", " 7\n", "a/b\n", "a\tb 7\n", "none\nnone\n"]
    {
        assert_eq!(Known::parse(bad), None, "{bad:?}");
    }
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        let _ = Submission::parse(&bytes);
        let _ = Certificate::parse(&bytes);
        let head = b"old 3\n\nkeypod/ns/app/0001\n";
        let _ = Submission::parse(&[head, &bytes[..]].concat());
    }

    #[test]
    fn every_two_sizes_of_a_log_lead_from_one_to_the_other_with_their_own_proof_alone(
        old in 0_u64..70, more in 0_u64..70,
    ) {
        let log = TestLog::new("a/b", 1).grown(old + more, "entry");
        let head = |size: u64| if size == 0 {
            Head::EMPTY
        } else {
            Head { size, root: log.root(size) }
        };
        let (from, to) = (head(old), head(old + more));
        let proof = log.proof(old, old + more);
        prop_assert!(from.leads_to(&to, &proof));
        let longer = [&proof[..], &[Hash([0; 32])]].concat();
        prop_assert!(!from.leads_to(&to, &longer));
        if !proof.is_empty() {
            prop_assert!(!from.leads_to(&to, &proof[1..].to_vec()));
        }
        let other = Head { root: Hash([9; 32]), ..to };
        prop_assert!(!from.leads_to(&other, &proof) || old == 0 && more > 0);
    }
}
