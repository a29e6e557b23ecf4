//! Calls TurboJPEG 3 for the header, the planes and the pixels of a JPEG.
//!
//! The safe bindings write past their buffer if a file's subsampling is not the one they guess, and have no setter for the
//! memory limit. So this module, and no other, calls TurboJPEG 3. Its functions are sound for all arguments: the library's own
//! formulas compute every size from the header of the same bytes that are decoded.
#![allow(unsafe_code)]

use std::ffi::{CStr, c_int, c_uchar, c_void};
use std::ptr::NonNull;

use turbojpeg::raw;

use crate::imaging::codec::jpeg::markers;
use crate::imaging::layout::Model;
use crate::imaging::plane::Plane;
use crate::imaging::workspace::Workspace;

const MIN_SCALED_SIDE: c_int = 8;

/// Limits that the library enforces for one file.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    /// Scans of a file, at least 1.
    pub(super) scans: u32,
    /// Width x height.
    pub(super) pixels: u64,
    /// Bytes of working memory, which are mostly coefficients.
    pub(super) memory: u64,
}

/// The header as the library reads it.
#[derive(Debug)]
pub(super) struct Header {
    pub(super) width: u64,
    pub(super) height: u64,
    /// The meaning of the components. The library converts inks from luma and chroma where a file stores those.
    pub(super) model: Model,
    /// Luma samples that a chroma sample covers across and down. `None` if the library cannot return such planes.
    pub(super) chroma: Option<(u32, u32)>,
    pub(super) is_lossless: bool,
}

/// The text of an error, or of a warning after which the library decoded the rest.
#[derive(Debug)]
pub(super) struct Complaint(pub(super) String);

struct Instance(NonNull<c_void>);

impl Drop for Instance {
    fn drop(&mut self) {
        // SAFETY: the handle came from tj3Init and is not used after this.
        unsafe { raw::tj3Destroy(self.0.as_ptr()) }
    }
}

impl Instance {
    fn new(kind: raw::TJINIT) -> Result<Self, Complaint> {
        // SAFETY: the function takes a number. An unknown one gives a null handle.
        let handle = unsafe { raw::tj3Init(number(kind)) };
        NonNull::new(handle).map(Self).ok_or_else(|| Complaint("no instance".to_owned()))
    }

    /// Creates an instance that decodes one file within `limits`.
    fn decompressor(limits: &Limits) -> Result<Self, Complaint> {
        let mut instance = Self::new(raw::TJINIT_TJINIT_DECOMPRESS)?;
        // By default the library keeps a copy of every APP2 segment. The profile is read elsewhere.
        instance.set(raw::TJPARAM_TJPARAM_SAVEMARKERS, 0)?;
        instance.set(raw::TJPARAM_TJPARAM_SCANLIMIT, limits.scans.into())?;
        instance.set(raw::TJPARAM_TJPARAM_MAXPIXELS, limits.pixels)?;
        instance.set(raw::TJPARAM_TJPARAM_MAXMEMORY, limits.memory.div_ceil(1 << 20).max(1))?;
        Ok(instance)
    }

    /// Reads the header of `file`. After a warning its fields are still readable.
    fn read_header(&mut self, file: &[u8]) -> Result<(), Complaint> {
        // SAFETY: the handle is live; pointer and length are those of a live slice.
        let status =
            unsafe { raw::tj3DecompressHeader(self.0.as_ptr(), file.as_ptr(), file.len() as raw::size_t) };
        self.check(status)
    }

    /// Divides both sides of what is decoded by `divisor`.
    fn scale(&mut self, divisor: c_int) -> Result<(), Complaint> {
        let factor = raw::tjscalingfactor { num: 1, denom: divisor };
        // SAFETY: the handle is live. The library returns an error for an unknown factor.
        let status = unsafe { raw::tj3SetScalingFactor(self.0.as_ptr(), factor) };
        self.check(status)
    }

    fn set(&mut self, parameter: raw::TJPARAM, value: u64) -> Result<(), Complaint> {
        let value = c_int::try_from(value).unwrap_or(c_int::MAX);
        // SAFETY: the handle is live. The library returns an error for unknown parameters and values.
        self.check(unsafe { raw::tj3Set(self.0.as_ptr(), number(parameter), value) })
    }

