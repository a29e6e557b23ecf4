//! A small encoder of progressive files, with any scans and any coefficients.

/// A scan: its components, its first and last coefficient, the lowest bits that it leaves, and whether it refines.
#[derive(Debug, Clone)]
pub(super) struct Script {
    pub(super) components: Vec<usize>,
    pub(super) band: (usize, usize),
    pub(super) low: u32,
    pub(super) refines: bool,
}

/// Writes bits with byte stuffing.
#[derive(Default)]
struct Writer {
    bytes: Vec<u8>,
    bits: u32,
    count: u32,
}

impl Writer {
    fn put(&mut self, value: u32, length: u32) {
        for at in (0..length).rev() {
            (self.bits, self.count) = (self.bits << 1 | (value >> at & 1), self.count + 1);
            if self.count == 8 {
                let byte = u8::try_from(self.bits).unwrap();
                self.bytes.push(byte);
                self.bytes.extend((byte == 0xFF).then_some(0));
                (self.bits, self.count) = (0, 0);
            }
        }
    }

    /// Writes a symbol. See [`table`].
    fn symbol(&mut self, symbol: u32) {
        let (code, length) = code(symbol);
        self.put(code, length);
    }

    fn restart(&mut self, number: usize) {
        self.pad();
        self.bytes.extend([0xFF, 0xD0 + u8::try_from(number % 8).unwrap()]);
    }

    fn pad(&mut self) {
        while self.count > 0 {
            self.put(1, 1);
        }
    }
}

/// Symbols with short codes, so that some tables decode two of them at once.
const SHORT: [u32; 6] = [0x00, 0x01, 0x11, 0x21, 0x02, 0x10];

/// Returns code and length of a symbol: 3 bits for [`SHORT`], then 11 bits for the others up to 0xFF.
fn code(symbol: u32) -> (u32, u32) {
    match SHORT.iter().position(|short| *short == symbol) {
        Some(at) => (u32::try_from(at).unwrap(), 3),
        None => {
            let before = SHORT.iter().filter(|short| **short < symbol).count();
            ((6 << 8) + symbol - u32::try_from(before).unwrap(), 11)
        }
    }
}

/// Returns the DHT segment of a table with the codes of [`code`] for the symbols that `keeps` returns true for. Other codes
/// stay in the table under the symbol 0.
fn table(class: u8, keeps: impl Fn(u32) -> bool) -> Vec<u8> {
    let mut counts = [0_u8; 16];
    counts[2] = 6;
    counts[10] = 250;
    let long = (0..256).filter(|symbol| !SHORT.contains(symbol));
    let symbols = SHORT.iter().copied().chain(long).map(|symbol| if keeps(symbol) { symbol } else { 0 });
    let symbols: Vec<u8> = symbols.map(|symbol| u8::try_from(symbol).unwrap()).collect();
    segment(0xC4, &[&[class][..], &counts, &symbols].concat())
}

pub(super) fn segment(marker: u8, payload: &[u8]) -> Vec<u8> {
    let length = u16::try_from(payload.len() + 2).unwrap().to_be_bytes();
    [&[0xFF, marker], &length[..], payload].concat()
}

/// A picture as its coefficients.
#[derive(Debug, Clone)]
pub(super) struct Coefficients {
    pub(super) width: usize,
    pub(super) height: usize,
    /// Sampling factors.
    pub(super) factors: Vec<(usize, usize)>,
    /// Seed of the coefficients, and how many of 256 are not zero.
    pub(super) seed: u32,
    pub(super) density: u32,
    pub(super) restart: usize,
}

impl Coefficients {
    fn most(&self) -> (usize, usize) {
        self.factors.iter().fold((1, 1), |most, of| (most.0.max(of.0), most.1.max(of.1)))
    }

    fn mcus(&self) -> (usize, usize) {
        let (across, down) = self.most();
        (self.width.div_ceil(8 * across), self.height.div_ceil(8 * down))
    }

