//! Says what is not tested here.

use std::io::Write as _;

/// Says that the test which calls it tests nothing on this machine, and why. Past the capture of the test
/// runner, which would keep it quiet.
pub fn skip(why: &str) {
    let test = std::thread::current().name().unwrap_or("a test").to_owned();
    let _ = writeln!(std::io::stderr(), "SKIPPED {test}: {why}");
}
