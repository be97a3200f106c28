use super::*;
use crate::identity::{KeyPlace, KubernetesCheck};

const SMALLEST: &str = r#"
    [root.local]
    key_file = "root.key"
    [store]
    sqlite = "keys.db"
"#;

fn parse(text: &str) -> Result<Config, String> {
    Config::parse(text, "keypod.toml", []).map_err(|error| error.to_string())
}

fn with_variable(name: &str, value: &str) -> Result<Config, String> {
    Config::parse(SMALLEST, "keypod.toml", [(name.to_owned(), value.to_owned())])
        .map_err(|error| error.to_string())
}

#[test]
fn the_smallest_configuration_has_the_documented_defaults() {
    let config = parse(SMALLEST).unwrap();
    assert_eq!(config.listen.tcp, Some("127.0.0.1:7480".parse().unwrap()));
    assert_eq!(config.listen.unix.unwrap().mode, 0o660);
    assert_eq!(config.cache.refresh_after.as_secs(), 300);
    assert_eq!(config.keys.messages_max, 1 << 32);
    assert!(config.callers.is_empty());
}

#[test]
fn an_unknown_setting_is_refused_and_the_nearest_one_named() {
    let error = parse(&format!("{SMALLEST}\n[cache]\nidle_evct = \"1m\"")).unwrap_err();
    assert!(error.contains("`cache.idle_evct`") && error.contains("`cache.idle_evict`"), "{error}");
    let error = with_variable("KEYPOD_LISTEN__TPC", "off").unwrap_err();
    assert!(error.contains("`listen.tpc`") && error.contains("`listen.tcp`"), "{error}");
    assert!(error.contains("the environment"), "{error}");
}

#[test]
fn the_environment_wins_over_the_file() {
    assert_eq!(with_variable("KEYPOD_LISTEN__TCP", "off").unwrap().listen.tcp, None);
    let config = with_variable("KEYPOD_CACHE__PRELOAD", "[\"a\", \"b\"]").unwrap();
    assert_eq!(config.cache.preload.len(), 2);
    let config = with_variable("KEYPOD_ROOT__LOCAL__KEY_FILE", "/other").unwrap();
    let local = RootKind::Local(LocalRootSettings::KeyFile("/other".into()));
    assert_eq!(config.root.roots, [local]);
}

#[test]
fn variables_without_a_section_are_left_alone() {
    assert!(with_variable("KEYPOD_SERVICE_HOST", "10.0.0.1").is_ok());
    assert!(with_variable("KEYPOD_PORT", "tcp://10.0.0.1:80").is_ok());
}

#[test]
fn a_data_plane_address_that_is_not_loopback_is_refused() {
    for address in ["0.0.0.0:7480", "10.0.0.1:7480", "[::]:7480"] {
        let error = with_variable("KEYPOD_LISTEN__TCP", address).unwrap_err();
        assert!(error.contains("loopback only"), "{error}");
    }
    assert!(with_variable("KEYPOD_LISTEN__HEALTH", "0.0.0.0:7481").is_ok());
}