    /// Blocks across and down of a component, without those that complete MCUs.
    fn blocks(&self, component: usize) -> (usize, usize) {
        let (most, of) = (self.most(), self.factors[component]);
        let side = |side: usize, factor: usize, most: usize| (side * factor).div_ceil(most).div_ceil(8);
        (side(self.width, of.0, most.0), side(self.height, of.1, most.1))
    }

    /// Returns a coefficient of a block, in zigzag order. Later ones are smaller.
    fn at(&self, component: usize, (x, y): (usize, usize), index: usize) -> i32 {
        let key = ((component * 997 + y) * 1009 + x) * 64 + index;
        let mut hash = self.seed ^ u32::try_from(key).unwrap().wrapping_mul(0x9E37_79B1);
        for _ in 0..3 {
            hash = (hash ^ hash >> 15).wrapping_mul(0x2C1B_3C6D);
        }
        let block = (hash >> 8 & 0xFF) * u32::from(x % 5 != 3);
        if index == 0 {
            return i32::try_from(hash % 500).unwrap() - 250;
        }
        if block >= self.density {
            return 0;
        }
        let most = if index < 10 { 120 } else { 9 };
        let value = i32::try_from(hash >> 16).unwrap() % most / (1 + i32::from(hash & 7 > 2) * 20);
        if hash & 0x80 == 0 { value } else { -value }
    }

    /// Writes the file with the scans of `script`.
    pub(super) fn encode(&self, script: &[Script]) -> Vec<u8> {
        let mut file = vec![0xFF, 0xD8];
        file.extend(segment(0xDB, &[&[0][..], &[1; 64]].concat()));
        let [height, width] =
            [self.height, self.width].map(|side| u16::try_from(side).unwrap().to_be_bytes());
        let mut frame = [&[8][..], &height, &width, &[u8::try_from(self.factors.len()).unwrap()]].concat();
        for (id, (across, down)) in (1..).zip(&self.factors) {
            frame.extend([id, u8::try_from(across << 4 | down).unwrap(), 0]);
        }
        file.extend(segment(0xC2, &frame));
        let restart = u16::try_from(self.restart).unwrap().to_be_bytes();
        file.extend(segment(0xDD, &restart));
        for scan in script {
            // The decoder refuses tables with symbols that the scan cannot have.
            if scan.band.0 == 0 {
                file.extend(table(0, |symbol| symbol < 12));
            } else {
                let most = if scan.refines { 1 } else { 10.min(14 - scan.low) };
                file.extend(table(0x10, |symbol| symbol & 15 <= most));
            }
            let mut header = vec![u8::try_from(scan.components.len()).unwrap()];
            for component in &scan.components {
                header.extend([u8::try_from(component + 1).unwrap(), 0]);
            }
            let (first, last) = (u8::try_from(scan.band.0).unwrap(), u8::try_from(scan.band.1).unwrap());
            let low = u8::try_from(scan.low).unwrap();
            let high = if scan.refines { low + 1 } else { 0 };
            header.extend([first, last, high << 4 | low]);
            file.extend(segment(0xDA, &header));
            file.extend(self.scan(scan));
        }
        file.extend([0xFF, 0xD9]);
        file
    }

    /// Returns the entropy-coded data of a scan.
    fn scan(&self, scan: &Script) -> Vec<u8> {
        let mut writer = Writer::default();
        let mut band = BandWriter { writer: &mut writer, run: 0, held: Vec::new() };
        let mut predicted = [0; 4];
        for (number, mcu) in self.mcus_of(scan).into_iter().enumerate() {
            if self.restart > 0 && number > 0 && number % self.restart == 0 {
                band.flush();
                band.writer.restart(number / self.restart - 1);
                predicted = [0; 4];
            }
            for (component, place) in mcu {
                if scan.band.0 == 0 {
                    let value = self.at(component, place, 0) >> scan.low;
                    if scan.refines {
                        band.writer.put(u32::from(value & 1 == 1), 1);
                    } else {
                        let difference = value - predicted[component];
                        predicted[component] = value;
                        let size = 32 - difference.unsigned_abs().leading_zeros();
                        band.writer.symbol(size);
                        band.writer.put(bits_of(difference, size), size);
                    }
                    continue;
                }
                let values: Vec<i32> = (scan.band.0..=scan.band.1)
                    .map(|index| {
                        let value = self.at(component, place, index);
                        (value.abs() >> scan.low) * value.signum()
                    })
                    .collect();
                if scan.refines { band.refine(&values) } else { band.first(&values) }
            }
        }
        band.flush();
        writer.pad();
        writer.bytes
    }

