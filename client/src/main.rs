//! The binary `client`.

use std::process::ExitCode;

fn main() -> ExitCode {
    client::main()
}
