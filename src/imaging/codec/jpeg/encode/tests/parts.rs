//! Tests single parts at limits that whole pictures rarely reach.

use super::super::bits::{Codes, Writer};
use super::super::huffman::Table;
use super::super::quant::Quant;
use crate::imaging::recipe::{Coding, Effort};

#[test]
fn multiplied_reciprocal_equals_division() {
    for quality in 1..=100 {
        let of = |effort| Quant::of(Coding { quality, effort });
        for quant in [of(Effort::Standard), of(Effort::Adaptive)].into_iter().flatten() {
            for (index, step) in quant.steps.into_iter().enumerate() {
                let (row, column) = (index / 8, index % 8);
                let divisor = u32::from(step) * 8;
                let part = |table: &[[u16; 8]; 8]| u32::from(table[row][column]);
                for level in (0..8200).step_by(if quality % 10 == 0 { 1 } else { 61 }) {
                    let product = ((level + part(&quant.bias)) * part(&quant.reciprocal)) >> 16;
                    let ours = (product * part(&quant.scale)) >> 16;
                    assert!(product < 1 << 15);
                    assert_eq!(ours, (level + divisor / 2) / divisor, "{level} by {divisor}");
                }
            }
        }
    }
}

#[test]
fn uneven_counts_give_complete_codes_of_16_bits() {
    let fibonacci = || {
        let mut pair = (1_u32, 1_u32);
        std::iter::from_fn(move || {
            pair = (pair.1, pair.0.checked_add(pair.1)?);
            Some(pair.0)
        })
    };
    let lists: [Vec<u32>; 6] = [
        vec![1],
        vec![0, 0, 5],
        vec![u32::MAX; 256],
        fibonacci().collect(),
        (0..256).map(|at| 1 << (at / 8)).collect(),
        fibonacci().chain(vec![1; 100]).collect(),
    ];
    for counts in lists {
        let table = Table::best(&counts);
        let used = counts.iter().filter(|count| **count > 0).count();
        assert_eq!(table.symbols.len(), used);
        assert_eq!(table.lengths.iter().map(|count| usize::from(*count)).sum::<usize>(), used);
        // The code of all ones is free, and no code is used twice.
        let room: u32 =
            (1..).zip(table.lengths).map(|(length, count)| u32::from(count) << (16 - length)).sum();
        assert!(room < 1 << 16, "{counts:?}");
        for (symbol, code, length) in table.codes() {
            assert!(counts[usize::from(symbol)] > 0);
            assert!((1..=16).contains(&length) && code + 1 < 1 << length);
        }
    }
}

#[test]
fn scan_of_ones_contains_no_marker() {
    let mut codes = Codes::default();
    // A code of sixteen ones does not occur in files. Here it makes all bytes 255.
    codes.set(0, 0xFFFF, 16);
    codes.set(16, 0b0, 1);
    for (ones, shift) in [(1, 0), (3, 0), (40, 0), (40, 3), (1000, 7)] {
        let symbols: Vec<[u8; 4]> =
            vec![[16, 0, 0, 0]; shift].into_iter().chain(vec![[0; 4]; ones]).collect();
        let mut writer = Writer::new(vec![0x55; Writer::room(symbols.len())]);
        let mut out = Vec::new();
        writer.write(&symbols, &codes, &mut out);
        writer.finish(&mut out);
        let bits = ones * 16 + shift;
        let plain: Vec<u8> =
            (0..bits.div_ceil(8)).map(|at| if at == 0 { u8::MAX >> shift } else { u8::MAX }).collect();
        let expected: Vec<u8> =
            plain.iter().flat_map(|byte| if *byte == 255 { vec![255, 0] } else { vec![*byte] }).collect();
        assert_eq!(out, expected, "{ones} {shift}");
    }
}
