//! Service accounts with tokens that a real API server of Kubernetes issues, bound to pods.

use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use keypod_test_servers::KubernetesServer;
use keypod_tests::{Client, until};
use serde_json::{Value, json};

use super::{assert_not_logged, assert_refused, both_ways, builder, decrypts, sidecar};

/// An account of a namespace of its own, and a pod of it.
struct Account {
    server: &'static KubernetesServer,
    http: reqwest::Client,
    namespace: String,
    pod_uid: String,
}

impl Account {
    async fn new() -> Self {
        let server = KubernetesServer::shared().unwrap();
        let ca = std::fs::read(server.ca_file()).unwrap();
        let ca = reqwest::Certificate::from_pem(&ca).unwrap();
        let http = reqwest::Client::builder().no_proxy().tls_certs_only([ca]).build().unwrap();
        let namespace = server.name("clinic");
        let mut account = Self { server, http, namespace, pod_uid: String::new() };
        let named = |name: &str| json!({"metadata": {"name": name}});
        account.make("/api/v1/namespaces", &named(&account.namespace)).await;
        account.make(&account.path("serviceaccounts"), &named("intake")).await;
        let containers = json!([{"name": "app", "image": "app"}]);
        let spec = json!({"serviceAccountName": "intake", "containers": containers});
        let pod = json!({"metadata": {"name": "intake-0"}, "spec": spec});
        let pod = account.make(&account.path("pods"), &pod).await;
        account.pod_uid = pod["metadata"]["uid"].as_str().unwrap().to_owned();
        account
    }

    fn path(&self, rest: &str) -> String {
        format!("/api/v1/namespaces/{}/{rest}", self.namespace)
    }

    async fn ask(&self, method: &str, path: &str, body: &Value) -> (u16, Value) {
        let address = format!("{}{path}", self.server.address());
        let request = self.http.request(method.parse().unwrap(), address).json(body);
        let answer = request.bearer_auth(self.server.admin_token()).send().await.unwrap();
        (answer.status().as_u16(), answer.json().await.unwrap())
    }

    async fn make(&self, path: &str, body: &Value) -> Value {
        let (status, answer) = self.ask("POST", path, body).await;
        assert_eq!(status, 201, "{path}: {answer}");
        answer
    }

    /// A token as kubelet asks for one to project it into the pod.
    async fn token(&self, audience: &str) -> String {
        let pod =
            json!({"kind": "Pod", "apiVersion": "v1", "name": "intake-0", "uid": self.pod_uid});
        self.bound_token(audience, pod).await
    }

    async fn bound_token(&self, audience: &str, bound: Value) -> String {
        let spec =
            json!({"audiences": [audience], "expirationSeconds": 600, "boundObjectRef": bound});
        let path = self.path("serviceaccounts/intake/token");
        let answer = self.make(&path, &json!({"spec": spec})).await;
        answer["status"]["token"].as_str().unwrap().to_owned()
    }

    /// A token for the API server itself, of an account that may review tokens: what the sidecar's own pod has.
    async fn reviewer_token(&self) -> String {
        let subject =
            json!({"kind": "ServiceAccount", "name": "intake", "namespace": self.namespace});
        let binding = json!({
            "metadata": {"name": self.namespace},
            "roleRef": {
                "apiGroup": "rbac.authorization.k8s.io",
                "kind": "ClusterRole",
                "name": "system:auth-delegator",
            },
            "subjects": [subject],
        });
        let path = "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings";
        self.make(path, &binding).await;
        self.token(self.server.issuer()).await
    }

    fn caller(&self) -> String {
        format!("system:serviceaccount:{}:intake", self.namespace)
    }

    /// The section, with these lines more; the sidecar's own token is in the file.
    fn identity(&self, lines: &str, token_file: &Path) -> String {
        format!(
            "[identity]\nrefresh_after = \"1s\"\n[identity.kubernetes]\naudience = \"keypod\"\nca_file = {:?}\ntoken_file = {:?}\n{lines}",
            self.server.ca_file().to_str().unwrap(),
            token_file.to_str().unwrap(),
        )
    }

