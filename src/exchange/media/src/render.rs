//! Making a thumbnail of an image: pure, bounded, and of formats that are recognised by their bytes, not their name.

use image::codecs::jpeg::JpegEncoder;
use image::codecs::png::PngEncoder;
use image::imageops::FilterType;
use image::{DynamicImage, ImageDecoder, ImageError, ImageFormat, ImageReader, Limits};
use std::io::Cursor;

/// The formats that thumbnails are made of.
const FORMATS: [ImageFormat; 4] = [ImageFormat::Jpeg, ImageFormat::Png, ImageFormat::Gif, ImageFormat::WebP];
/// Longest side of an image that is decoded.
const SIDE_MAX: u32 = 32_768;
const JPEG_QUALITY: u8 = 85;

/// How an image is fitted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    /// Cut to the aspect of the size.
    Crop,
    /// Keeps its aspect and fits into the size.
    Scale,
}

impl Method {
    pub(crate) fn code(self) -> u8 {
        match self {
            Self::Crop => 1,
            Self::Scale => 2,
        }
    }
}

/// A size and how to reach it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Target {
    pub width: u32,
    pub height: u32,
    pub method: Method,
}

/// "Servers SHOULD produce thumbnails with the following dimensions and methods: 32x32, crop; 96x96, crop;
/// 320x240, scale; 640x480, scale; 800x600, scale" (Matrix 1.16), and some more squares for avatars on dense screens.
const SQUARES: [u32; 5] = [32, 96, 256, 512, 800];
const OBLONGS: [(u32, u32); 3] = [(320, 240), (640, 480), (800, 600)];

impl Target {
    /// The size that is made for what a client wants: "Servers must never return thumbnails smaller than the client's
    /// requested dimensions". `None`: larger than every thumbnail, so it gets the original.
    pub fn for_request(width: u32, height: u32, method: Method) -> Option<Self> {
        let covers = |(w, h): &(u32, u32)| *w >= width && *h >= height;
        let squares = SQUARES.map(|side| (side, side));
        let found = match method {
            Method::Crop if width == height => squares.iter().find(|size| covers(size)),
            Method::Crop | Method::Scale => OBLONGS.iter().find(|size| covers(size)),
        };
        found.map(|(width, height)| Self {
            width: *width,
            height: *height,
            method,
        })
    }
}

/// What came out.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Rendered {
    /// A new image.
    Image { bytes: Vec<u8>, png: bool },
    /// The image is not larger than what was asked for.
    KeepOriginal,
}

/// Why there is no thumbnail.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RenderError {
    #[error("not an image of a known format")]
    Undecodable,
    #[error("the image is too large")]
    TooLarge,
}

/// The media type of a file with these first bytes, if thumbnails are made of such.
pub(crate) fn image_type(start: &[u8]) -> Option<&'static str> {
    let format = image::guess_format(start).ok()?;
    FORMATS.contains(&format).then(|| format.to_mime_type())
}

/// Makes a thumbnail. Takes time and memory in proportion to the pixels: run it where blocking is allowed.
pub(crate) fn render(source: &[u8], target: Target, pixels_max: u64) -> Result<Rendered, RenderError> {
    let mut reader = ImageReader::new(Cursor::new(source))
        .with_guessed_format()
        .map_err(|_| RenderError::Undecodable)?;
    let Some(format) = reader.format().filter(|format| FORMATS.contains(format)) else {
        return Err(RenderError::Undecodable);
    };
    let mut limits = Limits::default();
    limits.max_image_width = Some(SIDE_MAX);
    limits.max_image_height = Some(SIDE_MAX);
    // Sixteen bits in four channels, once decoded and once as the frame that GIF and WebP are composed on.
    limits.max_alloc = Some(pixels_max.saturating_mul(16).saturating_add(1 << 20));
    reader.limits(limits);
    let mut decoder = reader.into_decoder().map_err(why)?;
    let (width, height) = decoder.dimensions();
    // Before anything is decoded: a few kilobytes can claim gigapixels.
    if u64::from(width) * u64::from(height) > pixels_max {
        return Err(RenderError::TooLarge);
    }
    let orientation = decoder.orientation().map_err(why)?;
    let mut image = DynamicImage::from_decoder(decoder).map_err(why)?;
    image.apply_orientation(orientation);
    let small = match fit(&image, target) {
        Some(small) => small,
        // "When not provided, the server SHOULD NOT return an animated thumbnail": the first frame of what may move.
        None if matches!(format, ImageFormat::Gif | ImageFormat::WebP) => image,
        None => return Ok(Rendered::KeepOriginal),
    };
    let png = small.color().has_alpha();
    let mut bytes = Vec::new();
    let encoded = if png {
        small.write_with_encoder(PngEncoder::new(&mut bytes))
    } else {
        DynamicImage::ImageRgb8(small.into_rgb8())
            .write_with_encoder(JpegEncoder::new_with_quality(&mut bytes, JPEG_QUALITY))
    };
    encoded.map_err(why)?;
    Ok(Rendered::Image { bytes, png })
}

