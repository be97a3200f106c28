//! Decisions of whole sets: grants, packs, files, and what is wrong with them.

use proptest::prelude::*;

use super::*;

fn caller(name: &str, roles: &[&str], mfa: bool) -> Caller {
    let roles = roles.iter().map(|role| role.parse().unwrap()).collect();
    let identity = Identity::new(name.parse().unwrap(), CallerKind::Token, roles);
    Caller { identity: identity.into(), transport: Transport::Tcp, mfa }
}

fn document(name: &str, text: &str) -> Document {
    Document { name: name.to_owned(), text: text.to_owned() }
}

fn load(text: &str) -> Result<Policies, Vec<Problem>> {
    Policies::load(&[document("a.cedar", text)], &[], &[])
}

fn context(pairs: &[(&str, &str)]) -> Context {
    let pairs = pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    Context::new(pairs).unwrap()
}

fn ask(
    policies: &Policies,
    caller: &Caller,
    action: Action,
    key: &str,
    pairs: &[(&str, &str)],
) -> Result<Permit<'static>, Denied> {
    // A permit lends the context: in a test it may stay for ever.
    let (key, context) = (key.parse().unwrap(), Box::leak(Box::new(context(pairs))));
    let resource = if action.is_about_a_key() { Resource::Key(&key) } else { Resource::Server };
    decide(policies, &request(caller, action, resource, Some(context)))
}

/// Without an approval and outside an emergency.
fn request<'a, 'c>(
    caller: &'a Caller,
    action: Action,
    resource: Resource<'a>,
    context: Option<&'c Context>,
) -> AccessRequest<'a, 'c> {
    let now = UnixSeconds(1_795_500_000);
    AccessRequest { caller, action, resource, context, approved: false, emergency: false, now }
}

fn orders_may_encrypt() -> Grant {
    Grant {
        caller: "orders".parse().unwrap(),
        actions: vec![Action::Encrypt, Action::ReadStatus],
        keys: vec![KeyPattern::parse("orders-*").unwrap(), KeyPattern::parse("cards").unwrap()],
    }
}

#[test]
fn nothing_is_allowed_without_a_policy() {
    let policies = Policies::load(&[], &[], &[]).unwrap();
    for action in Action::ALL {
        let denied = ask(&policies, &caller("orders", &[], true), action, "a", &[]).unwrap_err();
        assert!(denied.by().is_empty());
    }
}

#[test]
fn a_grant_allows_its_caller_its_actions_on_its_keys_and_nothing_else() {
    let policies = Policies::load(&[], &[], &[orders_may_encrypt()]).unwrap();
    let orders = caller("orders", &[], false);
    let permit = ask(&policies, &orders, Action::Encrypt, "orders-eu", &[]).unwrap();
    assert_eq!(permit.key().unwrap().as_str(), "orders-eu");
    assert_eq!((permit.action(), &*permit.by()[0]), (Action::Encrypt, "callers.0.keys"));
    assert!(ask(&policies, &orders, Action::Encrypt, "cards", &[]).is_ok());
    assert!(ask(&policies, &orders, Action::ReadStatus, "cards", &[]).is_ok());
    assert!(ask(&policies, &orders, Action::Encrypt, "cards2", &[]).is_err());
    assert!(ask(&policies, &orders, Action::Decrypt, "orders-eu", &[]).is_err());
    assert!(ask(&policies, &caller("orders2", &[], false), Action::Encrypt, "cards", &[]).is_err());
}

