//! Files to pixels: JPEG and PNG to RGB8, bounded before anything is decoded, refused when damaged.
//!
//! * **EXIF orientation is applied.** Boxes are understood in the frame of the picture as shown, which is what
//!   labelling tools display and export.
//! * **Damage is an error.** A decoder that fills the missing half of a JPEG with grey would teach the model grey.
//! * **Every colour layout becomes RGB8**: grey is repeated, CMYK and YCCK are converted, 16 bits keep their upper
//!   byte, and transparent pixels lie over the grey of the letterbox.

use std::fs::File;
use std::io::{BufRead, BufReader, Cursor, Read, Seek};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use image::codecs::png::PngDecoder;
use image::metadata::Orientation;
use image::{DynamicImage, ImageDecoder};
use zune_jpeg::JpegDecoder;
use zune_jpeg::zune_core::bytestream::ZCursor;
use zune_jpeg::zune_core::colorspace::ColorSpace;
use zune_jpeg::zune_core::options::DecoderOptions;

use crate::PAD;
use crate::image::{Image, Picture};

mod jpeg;

/// Shortest side of an image that can be learned from, in pixels. A 1x1 picture is a broken download, not data.
pub const SIDE_MIN: u32 = 8;

/// Bounds on one image file, checked before it is decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DecodeLimits {
    /// Most pixels (width times height). Memory while decoding is about 4 to 10 bytes for each.
    pub pixels_max: u64,
    /// Largest file in bytes; the whole file is read into memory.
    pub file_bytes_max: u64,
}

/// 64 megapixels and 256 MiB.
impl Default for DecodeLimits {
    fn default() -> Self {
        Self { pixels_max: 64_000_000, file_bytes_max: 256 << 20 }
    }
}

/// An image that cannot be used, and why.
#[derive(Debug, thiserror::Error)]
#[error("{file}: {reason}", file = file.display())]
pub struct DecodeError {
    /// The file.
    pub file: PathBuf,
    /// What is wrong with it.
    #[source]
    pub reason: DecodeReason,
}

/// Why an image cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeReason {
    /// The file cannot be opened or read.
    #[error("cannot be read: {0}")]
    Unreadable(std::io::Error),
    /// The first bytes are of no picture, or of a kind that is not supported.
    #[error("is {found}, expected a JPEG or PNG image")]
    NotAnImage {
        /// What it looks like.
        found: &'static str,
    },
    /// The picture is cut off or its data contradict themselves.
    #[error("damaged {format}: {message}")]
    Damaged {
        /// JPEG or PNG.
        format: &'static str,
        /// What the decoder says, in one line.
        message: String,
    },
    /// More pixels than allowed.
    #[error("{width}x{height} pixels, at most {limit} allowed")]
    TooLarge {
        /// Width in the header.
        width: u32,
        /// Height in the header.
        height: u32,
        /// [`DecodeLimits::pixels_max`].
        limit: u64,
    },
    /// Fewer pixels than anything can be seen on.
    #[error("{width}x{height} pixels, at least {limit}x{limit} needed")]
    TooSmall {
        /// Width in the header.
        width: u32,
        /// Height in the header.
        height: u32,
        /// [`SIDE_MIN`].
        limit: u32,
    },
    /// A larger file than allowed.
    #[error("{bytes} bytes, at most {limit} allowed")]
    FileTooLarge {
        /// Its size.
        bytes: u64,
        /// [`DecodeLimits::file_bytes_max`].
        limit: u64,
    },
    /// The file was replaced since its labels were read.
    #[error(
        "is now {found_width}x{found_height}, was {expected_width}x{expected_height} when its labels were read"
    )]
    SizeChanged {
        /// Width when the labels were read.
        expected_width: u32,
        /// Height when the labels were read.
        expected_height: u32,
        /// Width now.
        found_width: u32,
        /// Height now.
        found_height: u32,
    },
}

