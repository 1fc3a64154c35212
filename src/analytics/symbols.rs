//! The symbols of one account, numbered in the order in which they were first traded.

/// Symbols of one account.
pub(super) const SYMBOLS_MAX: usize = 10_000;

/// Names and numbers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Symbols {
    names: Vec<Box<str>>,
    /// Numbers in the order of the names.
    sorted: Vec<u32>,
}

impl Symbols {
    /// The number of a symbol that has one.
    pub(super) fn find(&self, name: &str) -> Option<u32> {
        self.place(name).ok().map(|place| self.sorted[place])
    }

    /// The number that a symbol has or would get; none if there are too many.
    pub(super) fn number_of(&self, name: &str) -> Option<u32> {
        self.find(name).or_else(|| (self.names.len() < SYMBOLS_MAX).then_some(self.names.len() as u32))
    }

    /// The symbol has that number from now on; what it has already changes nothing.
    pub(super) fn note(&mut self, name: &str, number: u32) {
        if let Err(place) = self.place(name) {
            debug_assert_eq!(number as usize, self.names.len(), "numbers are given in order");
            self.names.push(name.into());
            self.sorted.insert(place, number);
        }
    }

    pub(super) fn name(&self, number: u32) -> &str {
        &self.names[number as usize]
    }

    /// By number.
    pub(super) fn names(&self) -> impl ExactSizeIterator<Item = &str> {
        self.names.iter().map(|name| &**name)
    }

    pub(super) fn memory_bytes(&self) -> usize {
        let names: usize = self.names.iter().map(|name| name.len()).sum();
        names + self.names.capacity() * size_of::<Box<str>>() + self.sorted.capacity() * size_of::<u32>()
    }

    fn place(&self, name: &str) -> Result<usize, usize> {
        self.sorted.binary_search_by(|number| self.name(*number).cmp(name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_given_in_order_and_once() {
        let mut symbols = Symbols::default();
        for name in ["MSFT", "AAPL", "ZM", "AAPL", "BTC-USD"] {
            let number = symbols.number_of(name).unwrap();
            symbols.note(name, number);
        }
        assert_eq!(symbols.names().collect::<Vec<_>>(), ["MSFT", "AAPL", "ZM", "BTC-USD"]);
        assert_eq!(["AAPL", "BTC-USD", "X"].map(|name| symbols.find(name)), [Some(1), Some(3), None]);
    }

    #[test]
    fn there_are_only_so_many() {
        let mut symbols = Symbols::default();
        for number in 0..SYMBOLS_MAX as u32 {
            symbols.note(&number.to_string(), number);
        }
        assert_eq!((symbols.number_of("0"), symbols.number_of("one more")), (Some(0), None));
    }
}
