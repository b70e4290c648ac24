//! Files of a program's volume.

use axum::{
    Json,
    body::Body as HttpBody,
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use coprocessor_api::{Directory, DirectoryEntry, EntryKind, Problem};
use coprocessor_engine::{DirectoryListing, Engine, FileOrDirectory};
use tokio_stream::wrappers::ReceiverStream;

use super::{
    auth::Who,
    extract::{PathFile, PathProgram, Raw},
    problem::Failure,
};

/// The volume's root directory.
#[utoipa::path(get, path = "/api/v1/programs/{program}/files", tag = "files", params(("program" = String, Path)),
    responses((status = 200, body = Directory), (status = "4XX", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn root(
    State(engine): State<Engine>,
    Who(caller): Who,
    PathProgram(id): PathProgram,
) -> Result<Response, Failure> {
    answer(engine.read_path(&caller, id, "/".into()).await?)
}

/// Read a file, or list a directory.
#[utoipa::path(get, path = "/api/v1/programs/{program}/files/{*path}", tag = "files",
    params(("program" = String, Path), ("path" = String, Path)),
    responses((status = 200, content((Directory = "application/json"), (Vec<u8> = "application/octet-stream"))),
        (status = "4XX", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn read(
    State(engine): State<Engine>,
    Who(caller): Who,
    PathFile(id, path): PathFile,
) -> Result<Response, Failure> {
    answer(engine.read_path(&caller, id, path).await?)
}

/// Create or replace a file, with the directories on its path. Names are 8.3.
#[utoipa::path(put, path = "/api/v1/programs/{program}/files/{*path}", tag = "files",
    params(("program" = String, Path), ("path" = String, Path)),
    request_body(content = Vec<u8>, content_type = "application/octet-stream"),
    responses((status = 204), (status = "4XX", body = Problem, content_type = "application/problem+json"),
        (status = 507, body = Problem, content_type = "application/problem+json")))]
pub(super) async fn write(
    State(engine): State<Engine>,
    Who(caller): Who,
    PathFile(id, path): PathFile,
    Raw(content): Raw,
) -> Result<StatusCode, Failure> {
    engine.write_file(&caller, id, path, content).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Remove a file or an empty directory.
#[utoipa::path(delete, path = "/api/v1/programs/{program}/files/{*path}", tag = "files",
    params(("program" = String, Path), ("path" = String, Path)),
    responses((status = 204), (status = "4XX", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn remove(
    State(engine): State<Engine>,
    Who(caller): Who,
    PathFile(id, path): PathFile,
) -> Result<StatusCode, Failure> {
    engine.remove_path(&caller, id, path).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Download the volume as a FAT-16 image.
#[utoipa::path(get, path = "/api/v1/programs/{program}/image", tag = "files", params(("program" = String, Path)),
    responses((status = 200, body = Vec<u8>, content_type = "application/octet-stream"),
        (status = "4XX", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn image(
    State(engine): State<Engine>,
    Who(caller): Who,
    PathProgram(id): PathProgram,
) -> Result<Response, Failure> {
    let (size, chunks) = engine.image(&caller, id).await?;
    let headers = [
        (header::CONTENT_TYPE, "application/octet-stream".to_owned()),
        (header::CONTENT_LENGTH, size.to_string()),
        (header::CONTENT_DISPOSITION, format!("attachment; filename=\"{id}.img\"")),
    ];
    Ok((headers, HttpBody::from_stream(ReceiverStream::new(chunks))).into_response())
}

fn answer(found: FileOrDirectory) -> Result<Response, Failure> {
    match found {
        FileOrDirectory::File(content) => {
            Ok(([(header::CONTENT_TYPE, "application/octet-stream")], content).into_response())
        }
        FileOrDirectory::Directory(listing) => Ok(Json(directory(listing)).into_response()),
    }
}

fn directory(listing: DirectoryListing) -> Directory {
    let entries = listing.entries.into_iter().map(|entry| DirectoryEntry {
        kind: match entry.kind {
            coprocessor_vfs::EntryKind::File => EntryKind::File,
            coprocessor_vfs::EntryKind::Directory => EntryKind::Directory,
        },
        name: entry.name,
        size: entry.size,
    });
    Directory { path: format!("/{}", listing.path.trim_matches('/')), entries: entries.collect() }
}
