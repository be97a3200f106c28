//! What somebody brings to a verification: keys that they trust, and what they kept of the log.
//!
//! Depends on [`super::key`] and [`super::notes`].

use std::time::Duration;

use super::key::{KeyError, VerifyingKey};
use super::notes::{
    Checkpoint, NoteProblem, SignedText, TreeHead, is_origin, root_hash, tree_size,
};

/// A state that a log once had, as somebody outside wrote it down.
#[derive(Clone, Debug, PartialEq)]
pub struct Kept {
    /// The origin of the log.
    pub origin: String,
    /// Its state.
    pub head: TreeHead,
}

/// Why something is no state of a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeptError {
    /// Not of the form.
    #[error("what a log once was is written `ORIGIN:SIZE:ROOT`, with the root hash in base64")]
    Malformed,
    /// Not a checkpoint.
    #[error("the file is no checkpoint")]
    Checkpoint(#[source] NoteProblem),
}

impl Kept {
    /// Reads `ORIGIN:SIZE:ROOT`.
    ///
    /// # Errors
    /// It is not of that form.
    pub fn parse(text: &str) -> Result<Self, KeptError> {
        let mut parts = text.rsplitn(3, ':');
        let (root, size) = (parts.next(), parts.next());
        let origin = parts.next().filter(|origin| is_origin(origin)).ok_or(KeptError::Malformed)?;
        let root = root.and_then(root_hash).ok_or(KeptError::Malformed)?;
        let size = size.and_then(tree_size).ok_or(KeptError::Malformed)?;
        Ok(Self { origin: origin.to_owned(), head: TreeHead { size, root } })
    }

    /// Reads a checkpoint that somebody kept. That they kept it is what makes it believed: its signature is not looked at.
    ///
    /// # Errors
    /// It is no checkpoint.
    pub fn from_checkpoint(bytes: &[u8]) -> Result<Self, KeptError> {
        let note = SignedText::parse(bytes).map_err(KeptError::Checkpoint)?;
        let Checkpoint { origin, head } =
            Checkpoint::parse(&note).map_err(KeptError::Checkpoint)?;
        Ok(Self { origin, head })
    }
}

/// What a verification goes by.
#[derive(Clone, Debug, Default)]
pub struct Trust {
    /// The authorities that may certify a log; `None` takes the folder's own list, which proves less.
    pub authorities: Option<Vec<VerifyingKey>>,
    /// Witnesses whose cosignatures count.
    pub witnesses: Vec<VerifyingKey>,
    /// How many of them must have cosigned each checkpoint.
    pub witnessed: usize,
    /// The origin that the logs must have, without their ids.
    pub origin: Option<String>,
    /// What the logs once were.
    pub kept: Vec<Kept>,
    /// How long each log had to be kept at least, whatever its sidecar was told.
    pub retention_min: Duration,
}

impl Trust {
    /// Reads a list of authorities' keys: a key a line.
    ///
    /// # Errors
    /// A line is no key, or there is none.
    pub fn parse_authorities(text: &str) -> Result<Vec<VerifyingKey>, KeyError> {
        let keys = VerifyingKey::parse_list(text)?;
        let all = keys.iter().all(|key| !key.is_cosigner());
        if all { Ok(keys) } else { Err(KeyError::UnknownType(4)) }
    }

    /// Reads a list of witnesses' keys: a key a line, of type 0x04.
    ///
    /// # Errors
    /// A line is no such key, or there is none.
    pub fn parse_witnesses(text: &str) -> Result<Vec<VerifyingKey>, KeyError> {
        let keys = VerifyingKey::parse_list(text)?;
        if keys.iter().all(VerifyingKey::is_cosigner) { Ok(keys) } else { Err(KeyError::Malformed) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_kept_is_read_from_the_right() {
        let root = "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=";
        let kept = Kept::parse(&format!("a:b/c:17:{root}")).unwrap();
        assert_eq!((&*kept.origin, kept.head.size), ("a:b/c", 17));
        for bad in [
            format!("a/b:017:{root}"),
            format!("a/b:9999999999999999999:{root}"),
            format!("ab:1:{root}"),
            "a/b:1:".to_owned(),
            format!("1:{root}"),
        ] {
            assert_eq!(Kept::parse(&bad), Err(KeptError::Malformed), "{bad}");
        }
        let checkpoint = format!("a/b\n17\n{root}\n\n— a/b AAAAAAA=\n");
        assert_eq!(Kept::from_checkpoint(checkpoint.as_bytes()).unwrap().head.size, 17);
        assert!(Kept::from_checkpoint(checkpoint.replace("17", "017").as_bytes()).is_err());
    }
}
