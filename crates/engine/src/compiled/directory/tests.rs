use super::*;
use std::os::unix::fs::{PermissionsExt, symlink};

const FINGERPRINT: &str = "00112233445566778899aabbccddeeff";

fn digest(number: u8) -> BlobDigest {
    BlobDigest([number; 32])
}

/// One for files of 1,000 bytes.
fn open(path: &Path, files: u64) -> Directory {
    Directory::open(path.to_owned(), files * 1000, FINGERPRINT)
}

fn write(directory: &Directory, number: u8) {
    directory.write(digest(number), &[number; 1000]);
}

fn holds(directory: &Directory, numbers: std::ops::Range<u8>) -> Vec<u8> {
    numbers.filter(|number| directory.file(digest(*number)).exists()).collect()
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().mode() & 0o7777
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

fn age(path: &Path, seconds: u64) {
    File::open(path).unwrap().set_modified(SystemTime::now() - Duration::from_secs(seconds)).unwrap();
}

#[test]
fn what_is_written_is_read_by_the_next_process_and_by_nobody_else() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("data/compiled");
    let directory = open(&path, 10);
    assert_eq!(directory.read(digest(1)), None);
    write(&directory, 1);
    assert_eq!((mode(&path), mode(&directory.file(digest(1)))), (0o700, 0o600));
    let next = open(&path, 10);
    assert_eq!(next.read(digest(1)), Some(vec![1; 1000]));
    assert_eq!(next.kept(), Kept { files: 1, bytes: 1000, limit: 10_000, problem: None });
    // The same again replaces it.
    next.write(digest(1), &[7; 500]);
    assert_eq!((next.read(digest(1)), next.kept().bytes), (Some(vec![7; 500]), 500));
    fs::remove_dir_all(&path).unwrap();
    assert_eq!((next.read(digest(1)), next.kept().files), (None, 0));
    write(&next, 2);
    assert_eq!((next.read(digest(2)), mode(&path)), (Some(vec![2; 1000]), 0o700));
}

#[test]
fn what_was_not_used_for_longest_makes_room() {
    let place = tempfile::tempdir().unwrap();
    let directory = open(place.path(), 4);
    for number in 0..4 {
        write(&directory, number);
        age(&directory.file(digest(number)), 1000 - u64::from(number));
    }
    // As after a restart: by what the files say.
    let directory = open(place.path(), 4);
    directory.read(digest(0)).unwrap();
    directory.note_use(digest(1));
    write(&directory, 4);
    // A little more than was needed.
    assert_eq!(holds(&directory, 0..5), [0, 1, 4]);
    assert_eq!((directory.kept().files, directory.kept().bytes), (3, 3000));
    directory.write(digest(5), &[5; 4001]);
    assert_eq!(holds(&directory, 0..6), [0, 1, 4], "none makes room for what is too large for all of it");
    // Room for two and what more than is needed is made. The second use was too soon after the file to be written down.
    assert_eq!(holds(&Directory::open(place.path().to_owned(), 2200, FINGERPRINT), 0..5), [0, 4]);
}

#[test]
fn a_use_is_written_down_once_an_hour() {
    let place = tempfile::tempdir().unwrap();
    write(&open(place.path(), 4), 0);
    let file = open(place.path(), 4).file(digest(0));
    let modified = || fs::metadata(&file).unwrap().modified().unwrap();
    for (seconds, told) in [(3500, false), (3700, true)] {
        age(&file, seconds);
        let before = modified();
        let directory = open(place.path(), 4);
        directory.note_use(digest(0));
        assert_eq!(modified() > before, told, "after {seconds} s");
    }
}

#[test]
fn what_other_processes_wrote_and_removed_is_counted_when_room_is_made() {
    let place = tempfile::tempdir().unwrap();
    let (one, other) = (open(place.path(), 4), open(place.path(), 4));
    for number in 0..3 {
        write(&one, number);
        age(&one.file(digest(number)), 100 - u64::from(number));
    }
    assert_eq!(other.read(digest(2)), Some(vec![2; 1000]), "it is there for both");
    for number in 3..6 {
        write(&other, number);
    }
    fs::remove_file(other.file(digest(0))).unwrap();
    write(&other, 6);
    assert_eq!(holds(&other, 0..7), [4, 5, 6]);
    assert_eq!(other.kept().bytes, 3000);
}

#[test]
fn files_of_other_fingerprints_and_unfinished_ones_go_at_the_start_and_foreign_ones_stay() {
    let place = tempfile::tempdir().unwrap();
    let inside = |name: &str| place.path().join(name);
    write(&Directory::open(place.path().to_owned(), 10_000, "ffeeddccbbaa99887766554433221100"), 1);
    write(&open(place.path(), 10), 2);
    let foreign = ["notes.txt", &format!("{}.txt", digest(1)), ".unfinished-new", "x.0011223344556677"];
    for name in foreign.iter().chain(&[".unfinished-old"]) {
        fs::write(inside(name), "x").unwrap();
    }
    age(&inside(".unfinished-old"), 4000);
    fs::create_dir(inside(&format!("{}.ffeeddccbbaa9988", digest(3)))).unwrap();
    let directory = open(place.path(), 10);
    assert!(!inside(&format!("{}.ffeeddccbbaa9988", digest(1))).exists());
    assert!(!inside(".unfinished-old").exists());
    assert!(foreign.iter().all(|name| inside(name).exists()));
    assert_eq!(directory.kept(), Kept { files: 1, bytes: 1000, limit: 10_000, problem: None });
    assert!(directory.read(digest(2)).is_some());
}

