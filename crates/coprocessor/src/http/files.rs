//! Files of a program's volume.

use axum::{
    Json,
    body::{Body as HttpBody, BodyDataStream},
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use coprocessor_api::{Code, Directory, DirectoryEntry, NewImageView, Problem, RenameRequest, VolumeView};
use coprocessor_engine::{Caller, Engine, FileOrDirectory, NewImage, VolumeSpace};
use coprocessor_types::ProgramId;
use serde::Deserialize;
use tokio_stream::{StreamExt, wrappers::ReceiverStream};

use super::{
    auth::Who,
    extract::{Body, Params, PathFile, PathProgram, Raw},
    problem::Failure,
};
use crate::convert;

#[derive(Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct ReadParams {
    /// `true`: not the content but what is known of the file or directory: its kind, size, times and attributes.
    #[serde(default)]
    stat: bool,
}

/// The volume's root directory.
#[utoipa::path(get, path = "/api/v1/programs/{program}/files", tag = "files",
    params(("program" = String, Path), ReadParams),
    responses((status = 200, body = Directory, description = "With `stat`: a `DirectoryEntry`"), (status = "4XX", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn root(
    State(engine): State<Engine>,
    Who(caller): Who,
    PathProgram(id): PathProgram,
    Params(params): Params<ReadParams>,
) -> Result<Response, Failure> {
    look(&engine, &caller, id, "/".into(), &params).await
}

/// Read a file, or list a directory.
#[utoipa::path(get, path = "/api/v1/programs/{program}/files/{*path}", tag = "files",
    params(("program" = String, Path), ("path" = String, Path), ReadParams),
    responses((status = 200, description = "A file's content, or what a directory holds; with `stat` a `DirectoryEntry`",
            content((Directory = "application/json"), (Vec<u8> = "application/octet-stream"))),
        (status = "4XX", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn read(
    State(engine): State<Engine>,
    Who(caller): Who,
    PathFile(id, path): PathFile,
    Params(params): Params<ReadParams>,
) -> Result<Response, Failure> {
    look(&engine, &caller, id, path, &params).await
}

/// Create or replace a file, with the directories on its path. Names are 8.3.
///
/// A path that ends with a slash, and no body, makes a directory; one that is there stays as it is.
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
    match path.strip_suffix('/') {
        None => engine.write_file(&caller, id, path, content).await?,
        Some(directory) if content.is_empty() => engine.make_directory(&caller, id, directory.to_owned()).await?,
        Some(_) => {
            let detail =
                "a path that ends with a slash makes a directory, which has no content; leave the slash out for a file";
            return Err(Failure::new(Code::InvalidBody, detail));
        }
    }
    Ok(StatusCode::NO_CONTENT)
}

/// Give a file or a directory another path.
///
/// In one step, with the directories that the new path needs. A file takes the place of a file that is there; nothing takes the
/// place of a directory, and a directory does not go into itself. Names that differ in case alone are the same name.
#[utoipa::path(patch, path = "/api/v1/programs/{program}/files/{*path}", tag = "files",
    params(("program" = String, Path), ("path" = String, Path)), request_body = RenameRequest,
    responses((status = 200, body = DirectoryEntry, description = "What is at the new path"),
        (status = "4XX", body = Problem, content_type = "application/problem+json"),
        (status = 507, body = Problem, content_type = "application/problem+json")))]
pub(super) async fn rename(
    State(engine): State<Engine>,
    Who(caller): Who,
    PathFile(id, path): PathFile,
    Body(RenameRequest { rename_to }): Body<RenameRequest>,
) -> Result<Json<DirectoryEntry>, Failure> {
    engine.rename_path(&caller, id, path, rename_to.clone()).await?;
    Ok(Json(convert::entry(engine.stat_path(&caller, id, rename_to).await?)))
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

/// Put a FAT-16 image in the place of the volume.
///
/// All of its structure is looked at first: boot sector, both copies of the table, each file's clusters, directories and names. One
/// that is not whole is refused with what is wrong and where, and changes nothing. It may have any size that the operator allows
/// a volume, and a partition table before it. The change is one step: whoever writes meanwhile comes before or after it.
#[utoipa::path(put, path = "/api/v1/programs/{program}/image", tag = "files", params(("program" = String, Path)),
    request_body(content = Vec<u8>, content_type = "application/octet-stream"),
    responses((status = 200, body = NewImageView), (status = "4XX", body = Problem, content_type = "application/problem+json"),
        (status = 507, body = Problem, content_type = "application/problem+json")))]
