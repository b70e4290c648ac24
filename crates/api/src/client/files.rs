//! What a program keeps: files on its volume, the volume as an image, raw storage.

use super::{
    Client, ClientError, Download,
    exchange::{self, Patience},
    octets,
};
use crate::{Directory, DirectoryEntry, NewImageView, RenameRequest, VolumeView};
use bytes::Bytes;
use coprocessor_types::ProgramId;
use reqwest::{Body, Method, header::CONTENT_TYPE};

/// What lies at a path of a volume.
#[derive(Debug)]
pub enum PathContent {
    /// A file, to be read.
    File(Download),
    /// A directory.
    Directory(Directory),
}

impl Client {
    /// What lies at `path` of a program's volume; `""` or `"/"` is the root directory.
    ///
    /// # Errors
    /// See [`ClientError`]; problem `unknown_file`.
    pub async fn read(&self, program: &ProgramId, path: &str) -> Result<PathContent, ClientError> {
        let request = self.exchange.file_request(Method::GET, program, path, Patience::Work)?;
        let response = self.exchange.send(request).await?;
        let is_json = response
            .headers()
            .get(CONTENT_TYPE)
            .and_then(|value| value.to_str().ok())
            .is_some_and(|value| value.starts_with("application/json"));
        if is_json {
            exchange::json(response).await.map(PathContent::Directory)
        } else {
            Ok(PathContent::File(Download::new(response)))
        }
    }

    /// Writes a file of a program's volume. Directories are made as needed.
    ///
    /// # Errors
    /// See [`ClientError`]; problems `invalid_path`, `file_conflict`, `volume_full`.
    pub async fn write_file(&self, program: &ProgramId, path: &str, content: Bytes) -> Result<(), ClientError> {
        let request = self.exchange.file_request(Method::PUT, program, path, Patience::Work)?;
        self.exchange.send(octets(request, content)).await.map(drop)
    }

    /// Deletes a file or an empty directory of a program's volume.
    ///
    /// # Errors
    /// See [`ClientError`]; problems `unknown_file`, `file_conflict` for a directory with something in it.
    pub async fn delete_file(&self, program: &ProgramId, path: &str) -> Result<(), ClientError> {
        let request = self.exchange.file_request(Method::DELETE, program, path, Patience::Answer)?;
        self.exchange.send(request).await.map(drop)
    }

    /// A program's volume as a FAT-16 image.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn image(&self, program: &ProgramId) -> Result<Download, ClientError> {
        self.exchange.download(&["programs", &program.to_string(), "image"], &[]).await
    }

    /// Makes a directory of a program's volume, with those it is in. One that is there stays as it is.
    ///
    /// # Errors
    /// See [`ClientError`]; problems `invalid_path`, `file_conflict`, `volume_full`.
    pub async fn make_directory(&self, program: &ProgramId, path: &str) -> Result<(), ClientError> {
        let directory = format!("{path}/");
        let request = self.exchange.file_request(Method::PUT, program, &directory, Patience::Answer)?;
        self.exchange.send(request).await.map(drop)
    }

    /// Gives a file or directory of a program's volume another path, in one step. What is there now.
    ///
    /// # Errors
    /// See [`ClientError`]; problems `unknown_file`, `invalid_path`, `file_conflict`, `volume_full`.
    pub async fn rename(&self, program: &ProgramId, from: &str, to: &str) -> Result<DirectoryEntry, ClientError> {
        let request = self.exchange.file_request(Method::PATCH, program, from, Patience::Answer)?;
        let body = RenameRequest { rename_to: to.to_owned() };
        exchange::json(self.exchange.send(request.json(&body)).await?).await
    }

    /// What is known of a file or directory of a program's volume, without its content.
    ///
    /// # Errors
    /// See [`ClientError`]; problem `unknown_file`.
    pub async fn stat(&self, program: &ProgramId, path: &str) -> Result<DirectoryEntry, ClientError> {
        let request = self.exchange.file_request(Method::GET, program, path, Patience::Answer)?;
        exchange::json(self.exchange.send(request.query(&[("stat", "true")])).await?).await
    }

    /// How large a program's volume is, and how much of it is free.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn volume(&self, program: &ProgramId) -> Result<VolumeView, ClientError> {
        self.exchange.get(&["programs", &program.to_string(), "volume"], &[]).await
    }

    /// Puts a FAT-16 image, of any size that the service allows, in the place of a program's volume. It is looked at in full
    /// first.
    ///
    /// # Errors
    /// See [`ClientError`]; problems `invalid_image`, which says what is wrong and where, and `too_large`.
    pub async fn upload_image(&self, program: &ProgramId, image: impl Into<Body>) -> Result<NewImageView, ClientError> {
        let path = ["programs", &program.to_string(), "image"];
        let request = self.exchange.request(Method::PUT, &path, Patience::Work)?;
        exchange::json(self.exchange.send(octets(request, image)).await?).await
    }

    /// A program's raw storage: bytes apart from its volume.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn raw_storage(&self, program: &ProgramId) -> Result<Download, ClientError> {
        self.exchange.download(&["programs", &program.to_string(), "raw"], &[]).await
    }

    /// Replaces a program's raw storage.
    ///
    /// # Errors
    /// See [`ClientError`]; problem `too_large`.
    pub async fn set_raw_storage(&self, program: &ProgramId, content: Bytes) -> Result<(), ClientError> {
        let path = ["programs", &program.to_string(), "raw"];
        let request = self.exchange.request(Method::PUT, &path, Patience::Work)?;
        self.exchange.send(octets(request, content)).await.map(drop)
    }
}