/// What the header of an image file says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Width in pixels as shown, after EXIF orientation.
    pub width: u32,
    /// Height in pixels as shown, after EXIF orientation.
    pub height: u32,
    /// Whether the EXIF orientation exchanges width and height.
    pub turned: bool,
}

/// Reads the size of an image without decoding it: the first kilobytes of the file, as a rule.
///
/// # Errors
/// Any [`DecodeError`] that shows in the header: not an image, damaged, too large, too small.
pub fn read_header(file: &Path, limits: &DecodeLimits) -> Result<Header, DecodeError> {
    header(file, limits).map_err(|reason| DecodeError { file: file.to_path_buf(), reason })
}

/// Decodes a file to RGB8 as shown, after EXIF orientation.
///
/// # Errors
/// Any [`DecodeError`]; a damaged file is one, even if most of it could be shown.
pub fn decode_file(file: &Path, limits: &DecodeLimits) -> Result<Image, DecodeError> {
    let decoded = read(file, limits).and_then(|bytes| decode_bytes(&bytes, limits));
    decoded.map_err(|reason| DecodeError { file: file.to_path_buf(), reason })
}

/// Decodes a file to RGB8 as shown, at `scale` of its size or more, and tells the (width, height) of the whole: for training,
/// which shows a photograph on an input of a fraction of its size, and then needs a fraction of the work.
///
/// Baseline JPEG comes at the smallest n/8 that is at least `scale`; everything else, and everything for a `scale` above 7/8,
/// comes whole. The pixels of a reduced picture are not averages of the whole one's: see `decode/jpeg/idct.rs`.
///
/// # Errors
/// As [`decode_file`]: what that refuses is refused.
pub fn decode_file_reduced(
    file: &Path,
    limits: &DecodeLimits,
    scale: f32,
) -> Result<(Picture, (u32, u32)), DecodeError> {
    let decoded = read(file, limits).and_then(|bytes| decode_bytes_reduced(&bytes, limits, scale));
    decoded.map_err(|reason| DecodeError { file: file.to_path_buf(), reason })
}

/// [`decode_file_reduced`] of the bytes of a file.
///
/// # Errors
/// As [`decode_file`].
pub fn decode_bytes_reduced(
    bytes: &[u8],
    limits: &DecodeLimits,
    scale: f32,
) -> Result<(Picture, (u32, u32)), DecodeReason> {
    // Sides are whole numbers, so a scale that is meant to be n/8 may come out slightly above it.
    let eighths = (scale * 8.0 - 1e-3).ceil().max(1.0);
    if eighths <= jpeg::EIGHTHS_MAX as f32
        && let Opened::Jpeg(opened) = Opened::new(Cursor::new(bytes))?
    {
        let (stored, orientation) = jpeg_header(&opened);
        check_size(stored, limits)?;
        if let Some(reduced) = jpeg::decode(bytes, eighths as u32) {
            let Header { width, height, .. } = shown(stored, orientation);
            let image = upright(DynamicImage::from(reduced), orientation)?;
            let picture = Picture::of_part(image, (width, height), 8.0 / eighths, ends_first(orientation));
            return Ok((picture, (width, height)));
        }
    }
    let image = decode_bytes(bytes, limits)?;
    let frame = (image.width(), image.height());
    Ok((Picture::whole(Arc::new(image)), frame))
}

/// Decodes the bytes of a JPEG or PNG file to RGB8 as shown, after EXIF orientation.
///
/// # Errors
/// As [`decode_file`].
pub fn decode_bytes(bytes: &[u8], limits: &DecodeLimits) -> Result<Image, DecodeReason> {
    let (picture, orientation) = match Opened::new(Cursor::new(bytes))? {
        Opened::Jpeg(jpeg) => {
            let (stored, orientation) = jpeg_header(&jpeg);
            check_size(stored, limits)?;
            (decode_jpeg(bytes)?, orientation)
        }
        Opened::Png(mut png) => {
            let (stored, orientation) = png_header(&mut png);
            check_size(stored, limits)?;
            let picture = DynamicImage::from_decoder(*png).map_err(|e| damaged("PNG", &e))?;
            (picture, orientation)
        }
    };
    upright(DynamicImage::from(over_grey(picture)), orientation)
}

