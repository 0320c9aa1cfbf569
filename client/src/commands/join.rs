//! `client join`: once per device.

use std::process::ExitCode;

use identity::Token;
use tokio::runtime::Builder;

use crate::cli::Join;
use crate::enrol::{EnrolError, enrol, enrol_insecure};
use crate::failure::Failure;
use crate::output::print_line;

pub(super) fn execute(arguments: Join) -> Result<ExitCode, Failure> {
    let Join { address, token, state, name, insecure } = arguments;
    let token: Option<Token> = token.map(|text| text.parse()).transpose().map_err(Failure::usage)?;
    let runtime = Builder::new_current_thread().enable_all().build().map_err(Failure::run)?;
    let member = runtime.block_on(async {
        match (token, name) {
            (Some(token), name) => Ok(enrol(&state.path, &address, &token, name).await?),
            (None, Some(name)) if insecure => Ok(enrol_insecure(&state.path, &address, name).await?),
            (None, _) => Err(Failure::usage("give --token TOKEN, or --insecure with --name NAME")),
        }
    })?;
    print_line(format_args!(
        "joined as {}; next: client run --state {} --data DIR",
        member.client,
        state.path.display()
    ));
    Ok(ExitCode::SUCCESS)
}

impl From<EnrolError> for Failure {
    fn from(error: EnrolError) -> Self {
        match error {
            EnrolError::Folder(error) => error.into(),
            EnrolError::Connect(error) => error.into(),
            other => Self::run(other),
        }
    }
}
