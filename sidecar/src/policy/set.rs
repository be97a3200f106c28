//! A set of policies, loaded, validated against the schema, and ready to decide.
//!
//! Pure: it takes texts. A set is either whole and valid, or it is not made.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::fmt;
use std::path::Path;
use std::sync::Arc;

use cedar_policy::{
    Authorizer, Context as CedarContext, Decision as CedarDecision, Entities as CedarEntities,
    Entity, EntityId, EntityTypeName, EntityUid, Policy, PolicyId, PolicySet, Request,
    RestrictedExpression, Schema, SchemaFragment, ValidationMode, Validator,
};
use sha2::{Digest as _, Sha256};

use super::entities::{ENTITIES_FILE, Entities};
use super::looks::{self, Looks};
use super::memo::{Decision, Memo, put};
use super::source::{Document, Grant, POLICIES_MAX, Problem, check_depth};
use super::{AccessRequest, Resource, packs};

/// The file that may say which names of a request's context policies look at.
pub const CONTEXT_FILE: &str = "context.cedarschema";

/// What the parser may use of it: Cedar's walks its texts by calling itself.
const STACK_BYTES: usize = 64 << 20;

/// A valid set of policies, with the memo of its decisions.
pub struct Policies {
    set: PolicySet,
    entities: Entities,
    authorizer: Authorizer,
    looks: Looks,
    types: Types,
    memo: Memo,
    hash: [u8; 32],
    short_hash: Arc<str>,
    notes: Vec<Problem>,
    from_files: FromFiles,
}

/// What of a set came from files, and not from packs or the configuration.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FromFiles {
    /// The files, [`ENTITIES_FILE`] and [`CONTEXT_FILE`] among them.
    pub files: usize,
    /// Their policies.
    pub policies: usize,
}

impl FromFiles {
    /// Whether there is nothing where `before` had something: no file at all, or no policy in those that are left. A
    /// mount that is broken looks like that.
    #[must_use]
    pub fn is_emptied(self, before: Self) -> bool {
        (self.files == 0 && before.files > 0) || (self.policies == 0 && before.policies > 0)
    }
}

impl fmt::Debug for Policies {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Policies({} of hash {})", self.count(), self.hash_text())
    }
}

/// The types of the schema, parsed once.
#[derive(Debug)]
struct Types {
    caller: EntityTypeName,
    role: EntityTypeName,
    key: EntityTypeName,
    key_group: EntityTypeName,
    server: EntityTypeName,
    action: EntityTypeName,
}

/// Roles, key groups, and the names of a context, each with the texts that stand in a policy with it.
#[derive(Debug, Default)]
pub(super) struct Mentions {
    pub(super) roles: BTreeSet<String>,
    pub(super) key_groups: BTreeSet<String>,
    pub(super) names: BTreeMap<String, BTreeSet<String>>,
}

/// What is being put together.
#[derive(Default)]
struct Draft {
    set: PolicySet,
    /// The file of each policy.
    origins: HashMap<PolicyId, Arc<Document>>,
    problems: Vec<Problem>,
}

impl Policies {
    /// The set of these files, these built-in packs and these grants.
    ///
    /// # Errors
    /// Everything that is wrong, with file, line and column.
    pub fn load(
        documents: &[Document],
        packs: &[&str],
        grants: &[Grant],
    ) -> Result<Self, Vec<Problem>> {
        std::thread::scope(|scope| {
            let parser = std::thread::Builder::new().stack_size(STACK_BYTES);
            let parsed = parser.spawn_scoped(scope, || Self::parse(documents, packs, grants));
            let parsed = parsed.map(std::thread::ScopedJoinHandle::join);
            match parsed {
                Ok(Ok(parsed)) => parsed,
                Ok(Err(_)) => Err(vec![Problem::new("policies", "Cedar gave up on them")]),
                Err(error) => {
                    Err(vec![Problem::new("policies", format!("no thread to read them: {error}"))])
                }
            }
        })
    }