#[test]
fn values_that_cannot_work_are_refused_with_the_setting_named() {
    for (variable, value, setting) in [
        ("KEYPOD_LISTEN__TCP", "localhost", "listen.tcp"),
        ("KEYPOD_LISTEN__UNIX_MODE", "0666", "listen.unix_mode"),
        ("KEYPOD_CACHE__REFRESH_AFTER", "soon", "cache.refresh_after"),
        ("KEYPOD_CACHE__ENCRYPT_STALE_MAX", "1m", "cache.encrypt_stale_max"),
        ("KEYPOD_LIMITS__IN_FLIGHT_MAX", "0", "limits.in_flight_max"),
        ("KEYPOD_LIMITS__CALLER_IN_FLIGHT_MAX", "513", "limits.caller_in_flight_max"),
        ("KEYPOD_LIMITS__USER_CONNECTIONS_MAX", "0", "limits.user_connections_max"),
        ("KEYPOD_LIMITS__BYTES_PER_SECOND", "0", "limits.bytes_per_second"),
        ("KEYPOD_LIMITS__KEY_REQUESTS_PER_SECOND", "0", "limits.key_requests_per_second"),
        ("KEYPOD_LIMITS__BODY_MEMORY_BYTES_MAX", "5", "limits.body_memory_bytes_max"),
        ("KEYPOD_LIMITS__BATCH_ITEMS_MAX", "16385", "limits.batch_items_max"),
        ("KEYPOD_LIMITS__BODY_TIMEOUT", "0s", "limits.body_timeout"),
        ("KEYPOD_CACHE__IDLE_EVICT", "1000y", "cache.idle_evict"),
        ("KEYPOD_KEYS__MESSAGES_MAX", "0", "keys.messages_max"),
        ("KEYPOD_KEYS__BYTES_MAX", "9223372036854775807", "keys.bytes_max"),
        ("KEYPOD_AUDIT__DURABILITY", "maybe", "audit.durability"),
        ("KEYPOD_AUDIT__ORIGIN", "a b", "audit.origin"),
        ("KEYPOD_AUDIT__COMMIT_TIMEOUT", "2m", "audit.commit_timeout"),
        ("KEYPOD_AUDIT__CHECKPOINT_EVERY", "0s", "audit.checkpoint_every"),
        ("KEYPOD_AUDIT__QUEUE_MAX", "0", "audit.queue_max"),
        ("KEYPOD_AUDIT__ROTATE_BYTES", "1000", "audit.rotate_bytes"),
        ("KEYPOD_AUDIT__ROTATE_AFTER", "1s", "audit.rotate_after"),
        ("KEYPOD_AUDIT__SINK_BACKLOG_BYTES_MAX", "5", "audit.sink_backlog_bytes_max"),
        ("KEYPOD_AUDIT__STDOUT", "maybe", "audit.stdout"),
        ("KEYPOD_AUDIT__SYSLOG__ADDRESS", "/dev/log", "audit.syslog.address"),
        ("KEYPOD_EMERGENCY__MAX_MINUTES", "0", "emergency.max_minutes"),
        ("KEYPOD_EMERGENCY__MAX_MINUTES", "1441", "emergency.max_minutes"),
        ("KEYPOD_MEMORY__REQUIRE", "best", "memory.require"),
        ("KEYPOD_ROOT__LOCAL__SALT_FILE", "s", "root.local"),
    ] {
        let error = with_variable(variable, value).unwrap_err();
        assert!(error.contains(setting), "{variable}: {error}");
    }
    assert!(parse("not toml at all").unwrap_err().contains("keypod.toml"));
    assert!(parse("[store]\nsqlite = \"x\"").unwrap_err().contains("root"));
}

#[test]
fn a_caller_has_one_kind_of_credential_and_known_operations() {
    let caller = |lines: &str| parse(&format!("{SMALLEST}\n[[callers]]\nname = \"a\"\n{lines}"));
    let good = caller("uid = 1000\noperations = [\"encrypt\"]\nkeys = [\"x*\"]").unwrap();
    assert_eq!(good.callers.first().unwrap().credential, Credential::Peer { uid: 1000, gid: None });
    assert!(caller("operations = [\"encrypt\"]").is_err());
    assert!(caller("uid = 1\ntoken_file = \"t\"\noperations = []").is_err());
    assert!(caller("uid = 1\noperations = [\"encript\"]").unwrap_err().contains("callers"));
    assert!(caller("uid = 1\noperations = []\nkeys = [\"*x\"]").unwrap_err().contains("keys"));
}

/// Both places that show every setting: the commented file, and the block in README.md.
fn examples() -> [&'static str; 2] {
    let readme = include_str!("../../../README.md");
    let (_, configuration) = readme.split_once("## Configuration").unwrap();
    let block = configuration.split_once("```toml\n").and_then(|(_, rest)| rest.split_once("```"));
    [include_str!("../../keypod.example.toml"), block.unwrap().0]
}

#[test]
fn every_configuration_that_the_readme_shows_is_valid() {
    let blocks = include_str!("../../../README.md").split("```toml\n").skip(1);
    let blocks: Vec<_> = blocks.filter_map(|rest| rest.split("```").next()).collect();
    assert_eq!(blocks.len(), 3, "with AWS KMS, with Vault, and every setting");
    for block in blocks {
        parse(block).unwrap();
    }
}

