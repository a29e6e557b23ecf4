//! Compares vector and portable code, and the arithmetic decoder with the procedure of the standard.

use super::Fault;
use super::cabac::{Cabac, PADDING};
use super::deblock::luma::Limits;
use super::intra::{DC, HORIZONTAL, PLANAR, Predict, VERTICAL};
use super::isa::{Isa, Portable};
use super::neighbours::Available;
use super::sample::Plane;
use super::transform::{Block, Cosines, Extent};

/// A generator of numbers (xorshift), so that failures repeat.
struct Numbers(u64);

impl Numbers {
    fn new() -> Self {
        Self(0x9E37_79B9_7F4A_7C15)
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, end: u64) -> u64 {
        (self.next() >> 16) % end
    }
}

/// Arithmetic decoding bit by bit (ITU-T H.265 sections 9.3.2.5 and 9.3.4.3.4).
struct Slow<'a> {
    data: &'a [u8],
    at: usize,
    range: u32,
    offset: u32,
}

impl<'a> Slow<'a> {
    fn new(data: &'a [u8]) -> Self {
        let mut slow = Self { data, at: 0, range: 510, offset: 0 };
        for _ in 0..9 {
            slow.read();
        }
        slow
    }

    fn read(&mut self) {
        let byte = self.data.get(self.at / 8).copied().unwrap_or(0);
        self.offset = self.offset << 1 | u32::from(byte >> (7 - self.at % 8) & 1);
        self.at += 1;
    }

    fn bypass(&mut self) -> u32 {
        self.read();
        let bin = u32::from(self.offset >= self.range);
        self.offset -= bin * self.range;
        bin
    }

    fn terminate(&mut self) -> bool {
        self.range -= 2;
        if self.offset >= self.range {
            return true;
        }
        if self.range < 256 {
            self.range <<= 1;
            self.read();
        }
        false
    }
}

#[test]
fn bypass_bins_equal_those_of_the_standard() {
    let mut numbers = Numbers::new();
    for _ in 0..200 {
        let mut data: Vec<u8> = (0..60).map(|_| numbers.next() as u8).collect();
        // The offset must be less than the range.
        data[0] &= 0x7F;
        let mut slow = Slow::new(&data);
        let mut padded = data.clone();
        padded.extend([0; PADDING]);
        let mut cabac = Cabac::new(&padded).unwrap();
        for _ in 0..60 {
            if numbers.below(3) == 0 {
                let ends = slow.terminate();
                assert_eq!(cabac.terminate(), ends);
                if ends {
                    break;
                }
                continue;
            }
            let count = 1 + numbers.below(16) as u32;
            let expected = (0..count).fold(0, |bins, _| bins << 1 | slow.bypass());
            assert_eq!(cabac.bypass(count), expected);
            assert_eq!(cabac.is_past_end(), slow.at > 8 * data.len());
        }
    }
}

#[test]
fn offset_beyond_the_range_is_refused() {
    assert_eq!(Cabac::new(&[0xFF; 8]).err(), Some(Fault::Corrupt));
    assert_eq!(Cabac::new(&[0xFF, 0, 0, 0]).err(), Some(Fault::Corrupt), "an offset of 510");
}

#[test]
fn bytes_after_a_terminating_bin_are_found() {
    // An offset of 508 or 509 ends at once; its nine bits reach into the second byte.
    let mut data = vec![0xFE, 0x80, 0xAB, 0xCD];
    data.extend([0; PADDING]);
    let mut cabac = Cabac::new(&data).unwrap();
    assert!(cabac.terminate());
    assert_eq!(cabac.following(), &data[2..]);
}

/// Returns coefficients within an extent.
fn coefficients(numbers: &mut Numbers, log2: u32, extent: Extent) -> Block {
    let mut block = [0; 1024];
    let largest = [4, 300, 1 << 16][numbers.below(3) as usize];
    for y in 0..extent.rows {
        for x in 0..extent.columns {
            block[y << log2 | x] = (numbers.below(largest) as i32 - largest as i32 / 2) as i16;
        }
    }
    block
}

