//! The deployment checklist: what an operator should have seen to before clients come, as far as it can be seen from here (OPS-03).

use std::fmt;

use crate::base::cidr::Cidr;
use crate::base::units::format_size;
use crate::config::Config;

/// Certificates should be good for longer than this.
const CERTIFICATE_DAYS_LEAST: u64 = 14;
/// What the daemon asks the kernel for, for each listener.
const BACKLOG: u64 = 4096;

/// What is known beside the configuration.
#[derive(Clone, Debug)]
pub(super) struct Facts {
    /// Key files that every user of this machine may read, and that hold secrets, as far as can be told.
    pub(super) open_secrets: Vec<String>,
    /// Until the first of the certificates expires, if there are any.
    pub(super) certificate_days: Option<u64>,
    /// Descriptors for as many connections as were asked for.
    pub(super) descriptors_needed: u64,
    /// Descriptors that this process may open; nothing if there is no limit.
    pub(super) descriptors_max: Option<u64>,
    /// `net.core.somaxconn`.
    pub(super) somaxconn: Option<u64>,
    /// Memory of this machine.
    pub(super) memory_bytes: Option<u64>,
    /// Cores that this process may use.
    pub(super) cores: usize,
    /// Whether root asks.
    pub(super) is_root: bool,
}

/// One item: what it is about, and what to do about it, if anything.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Item {
    pub(super) about: &'static str,
    pub(super) outcome: Result<String, String>,
}

impl fmt::Display for Item {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (word, text) = match &self.outcome {
            Ok(text) => ("pass", text),
            Err(text) => ("FAIL", text),
        };
        write!(f, "{word}  {}: {text}", self.about)
    }
}

/// All items.
pub(super) fn checklist(config: &Config, facts: &Facts) -> Vec<Item> {
    let item =
        |about, is_met: bool, met: String, unmet: &str| Item { about, outcome: if is_met { Ok(met) } else { Err(unmet.to_owned()) } };
    let is_limited = config.connections_per_ip_max > 0 && config.handshakes_per_ip > 0 && config.commands_per_client > 0;
    let needed = facts.descriptors_needed;
    let secrets = facts.open_secrets.join(", ");
    vec![
        encryption(config),
        certificates(facts),
        item(
            "secrets",
            facts.open_secrets.is_empty(),
            "no key file is open to every user".to_owned(),
            &format!("every user may read {secrets}: chmod 600, if it is a secret"),
        ),
        item(
            "origins",
            !config.origins.is_empty(),
            config.origins.join(", "),
            "pages of any origin may connect with a token: name yours with --origin",
        ),
        item(
            "query-token",
            !config.query_token,
            "tokens do not come in URLs".to_owned(),
            "tokens in URLs end up in the logs of proxies: drop --query-token",
        ),
        item(
            "publish-socket",
            config.publish_socket.is_none() || config.publish_socket_mode & 0o002 == 0,
            "its mode keeps other users out".to_owned(),
            "every user of this machine may publish: --publish-socket-mode 0660",
        ),
        item("user", !facts.is_root, "not root".to_owned(), "this is root: run the daemon as a user of its own, as the unit does"),
        item(
            "limits",
            is_limited,
            "connections, handshakes and commands of one client are limited".to_owned(),
            "one client may take all there is: --max-connections-per-ip, --handshakes-per-ip and --commands-per-client should not be 0",
        ),
        item(
            "descriptors",
            facts.descriptors_max.is_none_or(|max| max >= needed),
            format!("{needed} are needed, {} allowed", facts.descriptors_max.map_or("any number".to_owned(), |max| max.to_string())),
            &format!("{needed} are needed for as many connections as were asked for, and fewer are allowed: raise LimitNOFILE="),
        ),
        backlog(facts),
        memory(config, facts),
        item(
            "data-dir",
            config.data_dir.is_some(),
            config.data_dir.as_ref().map_or(String::new(), |dir| dir.display().to_string()),
            "events, states and revocations are gone with a restart: give --data-dir",
        ),
        item(
            "cores",
            config.reactors <= facts.cores,
            format!("{} reactors on {} cores", config.reactors, facts.cores),
            &format!("{} reactors share {} cores: lower --reactors", config.reactors, facts.cores),
        ),
        item(
            "log",
            config.log == crate::ops::log::LogFormat::Json,
            "json".to_owned(),
            "lines for people, which collectors do not read: --log json",
        ),
    ]
}

fn encryption(config: &Config) -> Item {
    let is_open = config.listen.iter().any(|address| !address.ip().to_canonical().is_loopback());
    let text = match (config.tls.is_empty(), is_open) {
        (false, _) => "TLS",
        (true, false) => "plaintext on loopback alone",
        (true, true) => "plaintext from the networks of the proxies alone",
    };
    let is_everybody = config.tls.is_empty() && is_open && config.behind_proxy.iter().any(Cidr::is_everything);
    let unmet = || "plaintext from everywhere: name the proxies' networks with --behind-proxy".to_owned();
    Item { about: "encryption", outcome: if is_everybody { Err(unmet()) } else { Ok(text.to_owned()) } }
}

