//! Pages in memory, over those of a source: what was changed, and how to take a change back.

use std::collections::BTreeMap;
use std::ops::Range;

use crate::{PAGE_SIZE, VfsError};

/// Why a source could not give a page: whatever error the source has.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct PageSourceError(pub Box<dyn std::error::Error + Send + Sync>);

impl PageSourceError {
    /// Wraps the source's own error.
    pub fn new(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self(error.into())
    }
}

/// Where a volume's pages come from.
pub trait PageSource {
    /// Page `index`: [`PAGE_SIZE`] bytes, or `None` where the page is all zeros and kept nowhere.
    ///
    /// # Errors
    /// Whatever keeps the source from knowing. The operation that needed the page fails with [`VfsError::Source`].
    fn read_page(&self, index: u32) -> Result<Option<Vec<u8>>, PageSourceError>;
}

impl<S: PageSource + ?Sized> PageSource for &S {
    fn read_page(&self, index: u32) -> Result<Option<Vec<u8>>, PageSourceError> {
        (**self).read_page(index)
    }
}

impl<S: PageSource + ?Sized> PageSource for Box<S> {
    fn read_page(&self, index: u32) -> Result<Option<Vec<u8>>, PageSourceError> {
        (**self).read_page(index)
    }
}

impl<S: PageSource + ?Sized> PageSource for std::sync::Arc<S> {
    fn read_page(&self, index: u32) -> Result<Option<Vec<u8>>, PageSourceError> {
        (**self).read_page(index)
    }
}

/// A page of the source, its length checked.
pub(crate) fn fetch<S: PageSource + ?Sized>(source: &S, page: u32) -> Result<Option<Vec<u8>>, VfsError> {
    match source.read_page(page).map_err(|source| VfsError::Source { page, source })? {
        Some(bytes) if bytes.len() != PAGE_SIZE => Err(VfsError::PageLength { page, got: bytes.len() }),
        bytes => Ok(bytes),
    }
}

pub(crate) fn is_zero(bytes: &[u8]) -> bool {
    bytes.iter().all(|&byte| byte == 0)
}

const ZEROS: [u8; PAGE_SIZE] = [0; PAGE_SIZE];

#[derive(Clone, Debug)]
struct Page {
    /// `None`: all zeros.
    bytes: Option<Vec<u8>>,
    dirty: bool,
}

impl Page {
    fn as_slice(&self) -> &[u8] {
        self.bytes.as_deref().unwrap_or(&ZEROS)
    }
}

/// The pages of a volume: those held in memory, and the source for all others.
///
/// Offsets are in bytes from the volume's start. Callers derive them from a geometry that was checked against the
/// volume's size, so one beyond the end is a defect, which panics.
#[derive(Debug)]
pub(crate) struct Pages<S> {
    source: S,
    count: u32,
    /// Changed pages, and those that hold the table or directories.
    held: BTreeMap<u32, Page>,
    /// What `held` had, before the operation in progress, for each page the operation changed.
    before: BTreeMap<u32, Option<Page>>,
}

impl<S: PageSource> Pages<S> {
    /// `count` pages, of which none is in memory yet.
    pub(crate) fn new(source: S, count: u32) -> Self {
        Self { source, count, held: BTreeMap::new(), before: BTreeMap::new() }
    }

    pub(crate) fn count(&self) -> u32 {
        self.count
    }

    /// A page, from now on held in memory.
    pub(crate) fn page(&mut self, index: u32) -> Result<&[u8], VfsError> {
        Ok(self.hold(index)?.as_slice())
    }

    /// Fills `out` from `offset` on, holding the pages in memory: for what is read again and again.
    pub(crate) fn read(&mut self, offset: u64, out: &mut [u8]) -> Result<(), VfsError> {
        for span in spans(offset, out.len()) {
            out[span.part].copy_from_slice(&self.page(span.page)?[span.within]);
        }
        Ok(())
    }

    /// Fills `out` from `offset` on, without holding pages that are not held already: for the content of files.
    pub(crate) fn read_through(&self, offset: u64, out: &mut [u8]) -> Result<(), VfsError> {
        for span in spans(offset, out.len()) {
            let out = &mut out[span.part];
            match self.held.get(&span.page) {
                Some(page) => out.copy_from_slice(&page.as_slice()[span.within]),
                None => match fetch(&self.source, span.page)? {
                    Some(bytes) => out.copy_from_slice(&bytes[span.within]),
                    None => out.fill(0),
                },
            }
        }
        Ok(())
    }