    fn policy(&self) -> String {
        format!(
            "permit (principal == Caller::{:?}, action == Action::\"decrypt\", resource);
             permit (principal in Role::\"system:serviceaccounts:{}\", action == Action::\"read_status\", resource)
             when {{ principal.kind == \"service_account\" }};",
            self.caller(),
            self.namespace
        )
    }

    fn keys(&self) -> String {
        format!("jwks_url = \"{}/openid/v1/jwks\"", self.server.address())
    }

    fn reviews(&self) -> String {
        format!("check = \"token_review\"\napi_server = \"{}\"", self.server.address())
    }
}

/// A folder with the token of a sidecar's own pod, which may fetch keys and review tokens.
async fn own_token(account: &Account) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("token"), account.reviewer_token().await).unwrap();
    folder
}

#[tokio::test]
async fn a_projected_token_decrypts_by_keys_and_by_review_and_no_other_does() {
    let (account, stranger) = (Account::new().await, Account::new().await);
    let folder = own_token(&account).await;
    let token = account.token("keypod").await;
    let unbound = account.bound_token("keypod", Value::Null).await;
    let claims = token.split('.').nth(1).unwrap();
    let claims: Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(claims).unwrap()).unwrap();
    assert_eq!(claims["kubernetes.io"]["pod"]["uid"], json!(account.pod_uid), "{claims}");
    for check in [account.keys(), account.reviews()] {
        let lines = format!("pod_uid = \"{}\"\n{check}", account.pod_uid);
        let identity = account.identity(&lines, &folder.path().join("token"));
        let sidecar = sidecar(&identity, &account.policy()).await;
        let sealed = sidecar.client().encrypt("demo", b"hello", &json!({})).await;
        for client in both_ways(&sidecar, &token) {
            assert_eq!(decrypts(&client, &sealed).await, 200, "{}", sidecar.log());
            let status = client.get("/v1/status").await.json();
            assert_eq!(status["identity"]["issuers"][0]["usable"], true, "{status}");
        }
        let (signed, signature) = token.rsplit_once('.').unwrap();
        let other = stranger.token("keypod").await;
        let altered = format!("{signed}.{}", signature.replace('A', "B").replacen('a', "c", 1));
        for (what, token) in [
            ("of another pod", other.clone()),
            ("bound to no pod", unbound.clone()),
            ("for the API server", account.token(account.server.issuer()).await),
            ("for another audience", account.token("vault").await),
            ("another's signature", format!("{signed}.{}", other.rsplit_once('.').unwrap().1)),
            ("an altered signature", altered),
            ("no signature", format!("{signed}.")),
        ] {
            assert_refused(&sidecar, &token, what).await;
            assert_not_logged(&sidecar, &token);
        }
        assert_not_logged(&sidecar, &token);
        assert_not_logged(&sidecar, &std::fs::read_to_string(folder.path().join("token")).unwrap());
    }
}

#[tokio::test]
async fn the_token_of_a_deleted_pod_ends_with_the_next_review() {
    let (account, reviewer) = (Account::new().await, Account::new().await);
    let folder = own_token(&reviewer).await;
    let identity = account.identity(&account.reviews(), &folder.path().join("token"));
    let sidecar = sidecar(&identity, &account.policy()).await;
    let (early, late) = (account.token("keypod").await, account.token("keypod").await);
    assert_ne!(early, late);
    let status = |token: &str| {
        let client = Client::tcp(sidecar.tcp(), Some(token));
        async move { client.get("/v1/status").await.status }
    };
    assert_eq!(status(&early).await, 200);
    let now = json!({"gracePeriodSeconds": 0});
    account.ask("DELETE", &account.path("pods/intake-0"), &now).await;
    // One that was reviewed before is remembered for a minute; one that was not is refused.
    assert_eq!(status(&early).await, 200);
    until("the API server knows that the pod is gone", async || status(&late).await == 401).await;
    assert_refused(&sidecar, &late, "its pod is gone").await;
}

#[tokio::test]
async fn a_sidecar_that_may_not_ask_or_whose_server_is_not_the_one_says_so() {
    let account = Account::new().await;
    let folder = tempfile::tempdir().unwrap();
    let token_file = folder.path().join("token");
    // For another audience: the API server does not take it.
    std::fs::write(&token_file, account.token("keypod").await).unwrap();
    let good = account.token("keypod").await;
    let other_ca = account.server.other_ca_file().to_str().unwrap().to_owned();
    let ca = account.server.ca_file().to_str().unwrap().to_owned();
    for (identity, said) in [
        (account.identity(&account.keys(), &token_file), "401"),
        (account.identity(&account.reviews(), &token_file), "401"),
        (account.identity(&account.keys(), &token_file).replace(&ca, &other_ca), "ca_file"),
        (account.identity(&account.keys(), &folder.path().join("none")), "cannot read"),
    ] {
        let builder = builder(&identity, &account.policy());
        builder.write();
        let (status, _) = builder.run_serve(&["--check"]);
        assert!(!status.success());
        let sidecar = builder.start().await;
        assert_refused(&sidecar, &good, said).await;
        let status = sidecar.client().get("/v1/status").await.json();
        let problem = status["identity"]["issuers"][0]["problem"].as_str().unwrap().to_owned();
        assert!(problem.contains(said), "{problem}");
    }
}
