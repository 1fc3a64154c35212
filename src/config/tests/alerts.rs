//! What an `[alerts.NAME]` table may say.

use super::*;

/// OBS-10, OPS-05: an alert that there is not is refused with those that there are, for there is no other place to look them up.
#[test]
fn an_alert_that_there_is_not_is_refused_with_those_that_there_are() {
    let problem = only_problem(load_file("[alerts.nosuch]\nfire = 1\n"));
    assert!(problem.message.starts_with("there is no such alert (there are component_down, ") && problem.message.contains("audit_lost"));
    let problem = only_problem(load_file("[alerts.disk_filing]\nfire = 1\n"));
    assert!(problem.message.starts_with("there is no such alert; did you mean `disk_filling`? (there are "), "{}", problem.message);
}

/// Who asks a daemon needs its admin address alone: no key has to be given.
#[test]
fn the_admin_address_is_known_without_all_else() {
    let address = |argv: &[&str]| admin_listen(&args(argv).unwrap(), &surroundings(&[]));
    assert_eq!(address(&[]), Ok("127.0.0.1:9100".parse().unwrap()));
    assert_eq!(address(&["--admin-listen", "[::1]:9"]), Ok("[::1]:9".parse().unwrap()));
    assert_eq!(address(&["--admin-listen", "192.0.2.1:9"]).unwrap_err().problems[0].key, "admin_listen");
}
