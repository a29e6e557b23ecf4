//! Grids as large as the format allows, made to take long to read. Each is refused for the limit that it exceeds.

use super::*;

const LARGE: Recipe = Recipe { max_pixels: 1 << 28, ..RECIPE };
const TILE: u32 = 64;
const GRID_ID: u16 = 1;
const FIRST_TILE_ID: u16 = 2;
/// A sequence header for pictures of 64 x 64.
const SEQUENCE: [u8; 9] = [0x18, 0x15, 0x7F, 0xFD, 0xA2, 0x02, 0x1A, 0x0D, 0x08];

fn sized_box(kind: &[u8; 4], payload: &[u8]) -> Vec<u8> {
    let size = u32::try_from(8 + payload.len()).unwrap();
    [&size.to_be_bytes(), &kind[..], payload].concat()
}

fn full_box(kind: &[u8; 4], version: u8, payload: &[u8]) -> Vec<u8> {
    sized_box(kind, &[&[version, 0, 0, 0], payload].concat())
}

fn words(words: &[u16]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_be_bytes()).collect()
}

/// A grid of tiles with the same bytes. Each tile has one of a few configurations.
struct Hostile {
    columns: u16,
    rows: u16,
    codec: [u8; 4],
    /// Configurations that the tiles use in turn.
    configurations: Vec<Vec<u8>>,
    data: Vec<u8>,
    /// Offset in the data and length of each extent of each tile.
    extents: Vec<(u16, u16)>,
    /// How often all property numbers are listed for each tile.
    associations: usize,
    /// The tiles' ids, in the order of the grid.
    order: Vec<u16>,
    /// Empty boxes before the others, at each level except that of items.
    idle_boxes: usize,
}

impl Hostile {
    fn hevc(columns: u16, rows: u16) -> Self {
        let real = data!("grid.heic");
        Self {
            columns,
            rows,
            codec: *b"hvc1",
            configurations: vec![property(real, b"hvcC")],
            data: vec![0; 4],
            extents: vec![(0, 4)],
            associations: 1,
            order: (0..columns * rows).map(|n| FIRST_TILE_ID + n).collect(),
            idle_boxes: 0,
        }
    }

    fn av1(columns: u16, rows: u16) -> Self {
        let configuration = [&[0x81, 0, 0, 0, 0x0A, 9][..], &SEQUENCE].concat();
        let (data, extents) = (vec![0x12, 0], vec![(0, 2)]);
        let configurations = vec![configuration];
        Self { codec: *b"av01", configurations, data, extents, ..Self::hevc(columns, rows) }
    }

    fn file(&self) -> Vec<u8> {
        let tiles = self.columns * self.rows;
        let (width, height) = (TILE * u32::from(self.columns), TILE * u32::from(self.rows));
        let size = |width: u32, height: u32| [width.to_be_bytes(), height.to_be_bytes()].concat();
        let ids = FIRST_TILE_ID..FIRST_TILE_ID + tiles;
        let idle = sized_box(b"free", b"").repeat(self.idle_boxes);

        let entry = |id, kind: &[u8]| full_box(b"infe", 2, &[&words(&[id, 0]), kind, b"\0"].concat());
        let mut entries = entry(GRID_ID, b"grid");
        entries.extend(ids.clone().flat_map(|id| entry(id, &self.codec)));
        let iinf = full_box(b"iinf", 0, &[words(&[tiles + 1]), entries].concat());

        let corner = [self.rows - 1, self.columns - 1].map(|side| u8::try_from(side).unwrap());
        let layout = [&[0, 1][..], &corner, &size(width, height)].concat();
        let in_front = u16::try_from(layout.len()).unwrap();
        let mut located = words(&[0x4400, tiles + 1, GRID_ID, 1, 0, 1, 0, 0, 0, in_front]);
        for id in ids.clone() {
            located.extend(words(&[id, 1, 0, self.extents.len().try_into().unwrap()]));
            for (offset, len) in &self.extents {
                located.extend(words(&[0, in_front + offset, 0, *len]));
            }
        }
        let iloc = full_box(b"iloc", 1, &located);

        let mut properties =
            [full_box(b"ispe", 0, &size(width, height)), full_box(b"ispe", 0, &size(TILE, TILE))].concat();
        let kind = if self.codec == *b"hvc1" { b"hvcC" } else { b"av1C" };
        properties.extend(self.configurations.iter().flat_map(|bytes| sized_box(kind, bytes)));
        let ipco = sized_box(b"ipco", &properties);
        let mut said = [&u32::from(tiles + 1).to_be_bytes()[..], &words(&[GRID_ID]), &[1, 1]].concat();
        for (n, id) in ids.enumerate() {
            let own = u8::try_from(3 + n % self.configurations.len()).unwrap();
            said.extend(words(&[id]));
            said.push(u8::try_from(2 * self.associations).unwrap());
            said.extend([2, own].repeat(self.associations));
        }
        let iprp = sized_box(b"iprp", &[idle.clone(), ipco, full_box(b"ipma", 0, &said)].concat());

        let count = u16::try_from(self.order.len()).unwrap();
        let dimg = sized_box(b"dimg", &words(&[&[GRID_ID, count], &self.order[..]].concat()));
        let iref = full_box(b"iref", 0, &[idle.clone(), dimg].concat());
        let pitm = full_box(b"pitm", 0, &words(&[GRID_ID]));
        let idat = sized_box(b"idat", &[layout, self.data.clone()].concat());
        let meta = full_box(b"meta", 0, &[idle, pitm, iinf, iloc, iprp, iref, idat].concat());
        [sized_box(b"ftyp", b"heic\0\0\0\0mif1heic"), meta].concat()
    }

