//! What becomes of a configuration that is read again while the daemon runs: what can be taken on is, the rest waits for the next start.

use super::analytics::AnalyticsConfig;
use super::args::ServeArgs;
use super::error::ConfigError;
use super::file::Tables;
use super::keys::{Reload, keys};
use super::resolve::{Setting, Surroundings};
use super::{Loaded, judge, load};

/// A configuration that was read again.
#[derive(Clone, Debug)]
pub struct Reread {
    /// What is to hold from now on.
    pub loaded: Loaded,
    /// Keys that were changed and stay as they are until the next start.
    pub waiting: Vec<String>,
}

impl Loaded {
    /// Reads flags, environment and file again. All of it must be sound, also what waits, and what holds then with what stays.
    pub fn reread(&self, args: &ServeArgs, surroundings: &Surroundings) -> Result<Reread, ConfigError> {
        let asked = load(args, surroundings)?;
        let has_any = |settings: &[Setting], flag| settings.iter().any(|setting| setting.flag == flag && !setting.values.is_empty());
        let is_taken = |reload| match reload {
            Reload::Start => false,
            Reload::Live => true,
            Reload::LiveIfAny(of) => has_any(&self.settings, of) == has_any(&asked.settings, of),
        };
        let mut waiting = Vec::new();
        let mut settings = Vec::with_capacity(self.settings.len());
        for ((key, now), then) in keys().zip(&self.settings).zip(&asked.settings) {
            let is_taken = now.values == then.values || is_taken(key.reload);
            settings.push(if is_taken { then } else { now }.clone());
            if !is_taken {
                waiting.push(key.name());
            }
        }
        // Numbers that were made one way are not gone on with in another.
        let (now, then) = (&self.config.analytics, &asked.config.analytics);
        if now.as_ref().map(AnalyticsConfig::text) != then.as_ref().map(AnalyticsConfig::text) {
            waiting.push("analytics".to_owned());
        }
        let (catalog, issuers, alerts) = (asked.config.catalog, asked.config.issuers, asked.config.alerts);
        let tables = Tables { catalog, issuers, alerts, analytics: now.clone() };
        let loaded = judge(settings, tables, args, surroundings, Vec::new())?;
        Ok(Reread { loaded, waiting })
    }
}
