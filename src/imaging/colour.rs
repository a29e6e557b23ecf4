//! Colour: a picture whose ICC profile names another RGB space becomes sRGB, which is what a file without a profile means
//! to everybody. Runs after the resize, when there is little left to convert.
//!
//! A profile that cannot be read is passed over: the picture is whole without it. CMYK and grey profiles are not used.

use moxcms::{ColorProfile, DataColorSpace, Layout, TransformOptions};

use super::Rgb;

/// Largest profile that is looked at, in bytes. Real ones have 500 bytes to 600 kB.
pub(super) const MAX_PROFILE_BYTES: usize = 4 << 20;

/// The picture in sRGB, if `profile` says that it is in something else.
pub(super) fn to_srgb(image: Rgb, profile: Option<&[u8]>) -> Rgb {
    match profile.and_then(|profile| convert(&image.pixels, profile)) {
        Some(pixels) => Rgb { pixels, ..image },
        None => image,
    }
}

fn convert(pixels: &[u8], profile: &[u8]) -> Option<Vec<u8>> {
    let source = ColorProfile::new_from_slice(profile).ok()?;
    if source.color_space != DataColorSpace::Rgb {
        return None;
    }
    let options = TransformOptions::default();
    let transform =
        source.create_transform_8bit(Layout::Rgb, &ColorProfile::new_srgb(), Layout::Rgb, options).ok()?;
    let apply = |from: &[u8]| {
        let mut to = vec![0; from.len()];
        transform.transform(from, &mut to).ok().map(|()| to)
    };
    // Most profiles are sRGB under one of many names. What they do to a few colours tells, whatever they are called.
    let probe: Vec<u8> = (0..125u8).flat_map(|n| [n % 5, n / 5 % 5, n / 25]).map(|step| step * 63).collect();
    let is_srgb = apply(&probe)?.iter().zip(&probe).all(|(to, from)| to.abs_diff(*from) <= 2);
    if is_srgb { None } else { apply(pixels) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn converted(profile: &ColorProfile, colour: [u8; 3]) -> Vec<u8> {
        let image = Rgb { width: 1, height: 1, pixels: colour.to_vec() };
        to_srgb(image, Some(&profile.encode().unwrap())).pixels
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
    fn srgb_and_what_is_no_rgb_profile_change_nothing() {
        assert_eq!(converted(&ColorProfile::new_srgb(), [200, 100, 50]), [200, 100, 50]);
        assert_eq!(converted(&ColorProfile::new_gray_with_gamma(1.8), [9, 9, 9]), [9, 9, 9]);
        let image = Rgb { width: 1, height: 1, pixels: vec![1, 2, 3] };
        assert_eq!(to_srgb(image, Some(b"no profile")).pixels, [1, 2, 3]);
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(noise: Vec<u8>, at in 0usize..600, byte: u8) {
            let mut profile = ColorProfile::new_display_p3().encode().unwrap();
            convert(&[1, 2, 3], &noise);
            if let Some(place) = profile.get_mut(at) {
                *place = byte;
            }
            convert(&[1, 2, 3], &profile);
        }
    }
}
