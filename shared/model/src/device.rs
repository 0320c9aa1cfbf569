//! Where tensors live and how many threads work on them: the only place that names burn's backends.

use std::fmt;
use std::str::FromStr;

use burn::tensor::Device;
use protocol::train::TrainError;
use rayon::{ThreadPool, ThreadPoolBuilder};
use thiserror::Error;

/// A backend that this build can run on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Backend {
    /// burn-flex on the CPU, with our own kernels.
    #[default]
    Flex,
    /// burn-ndarray on the CPU.
    #[cfg(feature = "ndarray")]
    Ndarray,
}

/// A backend that this build does not have.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("device {found:?} is not part of this build, expected {expected}")]
pub struct UnknownBackend {
    /// What there is.
    pub expected: String,
    /// What was asked for.
    pub found: String,
}

impl Backend {
    /// All backends of this build, the default first.
    pub const ALL: &'static [Self] = &[
        Self::Flex,
        #[cfg(feature = "ndarray")]
        Self::Ndarray,
    ];

    /// Name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Flex => "flex",
            #[cfg(feature = "ndarray")]
            Self::Ndarray => "ndarray",
        }
    }

    /// The device, without autodiff.
    pub fn device(self) -> Device {
        match self {
            Self::Flex => Device::flex(),
            #[cfg(feature = "ndarray")]
            #[expect(deprecated, reason = "kept as a choice; flex is its successor and our default")]
            Self::Ndarray => Device::ndarray(),
        }
    }
}

impl FromStr for Backend {
    type Err = UnknownBackend;

    fn from_str(text: &str) -> Result<Self, UnknownBackend> {
        let known = Self::ALL.iter().find(|backend| backend.name() == text);
        known.copied().ok_or_else(|| UnknownBackend {
            expected: Self::ALL.iter().map(|backend| backend.name()).collect::<Vec<_>>().join(" or "),
            found: text.chars().take(80).collect(),
        })
    }
}

impl fmt::Display for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The threads a model works on; 0 takes as many as there are cores.
///
/// # Errors
/// [`TrainError::Model`] when the operating system refuses.
pub fn pool(threads: usize) -> Result<ThreadPool, TrainError> {
    let builder =
        ThreadPoolBuilder::new().num_threads(threads).thread_name(|number| format!("learn-{number}"));
    builder.build().map_err(|refused| TrainError::Model(format!("{threads} threads: {refused}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn backends_are_chosen_by_name() {
        for backend in Backend::ALL {
            assert_eq!(backend.name().parse(), Ok(*backend));
        }
        let refused = "cuda".parse::<Backend>().unwrap_err().to_string();
        assert!(refused.starts_with("device \"cuda\" is not part of this build, expected flex"), "{refused}");
    }

    #[test]
    fn threads_are_as_many_as_asked_for() {
        assert_eq!(pool(3).unwrap().install(rayon::current_num_threads), 3);
        assert!(pool(0).unwrap().current_num_threads() >= 1);
    }
}
