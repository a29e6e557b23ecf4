//! Converts pictures with an ICC profile to sRGB, which software assumes for a file without a profile. The conversion runs
//! after the resize, when few pixels are left. A profile that cannot be read, or is for another colour model, is ignored.

use std::sync::Arc;

use moxcms::{ColorProfile, DataColorSpace, Layout, RenderingIntent, TransformExecutor, TransformOptions};

use super::layout::Model;
use super::mean_colours::Slopes;
use super::workspace::Workspace;

type Transform = Arc<dyn TransformExecutor<u8> + Send + Sync>;

/// Returns the RGB profile with the primaries of a code point (ITU-T H.273), or `None` if they are unknown or those of sRGB.
pub(super) fn named_profile(primaries: u16) -> Option<Vec<u8>> {
    // There is no tone mapping: the transfer of HDR (16 and 18) is ignored, and that of the profile is used.
    let profile = match primaries {
        9 => ColorProfile::new_bt2020(),
        11 => ColorProfile::new_dci_p3(),
        12 => ColorProfile::new_display_p3(),
        _ => return None,
    };
    profile.encode().ok()
}

pub(super) enum Conversion {
    /// No conversion: the colours are sRGB, or have no usable profile.
    None,
    /// Replaces each grey value with that of the table.
    Grey(Box<[u8; 256]>),
    /// Converts pixels of red, green and blue.
    Rgb(Transform),
    /// Converts pixels of red, green, blue and a byte that stays. Has slopes if it leaves greys alone.
    YCbCr(Transform, Option<Slopes>),
    /// Converts CMYK (255 is full ink) to RGB with a profile, or as if the inks were ideal.
    Inks(Option<Transform>),
}

impl Conversion {
    /// Chooses the conversion for a picture of this model with this profile.
    pub(super) fn new(model: Model, profile: Option<&[u8]>) -> Self {
        let profile = profile.and_then(|bytes| ColorProfile::new_from_slice(bytes).ok());
        match (model, profile) {
            (Model::Cmyk { .. } | Model::Ycck { .. }, profile) => {
                Self::Inks(profile.and_then(|profile| inks(&profile)))
            }
            (_, None) => Self::None,
            (Model::Grey, Some(profile)) => grey(&profile).map_or(Self::None, Self::Grey),
            (Model::Rgb, Some(profile)) => rgb(&profile, Layout::Rgb).map_or(Self::None, Self::Rgb),
            (Model::YCbCr, Some(profile)) => rgb(&profile, Layout::Rgba).map_or(Self::None, |transform| {
                // A transform only fails for wrong buffer sizes, and these are right.
                let slopes = Slopes::measure(|from, to| drop(transform.transform(from, to)));
                Self::YCbCr(transform, slopes)
            }),
        }
    }

    /// Converts `pixels` of RGB or CMYK to sRGB in place. A pixel has three bytes, or four in CMYK.
    pub(super) fn apply(&self, pixels: &mut Vec<u8>, workspace: &mut Workspace) {
        let (transform, channels) = match self {
            Self::None | Self::Grey(_) | Self::YCbCr(..) => return,
            Self::Inks(None) => return convert_ideal_inks(pixels),
            Self::Inks(Some(transform)) => (transform, 4),
            Self::Rgb(transform) => (transform, 3),
        };
        let mut converted = workspace.take(pixels.len() / channels * 3);
        if transform.transform(pixels, &mut converted).is_ok() {
            workspace.give(std::mem::replace(pixels, converted));
        } else {
            // A transform only fails for wrong buffer sizes, and these are right.
            pixels.truncate(converted.len());
        }
    }
}

fn options() -> TransformOptions {
    TransformOptions { rendering_intent: RenderingIntent::Perceptual, ..TransformOptions::default() }
}

fn to_srgb(profile: &ColorProfile, space: DataColorSpace, from: Layout, to: Layout) -> Option<Transform> {
    if profile.color_space != space {
        return None;
    }
    profile.create_transform_8bit(from, &ColorProfile::new_srgb(), to, options()).ok()
}

fn applied(transform: &Transform, pixels: &[u8], from: Layout, to: Layout) -> Option<Vec<u8>> {
    let mut converted = vec![0; pixels.len() / from.channels() * to.channels()];
    transform.transform(pixels, &mut converted).ok().map(|()| converted)
}

/// Returns the conversion of pixels with this layout, or `None` if the profile is sRGB or unusable.
fn rgb(profile: &ColorProfile, layout: Layout) -> Option<Transform> {
    let transform = to_srgb(profile, DataColorSpace::Rgb, layout, layout)?;
    // Most profiles are sRGB under one of many names, so the effect on a few colours decides.
    let colours = (0..125u8).flat_map(|n| [n % 5, n / 5 % 5, n / 25, 4].into_iter().take(layout.channels()));
    let probe: Vec<u8> = colours.map(|step| step * 63).collect();
    let converted = applied(&transform, &probe, layout, layout)?;
    let is_srgb = converted.iter().zip(&probe).all(|(to, from)| to.abs_diff(*from) <= 2);
    (!is_srgb).then_some(transform)
}