fn certificates(facts: &Facts) -> Item {
    let outcome = match facts.certificate_days {
        None => Ok("none, so none expires".to_owned()),
        Some(days) if days >= CERTIFICATE_DAYS_LEAST => Ok(format!("the first expires in {days} days")),
        Some(days) => Err(format!("one expires in {days} days: renew it")),
    };
    Item { about: "certificates", outcome }
}

fn backlog(facts: &Facts) -> Item {
    let outcome = match facts.somaxconn {
        None => Err("net.core.somaxconn cannot be read".to_owned()),
        Some(most) if most >= BACKLOG => Ok(format!("{most} connections may wait to be accepted")),
        Some(most) => Err(format!("only {most} connections may wait to be accepted in a reconnect storm: net.core.somaxconn = {BACKLOG}")),
    };
    Item { about: "backlog", outcome }
}

fn memory(config: &Config, facts: &Facts) -> Item {
    let budget = config.memory_budget;
    let outcome = match facts.memory_bytes {
        _ if budget == 0 => Err("clients may fill this machine's memory: give --memory-budget".to_owned()),
        Some(there) if budget as u64 > there => {
            Err(format!("the budget of {} is more than this machine has: lower --memory-budget", format_size(budget)))
        }
        _ => Ok(format!("the budget is {}", format_size(budget))),
    };
    Item { about: "memory", outcome }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::config::{self, ServeArgs, Surroundings};

    #[derive(Parser)]
    struct Check {
        #[command(flatten)]
        args: ServeArgs,
    }

    fn config(argv: &[&str]) -> Config {
        let check = Check::parse_from(["check", "--jwt-key", "/k"].iter().chain(argv));
        config::load(&check.args, &Surroundings { cores: 2, ..Surroundings::default() }).unwrap().config
    }

    const GOOD: &[&str] =
        &["--origin=https://a.example", "--memory-budget=1GiB", "--data-dir=/d", "--log=json", "--publish-socket=/s", "--tls-cert=/t"];

    fn facts() -> Facts {
        Facts {
            open_secrets: Vec::new(),
            certificate_days: Some(14),
            descriptors_needed: 15_256,
            descriptors_max: Some(15_256),
            somaxconn: Some(4096),
            memory_bytes: Some(2 << 30),
            cores: 2,
            is_root: false,
        }
    }

    fn failed(argv: &[&str], facts: &Facts) -> Vec<&'static str> {
        let argv: Vec<&str> = GOOD.iter().chain(argv).copied().collect();
        checklist(&config(&argv), facts).into_iter().filter(|item| item.outcome.is_err()).map(|item| item.about).collect()
    }

    /// OPS-03: every one of the 14 items can fail, alone, and does not when what it asks for is there.
    #[test]
    fn every_item_can_fail() {
        assert_eq!(checklist(&config(GOOD), &facts()).len(), 14);
        assert_eq!(failed(&[], &facts()), [""; 0]);
        for (argv, expected) in [
            (&["--query-token"][..], "query-token"),
            (&["--publish-socket-mode=0666"], "publish-socket"),
            (&["--handshakes-per-ip=0"], "limits"),
            (&["--memory-budget=4GiB"], "memory"),
            (&["--memory-budget=0"], "memory"),
            (&["--reactors=3"], "cores"),
            (&["--log=text"], "log"),
        ] {
            // The last of a flag given twice wins.
            let given = argv[0].split('=').next().unwrap();
            let others: Vec<&str> = GOOD.iter().filter(|good| !good.starts_with(given) || given == "--publish-socket").copied().collect();
            let all: Vec<&str> = others.iter().chain(argv).copied().collect();
            let failed: Vec<_> =
                checklist(&config(&all), &facts()).into_iter().filter(|item| item.outcome.is_err()).map(|item| item.about).collect();
            assert_eq!(failed, [expected], "{argv:?}");
        }
        let bare: Vec<_> = checklist(&config(&["--listen=0.0.0.0:1", "--behind-proxy=0.0.0.0/0"]), &facts());
        let failed_bare: Vec<_> = bare.iter().filter(|item| item.outcome.is_err()).map(|item| item.about).collect();
        assert_eq!(failed_bare, ["encryption", "origins", "memory", "data-dir", "log"]);
        for (changed, expected) in [
            (Facts { open_secrets: vec!["/k".to_owned()], ..facts() }, "secrets"),
            (Facts { certificate_days: Some(13), ..facts() }, "certificates"),
            (Facts { descriptors_max: Some(15_255), ..facts() }, "descriptors"),
            (Facts { somaxconn: Some(128), ..facts() }, "backlog"),
            (Facts { is_root: true, ..facts() }, "user"),
        ] {
            assert_eq!(failed(&[], &changed), [expected]);
        }
        let line = checklist(&config(GOOD), &Facts { is_root: true, ..facts() })[6].to_string();
        assert!(line.starts_with("FAIL  user: this is root"), "{line}");
    }
}
