//! Encrypt, decrypt and rewrap one message in JSON.

use super::answer::Answer;
use super::body::Media;
use super::error::Failure;
use super::wire::{
    Base64Text, CiphertextText, DecryptRequest, Decrypted, EncryptRequest, Encrypted,
    RewrapRequest, SecretText,
};
use super::{Api, Call, json, stream};
use crate::audit::Attempt;
use crate::secret::SealBuffer;
use crate::service::Code;
use crate::service::{Opened, Recorded, Sealed};

/// What an answer has beside the text of the message: a name of 64 bytes at most, and a few fields.
const REST_BYTES: usize = 192;

pub(super) async fn encrypt(
    api: &Api,
    mut call: Call,
    attempt: &mut Attempt,
) -> Result<Answer, Failure> {
    if call.media()? == Media::Octets {
        return stream::encrypt(api, call, attempt).await;
    }
    let body = api.only_json_body(&mut call).await?;
    let request: EncryptRequest<'_> = json::parse(&body)?;
    let buffer = decode_plaintext(&request.plaintext)?;
    let sealed = api.service.encrypt(attempt, &request.key, &request.context, buffer).await?;
    Ok(sealed_answer(&sealed))
}

pub(super) async fn decrypt(
    api: &Api,
    mut call: Call,
    attempt: &mut Attempt,
) -> Result<Answer, Failure> {
    call.refuse_query()?;
    if call.media()? == Media::Octets {
        return stream::decrypt(api, call, attempt).await;
    }
    let body = api.only_json_body(&mut call).await?;
    let request: DecryptRequest<'_> = json::parse(&body)?;
    let buffer = decode_ciphertext(&request.ciphertext)?;
    let opened = api.service.decrypt(attempt, &request.context, buffer).await?;
    Ok(opened_answer(&opened))
}

pub(super) async fn rewrap(
    api: &Api,
    mut call: Call,
    attempt: &mut Attempt,
) -> Result<Answer, Failure> {
    call.refuse_query()?;
    if call.media()? == Media::Octets {
        return stream::rewrap(api, call, attempt).await;
    }
    let body = api.only_json_body(&mut call).await?;
    let request: RewrapRequest<'_> = json::parse(&body)?;
    let buffer = decode_ciphertext(&request.ciphertext)?;
    let new_context = request.new_context.as_ref();
    let sealed = api.service.rewrap(attempt, &request.context, new_context, buffer).await?;
    Ok(sealed_answer(&sealed))
}

pub(super) fn decode_plaintext(text: &SecretText<'_>) -> Result<SealBuffer, Failure> {
    text.decode_base64().ok_or_else(|| {
        Failure::new(Code::InvalidRequest, "`plaintext` must be standard base64 with padding")
    })
}

fn decode_ciphertext(text: &SecretText<'_>) -> Result<crate::secret::OpenBuffer, Failure> {
    text.decode_ciphertext().map_err(|error| crate::service::Error::from(error).into())
}

fn sealed_answer(sealed: &Recorded<Sealed>) -> Answer {
    let answer = Encrypted {
        ciphertext: CiphertextText(&sealed.ciphertext),
        key: sealed.key.as_str(),
        key_version: sealed.version.number(),
    };
    let text_bytes = json::text_bytes(sealed.ciphertext.as_bytes().len());
    json::sized_answer(sealed.receipt(), &answer, text_bytes + REST_BYTES)
}

fn opened_answer(opened: &Recorded<Opened>) -> Answer {
    let answer = Decrypted {
        plaintext: Base64Text(&opened.plaintext),
        key: opened.key.as_str(),
        key_version: opened.version.number(),
        rewrap_recommended: opened.rewrap_recommended,
    };
    let text_bytes = json::text_bytes(opened.plaintext.len());
    json::secret_answer(opened.receipt(), &answer, text_bytes + REST_BYTES)
}
