//! Restarts: an account that was written and read back is the same, and goes on as if nothing had happened.

use std::sync::Arc;

use proptest::prelude::*;

use super::random::{acts, settings};
use super::{Desk, MONDAY, give};
use crate::analytics::dump::RestoreError;
use crate::analytics::ledger::What;
use crate::analytics::settings::Method;
use crate::analytics::{Account, Rules, Settings};

fn restored(account: &Account) -> Account {
    Account::restore(Arc::new(account.settings().clone()), &account.dump()).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    /// Read back in the middle, or read back from an older dump and given the inputs since again: the same account, the same messages.
    #[test]
    fn a_restart_changes_nothing(settings in settings(), before in acts(), after in acts()) {
        let mut desk = Desk::new(settings);
        for act in &before {
            desk.act(act);
        }
        let (dumped, again) = (desk.account.dump(), restored(&desk.account));
        prop_assert_eq!(&again, &desk.account);
        let given = desk.kept.len();
        desk.messages();
        let mut other = Desk { account: again, kept: desk.kept.clone(), out: Vec::new(), seq: desk.seq };
        for act in &after {
            desk.act(act);
            other.act(act);
        }
        prop_assert_eq!(&other.account, &desk.account);
        prop_assert_eq!(other.messages(), desk.messages());

        // Crashed after the dump: what was kept since is given again, in the order in which it came.
        let mut crashed = Account::restore(Arc::new(desk.account.settings().clone()), &dumped).unwrap();
        let mut out = Vec::new();
        for input in &desk.kept[given..] {
            prop_assert!(input.seq > crashed.last_seq());
            give(&mut crashed, input, &mut out).unwrap();
        }
        crashed.tick(desk.account.now_ms(), &mut out);
        prop_assert_eq!(crashed.numbers(), desk.account.numbers());
        prop_assert_eq!((crashed.status(), crashed.revision()), (desk.account.status(), desk.account.revision()));
    }

    /// Damaged bytes are told, and end nothing.
    #[test]
    fn damaged_bytes_are_no_account(acts in acts(), at in any::<prop::sample::Index>(), byte in any::<u8>(), cut in any::<prop::sample::Index>()) {
        let mut desk = Desk::new(Settings::default());
        for act in &acts {
            desk.act(act);
        }
        let mut bytes = desk.account.dump();
        let settings = || Arc::new(Settings::default());
        prop_assert!(Account::restore(settings(), &bytes[..cut.index(bytes.len())]).is_err());
        let at = at.index(bytes.len());
        bytes[at] ^= byte;
        if let Ok(account) = Account::restore(settings(), &bytes) {
            prop_assert_eq!(restored(&account).dump(), account.dump());
        }
    }
}

/// Other settings would go on from numbers that they had not made; other rules may.
#[test]
fn numbers_are_read_back_under_their_settings_alone() {
    let mut desk = Desk::new(Settings::default());
    desk.fill(MONDAY, "X", "1", "100", "0").unwrap();
    let bytes = desk.account.dump();
    for other in [
        Settings { periods: 365, ..Settings::default() },
        Settings { risk_free: 0.01, ..Settings::default() },
        Settings { start_equity: super::decimal("10001"), ..Settings::default() },
    ] {
        assert_eq!(Account::restore(Arc::new(other), &bytes), Err(RestoreError::Settings));
    }
    let ruled = Settings { rules: Some(Rules::default()), places: 4, ..Settings::default() };
    assert!(Account::restore(Arc::new(ruled), &bytes).is_ok());
    let newer: Vec<u8> = [&[9, 0], &bytes[2..]].concat();
    assert_eq!(Account::restore(Arc::new(Settings::default()), &newer), Err(RestoreError::Version(9)));
}

/// What was written whole and does not fit together would end the process later: it is told now.
#[test]
fn what_does_not_fit_together_is_no_account() {
    let settings = || Arc::new(Settings { method: Method::Fifo, ..Settings::default() });
    let mut desk = Desk::new((*settings()).clone());
    desk.fill(MONDAY, "X", "2", "100", "0").unwrap();
    assert!(Account::restore(settings(), &desk.account.dump()).is_ok());
    let damages: [fn(&mut Account); 6] = [
        |account| account.live.lots = 2,
        |account| account.live.positions[0].quantity = 5,
        |account| account.live.positions.clear(),
        |account| account.live.last_trade.as_mut().unwrap().symbol = 1,
        |account| account.days.logs.clear(),
        |account| account.days.logs[0].entries[0].what = What::Mark { symbol: 1, price: super::decimal("1") },
    ];
    for (number, damage) in damages.iter().enumerate() {
        let mut account = desk.account.clone();
        damage(&mut account);
        assert_eq!(Account::restore(settings(), &account.dump()), Err(RestoreError::Damaged), "{number}");
    }
}
