//! Boxes, assignment, losses, decoding, NMS and COCO-style AP on plain slices.
//!
//! Everything here is pure arithmetic: no tensors, no files, no clock. Training hands the raw outputs of the head
//! to [`loss_and_grad`] and feeds the gradients back into its tensor library; prediction goes through
//! [`decode`](fn@decode) and [`nms`](fn@nms); evaluation through [`coco::Evaluator`], and between devices through
//! [`histogram::ApHistogram`].

pub mod assign;
pub mod boxes;
pub mod class_loss;
pub mod coco;
pub mod decode;
pub mod grid;
pub mod histogram;
pub mod letterbox;
pub mod loss;
mod math;
pub mod nms;
mod shape;
pub mod targets;

pub use assign::{Assignment, Phase, Positive};
pub use boxes::{BBox, giou_loss_grad};
pub use decode::{DecodeConfig, Detection, decode};
pub use grid::LocationGrid;
pub use histogram::{ApHistogram, HistogramConfig};
pub use letterbox::Letterbox;
pub use loss::{AssignedBatch, Batch, Gradients, LossConfig, LossReport, class_loss_and_grad, loss_and_grad};
pub use nms::{NmsConfig, nms};
pub use shape::LengthError;
pub use targets::{ImageTargets, TargetBox};
