//! Sealing and opening beside the bare cipher of the same size: `cargo bench -p keypod --bench envelope`.
//!
//! Each size has four lines, `seal`, `open`, `bare_seal` and `bare_open`, measured in one run, so that ratios
//! can be read off. `bare` is AES-256-GCM-SIV as the crate gives it, key schedule included, since a message has
//! a key of its own; header, derivation, commitment and wiping are what Keypod adds. Buffers are made and
//! dropped outside the measured time.

#![allow(missing_docs, reason = "criterion's macros make undocumented items")]
#![allow(clippy::unwrap_used, reason = "a benchmark that cannot be set up has nothing to measure")]

use std::convert::Infallible;
use std::hint::black_box;

use aes_gcm_siv::aead::AeadInOut;
use aes_gcm_siv::{Aes256GcmSiv, KeyInit};
use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use keypod::envelope::{self, Context, Header};
use keypod::names::{KeyId, KeyRef, KeyVersion};
use keypod::secret::{Arena, DataKey, KeyVersionSecret, OpenBuffer, Protection, SealBuffer};

const SIZES: [(usize, &str); 4] =
    [(64, "64 B"), (1_024, "1 KiB"), (65_536, "64 KiB"), (1_048_576, "1 MiB")];

fn key() -> DataKey {
    let arena = Arena::new(Protection::Heap).unwrap();
    let secret = KeyVersionSecret::fill(&arena, |slot| {
        slot.fill(7);
        Ok::<_, Infallible>(())
    });
    let key = KeyRef { id: KeyId::from_bytes([1; 8]), version: KeyVersion::FIRST };
    envelope::data_key(&arena, key, &secret.unwrap(), None).unwrap()
}

/// What a record of a clinic carries.
fn context() -> Context {
    let pairs = [("tenant", "clinic-7"), ("record", "r-1029"), ("purpose", "treatment")];
    Context::new(pairs.map(|(name, value)| (name.to_owned(), value.to_owned()))).unwrap()
}

fn messages(criterion: &mut Criterion) {
    let (key, context) = (key(), context());
    for (size, name) in SIZES {
        let plaintext = vec![0x5a; size];
        let sealed = envelope::seal(&key, &context, SealBuffer::copied_from(&plaintext)).unwrap();
        let sealed = sealed.into_bytes();
        // One buffer at a time: a batch of large ones would measure the memory, not the cipher.
        let batch = if size > 4_096 { BatchSize::PerIteration } else { BatchSize::SmallInput };
        let mut group = criterion.benchmark_group("whole");
        group.throughput(Throughput::Bytes(size as u64));

        group.bench_function(BenchmarkId::new("seal", name), |bench| {
            bench.iter_batched(
                || SealBuffer::copied_from(&plaintext),
                |buffer| envelope::seal(&key, &context, buffer),
                batch,
            );
        });
        group.bench_function(BenchmarkId::new("open", name), |bench| {
            bench.iter_batched(
                || OpenBuffer::from_received(sealed.clone()),
                |buffer| {
                    let header = Header::parse(buffer.as_bytes()).unwrap();
                    envelope::open(&key, &context, &header, buffer)
                },
                batch,
            );
        });

        let (bare_key, nonce, aad) = ([7; 32], [0; 12].into(), [0; 71]);
        let mut bare = plaintext.clone();
        let aead = Aes256GcmSiv::new(&bare_key.into());
        let tag = aead.encrypt_inout_detached(&nonce, &aad, bare.as_mut_slice().into()).unwrap();
        group.bench_function(BenchmarkId::new("bare_seal", name), |bench| {
            bench.iter_batched(
                || plaintext.clone(),
                |mut buffer| {
                    let aead = Aes256GcmSiv::new(black_box(&bare_key).into());
                    let tag =
                        aead.encrypt_inout_detached(&nonce, &aad, buffer.as_mut_slice().into());
                    (buffer, tag.unwrap())
                },
                batch,
            );
        });
        group.bench_function(BenchmarkId::new("bare_open", name), |bench| {
            bench.iter_batched(
                || bare.clone(),
                |mut buffer| {
                    let aead = Aes256GcmSiv::new(black_box(&bare_key).into());
                    let text = buffer.as_mut_slice().into();
                    aead.decrypt_inout_detached(&nonce, &aad, text, &tag).unwrap();
                    buffer
                },
                batch,
            );
        });
        group.finish();
    }
}

criterion_group!(benches, messages);
criterion_main!(benches);