#[test]
fn a_lower_limit_holds_from_the_start() {
    let place = tempfile::tempdir().unwrap();
    for number in 0..4 {
        let directory = open(place.path(), 10);
        write(&directory, number);
        age(&directory.file(digest(number)), 100 - u64::from(number));
    }
    assert_eq!(holds(&open(place.path(), 3), 0..4), [2, 3]);
}

#[test]
fn a_directory_that_others_can_write_to_is_refused_until_they_cannot() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("compiled");
    write(&open(&path, 10), 1);
    for opened in [0o770, 0o702, 0o1777] {
        set_mode(&path, opened);
        let directory = open(&path, 10);
        let problem = directory.kept().problem.unwrap();
        assert!(problem.contains("chmod go-w") && problem.contains(&format!("{opened:04o}")), "{problem}");
        assert_eq!(directory.read(digest(1)), None);
        write(&directory, 2);
        assert_eq!(holds(&directory, 0..3), [1]);
        set_mode(&path, 0o700);
        assert!(directory.read(digest(1)).is_some());
        assert_eq!(directory.kept(), Kept { files: 1, bytes: 1000, limit: 10_000, problem: None });
        set_mode(&path, opened);
        assert_eq!(directory.read(digest(1)), None, "also if it is opened while it is used");
    }
}

#[test]
fn a_directory_of_another_user_and_what_is_none_are_refused() {
    let place = tempfile::tempdir().unwrap();
    let me = rustix::process::geteuid().as_raw();
    let foreign = Directory::open_as(me + 1, place.path().to_owned(), 1000, FINGERPRINT);
    let problem = foreign.kept().problem.unwrap();
    assert!(problem.contains(&format!("belongs to user {me} and this service is user {}", me + 1)), "{problem}");
    write(&foreign, 1);
    assert_eq!((holds(&foreign, 0..2), foreign.read(digest(1))), (vec![], None));
    let file = place.path().join("file");
    fs::write(&file, "x").unwrap();
    assert!(open(&file, 10).kept().problem.unwrap().contains("not a directory"));
    let below = open(&file.join("compiled"), 10);
    write(&below, 1);
    assert!(below.kept().problem.is_some());
    fs::remove_file(&file).unwrap();
    write(&below, 1);
    assert_eq!((below.read(digest(1)), below.kept().problem), (Some(vec![1; 1000]), None));
}

#[test]
fn a_file_that_somebody_else_may_have_written_is_removed_unread() {
    let place = tempfile::tempdir().unwrap();
    let directory = open(place.path(), 10);
    let elsewhere = place.path().join("elsewhere");
    fs::write(&elsewhere, [1; 1000]).unwrap();
    let file = directory.file(digest(1));
    write(&directory, 1);
    set_mode(&file, 0o620);
    assert_eq!(directory.read(digest(1)), None);
    symlink(&elsewhere, &file).unwrap();
    assert_eq!(directory.read(digest(1)), None);
    assert!(elsewhere.exists() && fs::symlink_metadata(&file).is_err());
    fs::write(&file, vec![1; 10_001]).unwrap();
    assert_eq!(directory.read(digest(1)), None, "larger than all may be");
    assert_eq!((holds(&directory, 0..2), directory.kept().files), (vec![], 0));
    let me = rustix::process::geteuid().as_raw();
    let error = check_private(&elsewhere, &fs::metadata(&elsewhere).unwrap(), me + 1).unwrap_err();
    assert!(matches!(error, KeepError::Owner { got, expected, .. } if (got, expected) == (me, me + 1)));
}

#[test]
fn what_cannot_be_removed_or_replaced_harms_nobody() {
    let place = tempfile::tempdir().unwrap();
    let directory = open(place.path(), 10);
    // Not empty, so that no file takes its place either.
    fs::create_dir_all(directory.file(digest(1)).join("inside")).unwrap();
    assert_eq!(directory.read(digest(1)), None);
    assert!(directory.state().spoilt.contains(&digest(1)), "it is not looked at again");
    write(&directory, 1);
    assert!(directory.kept().problem.is_some());
    assert_eq!(directory.kept().bytes, 0);
    write(&directory, 2);
    assert_eq!((directory.read(digest(2)), directory.kept().problem), (Some(vec![2; 1000]), None));
    fs::remove_dir_all(directory.file(digest(1))).unwrap();
    write(&directory, 1);
    assert_eq!(directory.read(digest(1)), Some(vec![1; 1000]));
    let unfinished = fs::read_dir(place.path()).unwrap().flatten();
    assert!(!unfinished.map(|file| file.file_name()).any(|name| name.to_string_lossy().starts_with(UNFINISHED)));
}
