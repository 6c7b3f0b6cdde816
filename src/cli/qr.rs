//! QR codes of half-block characters, for terminals.

use super::Failure;
pub use qrcode::EcLevel;
use qrcode::QrCode;
use qrcode::render::unicode::Dense1x2;
use zeroize::Zeroizing;

/// White on black, so that light modules are light on every terminal; then back.
pub const COLOURS: (&str, &str) = ("\x1b[97;40m", "\x1b[0m");

/// The picture, two rows of modules a line, with the quiet zone. What it says may be secret: the picture is as much so.
pub fn picture(text: &str, level: EcLevel) -> Result<Zeroizing<String>, Failure> {
    let code = QrCode::with_error_correction_level(text.as_bytes(), level)?;
    let mut picture = code.render::<Dense1x2>();
    // Light modules are drawn, dark ones are the background.
    let picture = picture.dark_color(Dense1x2::Dark).light_color(Dense1x2::Light);
    Ok(Zeroizing::new(picture.build()))
}
