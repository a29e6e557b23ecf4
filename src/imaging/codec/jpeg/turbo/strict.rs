//! Decides which warnings of libjpeg-turbo make a photo unacceptable.
//!
//! Data that ends early or does not decode is an error. Lenient decoders fill the missing pixels with grey and report success.

use std::time::Duration;

use super::ffi::Complaint;
use super::survey::Survey;
use crate::imaging::codec::jpeg::markers;
use crate::imaging::error::ImageError;
use crate::imaging::work_budget::WorkBudget;

/// Zeros at the end of a file that count as padding.
const FILLING: usize = 16;

/// Decodes a file and accepts only warnings that leave all pixels intact.
///
/// The library keeps only the text of its first warning, so a harmless warning could hide a harmful one. This function removes
/// the cause of the first and decodes again, which must give no warning. A call of `decode` cannot be stopped, so `budget` must
/// admit `longest` before each.
pub(super) fn decode(
    file: &[u8],
    survey: &Survey,
    longest: Duration,
    budget: &WorkBudget<'_>,
    mut decode: impl FnMut(&[u8]) -> Result<(), Complaint>,
) -> Result<(), ImageError> {
    let mut decode = |file: &[u8]| -> Result<Result<(), Complaint>, ImageError> {
        budget.admit(longest)?;
        Ok(decode(file))
    };
    let Err(complaint) = decode(file)? else { return Ok(()) };
    let has_end = survey.has_end;
    // Without an end marker the pixels may be complete. Zeros after the last of several scans could be a part of it.
    let can_lack_end = has_end || survey.has_one_scan || (survey.is_complete && !file.ends_with(&[0, 0]));
    // Some cameras fill their last block with zeros and omit the end marker and all restart markers. The library gives the same
    // warning for an end marker in place of a restart marker. Zeros are valid data.
    let is_filled = !has_end && file.ends_with(&[0; FILLING]);
    let is_whole = is_filled || survey.has_restarts;
    let is_behind_pixels = |complaint: &Complaint| complaint.is_behind_pixels() && is_whole;
    if is_behind_pixels(&complaint) && can_lack_end {
        return Ok(());
    }
    let error = complaint.meaning();
    let is_worth_another = complaint.is_harmless() || (!has_end && error == ImageError::Truncated);
    if !is_worth_another || !can_lack_end {
        return Err(if is_worth_another { ImageError::Truncated } else { error });
    }
    let tidied = markers::tidied(file, has_end).ok_or(ImageError::Corrupt)?;
    match decode(&tidied)? {
        Err(complaint) if !is_behind_pixels(&complaint) => Err(complaint.meaning()),
        _ => Ok(()),
    }
}

impl Complaint {
    fn says(&self, part: &str) -> bool {
        self.0.contains(part)
    }

    /// Returns whether a warning is about the header or the gaps between segments, and occurs in photos of real phones.
    pub(super) fn is_harmless(&self) -> bool {
        let harmless = [
            "extraneous bytes before marker",
            "unknown JFIF revision",
            "Unknown Adobe color",
            "Invalid SOS parameters",
            "bad ICC marker",
        ];
        harmless.iter().any(|part| self.says(part))
    }

    /// Returns whether the first warning is about bytes between the last pixel and the end marker.
    fn is_behind_pixels(&self) -> bool {
        self.says("extraneous bytes before marker 0xd9")
    }

    /// Maps a text of the library (libjpeg's `jerror.h`) to an error.
    pub(super) fn meaning(&self) -> ImageError {
        if self.says("Premature end of") || self.says("premature end of") {
            ImageError::Truncated
        } else if self.says("Empty JPEG image") {
            ImageError::Empty
        } else if self.says("Backing store") || self.says("Insufficient memory") {
            ImageError::TooMuchMemory
        } else if ["Unsupported JPEG", "Unsupported color conversion", "data precision", "not supported"]
            .iter()
            .any(|part| self.says(part))
        {
            ImageError::Unsupported
        } else if self.says("more than") && self.says("scans") {
            ImageError::TooSlow
        } else {
            ImageError::Corrupt
        }
    }
}
