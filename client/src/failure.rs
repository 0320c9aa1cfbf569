//! Why a command failed: one line for people, and an exit code for scripts.

use std::fmt;
use std::process::ExitCode;

use crate::connection::ConnectError;
use crate::driver::RunError;
use crate::folder::FolderError;

/// One line saying what is wrong, where, and what to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// 2: the command or what it was given is wrong; 1: it went wrong.
    pub code: u8,
    /// The line.
    pub line: String,
}

impl Failure {
    /// The command, or what it was given, is wrong.
    pub fn usage(line: impl fmt::Display) -> Self {
        Self { code: 2, line: one_line(line) }
    }

    /// The command went wrong.
    pub fn run(line: impl fmt::Display) -> Self {
        Self { code: 1, line: one_line(line) }
    }

    /// For the shell.
    pub fn exit_code(&self) -> ExitCode {
        ExitCode::from(self.code)
    }
}

/// Messages of libraries may have several lines.
fn one_line(line: impl fmt::Display) -> String {
    line.to_string().split_whitespace().collect::<Vec<_>>().join(" ")
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.line)
    }
}

impl From<FolderError> for Failure {
    fn from(error: FolderError) -> Self {
        if error.is_usage() { Self::usage(error) } else { Self::run(error) }
    }
}

impl From<ConnectError> for Failure {
    fn from(error: ConnectError) -> Self {
        match error {
            ConnectError::NotLoopback { .. } => Self::usage(error),
            _ => Self::run(error),
        }
    }
}

impl From<RunError> for Failure {
    fn from(error: RunError) -> Self {
        match error {
            RunError::Folder(error) => error.into(),
            RunError::Connect(error) => error.into(),
            RunError::Broken { .. } => Self::run(error),
        }
    }
}