    fn parse(
        documents: &[Document],
        packs: &[&str],
        grants: &[Grant],
    ) -> Result<Self, Vec<Problem>> {
        let mut draft = Draft::default();
        for name in packs {
            match packs::pack(name) {
                Some(text) => draft.read(&format!("pack {name}"), name, text),
                None => {
                    let message =
                        format!("there is no pack `{name}`; there are {}", packs::names());
                    draft.problems.push(Problem::new("packs", message));
                }
            }
        }
        for (index, grant) in grants.iter().enumerate() {
            draft.read("callers", &format!("callers.{index}"), &grant.to_cedar(index));
        }
        let mut entities = Entities::default();
        let mut context =
            Document { name: CONTEXT_FILE.to_owned(), text: packs::CONTEXT.to_owned() };
        for document in documents {
            let name = document.name.as_str();
            if name == ENTITIES_FILE {
                match Entities::parse(document) {
                    Ok(parsed) => entities = parsed,
                    Err(problems) => draft.problems.extend(problems),
                }
            } else if name == CONTEXT_FILE {
                context = document.clone();
            } else {
                let stem = name.strip_suffix(".cedar").unwrap_or(name);
                draft.read(name, stem, &document.text);
            }
        }
        let files = documents.iter().filter(|document| is_file(&document.name)).count();
        let hash = hash(documents, packs, grants);
        draft.finish(entities, &context, files, hash)
    }

    /// SHA-256 over everything that the set is made of, in hexadecimal.
    #[must_use]
    pub fn hash_text(&self) -> String {
        hexadecimal(&self.hash)
    }

    /// The first 16 digits of that.
    #[must_use]
    pub fn short_hash(&self) -> &Arc<str> {
        &self.short_hash
    }

    /// Policies in it.
    #[must_use]
    pub fn count(&self) -> usize {
        self.set.num_of_policies()
    }

    /// What of it came from files.
    #[must_use]
    pub fn from_files(&self) -> FromFiles {
        self.from_files
    }

    /// Decisions that are remembered now, and about how many bytes they take.
    #[must_use]
    pub fn remembered(&self) -> (usize, u64) {
        (self.memo.len(), self.memo.bytes())
    }

    /// What is valid and probably not meant: policies that can never apply, roles and groups that nobody is in.
    #[must_use]
    pub fn notes(&self) -> &[Problem] {
        &self.notes
    }

    /// The reason that a policy gives for itself (`@reason`).
    #[must_use]
    pub fn reason(&self, id: &str) -> Option<&str> {
        self.set.annotation(&PolicyId::new(id), "reason")
    }

    /// What the policies mention: for explanations.
    pub(super) fn mentions(&self) -> Mentions {
        let mut mentions = Mentions::default();
        for policy in self.set.policies() {
            for entity in policy.entity_literals() {
                let id: &str = entity.id().as_ref();
                match entity.type_name().to_string().as_str() {
                    "Role" => mentions.roles.insert(id.to_owned()),
                    "KeyGroup" => mentions.key_groups.insert(id.to_owned()),
                    _ => false,
                };
            }
            let (mut looks, mut texts) = (Looks::default(), BTreeSet::new());
            if looks.add(policy).is_ok()
                && let Ok(json) = policy.to_json()
            {
                looks::texts(&json, &mut texts);
            }
            for name in looks.names {
                mentions.names.entry(name).or_default().extend(texts.iter().cloned());
            }
        }
        mentions
    }

    /// The remembered decision about `request`, or a new one.
    pub(super) fn decide(&self, request: &AccessRequest<'_, '_>) -> Arc<Decision> {
        self.memo.get_or_decide(|key| self.write_key(key, request), || self.ask(request, &[]))
    }

    /// Everything that a decision of this set depends on.
    fn write_key(&self, key: &mut Vec<u8>, request: &AccessRequest<'_, '_>) {
        let identity = &request.caller.identity;
        key.push(request.action as u8);
        key.push(request.caller.transport as u8);
        key.push(u8::from(request.caller.mfa));
        key.push(u8::from(request.approved));
        key.push(u8::from(request.emergency));
        key.push(identity.kind() as u8);
        put(key, identity.name().as_str());
        match request.resource {
            Resource::Key(name) => put(key, name.as_str()),
            Resource::Server => put(key, ""),
        }
        if self.looks.now {
            key.extend_from_slice(&request.now.0.to_le_bytes());
        }
        identity.roles().iter().for_each(|role| put(key, role.as_str()));
        // No role is empty: the names of the context begin here.
        put(key, "");
        let Some(context) = request.context else { return };
        for (name, value) in context.pairs() {
            if self.looks.all || self.looks.names.contains(name) {
                put(key, name);
                put(key, value);
            }
        }
    }