#[test]
fn the_examples_show_the_defaults() {
    for text in examples() {
        let mut example = parse(text).unwrap();
        let [RootKind::Local(LocalRootSettings::KeyFile(key_file))] = &*example.root.roots else {
            panic!("the example shows a key file");
        };
        let StoreSettings::Sqlite(sqlite) = &example.store else {
            panic!("the example shows SQLite");
        };
        let needed = format!("[root.local]\nkey_file = {key_file:?}\n[store]\nsqlite = {sqlite:?}");
        assert!(std::mem::take(&mut example.callers).len() > 1);
        assert_eq!(format!("{example:#?}"), format!("{:#?}", parse(&needed).unwrap()));
    }
}

#[test]
fn the_commented_example_leaves_no_setting_out() {
    let [example, _] = examples();
    let shown = |table: &str, name: &str| {
        example.lines().map(|line| line.strip_prefix("# ").unwrap_or(line)).any(|line| {
            line.split_once(" = ").is_some_and(|(setting, _)| setting == name)
                || line.starts_with(&format!("[{table}.{name}]"))
                || line == format!("[[{table}.{name}]]")
        })
    };
    let tables = [
        "[listen]",
        "[root]",
        "[root.local]",
        "[[root.aws_kms]]",
        "[[root.vault]]",
        "[root.vault.approle]",
        "[root.vault.kubernetes]",
        "[store]",
        "[store.postgres]",
        "[cache]",
        "[keys]",
        "[memory]",
        "[limits]",
        "[[limits.callers]]",
        "[[limits.keys]]",
        "[audit]",
        "[[audit.witnesses]]",
        "[audit.syslog]",
        "[audit.otlp]",
        "[log]",
        "[emergency]",
        "[identity]",
        "[identity.kubernetes]",
        "[[identity.oidc]]",
        "[[callers]]",
    ];
    for table in tables {
        let parent = if table.starts_with("[root.vault.") { "[[root.vault]]" } else { "" };
        let text = format!("{parent}\n{table}\nno_such_setting = 1");
        let error = Figment::from(Toml::string(&text)).extract::<raw::RawConfig>();
        let known = error.err().unwrap().into_iter().find_map(|error| match error.kind {
            figment::error::Kind::UnknownField(_, known) => Some(known),
            _ => None,
        });
        for name in known.unwrap() {
            assert!(shown(table.trim_matches(['[', ']']), name), "{table} {name}");
        }
    }
}

fn with_roots(text: &str) -> Result<Config, String> {
    parse(&format!("{text}\n[store]\nsqlite = \"keys.db\""))
}

#[test]
fn roots_are_asked_in_the_order_that_is_preferred() {
    let text = r#"
        [root]
        prefer = ["vault", "local"]
        [root.local]
        key_file = "root.key"
        [[root.aws_kms]]
        key = "alias/keypod"
        [[root.aws_kms]]
        name = "ireland"
        key = "arn:aws:kms:eu-west-1:111122223333:alias/keypod"
        [[root.vault]]
        address = "https://vault.example:8200/"
        key = "keypod"
        [root.vault.kubernetes]
        role = "keypod"
    "#;
    let names = |config: Config| {
        let names = config.root.roots.iter().map(|root| root.name().to_string());
        names.collect::<Vec<_>>()
    };
    let config = with_roots(text).unwrap();
    assert_eq!(names(config), ["vault", "local", "aws_kms", "ireland"]);
    let config = with_roots(&text.replace("prefer", "# prefer")).unwrap();
    assert_eq!(names(config), ["aws_kms", "ireland", "vault", "local"]);
}

