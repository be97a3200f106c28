//! Settings that cannot be: the setting is named, the exit code says that it is the configuration.

use keypod_tests::SidecarBuilder;

use super::{CONFIGURATION, assert_says};

#[test]
fn an_unknown_setting_names_the_nearest_one() {
    let builder = SidecarBuilder::new().config("[cache]\nidle_evct = \"1m\"");
    let words = ["cache.idle_evct", "keypod.toml", "did you mean `cache.idle_evict`"];
    assert_says(builder.fail_to_start(), CONFIGURATION, &words);

    let builder = SidecarBuilder::new().variable("KEYPOD_LIMITS__DRAIN_TIMEOT", "1s");
    let words = ["limits.drain_timeot", "the environment", "did you mean `limits.drain_timeout`"];
    assert_says(builder.fail_to_start(), CONFIGURATION, &words);
}

#[test]
fn a_value_of_the_wrong_kind_or_size_names_its_setting() {
    for (variable, value, setting) in [
        ("KEYPOD_CACHE__IDLE_EVICT", "soon", "cache.idle_evict"),
        ("KEYPOD_LIMITS__CONNECTIONS_MAX", "0", "limits.connections_max"),
        ("KEYPOD_LISTEN__UNIX_MODE", "0666", "listen.unix_mode"),
        ("KEYPOD_LISTEN__HEALTH", "here", "listen.health"),
        ("KEYPOD_MEMORY__REQUIRE", "best", "memory.require"),
        ("KEYPOD_CACHE__ENCRYPT_STALE_MAX", "1s", "cache.encrypt_stale_max"),
        ("KEYPOD_LOG__FILTER", "keypod=loud", "log.filter"),
    ] {
        let builder = SidecarBuilder::new().variable(variable, value);
        let place = if setting == "log.filter" { setting } else { "the environment" };
        assert_says(builder.fail_to_start(), CONFIGURATION, &[setting, place]);
    }
}

#[test]
fn a_bind_to_any_address_that_is_not_loopback_is_refused() {
    for address in ["0.0.0.0:7480", "[::]:7480", "10.0.0.1:7480", "192.0.2.1:0"] {
        let builder = SidecarBuilder::new().variable("KEYPOD_LISTEN__TCP", address);
        let words = ["listen.tcp", "loopback only", "127.0.0.1:PORT"];
        assert_says(builder.fail_to_start(), CONFIGURATION, &words);
    }
}

#[test]
fn a_missing_or_broken_configuration_file_is_named() {
    let builder = SidecarBuilder::new();
    builder.write();
    let missing = builder.run_serve(&["--config", "/nonexistent/keypod.toml"]);
    // The argument is given twice, which is wrong usage; the file alone is the next case.
    assert_eq!(missing.0.code(), Some(2), "{}", missing.1);
    let config = builder.folder().join("keypod.toml");
    std::fs::write(&config, "[listen\n").unwrap();
    assert_says(builder.run_serve(&[]), CONFIGURATION, &["keypod.toml"]);
    std::fs::remove_file(&config).unwrap();
    assert_says(builder.run_serve(&[]), CONFIGURATION, &["keypod.toml", "--config"]);
}

#[test]
fn a_preloaded_key_that_is_not_there_is_named() {
    let builder = SidecarBuilder::new().config("[cache]\npreload = [\"nowhere\"]");
    let words = ["nowhere", "cache.preload", "make it, or take it out"];
    assert_says(builder.fail_to_start(), Some(1), &words);
    assert!(!builder.folder().join("keypod.sock").exists());
}

#[test]
fn token_files_that_are_missing_open_or_empty_are_named_with_their_caller() {
    use std::os::unix::fs::PermissionsExt as _;
    let builder = SidecarBuilder::new();
    builder.write();
    let token = builder.folder().join("admin.token");
    std::fs::set_permissions(&token, std::fs::Permissions::from_mode(0o644)).unwrap();
    let words = ["admin.token", "caller admin", "chmod o="];
    assert_says(builder.run_serve(&[]), CONFIGURATION, &words);
    std::fs::set_permissions(&token, std::fs::Permissions::from_mode(0o600)).unwrap();
    std::fs::write(&token, "short\n").unwrap();
    let words = ["admin.token", "caller admin", "openssl rand"];
    assert_says(builder.run_serve(&[]), CONFIGURATION, &words);
    std::fs::remove_file(&token).unwrap();
    assert_says(
        builder.run_serve(&[]),
        CONFIGURATION,
        &["admin.token", "caller admin", "No such file"],
    );
}
