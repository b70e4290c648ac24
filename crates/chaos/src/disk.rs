//! A small file system that can be filled to its last byte.

use anyhow::{Context, Result};
use std::{
    fs::{self, File},
    io::{ErrorKind, Write},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

/// A file system in memory, of a size of its own; unmounted when dropped.
#[derive(Debug)]
pub(crate) struct SmallDisk {
    at: PathBuf,
}

impl SmallDisk {
    /// Mounts one at `at`; `None` where this process may not mount.
    pub(crate) fn mount(at: &Path, mib: u64) -> Result<Option<Self>> {
        fs::create_dir_all(at).with_context(|| format!("cannot make {}", at.display()))?;
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &format!("size={mib}m"), "coprocessor-chaos"]).arg(at);
        let mounted = mount.stdin(Stdio::null()).output().is_ok_and(|output| output.status.success());
        Ok(mounted.then(|| Self { at: at.to_owned() }))
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.at
    }

    /// Leaves no byte free.
    ///
    /// # Errors
    /// The filler cannot be written for another reason than that the disk is full.
    pub(crate) fn fill(&self) -> Result<()> {
        let path = self.filler();
        let mut filler = File::create(&path).with_context(|| format!("cannot write {}", path.display()))?;
        // Large pieces first; then what a large piece did not fit in.
        for piece in [1 << 20, 4096] {
            let zeros = vec![0; piece];
            loop {
                match filler.write(&zeros) {
                    Ok(_) => {}
                    Err(error) if error.kind() == ErrorKind::StorageFull => break,
                    Err(error) => return Err(error).context("cannot fill the disk"),
                }
            }
        }
        Ok(())
    }

    /// Gives it all back.
    ///
    /// # Errors
    /// The filler cannot be removed.
    pub(crate) fn free(&self) -> Result<()> {
        match fs::remove_file(self.filler()) {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(error).context("cannot free the disk"),
            _ => Ok(()),
        }
    }

    fn filler(&self) -> PathBuf {
        self.at.join("filler")
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let mut umount = Command::new("umount");
        // Lazily: a process that has just been killed may still hold it.
        let _ = umount.arg("-l").arg(&self.at).stdin(Stdio::null()).output();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::{Duration, Instant};

    #[test]
    fn a_filled_disk_takes_nothing_until_it_is_freed() {
        let directory = tempfile::tempdir().unwrap();
        // Where mounting is not allowed there is nothing to test; the run says so itself.
        let Some(disk) = SmallDisk::mount(&directory.path().join("disk"), 4).unwrap() else { return };
        let file = disk.path().join("file");
        disk.fill().unwrap();
        let error = fs::write(&file, [7; 4096]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::StorageFull);
        disk.free().unwrap();
        // The kernel gives back what was removed a moment later.
        let began = Instant::now();
        while let Err(error) = fs::write(&file, [7; 4096]) {
            assert!(began.elapsed() < Duration::from_secs(30), "it stays full: {error}");
            std::thread::sleep(Duration::from_millis(10));
        }
        disk.free().unwrap();
    }
}
