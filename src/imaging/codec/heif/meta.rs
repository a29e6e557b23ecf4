//! Reads the `meta` box: items, their bytes, properties and references (ISO/IEC 14496-12 section 8.11, 23008-12 sections 6, 9).
//!
//! A few bytes can declare thousands of items, overlapping extents and references to nothing. So all counts are limited,
//! including entries for unknown items, and the bytes of an item are located only when they are needed. The box is read before
//! there is a deadline, and the limits keep that to some milliseconds.

use std::borrow::Cow;
use std::collections::BTreeMap;

use super::boxes::{BoxKind, MAX_SIBLINGS, Reader, children, find};
use crate::imaging::error::ImageError;

/// Most items. A picture of 200 megapixels and its gain map in tiles of 512 x 512 have 820. In tiles of 256 x 256, the smallest
/// that writers use, and with alpha, they would have 6,300.
const MAX_ITEMS: usize = 20_000;
/// Most extents of all items together. Usually an item has one.
const MAX_EXTENTS: usize = 2 * MAX_ITEMS;
/// Most extents of one item. Usually it has one. Writers that interleave the layers of progressive images need one a layer.
const MAX_EXTENTS_OF_ITEM: usize = 64;
/// Most references of all items together. A grid refers to each tile once, and so does each of its metadata.
const MAX_REFERENCES: usize = 8 * MAX_ITEMS;
/// Most properties: their numbers have 15 bits.
const MAX_PROPERTIES: usize = 0x7FFF;
/// Most properties of one item. Phones write up to eight.
const MAX_PROPERTIES_OF_ITEM: usize = 32;

#[derive(Default)]
pub(super) struct Item {
    pub(super) kind: BoxKind,
    protected: bool,
    /// Indices into the properties, and whether each is essential: a reader that does not support it must refuse the item.
    properties: Vec<(u16, bool)>,
    source: DataLocation,
    extents: Vec<(u64, u64)>,
    /// The items that it is derived from, in order (`dimg`).
    pub(super) derived_from: Vec<u32>,
    /// The items that it is an auxiliary image of (`auxl`).
    pub(super) auxiliary_of: Vec<u32>,
    /// The alpha images by which its colours are already multiplied (`prem`).
    pub(super) premultiplied_by: Vec<u32>,
    /// True if it is metadata of the primary item (`cdsc`).
    pub(super) describes_primary: bool,
}

impl Item {
    /// Returns whether [`Meta::data`] must copy its bytes.
    pub(super) fn is_in_pieces(&self) -> bool {
        self.extents.len() > 1
    }
}

#[derive(Default, Clone, Copy, PartialEq)]
enum DataLocation {
    #[default]
    File,
    Idat,
    Elsewhere,
}

pub(super) struct Meta<'a> {
    file: &'a [u8],
    idat: &'a [u8],
    pub(super) primary: u32,
    items: BTreeMap<u32, Item>,
    properties: Vec<(BoxKind, &'a [u8])>,
}

impl<'a> Meta<'a> {
    /// Reads the `meta` box of `file`. Without one there is no still image, which is [`ImageError::Unsupported`].
    pub(super) fn read(file: &'a [u8]) -> Result<Self, ImageError> {
        let mut meta = Reader::new(find(file, b"meta")?.ok_or(ImageError::Unsupported)?);
        meta.full()?;
        let children = meta.rest();
        let child = |kind: &BoxKind| find(children, kind);
        let required = |kind: &BoxKind| child(kind)?.ok_or(ImageError::Corrupt);
        let mut this = Self {
            file,
            idat: child(b"idat")?.unwrap_or_default(),
            // A file without a primary item is a video.
            primary: primary(child(b"pitm")?.ok_or(ImageError::Unsupported)?)?,
            items: items(required(b"iinf")?)?,
            properties: Vec::new(),
        };
        this.read_locations(required(b"iloc")?)?;
        this.read_properties(required(b"iprp")?)?;
        if let Some(references) = child(b"iref")? {
            this.read_references(references)?;
        }
        Ok(this)
    }

    pub(super) fn item(&self, id: u32) -> Result<&Item, ImageError> {
        self.items.get(&id).ok_or(ImageError::Corrupt)
    }

    pub(super) fn items(&self) -> impl Iterator<Item = (u32, &Item)> {
        self.items.iter().map(|(id, item)| (*id, item))
    }