    /// Has Cedar decide. A policy that cannot be evaluated denies: skipped, it could be a `forbid`.
    pub(super) fn ask(&self, request: &AccessRequest<'_, '_>, key_groups: &[String]) -> Decision {
        let Some((query, entities)) = self.query(request, key_groups) else {
            return Decision { allowed: false, by: Arc::new([]) };
        };
        let response = self.authorizer.is_authorized(&query, &self.set, &entities);
        let mut by: Vec<Arc<str>> =
            response.diagnostics().reason().map(|id| id.to_string().into()).collect();
        let failed = response.diagnostics().errors().next().is_some();
        if failed {
            tracing::error!(
                "a policy could not be evaluated, so the request is denied: run `keypod policy explain` on it"
            );
        }
        by.sort();
        let allowed = response.decision() == CedarDecision::Allow && !failed;
        Decision { allowed, by: by.into() }
    }

    /// What Cedar is asked; the key is taken to be in `key_groups` too.
    fn query(
        &self,
        request: &AccessRequest<'_, '_>,
        key_groups: &[String],
    ) -> Option<(Request, CedarEntities)> {
        let types = &self.types;
        let identity = &request.caller.identity;
        let principal = uid(&types.caller, identity.name().as_str());
        let roles = self.entities.roles_of(identity.name(), identity.roles());
        let roles = roles.iter().map(|role| uid(&types.role, role.as_str())).collect();
        let kind = RestrictedExpression::new_string(identity.kind().as_str().to_owned());
        let kind = HashMap::from([("kind".to_owned(), kind)]);
        let caller = Entity::new(principal.clone(), kind, roles).ok()?;
        let (resource, entity) = match request.resource {
            Resource::Key(name) => {
                let key = uid(&types.key, name.as_str());
                let mut groups = self.entities.groups_of(name);
                groups.extend(key_groups.iter().map(String::as_str));
                let groups = groups.into_iter().map(|name| uid(&types.key_group, name)).collect();
                let text = RestrictedExpression::new_string(name.to_string());
                let attributes = HashMap::from([("name".to_owned(), text)]);
                (key.clone(), Entity::new(key, attributes, groups).ok()?)
            }
            Resource::Server => {
                let server = uid(&types.server, "server");
                (server.clone(), Entity::new_no_attrs(server, HashSet::new()))
            }
        };
        let entities = CedarEntities::from_entities([caller, entity], None).ok()?;
        let action = uid(&types.action, request.action.as_str());
        let query =
            Request::new(principal, action, resource, circumstances(request)?, None).ok()?;
        Some((query, entities))
    }
}

/// What a decision may look at beside who, what and which key.
fn circumstances(request: &AccessRequest<'_, '_>) -> Option<CedarContext> {
    let text = |text: &str| RestrictedExpression::new_string(text.to_owned());
    let pairs = request.context.into_iter().flat_map(crate::envelope::Context::pairs);
    let own = pairs.map(|(name, value)| (name.to_owned(), text(value)));
    CedarContext::from_pairs([
        ("request".to_owned(), RestrictedExpression::new_record(own).ok()?),
        ("mfa".to_owned(), RestrictedExpression::new_bool(request.caller.mfa)),
        ("approved".to_owned(), RestrictedExpression::new_bool(request.approved)),
        ("emergency".to_owned(), RestrictedExpression::new_bool(request.emergency)),
        ("transport".to_owned(), text(request.caller.transport.as_str())),
        ("now".to_owned(), RestrictedExpression::new_datetime(request.now.to_string())),
    ])
    .ok()
}

fn uid(kind: &EntityTypeName, id: &str) -> EntityUid {
    EntityUid::from_type_name_and_id(kind.clone(), EntityId::new(id))
}