fn grey(profile: &ColorProfile) -> Option<Box<[u8; 256]>> {
    let transform = to_srgb(profile, DataColorSpace::Gray, Layout::Gray, Layout::Rgb)?;
    let every: Vec<u8> = (0..=255).collect();
    let converted = applied(&transform, &every, Layout::Gray, Layout::Rgb)?;
    let mut table = Box::new([0; 256]);
    table.iter_mut().zip(converted.as_chunks::<3>().0).for_each(|(to, pixel)| *to = pixel[1]);
    Some(table)
}

fn inks(profile: &ColorProfile) -> Option<Transform> {
    // CMYK has the memory layout of RGBA.
    to_srgb(profile, DataColorSpace::Cmyk, Layout::Rgba, Layout::Rgb)
}

/// Converts CMYK to RGB in place, as if each ink absorbed exactly its own colour.
fn convert_ideal_inks(pixels: &mut Vec<u8>) {
    let count = pixels.len() / 4;
    for at in 0..count {
        let [c, m, y, k] = [0, 1, 2, 3].map(|ink| 255 - u32::from(pixels[4 * at + ink]));
        for (channel, light) in [c, m, y].into_iter().enumerate() {
            // Both are at most 255, so the quotient is too.
            pixels[3 * at + channel] = u8::try_from((light * k + 127) / 255).unwrap_or(u8::MAX);
        }
    }
    pixels.truncate(3 * count);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn converted(profile: &ColorProfile, colour: [u8; 3]) -> Vec<u8> {
        let mut pixels = colour.to_vec();
        Conversion::new(Model::Rgb, Some(&profile.encode().unwrap()))
            .apply(&mut pixels, &mut Workspace::default());
        pixels
    }

    /// The expected values come from LittleCMS, and from the matrices of the standards by hand.
    #[test]
    fn wide_gamut_rgb_is_converted_to_srgb() {
        let close =
            |got: Vec<u8>, expected: [u8; 3]| got.iter().zip(expected).all(|(a, b)| a.abs_diff(b) <= 2);
        let p3 = ColorProfile::new_display_p3();
        assert!(close(converted(&p3, [200, 100, 50]), [215, 93, 31]), "{:?}", converted(&p3, [200, 100, 50]));
        assert!(close(converted(&p3, [128, 128, 128]), [128, 128, 128]));
        let adobe = ColorProfile::new_adobe_rgb();
        assert!(
            close(converted(&adobe, [150, 130, 100]), [159, 131, 98]),
            "{:?}",
            converted(&adobe, [150, 130, 100])
        );
    }

    #[test]
    fn srgb_or_unusable_profile_changes_nothing() {
        assert_eq!(converted(&ColorProfile::new_srgb(), [200, 100, 50]), [200, 100, 50]);
        assert_eq!(converted(&ColorProfile::new_gray_with_gamma(1.8), [9, 9, 9]), [9, 9, 9]);
        assert!(matches!(Conversion::new(Model::YCbCr, Some(b"no profile")), Conversion::None));
        let p3 = ColorProfile::new_display_p3().encode().unwrap();
        assert!(matches!(Conversion::new(Model::Grey, Some(&p3)), Conversion::None));
    }

    #[test]
    fn grey_with_linear_gamma_is_converted_to_srgb() {
        let profile = ColorProfile::new_gray_with_gamma(1.0).encode().unwrap();
        let Conversion::Grey(table) = Conversion::new(Model::Grey, Some(&profile)) else {
            panic!("no table")
        };
        // Half the light is 188 in sRGB (IEC 61966-2-1).
        assert!(table[0] == 0 && table[255] == 255 && table[128].abs_diff(188) <= 1, "{}", table[128]);
    }

    #[test]
    fn cmyk_without_profile_is_converted_as_ideal_inks() {
        let mut pixels = vec![0, 0, 0, 0, 255, 0, 0, 0, 0, 0, 0, 255];
        Conversion::new(Model::Cmyk { is_inverted: false }, None)
            .apply(&mut pixels, &mut Workspace::default());
        assert_eq!(pixels, [255, 255, 255, 0, 255, 255, 0, 0, 0]);
    }

    proptest! {
        #[test]
        fn arbitrary_profile_does_not_panic(noise: Vec<u8>, at in 0usize..600, byte: u8) {
            let mut profile = ColorProfile::new_display_p3().encode().unwrap();
            if let Some(place) = profile.get_mut(at) {
                *place = byte;
            }
            for model in [Model::Grey, Model::Rgb, Model::Cmyk { is_inverted: true }] {
                for profile in [&noise, &profile] {
                    Conversion::new(model, Some(profile)).apply(&mut vec![1; 12], &mut Workspace::default());
                }
            }
        }
    }
}
