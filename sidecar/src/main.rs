//! keypod
fn main() {}
