//! Writes arbitrary values and asserts that another reader finds the same ones.

use std::collections::BTreeMap;

use ::exif::{Context, Field, In, Reader, Value as Read};
use proptest::collection::{btree_map, vec};
use proptest::prelude::*;

use super::super::allow_list::Kept;
use super::super::value::{Tags, Value};
use super::super::write::app1;

const POINTERS: [u16; 3] = [0x8769, 0x8825, 0xA005];

/// Generates values of any type, including values that the allow-list drops.
fn value() -> impl Strategy<Value = Value> {
    prop_oneof![
        "\\PC{1,40}".prop_map(Value::Text),
        any::<u8>().prop_map(Value::Byte),
        any::<u16>().prop_map(Value::Short),
        any::<u32>().prop_map(Value::Long),
        any::<u32>().prop_map(Value::Version),
        any::<[u8; 4]>().prop_map(Value::Characters),
        vec(any::<[u32; 2]>(), 1..5).prop_map(Value::Rationals),
        vec(any::<[u32; 2]>(), 1..5).prop_map(Value::SignedRationals),
    ]
}

fn tags(numbers: impl Strategy<Value = u16>) -> impl Strategy<Value = Tags> {
    btree_map(numbers.prop_filter("a reference", |tag| !POINTERS.contains(tag)), value(), 0..60)
}

fn is_same(read: &Read, written: &Value) -> bool {
    match (read, written) {
        (Read::Ascii(texts), Value::Text(text)) => matches!(&texts[..], [only] if *only == text.as_bytes()),
        (Read::Byte(bytes), Value::Byte(byte)) => *bytes == [*byte],
        (Read::Byte(bytes), Value::Version(version)) => *bytes == version.to_be_bytes(),
        (Read::Undefined(bytes, _), Value::Characters(characters)) => bytes == characters,
        (Read::Short(numbers), Value::Short(number)) => *numbers == [*number],
        (Read::Long(numbers), Value::Long(number)) => *numbers == [*number],
        (Read::Rational(fractions), Value::Rationals(pairs)) => {
            fractions.iter().map(|fraction| [fraction.num, fraction.denom]).eq(pairs.iter().copied())
        }
        (Read::SRational(fractions), Value::SignedRationals(pairs)) => fractions
            .iter()
            .map(|fraction| [fraction.num.cast_unsigned(), fraction.denom.cast_unsigned()])
            .eq(pairs.iter().copied()),
        _ => false,
    }
}

/// Returns an upper bound of the bytes of the tags in an IFD.
fn size(tags: &Tags) -> usize {
    let value = |value: &Value| match value {
        Value::Text(text) => text.len() + 1,
        Value::Rationals(pairs) | Value::SignedRationals(pairs) => 8 * pairs.len(),
        Value::Byte(_) | Value::Short(_) | Value::Long(_) | Value::Version(_) | Value::Characters(_) => 0,
    };
    2 + 4 + 3 + tags.values().map(|tag| 12 + value(tag) + 3).sum::<usize>()
}

fn assert_reads_as(kept: &Kept, fields: &[&Field]) {
    let fixed = [
        (Context::Tiff, 0x0112, Value::Short(1)),
        (Context::Exif, 0x9000, Value::Characters(*b"0232")),
        (Context::Exif, 0xA001, Value::Short(1)),
        (Context::Exif, 0xA002, Value::Long(1600)),
        (Context::Exif, 0xA003, Value::Long(1200)),
    ];
    let mut expected = BTreeMap::new();
    for (context, tags) in
        [(Context::Tiff, &kept.ifd0), (Context::Exif, &kept.exif), (Context::Gps, &kept.gps)]
    {
        expected.extend(tags.iter().map(|(tag, value)| ((format!("{context:?}"), *tag), value)));
    }
    expected.extend(fixed.iter().map(|(context, tag, value)| ((format!("{context:?}"), *tag), value)));
    for field in fields {
        assert_eq!(field.ifd_num, In::PRIMARY);
        let written = expected.remove(&(format!("{:?}", field.tag.context()), field.tag.number()));
        let written = written.unwrap_or_else(|| panic!("{field:?} was not written, or twice"));
        assert!(is_same(&field.value, written), "{field:?} is not {written:?}");
    }
    assert!(expected.is_empty(), "{expected:?}");
}

#[test]
fn block_larger_than_a_segment_is_not_written() {
    let named = |length| {
        let ifd0 = Tags::from([(0x010F, Value::Text("x".repeat(length)))]);
        app1(Kept { ifd0, ..Kept::default() }, 1600, 1200)
    };
    assert!(named(65_000).is_some_and(|segment| segment.len() < 65_536));
    assert_eq!(named(65_500), None);
    assert_eq!(named(200_000), None);
}

proptest! {
    #[test]
    fn written_values_are_read_back(
        ifd0 in tags(0x0001..0x8769u16),
        exif in tags(any::<u16>()),
        gps in tags(any::<u16>()),
    ) {
        let kept = || Kept { ifd0: ifd0.clone(), exif: exif.clone(), gps: gps.clone() };
        let segment = app1(kept(), 1600, 1200);
        if kept().is_empty() {
            prop_assert!(segment.is_none());
            return Ok(());
        }
        let segment = segment.unwrap();
        let added = 8 + 4 * 12 + 2 * 12;
        let most = 10 + 8 + size(&ifd0) + size(&exif) + size(&gps) + added;
        prop_assert!(segment.len() <= most, "{} bytes, {most} expected at most", segment.len());
        prop_assert_eq!(usize::from(u16::from_be_bytes([segment[2], segment[3]])), segment.len() - 2);
        let block = segment.strip_prefix(&[0xFF, 0xE1]).and_then(|rest| rest[2..].strip_prefix(b"Exif\0\0"));
        let read = Reader::new().read_raw(block.unwrap().to_vec()).unwrap();
        assert_reads_as(&kept(), &read.fields().collect::<Vec<_>>());
    }
}
