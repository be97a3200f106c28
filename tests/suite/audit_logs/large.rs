//! Large logs: that they take no more memory than small ones, and folders for looks and figures:
//! `cargo test -p keypod-tests --test suite audit_logs::large -- --ignored`. They stay in
//! target/keypod-test-audit-logs.

use std::path::PathBuf;

use keypod_tests::repository;
use serde_json::{Value, json};

use super::authority;
use super::builder::Chain;

fn folder(name: &str) -> PathBuf {
    let folder = repository().join("target/keypod-test-audit-logs").join(name);
    let _ = std::fs::remove_dir_all(&folder);
    folder
}

#[test]
#[ignore = "for figures"]
fn one_log_of_a_million_entries() {
    Chain::begin(&folder("1M"), authority()).closed(1_000_000);
}

#[test]
#[ignore = "for figures"]
fn one_log_of_four_million_entries() {
    Chain::begin(&folder("4M"), authority()).closed(4_000_000);
}

#[test]
#[ignore = "for figures"]
fn one_log_of_ten_million_entries() {
    Chain::begin(&folder("10M"), authority()).closed(10_000_000);
}

/// What only has to be varied, and the same in each run.
struct Random(u64);

impl Random {
    fn below(&mut self, end: u64) -> u64 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % end
    }
}

/// One request of a clinic's day.
fn request(random: &mut Random, day: u64) -> (&'static str, Value) {
    let callers =
        ["billing", "intake", "intake", "reports", "records", "records", "records", "archive"];
    let mut caller = callers[usize::try_from(random.below(8)).unwrap()];
    if day > 12 && random.below(9) == 0 {
        caller = "research";
    }
    let operations =
        ["decrypt", "decrypt", "decrypt", "encrypt", "encrypt", "decrypt_batch", "rewrap"];
    let operation = operations[usize::try_from(random.below(7)).unwrap()];
    let key = if caller == "billing" { "cards" } else { "patients" };
    let mut fields = json!({
        "request": format!("{:016x}", random.below(1 << 30)), "caller": caller, "proof": "service_account",
        "transport": "unix", "key": key, "version": 1 + day / 20, "bytes": 100 + random.below(900),
        "policies": ["pack.hipaa"], "policy_set": "0123456789abcdef",
    });
    let refused = if caller == "research" { 6 } else { 120 };
    if random.below(refused) == 0 {
        fields["outcome"] = json!("denied");
        fields["code"] = json!("forbidden");
    } else if random.below(300) == 0 {
        fields["outcome"] = json!("failed");
        fields["code"] =
            json!(if random.below(3) == 0 { "root_unavailable" } else { "decryption_failed" });
    }
    (operation, fields)
}

fn event(chain: &mut Chain, operation: &str, fields: Value) {
    let entry = chain.entry(operation, &fields);
    chain.logs.last_mut().unwrap().entries.push(entry);
}

/// What happens on some days alone.
fn special(chain: &mut Chain, day: u64) {
    let admin = |detail: Value| json!({ "caller": "ops.anna", "proof": "person", "mfa": true, "detail": detail });
    match day {
        2 => event(
            chain,
            "create_key",
            json!({ "caller": "ops.anna", "key": "research", "version": 1 }),
        ),
        9 => event(
            chain,
            "sink_lost",
            json!({ "outcome": "failed", "detail": { "sink": "otlp", "entries": 214 } }),
        ),
        16 => {
            let reason = "INC-2291: patient in ICU, chart locked";
            event(
                chain,
                "begin_emergency",
                json!({ "caller": "dr.osei", "proof": "person", "mfa": true, "detail": { "reason": reason, "minutes": 30 } }),
            );
            for _ in 0..7 {
                event(
                    chain,
                    "decrypt",
                    json!({ "caller": "dr.osei", "key": "patients", "version": 1, "emergency": true }),
                );
            }
            event(
                chain,
                "emergency_end",
                json!({ "detail": { "caller": "dr.osei", "reason": reason } }),
            );
        }
        19 => {
            event(chain, "rotate", json!({ "caller": "ops.anna", "key": "patients", "version": 2 }))
        }
        21 => event(chain, "policies", admin(json!({ "policies": 14 }))),
        23 => event(
            chain,
            "refused",
            json!({ "outcome": "denied", "detail": { "unauthenticated": { "uid 1000": 41 }, "rate_limited": { "research": 12 } } }),
        ),
        24 => event(
            chain,
            "destroy",
            json!({ "caller": "ops.anna", "key": "cards", "version": 1, "approved": true, "outcome": "begun" }),
        ),
        _ => {}
    }
}

