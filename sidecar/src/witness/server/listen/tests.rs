use super::*;
use crate::witness::testing::{Site, TestLog};

async fn start(site: &Site) -> (String, tokio::sync::oneshot::Sender<()>) {
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let address = Address::Tcp("127.0.0.1:0".parse().unwrap());
    let stopped = async move {
        let _ = stopped.await;
    };
    let (at, served) = serve(Arc::clone(&site.witness), address, stopped).await.unwrap();
    tokio::spawn(served);
    (format!("http://{at}"), stop)
}

fn log() -> TestLog {
    TestLog::new("keypod/app/0001", 1).grown(9, "entry")
}

async fn post(url: &str, path: &str, body: Vec<u8>) -> (u16, String, String) {
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let answer = client.post(format!("{url}{path}")).body(body).send().await.unwrap();
    let kind = answer.headers()["content-type"].to_str().unwrap().to_owned();
    (answer.status().as_u16(), kind, answer.text().await.unwrap())
}

#[tokio::test]
async fn each_outcome_has_the_status_and_type_of_the_specification() {
    let site = Site::new();
    let (url, _stop) = start(&site).await;
    let ask = async |path: &str, body: Vec<u8>| post(&url, path, body).await;
    let log = log();
    let (status, _, _) = ask("/add-checkpoint", log.body(0, 3)).await;
    assert_eq!(status, 404);
    assert_eq!(ask("/add-log", site.authority.body(&log, 1, None, 0)).await.0, 200);
    let (status, _, line) = ask("/add-checkpoint", log.body(0, 3)).await;
    assert_eq!(status, 200);
    assert!(line.starts_with("\u{2014} witness.example/w1 ") && line.ends_with('\n'), "{line}");
    let (status, kind, body) = ask("/add-checkpoint", log.body(0, 9)).await;
    assert_eq!((status, kind.as_str(), body.as_str()), (409, "text/x.tlog.size", "3\n"));
    let other = TestLog::new("keypod/app/0001", 2).grown(5, "entry");
    assert_eq!(ask("/add-checkpoint", other.body(3, 5)).await.0, 403);
    let forked = TestLog::new("keypod/app/0001", 1).grown(5, "another");
    assert_eq!(ask("/add-checkpoint", forked.body(3, 5)).await.0, 422);
    assert_eq!(ask("/add-checkpoint", b"old".to_vec()).await.0, 400);
    let next = TestLog::new("keypod/app/0002", 3);
    let (status, kind, body) = ask("/add-log", site.authority.body(&next, 1, None, 0)).await;
    let expected = (409, "text/x.keypod.chain", "keypod/app/0001 3\n");
    assert_eq!((status, kind.as_str(), body.as_str()), expected);
}

#[tokio::test]
async fn what_is_too_long_or_elsewhere_or_asked_otherwise_is_refused() {
    let site = Site::new();
    let (url, _stop) = start(&site).await;
    let huge = vec![b'a'; BODY_BYTES_MAX + 1];
    assert_eq!(post(&url, "/add-checkpoint", huge.clone()).await.0, 413);
    assert_eq!(post(&url, "/add-log", huge).await.0, 413);
    assert_eq!(post(&url, "/add-checkpoint", vec![b'a'; BODY_BYTES_MAX]).await.0, 400);
    for path in ["/", "/add-checkpoint/", "/metrics", "/add-Log"] {
        assert_eq!(post(&url, path, Vec::new()).await.0, 404, "{path}");
    }
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let answer = client.get(format!("{url}/add-checkpoint")).send().await.unwrap();
    assert_eq!(
        (answer.status().as_u16(), &answer.headers()["allow"]),
        (405, &HeaderValue::from_static("POST"))
    );
}

#[tokio::test]
async fn many_at_once_are_served_and_one_of_them_at_each_size() {
    let site = Site::new();
    let (url, _stop) = start(&site).await;
    let log = log();
    assert_eq!(post(&url, "/add-log", site.authority.body(&log, 1, None, 0)).await.0, 200);
    let asked = (0..100).map(|number| {
        let (url, body) = (url.clone(), log.body(0, 1 + number % 9));
        tokio::spawn(async move { post(&url, "/add-checkpoint", body).await.0 })
    });
    let mut cosigned = 0;
    for asked in asked.collect::<Vec<_>>() {
        match asked.await.unwrap() {
            200 => cosigned += 1,
            status => assert_eq!(status, 409),
        }
    }
    assert_eq!(cosigned, 1);
}

#[tokio::test]
async fn it_stops_when_it_is_told_to() {
    let site = Site::new();
    let (url, stop) = start(&site).await;
    assert_eq!(post(&url, "/", Vec::new()).await.0, 404);
    stop.send(()).unwrap();
    let address = url.trim_start_matches("http://").to_owned();
    let refused = async {
        while tokio::net::TcpStream::connect(&address).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), refused).await.unwrap();
}
