//! Sparse memory: pages appear when they are touched, from the program's image or as zeros.

use std::collections::HashMap;

use super::Fault;

/// Bytes of a page.
pub(super) const PAGE: usize = 4096;
/// SP1's address space.
pub(super) const ADDRESS_SPACE: u64 = 1 << 48;
const CACHE: usize = 64;
const NO_PAGE: u64 = u64::MAX;

pub(super) type Page = [u8; PAGE];

pub(super) struct Memory<'p> {
    image: &'p HashMap<u64, Box<Page>>,
    table: HashMap<u64, u32>,
    pages: Vec<Box<Page>>,
    /// Direct-mapped: which page number was found at which index.
    cache: [(u64, u32); CACHE],
    limit: usize,
    /// Pages as they were when the unconstrained block began.
    saved: Option<HashMap<u32, Box<Page>>>,
}

impl<'p> Memory<'p> {
    /// Memory of at most `limit` bytes over a program's image.
    pub(super) fn new(image: &'p HashMap<u64, Box<Page>>, limit: usize) -> Self {
        Self { image, table: HashMap::new(), pages: Vec::new(), cache: [(NO_PAGE, 0); CACHE], limit, saved: None }
    }

    /// `N` bytes at an address that is a multiple of `N`, a power of two.
    pub(super) fn load<const N: usize>(&mut self, address: u64) -> Result<[u8; N], Fault> {
        let index = self.index(address)?;
        let offset = address as usize % PAGE;
        let mut bytes = [0; N];
        bytes.copy_from_slice(&self.pages[index as usize][offset..offset + N]);
        Ok(bytes)
    }

    /// Writes `N` bytes at an address that is a multiple of `N`, a power of two.
    pub(super) fn store<const N: usize>(&mut self, address: u64, bytes: [u8; N]) -> Result<(), Fault> {
        let offset = address as usize % PAGE;
        self.page_mut(address)?[offset..offset + N].copy_from_slice(&bytes);
        Ok(())
    }

    /// Appends `len` bytes from any address.
    pub(super) fn read(&mut self, mut address: u64, mut len: usize, out: &mut Vec<u8>) -> Result<(), Fault> {
        while len > 0 {
            let offset = address as usize % PAGE;
            let count = len.min(PAGE - offset);
            let index = self.index(address)?;
            out.extend_from_slice(&self.pages[index as usize][offset..offset + count]);
            len -= count;
            address = address.wrapping_add(count as u64);
        }
        Ok(())
    }

    /// Writes bytes at any address.
    pub(super) fn write(&mut self, mut address: u64, mut bytes: &[u8]) -> Result<(), Fault> {
        while !bytes.is_empty() {
            let offset = address as usize % PAGE;
            let count = bytes.len().min(PAGE - offset);
            self.page_mut(address)?[offset..offset + count].copy_from_slice(&bytes[..count]);
            bytes = &bytes[count..];
            address = address.wrapping_add(count as u64);
        }
        Ok(())
    }

    /// From here on writes are remembered.
    pub(super) fn begin_unconstrained(&mut self) {
        self.saved = Some(HashMap::new());
    }

    /// Undoes every write since [`begin_unconstrained`](Self::begin_unconstrained); gives the number of pages restored.
    pub(super) fn end_unconstrained(&mut self) -> usize {
        let saved = self.saved.take().unwrap_or_default();
        let count = saved.len();
        for (index, page) in saved {
            self.pages[index as usize] = page;
        }
        count
    }

    fn page_mut(&mut self, address: u64) -> Result<&mut Page, Fault> {
        let index = self.index(address)?;
        let page = &mut self.pages[index as usize];
        if let Some(saved) = &mut self.saved {
            saved.entry(index).or_insert_with(|| page.clone());
        }
        Ok(page)
    }

    #[inline]
    fn index(&mut self, address: u64) -> Result<u32, Fault> {
        let number = address / PAGE as u64;
        let (cached, index) = self.cache[number as usize % CACHE];
        if cached == number { Ok(index) } else { self.find(address, number) }
    }

    #[cold]
    fn find(&mut self, address: u64, number: u64) -> Result<u32, Fault> {
        if address >= ADDRESS_SPACE {
            return Err(Fault::Address { address });
        }
        let index = match self.table.get(&number) {
            Some(index) => *index,
            None => self.appear(number)?,
        };
        self.cache[number as usize % CACHE] = (number, index);
        Ok(index)
    }

    fn appear(&mut self, number: u64) -> Result<u32, Fault> {
        let index = self.pages.len();
        if (index + 1) * PAGE > self.limit {
            return Err(Fault::Memory { limit: self.limit });
        }
        let index = u32::try_from(index).map_err(|_| Fault::Memory { limit: self.limit })?;
        self.pages.push(self.image.get(&number).cloned().unwrap_or_else(|| Box::new([0; PAGE])));
        self.table.insert(number, index);
        Ok(index)
    }
}
