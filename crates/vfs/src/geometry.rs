//! Where the parts of a FAT-16 filesystem are, and the boot sector that says so.

use std::cmp::Reverse;

use crate::{BootSectorError, MAX_VOLUME_SIZE, MIN_VOLUME_SIZE, PAGE_SIZE, VfsError};

/// Bytes of a boot sector, whatever the size of a sector is.
pub(crate) const BOOT_SECTOR_SIZE: usize = 512;

/// Bytes of a directory entry.
pub(crate) const ENTRY_SIZE: usize = 32;

/// The first cluster. The table's entries 0 and 1 are used otherwise.
pub(crate) const FIRST_CLUSTER: u16 = 2;

/// FAT-16 is what has this many clusters; what has fewer is FAT-12, what has more FAT-32.
const MIN_CLUSTERS: u64 = 4085;
const MAX_CLUSTERS: u64 = 65524;

const SECTOR_SIZE: u64 = 512;
/// All parts begin at a page's start, so that a cluster of a page's size is a page.
const ALIGNMENT: u64 = PAGE_SIZE as u64 / SECTOR_SIZE;
const ROOT_ENTRIES: u16 = 512;
const ROOT_SECTORS: u64 = ROOT_ENTRIES as u64 * ENTRY_SIZE as u64 / SECTOR_SIZE;
const TABLES: u8 = 2;
/// Most sectors that a table of FAT-16 can need.
const MAX_TABLE_SECTORS: u64 = (MAX_CLUSTERS + 2) * 2 / SECTOR_SIZE + ALIGNMENT;

/// Cluster sizes in the order of preference: a page if it gives a proper number of clusters, else the next larger one
/// that does, else the next smaller one.
const CLUSTER_SIZES: [u64; 7] = [4096, 8192, 16384, LARGEST_CLUSTER, 2048, 1024, 512];
const LARGEST_CLUSTER: u64 = 32768;

/// What a boot sector says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct BootSector {
    bytes_per_sector: u16,
    sectors_per_cluster: u8,
    reserved_sectors: u16,
    tables: u8,
    root_entries: u16,
    total_sectors: u32,
    sectors_per_table: u16,
    pub(crate) media: u8,
    /// The writer did not finish, or met errors.
    pub(crate) dirty: bool,
}

impl BootSector {
    /// The layout of a new filesystem in a volume of `size` bytes.
    ///
    /// At the largest sizes the last few sectors are not used: with them there would be too many clusters.
    pub(crate) fn for_size(size: u64) -> Result<Self, VfsError> {
        check_size(size)?;
        CLUSTER_SIZES
            .into_iter()
            .find_map(|cluster_size| Self::for_cluster_size(size / SECTOR_SIZE, cluster_size / SECTOR_SIZE))
            .ok_or(VfsError::Size { got: size })
    }

    fn for_cluster_size(sectors: u64, sectors_per_cluster: u64) -> Option<Self> {
        // As many clusters as there is room for, or as the table has entries for if the next larger table would take
        // more room than it opens up.
        let tables = (ALIGNMENT..=MAX_TABLE_SECTORS).step_by(ALIGNMENT as usize);
        let (clusters, Reverse(table)) = tables
            .filter_map(|table| {
                let room = sectors.checked_sub(data_sector(table))? / sectors_per_cluster;
                Some((room.min(table * SECTOR_SIZE / 2 - 2), Reverse(table)))
            })
            .max()?;
        let largest = sectors_per_cluster * SECTOR_SIZE == LARGEST_CLUSTER;
        let clusters = if largest { clusters.min(MAX_CLUSTERS) } else { clusters };
        if !(MIN_CLUSTERS..=MAX_CLUSTERS).contains(&clusters) {
            return None;
        }
        // What is left behind the last cluster belongs to the filesystem unless it would make a cluster too many.
        let most = data_sector(table) + (clusters + 1) * sectors_per_cluster - 1;
        Some(Self {
            bytes_per_sector: SECTOR_SIZE as u16,
            sectors_per_cluster: sectors_per_cluster.try_into().ok()?,
            reserved_sectors: ALIGNMENT as u16,
            tables: TABLES,
            root_entries: ROOT_ENTRIES,
            total_sectors: sectors.min(most).try_into().ok()?,
            sectors_per_table: table.try_into().ok()?,
            media: MEDIA,
            dirty: false,
        })
    }

