//! What a decoder will write: the colour model, the components and their sizes.

/// What the components of a picture mean.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Model {
    /// Luma alone.
    Grey,
    /// Luma and two chroma components: full-range BT.601, as in JFIF. The canvas halves both sides of chroma.
    YCbCr,
    /// Red, green, blue.
    Rgb,
    /// Cyan, magenta, yellow and black.
    Cmyk {
        /// Whether 255 means no ink. Otherwise it means full ink.
        is_inverted: bool,
    },
    /// CMYK whose first three inks are stored as if they were RGB converted to luma and chroma.
    Ycck {
        /// Whether 255 means no ink.
        is_inverted: bool,
    },
}

/// The size of one component as the decoder writes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Component {
    /// Samples a row.
    pub(super) width: usize,
    /// Rows.
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

/// What a decoder writes to the canvas.
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
