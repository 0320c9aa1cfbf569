//! Detections drawn on a picture: outlines in a colour per class, and labels with class and score.

use dataset::Image;
use detection::Detection;
use noto_sans_mono_bitmap::{FontWeight, RasterHeight, RasterizedChar, get_raster, get_raster_width};

const WEIGHT: FontWeight = FontWeight::Bold;
/// Stands for characters that the font lacks.
const REPLACEMENT: char = '\u{fffd}';
const DARK: [u8; 3] = [16, 16, 16];
const LIGHT: [u8; 3] = [255, 255, 255];
const OPAQUE: u8 = 255;
/// The dark rim of an outline lets it stand out on a ground of its own colour.
const RIM: u8 = 130;

/// Side in pixels below which a picture is too small to carry letters.
const SIDE_MIN: u32 = 448;

/// A copy of `image` with `detections` (in its pixels, best first) and the names of their classes. Lines and letters grow with
/// the picture, so that they can be read when it is shown as a whole; small pictures are enlarged, each pixel to a square.
pub fn draw(image: &Image, detections: &[Detection], classes: &[String]) -> Image {
    let zoom = SIDE_MIN.div_ceil(image.width().max(image.height()));
    let mut picture = enlarged(image, zoom);
    let (width, height) = (picture.width(), picture.height());
    let style = Style::of(width.max(height));
    let mut canvas =
        Canvas { width: i64::from(width), height: i64::from(height), pixels: picture.pixels_mut() };
    // The best come last, on top of the others.
    for detection in detections.iter().rev() {
        let (frame, colour) = (Rect::of(detection, zoom), colour(detection.class));
        canvas.outline(frame.grown(1), style.line + 2, DARK, RIM);
        canvas.outline(frame, style.line, colour, OPAQUE);
    }
    let mut labels: Vec<(Rect, String, [u8; 3])> = Vec::new();
    for detection in detections {
        let class = classes.get(detection.class as usize).map_or("?", String::as_str);
        let text = format!("{class} {:.2}", detection.score);
        let taken = |place: &Rect| labels.iter().any(|(other, ..)| other.overlaps(place));
        let place = style.place(&text, &Rect::of(detection, zoom), (canvas.width, canvas.height), taken);
        labels.push((place, text, colour(detection.class)));
    }
    for (place, text, colour) in labels.iter().rev() {
        canvas.fill(*place, *colour, OPAQUE);
        let ink = if contrast(*colour, DARK) > contrast(*colour, LIGHT) { DARK } else { LIGHT };
        canvas.write(text, (place.left + style.margin, place.top), &style, ink);
    }
    picture
}

/// The image with each pixel as a square of side `zoom`.
fn enlarged(image: &Image, zoom: u32) -> Image {
    let mut picture = Image::filled(image.width() * zoom, image.height() * zoom, [0; 3]);
    let stride = picture.width() as usize * 3;
    for (y, row) in picture.pixels_mut().chunks_exact_mut(stride).enumerate() {
        let source = image.row(y as u32 / zoom).chunks_exact(3);
        for (square, pixel) in row.chunks_exact_mut(3 * zoom as usize).zip(source) {
            square.chunks_exact_mut(3).for_each(|target| target.copy_from_slice(pixel));
        }
    }
    picture
}

/// The colour of a class: hues a golden angle apart, so that neighbouring classes never look alike.
pub fn colour(class: u32) -> [u8; 3] {
    const GOLDEN_ANGLE: f64 = 137.507_764;
    let hue = (f64::from(class) * GOLDEN_ANGLE + 205.0) % 360.0 / 60.0;
    // HSL with saturation 0.95 and lightness 0.55.
    let (lightness, chroma) = (0.55, 0.95 * (1.0 - (2.0 * 0.55 - 1.0_f64).abs()));
    [0.0, 4.0, 2.0].map(|phase| {
        let distance = ((hue + phase) % 6.0 - 3.0).abs();
        let share = (distance - 1.0).clamp(0.0, 1.0);
        ((lightness + chroma * (share - 0.5)) * 255.0).round() as u8
    })
}

/// Contrast of two colours as WCAG 2 defines it, 1 to 21.
fn contrast(one: [u8; 3], other: [u8; 3]) -> f64 {
    let luminance = |colour: [u8; 3]| {
        let linear = colour.map(|value| {
            let value = f64::from(value) / 255.0;
            if value <= 0.04045 { value / 12.92 } else { ((value + 0.055) / 1.055).powf(2.4) }
        });
        0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2] + 0.05
    };
    let (one, other) = (luminance(one), luminance(other));
    one.max(other) / one.min(other)
}

/// Sizes that suit a picture.
struct Style {
    /// Thickness of an outline in pixels.
    line: i64,
    font: RasterHeight,
    /// Each pixel of the font is a square of this side.
    scale: i64,
    /// Left and right of a label's text.
    margin: i64,
}

impl Style {
    /// For a picture of this longer side, in pixels.
    fn of(side: u32) -> Self {
        use RasterHeight::{Size16, Size20, Size24, Size32};
        const FONTS: [(RasterHeight, i64); 8] = [
            (Size16, 1),
            (Size20, 1),
            (Size24, 1),
            (Size32, 1),
            (Size24, 2),
            (Size32, 2),
            (Size24, 4),
            (Size32, 4),
        ];
        let side = i64::from(side);
        let wanted = side / 45;
        let fitting = FONTS.into_iter().find(|(font, scale)| font.val() as i64 * scale >= wanted);
        let (font, scale) = fitting.unwrap_or((Size32, side / 45 / 32));
        Self {
            line: (side / 320).clamp(if side < 160 { 1 } else { 2 }, 16),
            font,
            scale,
            margin: 2 * scale + 1,
        }
    }