impl Draft {
    /// Adds the policies of one text. Those without an `@id` are called after their place in it.
    fn read(&mut self, file: &str, stem: &str, text: &str) {
        if let Err(problem) = check_depth(file, text) {
            self.problems.push(problem);
            return;
        }
        let parsed: PolicySet = match text.parse() {
            Ok(parsed) => parsed,
            Err(errors) => {
                let errors: cedar_policy::ParseErrors = errors;
                self.problems.extend(errors.iter().map(|error| Problem::of(file, text, error)));
                return;
            }
        };
        if parsed.num_of_templates() > 0 {
            let problem = Problem::new(file, "templates are not taken: write the policy out");
            self.problems.push(problem);
        }
        let origin = Arc::new(Document { name: file.to_owned(), text: text.to_owned() });
        let mut policies: Vec<&Policy> = parsed.policies().collect();
        // Cedar numbers them in the order of the text.
        policies.sort_by_key(|policy| number(policy.id()));
        for (index, policy) in policies.into_iter().enumerate() {
            let id =
                policy.annotation("id").map_or_else(|| format!("{stem}.{index}"), str::to_owned);
            let id = PolicyId::new(&id);
            if self.set.add(policy.new_id(id.clone())).is_err() {
                let message = format!("there are two policies `{id}`: give each its own @id");
                self.problems.push(Problem::new(file, message));
            }
            self.origins.insert(id, Arc::clone(&origin));
        }
    }

    fn finish(
        mut self,
        entities: Entities,
        context: &Document,
        files: usize,
        hash: [u8; 32],
    ) -> Result<Policies, Vec<Problem>> {
        let policies = self.set.num_of_policies();
        if policies > POLICIES_MAX {
            let message = format!("{policies} policies: at most {POLICIES_MAX} are taken");
            self.problems.push(Problem::new("policies", message));
        }
        let schema = schema(context).map_err(|problem| vec![problem]);
        let (schema, declared) = match schema {
            Ok(schema) if self.problems.is_empty() => schema,
            Ok(_) => return Err(self.problems),
            Err(problems) => return Err([self.problems, problems].concat()),
        };
        let checked = Validator::new(schema).validate(&self.set, ValidationMode::Strict);
        for error in checked.validation_errors() {
            let problem = self.problem(error.policy_id(), error);
            self.problems.push(problem);
        }
        if !self.problems.is_empty() {
            return Err(self.problems);
        }
        let warnings = checked.validation_warnings();
        let mut notes: Vec<_> =
            warnings.map(|warning| self.problem(warning.policy_id(), warning)).collect();
        notes.extend(self.strangers(&entities));
        let looks = self.looks(&declared)?;
        let types =
            Types::new().ok_or_else(|| vec![Problem::new("schema", "it has no such type")])?;
        let policies = self.origins.values().filter(|origin| is_file(&origin.name)).count();
        let from_files = FromFiles { files, policies };
        let (set, authorizer, memo) = (self.set, Authorizer::new(), Memo::new());
        let short_hash = hexadecimal(hash.get(..8).unwrap_or_default()).into();
        Ok(Policies {
            set,
            entities,
            authorizer,
            looks,
            types,
            memo,
            hash,
            short_hash,
            notes,
            from_files,
        })
    }

    /// What the policies look at. Cedar takes a `has` of a name that cannot be there for a plain `false`, so a misspelt
    /// `forbid` would forbid nothing: such a name is an error.
    fn looks(&self, declared: &HashSet<String>) -> Result<Looks, Vec<Problem>> {
        let mut looks = Looks::default();
        let mut problems = Vec::new();
        for policy in self.set.policies() {
            let mut own = Looks::default();
            if let Err(error) = own.add(policy) {
                problems.push(self.problem_text(policy.id(), error.to_string()));
            }
            let unknown = own.names.iter().filter(|name| !declared.contains(*name));
            problems.extend(unknown.map(|name| {
                let message = format!(
                    "`{}` looks at `context.request.{name}`, which {CONTEXT_FILE} does not declare: declare it, or mend its spelling",
                    policy.id()
                );
                self.problem_text(policy.id(), message)
            }));
            looks.join(own);
        }
        if problems.is_empty() { Ok(looks) } else { Err(problems) }
    }

