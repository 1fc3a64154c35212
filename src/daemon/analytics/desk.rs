//! The accounts in memory, and what is to be published of them. No thread, no clock and no socket: the thread gives events and the time, and one batch
//! of the file that takes whatever belongs to them.

use std::collections::{BTreeSet, HashMap, HashSet, VecDeque};
use std::sync::Arc;

use crate::analytics::{Account, Output, RestoreError, Status, Subject, SubjectKind, Taken, check_time};
use crate::base::limits::{ENTRY_EVENT_IDS, OWN_EVENT_IDS};
use crate::config::AnalyticsConfig;
use crate::journal::accounts::{Accounts, Batch, Input, InputKind, KeptAccount, Origin};
use crate::journal::follow::Followed;

use super::fields::{self, Envelope};
use super::inputs::{self, Refused};
use super::lines;
use super::stats::AnalyticsStats;

/// Accounts that there may be; a fill of another one is refused.
const ACCOUNTS_MAX: usize = 200_000;
/// A mark that is older than the newest input by no more counts as if it came with it: the events that it passed on its way had to be synced first.
const PASSED_MS: u64 = 1_000;
/// How much of the data of a refused input is kept, in bytes.
const REFUSED_BYTES_MAX: usize = 4 * 1024;
/// Refused inputs that are kept aside; after so many new ones the oldest are let go.
const REFUSED_KEPT: u32 = 1_000;
const REFUSED_SLACK: usize = 200;

/// See the module.
pub(super) struct Desk {
    config: AnalyticsConfig,
    stats: Arc<AnalyticsStats>,
    accounts: HashMap<Box<str>, Held>,
    /// The accounts that have ever traded a symbol.
    symbols: HashMap<Box<str>, Vec<Box<str>>>,
    /// When the newest input counts.
    newest_ms: u64,
    /// The newest input.
    newest: u64,
    /// Accounts whose state has changed since it was kept.
    unsaved: BTreeSet<Box<str>>,
    /// Those of them whose turn it is, and the newest input when it began.
    saving: (BTreeSet<Box<str>>, u64),
    /// Of these, those whose state is to be kept with this batch.
    urgent: BTreeSet<Box<str>>,
    /// Accounts with states that were not published yet.
    unpublished: BTreeSet<Box<str>>,
    /// Events that were not published yet, each of which counts.
    posts: VecDeque<Post>,
    /// Those of them that may have been published already: what came of a journal that was not read to its end yet, or was there at the start.
    unsure: HashSet<Box<str>>,
    /// The daemon's own events that the journal has, until it was read to its end.
    heard: Option<HashSet<Box<str>>>,
    /// Refused inputs that were not logged yet.
    refusals: Vec<String>,
    /// How many came since the oldest were let go.
    untrimmed: usize,
    out: Vec<Output>,
}

/// An account with what the daemon knows of it.
struct Held {
    account: Account,
    owner: Option<Box<str>>,
    equity: Option<Output>,
    metrics: Option<Output>,
    /// The newest metrics were published.
    is_metrics_told: bool,
}

/// An event that is to be published.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Post {
    /// Room and `event_id`.
    pub(super) name: Box<str>,
    /// The line, with its end.
    pub(super) line: Box<str>,
}

