//! `tickerd man` and `tickerd completions`: made from the definition of the command line, so that they cannot differ from it.

use std::io;

use clap::{Args, Command};
use clap_complete::Shell;
use clap_mangen::Man;

use super::{Failure, emit};

/// Options of `tickerd man`.
#[derive(Args)]
pub(super) struct ManArgs {
    /// The page of that subcommand; without one, that of tickerd itself
    subcommand: Option<String>,
}

/// Options of `tickerd completions`.
#[derive(Args)]
pub(super) struct CompletionsArgs {
    /// For which shell
    shell: Shell,
}

/// Prints a man page in roff.
pub(super) fn man(args: &ManArgs, tickerd: Command) -> Result<(), Failure> {
    let page = match &args.subcommand {
        None => tickerd,
        Some(name) => page_of(tickerd, name)?,
    };
    let mut text = Vec::new();
    Man::new(page).render(&mut text).map_err(|error| Failure::Failed(format!("cannot make the page: {error}")))?;
    emit(&mut io::stdout(), &text)
}

/// The subcommand; once it is built its page has its full name, such as `tickerd-serve`.
fn page_of(mut tickerd: Command, name: &str) -> Result<Command, Failure> {
    tickerd.build();
    let found = tickerd.find_subcommand(name).filter(|command| !command.is_hide_set());
    found.cloned().ok_or_else(|| Failure::Usage(format!("there is no subcommand `{name}`: see tickerd --help")))
}

/// Prints what a shell needs to complete commands.
pub(super) fn completions(args: &CompletionsArgs, mut tickerd: Command) -> Result<(), Failure> {
    let mut text = Vec::new();
    clap_complete::generate(args.shell, &mut tickerd, "tickerd", &mut text);
    emit(&mut io::stdout(), &text)
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::super::Cli;
    use super::*;

    /// Every subcommand has a page, and every shell its completions.
    #[test]
    fn pages_and_completions_are_there() {
        for name in ["serve", "check", "publish", "loadtest", "completions"] {
            let page = page_of(Cli::command(), name).unwrap();
            let mut text = Vec::new();
            Man::new(page).render(&mut text).unwrap();
            let text = String::from_utf8(text).unwrap();
            assert!(text.contains(&format!("tickerd\\-{name}")), "{text}");
        }
        assert!(matches!(page_of(Cli::command(), "frobnicate"), Err(Failure::Usage(_))));
        for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
            let mut text = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "tickerd", &mut text);
            assert!(String::from_utf8(text).unwrap().contains("max-connections"));
        }
    }
}
