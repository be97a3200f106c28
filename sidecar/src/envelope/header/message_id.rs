//! Message ids: 24 random bytes, drawn ahead.
//!
//! A call to the operating system for each message would cost as much as sealing a short one, so each thread
//! draws 64 ids at a time and hands each out once. Ids are public, so to hold some ahead of time gives nothing
//! away. What it costs: a virtual machine that is cloned while running hands out the same ids in both clones
//! until their blocks are used up, at most 64 messages a thread. Two messages of one key, context and id are
//! then under one message key and nonce, for which AES-GCM-SIV promises that nothing shows but whether their
//! plaintexts are equal (RFC 8452, section 9).

use std::cell::RefCell;

/// Bytes of a message id.
const BYTES: usize = 24;
/// Ids drawn at a time.
const AHEAD: usize = 64;

/// The operating system gave no random bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the operating system gives no random bytes, so nothing can be sealed: see getrandom(2)")]
pub struct RandomUnavailable;

/// The id of one message: 24 random bytes. Public.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MessageId([u8; BYTES]);

impl MessageId {
    /// A fresh one.
    ///
    /// # Errors
    /// [`RandomUnavailable`] if the operating system gives no random bytes; there is no second source.
    pub fn random() -> Result<Self, RandomUnavailable> {
        thread_local! {
            static DRAWN: RefCell<Drawn> = const { RefCell::new(Drawn::nothing()) };
        }
        let system = |bytes: &mut [u8]| getrandom::fill(bytes).map_err(|_| RandomUnavailable);
        let drawn = DRAWN.try_with(|drawn| match drawn.try_borrow_mut() {
            Ok(mut drawn) => drawn.next(system),
            Err(_) => Err(RandomUnavailable),
        });
        drawn.unwrap_or(Err(RandomUnavailable))
    }

    /// The 24 bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; BYTES] {
        &self.0
    }

    /// The id of a vector.
    #[cfg(test)]
    pub(crate) fn from_bytes(bytes: [u8; BYTES]) -> Self {
        Self(bytes)
    }
}

/// Ids that were drawn and not yet handed out.
struct Drawn {
    ids: [[u8; BYTES]; AHEAD],
    left: usize,
}

impl Drawn {
    const fn nothing() -> Self {
        Self { ids: [[0; BYTES]; AHEAD], left: 0 }
    }

    fn next(
        &mut self,
        fill: impl FnOnce(&mut [u8]) -> Result<(), RandomUnavailable>,
    ) -> Result<MessageId, RandomUnavailable> {
        let left = match self.left.checked_sub(1) {
            Some(left) => left,
            None => {
                fill(self.ids.as_flattened_mut())?;
                AHEAD - 1
            }
        };
        // Counted down before it is handed out: nothing can hand it out again.
        self.left = left;
        self.ids.get(left).copied().map(MessageId).ok_or(RandomUnavailable)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn no_id_is_handed_out_twice() {
        let threads: Vec<_> = (0..4)
            .map(|_| {
                std::thread::spawn(|| {
                    (0..500).map(|_| *MessageId::random().unwrap().as_bytes()).collect::<Vec<_>>()
                })
            })
            .collect();
        let ids: Vec<_> = threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect();
        assert_eq!(ids.iter().collect::<HashSet<_>>().len(), 2_000);
    }

    #[test]
    fn every_drawn_byte_is_used_and_none_twice() {
        let mut drawn = Drawn::nothing();
        let mut count = 0_u64;
        let mut ids = HashSet::new();
        for _ in 0..3 * AHEAD {
            let id = drawn.next(|bytes| {
                for byte in bytes.chunks_mut(8) {
                    count += 1;
                    byte.copy_from_slice(&count.to_be_bytes());
                }
                Ok(())
            });
            ids.insert(id.unwrap().0);
        }
        assert_eq!((ids.len(), count), (3 * AHEAD, 3 * 3 * AHEAD as u64));
    }

    #[test]
    fn a_failed_draw_hands_out_nothing_old() {
        let sevens = |bytes: &mut [u8]| {
            bytes.fill(7);
            Ok(())
        };
        let mut drawn = Drawn::nothing();
        for _ in 0..AHEAD {
            drawn.next(sevens).unwrap();
        }
        let fails = |_: &mut [u8]| Err(RandomUnavailable);
        assert_eq!(drawn.next(fails), Err(RandomUnavailable));
        assert_eq!(drawn.next(fails), Err(RandomUnavailable));
        assert_eq!(drawn.next(sevens), Ok(MessageId([7; BYTES])));
    }
}
