//! The context variables of intra slices and their initial states (ITU-T H.265 section 9.3.2.2, tables 9-5 to 9-37 for
//! `initType` 0).

/// First contexts of the syntax elements.
pub(super) const SAO_MERGE: u8 = 0;
pub(super) const SAO_TYPE: u8 = 1;
pub(super) const SPLIT_CU: u8 = 2;
pub(super) const TRANSQUANT_BYPASS: u8 = 5;
pub(super) const PART_MODE: u8 = 6;
pub(super) const PREV_INTRA_LUMA: u8 = 7;
pub(super) const INTRA_CHROMA: u8 = 8;
pub(super) const QP_DELTA: u8 = 9;
pub(super) const SPLIT_TRANSFORM: u8 = 11;
pub(super) const CBF_LUMA: u8 = 14;
pub(super) const CBF_CHROMA: u8 = 16;
pub(super) const TRANSFORM_SKIP: u8 = 21;
pub(super) const CHROMA_QP_OFFSET_FLAG: u8 = 23;
pub(super) const CHROMA_QP_OFFSET_INDEX: u8 = 24;
pub(super) const RES_SCALE_ABS: u8 = 25;
pub(super) const RES_SCALE_SIGN: u8 = 33;
pub(super) const LAST_X: u8 = 35;
pub(super) const LAST_Y: u8 = 53;
pub(super) const CODED_SUB_BLOCK: u8 = 71;
pub(super) const SIGNIFICANT: u8 = 75;
pub(super) const GREATER1: u8 = 119;
pub(super) const GREATER2: u8 = 143;

const COUNT: usize = 149;

const INITIAL: [u8; COUNT] = [
    153, // sao_merge_left_flag, sao_merge_up_flag
    200, // sao_type_idx
    139, 141, 157, // split_cu_flag
    154, // cu_transquant_bypass_flag
    184, // part_mode
    184, // prev_intra_luma_pred_flag
    63,  // intra_chroma_pred_mode
    154, 154, // cu_qp_delta_abs
    153, 138, 138, // split_transform_flag
    111, 141, // cbf_luma
    94, 138, 182, 154, 154, // cbf_cb, cbf_cr
    139, 139, // transform_skip_flag
    154, // cu_chroma_qp_offset_flag
    154, // cu_chroma_qp_offset_idx
    154, 154, 154, 154, 154, 154, 154, 154, // log2_res_scale_abs_plus1
    154, 154, // res_scale_sign_flag
    110, 110, 124, 125, 140, 153, 125, 127, 140, 109, 111, 143, 127, 111, 79, 108, 123,
    63, // last_sig_coeff_x_prefix
    110, 110, 124, 125, 140, 153, 125, 127, 140, 109, 111, 143, 127, 111, 79, 108, 123,
    63, // last_sig_coeff_y_prefix
    91, 171, 134, 141, // coded_sub_block_flag
    111, 111, 125, 110, 110, 94, 124, 108, 124, 107, 125, 141, 179, 153, 125, 107, 125, 141, 179, 153, 125,
    107, 125, 141, 179, 153, 125, 140, 139, 182, 182, 152, 136, 152, 136, 153, 136, 139, 111, 136, 139, 111,
    141, 111, // sig_coeff_flag, the last two without a transform
    140, 92, 137, 138, 140, 152, 138, 139, 153, 74, 149, 92, 139, 107, 122, 152, 140, 179, 166, 182, 140,
    227, 122, 197, // coeff_abs_level_greater1_flag
    138, 153, 136, 167, 152, 152, // coeff_abs_level_greater2_flag
];

/// States of all contexts: `pStateIdx` times two, and the more probable value in the lowest bit. An index of eight bits is
/// never out of range.
pub(super) type Contexts = [u8; 256];

/// Returns the initial states for the quantiser of a slice.
pub(super) fn initial(slice_qp: i32) -> Contexts {
    let qp = slice_qp.clamp(0, 51);
    let mut contexts = [0; 256];
    for (context, value) in contexts.iter_mut().zip(INITIAL) {
        let value = i32::from(value);
        let (slope, offset) = ((value >> 4) * 5 - 45, ((value & 15) << 3) - 16);
        let state = (((slope * qp) >> 4) + offset).clamp(1, 126);
        let (is_one, state) = if state <= 63 { (0, 63 - state) } else { (1, state - 64) };
        *context = (state << 1 | is_one) as u8;
    }
    contexts
}
