//! Images that come from outside and from controllers, over a real store.

use bytes::Bytes;
use coprocessor_sandbox::MAX_BUFFER;
use coprocessor_types::ProgramId;
use coprocessor_vfs::{
    DEFAULT_VOLUME_SIZE, EntryKind, PAGE_SIZE, PARTITION_START, PageSource, PageSourceError, Volume, partition_table,
};
use std::collections::BTreeMap;

use crate::{
    Caller, EngineConfig, EngineError, FileOrDirectory, NewImage,
    testing::{Bench, config},
};

struct Empty;

impl PageSource for Empty {
    fn read_page(&self, _: u32) -> Result<Option<Vec<u8>>, PageSourceError> {
        Ok(None)
    }
}

/// An image with one file.
fn image(size: u64, content: &[u8]) -> Vec<u8> {
    let mut volume = Volume::format(Empty, size).unwrap();
    volume.write("/dir/file", content).unwrap();
    let mut image = vec![0; size as usize];
    for (index, page) in volume.take_dirty() {
        if let Some(page) = page {
            image[index as usize * PAGE_SIZE..][..PAGE_SIZE].copy_from_slice(&page);
        }
    }
    image
}

async fn upload(bench: &Bench, image: &[u8]) -> Result<NewImage, EngineError> {
    let mut upload = bench.engine.receive_image(&Caller::anonymous(), bench.program.id).await?;
    // Pieces that end anywhere.
    for piece in image.chunks(100_001) {
        upload.write(Bytes::copy_from_slice(piece)).await?;
    }
    upload.finish().await
}

async fn read(bench: &Bench, path: &str) -> Result<Vec<u8>, EngineError> {
    match bench.engine.read_path(&Caller::anonymous(), bench.program.id, path.into()).await? {
        FileOrDirectory::File(content) => Ok(content),
        FileOrDirectory::Directory(_) => panic!("{path} is a directory"),
    }
}

async fn download(bench: &Bench) -> Vec<u8> {
    let (size, mut chunks) = bench.engine.image(&Caller::anonymous(), bench.program.id).await.unwrap();
    let mut image = Vec::new();
    while let Some(chunk) = chunks.recv().await {
        image.extend_from_slice(&chunk.unwrap());
    }
    assert_eq!(image.len() as u64, size);
    image
}

fn write(bench: &Bench, path: &str, content: &[u8]) -> impl Future<Output = Result<(), EngineError>> + use<> {
    let (engine, program, path) = (bench.engine.clone(), bench.program.id, path.to_owned());
    let content = Bytes::copy_from_slice(content);
    async move { engine.write_file(&Caller::anonymous(), program, path, content).await }
}

#[tokio::test]
async fn what_is_uploaded_is_there_and_downloaded_again() {
    let bench = Bench::new(&[]).await;
    write(&bench, "/old", b"old").await.unwrap();
    for size in [16 << 20, DEFAULT_VOLUME_SIZE] {
        let sent = image(size, &[7; 300_000]);
        let new = upload(&bench, &sent).await.unwrap();
        assert_eq!((new.size, new.checked.files, new.checked.directories), (size, 1, 1));
        assert_eq!(read(&bench, "/dir/file").await.unwrap(), [7; 300_000]);
        assert!(read(&bench, "/old").await.is_err());
        assert!(download(&bench).await == sent, "the image is another one");
        assert_eq!(bench.store.program(bench.program.id).await.unwrap().unwrap().volume_size, size);
        let space = bench.engine.volume_space(&Caller::anonymous(), bench.program.id).await.unwrap();
        assert_eq!((space.size, space.space), (size, new.checked.space));
    }
    write(&bench, "/new", b"new").await.unwrap();
    assert_eq!(bench.engine.inner.arriving.load(std::sync::atomic::Ordering::Relaxed), 0);
}

#[tokio::test]
async fn a_disk_with_a_partition_is_taken_without_its_table() {
    let bench = Bench::new(&[]).await;
    let volume = image(16 << 20, b"x");
    let disk = [partition_table(16 << 20), volume.clone()].concat();
    assert_eq!(upload(&bench, &disk).await.unwrap().size, 16 << 20);
    assert!(download(&bench).await == volume, "the image is another one");
    let cut = upload(&bench, &volume[..volume.len() - 3584]).await;
    assert!(matches!(cut, Err(EngineError::InvalidImage(_))), "{cut:?}");
}