/// Thirty days of a clinic: nights and weekends, a new caller, an emergency, a rotation, a crash.
fn month(chain: &mut Chain) {
    let mut random = Random(7);
    chain.open();
    for day in 0..30_u64 {
        let begin = chain.now_ms / 86_400_000 * 86_400_000 + 86_400_000;
        for hour in 0..24_u64 {
            let busy = match (day % 7, hour) {
                (4 | 5, _) => 3,
                (_, 8..=11 | 13..=16) => 60,
                (_, 7 | 12 | 17 | 18) => 30,
                _ => 4,
            };
            chain.now_ms = begin + hour * 3_600_000;
            for _ in 0..busy + random.below(busy / 2 + 1) {
                let (operation, fields) = request(&mut random, day);
                event(chain, operation, fields);
                chain.now_ms += random.below(3_000_000 / (busy * 2));
            }
        }
        special(chain, day);
        if day == 10 || day == 20 {
            chain.close();
            chain.open();
        } else if day == 14 {
            let log = chain.logs.last_mut().unwrap();
            log.signed = log.entries.len() as u64 - 9;
            log.write(log.signed);
            chain.open();
        }
    }
    chain.close();
}

#[test]
#[ignore = "for looks"]
fn a_month_of_a_clinic() {
    let mut chain = Chain::begin(&folder("month"), authority());
    month(&mut chain);
    let mut chain = Chain::begin(&folder("tampered"), authority());
    month(&mut chain);
    let bundle = super::builder::bundle_path(&chain.log(2).folder, 1, 256);
    let mut bytes = std::fs::read(&bundle).unwrap();
    let at = bytes.windows(9).position(|window| window == b"\"version\"").unwrap();
    bytes[at + 10] ^= 1;
    super::builder::put(&bundle, &bytes);
}

/// The most memory that a verification had, in KiB, as the kernel counts it.
fn peak_kib(folder: &std::path::Path) -> u64 {
    let script = "import os, subprocess, sys\n\
        child = subprocess.Popen(sys.argv[1:], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)\n\
        _, status, usage = os.wait4(child.pid, 0)\n\
        assert status == 0\n\
        print(usage.ru_maxrss)";
    let mut command = std::process::Command::new("python3");
    command.args(["-c", script]).arg(keypod_tests::keypod()).args(["audit", "verify"]).arg(folder);
    let (code, text, errors) = super::verifiers::run(command);
    assert_eq!(code, 0, "{errors}");
    text.trim().parse().unwrap()
}

#[test]
#[ignore = "for figures"]
fn twenty_thousand_logs() {
    let mut chain = Chain::begin(&folder("20k"), authority());
    (0..20_000).for_each(|_| chain.closed(3));
}

#[test]
fn memory_hardly_grows_with_the_number_of_logs() {
    let folder = tempfile::tempdir().unwrap();
    let peak = |name: &str, count| {
        let folder = folder.path().join(name);
        let mut chain = Chain::begin(&folder, authority());
        (0..count).for_each(|_| chain.closed(3));
        peak_kib(&folder)
    };
    let (small, large) = (peak("few", 100), peak("many", 3_000));
    // A line of the list each, and not their certificates: those alone would be three thousand KiB more.
    assert!(large < small + 1500, "{small} KiB, {large} KiB");
}

#[test]
fn memory_does_not_grow_with_the_log() {
    let folder = tempfile::tempdir().unwrap();
    let peak = |name: &str, count| {
        let folder = folder.path().join(name);
        Chain::begin(&folder, authority()).closed(count);
        peak_kib(&folder)
    };
    let (small, large) = (peak("small", 20_000), peak("large", 150_000));
    // The hashes of the leaves alone would be four thousand KiB more, and the entries fifty thousand.
    assert!(large < small + 3000, "{small} KiB, {large} KiB");
}
