//! The callers of the matrix, and the sidecar that knows them.

use std::collections::BTreeMap;
use std::path::Path;

use keypod_tests::{Client, Sidecar, SidecarBuilder, repository};

use crate::tokens::{Account, Person, identity, own_token};

/// A column of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Who {
    /// A token in a file, and a policy that permits it everything.
    Everything,
    /// A token in a file; may encrypt.
    Encrypts,
    /// The user of this very process, on the socket; may decrypt.
    Peer,
    /// A service account of Kubernetes; may rewrap, and rotate.
    Account,
    /// An operator, on call too, who shows no second factor.
    Person,
    /// The same with a second factor.
    PersonWithMfa,
    /// No proof, or one that is nobody's.
    Nobody,
}

impl Who {
    pub(super) const ALL: [Self; 7] = [
        Self::Everything,
        Self::Encrypts,
        Self::Peer,
        Self::Account,
        Self::Person,
        Self::PersonWithMfa,
        Self::Nobody,
    ];

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Everything => "everything",
            Self::Encrypts => "encrypts",
            Self::Peer => "peer",
            Self::Account => "account",
            Self::Person => "person",
            Self::PersonWithMfa => "person+mfa",
            Self::Nobody => "nobody",
        }
    }

    /// Whether it has a proof of who it is, on this transport.
    pub(super) fn proves_itself(self, over_tcp: bool) -> bool {
        self != Self::Nobody && !(self == Self::Peer && over_tcp)
    }
}

/// A sidecar and everybody who asks it.
pub(super) struct Site {
    pub(super) sidecar: Sidecar,
    tokens: BTreeMap<Who, String>,
    /// Of a second operator, with a second factor.
    approver: String,
    clients: BTreeMap<(Who, bool), Client>,
    _own_token: tempfile::TempDir,
}

impl Site {
    /// A sidecar where what is destroyed is destroyed at once, until [`Site::restart_with_a_delay`].
    pub(super) async fn start() -> Self {
        let account = Account::new().await;
        let own = own_token(&account).await;
        let person = Person::new("keypod", ", \"amr\": [\"pwd\"]").await;
        let second_factor = ", \"amr\": [\"pwd\", \"mfa\"]";
        let strong = Person::new("keypod", second_factor).await;
        let approver = Person::new("keypod", second_factor).await;
        let names = [
            ("THE-ACCOUNT", account.caller()),
            ("THE-PERSON-WITH-MFA", strong.caller()),
            ("THE-PERSON", person.caller()),
            ("THE-APPROVER", approver.caller()),
        ];
        let builder = SidecarBuilder::new().variable("KEYPOD_KEYS__DESTROY_DELAY", "0s");
        let folder = builder.folder().join("policies");
        copy_policies(&folder, &names);
        let uid = rustix::process::geteuid().as_raw();
        let config = format!(
            "{}\n[policy]\nfolder = {:?}\npacks = [\"baseline\", \"operators\", \"emergency\"]\n\
             [[callers]]\nname = \"peer\"\nuid = {uid}",
            identity(&format!(
                "{}\n{}",
                account.identity(&account.keys(), &own.path().join("token")),
                strong.identity()
            )),
            folder.to_str().unwrap(),
        );
        let (everything, encrypts) = (Who::Everything.name(), Who::Encrypts.name());
        let builder = builder.config(&config).caller(everything, "", "").caller(encrypts, "", "");
        let sidecar = builder.start().await;
        let file = |who: Who| {
            std::fs::read_to_string(sidecar.token_file(who.name())).unwrap().trim().to_owned()
        };
        let tokens = BTreeMap::from([
            (Who::Everything, file(Who::Everything)),
            (Who::Encrypts, file(Who::Encrypts)),
            (Who::Account, account.token("keypod").await),
            (Who::Person, person.token().await),
            (Who::PersonWithMfa, strong.token().await),
        ]);
        let approver = approver.token().await;
        let clients = clients(&sidecar, &tokens);
        Self { sidecar, tokens, approver, clients, _own_token: own }
    }

    /// From now on a destruction can be taken back.
    pub(super) async fn restart_with_a_delay(&mut self) {
        self.sidecar.set_variable("KEYPOD_KEYS__DESTROY_DELAY", "1h");
        self.restart().await;
    }

    /// The same, started anew.
    pub(super) async fn restart(&mut self) {
        assert!(self.sidecar.stop().await.success());
        self.sidecar.restart().await;
        self.clients = clients(&self.sidecar, &self.tokens);
    }

    pub(super) fn client(&self, who: Who, over_tcp: bool) -> &Client {
        &self.clients[&(who, over_tcp)]
    }

    pub(super) fn approver(&self) -> Client {
        Client::tcp(self.sidecar.tcp(), Some(&self.approver))
    }
}

/// One client for each caller and transport.
fn clients(sidecar: &Sidecar, tokens: &BTreeMap<Who, String>) -> BTreeMap<(Who, bool), Client> {
    let client = |who: Who, over_tcp: bool| {
        let token = match who {
            // Without a token it would be the peer there.
            Who::Nobody if !over_tcp => Some("nobodys-token-0123456789abcdefg"),
            who => tokens.get(&who).map(String::as_str),
        };
        match over_tcp {
            true => Client::tcp(sidecar.tcp(), token),
            false => Client::unix(&sidecar.socket(), token),
        }
    };
    let all = Who::ALL.into_iter().flat_map(|who| [(who, false), (who, true)]);
    all.map(|(who, over_tcp)| ((who, over_tcp), client(who, over_tcp))).collect()
}

/// Copies the policies of the matrix to `folder`, with real names in the place of the others.
fn copy_policies(folder: &Path, names: &[(&str, String)]) {
    std::fs::create_dir(folder).unwrap();
    for entry in std::fs::read_dir(repository().join("tests/suite/matrix/policies")).unwrap() {
        let entry = entry.unwrap();
        let mut text = std::fs::read_to_string(entry.path()).unwrap();
        for (name, real) in names {
            text = text.replace(&format!("{name:?}"), &format!("{real:?}"));
        }
        assert!(!text.contains("\"THE-"), "a name has nobody behind it");
        std::fs::write(folder.join(entry.file_name()), text).unwrap();
    }
}
