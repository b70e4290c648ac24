//! Paths of a volume, against the rules in words.

use crate::{Seed, Target, pages::Pages};
use coprocessor_vfs::{EntryKind, FatPath, MAX_PATH_DEPTH, MAX_PATH_LENGTH, MIN_VOLUME_SIZE, Volume};

pub(crate) const TARGET: Target = Target { name: "path", about: "vfs: paths that FAT can store", run, seeds };

fn run(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let parsed = FatPath::parse(text);
    assert_eq!(parsed.is_ok(), is_path(text), "{text:?}: {parsed:?}");
    let Ok(path) = parsed else { return };
    let printed = path.to_string();
    assert_eq!(FatPath::parse(&printed).as_ref(), Ok(&path), "{text:?}");
    if path.is_root() {
        return;
    }
    let pages = Pages::default();
    let mut volume = Volume::format(pages.clone(), MIN_VOLUME_SIZE).expect("the smallest size is one");
    volume.write(text, b"content").expect("a path that FAT can store");
    pages.store(&mut volume);
    let mut volume = Volume::open(pages, MIN_VOLUME_SIZE).expect("what was stored opens");
    assert_eq!(volume.read(&printed).expect("what was written is there"), b"content");
    let (above, name) = printed.rsplit_once('/').expect("it begins with one");
    let listed = volume.list(above).expect("the directory above is there");
    assert_eq!(listed.len(), 1, "{listed:?}");
    assert_eq!((listed[0].name.as_str(), listed[0].kind), (name, EntryKind::File));
}

/// What a path may be.
fn is_path(text: &str) -> bool {
    let names = text.strip_prefix('/').unwrap_or(text);
    let count = names.split('/').count();
    text.len() <= MAX_PATH_LENGTH && (names.is_empty() || count <= MAX_PATH_DEPTH && names.split('/').all(is_name))
}

fn is_name(name: &str) -> bool {
    let allowed = |part: &str| part.chars().all(|c| c.is_ascii_alphanumeric() || "!#$%&'()-@^_`{}~".contains(c));
    let (base, extension) = match name.split_once('.') {
        None => (name, None),
        Some((base, extension)) => (base, Some(extension)),
    };
    let short = |part: &str, most| (1..=most).contains(&part.len()) && allowed(part);
    short(base, 8) && extension.is_none_or(|extension| short(extension, 3))
}

fn seeds() -> Vec<Seed> {
    let deep = "/12345678.123".repeat(MAX_PATH_DEPTH);
    let texts = [
        ("plain", "/var/share/proofs/1a2b3c4d.bin"),
        ("upper", "README.TXT"),
        ("signs", "!#$%&'()/-@^_`{}~"),
        ("deepest", &deep),
        ("dots", "a/../b"),
        ("two-dots", "a.b.c"),
        ("empty-name", "a//b/"),
        ("not-ascii", "gr\u{f6}\u{df}e"),
        ("device", "con/nul"),
    ];
    texts.map(|(name, text)| (name.to_owned(), text.as_bytes().to_vec())).into()
}