    fn get(&mut self, parameter: raw::TJPARAM) -> c_int {
        // SAFETY: as in `set`.
        unsafe { raw::tj3Get(self.0.as_ptr(), number(parameter)) }
    }

    fn check(&mut self, status: c_int) -> Result<(), Complaint> {
        if status == 0 {
            return Ok(());
        }
        // SAFETY: the handle is live, and the text is a C string that is valid until its next call.
        let text = unsafe { CStr::from_ptr(raw::tj3GetErrorStr(self.0.as_ptr())) };
        Err(Complaint(text.to_string_lossy().into_owned()))
    }
}

/// Converts an enumerator: the bindings have unsigned ones, the library's functions take signed ones.
fn number(enumerator: u32) -> c_int {
    c_int::try_from(enumerator).unwrap_or(-1)
}

/// Reads the header of `file`. Fails if the library refuses the header or warns of it.
pub(super) fn header(file: &[u8]) -> Result<Header, Complaint> {
    let mut instance = Instance::decompressor(&Limits { scans: 1, pixels: 0, memory: 0 })?;
    instance.read_header(file)?;
    let side = |side: c_int| u64::try_from(side).unwrap_or(0);
    Ok(Header {
        width: side(instance.get(raw::TJPARAM_TJPARAM_JPEGWIDTH)),
        height: side(instance.get(raw::TJPARAM_TJPARAM_JPEGHEIGHT)),
        model: match u32::try_from(instance.get(raw::TJPARAM_TJPARAM_COLORSPACE)) {
            Ok(raw::TJCS_TJCS_GRAY) => Model::Grey,
            Ok(raw::TJCS_TJCS_YCbCr) => Model::YCbCr,
            Ok(raw::TJCS_TJCS_RGB) => Model::Rgb,
            Ok(raw::TJCS_TJCS_CMYK | raw::TJCS_TJCS_YCCK) => {
                Model::Cmyk { is_inverted: markers::has_adobe(file) }
            }
            _ => return Err(Complaint("no colours".to_owned())),
        },
        chroma: match instance.get(raw::TJPARAM_TJPARAM_SUBSAMP) {
            raw::TJSAMP_TJSAMP_444 | raw::TJSAMP_TJSAMP_GRAY => Some((1, 1)),
            raw::TJSAMP_TJSAMP_422 => Some((2, 1)),
            raw::TJSAMP_TJSAMP_420 => Some((2, 2)),
            raw::TJSAMP_TJSAMP_440 => Some((1, 2)),
            raw::TJSAMP_TJSAMP_411 => Some((4, 1)),
            raw::TJSAMP_TJSAMP_441 => Some((1, 4)),
            _ => None,
        },
        is_lossless: instance.get(raw::TJPARAM_TJPARAM_LOSSLESS) != 0,
    })
}

/// Decodes `file`, both sides divided by `divisor` (1, 2, 4 or 8), into `pixels` of `channels` bytes: 1 (grey), 3 (red, green,
/// blue) or 4 (inks). Fails if the library warns or fails, or if `pixels` has another size than the picture. `pixels` then
/// contains what was decoded before.
pub(super) fn decode_pixels(
    file: &[u8],
    divisor: u32,
    channels: usize,
    limits: &Limits,
    pixels: &mut [u8],
) -> Result<(), Complaint> {
    let mut instance = Instance::decompressor(limits)?;
    // After a warning the header is readable, and the decode below repeats the warning.
    let header = instance.read_header(file);
    let divisor = number(divisor);
    instance.scale(divisor)?;
    let scaled = |side: c_int| usize::try_from((side - 1) / divisor + 1).unwrap_or(0);
    let width = scaled(instance.get(raw::TJPARAM_TJPARAM_JPEGWIDTH));
    let height = scaled(instance.get(raw::TJPARAM_TJPARAM_JPEGHEIGHT));
    let format = match channels {
        1 => raw::TJPF_TJPF_GRAY,
        3 => raw::TJPF_TJPF_RGB,
        _ => raw::TJPF_TJPF_CMYK,
    };
    if pixels.is_empty() || width * height * channels != pixels.len() {
        return Err(header.err().unwrap_or(Complaint("no pixels".to_owned())));
    }
    // SAFETY: the file is a live slice. The buffer is live and has the scaled width x height, which the library computed from
    // the header of this same file, times the bytes of a pixel of this format. A pitch of 0 is the width of a row.
    let status = unsafe {
        raw::tj3Decompress8(
            instance.0.as_ptr(),
            file.as_ptr(),
            file.len() as raw::size_t,
            pixels.as_mut_ptr(),
            0,
            format,
        )
    };
    instance.check(status)
}

