//! The log as C2SP tlog-tiles has it (c2sp.org/tlog-tiles): files that any reader of that format can serve and check
//! against the checkpoint. Pure: it is handed entries and gives paths with bytes.

use crate::tree::{Frontier, Hash, leaf_hash};

/// "Full tiles MUST be exactly 256 hashes wide, or 8,192 bytes."
pub const TILE_WIDTH: usize = 256;

/// Where the checkpoint is.
pub const CHECKPOINT_PATH: &str = "checkpoint";

/// What a tile holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Hashes: of leaves at level 0; at the others each of a full tile below.
    Hashes(u8),
    /// Entries.
    Entries,
}

/// The path of tile number `index`, which is `width` wide: `tile/0/x001/234.p/56`. "`<N>` … MUST be a non-negative
/// integer encoded into zero-padded 3-digit path elements. All but the last path element MUST begin with an `x`." "The
/// `.p/<W>` suffix is only present for partial tiles."
pub fn path(kind: Kind, index: usize, width: usize) -> String {
    let mut number = format!("{:03}", index % 1000);
    let mut rest = index / 1000;
    while rest > 0 {
        number = format!("x{:03}/{number}", rest % 1000);
        rest /= 1000;
    }
    let kind = match kind {
        Kind::Hashes(level) => level.to_string(),
        Kind::Entries => "entries".to_owned(),
    };
    if width < TILE_WIDTH {
        return format!("tile/{kind}/{number}.p/{width}");
    }
    format!("tile/{kind}/{number}")
}

/// Hands every tile of the log of these entries to `sink`: its path and its bytes. An entry has at most 65,535 bytes,
/// which [`crate::Entry`] keeps far below.
pub fn all<E>(entries: &[Vec<u8>], sink: &mut dyn FnMut(String, Vec<u8>) -> Result<(), E>) -> Result<(), E> {
    for (index, bundle) in entries.chunks(TILE_WIDTH).enumerate() {
        sink(path(Kind::Entries, index, bundle.len()), bytes_of(bundle))?;
    }
    let mut hashes: Vec<Hash> = entries.iter().map(|entry| leaf_hash(entry)).collect();
    let mut level = 0;
    while !hashes.is_empty() {
        for (index, tile) in hashes.chunks(TILE_WIDTH).enumerate() {
            sink(
                path(Kind::Hashes(level), index, tile.len()),
                tile.as_flattened().to_vec(),
            )?;
        }
        // "A partial tile … MUST NOT be hashed into a tile at the level above."
        hashes = hashes.chunks_exact(TILE_WIDTH).map(root_of).collect();
        level += 1;
    }
    Ok(())
}

/// "Entry bundles are sequences of big-endian uint16 length-prefixed log entries."
fn bytes_of(bundle: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for entry in bundle {
        bytes.extend((entry.len() as u16).to_be_bytes());
        bytes.extend(entry);
    }
    bytes
}

/// The root over the hashes of a full tile.
fn root_of(tile: &[Hash]) -> Hash {
    let mut tree = Frontier::default();
    tile.iter().for_each(|hash| tree.push(*hash));
    tree.root()
}

#[cfg(test)]
mod tests {
    #![expect(clippy::indexing_slicing, reason = "tests")]
    use super::{Kind, all, path};
    use crate::tree::{Frontier, Hash, leaf_hash};
    use std::collections::BTreeMap;
    use std::convert::Infallible;

    fn tiles(count: u32) -> BTreeMap<String, Vec<u8>> {
        let entries: Vec<Vec<u8>> = (0..count).map(|number| number.to_be_bytes().to_vec()).collect();
        let mut tiles = BTreeMap::new();
        let Ok(()) = all(&entries, &mut |path, bytes| {
            assert!(tiles.insert(path, bytes).is_none());
            Ok::<_, Infallible>(())
        });
        tiles
    }

    #[test]
    fn paths_are_those_of_the_specification() {
        assert_eq!(path(Kind::Hashes(3), 1_234_067, 256), "tile/3/x001/x234/067");
        assert_eq!(path(Kind::Hashes(0), 0, 256), "tile/0/000");
        assert_eq!(path(Kind::Hashes(0), 1_000, 7), "tile/0/x001/000.p/7");
        assert_eq!(path(Kind::Entries, 273, 112), "tile/entries/273.p/112");
    }

    #[test]
    fn the_specifications_examples_have_their_tiles() {
        let names = |tiles: &BTreeMap<String, Vec<u8>>, start: &str| {
            tiles
                .keys()
                .filter(|name| name.starts_with(start))
                .cloned()
                .collect::<Vec<_>>()
        };
        // "A tree of size 70,000 will be represented by 273 full level 0 tiles, one partial level 0 tile of width 112,
        // one full level 1 tile, one partial level 1 tile of width 17, and one partial level 2 tile of width 1."
        let large = tiles(70_000);
        assert_eq!(names(&large, "tile/0/").len(), 274);
        assert!(large.contains_key("tile/0/273.p/112") && large.contains_key("tile/entries/273.p/112"));
        assert_eq!(names(&large, "tile/1/"), ["tile/1/000", "tile/1/001.p/17"]);
        assert_eq!(names(&large, "tile/2/"), ["tile/2/000.p/1"]);
        assert!(names(&large, "tile/3/").is_empty());
        // "A tree of size 256 will be represented by a full level 0 tile and a partial level 1 tile of width 1."
        let round = tiles(256);
        assert_eq!(names(&round, ""), ["tile/0/000", "tile/1/000.p/1", "tile/entries/000"]);
        assert!(tiles(0).is_empty());
        // Each hash above is the root of the entries below.
        let mut tree = Frontier::default();
        (0..65_536u32).for_each(|number| tree.push(leaf_hash(&number.to_be_bytes())));
        assert_eq!(large["tile/2/000.p/1"], tree.root());
        assert_eq!(large["tile/0/001"][..32], leaf_hash(&256u32.to_be_bytes()) as Hash);
        assert_eq!(large["tile/entries/000"][..12], [0, 4, 0, 0, 0, 0, 0, 4, 0, 0, 0, 1]);
    }
}