    /// Writes `length` bytes from `offset` on: `content`, then zeros. Pages covered whole are not read first.
    pub(crate) fn write(&mut self, offset: u64, content: &[u8], length: usize) -> Result<(), VfsError> {
        for span in spans(offset, length) {
            let given = &content[span.part.start.min(content.len())..span.part.end.min(content.len())];
            if span.within.len() < PAGE_SIZE {
                self.hold(span.page)?;
            }
            let held = self.held.get(&span.page);
            self.before.entry(span.page).or_insert_with(|| held.cloned());
            let page = self.held.entry(span.page).or_insert(Page { bytes: None, dirty: true });
            page.dirty = true;
            if span.within.len() == PAGE_SIZE && given.is_empty() {
                page.bytes = None;
            } else {
                let bytes = &mut page.bytes.get_or_insert_with(|| ZEROS.to_vec())[span.within];
                let (start, rest) = bytes.split_at_mut(given.len());
                start.copy_from_slice(given);
                rest.fill(0);
            }
        }
        Ok(())
    }

    /// Makes the changes since the last call of this or of [`Self::roll_back`] stay.
    pub(crate) fn commit(&mut self) {
        for (index, before) in std::mem::take(&mut self.before) {
            // A page that ends as it began is not a change: rewriting a file often leaves the table as it was.
            if let Some(before) = before
                && self.held.get(&index).is_some_and(|page| page.as_slice() == before.as_slice())
            {
                self.held.insert(index, before);
            }
        }
    }

    /// Takes back the changes since the last call of this or of [`Self::commit`].
    pub(crate) fn roll_back(&mut self) {
        for (index, before) in std::mem::take(&mut self.before) {
            match before {
                Some(page) => self.held.insert(index, page),
                None => self.held.remove(&index),
            };
        }
    }

    /// The changed pages in ascending order, which count as unchanged from now on.
    pub(crate) fn take_dirty(&mut self) -> Vec<(u32, Option<Vec<u8>>)> {
        let dirty = self.held.iter_mut().filter(|(_, page)| page.dirty).map(|(&index, page)| {
            page.dirty = false;
            page.bytes.take_if(|bytes| is_zero(bytes));
            (index, page.bytes.clone())
        });
        dirty.collect()
    }

    /// The changed pages in ascending order, which stay so.
    pub(crate) fn dirty(&self) -> impl Iterator<Item = (u32, Option<&[u8]>)> {
        let dirty = self.held.iter().filter(|(_, page)| page.dirty);
        dirty.map(|(&index, page)| (index, page.bytes.as_deref().filter(|bytes| !is_zero(bytes))))
    }

    fn hold(&mut self, index: u32) -> Result<&Page, VfsError> {
        assert!(index < self.count, "page {index} of a volume of {} pages", self.count);
        match self.held.entry(index) {
            std::collections::btree_map::Entry::Occupied(held) => Ok(held.into_mut()),
            std::collections::btree_map::Entry::Vacant(place) => {
                let bytes = fetch(&self.source, index)?;
                Ok(place.insert(Page { bytes, dirty: false }))
            }
        }
    }
}

/// The part of a range of bytes that lies in one page.
struct Span {
    page: u32,
    /// Bytes of the page.
    within: Range<usize>,
    /// The same bytes, counted from the range's start.
    part: Range<usize>,
}