    /// The bytes of the boot sector, the same for the same layout: serial number and label are fixed.
    pub(crate) fn encode(&self) -> [u8; BOOT_SECTOR_SIZE] {
        let small_total = u16::try_from(self.total_sectors).unwrap_or(0);
        let large_total = if small_total == 0 { self.total_sectors } else { 0 };
        let mut bytes = [0; BOOT_SECTOR_SIZE];
        let mut put = |at: usize, field: &[u8]| bytes[at..][..field.len()].copy_from_slice(field);
        put(0, &[0xeb, 0x3c, 0x90]); // jump to the code at 62
        put(3, b"MSWIN4.1"); // the writer's name; old readers expect this one
        put(11, &self.bytes_per_sector.to_le_bytes());
        put(13, &[self.sectors_per_cluster]);
        put(14, &self.reserved_sectors.to_le_bytes());
        put(16, &[self.tables]);
        put(17, &self.root_entries.to_le_bytes());
        put(19, &small_total.to_le_bytes());
        put(21, &[self.media]);
        put(22, &self.sectors_per_table.to_le_bytes());
        put(24, &32_u16.to_le_bytes()); // sectors per track: no disk has tracks, yet mtools wants a number
        put(26, &64_u16.to_le_bytes()); // heads
        put(32, &large_total.to_le_bytes());
        put(36, &[0x80, u8::from(self.dirty), 0x29]); // a fixed disk, clean, the next three fields are there
        put(39, &0x434f_5052_u32.to_le_bytes()); // serial number
        put(43, b"NO NAME    ");
        put(54, b"FAT16   ");
        put(62, &[0xcd, 0x18, 0xeb, 0xfe]); // tell the machine that nothing can be booted here, and stop
        put(510, &SIGNATURE);
        bytes
    }

    /// Reads a boot sector without judging the numbers in it.
    pub(crate) fn decode(bytes: &[u8; BOOT_SECTOR_SIZE]) -> Result<Self, BootSectorError> {
        let byte = |at: usize| bytes[at];
        let short = |at: usize| u16::from_le_bytes([bytes[at], bytes[at + 1]]);
        let long = |at: usize| u32::from(short(at)) | u32::from(short(at + 2)) << 16;
        let signature = [byte(510), byte(511)];
        if signature != SIGNATURE {
            return Err(BootSectorError::Signature { got: signature });
        }
        Ok(Self {
            bytes_per_sector: short(11),
            sectors_per_cluster: byte(13),
            reserved_sectors: short(14),
            tables: byte(16),
            root_entries: short(17),
            total_sectors: if short(19) == 0 { long(32) } else { short(19).into() },
            sectors_per_table: short(22),
            media: byte(21),
            // Whether there is this field is said in the one after it.
            dirty: matches!(byte(38), 0x28 | 0x29) && byte(37) & 3 != 0,
        })
    }

