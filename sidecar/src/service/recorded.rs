//! What an operation gives once the audit log has it.

use std::ops::Deref;

use crate::audit::Receipt;

/// An answer and the receipt for it: there is no success without one.
#[derive(Debug)]
pub struct Recorded<T> {
    value: T,
    receipt: Receipt,
}

impl<T> Recorded<T> {
    pub(super) fn new(value: T, receipt: Receipt) -> Self {
        Self { value, receipt }
    }

    /// The receipt.
    #[must_use]
    pub fn receipt(&self) -> &Receipt {
        &self.receipt
    }

    /// The answer alone.
    #[must_use]
    pub fn into_value(self) -> T {
        self.value
    }

    /// Both.
    #[must_use]
    pub fn into_parts(self) -> (T, Receipt) {
        (self.value, self.receipt)
    }
}

impl<T> Deref for Recorded<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}