/// The picture as shown.
fn upright(mut picture: DynamicImage, orientation: Orientation) -> Result<Image, DecodeReason> {
    picture.apply_orientation(orientation);
    let picture = picture.into_rgb8();
    let (width, height) = picture.dimensions();
    Image::new(width, height, picture.into_raw()).ok_or(DecodeReason::TooSmall {
        width,
        height,
        limit: SIDE_MIN,
    })
}

/// Whether what is stored as the right and the bottom end of the picture is shown at the left and at the top.
fn ends_first(orientation: Orientation) -> [bool; 2] {
    match orientation {
        Orientation::NoTransforms | Orientation::Rotate90FlipH => [false, false],
        Orientation::FlipHorizontal | Orientation::Rotate90 => [true, false],
        Orientation::Rotate180 | Orientation::Rotate270FlipH => [true, true],
        Orientation::FlipVertical | Orientation::Rotate270 => [false, true],
    }
}

fn header(file: &Path, limits: &DecodeLimits) -> Result<Header, DecodeReason> {
    let (stored, orientation) = match Opened::new(open(file, limits)?)? {
        Opened::Jpeg(jpeg) => jpeg_header(&jpeg),
        Opened::Png(mut png) => png_header(&mut png),
    };
    check_size(stored, limits)?;
    Ok(shown(stored, orientation))
}

/// A decoder that has read the header and nothing else.
enum Opened<R: BufRead + Seek> {
    Jpeg(Box<JpegDecoder<R>>),
    Png(Box<PngDecoder<R>>),
}

impl<R: BufRead + Seek> Opened<R> {
    fn new(mut stream: R) -> Result<Self, DecodeReason> {
        match sniff(stream.fill_buf().map_err(DecodeReason::Unreadable)?) {
            Kind::Jpeg => {
                let mut jpeg = JpegDecoder::new_with_options(stream, jpeg_options());
                jpeg.decode_headers().map_err(|e| damaged("JPEG", &e))?;
                Ok(Self::Jpeg(Box::new(jpeg)))
            }
            Kind::Png => {
                PngDecoder::new(stream).map(|png| Self::Png(Box::new(png))).map_err(|e| damaged("PNG", &e))
            }
            Kind::Other(found) => Err(DecodeReason::NotAnImage { found }),
        }
    }
}

