//! Looks at how the KMS key is set up, where this process may.

use aws_sdk_kms::primitives::{DateTime, DateTimeFormat};
use aws_sdk_kms::types::{KeyMetadata, KeySpec, KeyState, KeyUsageType};

use super::access::Access;
use super::place::Purpose;
use super::{RootError, authority};

impl Access {
    /// What an operator should know of a key that works, a sentence each. Not to be allowed to look is no error.
    ///
    /// # Errors
    /// [`RootError::Unusable`] if the key is not one for its purpose.
    pub(super) async fn look_at_the_key(&self) -> Result<Vec<String>, RootError> {
        let place = &self.place;
        let call = self.client.describe_key().key_id(place.key());
        let mut notes = Vec::new();
        if place.is_alias() && place.purpose() == Purpose::Wraps {
            notes.push(format!(
                "{place} is an alias: what is wrapped does not unwrap any more once it points at another key, so let root.aws_kms.key be the key's ARN"
            ));
        }
        match Box::pin(call.send()).await.map(|answer| answer.key_metadata) {
            Ok(Some(key)) => {
                self.must_fit(&key)?;
                notes.extend(notes_of(&key));
            }
            Ok(None) => {}
            Err(error) => notes.push(match self.refused(&error) {
                RootError::Denied { .. } => format!(
                    "this role may not ask how {place} is set up, so Keypod would not see that it is to be deleted: allow kms:DescribeKey"
                ),
                other => format!("how the key is set up could not be asked: {other}"),
            }),
        }
        Ok(notes)
    }

    fn must_fit(&self, key: &KeyMetadata) -> Result<(), RootError> {
        let fits = match self.place.purpose() {
            Purpose::Wraps => {
                let usage = |usage: &KeyUsageType| *usage == KeyUsageType::EncryptDecrypt;
                key.key_spec().is_none_or(|spec| *spec == KeySpec::SymmetricDefault)
                    && key.key_usage().is_none_or(usage)
            }
            Purpose::Signs => authority::signs(key),
        };
        match fits {
            true => Ok(()),
            false => Err(self.unusable(key.key_spec(), key.key_usage())),
        }
    }

    /// That the key is of another kind than it has to be.
    pub(super) fn unusable(
        &self,
        spec: Option<&KeySpec>,
        usage: Option<&KeyUsageType>,
    ) -> RootError {
        let spec = spec.map_or("of an unknown spec", KeySpec::as_str);
        let usage = usage.map_or("an unknown usage", KeyUsageType::as_str);
        let purpose = self.place.purpose();
        RootError::Unusable {
            root: self.name.clone(),
            reason: format!(
                "{} is {spec} for {usage}: it takes a key {}, which {} makes",
                self.place,
                purpose.wanted(),
                purpose.made_by()
            ),
        }
    }
}

fn notes_of(key: &KeyMetadata) -> Vec<String> {
    let mut notes = Vec::new();
    let name = key.arn().unwrap_or_else(|| key.key_id());
    if let Some(deletion) = key.deletion_date() {
        notes.push(format!(
            "{name} is deleted on {}, and with it everything that it wrapped: aws kms cancel-key-deletion --key-id {name}",
            spelt(deletion)
        ));
    } else if let Some(state) = key.key_state()
        && *state != KeyState::Enabled
    {
        notes.push(format!("{name} is in the state {}, not Enabled", state.as_str()));
    }
    if let Some(end) = key.valid_to() {
        notes.push(format!(
            "the imported material of {name} expires on {}, and nothing unwraps after it: import it again before",
            spelt(end)
        ));
    }
    notes
}

fn spelt(time: &DateTime) -> String {
    time.fmt(DateTimeFormat::DateTime).unwrap_or_else(|_| "an unknown day".to_owned())
}
