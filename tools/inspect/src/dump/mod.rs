//! `dump`
use clap::Args;
/// x
#[derive(Args)]
pub struct DumpArgs {}
pub fn run(_: &DumpArgs, _: &mut dyn std::io::Write) -> anyhow::Result<()> {
    Ok(())
}
