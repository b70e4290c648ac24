//! Files with sections, taken apart and put together.

/// A file: its first eight bytes, and its sections.
#[derive(Clone)]
pub(crate) struct File {
    pub(crate) head: [u8; 8],
    pub(crate) sections: Vec<(u32, Vec<u8>)>,
}

impl File {
    pub(crate) fn new(magic: &[u8; 4], version: u32) -> Self {
        let head = [&magic[..], &version.to_le_bytes()].concat().try_into().unwrap();
        Self { head, sections: Vec::new() }
    }

    pub(crate) fn of(bytes: &[u8]) -> Self {
        let (head, rest) = bytes.split_first_chunk::<8>().unwrap();
        let (count, mut rest) = rest.split_first_chunk::<4>().unwrap();
        let mut sections = Vec::new();
        for _ in 0..u32::from_le_bytes(*count) {
            let (id, after) = rest.split_first_chunk::<4>().unwrap();
            let (length, after) = after.split_first_chunk::<8>().unwrap();
            let (bytes, after) = after.split_at(usize::try_from(u64::from_le_bytes(*length)).unwrap());
            sections.push((u32::from_le_bytes(*id), bytes.to_vec()));
            rest = after;
        }
        assert!(rest.is_empty());
        Self { head: *head, sections }
    }

    pub(crate) fn section(&mut self, id: u32) -> &mut Vec<u8> {
        &mut self.sections.iter_mut().find(|(there, _)| *there == id).unwrap().1
    }

    /// With a change in one section.
    pub(crate) fn with(&self, id: u32, change: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
        let mut changed = self.clone();
        change(changed.section(id));
        changed.bytes()
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        let mut bytes = self.head.to_vec();
        bytes.extend((self.sections.len() as u32).to_le_bytes());
        for (id, section) in &self.sections {
            bytes.extend(id.to_le_bytes());
            bytes.extend((section.len() as u64).to_le_bytes());
            bytes.extend(section);
        }
        bytes
    }
}

/// Puts a number where there was one.
pub(crate) fn put(bytes: &mut [u8], at: usize, number: u32) {
    bytes[at..at + 4].copy_from_slice(&number.to_le_bytes());
}