fn spans(offset: u64, length: usize) -> impl Iterator<Item = Span> {
    let mut done = 0;
    std::iter::from_fn(move || {
        let at = offset + done as u64;
        let start = (at % PAGE_SIZE as u64) as usize;
        let size = (PAGE_SIZE - start).min(length - done);
        let part = done..done + size;
        done += size;
        // A volume has at most 2^19 pages.
        (size > 0).then(|| Span { page: (at / PAGE_SIZE as u64) as u32, within: start..start + size, part })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::RefCell;

    /// Gives page 1 as sevens and page 2 never, and notes what it is asked for.
    #[derive(Default)]
    struct Asked(RefCell<Vec<u32>>);

    impl PageSource for Asked {
        fn read_page(&self, index: u32) -> Result<Option<Vec<u8>>, PageSourceError> {
            self.0.borrow_mut().push(index);
            match index {
                1 => Ok(Some(vec![7; PAGE_SIZE])),
                2 => Err(PageSourceError::new("gone")),
                3 => Ok(Some(vec![7; PAGE_SIZE - 1])),
                _ => Ok(None),
            }
        }
    }

    fn pages() -> Pages<Asked> {
        Pages::new(Asked::default(), 6)
    }

    #[test]
    fn reads_across_pages_and_holds_them() {
        let mut pages = pages();
        let mut out = [9; PAGE_SIZE + 1];
        pages.read(PAGE_SIZE as u64 - 1, &mut out).expect("pages 0 and 1");
        assert_eq!((out[0], out[1], out[PAGE_SIZE]), (0, 7, 7));
        pages.read(0, &mut out).expect("pages 0 and 1");
        assert_eq!(*pages.source.0.borrow(), [0, 1]);
    }

    #[test]
    fn content_is_not_held() {
        let pages = pages();
        let mut out = [0; 3];
        pages.read_through(PAGE_SIZE as u64 - 1, &mut out).expect("pages 0 and 1");
        pages.read_through(PAGE_SIZE as u64 - 1, &mut out).expect("pages 0 and 1");
        assert_eq!(out, [0, 7, 7]);
        assert_eq!(*pages.source.0.borrow(), [0, 1, 0, 1]);
    }

    #[test]
    fn a_page_written_whole_is_not_read() {
        let mut pages = pages();
        pages.write(4 * PAGE_SIZE as u64, &[1; 10], PAGE_SIZE).expect("a whole page");
        pages.write(5 * PAGE_SIZE as u64 + 1, &[2], 2).expect("a part of a page");
        assert_eq!(*pages.source.0.borrow(), [5]);
        pages.commit();
        let dirty = pages.take_dirty();
        let expected = |at: usize, bytes: &[u8]| {
            let mut page = vec![0; PAGE_SIZE];
            page[at..][..bytes.len()].copy_from_slice(bytes);
            Some(page)
        };
        assert_eq!(dirty, [(4, expected(0, &[1; 10])), (5, expected(1, &[2]))]);
        assert_eq!(pages.take_dirty(), []);
    }

    #[test]
    fn zeros_are_handed_over_as_absent() {
        let mut pages = pages();
        pages.write(PAGE_SIZE as u64, &[], PAGE_SIZE).expect("a whole page");
        pages.write(4 * PAGE_SIZE as u64, &[0; PAGE_SIZE], PAGE_SIZE).expect("a whole page");
        assert_eq!(pages.take_dirty(), [(1, None), (4, None)]);
    }

    #[test]
    fn rolls_back_to_the_last_commit() {
        let mut pages = pages();
        pages.write(0, &[1], 1).expect("a part of a page");
        pages.commit();
        pages.write(0, &[2], 1).expect("a part of a page");
        pages.write(PAGE_SIZE as u64, &[2], 1).expect("a part of a page");
        pages.write(4 * PAGE_SIZE as u64, &[2], PAGE_SIZE).expect("a whole page");
        pages.roll_back();
        assert_eq!(pages.page(0).expect("held")[0], 1);
        assert_eq!(pages.page(1).expect("held")[0], 7);
        assert_eq!(pages.take_dirty().into_iter().map(|(index, _)| index).collect::<Vec<_>>(), [0]);
    }

    #[test]
    fn what_is_as_before_is_no_change() {
        let mut pages = pages();
        pages.write(PAGE_SIZE as u64, &[1], 1).expect("a part of a page");
        pages.write(PAGE_SIZE as u64, &[7], 1).expect("a part of a page");
        pages.commit();
        assert_eq!(pages.take_dirty(), []);
    }

    #[test]
    fn errors_of_the_source_name_the_page() {
        let mut pages = pages();
        assert!(matches!(pages.page(2), Err(VfsError::Source { page: 2, .. })));
        assert!(matches!(pages.page(3), Err(VfsError::PageLength { page: 3, got: 4095 })));
    }
}
