//! Volumes that others made, or that are damaged: used in every way there is.

use crate::{Input, Seed, Target, Writer, pages::Pages};
use coprocessor_vfs::{DEFAULT_VOLUME_SIZE, EntryKind, MIN_VOLUME_SIZE, PAGE_SIZE, VfsError, Volume, check};

pub(crate) const TARGET: Target = Target { name: "image", about: "vfs: hostile FAT images", run, seeds };

/// Where the parts of a volume of the smallest size begin, in bytes; the last is where files are.
const PARTS: [usize; 4] = [0, TABLE, ROOT, DATA];
const TABLE: usize = 4096;
const ROOT: usize = TABLE + 2 * 8192;
const DATA: usize = ROOT + 16384;
/// Most changes to an image.
const MOST: usize = 32;
/// Most files and directories that are used: an image may have directories in themselves.
const MOST_USED: usize = 40;

fn run(data: &[u8]) {
    let mut input = Input::new(data);
    let pages = image(&mut input);
    let size = match input.below(4) {
        0 => MIN_VOLUME_SIZE + u64::from(input.byte()) * PAGE_SIZE as u64,
        1 => DEFAULT_VOLUME_SIZE,
        _ => MIN_VOLUME_SIZE,
    };
    let whole = check(pages.clone(), size).is_ok();
    let Ok(mut volume) = Volume::open(pages, size) else {
        assert!(!whole, "an image that is whole does not open");
        return;
    };
    let mut using = Using { volume: &mut volume, whole };
    let mut directories = vec![String::new()];
    let mut used = 0;
    while let Some(directory) = directories.pop() {
        for entry in using.sound(|volume| volume.list(&directory)).unwrap_or_default() {
            used += 1;
            if used > MOST_USED {
                break;
            }
            let path = format!("{directory}/{}", entry.name);
            match entry.kind {
                EntryKind::Directory => directories.push(path),
                EntryKind::File => using.file(&path, entry.size),
            }
        }
    }
    for path in ["/file", "/many/7", "/many/new", "/dir/sub/deep.bin", "/dir/new/new", "/dir"] {
        using.change(|volume| volume.write(path, &[7; 2500]));
        let _ = using.sound(|volume| volume.read(path));
        let _ = using.sound(|volume| volume.stat(path));
        using.change(|volume| volume.rename(path, "/moved/here"));
        using.change(|volume| volume.make_directory(path));
        using.change(|volume| volume.remove(path));
    }
    let _ = using.sound(Volume::space);
}

/// A volume in use.
struct Using<'v> {
    volume: &'v mut Volume<Pages>,
    /// Whether its image was found to be whole: then nothing in it is damaged.
    whole: bool,
}

impl Using<'_> {
    /// Does something; damage is where the image was not whole.
    fn sound<T>(&mut self, operation: impl FnOnce(&mut Volume<Pages>) -> Result<T, VfsError>) -> Result<T, VfsError> {
        let done = operation(self.volume);
        if let (true, Err(error @ VfsError::Corrupt(_))) = (self.whole, &done) {
            panic!("an image was found to be whole, and then: {error}");
        }
        done
    }

    /// What fails changes nothing.
    fn change(&mut self, operation: impl FnOnce(&mut Volume<Pages>) -> Result<(), VfsError>) {
        self.volume.take_dirty();
        if self.sound(operation).is_err() {
            assert_eq!(self.volume.take_dirty(), [], "an operation failed, and left something changed");
        }
    }

    fn file(&mut self, path: &str, size: u64) {
        if let Ok(content) = self.sound(|volume| volume.read(path)) {
            assert_eq!(content.len() as u64, size, "{path}");
        }
        self.change(|volume| volume.write(path, &[5; 1500]));
        self.change(|volume| volume.remove(path));
    }
}

/// A volume with files and directories, the last file in two pieces, and then with what the input puts into it.
fn image(input: &mut Input<'_>) -> Pages {
    let pages = Pages::default();
    if !input.flag() {
        let mut volume = Volume::format(pages.clone(), MIN_VOLUME_SIZE).expect("the smallest size is one");
        for (path, length) in [("/file", 2560), ("/dir/sub/deep.bin", 3000), ("/many/1", 100), ("/file", 6000)] {
            volume.write(path, &vec![length as u8; length]).expect("it has room");
        }
        for count in 2..20 {
            volume.write(&format!("/many/{count}"), &[count; 10]).expect("it has room");
        }
        pages.store(&mut volume);
    }
    for _ in 0..input.below(MOST) {
        let part = *input.one(&PARTS);
        let at = part + usize::from(input.short());
        pages.put(at, input.few());
    }
    pages
}

fn seeds() -> Vec<Seed> {
    let change = |writer: Writer, part: u8, at: u16, bytes: &[u8]| writer.byte(part).short(at).few(bytes);
    let one = |part, at, bytes: &[u8]| change(Writer::new().byte(0).byte(1), part, at, bytes).byte(2);
    // A boot sector of somebody else's, from nothing: 512 bytes a sector, one sector a cluster, one table.
    let mut boot = [0; 64];
    boot[11..24].copy_from_slice(&[0, 2, 1, 1, 0, 1, 0, 2, 0x40, 0x10, 0xf8, 0x20, 0]);
    let foreign = change(Writer::new().byte(1).byte(2), 0, 0, &boot);
    vec![
        Writer::new().byte(0).byte(0).byte(2).seed("whole"),
        one(0, 11, &[0, 16]).seed("larger-sectors"),
        one(0, 13, &[4]).seed("larger-clusters"),
        one(1, 4, &[2, 0]).seed("a-chain-in-a-loop"),
        one(1, 4, &[0xff, 0x7f]).seed("a-chain-into-nowhere"),
        one(2, 26, &[1, 0]).seed("a-first-cluster-that-is-none"),
        one(2, 28, &[0xff; 4]).seed("a-size-beyond-all"),
        one(2, 11, &[0x10]).seed("a-file-that-is-a-directory"),
        one(3, 32, &[0x10; 32]).seed("a-directory-of-noise"),
        one(3, 26, &[2, 0]).seed("a-directory-in-itself"),
        change(foreign, 0, 510, &[0x55, 0xaa]).byte(2).seed("somebody-elses"),
        Writer::new().byte(0).byte(0).byte(1).seed("in-a-larger-volume"),
    ]
}
