//! The planes of a JPEG from libjpeg-turbo, without ever making pixels of them.
//!
//! The safe bindings write behind their buffer when a file's subsampling is not the one they guess, so this module
//! speaks to TurboJPEG 3 itself. It is the only one that does. Its functions are sound for all arguments: every size is
//! computed from the header of the same bytes that are decoded, by the library's own formulas.
#![allow(unsafe_code)]

use std::ffi::{CStr, c_int, c_uchar, c_void};
use std::ptr::NonNull;

use turbojpeg::raw;

use crate::imaging::plane::Plane;
use crate::imaging::workspace::Workspace;

/// Shortest side of a scaled picture whose planes are decoded.
const MIN_SCALED_SIDE: c_int = 8;

/// What the library may spend on one file.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    /// Scans of a progressive file.
    pub(super) scans: u32,
    /// Width x height.
    pub(super) pixels: u64,
    /// Bytes of working memory: coefficients, above all.
    pub(super) memory: u64,
}

/// The library's words about what went wrong, or what it wondered at though it decoded the rest.
#[derive(Debug)]
pub(super) struct Complaint(pub(super) String);

/// A TurboJPEG instance.
struct Instance(NonNull<c_void>);

impl Drop for Instance {
    fn drop(&mut self) {
        // SAFETY: the handle came from tj3Init and is used nowhere after this.
        unsafe { raw::tj3Destroy(self.0.as_ptr()) }
    }
}

impl Instance {
    fn new(kind: raw::TJINIT) -> Result<Self, Complaint> {
        // SAFETY: takes a number; an unknown one gives a null handle.
        let handle = unsafe { raw::tj3Init(number(kind)) };
        NonNull::new(handle).map(Self).ok_or_else(|| Complaint("no instance".to_owned()))
    }

    fn set(&mut self, parameter: raw::TJPARAM, value: u64) -> Result<(), Complaint> {
        let value = c_int::try_from(value).unwrap_or(c_int::MAX);
        // SAFETY: the handle is live; unknown parameters and values are answered with an error.
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
        // SAFETY: the handle is live, and the text is a C string that stays until its next call.
        let text = unsafe { CStr::from_ptr(raw::tj3GetErrorStr(self.0.as_ptr())) };
        Err(Complaint(text.to_string_lossy().into_owned()))
    }
}

/// The bindings give the library's enumerators as unsigned numbers, its functions take them as signed ones.
fn number(enumerator: u32) -> c_int {
    c_int::try_from(enumerator).unwrap_or(-1)
}

/// Decodes `file`, both sides divided by `divisor` (1, 2, 4 or 8), into one plane a component.
///
/// The planes come with the complaint if there was one: whatever had been decoded by then is in them, the rest is of no
/// meaning. Planes may be up to three samples wider and higher than the picture, whose sides are rounded up to whole chroma samples.
///
/// # Errors
/// The library reads no planes out of such a file.
pub(super) fn decode(
    file: &[u8],
    divisor: u32,
    limits: &Limits,
    workspace: &mut Workspace,
) -> Result<(Vec<Plane>, Result<(), Complaint>), Complaint> {
    let mut instance = Instance::new(raw::TJINIT_TJINIT_DECOMPRESS)?;
    instance.set(raw::TJPARAM_TJPARAM_SCANLIMIT, limits.scans.into())?;
    instance.set(raw::TJPARAM_TJPARAM_MAXPIXELS, limits.pixels)?;
    instance.set(raw::TJPARAM_TJPARAM_MAXMEMORY, limits.memory.div_ceil(1 << 20).max(1))?;
    // SAFETY: pointer and length are those of a live slice.
    let status =
        unsafe { raw::tj3DecompressHeader(instance.0.as_ptr(), file.as_ptr(), file.len() as raw::size_t) };
    // A warning in the header leaves it readable, and comes again below.
    let header = instance.check(status);
    let (width, height, subsampling) = (
        instance.get(raw::TJPARAM_TJPARAM_JPEGWIDTH),
        instance.get(raw::TJPARAM_TJPARAM_JPEGHEIGHT),
        instance.get(raw::TJPARAM_TJPARAM_SUBSAMP),
    );
    if width <= 0 || height <= 0 || subsampling < 0 {
        return Err(header.err().unwrap_or(Complaint("no planes".to_owned())));
    }
    let divisor = number(divisor);
    let factor = raw::tjscalingfactor { num: 1, denom: divisor };
    // SAFETY: the handle is live; a factor that does not exist is answered with an error.
    let status = unsafe { raw::tj3SetScalingFactor(instance.0.as_ptr(), factor) };
    instance.check(status)?;
    let scaled = |side: c_int| (side - 1) / divisor + 1;
    // Of a scaled picture narrower than the padding of its planes the library reads a few bytes beyond its own buffer.
    if divisor > 1 && scaled(width).min(scaled(height)) < MIN_SCALED_SIDE {
        return Err(Complaint("no planes of so narrow a picture".to_owned()));
    }
    let components = if subsampling == raw::TJSAMP_TJSAMP_GRAY { 0..1 } else { 0..3 };
    let mut planes = Vec::with_capacity(components.len());
    for component in components {
        // SAFETY: pure functions of numbers.
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
    // the plane's width for the distance between rows. A file of four components is refused by the library.
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
