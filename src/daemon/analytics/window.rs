//! Marks that wait for their turn: the first of a symbol counts at once, later ones at most once in a while, and the last one always does.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use crate::journal::accounts::Input;

/// See the module.
pub(super) struct Window {
    every: Duration,
    symbols: HashMap<Box<str>, Symbol>,
    /// Replaced by newer ones.
    conflated: u64,
    /// How many wait.
    waiting: usize,
}

struct Symbol {
    due: Instant,
    mark: Option<Input>,
}

impl Window {
    /// With at most one mark of a symbol in that time.
    pub(super) fn new(every: Duration) -> Window {
        Window { every, symbols: HashMap::new(), conflated: 0, waiting: 0 }
    }

    /// Puts a mark in place of the one of its symbol that waits.
    pub(super) fn put(&mut self, mark: Input, now: Instant) {
        let Some(symbol) = mark.symbol.clone() else { return };
        let symbol = self.symbols.entry(symbol).or_insert(Symbol { due: now, mark: None });
        match symbol.mark.replace(mark) {
            Some(_) => self.conflated += 1,
            None => self.waiting += 1,
        }
    }

    /// Those whose turn it is.
    pub(super) fn due(&mut self, now: Instant) -> Vec<Input> {
        let mut marks = Vec::new();
        if self.waiting == 0 {
            return marks;
        }
        for symbol in self.symbols.values_mut().filter(|symbol| symbol.due <= now) {
            if let Some(mark) = symbol.mark.take() {
                symbol.due = now + self.every;
                self.waiting -= 1;
                marks.push(mark);
            }
        }
        marks
    }

    /// When the next one's turn is.
    pub(super) fn next(&self) -> Option<Instant> {
        self.symbols.values().filter(|symbol| symbol.mark.is_some()).map(|symbol| symbol.due).min()
    }

    /// How many were replaced by newer ones, ever.
    pub(super) fn conflated(&self) -> u64 {
        self.conflated
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// ARC-03: the first counts at once, the last always, and those between are counted.
    #[test]
    fn the_last_mark_always_counts() {
        let (mut window, start) = (Window::new(Duration::from_secs(1)), Instant::now());
        let mark =
            |symbol: &str, price: u32| Input { symbol: Some(symbol.into()), price: Some(price.to_string().into()), ..Input::default() };
        let prices = |marks: Vec<Input>| {
            let mut prices: Vec<String> = marks.into_iter().map(|mark| mark.price.unwrap().into()).collect();
            prices.sort_unstable();
            prices
        };
        assert_eq!(window.next(), None);
        window.put(mark("A", 1), start);
        assert_eq!((window.next(), prices(window.due(start))), (Some(start), vec!["1".to_owned()]));
        window.put(mark("A", 2), start);
        window.put(mark("A", 3), start);
        window.put(mark("B", 7), start);
        assert_eq!(prices(window.due(start)), ["7"]);
        let later = start + Duration::from_secs(1);
        assert_eq!((window.next(), window.conflated()), (Some(later), 1));
        assert_eq!((prices(window.due(later)), window.next()), (vec!["3".to_owned()], None));
    }
}
