//! `npayload-bench`: load for a broker, and what came of it.

use anyhow::Result;

#[tokio::main]
async fn main() -> Result<()> {
    npayload_bench::run().await
}