    /// Where the parts are, if all of them fit the volume of `size` bytes and each other.
    pub(crate) fn geometry(&self, size: u64) -> Result<Geometry, BootSectorError> {
        let sector = u64::from(self.bytes_per_sector);
        if !matches!(sector, 512 | 1024 | 2048 | 4096) {
            return Err(BootSectorError::SectorSize { got: self.bytes_per_sector });
        }
        let cluster_size = sector * u64::from(self.sectors_per_cluster);
        if !self.sectors_per_cluster.is_power_of_two() || cluster_size > 64 << 10 {
            return Err(BootSectorError::ClusterSize { got: self.sectors_per_cluster });
        }
        if self.reserved_sectors == 0 {
            return Err(BootSectorError::ReservedSectors);
        }
        if !matches!(self.tables, 1 | 2) {
            return Err(BootSectorError::Tables { got: self.tables });
        }
        if self.root_entries == 0 {
            return Err(BootSectorError::RootEntries);
        }
        let total = u64::from(self.total_sectors) * sector;
        if total > size {
            return Err(BootSectorError::TotalSize { got: total, max: size });
        }
        let table_size = u64::from(self.sectors_per_table) * sector;
        let table_start = u64::from(self.reserved_sectors) * sector;
        let root_start = table_start + u64::from(self.tables) * table_size;
        let root_size = u64::from(self.root_entries) * ENTRY_SIZE as u64;
        if !root_size.is_multiple_of(sector) {
            return Err(BootSectorError::RootSize { got: self.root_entries, sector: self.bytes_per_sector });
        }
        let data_start = root_start + root_size;
        let clusters = total.saturating_sub(data_start) / cluster_size;
        if !(MIN_CLUSTERS..=MAX_CLUSTERS).contains(&clusters) {
            return Err(BootSectorError::Clusters { got: clusters });
        }
        let needed = (clusters + 2) * 2;
        if table_size < needed {
            return Err(BootSectorError::TableSize { got: table_size, needed });
        }
        Ok(Geometry {
            cluster_size: cluster_size as usize,
            last_cluster: clusters as u16 + 1,
            table_start,
            table_size,
            tables: self.tables,
            root_start,
            root_entries: self.root_entries.into(),
            data_start,
        })
    }
}

const SIGNATURE: [u8; 2] = [0x55, 0xaa];
/// The kind of medium: a fixed disk. The table's first entry repeats it.
pub(crate) const MEDIA: u8 = 0xf8;

/// Whether a volume can have `size` bytes.
pub(crate) fn check_size(size: u64) -> Result<(), VfsError> {
    let possible = (MIN_VOLUME_SIZE..=MAX_VOLUME_SIZE).contains(&size) && size.is_multiple_of(PAGE_SIZE as u64);
    if possible { Ok(()) } else { Err(VfsError::Size { got: size }) }
}

fn data_sector(table: u64) -> u64 {
    ALIGNMENT + u64::from(TABLES) * table + ROOT_SECTORS
}

/// Where the parts of a filesystem are, in bytes from its start. All lie within the volume, and the table has an entry
/// for each cluster.
#[derive(Clone, Debug)]
pub(crate) struct Geometry {
    pub(crate) cluster_size: usize,
    /// The clusters are those from [`FIRST_CLUSTER`] to this one.
    pub(crate) last_cluster: u16,
    pub(crate) table_start: u64,
    pub(crate) table_size: u64,
    pub(crate) tables: u8,
    pub(crate) root_start: u64,
    pub(crate) root_entries: u32,
    data_start: u64,
}

impl Geometry {
    pub(crate) fn clusters(&self) -> u16 {
        self.last_cluster - 1
    }

    pub(crate) fn is_cluster(&self, number: u16) -> bool {
        (FIRST_CLUSTER..=self.last_cluster).contains(&number)
    }

    /// Where a cluster's content is.
    pub(crate) fn cluster_start(&self, cluster: u16) -> u64 {
        self.data_start + u64::from(cluster - FIRST_CLUSTER) * self.cluster_size as u64
    }

    /// Where a cluster's entry is in the first table.
    pub(crate) fn table_entry(&self, cluster: u16) -> u64 {
        self.table_start + u64::from(cluster) * 2
    }

