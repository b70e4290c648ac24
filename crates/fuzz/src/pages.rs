//! Pages of a volume in memory.

use coprocessor_vfs::{PAGE_SIZE, PageSource, PageSourceError, Volume};
use std::{cell::RefCell, collections::BTreeMap, rc::Rc};

/// Pages as a store would keep them. Clones are the same store.
#[derive(Clone, Debug, Default)]
pub(crate) struct Pages(Rc<RefCell<BTreeMap<u32, Vec<u8>>>>);

impl Pages {
    /// Stores what changed in `volume`.
    pub(crate) fn store(&self, volume: &mut Volume<Self>) {
        let mut pages = self.0.borrow_mut();
        for (index, content) in volume.take_dirty() {
            match content {
                Some(content) => pages.insert(index, content),
                None => pages.remove(&index),
            };
        }
    }

    /// Changes the bytes from `at` on, as somebody who is not the volume.
    pub(crate) fn put(&self, at: usize, bytes: &[u8]) {
        let mut pages = self.0.borrow_mut();
        for (offset, byte) in bytes.iter().enumerate() {
            let at = at + offset;
            let page = u32::try_from(at / PAGE_SIZE).expect("a volume has less than 2^32 pages");
            pages.entry(page).or_insert_with(|| vec![0; PAGE_SIZE])[at % PAGE_SIZE] = *byte;
        }
    }
}

impl PageSource for Pages {
    fn read_page(&self, index: u32) -> Result<Option<Vec<u8>>, PageSourceError> {
        Ok(self.0.borrow().get(&index).cloned())
    }
}
