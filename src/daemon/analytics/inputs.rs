//! Inputs as they are kept, given to an account or to a recomputation. Pure.

use crate::analytics::batch::{Kept, KeptWhat};
use crate::analytics::decimal::Decimal;
use crate::analytics::{Account, CashFlow, Fill, Mark, Output, Status, Taken};
use crate::journal::accounts::{Input, InputKind};

/// Why an input does not count: a name for the counter, and what is wrong, where, and what to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Refused(pub(super) String);

/// Gives it to the account.
pub(super) fn give(account: &mut Account, id: u64, input: &Input, out: &mut Vec<Output>) -> Result<Taken, Refused> {
    if input.kind == InputKind::Status {
        let name = input.symbol.as_deref().unwrap_or_default();
        let status = Status::parse(name).map_err(Refused)?;
        return account.settle(status, id).map_err(|refusal| Refused(refusal.to_string()));
    }
    let Kept { ts_ms, seq, what } = kept(id, input)?;
    let taken = match what {
        KeptWhat::Fill { symbol, quantity, price, fee } => account.apply(&Fill { ts_ms, seq, symbol: &symbol, quantity, price, fee }, out),
        KeptWhat::Mark { symbol, price } => account.mark(&Mark { ts_ms, seq, symbol: &symbol, price }, out),
        KeptWhat::Cash { amount } => account.cash_flow(&CashFlow { ts_ms, seq, amount }, out),
    };
    taken.map_err(|refusal| Refused(refusal.to_string()))
}

/// What a recomputation reads.
pub(super) fn kept(id: u64, input: &Input) -> Result<Kept, Refused> {
    let symbol = || input.symbol.as_deref().unwrap_or_default().to_owned();
    let what = match input.kind {
        InputKind::Fill => KeptWhat::Fill {
            symbol: symbol(),
            quantity: decimal("quantity", input.quantity.as_deref())?,
            price: decimal("price", input.price.as_deref())?,
            fee: decimal("fee", input.fee.as_deref().or(Some("0")))?,
        },
        InputKind::Mark => KeptWhat::Mark { symbol: symbol(), price: decimal("price", input.price.as_deref())? },
        InputKind::Flow => KeptWhat::Cash { amount: decimal("amount", input.amount.as_deref())? },
        InputKind::Status | InputKind::Bad => return Err(Refused("it is no input".to_owned())),
    };
    Ok(Kept { ts_ms: input.ts_ms, seq: id, what })
}

fn decimal(what: &str, text: Option<&str>) -> Result<Decimal, Refused> {
    let text = text.ok_or_else(|| Refused(format!("there is no {what}: give one")))?;
    Decimal::parse(text).map_err(|error| Refused(format!("the {what} is `{text}`: {error}")))
}