fn assert_equal_kernels(isa: impl Isa) {
    let mut numbers = Numbers::new();
    for round in 0..2000 {
        let log2 = 2 + numbers.below(4) as u32;
        let depth = 8 + numbers.below(5) as u32;
        let quarters = 1 << (log2 - 2);
        let mut extent = Extent {
            columns: 4 * (1 + numbers.below(quarters) as usize),
            rows: 4 * (1 + numbers.below(quarters) as usize),
        };
        if round % 8 == 0 {
            extent = Extent { columns: 1, rows: 1 };
        }
        let mut ours = coefficients(&mut numbers, log2, extent);
        let mut theirs = ours;
        let (mut got, mut expected) = ([0; 1024], [0; 1024]);
        isa.cosine(Cosines { coefficients: &mut ours, residuals: &mut got, log2, extent, depth });
        Portable.cosine(Cosines { coefficients: &mut theirs, residuals: &mut expected, log2, extent, depth });
        assert!(got[..1 << (2 * log2)] == expected[..1 << (2 * log2)], "{log2} {extent:?} {depth}");
        assert!(ours == [0; 1024] && theirs == [0; 1024], "coefficients are cleared");

        let mut ours = coefficients(&mut numbers, 2, Extent { columns: 4, rows: 4 });
        let mut theirs = ours;
        isa.sine(&mut ours, &mut got, depth);
        Portable.sine(&mut theirs, &mut expected, depth);
        assert_eq!(got[..16], expected[..16]);

        let most = (1i32 << depth) - 1;
        let row = |numbers: &mut Numbers| {
            std::array::from_fn::<u16, 8, _>(|_| numbers.below(most as u64 + 1) as u16)
        };
        let rows: [[u16; 8]; 8] = std::array::from_fn(|_| row(&mut numbers));
        let bytes = rows.map(|row| row.map(|sample| sample as u8));
        assert_eq!(isa.transpose8(rows), Portable.transpose8(rows));
        assert_eq!(isa.transpose8(bytes), Portable.transpose8(bytes));
        let fraction = 1 + numbers.below(31) as u8;
        assert_eq!(isa.mix8(rows[0], rows[1], fraction), Portable.mix8(rows[0], rows[1], fraction));
        assert_eq!(isa.mix8(bytes[0], bytes[1], fraction), Portable.mix8(bytes[0], bytes[1], fraction));
        let residuals = std::array::from_fn(|_| numbers.next() as i16);
        let of_depth = most as i16;
        assert_eq!(isa.add8(rows[0], residuals, of_depth), Portable.add8(rows[0], residuals, of_depth));
        assert_eq!(isa.add8(bytes[0], residuals, 255), Portable.add8(bytes[0], residuals, 255));

        let limits = limits(&mut numbers);
        let of_bytes = Limits { most: 255, ..limits };
        let of_words = Limits { most, ..limits };
        let near = rows.map(|row| row.map(|sample| (sample % 32 + 100) as u8));
        let (mut got, mut expected) = (near, near);
        isa.filter_edge(&mut got, &of_bytes);
        Portable.filter_edge(&mut expected, &of_bytes);
        assert_eq!(got, expected, "{limits:?}");
        let (mut got, mut expected) = (rows, rows);
        isa.filter_edge(&mut got, &of_words);
        Portable.filter_edge(&mut expected, &of_words);
        assert_eq!(got, expected, "{limits:?}");
    }
}

fn limits(numbers: &mut Numbers) -> Limits {
    let changes = [numbers.below(4) > 0, numbers.below(4) > 0];
    let mut limits = Limits { changes, ..Limits::default() };
    for half in 0..2 {
        let tc = 1 + numbers.below(60) as i32;
        match numbers.below(3) {
            0 => limits.strong[half] = 2 * tc,
            1 => {
                limits.near[half] = tc;
                limits.before[half] = (tc >> 1) * numbers.below(2) as i32;
                limits.after[half] = (tc >> 1) * numbers.below(2) as i32;
            }
            _ => {}
        }
    }
    limits
}

#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
#[test]
fn vector_kernels_equal_portable_ones() {
    if let Some(isa) = super::isa::Vector::detect() {
        assert_equal_kernels(isa);
    }
}

#[test]
fn transform_of_one_coefficient_equals_the_general_one() {
    for coefficient in [-32768, -300, -1, 1, 64, 32767] {
        for depth in 8..=12 {
            let (mut single, mut general) = ([0; 1024], [0; 1024]);
            (single[0], general[0]) = (coefficient, coefficient);
            let residuals = |coefficients: &mut Block, side| {
                let mut residuals = [0; 1024];
                let extent = Extent { columns: side, rows: side };
                Portable.cosine(Cosines { coefficients, residuals: &mut residuals, log2: 4, extent, depth });
                residuals
            };
            let (got, expected) = (residuals(&mut single, 1), residuals(&mut general, 4));
            assert_eq!(got[..256], expected[..256], "{coefficient}");
        }
    }
}

/// Predicts the block of 8 x 8 at (8, 8) in a plane of 7, whose samples above and at the right of the block are 50.
fn predict(mode: u8, available: Available) -> Vec<u8> {
    let mut plane = Plane { samples: vec![7; 32 * 24], width: 32, height: 24 };
    plane.samples[7 * 32 + 16..7 * 32 + 24].fill(50);
    Portable.run(Predict {
        isa: Portable,
        plane: &mut plane,
        place: (8, 8),
        available,
        log2: 3,
        mode,
        smooths: true,
        smooths_strongly: false,
        edges: (true, true),
        depth: 8,
    });
    (8..16).flat_map(|y| plane.row(y)[8..16].to_vec()).collect()
}

#[test]
fn missing_neighbours_are_replaced_by_the_nearest_ones() {
    let none = Available { below_left: 0, left: false, corner: false, top: false, top_right: 0 };
    for mode in [PLANAR, DC, 2, HORIZONTAL, 18, VERTICAL, 34] {
        assert_eq!(predict(mode, none), [128; 64], "no neighbour: half of the range, mode {mode}");
        // A slice can begin at the right of the block above, so that only those samples are in it.
        let only_right = Available { top_right: 8, ..none };
        assert_eq!(predict(mode, only_right), [50; 64], "mode {mode}");
        let only_left = Available { left: true, ..none };
        assert_eq!(predict(mode, only_left), [7; 64], "mode {mode}");
    }
}
