pub fn run(_: &BenchArgs) -> anyhow::Result<bool> { Ok(true) }
#[derive(clap::Args, Debug)]
pub struct BenchArgs {}