    fn problem(&self, id: &PolicyId, diagnostic: &dyn miette::Diagnostic) -> Problem {
        match self.origins.get(id) {
            Some(origin) => Problem::of(&origin.name, &origin.text, diagnostic),
            None => Problem::new("policies", diagnostic.to_string()),
        }
    }

    fn problem_text(&self, id: &PolicyId, message: String) -> Problem {
        let file = self.origins.get(id).map_or("policies", |origin| &origin.name);
        Problem::new(file, message)
    }

    /// Roles and key groups that policies name and that `entities.toml` does not know. Roles with a colon come with
    /// a proof.
    fn strangers(&self, entities: &Entities) -> Vec<Problem> {
        let mut notes = Vec::new();
        for policy in self.set.policies() {
            for entity in policy.entity_literals() {
                let id: &str = entity.id().as_ref();
                let kind = entity.type_name().to_string();
                let known = match kind.as_str() {
                    "Role" => id.contains(':') || entities.has_role(id),
                    "KeyGroup" => entities.has_group(id),
                    _ => true,
                };
                if !known {
                    let message = format!(
                        "nobody and nothing is in {kind} `{id}` of `{}`: see {ENTITIES_FILE}",
                        policy.id()
                    );
                    notes.push(self.problem_text(policy.id(), message));
                }
            }
        }
        notes.sort_by(|one, other| (&one.file, &one.message).cmp(&(&other.file, &other.message)));
        notes
    }
}

impl Types {
    fn new() -> Option<Self> {
        let kind = |name: &str| name.parse().ok();
        Some(Self {
            caller: kind("Caller")?,
            role: kind("Role")?,
            key: kind("Key")?,
            key_group: kind("KeyGroup")?,
            server: kind("Server")?,
            action: kind("Action")?,
        })
    }
}

/// The built-in schema together with the request's context, and the names that are declared for that.
fn schema(context: &Document) -> Result<(Schema, HashSet<String>), Problem> {
    let fragment = |file: &str, text: &str| match SchemaFragment::from_cedarschema_str(text) {
        Ok((fragment, _warnings)) => Ok(fragment),
        Err(error) => Err(Problem::of(file, text, &error)),
    };
    let own = fragment(&context.name, &context.text)?;
    let built_in = fragment("schema.cedarschema", packs::SCHEMA)?;
    let declared = declared_names(&own);
    let schema = Schema::from_schema_fragments([built_in, own])
        .map_err(|error| Problem::of(&context.name, &context.text, &error))?;
    Ok((schema, declared))
}

/// The names that `context.cedarschema` declares.
fn declared_names(context: &SchemaFragment) -> HashSet<String> {
    let json = context.clone().to_json_value().ok();
    let attributes = json.as_ref().and_then(|json| {
        json.get("")?.pointer("/commonTypes/RequestContext/attributes")?.as_object()
    });
    attributes.map(|names| names.keys().cloned().collect()).unwrap_or_default()
}

/// The number in Cedar's own id of a policy: `policy7`.
fn number(id: &PolicyId) -> usize {
    let id: &str = id.as_ref();
    id.trim_start_matches(|c: char| !c.is_ascii_digit()).parse().unwrap_or(usize::MAX)
}

/// Whether a text of this name is a file: packs and what the configuration says in short have no such names.
fn is_file(name: &str) -> bool {
    name == ENTITIES_FILE
        || name == CONTEXT_FILE
        || Path::new(name).extension().is_some_and(|extension| extension == "cedar")
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn hash(documents: &[Document], packs: &[&str], grants: &[Grant]) -> [u8; 32] {
    let mut parts = Vec::new();
    for document in documents {
        put(&mut parts, &document.name);
        put(&mut parts, &document.text);
    }
    for name in packs {
        put(&mut parts, name);
        put(&mut parts, packs::pack(name).unwrap_or_default());
    }
    for (index, grant) in grants.iter().enumerate() {
        put(&mut parts, &grant.to_cedar(index));
    }
    put(&mut parts, packs::SCHEMA);
    put(&mut parts, packs::CONTEXT);
    Sha256::digest(&parts).into()
}
