//! Fitting an image into the network input without distortion: the geometry, not the pixels.

use serde::{Deserialize, Serialize};

use crate::boxes::BBox;

/// An image scaled by one factor to whole pixels and centred in the input, the rest being padding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Letterbox {
    /// Width and height of the image, in its pixels.
    pub image: (u32, u32),
    /// Width and height of the network input.
    pub input: (u32, u32),
    /// Width and height of the scaled image, in input pixels.
    pub content: (u32, u32),
    /// Left and top padding, in input pixels.
    pub pad: (u32, u32),
}

impl Letterbox {
    /// Fits an image of `image` pixels (width, height) into an input of `input` pixels; `None` if either is empty.
    /// The content is at least one pixel wide and high, however thin the image.
    pub fn fit(image: (u32, u32), input: (u32, u32)) -> Option<Self> {
        if image.0 == 0 || image.1 == 0 || input.0 == 0 || input.1 == 0 {
            return None;
        }
        let factor = (f64::from(input.0) / f64::from(image.0)).min(f64::from(input.1) / f64::from(image.1));
        let size = |pixels: u32, limit: u32| ((f64::from(pixels) * factor).round() as u32).clamp(1, limit);
        let content = (size(image.0, input.0), size(image.1, input.1));
        Some(Self { image, input, content, pad: ((input.0 - content.0) / 2, (input.1 - content.1) / 2) })
    }

    /// Input pixels per image pixel on either axis; they differ only by the rounding to whole pixels.
    pub fn scale(&self) -> (f32, f32) {
        let ratio = |content: u32, image: u32| (f64::from(content) / f64::from(image)) as f32;
        (ratio(self.content.0, self.image.0), ratio(self.content.1, self.image.1))
    }

    /// A box from image pixels to input pixels.
    pub fn to_input(&self, bbox: &BBox) -> BBox {
        let (x, y) = self.scale();
        bbox.scale(x, y).translate(self.pad.0 as f32, self.pad.1 as f32)
    }

    /// A box from input pixels to image pixels, clipped to the image.
    pub fn to_image(&self, bbox: &BBox) -> BBox {
        let (x, y) = self.scale();
        let moved = bbox.translate(-(self.pad.0 as f32), -(self.pad.1 as f32));
        moved.scale(1.0 / x, 1.0 / y).clip(self.image.0 as f32, self.image.1 as f32)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[track_caller]
    fn check(image: (u32, u32), input: (u32, u32), content: (u32, u32), pad: (u32, u32)) {
        assert_eq!(Letterbox::fit(image, input), Some(Letterbox { image, input, content, pad }));
    }

    #[test]
    fn sizes_and_padding() {
        check((640, 480), (256, 256), (256, 192), (0, 32));
        check((480, 640), (256, 256), (192, 256), (32, 0));
        check((100, 100), (256, 256), (256, 256), (0, 0));
        check((704, 576), (320, 192), (235, 192), (42, 0));
        check((10_000, 1), (96, 96), (96, 1), (0, 47));
        assert_eq!(Letterbox::fit((0, 4), (8, 8)), None);
        assert_eq!(Letterbox::fit((4, 4), (8, 0)), None);
    }

    proptest! {
        #[test]
        fn forward_then_inverse_is_the_identity(
            image in (1_u32..3000, 1_u32..3000), input in (32_u32..640, 32_u32..640),
            edges in [0.0_f32..1.0, 0.0_f32..1.0, 0.0_f32..1.0, 0.0_f32..1.0],
        ) {
            let fitted = Letterbox::fit(image, input).unwrap();
            let (w, h) = (image.0 as f32, image.1 as f32);
            let bbox = BBox::new(edges[0].min(edges[2]) * w, edges[1].min(edges[3]) * h,
                edges[0].max(edges[2]) * w, edges[1].max(edges[3]) * h);
            let there = fitted.to_input(&bbox);
            prop_assert!(there.x1 >= -1e-3 && there.x2 <= input.0 as f32 + 1e-3);
            prop_assert!(there.y1 >= -1e-3 && there.y2 <= input.1 as f32 + 1e-3);
            let back = fitted.to_image(&there);
            let slack = 1e-5 * w.max(h) * (1.0 + 1.0 / fitted.scale().0.min(fitted.scale().1));
            for (a, b) in [(bbox.x1, back.x1), (bbox.y1, back.y1), (bbox.x2, back.x2), (bbox.y2, back.y2)] {
                prop_assert!((a - b).abs() <= slack + 1e-3, "{bbox:?} {back:?}");
            }
        }
    }
}
