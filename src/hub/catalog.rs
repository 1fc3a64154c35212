//! What an event type is: where it goes, in which lane, with which guarantee, whose it is.