/// The image in the target's size. `None` if it would have to grow: "Servers MUST NOT upscale thumbnails".
fn fit(image: &DynamicImage, target: Target) -> Option<DynamicImage> {
    let (width, height) = (image.width(), image.height());
    if width <= target.width && height <= target.height {
        return None;
    }
    Some(match target.method {
        Method::Scale => image.resize(target.width, target.height, FilterType::Triangle),
        Method::Crop if width >= target.width && height >= target.height => {
            image.resize_to_fill(target.width, target.height, FilterType::Triangle)
        }
        // One side is too short to fill the target: only the other one is cut.
        Method::Crop => {
            let (w, h) = (width.min(target.width), height.min(target.height));
            image.crop_imm((width - w) / 2, (height - h) / 2, w, h)
        }
    })
}

fn why(error: ImageError) -> RenderError {
    match error {
        ImageError::Limits(_) => RenderError::TooLarge,
        _ => RenderError::Undecodable,
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, clippy::panic, reason = "tests")]
    use super::{Method, RenderError, Rendered, Target, render};
    use image::{DynamicImage, ImageFormat, RgbImage, RgbaImage};
    use std::io::Cursor;

    fn encoded(image: &DynamicImage, format: ImageFormat) -> Vec<u8> {
        let mut bytes = Cursor::new(Vec::new());
        image.write_to(&mut bytes, format).unwrap();
        bytes.into_inner()
    }

    fn size_of(rendered: Rendered, png: bool) -> (u32, u32) {
        let Rendered::Image { bytes, png: is_png } = rendered else {
            panic!("no image")
        };
        assert_eq!(is_png, png);
        let image = image::load_from_memory(&bytes).unwrap();
        (image.width(), image.height())
    }

    #[test]
    fn the_size_covers_what_was_asked_for() {
        let size = |width, height, method| Target::for_request(width, height, method).map(|t| (t.width, t.height));
        assert_eq!(size(1, 1, Method::Crop), Some((32, 32)));
        assert_eq!(size(33, 33, Method::Crop), Some((96, 96)));
        assert_eq!(size(100, 99, Method::Crop), Some((320, 240)));
        assert_eq!(size(320, 240, Method::Scale), Some((320, 240)));
        assert_eq!(size(321, 1, Method::Scale), Some((640, 480)));
        assert_eq!(size(801, 1, Method::Scale), None);
        assert_eq!(size(u32::MAX, u32::MAX, Method::Crop), None);
    }

    #[test]
    fn images_of_every_format_are_fitted() {
        let opaque = DynamicImage::ImageRgb8(RgbImage::new(1000, 500));
        let clear = DynamicImage::ImageRgba8(RgbaImage::new(1000, 500));
        let scale = Target {
            width: 320,
            height: 240,
            method: Method::Scale,
        };
        let crop = Target {
            width: 96,
            height: 96,
            method: Method::Crop,
        };
        for (image, format, png) in [
            (&opaque, ImageFormat::Jpeg, false),
            (&opaque, ImageFormat::Png, false),
            (&clear, ImageFormat::Png, true),
            (&clear, ImageFormat::Gif, true),
            (&clear, ImageFormat::WebP, true),
        ] {
            let source = encoded(image, format);
            assert_eq!(size_of(render(&source, scale, 1 << 20).unwrap(), png), (320, 160));
            assert_eq!(size_of(render(&source, crop, 1 << 20).unwrap(), png), (96, 96));
            assert!(matches!(render(&source, crop, 499_999), Err(RenderError::TooLarge)));
            let half = source.get(..source.len() / 2).unwrap();
            // Some decoders make do with half a file; none may panic.
            let _ = render(half, crop, 1 << 20);
        }
        let flat = encoded(&DynamicImage::ImageRgb8(RgbImage::new(1000, 20)), ImageFormat::Png);
        assert_eq!(size_of(render(&flat, crop, 1 << 20).unwrap(), false), (96, 20));
        let small = encoded(&DynamicImage::ImageRgb8(RgbImage::new(96, 20)), ImageFormat::Png);
        assert_eq!(render(&small, crop, 1 << 20).unwrap(), Rendered::KeepOriginal);
        // What may move is told as a still picture, however small it is.
        let still = encoded(&DynamicImage::ImageRgba8(RgbaImage::new(20, 20)), ImageFormat::Gif);
        assert_eq!(size_of(render(&still, crop, 1 << 20).unwrap(), true), (20, 20));
        assert!(matches!(
            render(b"<svg/>", crop, 1 << 20),
            Err(RenderError::Undecodable)
        ));
    }

    #[test]
    fn a_decompression_bomb_is_refused_before_it_is_decoded() {
        // A PNG header that claims 30,000 x 30,000 pixels.
        let mut bomb = encoded(&DynamicImage::ImageRgb8(RgbImage::new(1, 1)), ImageFormat::Png);
        let header: Vec<u8> = [
            b"IHDR".as_slice(),
            &30_000u32.to_be_bytes(),
            &30_000u32.to_be_bytes(),
            &[8, 2, 0, 0, 0],
        ]
        .concat();
        bomb.splice(12..29, header.iter().copied());
        let crc = crc32(&header);
        bomb.splice(29..33, crc.to_be_bytes());
        let crop = Target {
            width: 96,
            height: 96,
            method: Method::Crop,
        };
        assert!(matches!(render(&bomb, crop, 50_000_000), Err(RenderError::TooLarge)));
    }

    fn crc32(bytes: &[u8]) -> u32 {
        !bytes.iter().fold(u32::MAX, |crc, byte| {
            (0..8).fold(crc ^ u32::from(*byte), |crc, _| {
                if crc & 1 == 1 {
                    (crc >> 1) ^ 0xEDB8_8320
                } else {
                    crc >> 1
                }
            })
        })
    }
}