enum Kind {
    Jpeg,
    Png,
    Other(&'static str),
}

/// Tells formats apart by their first bytes; names of files lie.
fn sniff(start: &[u8]) -> Kind {
    match start {
        [] => Kind::Other("empty"),
        [0xFF, 0xD8, 0xFF, ..] => Kind::Jpeg,
        [0x89, b'P', b'N', b'G', ..] => Kind::Png,
        [b'G', b'I', b'F', b'8', ..] => Kind::Other("a GIF image"),
        [b'B', b'M', ..] => Kind::Other("a BMP image"),
        [b'I', b'I', 42, 0, ..] | [b'M', b'M', 0, 42, ..] => Kind::Other("a TIFF image"),
        [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'E', b'B', b'P', ..] => Kind::Other("a WebP image"),
        [_, _, _, _, b'f', b't', b'y', b'p', ..] => Kind::Other("a HEIF, AVIF or MP4 file"),
        _ => Kind::Other("not an image"),
    }
}

fn read(file: &Path, limits: &DecodeLimits) -> Result<Vec<u8>, DecodeReason> {
    let mut bytes = Vec::new();
    open(file, limits)?.read_to_end(&mut bytes).map_err(DecodeReason::Unreadable)?;
    Ok(bytes)
}

fn open(file: &Path, limits: &DecodeLimits) -> Result<BufReader<File>, DecodeReason> {
    let handle = File::open(file).map_err(DecodeReason::Unreadable)?;
    let bytes = handle.metadata().map_err(DecodeReason::Unreadable)?.len();
    if bytes > limits.file_bytes_max {
        return Err(DecodeReason::FileTooLarge { bytes, limit: limits.file_bytes_max });
    }
    Ok(BufReader::new(handle))
}

fn check_size((width, height): (u32, u32), limits: &DecodeLimits) -> Result<(), DecodeReason> {
    if u64::from(width) * u64::from(height) > limits.pixels_max {
        return Err(DecodeReason::TooLarge { width, height, limit: limits.pixels_max });
    }
    if width.min(height) < SIDE_MIN {
        return Err(DecodeReason::TooSmall { width, height, limit: SIDE_MIN });
    }
    Ok(())
}

/// Strict: without it the decoder logs a truncated or corrupt stream and fills the rest with grey.
fn jpeg_options() -> DecoderOptions {
    DecoderOptions::default().set_strict_mode(true).set_max_width(usize::MAX).set_max_height(usize::MAX)
}

fn jpeg_header<R: BufRead + Seek>(jpeg: &JpegDecoder<R>) -> ((u32, u32), Orientation) {
    let (width, height) = jpeg.info().map_or((0, 0), |info| (u32::from(info.width), u32::from(info.height)));
    let orientation = jpeg.exif().and_then(|exif| Orientation::from_exif_chunk(exif));
    ((width, height), orientation.unwrap_or(Orientation::NoTransforms))
}

fn png_header<R: BufRead + Seek>(png: &mut PngDecoder<R>) -> ((u32, u32), Orientation) {
    (png.dimensions(), png.orientation().unwrap_or(Orientation::NoTransforms))
}

fn decode_jpeg(bytes: &[u8]) -> Result<DynamicImage, DecodeReason> {
    let options = jpeg_options().jpeg_set_out_colorspace(ColorSpace::RGB);
    let mut jpeg = JpegDecoder::new_with_options(ZCursor::new(bytes), options);
    let pixels = jpeg.decode().map_err(|e| damaged("JPEG", &e))?;
    let (width, height) = jpeg.info().map_or((0, 0), |info| (u32::from(info.width), u32::from(info.height)));
    image::RgbImage::from_raw(width, height, pixels)
        .map(DynamicImage::from)
        .ok_or_else(|| damaged("JPEG", &"pixels do not match the size in the header"))
}

fn damaged(format: &'static str, message: &dyn std::fmt::Display) -> DecodeReason {
    // Decoders nest their messages with line breaks.
    let message = message.to_string().split_whitespace().collect::<Vec<_>>().join(" ");
    DecodeReason::Damaged { format, message }
}

fn shown((width, height): (u32, u32), orientation: Orientation) -> Header {
    let turned = matches!(
        orientation,
        Orientation::Rotate90
            | Orientation::Rotate270
            | Orientation::Rotate90FlipH
            | Orientation::Rotate270FlipH
    );
    if turned { Header { width: height, height: width, turned } } else { Header { width, height, turned } }
}

/// RGB8 of any layout. What shows through transparent pixels is the letterbox grey: the colours stored under them are
/// arbitrary.
fn over_grey(picture: DynamicImage) -> image::RgbImage {
    if !picture.color().has_alpha() {
        return picture.into_rgb8();
    }
    let picture = picture.into_rgba8();
    let (width, height) = picture.dimensions();
    image::RgbImage::from_fn(width, height, |x, y| {
        let [r, g, b, alpha] = picture.get_pixel(x, y).0;
        let alpha = u32::from(alpha);
        let mix = |c: u8| ((u32::from(c) * alpha + u32::from(PAD) * (255 - alpha) + 127) / 255) as u8;
        image::Rgb([mix(r), mix(g), mix(b)])
    })
}

#[cfg(test)]
mod tests;
