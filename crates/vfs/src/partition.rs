//! A volume as the only partition of a disk: an image that begins with a partition table.

use std::ops::Range;

use crate::PAGE_SIZE;

/// Where the partition begins on a disk made here, in bytes: after the page that has the table.
pub const PARTITION_START: u64 = PAGE_SIZE as u64;

const SECTOR_SIZE: u64 = 512;
const SIGNATURE: [u8; 2] = [0x55, 0xaa];
/// The first of the table's four entries.
const ENTRIES: Range<usize> = 446..510;
const ENTRY_SIZE: usize = 16;
/// Kinds of partition that hold FAT-16: up to 32 MiB, larger, and larger addressed by sector number.
const FAT_16: [u8; 3] = [0x04, 0x06, 0x0e];

/// Why a disk has no partition to take a volume from.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PartitionError {
    /// There is no partition with FAT-16.
    #[error("its partition table has no partition of kind 04, 06 or 0e, which FAT-16 has")]
    None,
    /// The partition is not within the disk.
    #[error("its partition is at bytes {start} to {end}, and it has {size}")]
    Outside {
        /// Where the partition begins, in bytes.
        start: u64,
        /// Where it ends, in bytes.
        end: u64,
        /// The disk's size in bytes.
        size: u64,
    },
}

/// The page before a volume of `size` bytes which makes it a partition of a disk.
pub fn partition_table(size: u64) -> Vec<u8> {
    let sectors = |bytes: u64| ((bytes / SECTOR_SIZE) as u32).to_le_bytes();
    let mut page = vec![0; PAGE_SIZE];
    let entry = &mut page[ENTRIES][..ENTRY_SIZE];
    // Places in cylinders, heads and sectors: beyond what these can say, which readers go by the numbers for.
    entry[1..4].copy_from_slice(&[0xfe, 0xff, 0xff]);
    entry[4] = FAT_16[2];
    entry[5..8].copy_from_slice(&[0xfe, 0xff, 0xff]);
    entry[8..12].copy_from_slice(&sectors(PARTITION_START));
    entry[12..16].copy_from_slice(&sectors(size));
    page[ENTRIES.end..][..2].copy_from_slice(&SIGNATURE);
    page
}

/// Where the filesystem is in an image of `size` bytes that begins with `sector`: in the first partition with FAT-16, or all of
/// it where there is no partition table. That there is a filesystem is for [`check`](crate::check()) to say.
///
/// # Errors
/// [`PartitionError`].
pub fn find_filesystem(sector: &[u8; SECTOR_SIZE as usize], size: u64) -> Result<Range<u64>, PartitionError> {
    // A boot sector begins with a jump over its fields, a partition table with code or nothing.
    let is_boot_sector = matches!(sector[0], 0xeb | 0xe9) && u16::from_le_bytes([sector[11], sector[12]]) != 0;
    if is_boot_sector || sector[ENTRIES.end..] != SIGNATURE {
        return Ok(0..size);
    }
    let mut entries = sector[ENTRIES].chunks_exact(ENTRY_SIZE);
    let entry = entries.find(|entry| FAT_16.contains(&entry[4])).ok_or(PartitionError::None)?;
    let bytes = |at: usize| {
        u64::from(u32::from_le_bytes([entry[at], entry[at + 1], entry[at + 2], entry[at + 3]])) * SECTOR_SIZE
    };
    let (start, end) = (bytes(8), bytes(8) + bytes(12));
    if start == 0 || start >= end || end > size {
        return Err(PartitionError::Outside { start, end, size });
    }
    Ok(start..end)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{MIN_VOLUME_SIZE, PageSource, PageSourceError, Volume};

    fn sector(bytes: &[u8]) -> [u8; 512] {
        bytes[..512].try_into().expect("512 bytes")
    }

    struct Empty;

    impl PageSource for Empty {
        fn read_page(&self, _: u32) -> Result<Option<Vec<u8>>, PageSourceError> {
            Ok(None)
        }
    }

    #[test]
    fn finds_the_partition_it_makes() {
        let table = sector(&partition_table(MIN_VOLUME_SIZE));
        let disk = PARTITION_START + MIN_VOLUME_SIZE;
        assert_eq!(find_filesystem(&table, disk), Ok(PARTITION_START..disk));
        let outside = PartitionError::Outside { start: PARTITION_START, end: disk, size: disk - 1 };
        assert_eq!(find_filesystem(&table, disk - 1), Err(outside));
    }

    #[test]
    fn a_filesystem_without_a_table_is_all_of_the_image() {
        let dirty = Volume::format(Empty, MIN_VOLUME_SIZE).expect("a possible size").take_dirty();
        let boot = sector(dirty[0].1.as_deref().expect("a boot sector"));
        assert_eq!(find_filesystem(&boot, MIN_VOLUME_SIZE), Ok(0..MIN_VOLUME_SIZE));
        // What is neither is found out by looking at it as a filesystem.
        assert_eq!(find_filesystem(&[0; 512], 4096), Ok(0..4096));
    }

    #[test]
    fn tables_that_lead_nowhere() {
        let good = sector(&partition_table(MIN_VOLUME_SIZE));
        let disk = PARTITION_START + MIN_VOLUME_SIZE;
        let with = |at: usize, bytes: &[u8]| {
            let mut table = good;
            table[at..at + bytes.len()].copy_from_slice(bytes);
            find_filesystem(&table, disk)
        };
        assert_eq!(with(ENTRIES.start + 4, &[0x83]), Err(PartitionError::None));
        for (start, sectors) in [(0_u32, 8_u32), (8, 0), (u32::MAX, u32::MAX)] {
            let (start, sectors) = (start.to_le_bytes(), sectors.to_le_bytes());
            let refused = with(ENTRIES.start + 8, &[start, sectors].concat());
            assert!(matches!(refused, Err(PartitionError::Outside { .. })), "{refused:?}");
        }
        // Any of the four will do.
        let mut moved = good;
        moved.copy_within(ENTRIES.start..ENTRIES.start + 16, ENTRIES.start + 48);
        moved[ENTRIES.start..ENTRIES.start + 16].fill(0);
        assert_eq!(find_filesystem(&moved, disk), Ok(PARTITION_START..disk));
    }
}
