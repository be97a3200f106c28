//! Every row of API.md's error table, through the real sockets.
//!
//! Each answer is checked whole by `Answer::assert_problem`. That no code is left out is checked at the end.

mod limits;
mod outages;
mod requests;
mod states;

use keypod::http::status_of;
use keypod::service::Code;

/// What the tests above are made of.
const TESTS: [&str; 4] = [
    include_str!("errors/limits.rs"),
    include_str!("errors/outages.rs"),
    include_str!("errors/requests.rs"),
    include_str!("errors/states.rs"),
];

#[test]
fn every_code_is_provoked_by_a_test() {
    for code in Code::ALL {
        let provoked =
            format!("assert_problem({}, \"{}\")", status_of(code).as_u16(), code.as_str());
        let tested = TESTS.iter().any(|text| text.contains(&provoked));
        assert!(tested, "no test provokes {}", code.as_str());
    }
}
