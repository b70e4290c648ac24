//! Images made here are read and written by others, and the other way round.

mod common;

use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use common::{Pages, check, noise, run, tool};
use coprocessor_vfs::{DEFAULT_VOLUME_SIZE, EntryKind, MAX_VOLUME_SIZE, MIN_VOLUME_SIZE, VfsError, Volume};

const MIB: u64 = 1 << 20;

/// An image in a file, and mtools to look at it with.
struct Outside {
    directory: tempfile::TempDir,
    mdir: PathBuf,
    mcopy: PathBuf,
    mdel: PathBuf,
}

impl Outside {
    fn new(pages: &Pages, size: u64) -> Option<Self> {
        let (mdir, mcopy, mdel) = (tool("mdir")?, tool("mcopy")?, tool("mdel")?);
        let outside = Self { directory: tempfile::tempdir().unwrap(), mdir, mcopy, mdel };
        pages.write_image(&outside.image(), size);
        Some(outside)
    }

    fn image(&self) -> PathBuf {
        self.directory.path().join("image")
    }

    fn list(&self) -> Vec<String> {
        let listed = run(&self.mdir, &["-i", self.image().to_str().unwrap(), "-b", "-a", "-/", "::"]);
        listed.lines().map(str::to_owned).collect()
    }

    fn get(&self, path: &str) -> Vec<u8> {
        let out = self.directory.path().join("out");
        let from = format!("::{path}");
        run(&self.mcopy, &["-n", "-o", "-i", self.image().to_str().unwrap(), &from, out.to_str().unwrap()]);
        std::fs::read(out).unwrap()
    }

    fn put(&self, path: &str, content: &[u8]) {
        let from = self.directory.path().join("in");
        std::fs::write(&from, content).unwrap();
        let to = format!("::{path}");
        run(&self.mcopy, &["-n", "-o", "-i", self.image().to_str().unwrap(), from.to_str().unwrap(), &to]);
    }

    fn delete(&self, path: &str) {
        run(&self.mdel, &["-i", self.image().to_str().unwrap(), &format!("::{path}")]);
    }

    fn pages(&self) -> Pages {
        Pages::from_image(&std::fs::read(self.image()).unwrap())
    }
}

#[test]
fn empty_volumes_are_clean_at_every_kind_of_size() {
    let near = |size: u64| [size - 4096, size, size + 4096];
    let sizes = [MIN_VOLUME_SIZE, MIN_VOLUME_SIZE + 4096, 4 * MIB, DEFAULT_VOLUME_SIZE, MAX_VOLUME_SIZE - 4096]
        .into_iter()
        .chain([8, 16, 32, 128, 256, 512, 1024].into_iter().flat_map(|size| near(size * MIB)))
        .chain([MAX_VOLUME_SIZE]);
    for size in sizes {
        let pages = Pages::default();
        let mut volume = Volume::format(pages.clone(), size).unwrap();
        volume.write("/dir/file", &[1]).unwrap();
        pages.store(&mut volume);
        check(&pages, size);
        let Some(outside) = Outside::new(&pages, size) else { continue };
        assert_eq!(outside.list(), ["::/DIR/", "::/DIR/FILE"], "{size}");
    }
}

#[test]
fn mtools_reads_what_is_written_here() {
    let size = DEFAULT_VOLUME_SIZE;
    let pages = Pages::default();
    let mut volume = Volume::format(pages.clone(), size).unwrap();
    volume.set_now(Some(SystemTime::UNIX_EPOCH + Duration::from_secs(1_709_210_096)));
    let files = [0, 1, 4095, 4096, 4097, 1_000_000].map(|length| (format!("/dir/sub/{length}.bin"), noise(7, length)));
    for (path, content) in &files {
        volume.write(path, content).unwrap();
    }
    pages.store(&mut volume);
    check(&pages, size);
    let Some(outside) = Outside::new(&pages, size) else { return };
    for (path, content) in &files {
        assert_eq!(outside.get(path), *content, "{path}");
    }
    let listed = run(&outside.mdir, &["-i", outside.image().to_str().unwrap(), "::/dir/sub"]);
    assert!(listed.contains("4097     BIN      4097 2024-02-29  12:34"), "{listed}");
}

#[test]
fn what_mtools_writes_is_read_here() {
    let size = DEFAULT_VOLUME_SIZE;
    let pages = Pages::default();
    let mut volume = Volume::format(pages.clone(), size).unwrap();
    volume.write("/dir/kept.txt", b"kept").unwrap();
    volume.write("/dir/gone.txt", b"gone").unwrap();
    pages.store(&mut volume);
    let Some(outside) = Outside::new(&pages, size) else { return };
    let content = noise(3, 300_000);
    outside.put("/dir/lower.txt", &content);
    outside.put("/dir/A Long File Name.json", b"long");
    outside.put("/dir/kept.txt", b"replaced");
    outside.delete("/dir/gone.txt");

    let pages = outside.pages();
    let mut volume = Volume::open(pages.clone(), size).unwrap();
    let names: Vec<_> = volume.list("/dir").unwrap().into_iter().map(|entry| entry.name).collect();
    assert_eq!(names, ["alongf~1.jso", "kept.txt", "lower.txt"]);
    assert_eq!(volume.read("/dir/lower.txt").unwrap(), content);
    assert_eq!(volume.read("/dir/alongf~1.jso").unwrap(), b"long");
    assert_eq!(volume.read("/dir/kept.txt").unwrap(), b"replaced");
    assert!(volume.stat("/dir/lower.txt").unwrap().modified.is_some());

    // Replacing keeps the long name, removing takes it along: fsck.fat tells of parts left behind.
    volume.write("/dir/alongf~1.jso", b"longer").unwrap();
    pages.store(&mut volume);
    check(&pages, size);
    assert_eq!(Outside::new(&pages, size).unwrap().get("/dir/A Long File Name.json"), b"longer");
    volume.remove("/dir/alongf~1.jso").unwrap();
    volume.remove("/dir/lower.txt").unwrap();
    pages.store(&mut volume);
    check(&pages, size);
    let left: Vec<_> = Outside::new(&pages, size).unwrap().list().iter().map(|path| path.to_lowercase()).collect();
    assert_eq!(left, ["::/dir/", "::/dir/kept.txt"]);
}