    /// Returns the properties of an item in the order in which they apply, and whether each is essential.
    pub(super) fn properties<'s>(
        &'s self,
        item: &'s Item,
    ) -> impl Iterator<Item = (BoxKind, &'a [u8], bool)> + 's {
        let known = |(index, essential): &(u16, bool)| {
            self.properties.get(usize::from(*index)).map(|(kind, payload)| (*kind, *payload, *essential))
        };
        item.properties.iter().filter_map(known)
    }

    /// Returns the first property of this kind.
    pub(super) fn property(&self, item: &Item, kind: &BoxKind) -> Option<&'a [u8]> {
        self.properties(item).find(|(found, ..)| found == kind).map(|(_, payload, _)| payload)
    }

    /// Returns the number of bytes that [`data`](Self::data) returns.
    pub(super) fn data_len(&self, item: &Item) -> Result<usize, ImageError> {
        let mut sum = 0usize;
        for extent in &item.extents {
            sum = sum.saturating_add(self.extent(item, *extent)?.len());
        }
        Ok(sum)
    }

    /// Returns the bytes of an item.
    pub(super) fn data(&self, item: &Item) -> Result<Cow<'a, [u8]>, ImageError> {
        if item.protected {
            return Err(ImageError::Unsupported);
        }
        match item.extents.as_slice() {
            [] => Err(ImageError::Corrupt),
            [extent] => self.extent(item, *extent).map(Cow::Borrowed),
            extents => {
                let len = self.data_len(item)?;
                // Overlapping extents could add up to any size.
                if len > self.file.len() {
                    return Err(ImageError::Corrupt);
                }
                let mut data = Vec::with_capacity(len);
                for extent in extents {
                    data.extend_from_slice(self.extent(item, *extent)?);
                }
                Ok(Cow::Owned(data))
            }
        }
    }

    fn extent(&self, item: &Item, (offset, len): (u64, u64)) -> Result<&'a [u8], ImageError> {
        let source = match item.source {
            DataLocation::File => self.file,
            DataLocation::Idat => self.idat,
            DataLocation::Elsewhere => return Err(ImageError::Unsupported),
        };
        let at = usize::try_from(offset).map_err(|_| ImageError::Truncated)?;
        let from = source.get(at..).ok_or(ImageError::Truncated)?;
        let extent = match len {
            0 => from,
            len => {
                let len = usize::try_from(len).map_err(|_| ImageError::Truncated)?;
                from.get(..len).ok_or(ImageError::Truncated)?
            }
        };
        if extent.is_empty() { Err(ImageError::Truncated) } else { Ok(extent) }
    }

    fn read_locations(&mut self, iloc: &[u8]) -> Result<(), ImageError> {
        let mut iloc = Reader::new(iloc);
        let (version, _) = iloc.full()?;
        if version > 2 {
            return Err(ImageError::Unsupported);
        }
        let [sizes, more] = iloc.u16()?.to_be_bytes();
        let (offset_size, length_size, base_size) = (sizes >> 4, sizes & 15, more >> 4);
        let index_size = if version > 0 { more & 15 } else { 0 };
        let mut room = MAX_EXTENTS;
        let items = iloc.number(version == 2)?;
        if items as usize > MAX_ITEMS {
            return Err(ImageError::Unsupported);
        }
        for _ in 0..items {
            let id = iloc.number(version == 2)?;
            let method = if version > 0 { iloc.u16()? & 15 } else { 0 };
            let other_file = iloc.u16()? != 0;
            let base = iloc.sized(base_size)?;
            let count = usize::from(iloc.u16()?);
            // An extent can take zero bytes in this box, so the count limits its cost.
            room = room.checked_sub(count).ok_or(ImageError::Corrupt)?;
            if count > MAX_EXTENTS_OF_ITEM {
                return Err(ImageError::Unsupported);
            }
            let mut extents = Vec::with_capacity(count);
            for _ in 0..count {
                iloc.sized(index_size)?;
                let offset = base.checked_add(iloc.sized(offset_size)?).ok_or(ImageError::Truncated)?;
                extents.push((offset, iloc.sized(length_size)?));
            }
            if let Some(item) = self.items.get_mut(&id) {
                item.extents = extents;
                item.source = match method {
                    _ if other_file => DataLocation::Elsewhere,
                    0 => DataLocation::File,
                    1 => DataLocation::Idat,
                    _ => DataLocation::Elsewhere,
                };
            }
        }
        Ok(())
    }

    fn read_properties(&mut self, iprp: &'a [u8]) -> Result<(), ImageError> {
        let mut items = MAX_ITEMS;
        for child in children(iprp, MAX_SIBLINGS) {
            let (kind, payload) = child?;
            match &kind {
                b"ipco" => {
                    for property in children(payload, MAX_PROPERTIES - self.properties.len()) {
                        self.properties.push(property?);
                    }
                }
                b"ipma" => self.read_associations(payload, &mut items)?,
                _ => {}
            }
        }
        Ok(())
    }

    /// Reads the properties of items. `room` is the number of items that may still have some.
    fn read_associations(&mut self, ipma: &[u8], room: &mut usize) -> Result<(), ImageError> {
        let mut ipma = Reader::new(ipma);
        let (version, flags) = ipma.full()?;
        let long = flags & 1 == 1;
        for _ in 0..ipma.u32()? {
            *room = room.checked_sub(1).ok_or(ImageError::Unsupported)?;
            let id = ipma.number(version > 0)?;
            let mut unlisted = Item::default();
            let item = self.items.get_mut(&id).unwrap_or(&mut unlisted);
            let count = ipma.u8()?;
            if item.properties.len() + usize::from(count) > MAX_PROPERTIES_OF_ITEM {
                return Err(ImageError::Unsupported);
            }
            for _ in 0..count {
                let word = if long { ipma.u16()? } else { u16::from(ipma.u8()?) };
                let essential_bit = if long { 0x8000 } else { 0x80 };
                let number = word & (essential_bit - 1);
                // 0 means "no property".
                if let Some(index) = number.checked_sub(1) {
                    item.properties.push((index, word & essential_bit != 0));
                }
            }
        }
        Ok(())
    }

    fn read_references(&mut self, iref: &[u8]) -> Result<(), ImageError> {
        let mut references = Reader::new(iref);
        let (version, _) = references.full()?;
        let primary = self.primary;
        let mut room = MAX_REFERENCES;
        for child in children(references.rest(), MAX_REFERENCES) {
            let (kind, payload) = child?;
            if !matches!(&kind, b"cdsc" | b"dimg" | b"auxl" | b"prem") {
                continue;
            }
            let mut reference = Reader::new(payload);
            let from = reference.number(version > 0)?;
            let count = reference.u16()?;
            room = room.checked_sub(usize::from(count)).ok_or(ImageError::Unsupported)?;
            let Some(item) = self.items.get_mut(&from) else { continue };
            let list = match &kind {
                b"cdsc" => {
                    // Malformed metadata does not make the picture unacceptable.
                    let mut to = (0..count).map_while(|_| reference.number(version > 0).ok());
                    item.describes_primary |= to.any(|id| id == primary);
                    continue;
                }
                b"dimg" => &mut item.derived_from,
                b"auxl" => &mut item.auxiliary_of,
                _ => &mut item.premultiplied_by,
            };
            for _ in 0..count {
                list.push(reference.number(version > 0)?);
            }
        }
        Ok(())
    }
}

fn primary(pitm: &[u8]) -> Result<u32, ImageError> {
    let mut pitm = Reader::new(pitm);
    let (version, _) = pitm.full()?;
    pitm.number(version > 0)
}

fn items(iinf: &[u8]) -> Result<BTreeMap<u32, Item>, ImageError> {
    let mut iinf = Reader::new(iinf);
    let (version, _) = iinf.full()?;
    iinf.number(version > 0)?;
    let mut items = BTreeMap::new();
    for child in children(iinf.rest(), MAX_ITEMS) {
        let (kind, payload) = child?;
        let mut entry = Reader::new(payload);
        let (version, _) = entry.full()?;
        // Older versions declare the type of a file instead of an item. None of these is an image.
        if kind != *b"infe" || version < 2 {
            continue;
        }
        let id = entry.number(version > 2)?;
        let protected = entry.u16()? != 0;
        let item = Item { kind: entry.kind()?, protected, ..Item::default() };
        items.insert(id, item);
    }
    Ok(items)
}
