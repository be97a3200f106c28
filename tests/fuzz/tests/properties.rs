//! The fuzz targets' bodies on stable Rust: the vectors and random changes to them, for
//! `KEYPOD_FUZZ_SECONDS` seconds each (one by default). Finds less than libFuzzer, which sees the branches.

use std::time::{Duration, Instant};

use serde_json::Value;

/// SplitMix64: what it draws only has to be varied and the same in each run.
struct Random(u64);

impl Random {
    fn draw(&mut self, below: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((mixed ^ (mixed >> 31)) % below.max(1) as u64).unwrap()
    }

    /// One seed with a few changes.
    fn changed(&mut self, seeds: &[Vec<u8>]) -> Vec<u8> {
        let mut bytes = seeds[self.draw(seeds.len())].clone();
        for _ in 0..self.draw(5) {
            let at = self.draw(bytes.len());
            match self.draw(6) {
                0 => bytes.truncate(at),
                1 => bytes.insert(at, u8::try_from(self.draw(256)).unwrap()),
                2 => bytes.extend_from_within(at..),
                3 => {
                    let other = &seeds[self.draw(seeds.len())];
                    bytes.truncate(at);
                    bytes.extend_from_slice(&other[self.draw(other.len())..]);
                }
                _ if bytes.is_empty() => {}
                4 => bytes[at] ^= 1 << self.draw(8),
                _ => bytes[at] = u8::try_from(self.draw(256)).unwrap(),
            }
        }
        bytes.truncate(300_000);
        bytes
    }
}

/// Every message and every text of the vectors.
fn seeds() -> Vec<Vec<u8>> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../vectors/v1");
    let mut seeds = vec![Vec::new()];
    for (file, lists) in [("seal.json", &["vectors"][..]), ("refuse.json", &["refuse", "opens"])] {
        let text = std::fs::read_to_string(format!("{folder}/{file}")).unwrap();
        let file: Value = serde_json::from_str(&text).unwrap();
        for vector in lists.iter().flat_map(|list| file[*list].as_array().unwrap()) {
            seeds.extend(vector["text"].as_str().map(|text| text.as_bytes().to_vec()));
            seeds.extend(vector["ciphertext_hex"].as_str().map(unhex));
        }
    }
    assert!(seeds.len() > 150);
    seeds
}

fn unhex(hex: &str) -> Vec<u8> {
    let digit = |at: usize| u8::from_str_radix(&hex[at..at + 2], 16).unwrap();
    (0..hex.len()).step_by(2).map(digit).collect()
}

fn run(body: fn(&[u8])) {
    run_from(&seeds(), body);
}

fn run_from(seeds: &[Vec<u8>], body: fn(&[u8])) {
    let seconds = std::env::var("KEYPOD_FUZZ_SECONDS").map_or(1, |text| text.parse().unwrap());
    seeds.iter().for_each(|seed| body(seed));
    let (start, mut random, mut runs) = (Instant::now(), Random(1), 0_u64);
    while start.elapsed() < Duration::from_secs(seconds) {
        body(&random.changed(seeds));
        runs += 1;
    }
    println!("{runs} runs in {seconds} s");
}

#[test]
fn a_header_that_parses_comes_back() {
    run(keypod_fuzz::header);
}

#[test]
fn no_bytes_have_two_texts() {
    run(keypod_fuzz::text);
}

#[test]
fn what_was_not_sealed_does_not_open() {
    run(keypod_fuzz::open);
}

#[test]
fn what_an_auditor_reads_is_read_within_its_bounds() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/seeds/audit");
    let files = std::fs::read_dir(folder).unwrap().flatten();
    let seeds: Vec<_> = files.map(|file| std::fs::read(file.path()).unwrap()).collect();
    assert!(seeds.len() > 5);
    run_from(&seeds, keypod_fuzz::audit);
}
