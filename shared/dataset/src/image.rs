//! A decoded picture in memory.

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

/// Pixels stay out of logs and panics: only the size is shown.
impl std::fmt::Debug for Image {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Image({}x{})", self.width, self.height)
    }
}
