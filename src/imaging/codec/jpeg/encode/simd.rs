//! Chooses between SIMD and portable code by the processor.

use super::fdct::portable;
use super::frame::Frame;
use super::rgb;
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
use crate::imaging::codec::jpeg::dct::has_simd;
use crate::imaging::plane::Plane;
use crate::imaging::recipe::Effort;
use crate::imaging::workspace::Workspace;

/// Converts RGB pixels to planes of luma and chroma.
pub(super) fn planes(pixels: &[u8], width: usize, height: usize, workspace: &mut Workspace) -> [Plane; 3] {
    #[cfg(target_arch = "x86_64")]
    if has_simd() {
        #[allow(unsafe_code, reason = "the only way into code for a processor found at run time")]
        // SAFETY: the line above checked that the processor has all features that the function is compiled for.
        return unsafe { planes_avx2(pixels, width, height, workspace) };
    }
    rgb::planes(pixels, width, height, workspace)
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,bmi1,bmi2")]
fn planes_avx2(pixels: &[u8], width: usize, height: usize, workspace: &mut Workspace) -> [Plane; 3] {
    rgb::planes(pixels, width, height, workspace)
}

/// Encodes the frame to a file.
pub(super) fn run(frame: &Frame<'_>, workspace: &mut Workspace) -> Vec<u8> {
    #[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
    if has_simd() {
        #[allow(unsafe_code, reason = "the only way into code for a processor found at run time")]
        // SAFETY: the line above checked that the processor has all features that the function is compiled for.
        return unsafe {
            match frame.effort {
                Effort::Standard => run_simd::<false>(frame, workspace),
                Effort::Adaptive => run_simd::<true>(frame, workspace),
            }
        };
    }
    run_anywhere(frame, workspace)
}

/// Encodes the frame to a file without SIMD.
pub(super) fn run_anywhere(frame: &Frame<'_>, workspace: &mut Workspace) -> Vec<u8> {
    match frame.effort {
        Effort::Standard => frame.encode(workspace, portable::transform::<false, false>),
        Effort::Adaptive => frame.encode(workspace, portable::transform::<true, false>),
    }
}

#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
#[cfg_attr(target_arch = "x86_64", target_feature(enable = "avx2,bmi1,bmi2"))]
#[cfg_attr(target_arch = "aarch64", target_feature(enable = "neon"))]
fn run_simd<const ADAPTIVE: bool>(frame: &Frame<'_>, workspace: &mut Workspace) -> Vec<u8> {
    use super::fdct::vector;
    frame.encode(workspace, |samples, quant, blocks| {
        vector::transform::<ADAPTIVE, false>(samples, quant, blocks);
    })
}

/// Encodes the frame to a file in one pass. With `is_turned`, the rows of its planes are the columns of the picture.
pub(super) fn run_once(frame: &Frame<'_>, is_turned: bool, workspace: &mut Workspace) -> Vec<u8> {
    #[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
    if has_simd() {
        #[allow(unsafe_code, reason = "the only way into code for a processor found at run time")]
        // SAFETY: the line above checked that the processor has all features that the functions are compiled for.
        return unsafe {
            match (frame.effort, is_turned) {
                (Effort::Standard, false) => run_once_simd::<false, false>(frame, workspace),
                (Effort::Standard, true) => run_once_simd::<false, true>(frame, workspace),
                (Effort::Adaptive, false) => run_once_simd::<true, false>(frame, workspace),
                (Effort::Adaptive, true) => run_once_simd::<true, true>(frame, workspace),
            }
        };
    }
    run_once_anywhere(frame, is_turned, workspace)
}

/// Encodes the frame to a file in one pass without SIMD.
pub(super) fn run_once_anywhere(frame: &Frame<'_>, is_turned: bool, workspace: &mut Workspace) -> Vec<u8> {
    match (frame.effort, is_turned) {
        (Effort::Standard, false) => {
            frame.encode_once::<false>(workspace, portable::transform::<false, false>)
        }
        (Effort::Standard, true) => frame.encode_once::<true>(workspace, portable::transform::<false, true>),
        (Effort::Adaptive, false) => {
            frame.encode_once::<false>(workspace, portable::transform::<true, false>)
        }
        (Effort::Adaptive, true) => frame.encode_once::<true>(workspace, portable::transform::<true, true>),
    }
}

#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
#[cfg_attr(target_arch = "x86_64", target_feature(enable = "avx2,bmi1,bmi2"))]
#[cfg_attr(target_arch = "aarch64", target_feature(enable = "neon"))]
fn run_once_simd<const ADAPTIVE: bool, const TURNED: bool>(
    frame: &Frame<'_>,
    workspace: &mut Workspace,
) -> Vec<u8> {
    use super::fdct::vector;
    frame.encode_once::<TURNED>(workspace, |samples, quant, blocks| {
        vector::transform::<ADAPTIVE, TURNED>(samples, quant, blocks);
    })
}