/// Decodes `file`, both sides divided by `divisor` (1, 2, 4 or 8), into one plane a component. Fails if that is impossible.
///
/// Returns the planes with the library's warning, if any. Samples after the point of the warning are undefined. Planes may be
/// up to three samples wider and higher than the picture, because its sides are rounded up to whole chroma samples.
pub(super) fn decode(
    file: &[u8],
    divisor: u32,
    limits: &Limits,
    workspace: &mut Workspace,
) -> Result<(Vec<Plane>, Result<(), Complaint>), Complaint> {
    let mut instance = Instance::decompressor(limits)?;
    // After a warning the header is readable, and the decode below repeats the warning.
    let header = instance.read_header(file);
    let (width, height, subsampling) = (
        instance.get(raw::TJPARAM_TJPARAM_JPEGWIDTH),
        instance.get(raw::TJPARAM_TJPARAM_JPEGHEIGHT),
        instance.get(raw::TJPARAM_TJPARAM_SUBSAMP),
    );
    if width <= 0 || height <= 0 || subsampling < 0 {
        return Err(header.err().unwrap_or(Complaint("no planes".to_owned())));
    }
    let colours = u32::try_from(instance.get(raw::TJPARAM_TJPARAM_COLORSPACE));
    if matches!(colours, Ok(raw::TJCS_TJCS_CMYK | raw::TJCS_TJCS_YCCK)) {
        return Err(Complaint("no planes of inks".to_owned()));
    }
    let divisor = number(divisor);
    instance.scale(divisor)?;
    let scaled = |side: c_int| (side - 1) / divisor + 1;
    // If a scaled picture is narrower than the padding of its planes, the library reads a few bytes beyond its own buffer.
    if divisor > 1 && scaled(width).min(scaled(height)) < MIN_SCALED_SIDE {
        return Err(Complaint("no planes of so narrow a picture".to_owned()));
    }
    let components = if subsampling == raw::TJSAMP_TJSAMP_GRAY { 0..1 } else { 0..3 };
    let mut planes = Vec::with_capacity(components.len());
    for component in components {
        // SAFETY: these are pure functions of numbers.
        let (width, height) = unsafe {
            (
                raw::tj3YUVPlaneWidth(component, scaled(width), subsampling),
                raw::tj3YUVPlaneHeight(component, scaled(height), subsampling),
            )
        };
        let (Ok(width @ 1..), Ok(height @ 1..)) = (usize::try_from(width), usize::try_from(height)) else {
            return Err(Complaint("no planes".to_owned()));
        };
        planes.push(Plane { width, height, samples: workspace.take(width * height) });
    }
    let mut pointers: Vec<*mut c_uchar> =
        planes.iter_mut().map(|plane| plane.samples.as_mut_ptr()).chain([std::ptr::null_mut(); 2]).collect();
    // SAFETY: the file is a live slice. There is a pointer for each component, and each points to a live buffer of the
    // plane's width x height as the library computes them from the header of this same file; without strides it takes
    // the plane's width for the distance between rows. A file of four components was refused above.
    let status = unsafe {
        raw::tj3DecompressToYUVPlanes8(
            instance.0.as_ptr(),
            file.as_ptr(),
            file.len() as raw::size_t,
            pointers.as_mut_ptr(),
            std::ptr::null_mut(),
        )
    };
    let result = instance.check(status);
    Ok((planes, result))
}