    /// Where a label goes: above its box, else below it, else inside; not over another label if that can be helped, and
    /// within the picture as far as it fits.
    fn place(
        &self,
        text: &str,
        frame: &Rect,
        (width, height): (i64, i64),
        taken: impl Fn(&Rect) -> bool,
    ) -> Rect {
        let letters = text.chars().count() as i64;
        let wide = letters * get_raster_width(WEIGHT, self.font) as i64 * self.scale + 2 * self.margin;
        let high = self.font.val() as i64 * self.scale;
        let left = frame.left.min(width - wide).max(0);
        let at = |top: i64| Rect { left, top, right: left + wide, bottom: top + high };
        let places = [at(frame.top - high), at(frame.bottom), at(frame.top)];
        let inside = |place: &Rect| place.top >= 0 && place.bottom <= height;
        let free = places.iter().find(|place| inside(place) && !taken(place));
        let chosen = free.or_else(|| places.iter().find(|place| inside(place)));
        *chosen.unwrap_or(&at(frame.top.min(height - high).max(0)))
    }
}

/// Pixels from `left` and `top` to before `right` and `bottom`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Rect {
    left: i64,
    top: i64,
    right: i64,
    bottom: i64,
}

impl Rect {
    fn of(detection: &Detection, zoom: u32) -> Self {
        let bbox = detection.bbox;
        // Casts from f32 saturate, and make 0 of NaN; this leaves room for the arithmetic.
        let pixel = |value: f32| ((value * zoom as f32).round() as i64).clamp(-(1 << 30), 1 << 30);
        Self { left: pixel(bbox.x1), top: pixel(bbox.y1), right: pixel(bbox.x2), bottom: pixel(bbox.y2) }
    }

    fn grown(self, by: i64) -> Self {
        let Self { left, top, right, bottom } = self;
        Self { left: left - by, top: top - by, right: right + by, bottom: bottom + by }
    }

    fn overlaps(&self, other: &Self) -> bool {
        self.left < other.right
            && other.left < self.right
            && self.top < other.bottom
            && other.top < self.bottom
    }
}

struct Canvas<'a> {
    width: i64,
    height: i64,
    pixels: &'a mut [u8],
}

impl Canvas<'_> {
    /// Lines of `thickness` along the inner edge of `frame`.
    fn outline(&mut self, frame: Rect, thickness: i64, colour: [u8; 3], alpha: u8) {
        let Rect { left, top, right, bottom } = frame;
        // Thin boxes have no inside; their lines must not cover a pixel twice.
        let (inner_top, inner_bottom) =
            ((top + thickness).min(bottom), (bottom - thickness).max(top + thickness));
        let (inner_left, inner_right) =
            ((left + thickness).min(right), (right - thickness).max(left + thickness));
        self.fill(Rect { bottom: inner_top, ..frame }, colour, alpha);
        self.fill(Rect { top: inner_bottom, ..frame }, colour, alpha);
        let sides = Rect { top: inner_top, bottom: inner_bottom.min(bottom), ..frame };
        self.fill(Rect { right: inner_left, ..sides }, colour, alpha);
        self.fill(Rect { left: inner_right, ..sides }, colour, alpha);
    }

    fn fill(&mut self, area: Rect, colour: [u8; 3], alpha: u8) {
        for y in area.top.max(0)..area.bottom.min(self.height) {
            for x in area.left.max(0)..area.right.min(self.width) {
                self.blend(x, y, colour, alpha);
            }
        }
    }

    fn write(&mut self, text: &str, (left, top): (i64, i64), style: &Style, ink: [u8; 3]) {
        let glyph = |letter| get_raster(letter, WEIGHT, style.font);
        let glyphs = text.chars().filter_map(|letter| glyph(letter).or_else(|| glyph(REPLACEMENT)));
        let mut left = left;
        for glyph in glyphs {
            self.glyph(&glyph, (left, top), style.scale, ink);
            left += glyph.width() as i64 * style.scale;
        }
    }

    fn glyph(&mut self, glyph: &RasterizedChar, (left, top): (i64, i64), scale: i64, ink: [u8; 3]) {
        for (row, pixels) in glyph.rows().enumerate() {
            for (column, &coverage) in pixels.iter().enumerate().filter(|(_, coverage)| **coverage > 0) {
                let (left, top) = (left + column as i64 * scale, top + row as i64 * scale);
                self.fill(Rect { left, top, right: left + scale, bottom: top + scale }, ink, coverage);
            }
        }
    }

    /// `x` and `y` lie in the picture.
    fn blend(&mut self, x: i64, y: i64, colour: [u8; 3], alpha: u8) {
        let at = ((y * self.width + x) * 3) as usize;
        let alpha = u32::from(alpha);
        for (pixel, colour) in self.pixels[at..at + 3].iter_mut().zip(colour) {
            let mixed = u32::from(*pixel) * (255 - alpha) + u32::from(colour) * alpha;
            *pixel = ((mixed + 127) / 255) as u8;
        }
    }
}

#[cfg(test)]
mod tests;
