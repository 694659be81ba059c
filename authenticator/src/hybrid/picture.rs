//! QR codes drawn and seen: in a terminal's characters, and in pictures (PNG).

use std::io::{self, Cursor};

use qrcode::render::unicode::Dense1x2;
use qrcode::{Color, EcLevel};

use super::QrCode;

/// A module of a drawn code is so many pixels wide.
const MODULE: usize = 6;
/// The quiet zone around a code, in modules.
const QUIET: usize = 4;
/// The largest picture that is looked at: 64 megapixels.
const PIXELS_MAX: usize = 1 << 26;

impl QrCode {
    /// The code in block characters, for a terminal of light text on dark ground.
    pub fn drawn(&self) -> String {
        self.modules().render::<Dense1x2>().dark_color(Dense1x2::Light).light_color(Dense1x2::Dark).build()
    }

    /// The code as a picture: PNG, black on white.
    pub fn picture(&self) -> Vec<u8> {
        let code = self.modules();
        let colors = code.to_colors();
        let side = (code.width() + 2 * QUIET) * MODULE;
        let dark = |x: usize, y: usize| {
            let module = |at: usize| (at / MODULE).checked_sub(QUIET).filter(|at| *at < code.width());
            module(x).zip(module(y)).is_some_and(|(x, y)| colors[y * code.width() + x] == Color::Dark)
        };
        let pixels: Vec<u8> =
            (0..side * side).map(|at| if dark(at % side, at / side) { 0 } else { 255 }).collect();
        let mut png = Vec::new();
        let written = write(&mut png, side as u32, &pixels);
        written.expect("a vector takes every write, and a code has a few hundred pixels a side");
        png
    }

    /// The first code of a desktop's that is in this picture (PNG): drawn, or photographed.
    ///
    /// # Errors
    /// [`InvalidData`](io::ErrorKind::InvalidData) if it is no picture; `None` if there is no such code in it.
    pub fn in_picture(png: &[u8]) -> io::Result<Option<Self>> {
        let (width, height, luminance) = read(png)?;
        let mut image =
            rqrr::PreparedImage::prepare_from_greyscale(width, height, |x, y| luminance[y * width + x]);
        let texts = image.detect_grids().into_iter().filter_map(|grid| Some(grid.decode().ok()?.1));
        Ok(texts.filter_map(|text| QrCode::parse(&text)).next())
    }

    fn modules(&self) -> qrcode::QrCode {
        let code = qrcode::QrCode::with_error_correction_level(self.to_string(), EcLevel::L);
        code.expect("some 170 digits are far from the most that a QR code holds")
    }
}

fn write(png: &mut Vec<u8>, side: u32, pixels: &[u8]) -> Result<(), png::EncodingError> {
    let mut encoder = png::Encoder::new(png, side, side);
    encoder.set_color(png::ColorType::Grayscale);
    encoder.set_depth(png::BitDepth::Eight);
    encoder.write_header()?.write_image_data(pixels)
}

/// Width, height and the brightness of each pixel.
fn read(bytes: &[u8]) -> io::Result<(usize, usize, Vec<u8>)> {
    let invalid = |why: &str| io::Error::new(io::ErrorKind::InvalidData, why.to_owned());
    let no_picture = |error: png::DecodingError| invalid(&error.to_string());
    let mut decoder = png::Decoder::new(Cursor::new(bytes));
    decoder.set_transformations(png::Transformations::normalize_to_color8());
    let mut reader = decoder.read_info().map_err(no_picture)?;
    let (width, height) = (reader.info().width as usize, reader.info().height as usize);
    if width.checked_mul(height).is_none_or(|pixels| pixels > PIXELS_MAX) {
        return Err(invalid("the picture is too large"));
    }
    let size = reader.output_buffer_size().ok_or_else(|| invalid("the picture is too large"))?;
    let mut buffer = vec![0; size];
    let frame = reader.next_frame(&mut buffer).map_err(no_picture)?;
    let samples = frame.color_type.samples();
    let pixels = buffer[..frame.buffer_size()].chunks_exact(samples);
    let luminance = pixels.map(|pixel| match *pixel {
        [red, green, blue, ..] => ((u32::from(red) * 3 + u32::from(green) * 6 + u32::from(blue)) / 10) as u8,
        [grey, ..] => grey,
        [] => 255,
    });
    Ok((width, height, luminance.collect()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hybrid::Operation;
    use crate::hybrid::tests::rng;

    #[test]
    fn a_code_that_is_drawn_is_seen() {
        let (code, _) = QrCode::generate(Operation::Get, Some(1_700_000_000), &mut rng(1));
        let seen = QrCode::in_picture(&code.picture()).expect("a picture").expect("a code in it");
        assert_eq!(seen.to_string(), code.to_string());
        assert!(code.drawn().lines().count() > 20);
    }

    #[test]
    fn a_picture_without_a_code_is_none_and_what_is_no_picture_is_an_error() {
        let mut blank = Vec::new();
        write(&mut blank, 40, &[200; 1600]).unwrap();
        assert!(QrCode::in_picture(&blank).expect("a picture").is_none());
        let mut other = Vec::new();
        let code = qrcode::QrCode::new("https://example.com").unwrap();
        let side = code.width() * 8;
        let dark = |at: usize| code.to_colors()[at / side / 8 * code.width() + at % side / 8] == Color::Dark;
        let pixels: Vec<u8> = (0..side * side).map(|at| if dark(at) { 0 } else { 255 }).collect();
        write(&mut other, side as u32, &pixels).unwrap();
        assert!(QrCode::in_picture(&other).expect("a picture").is_none(), "of something else");
        for bytes in [&b""[..], b"GIF89a", &blank[..blank.len() / 2]] {
            assert_eq!(QrCode::in_picture(bytes).err().unwrap().kind(), io::ErrorKind::InvalidData);
        }
    }
}
