//! The layout of what a decoder writes: colour model, components and sizes.

/// The meaning of a picture's components.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Model {
    Grey,
    /// Luma and two chroma components: full-range BT.601, as in JFIF. The canvas halves both sides of chroma.
    YCbCr,
    Rgb,
    Cmyk {
        /// True if 255 means no ink, false if it means full ink.
        is_inverted: bool,
    },
    /// CMYK whose first three inks are stored as if they were RGB converted to luma and chroma.
    Ycck {
        /// True if 255 means no ink.
        is_inverted: bool,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Component {
    /// Samples a row.
    pub(super) width: usize,
    pub(super) height: usize,
    /// Decoded pixels that a sample covers from left to right.
    pub(super) across: usize,
    /// Decoded pixels that a sample covers from top to bottom.
    pub(super) down: usize,
}

impl Component {
    /// Returns the component of a picture of `width` x `height` decoded pixels.
    pub(super) fn of(width: u32, height: u32, across: u32, down: u32) -> Self {
        Self {
            width: width.div_ceil(across) as usize,
            height: height.div_ceil(down) as usize,
            across: across as usize,
            down: down as usize,
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Layout {
    /// Declared pixels across.
    pub(super) width: u32,
    /// Declared pixels down.
    pub(super) height: u32,
    /// The factor by which the decoder divides both sides.
    pub(super) divisor: u32,
    pub(super) model: Model,
    pub(super) components: Vec<Component>,
}