impl Desk {
    /// The accounts as they were kept, with the inputs given to them that came later. Those whose state is of no use are computed anew. `turn` is
    /// called after each.
    pub(super) fn load(
        config: &AnalyticsConfig,
        stats: &Arc<AnalyticsStats>,
        store: &Accounts,
        now_ms: u64,
        turn: &dyn Fn(),
    ) -> rusqlite::Result<Desk> {
        let mut desk = Desk {
            config: config.clone(),
            stats: Arc::clone(stats),
            accounts: HashMap::new(),
            symbols: HashMap::new(),
            newest_ms: store.newest_ms()?,
            newest: store.newest()?,
            unsaved: BTreeSet::new(),
            saving: Default::default(),
            urgent: BTreeSet::new(),
            unpublished: BTreeSet::new(),
            posts: VecDeque::new(),
            unsure: HashSet::new(),
            heard: Some(HashSet::new()),
            refusals: Vec::new(),
            untrimmed: 0,
            out: Vec::new(),
        };
        let without_state = store.without_state(None)?;
        let without_state =
            without_state.into_iter().map(|(account, _, began_ms)| KeptAccount { account, owner: None, began_ms, state: Vec::new() });
        let (mut anew, mut why) = (0_u64, None);
        for kept in store.accounts(None)?.into_iter().chain(without_state) {
            if let Some(error) = desk.restore(store, kept, now_ms)? {
                anew += 1;
                why.get_or_insert(error);
            }
            turn();
        }
        if let Some(error) = why {
            tracing::warn!(event = "analytics_recomputed", accounts = anew, %error, "their numbers are computed anew from what was kept");
        }
        store.inputs_after(store.clean()?, |id, input| desk.replay(id, &input))?;
        desk.posts = store.outbox()?.into_iter().map(|(name, line)| Post { name, line }).collect();
        desk.unsure = desk.posts.iter().map(|post| post.name.clone()).collect();
        // What was published of the last changes is not known.
        for (room, held) in &mut desk.accounts {
            desk.out.clear();
            held.account.states(&mut desk.out);
            desk.out.drain(..).for_each(|output| held.note(output));
            desk.unpublished.insert(room.clone());
        }
        Ok(desk)
    }

    /// Why the account was computed anew, if it was.
    fn restore(&mut self, store: &Accounts, kept: KeptAccount, now_ms: u64) -> rusqlite::Result<Option<RestoreError>> {
        let settings = Arc::clone(self.config.settings_of(&kept.account));
        let mut fault = None;
        let account = match Account::restore(Arc::clone(&settings), &kept.state) {
            Ok(account) => account,
            Err(error) => {
                fault = Some(error);
                self.unsaved.insert(kept.account.clone());
                let Some(subject) = subject(&kept.account, kept.owner.as_deref()) else { return Ok(fault) };
                let mut account = Account::new(subject, settings, kept.began_ms);
                for (id, input) in store.inputs_of(&kept.account, u64::MAX >> 1)? {
                    self.give_again(&mut account, &kept.account, id, &input);
                }
                // It was told, or the trade was that old when it came.
                account.excuse_idleness(now_ms);
                account
            }
        };
        for symbol in account.symbols() {
            self.symbols.entry(symbol.into()).or_default().push(kept.account.clone());
        }
        self.accounts.insert(kept.account, Held { account, owner: kept.owner, equity: None, metrics: None, is_metrics_told: true });
        Ok(fault)
    }

    /// What is to be published because of it was noted when it came first.
    fn give_again(&mut self, account: &mut Account, room: &str, id: u64, input: &Input) {
        self.out.clear();
        if let Err(Refused(message)) = inputs::give(account, id, input, &mut self.out) {
            tracing::error!(event = "analytics_refused", account = room, id, "an input that was kept does not count any more: {message}");
        }
    }

    /// Gives an input again to whoever has not got it.
    fn replay(&mut self, id: u64, input: &Input) {
        let rooms = match (&input.account, &input.symbol) {
            (Some(account), _) => vec![account.clone()],
            (None, Some(symbol)) => self.symbols.get(symbol).cloned().unwrap_or_default(),
            (None, None) => Vec::new(),
        };
        for room in rooms {
            let Some(mut held) = self.accounts.remove(&room) else { continue };
            if held.account.last_seq() < id {
                self.give_again(&mut held.account, &room, id, input);
                self.unsaved.insert(room.clone());
            }
            self.accounts.insert(room.clone(), held);
            self.learn(&room, input);
        }
    }

    /// The account is known to trade the symbol.
    fn learn(&mut self, room: &str, input: &Input) {
        let Some(symbol) = input.symbol.as_deref().filter(|_| input.kind == InputKind::Fill) else { return };
        match self.symbols.get_mut(symbol) {
            Some(rooms) if rooms.iter().any(|known| **known == *room) => {}
            Some(rooms) => rooms.push(room.into()),
            None => drop(self.symbols.insert(symbol.into(), vec![room.into()])),
        }
    }

