//! The bytes that keep start codes out of NAL units.

/// Returns the payload of a NAL unit without the bytes that keep start codes out of it (ITU-T H.265 section 7.4.2).
pub(super) fn unescaped(payload: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(payload.len() + 4);
    let mut from = 0;
    for escape in memchr::memmem::find_iter(payload, b"\0\0\x03") {
        bytes.extend_from_slice(payload.get(from..escape + 2).unwrap_or_default());
        from = escape + 3;
    }
    bytes.extend_from_slice(payload.get(from..).unwrap_or_default());
    bytes
}
