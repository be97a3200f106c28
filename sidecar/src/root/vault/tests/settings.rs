use super::*;

fn error(change: impl FnOnce(&mut VaultSettings)) -> String {
    let folder = tempfile::tempdir().unwrap();
    let auth = VaultAuth::TokenFile(private_file(&folder, "token", "hvs.canary\n"));
    let mut settings = settings("http://127.0.0.1:1", "keypod", auth);
    change(&mut settings);
    match VaultRoot::open(&settings, PATIENT, &arena()) {
        Ok(root) => format!("{root:?}"),
        Err(error) => crate::error_chain::error_chain(&error),
    }
}

#[test]
fn a_vault_that_cannot_be_reached_is_no_error_of_opening() {
    assert!(error(|_| ()).starts_with("VaultRoot("));
}

#[test]
fn addresses_that_a_token_must_not_be_sent_to_are_refused_and_not_repeated() {
    for address in [
        "http://vault.example:8200",
        "http://127.0.0.1.example:8200",
        "https://user:hunter2@vault.example",
        "https://user@vault.example",
        "https://vault.example/?token=hunter2",
        "ftp://127.0.0.1",
        "vault.example:8200",
        "https://",
        "",
    ] {
        let said = error(|settings| settings.address = address.to_owned());
        assert!(said.starts_with("address of the Vault root is not usable"), "{address}: {said}");
        assert!(!said.contains("hunter2"));
    }
    for address in ["http://localhost:1", "http://[::1]:8200", "http://127.0.0.1/behind/a/path"] {
        assert!(error(|settings| settings.address = address.to_owned()).starts_with("VaultRoot("));
    }
}

#[test]
fn mounts_and_keys_that_mean_something_else_in_an_address_are_refused() {
    for text in ["", "/", "a//b", "..", "a/../sys", "a b", "a?b", "a#b", "a%2fb", "a\nb", "a*", "+"]
    {
        let said = error(|settings| settings.mount = text.to_owned());
        assert!(said.starts_with("mount of the Vault root"), "{text:?}: {said}");
        let said = error(|settings| settings.key = text.to_owned());
        assert!(said.starts_with("key of the Vault root"), "{text:?}: {said}");
    }
    assert!(error(|settings| settings.key = "a/b".to_owned()).starts_with("key of"));
    assert!(
        error(|settings| settings.mount = "/team-a/transit/".to_owned())
            .contains("team-a/transit/ at")
    );
    let said = error(|settings| settings.namespace = Some("a\nX-Vault-Token: b".to_owned()));
    assert!(said.starts_with("namespace of the Vault root"), "{said}");
}

#[test]
fn files_of_secrets_that_are_none_are_named_and_never_shown() {
    let folder = tempfile::tempdir().unwrap();
    let with = |path: &std::path::Path| error(|set| set.auth = VaultAuth::TokenFile(path.into()));
    let missing = with(&folder.path().join("missing"));
    assert!(
        missing.contains("missing cannot be read") && missing.contains("No such file"),
        "{missing}"
    );
    assert!(with(folder.path()).contains("is not a regular file"));
    let long = "x".repeat(8193);
    for text in ["", "\n", "  \n", "hvs.ca nary", "hvs.ca\nnary", "hvs.c\u{e4}nary", long.as_str()]
    {
        let path = private_file(&folder, "bad", text);
        let said = with(&path);
        assert!(!said.starts_with("VaultRoot") && said.contains("/bad "), "{text:?}: {said}");
        assert!(!said.contains("hvs") && !said.contains("xxx"), "{said}");
    }
    let path = private_file(&folder, "open", "hvs.canary");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o602)).unwrap();
    assert!(with(&path).contains("chmod o-w"));
    // As Kubernetes mounts it: a link, readable by all.
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    let link = folder.path().join("link");
    std::os::unix::fs::symlink(&path, &link).unwrap();
    assert!(with(&link).starts_with("VaultRoot("));
}
