//! Encrypt, decrypt and rewrap many messages in one JSON body.
//!
//! The shape of the body is right or the request fails; what an item holds is right or the item fails.

use super::answer::Answer;
use super::error::Failure;
use super::wire::{
    Base64Text, CiphertextText, DecryptBatchRequest, DecryptedBatch, DecryptedItem,
    EncryptBatchRequest, EncryptedBatch, EncryptedItem, Items, RewrapBatchRequest,
};
use super::{Api, Call, json};
use crate::audit::Attempt;
use crate::service::{DecryptItem, EncryptItem, Error, Opened, Recorded, RewrapItem, Sealed};

pub(super) async fn encrypt(
    api: &Api,
    mut call: Call,
    attempt: &mut Attempt,
) -> Result<Answer, Failure> {
    let body = api.only_json_body(&mut call).await?;
    let EncryptBatchRequest { key, context: shared, items: Items(given) } = json::parse(&body)?;
    api.check_items(given.len())?;
    let (mut references, mut items) = (Vec::new(), Vec::new());
    for item in given {
        let context = shared.joined(&item.context);
        let buffer = item.plaintext.decode_base64();
        let buffer =
            buffer.ok_or(Error::Invalid("`plaintext` must be standard base64 with padding"));
        items.push(buffer.and_then(|buffer| Ok(EncryptItem { buffer, context: context? })));
        references.push(item.reference);
    }
    drop(body);
    let sealed = api.service.encrypt_batch(attempt, &key, items).await?;
    Ok(sealed_answer(sealed, references))
}

pub(super) async fn rewrap(
    api: &Api,
    mut call: Call,
    attempt: &mut Attempt,
) -> Result<Answer, Failure> {
    let body = api.only_json_body(&mut call).await?;
    let RewrapBatchRequest { context: shared, items: Items(given) } = json::parse(&body)?;
    api.check_items(given.len())?;
    let (mut references, mut items) = (Vec::new(), Vec::new());
    for item in given {
        let context = shared.joined(&item.context);
        let new_context = item.new_context;
        let buffer = item.ciphertext.decode_ciphertext().map_err(Error::from);
        items.push(
            buffer.and_then(|buffer| Ok(RewrapItem { buffer, context: context?, new_context })),
        );
        references.push(item.reference);
    }
    drop(body);
    let sealed = api.service.rewrap_batch(attempt, items).await?;
    Ok(sealed_answer(sealed, references))
}

pub(super) async fn decrypt(
    api: &Api,
    mut call: Call,
    attempt: &mut Attempt,
) -> Result<Answer, Failure> {
    let body = api.only_json_body(&mut call).await?;
    let DecryptBatchRequest { context: shared, items: Items(given) } = json::parse(&body)?;
    api.check_items(given.len())?;
    let (mut references, mut items) = (Vec::new(), Vec::new());
    for item in given {
        let context = shared.joined(&item.context);
        let buffer = item.ciphertext.decode_ciphertext().map_err(Error::from);
        items.push(buffer.and_then(|buffer| Ok(DecryptItem { buffer, context: context? })));
        references.push(item.reference);
    }
    drop(body);
    let opened = api.service.decrypt_batch(attempt, items).await?;
    let size_hint = opened.iter().zip(&references).map(answer_bytes_max).sum();
    let items = opened
        .iter()
        .zip(references)
        .map(|(opened, reference)| match opened {
            Ok(opened) => DecryptedItem::Opened {
                plaintext: Base64Text(&opened.plaintext),
                key: opened.key.as_str(),
                key_version: opened.version.number(),
                rewrap_recommended: opened.rewrap_recommended,
                reference,
            },
            Err(error) => {
                DecryptedItem::Failed { error: Failure::of(error).into_item(), reference }
            }
        })
        .collect();
    Ok(json::secret_answer(opened.receipt(), &DecryptedBatch { items }, size_hint))
}

fn sealed_answer(
    sealed: Recorded<Vec<Result<Sealed, Error>>>,
    references: Vec<Option<String>>,
) -> Answer {
    let whole =
        sealed.iter().flatten().map(|sealed| json::text_bytes(sealed.ciphertext.as_bytes().len()));
    let size_hint = whole.sum::<usize>() + 64 * sealed.len();
    let items = sealed
        .iter()
        .zip(references)
        .map(|(sealed, reference)| match sealed {
            Ok(sealed) => EncryptedItem::Sealed {
                ciphertext: CiphertextText(&sealed.ciphertext),
                key_version: sealed.version.number(),
                reference,
            },
            Err(error) => {
                EncryptedItem::Failed { error: Failure::of(error).into_item(), reference }
            }
        })
        .collect();
    json::sized_answer(sealed.receipt(), &EncryptedBatch { items }, size_hint)
}

/// More than an item of an answer takes: the buffer that it is written to must not grow, or plaintext would stay
/// behind in the old one.
fn answer_bytes_max((opened, reference): (&Result<Opened, Error>, &Option<String>)) -> usize {
    // A control character in a reference becomes six characters.
    let reference = 6 * reference.as_ref().map_or(0, String::len);
    reference + 512 + opened.as_ref().map_or(0, |opened| json::text_bytes(opened.plaintext.len()))
}