#[test]
fn volumes_formatted_elsewhere_are_used_here() {
    let Some(mkfs) = tool("mkfs.fat") else { return };
    let size = 40 * MIB;
    for options in ["-s2", "-s2 -f1", "-s4 -R1 -r512", "-s8 -r64 -nLABEL", "-s1 -S1024", "-s2 -S4096"] {
        let directory = tempfile::tempdir().unwrap();
        let image = directory.path().join("image");
        std::fs::File::create(&image).unwrap().set_len(size).unwrap();
        let arguments: Vec<_> = options.split(' ').chain(["-F16", "-a", image.to_str().unwrap()]).collect();
        run(&mkfs, &arguments);
        let pages = Pages::from_image(&std::fs::read(&image).unwrap());
        let mut volume = Volume::open(pages.clone(), size).unwrap();
        assert_eq!(volume.list("/").unwrap(), [], "{options}");
        let content = noise(1, 200_000);
        volume.write("/dir/file.bin", &content).unwrap();
        volume.write("/dir/other", &content).unwrap();
        volume.remove("/dir/other").unwrap();
        pages.store(&mut volume);
        let mut volume = Volume::open(pages.clone(), size).unwrap();
        assert_eq!(volume.read("/dir/file.bin").unwrap(), content, "{options}");
        assert_eq!(volume.stat("/dir").unwrap().kind, EntryKind::Directory);
        check(&pages, size);
    }
}

#[test]
fn a_full_volume_is_clean_and_whole() {
    let size = DEFAULT_VOLUME_SIZE;
    let pages = Pages::default();
    let mut volume = Volume::format(pages.clone(), size).unwrap();
    let content = |index: u64| noise(index, 1_500_000);
    let mut count = 0;
    let (needed, free) = loop {
        match volume.write(&format!("/full/{count}.bin"), &content(count)) {
            Ok(()) => count += 1,
            Err(VfsError::NoSpace { needed, free }) => break (needed, free),
            Err(error) => panic!("{error}"),
        }
    };
    assert!(count > 40 && needed > free);
    assert_eq!(volume.space().unwrap().free, free);
    // Up to the last cluster, and not one byte more.
    let rest = noise(99, free as usize);
    volume.write("/full/rest", &rest).unwrap();
    assert_eq!(volume.space().unwrap().free, 0);
    assert!(matches!(volume.write("/full/more", &[1]), Err(VfsError::NoSpace { needed: 4096, free: 0 })));
    assert!(matches!(volume.write("/full/0.bin", &noise(5, 1_600_000)), Err(VfsError::NoSpace { .. })));
    volume.write("/full/empty", &[]).unwrap();
    pages.store(&mut volume);
    check(&pages, size);
    let mut volume = Volume::open(pages.clone(), size).unwrap();
    for index in 0..count {
        assert_eq!(volume.read(&format!("/full/{index}.bin")).unwrap(), content(index));
    }
    assert_eq!(volume.read("/full/rest").unwrap(), rest);

    // Room is found wherever it becomes free, and emptying the volume empties the store.
    volume.remove("/full/7.bin").unwrap();
    volume.write("/full/again.bin", &content(1000)).unwrap();
    pages.store(&mut volume);
    check(&pages, size);
    for entry in volume.list("/full").unwrap() {
        volume.remove(&format!("/full/{}", entry.name)).unwrap();
    }
    volume.remove("/full").unwrap();
    pages.store(&mut volume);
    check(&pages, size);
    let space = volume.space().unwrap();
    assert_eq!(space.free, space.total);
    assert_eq!(pages.kept(), 4, "boot sector, two tables, and the root directory with its removed entry");
}

#[test]
fn large_volumes_fill_to_the_end() {
    for size in [512 * MIB, MAX_VOLUME_SIZE] {
        let pages = Pages::default();
        let mut volume = Volume::format(pages.clone(), size).unwrap();
        // Zeros, so that this fits in memory. The last file has other bytes, in the volume's last cluster.
        let mut count = 0;
        while volume.space().unwrap().free >= 64 * MIB {
            volume.write(&format!("/{count}"), &vec![0; 63 << 20]).unwrap();
            count += 1;
            pages.store(&mut volume);
            volume = Volume::open(pages.clone(), size).unwrap();
        }
        let rest = vec![0xa5; volume.space().unwrap().free as usize];
        volume.write("/rest", &rest).unwrap();
        assert_eq!(volume.space().unwrap().free, 0);
        assert!(matches!(volume.write("/more", &[1]), Err(VfsError::NoSpace { .. })));
        pages.store(&mut volume);
        assert_eq!(Volume::open(pages.clone(), size).unwrap().read("/rest").unwrap(), rest);
        check(&pages, size);
    }
}
