//! Computes SSIMULACRA2 of pairs of pictures: for each input line of two paths separated by a tab, one output line
//! with the score.
//!
//! Pictures are binary PPM with 8 bits per channel in sRGB. Anything else ends the program with an error.

use std::error::Error;
use std::io::{BufRead, Write};

use ssimulacra2::{ColorPrimaries, Rgb, TransferCharacteristic, compute_frame_ssimulacra2};

fn main() -> Result<(), Box<dyn Error>> {
    for line in std::io::stdin().lock().lines() {
        let line = line?;
        let (reference, picture) =
            line.split_once('\t').ok_or("two paths are wanted, with a tab between them")?;
        let score = compute_frame_ssimulacra2(read(reference)?, read(picture)?)?;
        writeln!(std::io::stdout().lock(), "{score}")?;
    }
    Ok(())
}

fn read(path: &str) -> Result<Rgb, Box<dyn Error>> {
    let file = std::fs::read(path)?;
    let not_ppm = || format!("{path} is not a binary PPM of 8 bits");
    // "P6", width, height, 255, each followed by one white space; Pillow writes no comments.
    let mut fields = file.splitn(5, |byte| byte.is_ascii_whitespace());
    let mut next = || fields.next().and_then(|field| std::str::from_utf8(field).ok());
    let (magic, width, height, depth) = (next(), next(), next(), next());
    if (magic, depth) != (Some("P6"), Some("255")) {
        return Err(not_ppm().into());
    }
    let width: usize = width.ok_or_else(not_ppm)?.parse()?;
    let height: usize = height.ok_or_else(not_ppm)?.parse()?;
    let samples = fields.next().ok_or_else(not_ppm)?;
    let (pixels, _) = samples.as_chunks::<3>();
    let pixels = pixels.iter().map(|pixel| pixel.map(|sample| f32::from(sample) / 255.0)).collect();
    Ok(Rgb::new(pixels, width, height, TransferCharacteristic::SRGB, ColorPrimaries::BT709)?)
}
