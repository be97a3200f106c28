//! `keypod emergency`: for people in words, for scripts in JSON.

use keypod_tests::Sidecar;
use serde_json::json;

use super::run;

#[tokio::test]
async fn the_glass_is_broken_shown_and_mended_on_the_command_line() {
    let sidecar = Sidecar::start().await;
    let begin = ["emergency", "begin", "--reason", "patient unconscious", "--minutes", "5"];
    let begun = run(&sidecar, &begin).await.succeeded().text();
    assert!(begun.contains("admin has broken the glass until 20"), "{begun}");
    let again = run(&sidecar, &begin).await;
    assert!(again.code == 1 && again.stderr.contains("already"), "{}", again.text());
    let listed = run(&sidecar, &["emergency", "list"]).await.succeeded().text();
    assert!(listed.contains("CALLER") && listed.contains("patient unconscious"), "{listed}");
    let ended = run(&sidecar, &["emergency", "end", "--json"]).await.succeeded().json();
    assert_eq!(ended["caller"], "admin");
    let listed = run(&sidecar, &["emergency", "list", "--json"]).await.succeeded().json();
    assert_eq!(listed, json!({ "emergencies": [] }));
    let why = run(&sidecar, &["emergency", "begin", "--reason", "x", "--minutes", "5"]).await;
    assert!(why.code == 1 && why.stderr.contains("10 to 500"), "{}", why.text());
}