pub(super) async fn replace_image(
    State(engine): State<Engine>,
    Who(caller): Who,
    PathProgram(id): PathProgram,
    body: HttpBody,
) -> Result<Json<NewImageView>, Failure> {
    let mut upload = engine.receive_image(&caller, id).await?;
    let mut chunks = body.into_data_stream();
    while let Some(chunk) = chunks.next().await {
        let chunk = chunk.map_err(|error| Failure::new(Code::InvalidBody, format!("the image broke off: {error}")))?;
        if let Err(refusal) = upload.write(chunk).await {
            drop(upload);
            skip(chunks).await;
            return Err(refusal.into());
        }
    }
    let NewImage { size, checked } = upload.finish().await?;
    Ok(Json(NewImageView {
        volume: VolumeView { size, total: checked.space.total, free: checked.space.free },
        files: checked.files,
        directories: checked.directories,
    }))
}

/// How large the volume is, and how much of it is free.
#[utoipa::path(get, path = "/api/v1/programs/{program}/volume", tag = "files", params(("program" = String, Path)),
    responses((status = 200, body = VolumeView), (status = "4XX", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn volume(
    State(engine): State<Engine>,
    Who(caller): Who,
    PathProgram(id): PathProgram,
) -> Result<Json<VolumeView>, Failure> {
    let VolumeSpace { size, space } = engine.volume_space(&caller, id).await?;
    Ok(Json(VolumeView { size, total: space.total, free: space.free }))
}

/// Read the program's raw storage: bytes of its controller's, apart from the volume. Empty where none were ever set.
#[utoipa::path(get, path = "/api/v1/programs/{program}/raw", tag = "files", params(("program" = String, Path)),
    responses((status = 200, body = Vec<u8>, content_type = "application/octet-stream"),
        (status = "4XX", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn raw(
    State(engine): State<Engine>,
    Who(caller): Who,
    PathProgram(id): PathProgram,
) -> Result<Response, Failure> {
    let content = engine.raw_storage(&caller, id).await?;
    Ok(([(header::CONTENT_TYPE, "application/octet-stream")], content).into_response())
}

/// Replace the program's raw storage; up to 16 MiB.
#[utoipa::path(put, path = "/api/v1/programs/{program}/raw", tag = "files", params(("program" = String, Path)),
    request_body(content = Vec<u8>, content_type = "application/octet-stream"),
    responses((status = 204), (status = "4XX", body = Problem, content_type = "application/problem+json"),
        (status = 507, body = Problem, content_type = "application/problem+json")))]
pub(super) async fn set_raw(
    State(engine): State<Engine>,
    Who(caller): Who,
    PathProgram(id): PathProgram,
    Raw(content): Raw,
) -> Result<StatusCode, Failure> {
    engine.set_raw_storage(&caller, id, content).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Reads on for a while: a client that is still sending when the connection closes may never see why.
async fn skip(mut chunks: BodyDataStream) {
    const AT_MOST: usize = 16 << 20;
    let mut skipped = 0;
    while let Some(Ok(chunk)) = chunks.next().await {
        skipped += chunk.len();
        if skipped > AT_MOST {
            return;
        }
    }
}

async fn look(
    engine: &Engine,
    caller: &Caller,
    id: ProgramId,
    path: String,
    params: &ReadParams,
) -> Result<Response, Failure> {
    if params.stat {
        return Ok(Json(convert::entry(engine.stat_path(caller, id, path).await?)).into_response());
    }
    Ok(match engine.read_path(caller, id, path).await? {
        FileOrDirectory::File(content) => {
            ([(header::CONTENT_TYPE, "application/octet-stream")], content).into_response()
        }
        FileOrDirectory::Directory(listing) => Json(convert::directory(listing)).into_response(),
    })
}
