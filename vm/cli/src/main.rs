fn main() -> std::process::ExitCode {
    midair_cli::main(std::env::args_os())
}