#[test]
fn roots_that_cannot_work_are_refused_with_the_setting_named() {
    let vault = "[[root.vault]]\nkey = \"k\"\n";
    let kms = "[[root.aws_kms]]\nkey = \"k\"\n";
    for (text, setting) in [
        ("[root]".to_owned(), "`root`"),
        (format!("{kms}{kms}"), "aws_kms"),
        (format!("[root]\nprefer = [\"x\"]\n{kms}"), "root.prefer"),
        (format!("{kms}name = \"local\""), "root.aws_kms.0.name"),
        (format!("{kms}endpoint = \"http://kms.example\""), "root.aws_kms.0.endpoint"),
        (format!("{kms}endpoint = \"https://user:word@kms.example\""), "root.aws_kms.0.endpoint"),
        (format!("{vault}address = \"http://vault.example\""), "root.vault.0.address"),
        (format!("{vault}address = \"https://v\""), "root.vault.0.token_file"),
        (
            format!("{vault}address = \"https://v\"\ntoken_file = \"t\"\nclient_key_file = \"k\""),
            "root.vault.0.client_cert_file",
        ),
        (
            format!("{vault}address = \"https://v\"\ntoken_file = \"t\"\naudit_key = \"\""),
            "audit_key",
        ),
        (format!("{kms}audit_key = \"\""), "root.aws_kms.0.audit_key"),
        (format!("[root]\ncall_timeout = \"1s\"\n{kms}"), "root.call_timeout"),
    ] {
        let error = with_roots(&text).unwrap_err();
        assert!(error.contains(setting), "{text}: {error}");
    }
}

#[test]
fn a_database_is_reached_over_tls_unless_it_is_on_this_machine() {
    let store =
        |lines: &str| parse(&format!("[root.local]\nkey_file = \"k\"\n[store.postgres]\n{lines}"));
    assert!(store("host = \"db.example\"").is_ok());
    assert!(store("host = \"db.example\"\ntls = \"off\"").unwrap_err().contains("tls"));
    for host in ["localhost", "127.0.0.1", "::1", "/run/postgresql"] {
        assert!(store(&format!("host = \"{host}\"\ntls = \"off\"")).is_ok(), "{host}");
    }
    assert!(store("host = \"d\"\nschema = \"a; drop\"").unwrap_err().contains("schema"));
    assert!(parse("[root.local]\nkey_file = \"k\"\n[store]").unwrap_err().contains("`store`"));
}

#[test]
fn one_caller_never_has_all_places_unless_it_is_said() {
    let limits = |text: &str| {
        let needed = "[root.local]\nkey_file = \"k\"\n[store]\nsqlite = \"s\"";
        let callers = "[[callers]]\nname = \"a\"\nuid = 1";
        parse(&format!("{needed}\n{callers}\n{text}")).map(|config| config.limits)
    };
    let usual = limits("").unwrap();
    assert_eq!((usual.caller.in_flight_max, usual.user_connections_max), (384, 768));
    let few = limits("[limits]\nin_flight_max = 1\nconnections_max = 2").unwrap();
    assert_eq!((few.caller.in_flight_max, few.user_connections_max), (1, 2));
    let own = limits(
        "[limits]\nrequests_per_second = 7\n[[limits.callers]]\nname = \"a\"\nin_flight_max = 3",
    );
    let own = own.unwrap().callers[&"a".parse().unwrap()];
    assert_eq!((own.in_flight_max, own.rate.requests_per_second.get()), (3, 7));
    let memory = (usual.caller.body_memory_bytes_max, few.caller.body_memory_bytes_max);
    assert_eq!(memory, (48 << 20, 48 << 20));
    let little =
        limits("[limits]\nbody_memory_bytes_max = 100\njson_body_bytes_max = 100").unwrap();
    assert_eq!(little.caller.body_memory_bytes_max, 100, "one body at least");
    limits("[[limits.callers]]\nname = \"system:serviceaccount:a:b\"").unwrap();
    for (text, setting) in [
        ("[[limits.callers]]\nname = \"a b\"", "limits.callers.0.name"),
        ("[[limits.callers]]\nname = \"nobody\"", "limits.callers.0.name"),
        ("[limits]\ncaller_body_memory_bytes_max = 1", "limits.caller_body_memory_bytes_max"),
        (
            "[[limits.callers]]\nname = \"a\"\n[[limits.callers]]\nname = \"a\"",
            "limits.callers.1.name",
        ),
        ("[[limits.callers]]\nname = \"a\"\nin_flight_max = 513", "limits.callers.0.in_flight_max"),
        ("[[limits.keys]]\nname = \"A\"", "limits.keys.0.name"),
        ("[[limits.keys]]\nname = \"a\"\nbytes_per_second = 0", "limits.keys.0.bytes_per_second"),
    ] {
        let error = limits(text).unwrap_err();
        assert!(error.contains(setting), "{text}: {error}");
    }
}
fn with_identity(text: &str) -> Result<Config, String> {
    parse(&format!("[root.local]\nkey_file = \"k\"\n[store]\nsqlite = \"s\"\n{text}"))
}