#[tokio::test]
async fn an_image_that_is_refused_changes_nothing() {
    let bench = Bench::with(EngineConfig { max_volume_size: 64 << 20, ..config() }, &[]).await;
    write(&bench, "/old", b"old").await.unwrap();
    let good = image(16 << 20, &[7; 30_000]);
    let mut crossed = good.clone();
    let at = crossed.windows(11).position(|name| name == b"FILE       ").unwrap();
    crossed[at + 26] = 2;
    let mut unpaired = good.clone();
    unpaired[PAGE_SIZE + 4000] = 7;
    let mut nowhere = partition_table(1 << 20);
    nowhere.resize(16 << 20, 0);
    nowhere[446 + 4] = 0x83;
    for (image, reason) in [
        (Vec::new(), "0 bytes, expected whole sectors"),
        (good[..1000].to_vec(), "1000 bytes, expected whole sectors"),
        (good[..1 << 20].to_vec(), "an image of 1048576 bytes is not possible"),
        (good[..10 << 20].to_vec(), "expected at most 10485760 bytes"),
        (vec![0; 16 << 20], "expected the signature 55 aa"),
        (vec![0xff; 16 << 20], "expected the signature 55 aa"),
        (nowhere, "no partition of kind"),
        (crossed, "/dir/file and /dir share cluster 2"),
        (unpaired, "copies of the allocation table differ: cluster 2000"),
    ] {
        let error = upload(&bench, &image).await.unwrap_err();
        assert!(matches!(error, EngineError::InvalidImage(_)), "{error:?}");
        assert!(error.to_string().contains(reason), "{error}, not {reason}");
    }
    let large = image(DEFAULT_VOLUME_SIZE + (8 << 20), b"x");
    let error = upload(&bench, &large).await.unwrap_err();
    assert!(matches!(error, EngineError::ImageTooLarge { limit } if limit == 64 << 20), "{error}");
    assert_eq!(read(&bench, "/old").await.unwrap(), b"old");
    assert_eq!(bench.store.program(bench.program.id).await.unwrap().unwrap().volume_size, DEFAULT_VOLUME_SIZE);
    let unknown = bench.engine.receive_image(&Caller::anonymous(), ProgramId([9; 32])).await;
    assert!(matches!(unknown, Err(EngineError::UnknownProgram(_))));
    assert_eq!(bench.engine.inner.arriving.load(std::sync::atomic::Ordering::Relaxed), 0);
}

#[tokio::test]
async fn those_who_write_at_once_all_have_written() {
    let bench = Bench::new(&[]).await;
    let (engine, program, anyone) = (bench.engine.clone(), bench.program.id, Caller::anonymous());
    let writes: Vec<_> =
        (0..24).map(|n| tokio::spawn(write(&bench, &format!("/d{}/f{n}", n % 3), &[n; 5000]))).collect();
    for write in writes {
        write.await.unwrap().unwrap();
    }
    let moves = (0..24).map(|n| {
        let (engine, anyone) = (engine.clone(), anyone.clone());
        tokio::spawn(async move {
            engine.rename_path(&anyone, program, format!("/d{}/f{n}", n % 3), format!("/all/m{n}")).await
        })
    });
    for moved in moves.collect::<Vec<_>>() {
        moved.await.unwrap().unwrap();
    }
    for n in 0..24_u8 {
        assert_eq!(read(&bench, &format!("/all/m{n}")).await.unwrap(), [n; 5000]);
    }
    for directory in ["/d0", "/d1", "/d2"] {
        engine.remove_path(&anyone, program, directory.into()).await.unwrap();
    }
    engine.make_directory(&anyone, program, "/all/empty/one".into()).await.unwrap();
    let stat = engine.stat_path(&anyone, program, "/all/empty".into()).await.unwrap();
    assert_eq!((stat.name.as_str(), stat.kind), ("empty", EntryKind::Directory));
    // Each comes before the image or after it; nothing is in between.
    let sent = image(16 << 20, b"sent");
    let (uploaded, written) = tokio::join!(upload(&bench, &sent), write(&bench, "/late", b"late"));
    uploaded.unwrap();
    written.unwrap();
    assert_eq!(read(&bench, "/dir/file").await.unwrap(), b"sent");
    assert!(read(&bench, "/all/m1").await.is_err());
}

