//! The names of a log's files, as `docs/audit-log.md` and C2SP tlog-tiles have them.
//!
//! Touches no file.

use std::fmt::Write as _;

/// Hashes of a full tile, and entries of a full bundle.
pub(super) const TILE_WIDTH: usize = 256;
/// The same, for numbers of entries.
pub(super) const BUNDLE: u64 = 256;
/// The longest entry.
pub(super) const ENTRY_BYTES_MAX: usize = 65_535;

pub(super) const LOCK: &str = "lock";
pub(super) const AUTHORITIES: &str = "authorities";
pub(super) const CERTIFICATE: &str = "certificate";
pub(super) const CHECKPOINT: &str = "checkpoint";
pub(super) const TAIL: &str = "tail";
pub(super) const TILES: &str = "tile";

/// What a tile holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tile {
    /// Entries.
    Entries,
    /// Hashes of this level.
    Hashes(u8),
}

impl Tile {
    /// The path of the full tile `number`.
    pub(super) fn path(self, number: u64) -> String {
        let mut path = match self {
            Self::Entries => "tile/entries/".to_owned(),
            Self::Hashes(level) => format!("tile/{level}/"),
        };
        path.push_str(&number_path(number));
        path
    }

    /// The path of the tile `number` with `width` entries or hashes, fewer than a full one has.
    pub(super) fn partial_path(self, number: u64, width: usize) -> String {
        let mut path = self.path(number);
        // Writing to a String cannot fail.
        let _ = write!(path, ".p/{width}");
        path
    }
}

/// Three digits a step; all but the last begin with an `x`.
fn number_path(number: u64) -> String {
    let mut path = format!("{:03}", number % 1_000);
    let mut rest = number / 1_000;
    while rest > 0 {
        path = format!("x{:03}/{path}", rest % 1_000);
        rest /= 1_000;
    }
    path
}

/// The name of a log's folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct LogName {
    pub(super) number: u64,
    id: u64,
}

impl LogName {
    pub(super) fn new(number: u64, id: u64) -> Self {
        Self { number, id }
    }

    /// Its id: 16 lower-case hexadecimal digits.
    pub(super) fn id(self) -> String {
        format!("{:016x}", self.id)
    }

    pub(super) fn folder(self) -> String {
        format!("{:06}-{:016x}", self.number, self.id)
    }

    /// The folder while the log is being made: a name that begins with a dot is no log.
    pub(super) fn unborn_folder(self) -> String {
        format!(".{}.new", self.folder())
    }

    /// What a name of a folder says; `None` if it is no log's.
    pub(super) fn parse(folder: &str) -> Option<Self> {
        let (number, id) = folder.split_once('-')?;
        let name = Self { number: number.parse().ok()?, id: u64::from_str_radix(id, 16).ok()? };
        (name.folder() == folder).then_some(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tiles_have_the_names_of_the_specification() {
        assert_eq!(Tile::Entries.path(0), "tile/entries/000");
        assert_eq!(Tile::Hashes(0).path(1_234_067), "tile/0/x001/x234/067");
        assert_eq!(Tile::Hashes(1).path(1_000), "tile/1/x001/000");
        assert_eq!(Tile::Hashes(0).partial_path(273, 112), "tile/0/273.p/112");
        assert_eq!(Tile::Entries.partial_path(999, 1), "tile/entries/999.p/1");
        // And those of the library, but for the height that it puts in.
        for number in [0, 999, 1_000, 999_999, 1_000_000, u64::MAX >> 8] {
            let theirs = tlog_tiles::Tile::new(8, 0, number, 256, false).path();
            assert_eq!(Tile::Hashes(0).path(number), theirs.replace("tile/8/", "tile/"));
        }
    }

    #[test]
    fn the_name_of_a_log_is_its_number_and_its_id() {
        let name = LogName::new(17, 0x8f3a_5c0d_9e21_b764);
        assert_eq!(name.folder(), "000017-8f3a5c0d9e21b764");
        assert_eq!(LogName::parse(&name.folder()), Some(name));
        let million = LogName { number: 1_000_000, ..name };
        assert_eq!(LogName::parse(&million.folder()), Some(million));
        for bad in [
            &name.unborn_folder(),
            "lock",
            "17-8f3a5c0d9e21b764",
            "0000017-8f3a5c0d9e21b764",
            "000017-8F3A5C0D9E21B764",
            "000017-8f3a5c0d9e21b76",
            "+00017-8f3a5c0d9e21b764",
        ] {
            assert_eq!(LogName::parse(bad), None, "{bad}");
        }
    }
}