    /// Returns the blocks of each MCU of a scan.
    fn mcus_of(&self, scan: &Script) -> Vec<Vec<Block>> {
        if let [component] = *scan.components.as_slice() {
            let (across, down) = self.blocks(component);
            return (0..across * down).map(|at| vec![(component, (at % across, at / across))]).collect();
        }
        let (across, down) = self.mcus();
        let mcu = |at: usize| {
            let mut blocks = Vec::new();
            for component in &scan.components {
                let (h, v) = self.factors[*component];
                for inner in 0..h * v {
                    let place = (at % across * h + inner % h, at / across * v + inner / h);
                    blocks.push((*component, place));
                }
            }
            blocks
        };
        (0..across * down).map(mcu).collect()
    }
}

/// A component, and the place of a block in it from the left and the top.
type Block = (usize, (usize, usize));

/// Returns the bits that follow a size (T.81 F.1.2.1).
fn bits_of(value: i32, size: u32) -> u32 {
    let low = if value < 0 { value - 1 } else { value };
    low.cast_unsigned() & ((1 << size) - 1)
}

/// Codes bands of blocks with runs of ends (T.81 G.1.2.2 and G.1.2.3).
struct BandWriter<'a> {
    writer: &'a mut Writer,
    run: u32,
    /// Bits that follow the end of a block in a refinement.
    held: Vec<u32>,
}

impl BandWriter<'_> {
    fn flush(&mut self) {
        if self.run > 0 {
            let size = self.run.ilog2();
            self.writer.symbol(size << 4);
            self.writer.put(self.run - (1 << size), size);
            self.run = 0;
        }
        for bit in self.held.drain(..) {
            self.writer.put(bit, 1);
        }
    }

    fn end(&mut self, held: Vec<u32>) {
        self.run += 1;
        self.held.extend(held);
        if self.run == 0x7FFF || self.held.len() > 900 {
            self.flush();
        }
    }

    fn first(&mut self, values: &[i32]) {
        let mut zeros = 0;
        for value in values {
            if *value == 0 {
                zeros += 1;
                continue;
            }
            self.flush();
            while zeros > 15 {
                self.writer.symbol(0xF0);
                zeros -= 16;
            }
            let size = 32 - value.unsigned_abs().leading_zeros();
            self.writer.symbol(zeros << 4 | size);
            self.writer.put(bits_of(*value, size), size);
            zeros = 0;
        }
        if zeros > 0 {
            self.end(Vec::new());
        }
    }

    fn refine(&mut self, values: &[i32]) {
        let last_new = values.iter().rposition(|value| value.abs() == 1);
        let (mut zeros, mut held) = (0, Vec::new());
        for (at, value) in values.iter().enumerate() {
            match value.abs() {
                0 => zeros += 1,
                1 => {
                    self.flush();
                    self.writer.symbol(zeros << 4 | 1);
                    self.writer.put(u32::from(*value > 0), 1);
                    held.drain(..).for_each(|bit| self.writer.put(bit, 1));
                    zeros = 0;
                    continue;
                }
                size => held.push(size.cast_unsigned() & 1),
            }
            // A run of 16 zeros ends at its last zero, before the bits of later coefficients.
            if zeros == 16 && last_new.is_some_and(|last| at < last) {
                self.flush();
                self.writer.symbol(0xF0);
                held.drain(..).for_each(|bit| self.writer.put(bit, 1));
                zeros = 0;
            }
        }
        if zeros > 0 || !held.is_empty() {
            self.end(held);
        }
    }
}
