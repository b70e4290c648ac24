//! Which store the flags mean, and opening it.

use anyhow::{Context, bail};
use coprocessor_store::{
    EmbeddedStore, Store,
    embedded::EmbeddedConfig,
    postgres::{BlobPlace, PostgresConfig, PostgresStore},
};
use secrecy::SecretString;
use std::{
    env, fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use crate::args::StoreArgs;

/// A store, as the flags say.
#[derive(Debug)]
pub(crate) enum StorePlace {
    /// The embedded one in a directory.
    Embedded(PathBuf),
    /// PostgreSQL.
    Postgres(PostgresConfig),
}

impl StorePlace {
    /// What the flags say, and what is in the environment for them.
    ///
    /// # Errors
    /// Flags that contradict each other; a file that cannot be read; credentials that are missing.
    pub(crate) fn new(args: &StoreArgs) -> anyhow::Result<Self> {
        let variable = |name: &str| env::var(name).ok().filter(|value| !value.is_empty());
        let Some(url) = database_url(args)? else {
            if args.blobs.is_some() || args.s3_endpoint.is_some() {
                bail!("--blobs and --s3-endpoint are for PostgreSQL: give --database-url too, or leave them out");
            }
            return Ok(Self::Embedded(data_dir(args.data_dir.as_deref())?));
        };
        let blobs = match args.blobs.as_deref() {
            Some(place) if place.starts_with("s3://") => s3(place, args.s3_endpoint.clone(), variable)?,
            _ if args.s3_endpoint.is_some() => bail!("--s3-endpoint goes with --blobs s3://bucket/prefix"),
            Some(directory) => BlobPlace::Directory(directory.into()),
            None => BlobPlace::Directory(data_dir(args.data_dir.as_deref())?.join("blobs")),
        };
        let connections = usize::from(args.database_connections);
        Ok(Self::Postgres(PostgresConfig { connections, ..PostgresConfig::new(url, blobs) }))
    }

    /// Whether there is nothing there yet, as far as can be told without opening it.
    pub(crate) fn is_new(&self) -> bool {
        matches!(self, Self::Embedded(directory) if !directory.exists())
    }

    /// Opens it; makes it where there is none.
    ///
    /// # Errors
    /// The store's.
    pub(crate) async fn open(self) -> anyhow::Result<Arc<dyn Store>> {
        match self {
            Self::Embedded(directory) => {
                tracing::info!(directory = %directory.display(), "embedded store");
                let open = move || EmbeddedStore::open(&directory, EmbeddedConfig::default());
                Ok(Arc::new(tokio::task::spawn_blocking(open).await?.context("cannot open the store")?))
            }
            Self::Postgres(config) => {
                tracing::info!(blobs = ?config.blobs, "PostgreSQL store");
                Ok(Arc::new(PostgresStore::open(config).await.context("cannot open the PostgreSQL store")?))
            }
        }
    }
}

/// The directory of the embedded store.
///
/// # Errors
/// Neither a flag nor the environment says where it is.
pub(crate) fn data_dir(given: Option<&Path>) -> anyhow::Result<PathBuf> {
    if let Some(directory) = given {
        return Ok(directory.to_owned());
    }
    let from = |variable: &str| env::var_os(variable).filter(|value| !value.is_empty()).map(PathBuf::from);
    let base = from("XDG_DATA_HOME").or_else(|| from("HOME").map(|home| home.join(".local/share")));
    base.map(|base| base.join("coprocessor")).context("neither XDG_DATA_HOME nor HOME is set; give --data-dir")
}

fn database_url(args: &StoreArgs) -> anyhow::Result<Option<SecretString>> {
    let url = match (&args.database_url, &args.database_url_file) {
        (Some(url), _) => url.clone(),
        (None, Some(file)) => fs::read_to_string(file)
            .with_context(|| format!("cannot read the database's URL from {}", file.display()))?,
        (None, None) => return Ok(None),
    };
    let url = url.trim();
    // An empty variable is how an environment file says none.
    Ok((!url.is_empty()).then(|| SecretString::from(url)))
}

fn s3(place: &str, endpoint: Option<String>, variable: impl Fn(&str) -> Option<String>) -> anyhow::Result<BlobPlace> {
    let (bucket, prefix) =
        place.trim_start_matches("s3://").split_once('/').unwrap_or((place.trim_start_matches("s3://"), ""));
    if bucket.is_empty() {
        bail!("{place} names no bucket; expected s3://bucket/prefix");
    }
    let needed =
        |name: &str| variable(name).with_context(|| format!("--blobs {place} needs {name} in the environment"));
    Ok(BlobPlace::S3 {
        bucket: bucket.to_owned(),
        prefix: prefix.trim_matches('/').to_owned(),
        region: variable("AWS_REGION").unwrap_or_else(|| "us-east-1".to_owned()),
        access_key_id: needed("AWS_ACCESS_KEY_ID")?,
        secret_access_key: needed("AWS_SECRET_ACCESS_KEY")?.into(),
        // Whoever writes http means it: requests are signed, and blobs are checked against their digests.
        allow_http: endpoint.as_deref().is_some_and(|endpoint| endpoint.starts_with("http://")),
        endpoint,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use secrecy::ExposeSecret;

    fn args() -> StoreArgs {
        StoreArgs {
            data_dir: Some("/data".into()),
            database_url: None,
            database_url_file: None,
            database_connections: 4,
            blobs: None,
            s3_endpoint: None,
        }
    }

    #[test]
    fn no_database_is_the_embedded_store() {
        let place = StorePlace::new(&args()).unwrap();
        assert!(matches!(&place, StorePlace::Embedded(directory) if directory == Path::new("/data")), "{place:?}");
        let empty = StoreArgs { database_url: Some(String::new()), ..args() };
        assert!(matches!(StorePlace::new(&empty).unwrap(), StorePlace::Embedded(_)));
        for wrong in [
            StoreArgs { blobs: Some("s3://b".into()), ..args() },
            StoreArgs { s3_endpoint: Some("http://s3".into()), ..args() },
        ] {
            assert!(StorePlace::new(&wrong).unwrap_err().to_string().contains("--database-url"));
        }
    }

    #[test]
    fn a_databases_url_comes_from_a_flag_or_a_file_and_is_not_printed() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("url");
        fs::write(&file, "postgres://a:hush@db/c\n").unwrap();
        let place = StorePlace::new(&StoreArgs { database_url_file: Some(file), ..args() }).unwrap();
        let StorePlace::Postgres(config) = &place else { panic!("{place:?}") };
        assert_eq!(config.url.expose_secret(), "postgres://a:hush@db/c");
        assert!(matches!(&config.blobs, BlobPlace::Directory(directory) if directory == Path::new("/data/blobs")));
        assert!(!format!("{place:?}").contains("hush"));
        let missing = StoreArgs { database_url_file: Some("/nowhere/url".into()), ..args() };
        assert!(format!("{:#}", StorePlace::new(&missing).unwrap_err()).contains("/nowhere/url"));
    }

    #[test]
    fn buckets_with_and_without_prefix() {
        let variable = |name: &str| Some(format!("{name}-value"));
        for (place, expected) in [("s3://b", ("b", "")), ("s3://b/", ("b", "")), ("s3://b/p/q/", ("b", "p/q"))] {
            let made = s3(place, Some("http://127.0.0.1:1".into()), variable).unwrap();
            let BlobPlace::S3 { bucket, prefix, region, allow_http, .. } = &made else { panic!("{made:?}") };
            assert_eq!((bucket.as_str(), prefix.as_str()), expected);
            assert_eq!((region.as_str(), *allow_http), ("AWS_REGION-value", true));
            assert!(!format!("{made:?}").contains("AWS_SECRET_ACCESS_KEY-value"));
        }
        assert!(s3("s3:///p", None, variable).is_err());
        let error = s3("s3://b", None, |name| (name != "AWS_SECRET_ACCESS_KEY").then(String::new)).unwrap_err();
        assert!(error.to_string().contains("AWS_SECRET_ACCESS_KEY"), "{error}");
    }
}
