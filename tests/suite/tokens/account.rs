//! A service account that a real API server of Kubernetes issues tokens for.

use std::path::Path;

use keypod_test_servers::KubernetesServer;
use serde_json::{Value, json};

/// An account of a namespace of its own, and a pod of it.
pub(crate) struct Account {
    pub(super) server: &'static KubernetesServer,
    http: reqwest::Client,
    pub(super) namespace: String,
    pub(super) pod_uid: String,
}

impl Account {
    pub(crate) async fn new() -> Self {
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

    pub(super) fn path(&self, rest: &str) -> String {
        format!("/api/v1/namespaces/{}/{rest}", self.namespace)
    }

    pub(super) async fn ask(&self, method: &str, path: &str, body: &Value) -> (u16, Value) {
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
    pub(crate) async fn token(&self, audience: &str) -> String {
        let pod =
            json!({"kind": "Pod", "apiVersion": "v1", "name": "intake-0", "uid": self.pod_uid});
        self.bound_token(audience, pod).await
    }

    pub(super) async fn bound_token(&self, audience: &str, bound: Value) -> String {
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

    pub(crate) fn caller(&self) -> String {
        format!("system:serviceaccount:{}:intake", self.namespace)
    }

    /// The section, with these lines more; the sidecar's own token is in the file.
    pub(crate) fn identity(&self, lines: &str, token_file: &Path) -> String {
        format!(
            "[identity.kubernetes]\naudience = \"keypod\"\nca_file = {:?}\ntoken_file = {:?}\n{lines}",
            self.server.ca_file().to_str().unwrap(),
            token_file.to_str().unwrap(),
        )
    }

    pub(crate) fn keys(&self) -> String {
        format!("jwks_url = \"{}/openid/v1/jwks\"", self.server.address())
    }

    pub(super) fn reviews(&self) -> String {
        format!("check = \"token_review\"\napi_server = \"{}\"", self.server.address())
    }
}

/// A folder with the token of a sidecar's own pod, which may fetch keys and review tokens.
pub(crate) async fn own_token(account: &Account) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("token"), account.reviewer_token().await).unwrap();
    folder
}