#[test]
fn an_issuer_that_could_not_be_trusted_is_refused_with_the_setting_named() {
    let cluster = "[identity.kubernetes]\naudience = \"keypod\"";
    let person = "[[identity.oidc]]\nname = \"staff\"\naudience = \"keypod\"";
    let issuer = "issuer = \"https://login.example\"";
    with_identity(&format!("{cluster}\n{person}\n{issuer}")).unwrap();
    for (text, setting) in [
        ("[identity.kubernetes]".to_owned(), "identity.kubernetes.audience"),
        ("[identity.kubernetes]\naudience = \"\"".to_owned(), "identity.kubernetes.audience"),
        (format!("{cluster}\nalgorithms = [\"HS256\"]"), "identity.kubernetes.algorithms"),
        (format!("{cluster}\nalgorithms = [\"none\"]"), "identity.kubernetes.algorithms"),
        (format!("{cluster}\nalgorithms = []"), "identity.kubernetes.algorithms"),
        (format!("{cluster}\njwks_url = \"http://api\""), "identity.kubernetes.jwks_url"),
        (format!("{cluster}\njwks_url = \"https://u@api\""), "identity.kubernetes.jwks_url"),
        (
            format!("{cluster}\njwks_url = \"https://a\"\njwks_file = \"f\""),
            "identity.kubernetes.check",
        ),
        (format!("{cluster}\napi_server = \"https://a\""), "identity.kubernetes.check"),
        (
            format!("{cluster}\ncheck = \"token_review\"\njwks_file = \"f\""),
            "identity.kubernetes.check",
        ),
        (
            format!("{cluster}\npod_uid = \"u\"\npod_uid_file = \"f\""),
            "identity.kubernetes.pod_uid",
        ),
        (format!("{person}\nissuer = \"http://login.example\""), "identity.oidc.0.issuer"),
        (format!("{person}\n{issuer}\n{person}\nissuer = \"https://o\""), "identity.oidc.1.name"),
        (
            format!("{person}\n{issuer}\n{}\n{issuer}", person.replace("staff", "others")),
            "identity.oidc.1.issuer",
        ),
        (format!("{cluster}\n{issuer}\n{person}\n{issuer}"), "identity.oidc.0.issuer"),
        (format!("{}\n{issuer}", person.replace("staff", "system")), "identity.oidc.0.name"),
        (format!("{}\n{issuer}", person.replace("staff", "kubernetes")), "identity.oidc.0.name"),
        (format!("{}\n{issuer}", person.replace("staff", "a:b")), "identity.oidc.0.name"),
        ("[identity]\nstale_max = \"2days\"".to_owned(), "identity.stale_max"),
        ("[identity]\nrefresh_after = \"2days\"".to_owned(), "identity.stale_max"),
        ("[identity]\nrefresh_after = \"1ms\"".to_owned(), "identity.refresh_after"),
    ] {
        let error = with_identity(&text).unwrap_err();
        assert!(error.contains(setting), "{text}: {error}");
    }
}

#[test]
fn the_pods_token_goes_to_the_clusters_own_api_server_alone() {
    let endpoint = |line: &str| {
        let text = format!("[identity.kubernetes]\naudience = \"keypod\"\n{line}");
        match with_identity(&text).unwrap().identity.kubernetes.unwrap().check {
            KubernetesCheck::Keys(KeyPlace::Address(endpoint))
            | KubernetesCheck::TokenReview(endpoint) => endpoint,
            KubernetesCheck::Keys(other) => panic!("{other:?}"),
        }
    };
    for line in ["", "check = \"token_review\""] {
        let own = endpoint(line);
        assert!(own.address.starts_with("https://kubernetes.default.svc"), "{own:?}");
        assert!(own.token_file.is_some() && own.ca_file.is_some());
    }
    let other = endpoint("jwks_url = \"https://issuer.example/jwks\"");
    assert_eq!((other.token_file, other.ca_file), (None, None));
}

