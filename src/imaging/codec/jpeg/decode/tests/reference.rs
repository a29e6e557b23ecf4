//! libjpeg-turbo as the reference, through its raw interface.

use std::ffi::CStr;

use turbojpeg::{libc::c_int, raw};

/// A handle that is destroyed on drop.
struct Handle(raw::tjhandle);

impl Handle {
    fn new(kind: raw::TJINIT) -> Self {
        // SAFETY: `tj3Init` takes no pointers.
        let handle = unsafe { raw::tj3Init(kind.try_into().unwrap()) };
        assert!(!handle.is_null());
        Self(handle)
    }

    fn set(&self, parameter: raw::TJPARAM, value: usize) {
        // SAFETY: the handle is live.
        let status = unsafe { raw::tj3Set(self.0, parameter.try_into().unwrap(), int(value)) };
        assert_eq!(status, 0, "{parameter}");
    }

    fn get(&self, parameter: raw::TJPARAM) -> c_int {
        // SAFETY: the handle is live.
        unsafe { raw::tj3Get(self.0, parameter.try_into().unwrap()) }
    }

    fn check(&self, status: c_int) -> Result<(), String> {
        // SAFETY: the handle is live, and so is its text until the next call.
        let text = || unsafe { CStr::from_ptr(raw::tj3GetErrorStr(self.0)) }.to_string_lossy().into_owned();
        // Warnings that do not affect pixels: an incomplete profile, padding, and a transform that both decoders read alike.
        let harmless = ["bad ICC marker", "extraneous bytes before marker 0xd", "Unknown Adobe color"];
        if status == 0 || harmless.iter().any(|part| text().contains(part)) { Ok(()) } else { Err(text()) }
    }

    fn read_header(&self, file: &[u8]) -> Result<(), String> {
        // SAFETY: pointer and length are of one slice.
        let status =
            unsafe { raw::tj3DecompressHeader(self.0, file.as_ptr(), file.len().try_into().unwrap()) };
        self.check(status)
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        // SAFETY: the handle is live, and is not used after this.
        unsafe { raw::tj3Destroy(self.0) };
    }
}

fn int(value: usize) -> c_int {
    value.try_into().unwrap()
}

/// Samples of one component, rows without padding.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Plane {
    pub(super) width: usize,
    pub(super) height: usize,
    pub(super) samples: Vec<u8>,
}

/// Returns the planes of `file`, or `None` if the library has no name for the subsampling. The file may lack its end.
pub(super) fn planes(file: &[u8], divisor: u8) -> Result<Option<Vec<Plane>>, String> {
    // Without an end, the library gives a truncated file and one whose pixels are complete the same warning.
    let file = &[file, &[0xFF, 0xD9]].concat();
    let handle = Handle::new(raw::TJINIT_TJINIT_DECOMPRESS);
    handle.read_header(file)?;
    let subsampling = handle.get(raw::TJPARAM_TJPARAM_SUBSAMP);
    if subsampling < 0 {
        return Ok(None);
    }
    let factor = raw::tjscalingfactor { num: 1, denom: divisor.into() };
    // SAFETY: the handle is live.
    handle.check(unsafe { raw::tj3SetScalingFactor(handle.0, factor) })?;
    let side = |parameter| (usize::try_from(handle.get(parameter)).unwrap()).div_ceil(divisor.into());
    let (width, height) = (side(raw::TJPARAM_TJPARAM_JPEGWIDTH), side(raw::TJPARAM_TJPARAM_JPEGHEIGHT));
    let count = if subsampling == int(raw::TJSAMP_TJSAMP_GRAY as usize) { 1 } else { 3 };
    let mut planes: Vec<Plane> = (0..count)
        .map(|component| {
            // SAFETY: these functions take no pointers.
            let [width, height] = unsafe {
                [
                    raw::tj3YUVPlaneWidth(component, int(width), subsampling),
                    raw::tj3YUVPlaneHeight(component, int(height), subsampling),
                ]
            }
            .map(|side| usize::try_from(side).unwrap());
            Plane { width, height, samples: vec![0; width * height] }
        })
        .collect();
    let mut places = [std::ptr::null_mut(); 3];
    let mut strides = [0; 3];
    for ((plane, place), stride) in planes.iter_mut().zip(&mut places).zip(&mut strides) {
        (*place, *stride) = (plane.samples.as_mut_ptr(), int(plane.width));
    }
    // SAFETY: the planes have the sizes that the library computes from the header of this same file.
    let status = unsafe {
        raw::tj3DecompressToYUVPlanes8(
            handle.0,
            file.as_ptr(),
            file.len().try_into().unwrap(),
            places.as_mut_ptr(),
            strides.as_mut_ptr(),
        )
    };
    handle.check(status)?;
    Ok(Some(planes))
}