/// `entrypoint` writes a file, takes the volume's image and gives it back; with raw storage it spoils one copy of the table before.
/// Its result is the code of the last call.
fn imaging() -> String {
    let buffer = 1 << 20;
    format!(
        r#"(module
        (import "valence" "ret" (func $ret (param i32 i32) (result i32)))
        (import "valence" "get_storage" (func $get (param i32) (result i32)))
        (import "valence" "set_storage" (func $set (param i32 i32) (result i32)))
        (import "valence" "get_raw_storage" (func $get_raw (param i32) (result i32)))
        (import "valence" "set_storage_file" (func $set_file (param i32 i32 i32 i32) (result i32)))
        (import "valence" "get_storage_file" (func $get_file (param i32 i32 i32) (result i32)))
        (memory (export "memory") 280)
        (data (i32.const 0) "/by-file/dir/file[]")
        (func $tell (param $n i32) (local $at i32) (local $negative i32)
            (local.set $at (i32.const 1000))
            (local.set $negative (i32.lt_s (local.get $n) (i32.const 0)))
            (if (local.get $negative) (then (local.set $n (i32.sub (i32.const 0) (local.get $n)))))
            (loop $digit
              (local.set $at (i32.sub (local.get $at) (i32.const 1)))
              (i32.store8 (local.get $at) (i32.add (i32.const 48) (i32.rem_u (local.get $n) (i32.const 10))))
              (local.set $n (i32.div_u (local.get $n) (i32.const 10)))
              (br_if $digit (local.get $n)))
            (if (local.get $negative) (then
              (local.set $at (i32.sub (local.get $at) (i32.const 1)))
              (i32.store8 (local.get $at) (i32.const 45))))
            (drop (call $ret (local.get $at) (i32.sub (i32.const 1000) (local.get $at)))))
        (func (export "get_witnesses") (drop (call $ret (i32.const 17) (i32.const 2))))
        (func (export "entrypoint") (local $length i32)
            (drop (call $set_file (i32.const 0) (i32.const 8) (i32.const 0) (i32.const 4)))
            (local.set $length (call $get (i32.const {buffer})))
            (if (i32.lt_s (local.get $length) (i32.const 0)) (then (call $tell (local.get $length)) (return)))
            (if (i32.gt_s (call $get_raw (i32.const 2000)) (i32.const 0))
                (then (i32.store8 (i32.const {spoilt}) (i32.const 7))))
            (call $tell (call $set (i32.const {buffer}) (local.get $length)))))"#,
        spoilt = buffer + PARTITION_START + PAGE_SIZE as u64 + 4000,
    )
}

#[tokio::test]
async fn a_controller_has_its_volume_as_an_image() {
    let bench = Bench::running(&imaging(), config(), &[]).await;
    let (anyone, program) = (Caller::anonymous(), bench.program.id);
    let call = || bench.engine.call(&anyone, program, serde_json::json!(null));

    // 64 MiB are more than it can be given, and it is told so.
    let report = call().await.unwrap();
    assert_eq!(report.result, serde_json::json!(-6));
    let too_large = format!("get_storage refused: {} bytes, and", DEFAULT_VOLUME_SIZE + PARTITION_START);
    assert!(report.log.iter().any(|line| line.starts_with(&too_large)), "{:?}", report.log);

    upload(&bench, &image(MAX_BUFFER as u64 - PARTITION_START, b"x")).await.unwrap();
    let report = call().await.unwrap();
    assert_eq!((report.result, report.log), (serde_json::json!(0), Vec::<String>::new()));
    assert_eq!(read(&bench, "/by-file").await.unwrap(), b"/by-");
    assert_eq!(read(&bench, "/dir/file").await.unwrap(), b"x");

    // What it gives back is looked at like an upload, and takes nothing's place if it is not whole.
    bench.engine.set_raw_storage(&anyone, program, Bytes::from_static(b"1")).await.unwrap();
    let before = download(&bench).await;
    let report = call().await.unwrap();
    assert_eq!(report.result, serde_json::json!(-15));
    assert!(
        report.log[0].starts_with("set_storage refused: the copies of the allocation table differ"),
        "{:?}",
        report.log
    );
    let files = |image: &[u8]| -> BTreeMap<usize, Vec<u8>> {
        // All but the directory's page, which has the date of the file that was written again.
        (0..)
            .zip(image.chunks(PAGE_SIZE))
            .filter(|(index, _)| *index > 8)
            .map(|(index, page)| (index, page.to_vec()))
            .collect()
    };
    assert!(files(&before) == files(&download(&bench).await), "the image is another one");
    assert_eq!(read(&bench, "/dir/file").await.unwrap(), b"x");
}

#[tokio::test]
async fn raw_storage_is_as_large_as_a_controller_can_be_given() {
    let bench = Bench::new(&[]).await;
    let (anyone, program) = (Caller::anonymous(), bench.program.id);
    assert_eq!(bench.engine.raw_storage(&anyone, program).await.unwrap(), b"");
    let most = Bytes::from(vec![7; MAX_BUFFER]);
    bench.engine.set_raw_storage(&anyone, program, most.clone()).await.unwrap();
    assert!(bench.engine.raw_storage(&anyone, program).await.unwrap() == most, "what was set");
    let more = Bytes::from(vec![7; MAX_BUFFER + 1]);
    let error = bench.engine.set_raw_storage(&anyone, program, more).await.unwrap_err();
    assert!(matches!(error, EngineError::RawTooLarge { got, limit: MAX_BUFFER } if got == MAX_BUFFER + 1), "{error}");
    assert!(bench.engine.raw_storage(&anyone, program).await.unwrap() == most, "what was set before");
}
