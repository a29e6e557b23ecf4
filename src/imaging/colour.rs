//! Colour: a picture whose ICC profile names another space becomes sRGB, which is what a file without a profile means
//! to everybody. Runs after the resize, when there is little left to convert.
//!
//! A profile that cannot be read, or is of another kind than the picture, is passed over: the picture is whole without it.

use std::sync::Arc;

use moxcms::{ColorProfile, DataColorSpace, Layout, RenderingIntent, TransformExecutor, TransformOptions};

use super::layout::Model;
use super::workspace::Workspace;

type Transform = Arc<dyn TransformExecutor<u8> + Send + Sync>;

/// The profile of RGB with the primaries of a code point (ITU-T H.273), or `None` if it is sRGB or not known.
pub(super) fn named_profile(primaries: u16) -> Option<Vec<u8>> {
    // Without tone mapping, the transfer of HDR (16 and 18) is shown as what it was made to look acceptable as.
    let profile = match primaries {
        9 => ColorProfile::new_bt2020(),
        11 => ColorProfile::new_dci_p3(),
        12 => ColorProfile::new_display_p3(),
        _ => return None,
    };
    profile.encode().ok()
}

/// What has to be done to the colours of a picture.
pub(super) enum Conversion {
    /// Nothing: they are sRGB, or said to be nothing at all.
    None,
    /// Each grey becomes another.
    Grey(Box<[u8; 256]>),
    /// Three bytes become three.
    Rgb(Transform),
    /// Four inks, 255 being all of it, become three bytes: by a profile, or as if inks were perfect.
    Inks(Option<Transform>),
}

impl Conversion {
    /// What `profile` asks for in a picture of this model.
    pub(super) fn new(model: Model, profile: Option<&[u8]>) -> Self {
        let profile = profile.and_then(|bytes| ColorProfile::new_from_slice(bytes).ok());
        match (model, profile) {
            (Model::Cmyk { .. } | Model::Ycck { .. }, profile) => {
                Self::Inks(profile.and_then(|profile| inks(&profile)))
            }
            (_, None) => Self::None,
            (Model::Grey, Some(profile)) => grey(&profile).map_or(Self::None, Self::Grey),
            (Model::Rgb | Model::YCbCr, Some(profile)) => rgb(&profile).map_or(Self::None, Self::Rgb),
        }
    }

    /// Makes sRGB of `pixels` in place: of three bytes each, or four where they are inks.
    pub(super) fn apply(&self, pixels: &mut Vec<u8>, workspace: &mut Workspace) {
        let (transform, channels) = match self {
            Self::None | Self::Grey(_) => return,
            Self::Inks(None) => return mix_perfect_inks(pixels),
            Self::Inks(Some(transform)) => (transform, 4),
            Self::Rgb(transform) => (transform, 3),
        };
        let mut converted = workspace.take(pixels.len() / channels * 3);
        if transform.transform(pixels, &mut converted).is_ok() {
            workspace.give(std::mem::replace(pixels, converted));
        } else {
            // Only sizes can be wrong, and they are not.
            pixels.truncate(converted.len());
        }
    }
}

fn options() -> TransformOptions {
    TransformOptions { rendering_intent: RenderingIntent::Perceptual, ..TransformOptions::default() }
}

fn to_srgb(profile: &ColorProfile, space: DataColorSpace, layout: Layout) -> Option<Transform> {
    if profile.color_space != space {
        return None;
    }
    profile.create_transform_8bit(layout, &ColorProfile::new_srgb(), Layout::Rgb, options()).ok()
}

fn applied(transform: &Transform, pixels: &[u8], channels: usize) -> Option<Vec<u8>> {
    let mut converted = vec![0; pixels.len() / channels * 3];
    transform.transform(pixels, &mut converted).ok().map(|()| converted)
}

/// `None` where the profile is sRGB, or cannot be used.
fn rgb(profile: &ColorProfile) -> Option<Transform> {
    let transform = to_srgb(profile, DataColorSpace::Rgb, Layout::Rgb)?;
    // Most profiles are sRGB under one of many names. What they do to a few colours tells, whatever they are called.
    let probe: Vec<u8> = (0..125u8).flat_map(|n| [n % 5, n / 5 % 5, n / 25]).map(|step| step * 63).collect();
    let is_srgb =
        applied(&transform, &probe, 3)?.iter().zip(&probe).all(|(to, from)| to.abs_diff(*from) <= 2);
    (!is_srgb).then_some(transform)
}

fn grey(profile: &ColorProfile) -> Option<Box<[u8; 256]>> {
    let transform = to_srgb(profile, DataColorSpace::Gray, Layout::Gray)?;
    let every: Vec<u8> = (0..=255).collect();
    let converted = applied(&transform, &every, 1)?;
    let mut table = Box::new([0; 256]);
    table.iter_mut().zip(converted.as_chunks::<3>().0).for_each(|(to, pixel)| *to = pixel[1]);
    Some(table)
}

fn inks(profile: &ColorProfile) -> Option<Transform> {
    // Four channels of ink are laid out as four of light are.
    to_srgb(profile, DataColorSpace::Cmyk, Layout::Rgba)
}

/// Four inks into three lights in place, as if each ink took away exactly its own.
fn mix_perfect_inks(pixels: &mut Vec<u8>) {
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

    /// Expected values by LittleCMS, and by hand from the matrices of the standards.
    #[test]
    fn wide_spaces_become_srgb() {
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
    fn srgb_and_what_is_of_another_kind_change_nothing() {
        assert_eq!(converted(&ColorProfile::new_srgb(), [200, 100, 50]), [200, 100, 50]);
        assert_eq!(converted(&ColorProfile::new_gray_with_gamma(1.8), [9, 9, 9]), [9, 9, 9]);
        assert!(matches!(Conversion::new(Model::YCbCr, Some(b"no profile")), Conversion::None));
        let p3 = ColorProfile::new_display_p3().encode().unwrap();
        assert!(matches!(Conversion::new(Model::Grey, Some(&p3)), Conversion::None));
    }

    #[test]
    fn grey_of_another_gamma_becomes_grey_of_srgb() {
        let profile = ColorProfile::new_gray_with_gamma(1.0).encode().unwrap();
        let Conversion::Grey(table) = Conversion::new(Model::Grey, Some(&profile)) else {
            panic!("no table")
        };
        // Half the light is 188 in sRGB (IEC 61966-2-1).
        assert!(table[0] == 0 && table[255] == 255 && table[128].abs_diff(188) <= 1, "{}", table[128]);
    }

    #[test]
    fn perfect_inks() {
        let mut pixels = vec![0, 0, 0, 0, 255, 0, 0, 0, 0, 0, 0, 255];
        Conversion::new(Model::Cmyk { is_inverted: false }, None)
            .apply(&mut pixels, &mut Workspace::default());
        assert_eq!(pixels, [255, 255, 255, 0, 255, 255, 0, 0, 0]);
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(noise: Vec<u8>, at in 0usize..600, byte: u8) {
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