#[test]
fn orders_may_encrypt_and_billing_may_decrypt_for_payment_and_nobody_else_may_anything() {
    let policies = load(
        "permit (principal == Caller::\"orders\", action == Action::\"encrypt\", resource == Key::\"cards\");
         permit (principal == Caller::\"billing\", action == Action::\"decrypt\", resource == Key::\"cards\")
         when { context has request.purpose && context.request.purpose == \"payment\" };",
    )
    .unwrap();
    let payment = [("purpose", "payment"), ("order", "7")];
    for name in ["orders", "billing", "else"] {
        for action in Action::ALL {
            for pairs in [&payment[..], &[("purpose", "marketing")], &[]] {
                for key in ["cards", "cards2"] {
                    let expected = key == "cards"
                        && match (name, action) {
                            ("orders", Action::Encrypt) => true,
                            ("billing", Action::Decrypt) => pairs.len() == 2,
                            _ => false,
                        };
                    let caller = caller(name, &[], true);
                    let permit = ask(&policies, &caller, action, key, pairs);
                    assert_eq!(permit.is_ok(), expected, "{name} {action:?} {key} {pairs:?}");
                }
            }
        }
    }
}

#[test]
fn a_forbid_wins_over_every_permit_and_is_named() {
    let forbid = document("no.cedar", "@id(\"stop\") forbid (principal, action, resource);");
    let policies = Policies::load(&[forbid], &[], &[orders_may_encrypt()]).unwrap();
    let denied = ask(&policies, &caller("orders", &[], true), Action::Encrypt, "cards", &[]);
    assert_eq!(&*denied.unwrap_err().by()[0], "stop");
}

#[test]
fn a_policy_that_cannot_be_evaluated_denies() {
    // The hour overflows no type that the validator knows, and fails when it is added.
    let policies = load(
        "permit (principal, action, resource);
         forbid (principal, action, resource) when { context.now.offset(duration(\"106751991167d\")) > context.now && false };",
    )
    .unwrap();
    assert!(ask(&policies, &caller("a", &[], true), Action::Encrypt, "k", &[]).is_err());
}

#[test]
fn what_is_wrong_is_said_with_file_line_and_column_and_all_of_it() {
    for (text, line, column, message) in [
        ("permit (principal, action, resource)\nwhen { true }", 2, 14, "unexpected end"),
        ("permit (principal, action == Action::\"encrpt\", resource);", 1, 30, "encrpt"),
        (
            "permit (principal, action, resource)\nwhen { context.request.purpsoe == \"a\" };",
            2,
            8,
            "purpsoe",
        ),
        (
            "permit (principal, action, resource) when { context.request.purpose == \"a\" };",
            1,
            45,
            "purpose",
        ),
        ("permit (principal == Robot::\"a\", action, resource);", 1, 22, "Robot"),
        ("permit (principal == ?principal, action, resource);", 0, 0, "templates"),
    ] {
        let problems = load(text).unwrap_err();
        let problem = &problems[0];
        assert_eq!(problem.file, "a.cedar");
        assert!(problem.message.contains(message), "{text}: {problem}");
        assert_eq!(problem.line.unwrap_or(0), line, "{text}: {problem}");
        assert_eq!(problem.column.unwrap_or(0), column, "{text}: {problem}");
    }
    let two = [document("a.cedar", "permit ("), document("b.cedar", "forbid (")];
    let problems = Policies::load(&two, &["nothing"], &[]).unwrap_err();
    let files: Vec<_> = problems.iter().map(|problem| problem.file.as_str()).collect();
    assert_eq!(files, ["packs", "a.cedar", "b.cedar"]);
}

#[test]
fn two_policies_of_one_name_are_refused() {
    let text = "@id(\"a\") permit (principal, action, resource);";
    let problems =
        Policies::load(&[document("a.cedar", text), document("b.cedar", text)], &[], &[]);
    assert!(problems.unwrap_err()[0].message.contains("two policies `a`"));
}

#[test]
fn enormous_and_deep_sets_are_refused_and_harm_nobody() {
    let policy = "permit (principal, action, resource);\n";
    let problems = load(&policy.repeat(2_001)).unwrap_err();
    assert!(problems[0].message.contains("at most 2000"), "{}", problems[0]);
    let deep = format!(
        "permit (principal, action, resource) when {{ {}true{} }};",
        "(".repeat(50_000),
        ")".repeat(50_000)
    );
    assert!(!load(&deep).unwrap_err().is_empty());
    let nots =
        format!("permit (principal, action, resource) when {{ {}true }};", "!".repeat(50_000));
    assert!(!load(&nots).unwrap_err().is_empty());
}

#[test]
fn what_can_never_apply_and_who_is_nobody_is_noted() {
    let policies = load(
        "permit (principal in Role::\"nobody\", action, resource);
         permit (principal, action == Action::\"read_status\", resource in KeyGroup::\"none\");
         permit (principal in Role::\"corp:admins\", action, resource);",
    );
    let notes: Vec<_> = policies.unwrap().notes().iter().map(Problem::to_string).collect();
    assert!(notes.iter().any(|note| note.contains("`nobody`")), "{notes:?}");
    assert!(notes.iter().any(|note| note.contains("a.cedar:2")), "{notes:?}");
    assert!(!notes.iter().any(|note| note.contains("corp:admins")), "{notes:?}");
}

#[test]
fn an_operator_says_which_names_of_a_context_policies_look_at() {
    let text = "permit (principal, action, resource) when { context has request.ward && context.request.ward == \"7\" };";
    assert!(load(text).unwrap_err()[0].message.contains("`context.request.ward`"));
    let names = document(CONTEXT_FILE, "type RequestContext = { \"ward\"?: String };");
    let policies = Policies::load(&[names, document("a.cedar", text)], &[], &[]).unwrap();
    let caller = caller("a", &[], false);
    assert!(ask(&policies, &caller, Action::Encrypt, "k", &[("ward", "7")]).is_ok());
    assert!(ask(&policies, &caller, Action::Encrypt, "k", &[("ward", "8")]).is_err());
    let broken = document(CONTEXT_FILE, "type RequestContext = {\n \"ward\": }");
    let problems = Policies::load(&[broken], &[], &[]).unwrap_err();
    assert_eq!((problems[0].file.as_str(), problems[0].line), (CONTEXT_FILE, Some(2)));
}

#[test]
fn contexts_that_no_policy_looks_at_share_a_decision() {
    let policies =
        load("permit (principal, action, resource) when { context.request has tenant };").unwrap();
    let caller = caller("a", &[], false);
    for record in 0..100 {
        let record = record.to_string();
        let pairs = [("record", record.as_str()), ("tenant", "7")];
        assert!(ask(&policies, &caller, Action::Encrypt, "k", &pairs).is_ok());
    }
    assert_eq!(policies.remembered().0, 1);
    assert!(ask(&policies, &caller, Action::Encrypt, "k", &[("record", "7")]).is_err());
}

#[test]
fn a_decision_about_time_is_remembered_for_its_second_alone() {
    let policies =
        load("permit (principal, action, resource) when { context.now < datetime(\"2026-11-24T06:00:00Z\") };").unwrap();
    let (caller, key) = (caller("a", &[], false), "k".parse().unwrap());
    let at = |now: u64| {
        let now = UnixSeconds(now);
        let asked = request(&caller, Action::Rotate, Resource::Key(&key), None);
        decide(&policies, &AccessRequest { now, ..asked }).is_ok()
    };
    assert!(at(1_795_499_999) && !at(1_795_500_000) && at(1_795_499_999));
}

#[test]
fn a_permit_says_whether_it_needs_an_approval() {
    let everything = document("a.cedar", "permit (principal, action, resource);");
    let policies = Policies::load(&[everything, second_person()], &[], &[]).unwrap();
    let (caller, key) = (caller("a", &[], false), "k".parse().unwrap());
    let asked = request(&caller, Action::Destroy, Resource::Key(&key), None);
    // Twice, so that the second answers are remembered ones.
    for _ in 0..2 {
        let denied = decide(&policies, &asked).unwrap_err();
        assert_eq!(&*denied.by()[0], "keys.second_person");
        let permit = decide(&policies, &AccessRequest { approved: true, ..asked }).unwrap();
        assert!(permit.needs_approval() && !permit.in_emergency());
    }
    let other = decide(&policies, &AccessRequest { action: Action::SetState, ..asked }).unwrap();
    assert!(!other.needs_approval());
    assert!(policies.reason("keys.second_person").unwrap().contains("another person"));
}

#[test]
fn the_packs_are_valid_alone_and_together() {
    for (name, _) in PACKS {
        Policies::load(&[], &[name], &[]).unwrap();
    }
    let names: Vec<_> = PACKS.iter().map(|(name, _)| *name).collect();
    let policies = Policies::load(&[], &names, &[]).unwrap();
    for (id, reason) in [("phi.purpose", "payment"), ("operators.second-factor", "second factor")] {
        assert!(policies.reason(id).unwrap().contains(reason));
    }
}

const EVERYTHING: &str = "
permit (principal in Role::\"r1\", action in [Action::\"encrypt\", Action::\"decrypt\"], resource in KeyGroup::\"g\");
permit (principal, action == Action::\"decrypt\", resource) when { context.request has tenant && context.request.tenant == \"1\" };
permit (principal, action == Action::\"destroy\", resource) when { context.mfa && context.transport == \"unix\" };
permit (principal, action == Action::\"destroy\", resource) when { context.approved };
permit (principal, action == Action::\"decrypt\", resource) when { context.emergency };
permit (principal is Caller, action == Action::\"rotate\", resource) when { principal.kind == \"person\" };
permit (principal, action == Action::\"read_status\", resource) when { context.now > datetime(\"1970-01-01T00:00:05Z\") };
forbid (principal, action, resource) when { context has request.purpose && context.request.purpose == \"1\" };
forbid (principal == Caller::\"c1\", action, resource == Key::\"k1\");
";

proptest! {
    #[test]
    fn a_remembered_decision_is_the_one_that_cedar_makes(
        asks in prop::collection::vec(
            (0..Action::ALL.len(), 0..3_u8, 0..3_u8, any::<[bool; 5]>(), prop::collection::btree_map("(tenant|purpose|record)", "[01]", 0..3), 4..7_u64),
            1..60,
        )
    ) {
        let entities = document(ENTITIES_FILE, "[key_groups.g]\nkeys = [\"k2\"]\n[roles.r1]\nmembers = [\"c2\"]\nroles = [\"r0\"]");
        let policies = Policies::load(&[document("a.cedar", EVERYTHING), entities], &[], &[]).unwrap();
        for (action, name, key, [mfa, unix, person, approved, emergency], pairs, now) in asks {
            let kind = if person { CallerKind::Person } else { CallerKind::Peer };
            let roles = if unix { vec!["r0".parse().unwrap()] } else { Vec::new() };
            let identity = Identity::new(format!("c{name}").parse().unwrap(), kind, roles);
            let transport = if unix { Transport::Unix } else { Transport::Tcp };
            let caller = Caller { identity: identity.into(), transport, mfa };
            let key = format!("k{key}").parse().unwrap();
            let context = Context::new(pairs).unwrap();
            let action = Action::ALL[action];
            let resource = if action.is_about_a_key() { Resource::Key(&key) } else { Resource::Server };
            let now = UnixSeconds(now);
            let request =
                AccessRequest { caller: &caller, action, resource, context: Some(&context), approved, emergency, now };
            prop_assert_eq!(decide(&policies, &request).is_ok(), policies.ask(&request, &[]).allowed);
        }
    }
}
