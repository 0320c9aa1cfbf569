//! The detector in burn: architectures, losses, local training, evaluation.
