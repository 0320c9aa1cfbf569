//! Weights in and out: safetensors, torchvision checkpoints.
