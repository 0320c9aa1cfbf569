use super::{Backbone, PresetEntry, Shape};

pub(super) const ENTRY: PresetEntry = PresetEntry {
    name: "v3small256",
    about: "MobileNetV3-Small at 256 pixels: more weights than small256, fewer operations",
    shape: Shape {
        backbone: Backbone::MobileNetV3Small,
        strides: &[8, 16, 32],
        channels: 64,
        bottom_up: true,
        head_units: 2,
    },
    pixels: 256,
};