    /// Whether events of that type are wanted, and as what.
    pub(super) fn kind_of(&self, kind: &str) -> Option<InputKind> {
        let is_in = |kinds: &[String]| kinds.iter().any(|known| known == kind);
        if is_in(&self.config.fills) {
            return Some(InputKind::Fill);
        }
        if is_in(&self.config.flows) {
            return Some(InputKind::Flow);
        }
        is_in(&self.config.marks).then_some(InputKind::Mark)
    }

    /// Whether any account trades that symbol.
    pub(super) fn is_traded(&self, symbol: &str) -> bool {
        self.symbols.contains_key(symbol)
    }

    /// Takes a fill or a cash flow from the journal.
    pub(super) fn take(&mut self, batch: &Batch<'_>, kind: InputKind, event: &Followed<'_>, now_ms: u64) -> rusqlite::Result<()> {
        let origin = Some(Origin { lane: event.lane, epoch: event.epoch, seq: event.seq });
        let data = event.data();
        let envelope = Envelope { room: event.room, event_id: event.event_id, ts_ms: event.ts_ms };
        let input = match fields::read(kind, envelope, data) {
            Ok(input) => input,
            Err(message) => {
                let bad = Input { account: Some(event.room.into()), kind: InputKind::Bad, ts_ms: event.ts_ms, ..Input::default() };
                let Some(id) = batch.keep(&bad, origin)? else {
                    self.stats.duplicates.inc();
                    return Ok(());
                };
                return self.refuse(batch, id, event, fields::name_of(data).as_deref(), &message);
            }
        };
        let Some(id) = batch.keep(&input, origin)? else {
            self.stats.duplicates.inc();
            return Ok(());
        };
        self.newest = id;
        match self.give(event, id, &input, now_ms) {
            Ok(Taken::Kept { ts_ms, is_late }) => {
                if ts_ms != input.ts_ms {
                    batch.count_at(id, ts_ms)?;
                }
                self.stats.late.add(u64::from(is_late));
                match kind {
                    InputKind::Flow => self.stats.flows.inc(),
                    _ => self.stats.fills.inc(),
                }
                self.newest_ms = self.newest_ms.max(ts_ms);
                if self.accounts.get_mut(event.room).is_some_and(|held| held.account.excuse_idleness(event.ts_ms)) {
                    self.urgent.insert(event.room.into());
                }
                self.note(batch, event.room)
            }
            Ok(Taken::Ignored) => batch.drop_input(id),
            Err(Refused(message)) => {
                self.note(batch, event.room)?; // its time may have closed a day
                self.refuse(batch, id, event, input.name.as_deref(), &message)
            }
        }
    }

    /// Gives the account an input, which it may be made for.
    fn give(&mut self, event: &Followed<'_>, id: u64, input: &Input, now_ms: u64) -> Result<Taken, Refused> {
        self.out.clear();
        check_time(input.ts_ms, now_ms).map_err(|refusal| Refused(refusal.to_string()))?;
        let room = event.room;
        if let Some(held) = self.accounts.get_mut(room) {
            held.learn_whose(event);
            let taken = inputs::give(&mut held.account, id, input, &mut self.out)?;
            self.learn(room, input);
            return Ok(taken);
        }
        if self.accounts.len() >= ACCOUNTS_MAX {
            return Err(Refused(format!("there are {ACCOUNTS_MAX} accounts, which is all there may be")));
        }
        let user = fields::user(event.data());
        let subject = subject(room, event.owner).ok_or_else(|| {
            Refused(format!("`{room}` is no account: send fills and cash flows with a `challenge_id` or an `account_id`, to `challenge:…` or `account:…`"))
        })?;
        let subject = Subject { user: user.or(subject.user), ..subject };
        let mut account = Account::new(subject, Arc::clone(self.config.settings_of(room)), input.ts_ms);
        let taken = inputs::give(&mut account, id, input, &mut self.out)?;
        self.accounts
            .insert(room.into(), Held { account, owner: event.owner.map(Box::from), equity: None, metrics: None, is_metrics_told: true });
        self.urgent.insert(room.into());
        self.learn(room, input);
        Ok(taken)
    }

