//! What reading and writing a file of 4 KiB costs in a volume with little in it and in one that is nearly full, on the embedded
//! store: prints lists of milliseconds as JSON. `cargo xtask bench` reads it.
#![allow(clippy::print_stdout, reason = "printing is what it is for")]

use bytes::Bytes;
use coprocessor_engine::{Caller, Engine, EngineConfig, Parts, PoolSettings, ProverPool};
use coprocessor_prover::verify::Verifiers;
use coprocessor_sandbox::{Sandbox, SandboxConfig};
use coprocessor_store::{EmbeddedConfig, EmbeddedStore, InsertProgram, NewProgram, Store};
use coprocessor_types::{Backend, OwnerId, ProgramId};
use std::{collections::BTreeMap, error::Error, sync::Arc, time::Instant};

/// Files before the first that counts.
const WARM_UP: usize = 50;
/// Files that count, in each volume.
const FILES: usize = 1000;
/// MiB in use, in each volume.
const USED: [u64; 2] = [1, 60];
/// Volumes that are written to at once, for what writers cost who share fsyncs.
const AT_ONCE: u64 = 16;
/// Files that each of them gets.
const EACH: usize = 100;

type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

#[tokio::main]
async fn main() -> Outcome<()> {
    let folder = tempfile::Builder::new().prefix("coprocessor-bench-").tempdir()?;
    let store: Arc<dyn Store> = Arc::new(EmbeddedStore::open(folder.path(), EmbeddedConfig::default())?);
    let engine = engine(&store).await?;
    let mut lists: BTreeMap<String, Vec<f64>> = BTreeMap::new();

    let mut volumes = Vec::new();
    for (nonce, mib) in (0..).zip(USED) {
        let volume = Volume::new(&engine, &store, nonce).await?;
        for number in 0..mib {
            volume.write(&format!("/fill/{number}.bin"), noise(number, 1 << 20)).await?;
        }
        volumes.push((mib, volume));
    }
    // Now one volume and now the other, so that whatever else the machine does is in both.
    for number in 0..WARM_UP + FILES {
        for (mib, volume) in &volumes {
            let (path, content) = (format!("/dir/{}.bin", number % 100), noise(number as u64, 4096));
            let began = Instant::now();
            volume.write(&path, content).await?;
            let written = milliseconds(began);
            let began = Instant::now();
            volume.read(&path).await?;
            let read = milliseconds(began);
            if number >= WARM_UP {
                lists.entry(format!("write_{mib}")).or_default().push(written);
                lists.entry(format!("read_{mib}")).or_default().push(read);
            }
        }
    }
    lists.insert("write_at_once".to_owned(), at_once(&engine, &store).await?);
    println!("{}", serde_json::to_string(&lists)?);
    Ok(())
}

/// How long each write took of those that were made at once, to volumes of their own.
async fn at_once(engine: &Engine, store: &Arc<dyn Store>) -> Outcome<Vec<f64>> {
    let mut writers = Vec::new();
    for nonce in 0..AT_ONCE {
        let volume = Volume::new(engine, store, 100 + nonce).await?;
        writers.push(tokio::spawn(async move {
            let mut took = Vec::with_capacity(EACH);
            for number in 0..EACH {
                let content = noise(number as u64, 4096);
                let began = Instant::now();
                volume.write(&format!("/{number}.bin"), content).await?;
                took.push(milliseconds(began));
            }
            Outcome::Ok(took)
        }));
    }
    let mut all = Vec::new();
    for writer in writers {
        all.extend(writer.await??);
    }
    Ok(all)
}

async fn engine(store: &Arc<dyn Store>) -> Outcome<Engine> {
    let provers = ProverPool::load(Arc::clone(store), Vec::new(), PoolSettings::default()).await?;
    Ok(Engine::new(Parts {
        store: Arc::clone(store),
        sandbox: Sandbox::new(SandboxConfig::default())?,
        provers,
        verifiers: Verifiers::small(),
        setups: std::collections::BTreeMap::new(),
        config: EngineConfig::default(),
    }))
}

/// A program's volume, by way of the engine.
struct Volume {
    engine: Engine,
    program: ProgramId,
}

impl Volume {
    /// Its controller and its circuit are never run.
    async fn new(engine: &Engine, store: &Arc<dyn Store>, nonce: u64) -> Outcome<Self> {
        let blob = store.put_blob(Bytes::from_static(b"never run")).await?;
        let new = NewProgram {
            id: ProgramId::derive(b"never run", nonce),
            owner: OwnerId::anonymous(),
            key: None,
            name: "bench".to_owned(),
            public: false,
            backend: Backend::Sp1,
            controller: blob,
            circuit: blob,
            verifying_key: None,
            nonce,
            volume_size: 64 << 20,
        };
        match store.insert_program(new, u64::MAX).await? {
            InsertProgram::Inserted(program) => Ok(Self { engine: engine.clone(), program: program.id }),
            other => Err(format!("the store is not new: {other:?}").into()),
        }
    }

    async fn write(&self, path: &str, content: Bytes) -> Outcome<()> {
        Ok(self.engine.write_file(&Caller::anonymous(), self.program, path.to_owned(), content).await?)
    }

    async fn read(&self, path: &str) -> Outcome<()> {
        self.engine.read_path(&Caller::anonymous(), self.program, path.to_owned()).await?;
        Ok(())
    }
}

/// Bytes that differ with `seed`, none of them a page of zeros.
fn noise(seed: u64, length: usize) -> Bytes {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let words = std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    });
    words.flatten().take(length).collect()
}

fn milliseconds(began: Instant) -> f64 {
    began.elapsed().as_secs_f64() * 1e3
}