/// Returns the pixels of a file of four inks, 4 bytes each.
pub(super) fn inks(file: &[u8]) -> Result<Vec<u8>, String> {
    let handle = Handle::new(raw::TJINIT_TJINIT_DECOMPRESS);
    handle.read_header(file)?;
    let [width, height] = [raw::TJPARAM_TJPARAM_JPEGWIDTH, raw::TJPARAM_TJPARAM_JPEGHEIGHT]
        .map(|side| usize::try_from(handle.get(side)).unwrap());
    let mut pixels = vec![0; 4 * width * height];
    let length = file.len().try_into().unwrap();
    // SAFETY: the buffer has room for all rows of 4-byte pixels. A pitch of 0 means rows without padding.
    let status = unsafe {
        raw::tj3Decompress8(handle.0, file.as_ptr(), length, pixels.as_mut_ptr(), 0, raw::TJPF_TJPF_CMYK)
    };
    handle.check(status)?;
    Ok(pixels)
}

/// How to encode.
#[derive(Debug, Clone, Copy)]
pub(super) struct Recipe {
    pub(super) subsampling: raw::TJSAMP,
    pub(super) quality: usize,
    /// MCUs between restart markers.
    pub(super) restart: usize,
    pub(super) optimise: bool,
    pub(super) progressive: bool,
    /// One of `TJCS_*`; `None` leaves the choice to the library.
    pub(super) colours: Option<raw::TJCS>,
}

/// Encodes `pixels` of 3 bytes each, or of 4 inks.
pub(super) fn encode(pixels: &[u8], width: usize, height: usize, recipe: Recipe) -> Vec<u8> {
    let is_inks = pixels.len() == 4 * width * height;
    assert!(is_inks || pixels.len() == 3 * width * height);
    let handle = Handle::new(raw::TJINIT_TJINIT_COMPRESS);
    handle.set(raw::TJPARAM_TJPARAM_SUBSAMP, recipe.subsampling as usize);
    handle.set(raw::TJPARAM_TJPARAM_QUALITY, recipe.quality);
    handle.set(raw::TJPARAM_TJPARAM_RESTARTBLOCKS, recipe.restart);
    handle.set(raw::TJPARAM_TJPARAM_OPTIMIZE, recipe.optimise.into());
    handle.set(raw::TJPARAM_TJPARAM_PROGRESSIVE, recipe.progressive.into());
    if let Some(colours) = recipe.colours {
        handle.set(raw::TJPARAM_TJPARAM_COLORSPACE, colours as usize);
    }
    let format = if is_inks { raw::TJPF_TJPF_CMYK } else { raw::TJPF_TJPF_RGB };
    let (mut file, mut length) = (std::ptr::null_mut(), 0);
    // SAFETY: the pixels are as many as the sizes say; the library allocates the file.
    let status = unsafe {
        let (width, height) = (int(width), int(height));
        raw::tj3Compress8(handle.0, pixels.as_ptr(), width, 0, height, format, &raw mut file, &raw mut length)
    };
    handle.check(status).unwrap();
    // SAFETY: the library allocated this many bytes. They are copied before they are freed.
    unsafe {
        let copy = std::slice::from_raw_parts(file, length.try_into().unwrap()).to_vec();
        raw::tj3Free(file.cast());
        copy
    }
}