    /// Notes what an account has to say: events go into the file, states are published as they are then.
    fn note(&mut self, batch: &Batch<'_>, room: &str) -> rusqlite::Result<()> {
        let Some(held) = self.accounts.get_mut(room) else { return Ok(()) };
        let (mut has_states, mut posts) = (false, Vec::new());
        for output in self.out.drain(..) {
            if output.is_state() {
                held.note(output);
                has_states = true;
                continue;
            }
            let message = held.account.render(&output);
            posts.push(lines::post(room, held.owner.as_deref(), &message));
        }
        if has_states {
            self.unpublished.insert(room.into());
        }
        self.unsaved.insert(room.into());
        posts.into_iter().try_for_each(|post| self.post(batch, post))
    }

    /// An event is to be published, unless the journal has it.
    fn post(&mut self, batch: &Batch<'_>, post: Post) -> rusqlite::Result<()> {
        if let Some(heard) = &self.heard {
            if heard.contains(&post.name) {
                return Ok(());
            }
            self.unsure.insert(post.name.clone());
        }
        batch.post(&post.name, &post.line)?;
        self.posts.push_back(post);
        Ok(())
    }

    /// Keeps an input aside that does not count, and tells the room.
    fn refuse(&mut self, batch: &Batch<'_>, id: u64, event: &Followed<'_>, name: Option<&str>, message: &str) -> rusqlite::Result<()> {
        let data = event.data();
        let end = (0..=data.len().min(REFUSED_BYTES_MAX)).rev().find(|end| data.is_char_boundary(*end)).unwrap_or_default();
        batch.refuse(id, message, &data[..end])?;
        self.stats.refused.inc();
        self.untrimmed += 1;
        if self.untrimmed > REFUSED_SLACK {
            self.untrimmed = 0;
            batch.trim_refused(REFUSED_KEPT)?;
        }
        self.post(batch, lines::refusal(event, name, message))?;
        self.refusals.push(format!("{} of {}: {message}", event.kind(), event.room));
        Ok(())
    }

    /// A mark does not count; whoever published it is not told.
    pub(super) fn refuse_mark(&mut self, room: &str, message: &str) {
        self.stats.refused.inc();
        self.refusals.push(format!("a price in {room}: {message}"));
    }

    /// Gives a mark to all accounts that know its symbol.
    pub(super) fn mark(&mut self, batch: &Batch<'_>, mark: &Input, now_ms: u64) -> rusqlite::Result<()> {
        let Some(rooms) = mark.symbol.as_ref().and_then(|symbol| self.symbols.get(symbol)).cloned() else { return Ok(()) };
        let is_passed = mark.ts_ms < self.newest_ms && self.newest_ms - mark.ts_ms <= PASSED_MS;
        let mark = &Input { ts_ms: if is_passed { self.newest_ms } else { mark.ts_ms }, ..mark.clone() };
        if check_time(mark.ts_ms, now_ms).is_err() {
            self.stats.refused.inc();
            return Ok(());
        }
        let Some(id) = batch.keep(mark, None)? else { return Ok(()) };
        self.newest = id;
        let (mut exceptions, mut is_counted) = (Vec::new(), false);
        for room in &rooms {
            let Some(held) = self.accounts.get_mut(room) else { continue };
            self.out.clear();
            match inputs::give(&mut held.account, id, mark, &mut self.out) {
                Ok(Taken::Kept { ts_ms, .. }) => {
                    is_counted = true;
                    if ts_ms != mark.ts_ms {
                        exceptions.push((room, Some(ts_ms)));
                    }
                    self.note(batch, room)?;
                }
                Ok(Taken::Ignored) => exceptions.push((room, None)),
                Err(Refused(message)) => {
                    exceptions.push((room, None));
                    self.stats.refused.inc();
                    self.refusals.push(format!("mark of {} for {room}: {message}", mark.symbol.as_deref().unwrap_or_default()));
                }
            }
        }
        if !is_counted {
            return batch.drop_input(id);
        }
        self.stats.marks.inc();
        self.newest_ms = self.newest_ms.max(mark.ts_ms);
        exceptions.iter().try_for_each(|(room, ts_ms)| batch.except(room, id, *ts_ms))
    }