    #[track_caller]
    fn assert_refused(&self, error: ImageError) {
        assert_eq!(open(&self.file(), &LARGE).err(), Some(error));
    }

    #[track_caller]
    fn assert_read(&self) {
        let file = self.file();
        let heif = open(&file, &LARGE).unwrap();
        assert_eq!(heif.colour.width, TILE * u32::from(self.columns));
    }
}

/// Returns the payload of the first box of this kind, anywhere in the file.
fn property(file: &[u8], kind: &[u8; 4]) -> Vec<u8> {
    let at = file.windows(4).position(|four| four == kind).unwrap();
    let size = u32::from_be_bytes(*file[..at].last_chunk().unwrap());
    file[at + 4..at - 4 + size as usize].to_vec()
}

/// Adds an array of NAL units to a configuration.
fn with_nals(configuration: &[u8], count: u16, len: u16) -> Vec<u8> {
    const ARRAYS: usize = 22;
    let mut longer = configuration.to_vec();
    longer[ARRAYS] += 1;
    longer.push(39);
    longer.extend(words(&[count]));
    longer.extend([&words(&[len])[..], &vec![0; len.into()]].concat().repeat(count.into()));
    longer
}

#[test]
fn large_grid_is_read() {
    Hostile::hevc(2, 3).assert_read();
    Hostile::av1(3, 2).assert_read();
    Hostile::hevc(140, 140).assert_read();
    Hostile::av1(140, 140).assert_read();
    Hostile::hevc(171, 171).assert_refused(ImageError::Unsupported);
}

#[test]
fn long_or_many_configurations_are_refused() {
    let grid = || Hostile::hevc(20, 20);
    let of = |configurations| Hostile { configurations, ..grid() };
    let real = grid().configurations.remove(0);
    of(vec![with_nals(&real, 120, 0)]).assert_read();
    of(vec![with_nals(&real, 129, 0)]).assert_refused(ImageError::Unsupported);
    of(vec![(0..100).fold(real.clone(), |longer, _| with_nals(&longer, 65_535, 0))])
        .assert_refused(ImageError::Unsupported);
    of(vec![with_nals(&real, 1, 16_000)]).assert_read();
    of(vec![with_nals(&real, 1, 17_000)]).assert_refused(ImageError::Unsupported);
    of(vec![real.clone(); 16]).assert_read();
    of(vec![real.clone(); 17]).assert_refused(ImageError::Unsupported);
    // Configurations are compared with each other, although each is read once.
    let other = replaced(&real, &[0x49, 0x29], &[0x49, 0x2A]);
    assert!(open(&of(vec![real, other]).file(), &LARGE).is_err());
}

#[test]
fn tile_that_is_used_twice_is_refused() {
    let mut twice = Hostile::hevc(20, 20);
    twice.order[399] = twice.order[7];
    twice.assert_refused(ImageError::Unsupported);
    let mut one_for_all = Hostile::hevc(171, 171);
    one_for_all.order.fill(FIRST_TILE_ID);
    one_for_all.assert_refused(ImageError::Unsupported);
    let mut too_many = Hostile::hevc(20, 20);
    too_many.order.push(FIRST_TILE_ID);
    too_many.assert_refused(ImageError::Corrupt);
}

#[test]
fn tiles_with_many_extents_are_refused() {
    let of = |extents: &[(u16, u16)]| Hostile { extents: extents.to_vec(), ..Hostile::hevc(20, 20) };
    of(&[(0, 1); 64]).assert_read();
    of(&[(0, 1); 65]).assert_refused(ImageError::Unsupported);
    // The extent reaches to the end of the data, and begins there.
    of(&[(4, 0)]).assert_refused(ImageError::Truncated);
    of(&[(0, 4), (4, 0)]).assert_refused(ImageError::Truncated);
    let of_file = |extents: &[(u16, u16)]| Hostile { data: vec![0; 100], ..of(extents) };
    of_file(&[(0, 100)]).assert_read();
    of_file(&[(0, 50), (0, 50)]).assert_refused(ImageError::Corrupt);
}

#[test]
fn many_properties_or_boxes_are_refused() {
    Hostile { associations: 16, ..Hostile::hevc(20, 20) }.assert_read();
    Hostile { associations: 17, ..Hostile::hevc(20, 20) }.assert_refused(ImageError::Unsupported);
    Hostile { idle_boxes: 1000, ..Hostile::hevc(2, 2) }.assert_read();
    Hostile { idle_boxes: 1024, ..Hostile::hevc(2, 2) }.assert_refused(ImageError::Unsupported);
}

#[test]
fn many_units_before_a_sequence_header_are_refused() {
    const EMPTY: [u8; 2] = [0x7A, 0];
    let grid = || Hostile::av1(20, 20);
    let configured = |empty: usize| {
        let real = &grid().configurations[0];
        let configurations = vec![[&real[..4], &EMPTY.repeat(empty), &real[4..]].concat()];
        Hostile { configurations, ..grid() }
    };
    configured(32).assert_read();
    configured(33).assert_refused(ImageError::Corrupt);
    configured(100_000).assert_refused(ImageError::Unsupported);
    let coded = |empty: usize| {
        let data = [&EMPTY.repeat(empty), &grid().configurations[0][4..]].concat();
        let extents = vec![(0, data.len().try_into().unwrap())];
        Hostile { configurations: vec![vec![0x81, 0, 0, 0]], data, extents, ..grid() }
    };
    coded(32).assert_read();
    coded(33).assert_refused(ImageError::Corrupt);
}
