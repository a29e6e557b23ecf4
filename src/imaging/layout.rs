//! What a decoder will write: the colour model, the components and their sizes.

/// What the components of a picture mean.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Model {
    /// Luma alone.
    Grey,
    /// Luma and two of chroma: full-range BT.601, as JFIF has it. Chroma comes out at half the size each way.
    YCbCr,
    /// Red, green, blue.
    Rgb,
    /// Cyan, magenta, yellow and black.
    Cmyk {
        /// Whether 255 is no ink, rather than full ink.
        is_inverted: bool,
    },
    /// The same four, the first three as if they were red, green and blue turned into luma and chroma.
    Ycck {
        /// As above.
        is_inverted: bool,
    },
}

/// One component as a decoder gives it.
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
    /// The component of a picture of `width` x `height` decoded pixels.
    pub(super) fn of(width: u32, height: u32, across: u32, down: u32) -> Self {
        Self {
            width: width.div_ceil(across) as usize,
            height: height.div_ceil(down) as usize,
            across: across as usize,
            down: down as usize,
        }
    }
}

/// What a decoder will give.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Layout {
    /// Declared pixels across.
    pub(super) width: u32,
    /// Declared pixels down.
    pub(super) height: u32,
    /// By how much the decoder divides both.
    pub(super) divisor: u32,
    pub(super) model: Model,
    pub(super) components: Vec<Component>,
}