    /// Closes days that are over, and raises what time alone raises; what it raises is kept with the state that knows of it.
    pub(super) fn tick(&mut self, batch: &Batch<'_>, now_ms: u64) -> rusqlite::Result<()> {
        let mut told = Vec::new();
        self.out.clear();
        for (room, held) in &mut self.accounts {
            held.account.tick(now_ms, &mut self.out);
            if !self.out.is_empty() {
                told.push((room.clone(), std::mem::take(&mut self.out)));
            }
        }
        for (room, out) in told {
            self.out = out;
            self.note(batch, &room)?;
            self.urgent.insert(room);
        }
        Ok(())
    }

    /// An event of the daemon's own that stands in the journal is published, whoever was told so; and a status that was, holds. Whether it is one.
    pub(super) fn is_in_journal(&mut self, batch: &Batch<'_>, event: &Followed<'_>) -> rusqlite::Result<bool> {
        let id = event.event_id.filter(|id| !id.starts_with(ENTRY_EVENT_IDS));
        let Some((event_id, own)) = id.and_then(|id| Some((id, id.strip_prefix(OWN_EVENT_IDS)?))) else { return Ok(false) };
        if let Ok(status) = Status::parse(own) {
            self.settle(batch, event, status)?;
        }
        let name = lines::name(event.room, event_id);
        self.retract(batch, &name)?;
        if let Some(heard) = &mut self.heard {
            heard.insert(name);
        }
        Ok(true)
    }

    /// It need not be published.
    fn retract(&mut self, batch: &Batch<'_>, name: &str) -> rusqlite::Result<()> {
        if !self.unsure.remove(name) {
            return Ok(());
        }
        self.posts.retain(|post| *post.name != *name);
        batch.posted(name)
    }

    /// The account has that status, for it was told so: prices that led to it may not be known any more, if the file is a new one or an older copy.
    fn settle(&mut self, batch: &Batch<'_>, event: &Followed<'_>, status: Status) -> rusqlite::Result<()> {
        if self.accounts.get(event.room).is_some_and(|held| held.account.status() == status) {
            return Ok(());
        }
        let (symbol, account) = (Some(status.name().into()), Some(event.room.into()));
        let input = Input { account, kind: InputKind::Status, ts_ms: event.ts_ms, symbol, ..Input::default() };
        let origin = Origin { lane: event.lane, epoch: event.epoch, seq: event.seq };
        let Some(id) = batch.keep(&input, Some(origin))? else { return Ok(()) };
        let taken = self.give(event, id, &input, event.ts_ms);
        if !matches!(taken, Ok(Taken::Kept { .. })) {
            return batch.drop_input(id);
        }
        self.newest = id;
        self.unsaved.insert(event.room.into());
        tracing::warn!(event = "analytics_settled", account = event.room, %status, "its status is as it was told, not as it comes of what is kept");
        let others = Status::ALL.iter().filter(|other| **other != status);
        others.map(|other| lines::name(event.room, &format!("{OWN_EVENT_IDS}{other}"))).try_for_each(|name| self.retract(batch, &name))
    }

    /// The journal was read to its end.
    pub(super) fn is_caught_up(&mut self) {
        self.heard = None;
    }

