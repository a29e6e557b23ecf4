//! A component of a frame.

#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Part {
    pub(super) id: u8,
    /// Horizontal sampling factor, 1..=4.
    pub(super) across: u8,
    /// Vertical sampling factor, 1..=4.
    pub(super) down: u8,
    pub(super) quant: u8,
    pub(super) dc: u8,
    pub(super) ac: u8,
}
