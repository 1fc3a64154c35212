//! The `tickerd` command.

fn main() {}