    /// Keeps the states of those accounts that are new or were ticked, and of up to so many that have changed.
    pub(super) fn save(&mut self, batch: &Batch<'_>, max: usize) -> rusqlite::Result<()> {
        if max > 0 && self.saving.0.is_empty() {
            self.saving = (std::mem::take(&mut self.unsaved), self.newest);
        }
        let mut rooms = std::mem::take(&mut self.urgent);
        for _ in 0..max {
            let Some(room) = self.saving.0.pop_first() else { break };
            rooms.insert(room);
        }
        if max > 0 && self.saving.0.is_empty() {
            batch.set_clean(self.saving.1)?;
        }
        for account in rooms {
            let Some(held) = self.accounts.get(&account) else { continue };
            let (began_ms, state) = (held.account.began_ms(), held.account.dump());
            batch.save(&KeptAccount { owner: held.owner.clone(), account, began_ms, state })?;
        }
        Ok(())
    }

    /// Whether a round of that is not over.
    pub(super) fn is_saving(&self) -> bool {
        !self.saving.0.is_empty()
    }

    /// Up to so many events that were not published yet, the oldest first.
    pub(super) fn posts(&self, max: usize) -> Vec<Post> {
        self.posts.iter().take(max).cloned().collect()
    }

    /// How many there are.
    pub(super) fn posts_waiting(&self) -> usize {
        self.posts.len()
    }

    /// The oldest of them was published, or never will be.
    pub(super) fn posted(&mut self) -> Option<Post> {
        let post = self.posts.pop_front()?;
        self.unsure.remove(&post.name);
        Some(post)
    }

    /// The states of up to so many accounts that were not published yet, as lines. They count as published now.
    pub(super) fn states(&mut self, max: usize) -> Vec<(Box<str>, Vec<Box<str>>)> {
        let mut states = Vec::new();
        while states.len() < max {
            let Some(room) = self.unpublished.pop_first() else { break };
            let Some(held) = self.accounts.get(&room) else { continue };
            let outputs = held.equity.iter().chain(held.metrics.iter().filter(|_| !held.is_metrics_told));
            let lines = outputs.map(|output| lines::state(&room, held.owner.as_deref(), &held.account.render(output))).collect();
            if let Some(held) = self.accounts.get_mut(&room) {
                held.is_metrics_told = true;
            }
            states.push((room, lines));
        }
        states
    }

    /// They were not published after all.
    pub(super) fn unpublish(&mut self, room: Box<str>) {
        if let Some(held) = self.accounts.get_mut(&room) {
            held.is_metrics_told = false;
        }
        self.unpublished.insert(room);
    }

    /// Whether there is anything to publish.
    pub(super) fn has_news(&self) -> bool {
        !self.posts.is_empty() || !self.unpublished.is_empty()
    }

    /// Refused inputs that were not logged yet.
    pub(super) fn refusals(&mut self) -> Vec<String> {
        std::mem::take(&mut self.refusals)
    }

    /// How many accounts there are, and what they take in bytes, about.
    pub(super) fn size(&self) -> (u64, u64) {
        let bytes = self.accounts.values().map(|held| held.account.memory_bytes() as u64).sum();
        (self.accounts.len() as u64, bytes)
    }
}

impl Held {
    /// The newest of each kind of state is enough.
    fn note(&mut self, output: Output) {
        if matches!(output, Output::Equity(_)) {
            self.equity = Some(output);
        } else {
            (self.metrics, self.is_metrics_told) = (Some(output), false);
        }
    }

    /// An event may be the first that says whose the account is.
    fn learn_whose(&mut self, event: &Followed<'_>) {
        if self.owner.is_none() {
            self.owner = event.owner.map(Box::from);
        }
        if self.account.subject().user.is_none()
            && let Some(user) = fields::user(event.data()).or_else(|| self.owner.as_deref().map(lines::decode))
        {
            self.account.set_user(&user);
        }
    }
}

/// Whose numbers those of that room are.
fn subject(room: &str, owner: Option<&str>) -> Option<Subject> {
    let (kind, id) = room.split_once(':')?;
    let kind = match kind {
        "challenge" => SubjectKind::Challenge,
        "account" => SubjectKind::Account,
        _ => return None,
    };
    Some(Subject { kind, id: lines::decode(id), user: owner.map(lines::decode) })
}
