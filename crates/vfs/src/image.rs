//! A volume as the file it would be outside.

use crate::pages::fetch;
use crate::{PAGE_SIZE, PageSource, VfsError};

/// All pages of a volume in order, zeros where a page is absent: a FAT-16 image of the volume's size.
///
/// One page is in memory at a time, so an image can be streamed. It has no partition table; it is what `fsck.fat` and
/// mtools take, and what can be mounted.
///
/// ```
/// use coprocessor_vfs::{Image, PageSource, PageSourceError, PAGE_SIZE};
/// struct Empty;
/// impl PageSource for Empty {
///     fn read_page(&self, _: u32) -> Result<Option<Vec<u8>>, PageSourceError> {
///         Ok(None)
///     }
/// }
/// let image = Image::new(Empty, 3).collect::<Result<Vec<_>, _>>()?.concat();
/// assert_eq!(image, [0; 3 * PAGE_SIZE]);
/// # Ok::<(), coprocessor_vfs::VfsError>(())
/// ```
#[derive(Debug)]
pub struct Image<S> {
    source: S,
    next: u32,
    count: u32,
}

impl<S: PageSource> Image<S> {
    /// The image of a volume of `count` pages (see [`crate::Volume::page_count`]).
    pub fn new(source: S, count: u32) -> Self {
        Self { source, next: 0, count }
    }
}

/// After an error there is nothing more: what follows could not be told from an image that is whole.
impl<S: PageSource> Iterator for Image<S> {
    type Item = Result<Vec<u8>, VfsError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.next == self.count {
            return None;
        }
        let page = read_image_page(&self.source, self.next);
        self.next = if page.is_ok() { self.next + 1 } else { self.count };
        Some(page)
    }
}

/// Page `index` of an image: [`PAGE_SIZE`] bytes, zeros where the page is absent.
///
/// # Errors
/// [`VfsError::Source`] or [`VfsError::PageLength`] when the source fails.
pub fn read_image_page<S: PageSource + ?Sized>(source: &S, index: u32) -> Result<Vec<u8>, VfsError> {
    Ok(fetch(source, index)?.unwrap_or_else(|| vec![0; PAGE_SIZE]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::PageSourceError;

    struct Second(bool);

    impl PageSource for Second {
        fn read_page(&self, index: u32) -> Result<Option<Vec<u8>>, PageSourceError> {
            match index {
                1 if self.0 => Ok(Some(vec![1; PAGE_SIZE])),
                1 => Err(PageSourceError::new("gone")),
                _ => Ok(None),
            }
        }
    }

    #[test]
    fn pages_in_order_with_zeros_between() {
        let pages: Vec<_> = Image::new(Second(true), 3).map(|page| page.expect("no error")).collect();
        assert_eq!(pages, [0, 1, 0].map(|byte| vec![byte; PAGE_SIZE]));
    }

    #[test]
    fn an_error_is_the_end() {
        let mut image = Image::new(Second(false), 3);
        assert!(matches!(image.next(), Some(Ok(_))));
        assert!(matches!(image.next(), Some(Err(VfsError::Source { page: 1, .. }))));
        assert!(image.next().is_none());
    }
}
