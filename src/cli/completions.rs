//! `npayload completions`: a script that completes commands in a shell.

use clap::{Args, CommandFactory};
use clap_complete::Shell;

use super::Cli;
use super::failure::Failure;
use super::output;

/// Arguments of `npayload completions`.
#[derive(Clone, Debug, Args)]
#[command(after_help = "Examples:
  npayload completions bash > ~/.local/share/bash-completion/completions/npayload
  npayload completions zsh > \"${fpath[1]}/_npayload\"
  npayload completions fish > ~/.config/fish/completions/npayload.fish")]
pub struct CompletionsArgs {
    /// The shell
    #[arg(value_enum)]
    shell: Shell,
}

/// Prints the script.
///
/// # Errors
/// When the output cannot be written.
pub fn run(args: &CompletionsArgs) -> Result<(), Failure> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "npayload", &mut script);
    output::print(String::from_utf8_lossy(&script).trim_end())
}
