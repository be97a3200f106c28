//! Overwrites what secret work leaves on the stack.
//!
//! A value that wipes itself on drop does so where it was last: every move before that left a copy behind, and
//! optimised code keeps parts of keys in places of its own. Nothing here reads that memory.

/// Does `work` and then overwrites `BYTES` of stack below the caller's frame: more than `work` used.
pub(crate) fn wiping_the_stack<const BYTES: usize, T>(work: impl FnOnce() -> T) -> T {
    #[inline(never)]
    fn in_a_frame_below<T>(work: impl FnOnce() -> T) -> T {
        work()
    }
    let done = in_a_frame_below(work);
    zeroize::zeroize_stack::<BYTES>();
    done
}