#[test]
fn a_sink_that_could_not_be_trusted_or_reached_is_refused_with_the_setting_named() {
    let parse = |text: &str| with_identity(text).map(|config| config.audit.sinks);
    let syslog = |lines: &str| parse(&format!("[audit.syslog]\n{lines}"));
    let otlp = |lines: &str| parse(&format!("[audit.otlp]\n{lines}"));
    let place = |address: &str| {
        syslog(&format!("address = \"{address}\"")).map(|sinks| sinks.syslog.unwrap())
    };
    for address in
        ["unix:/dev/log", "tls://log.example:6514", "tcp://127.0.0.1:601", "udp://[::1]:514"]
    {
        assert_eq!(place(address).unwrap().place.to_string(), address);
    }
    let (unix, udp) = (place("unix:/dev/log").unwrap(), place("udp://localhost:514").unwrap());
    assert_eq!((unix.facility, unix.message_bytes_max, udp.message_bytes_max), (13, 8192, 2048));
    for address in [
        "unix:log",
        "/dev/log",
        "tcp://127.0.0.1",
        "tcp://127.0.0.1:0",
        "tls://:6514",
        "tls://u:p@a:1",
        "tls://a:1/b",
        "https://a:1",
        "udp://10.0.0.1:514",
        "tcp://log.example:601",
    ] {
        let error = place(address).unwrap_err();
        assert!(error.contains("audit.syslog.address"), "{address}: {error}");
    }
    syslog("address = \"tcp://log.example:601\"\nin_the_clear = true").unwrap();
    let local = "address = \"unix:/dev/log\"";
    for (lines, setting) in [
        (format!("{local}\nfacility = 24"), "audit.syslog.facility"),
        (format!("{local}\nenterprise_number = 32473"), "audit.syslog.enterprise_number"),
        (format!("{local}\nmessage_bytes_max = 100"), "audit.syslog.message_bytes_max"),
        ("address = \"udp://[::1]:1\"\nmessage_bytes_max = 70000".to_owned(), "message_bytes_max"),
        (format!("{local}\nca_file = \"a\""), "audit.syslog.ca_file"),
        ("address = \"tls://a:1\"\nclient_key_file = \"k\"".to_owned(), "client_cert_file"),
        ("facility = 13".to_owned(), "audit.syslog.address"),
    ] {
        let error = syslog(&lines).unwrap_err();
        assert!(error.contains(setting), "{lines}: {error}");
    }
    let usual = otlp("address = \"https://collector.example/v1/logs\"").unwrap().otlp.unwrap();
    assert!(usual.gzip && usual.batch_entries_max == 512);
    let local = "address = \"http://127.0.0.1:4318/v1/logs\"";
    otlp(local).unwrap();
    for (lines, setting) in [
        ("address = \"http://collector.example/v1/logs\"".to_owned(), "audit.otlp.address"),
        ("address = \"https://u:p@collector.example/v1/logs\"".to_owned(), "audit.otlp.address"),
        (format!("{local}\ntimeout = \"0s\""), "audit.otlp.timeout"),
        (format!("{local}\ntimeout = \"2m\""), "audit.otlp.timeout"),
        (format!("{local}\nbatch_wait = \"2m\""), "audit.otlp.batch_wait"),
        (format!("{local}\nbatch_entries_max = 0"), "audit.otlp.batch_entries_max"),
        (format!("{local}\ncompression = \"zstd\""), "audit.otlp.compression"),
        (format!("{local}\nclient_cert_file = \"c\""), "audit.otlp.client_cert_file"),
        (format!("{local}\nheaders = \"Authorization: x\""), "audit.otlp.headers"),
    ] {
        let error = otlp(&lines).unwrap_err();
        assert!(error.contains(setting), "{lines}: {error}");
    }
}
