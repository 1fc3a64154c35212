//! One rule on the way to a decision, as it is told to an operator who asks why.

/// What a rule says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ruling {
    /// It allows what is asked, or does not stand in its way.
    Yes,
    /// It forbids it, or does not allow it by itself.
    No,
    /// What it goes by is not known here.
    Unknown,
}

impl Ruling {
    /// Its name in answers.
    pub const fn name(self) -> &'static str {
        match self {
            Ruling::Yes => "yes",
            Ruling::No => "no",
            Ruling::Unknown => "unknown",
        }
    }
}

/// A rule that was looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// Its name; stable.
    pub name: &'static str,
    /// What it says.
    pub ruling: Ruling,
    /// Why, for people.
    pub why: String,
}

impl Rule {
    /// A rule that says yes or no.
    pub fn new(name: &'static str, is_allowed: bool, why: impl Into<String>) -> Rule {
        Rule { name, ruling: if is_allowed { Ruling::Yes } else { Ruling::No }, why: why.into() }
    }

    /// A rule that goes by what is not known here.
    pub fn unknown(name: &'static str, why: impl Into<String>) -> Rule {
        Rule { name, ruling: Ruling::Unknown, why: why.into() }
    }
}
