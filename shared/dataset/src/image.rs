//! A decoded picture in memory.

use std::sync::Arc;

/// An RGB picture, 8 bits a channel: `[height, width, 3]`, rows from top to bottom.
#[derive(Clone, PartialEq, Eq)]
pub struct Image {
    width: u32,
    height: u32,
    pixels: Vec<u8>,
}

impl Image {
    /// Takes pixels in the order `[height, width, 3]`; `None` unless there are exactly `width * height * 3` bytes
    /// and at least one pixel.
    pub fn new(width: u32, height: u32, pixels: Vec<u8>) -> Option<Self> {
        let expected = (width as usize).checked_mul(height as usize)?.checked_mul(3)?;
        (expected > 0 && pixels.len() == expected).then_some(Self { width, height, pixels })
    }

    /// A picture of one colour. Sides of zero become one pixel.
    pub fn filled(width: u32, height: u32, colour: [u8; 3]) -> Self {
        let (width, height) = (width.max(1), height.max(1));
        let pixels = colour.repeat(width as usize * height as usize);
        Self { width, height, pixels }
    }

    /// Width in pixels, at least 1.
    pub fn width(&self) -> u32 {
        self.width
    }

    /// Height in pixels, at least 1.
    pub fn height(&self) -> u32 {
        self.height
    }

    /// All bytes: `[height, width, 3]`.
    pub fn pixels(&self) -> &[u8] {
        &self.pixels
    }

    /// All bytes, to draw on: `[height, width, 3]`.
    pub fn pixels_mut(&mut self) -> &mut [u8] {
        &mut self.pixels
    }

    /// Row `y` counted from the top: `[width, 3]`.
    ///
    /// # Panics
    /// When `y` is not below the height.
    pub fn row(&self, y: u32) -> &[u8] {
        let stride = self.width as usize * 3;
        &self.pixels[y as usize * stride..][..stride]
    }

    /// The colour at column `x` of row `y`.
    ///
    /// # Panics
    /// When the point lies outside the picture.
    pub fn pixel(&self, x: u32, y: u32) -> [u8; 3] {
        let at = x as usize * 3;
        let row = self.row(y);
        [row[at], row[at + 1], row[at + 2]]
    }
}

/// The pixels of an image, perhaps fewer than it has, and where they lie on it.
#[derive(Clone, Debug, PartialEq)]
pub struct Picture {
    /// The pixels.
    pub pixels: Arc<Image>,
    /// Left, top, right, bottom of what the pixels show, in pixels of the whole image. A reduced copy may reach beyond
    /// the image's edges by less than one of its own pixels.
    pub covers: [f32; 4],
}

impl Picture {
    /// An image at its own size.
    pub fn whole(pixels: Arc<Image>) -> Self {
        let covers = [0.0, 0.0, pixels.width() as f32, pixels.height() as f32];
        Self { pixels, covers }
    }

    /// A copy of an image of `frame` = (width, height) pixels of which each pixel shows `pixel` by `pixel` of the image, from the
    /// left and the top on, or where `ends_first` says so (for x and y), from the other end.
    pub(crate) fn of_part(pixels: Image, frame: (u32, u32), pixel: f32, ends_first: [bool; 2]) -> Self {
        let sides = [(pixels.width(), frame.0), (pixels.height(), frame.1)];
        let mut covers = [0.0; 4];
        for (axis, (side, whole)) in sides.into_iter().enumerate() {
            let length = side as f32 * pixel;
            covers[axis] = if ends_first[axis] { whole as f32 - length } else { 0.0 };
            covers[axis + 2] = covers[axis] + length;
        }
        Self { pixels: Arc::new(pixels), covers }
    }
}

/// Pixels stay out of logs and panics: only the size is shown.
impl std::fmt::Debug for Image {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Image({}x{})", self.width, self.height)
    }
}