    /// How many clusters `bytes` fill.
    pub(crate) fn clusters_for(&self, bytes: usize) -> usize {
        bytes.div_ceil(self.cluster_size)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn geometry(size: u64) -> Geometry {
        BootSector::for_size(size).and_then(|boot| Ok(boot.geometry(size)?)).expect("a possible size")
    }

    #[test]
    fn every_size_is_fat_16() {
        for pages in MIN_VOLUME_SIZE / PAGE_SIZE as u64..=MAX_VOLUME_SIZE / PAGE_SIZE as u64 {
            let size = pages * PAGE_SIZE as u64;
            let geometry = geometry(size);
            assert!((MIN_CLUSTERS..=MAX_CLUSTERS).contains(&geometry.clusters().into()), "{size}");
            let end = geometry.cluster_start(geometry.last_cluster) + geometry.cluster_size as u64;
            assert!(end <= size && size - end < 8192 + 5 * geometry.cluster_size as u64, "{size}");
            assert_eq!(geometry.data_start % PAGE_SIZE as u64, 0, "{size}");
            assert_eq!(geometry.table_start % PAGE_SIZE as u64, 0, "{size}");
        }
    }

    #[test]
    fn the_smallest_volume_is_the_smallest_fat_16() {
        assert_eq!(geometry(MIN_VOLUME_SIZE).cluster_size, 512);
        let sectors = MIN_VOLUME_SIZE / SECTOR_SIZE - ALIGNMENT;
        for cluster_size in CLUSTER_SIZES {
            assert_eq!(BootSector::for_cluster_size(sectors, cluster_size / SECTOR_SIZE), None);
        }
    }

    #[test]
    fn sizes_of_clusters() {
        for (size, cluster_size) in [(4, 512), (5, 1024), (8, 1024), (9, 2048), (15, 2048), (16, 4096), (64, 4096)]
            .into_iter()
            .chain([(255, 4096), (257, 8192), (512, 8192), (1024, 16384), (2048, 32768)])
        {
            assert_eq!(geometry(size << 20).cluster_size, cluster_size, "{size} MiB");
        }
        assert_eq!(u64::from(geometry(MAX_VOLUME_SIZE).clusters()), MAX_CLUSTERS);
    }

    #[test]
    fn other_sizes_are_refused() {
        for size in [0, 1, MIN_VOLUME_SIZE - 4096, MIN_VOLUME_SIZE + 1, MAX_VOLUME_SIZE + 4096, u64::MAX] {
            assert!(matches!(BootSector::for_size(size), Err(VfsError::Size { got }) if got == size));
        }
    }

    #[test]
    fn encodes_what_it_decodes() {
        for size in [MIN_VOLUME_SIZE, 32 << 20, (32 << 20) - 4096, 64 << 20, MAX_VOLUME_SIZE] {
            let boot = BootSector::for_size(size).expect("a possible size");
            assert_eq!(BootSector::decode(&boot.encode()), Ok(boot));
        }
    }

    #[test]
    fn says_what_is_wrong_with_a_boot_sector() {
        let size = 16 << 20;
        let good = BootSector::for_size(size).expect("a possible size");
        let refused = |change: &dyn Fn(&mut BootSector)| {
            let mut boot = good.clone();
            change(&mut boot);
            boot.geometry(size).expect_err("refused")
        };
        assert_eq!(refused(&|b| b.bytes_per_sector = 513), BootSectorError::SectorSize { got: 513 });
        assert_eq!(refused(&|b| b.bytes_per_sector = 0), BootSectorError::SectorSize { got: 0 });
        assert_eq!(refused(&|b| b.sectors_per_cluster = 0), BootSectorError::ClusterSize { got: 0 });
        assert_eq!(refused(&|b| b.sectors_per_cluster = 3), BootSectorError::ClusterSize { got: 3 });
        let large = |b: &mut BootSector| (b.bytes_per_sector, b.sectors_per_cluster) = (4096, 32);
        assert_eq!(refused(&large), BootSectorError::ClusterSize { got: 32 });
        assert_eq!(refused(&|b| b.reserved_sectors = 0), BootSectorError::ReservedSectors);
        assert_eq!(refused(&|b| b.tables = 3), BootSectorError::Tables { got: 3 });
        assert_eq!(refused(&|b| b.root_entries = 0), BootSectorError::RootEntries);
        assert_eq!(refused(&|b| b.root_entries = 500), BootSectorError::RootSize { got: 500, sector: 512 });
        assert_eq!(refused(&|b| b.total_sectors += 1), BootSectorError::TotalSize { got: size + 512, max: size });
        assert_eq!(refused(&|b| b.total_sectors = 1), BootSectorError::Clusters { got: 0 });
        assert_eq!(refused(&|b| b.sectors_per_cluster = 16), BootSectorError::Clusters { got: 2043 });
        assert!(matches!(refused(&|b| b.sectors_per_table = 15), BootSectorError::TableSize { got: 7680, .. }));
        assert_eq!(BootSector::decode(&[0; 512]), Err(BootSectorError::Signature { got: [0, 0] }));
    }
}
