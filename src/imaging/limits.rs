//! Limits that several readers of files share.

use super::error::ImageError;

/// Largest ICC profile that is read, in bytes. Real profiles have 500 bytes to 600 kB, CMYK profiles up to 2.5 MB.
pub(super) const MAX_PROFILE_BYTES: usize = 4 << 20;

/// Checks that a declared size is not zero, and at most `max` pixels. Callers do this before they allocate for the size.
pub(super) fn check_size(width: u64, height: u64, max: u64) -> Result<(u32, u32), ImageError> {
    if width == 0 || height == 0 {
        return Err(ImageError::Empty);
    }
    let too_many = ImageError::TooManyPixels { width, height, max };
    if width.checked_mul(height).is_none_or(|pixels| pixels > max) {
        return Err(too_many);
    }
    Ok((u32::try_from(width).map_err(|_| too_many)?, u32::try_from(height).map_err(|_| too_many)?))
}
