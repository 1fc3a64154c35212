//! Where secrets come from, and where they do not go.

use super::*;

/// AUT-09: a key may come as a credential of the unit.
#[test]
fn a_relative_key_is_sought_among_the_credentials() {
    let path = scratch_file("secret");
    let (dir, name) = (path.parent().unwrap().to_str().unwrap(), path.file_name().unwrap().to_str().unwrap());
    let key = |name: &str| load_with(&["--jwt-key", name], &[("CREDENTIALS_DIRECTORY", dir)], None).unwrap().config.jwt_keys.remove(0);
    assert_eq!(key(name), path);
    assert_eq!(key("not-there"), PathBuf::from("not-there"));
    assert_eq!(key("/etc/absolute"), PathBuf::from("/etc/absolute"));
    std::fs::remove_file(path).unwrap();
}

/// OPS-05: what is a credential to the service is found beside the configuration by whoever checks it by hand; but not before what was meant: a credential,
/// or a file where one is.
#[test]
fn a_relative_key_is_sought_beside_the_configuration_last() {
    let dir = std::env::temp_dir().join(format!("tickerd-config-beside-{}", std::process::id()));
    let (file, credentials) = (dir.join("tickerd.toml"), dir.join("credentials"));
    std::fs::create_dir_all(&credentials).unwrap();
    let write = |path: &Path| std::fs::write(path, "secret").unwrap();
    let key = |name: &str, variables: &[(&str, &str)]| {
        std::fs::write(&file, format!("jwt_key = [\"{name}\"]")).unwrap();
        load_with(&["--config", file.to_str().unwrap()], variables, None).unwrap().config.jwt_keys.remove(0)
    };
    assert_eq!(key("a.key", &[]), PathBuf::from("a.key"), "there is none: messages name it as it was given");
    write(&dir.join("a.key"));
    assert_eq!(key("a.key", &[]), dir.join("a.key"));
    write(&credentials.join("a.key"));
    assert_eq!(key("a.key", &[("CREDENTIALS_DIRECTORY", credentials.to_str().unwrap())]), credentials.join("a.key"));
    write(&dir.join("Cargo.toml"));
    assert_eq!(key("Cargo.toml", &[]), PathBuf::from("Cargo.toml"), "the one of the working directory");
    std::fs::remove_dir_all(dir).unwrap();
}

/// Secrets are never flags (AUT-09): nothing but the file's name is.
#[test]
fn only_these_flags_exist() {
    for flag in ["--jwt-secret=x", "--token=x", "--tls-password=x", "--redis-password=x", "extra"] {
        args(&[flag]).unwrap_err();
    }
}

/// A password in a URL is refused, and not repeated; what stands behind `?` is not warned about in full.
#[test]
fn urls_have_no_secrets() {
    for url in ["http://u:hush@a/", "https://hush@a:1/x", "http://a:b@hush@c/"] {
        let problem = only_problem(load_flags(&["--authorizer-url", url]));
        assert!(problem.message.contains("--authorizer-token-file") && !problem.message.contains("hush"), "{}", problem.message);
    }
    let problem = only_problem(load_flags(&["--redis", "redis://u:hush@a"]));
    assert!(problem.message.contains("--redis-password-file") && !problem.message.contains("hush"), "{}", problem.message);
    let far = ["--authorizer-url=http://192.0.2.1/x?key=hush", "--authorizer-token-file=/t"];
    let warnings = load_flags(&far).unwrap().warnings;
    assert!(warnings.len() == 1 && warnings[0].contains("plaintext") && !warnings[0].contains("hush"), "{warnings:?}");
    for near in ["http://127.0.0.1:9/", "http://localhost/", "http://[::1]:9/", "https://192.0.2.1/"] {
        assert!(load_flags(&["--authorizer-url", near, "--authorizer-token-file=/t"]).unwrap().warnings.is_empty(), "{near}");
    }
}
