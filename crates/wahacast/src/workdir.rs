//! The directory that belongs to one running system: lock, secrets, ports, logs, data.
//!
//! Invariant: one process at a time holds a directory (`flock`), so whatever else is found
//! running from it is a leftover of a process that was killed.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use nix::fcntl::{Flock, FlockArg};
use rand::Rng;

use crate::env_file;

/// A directory that this process has locked.
#[derive(Debug)]
pub(crate) struct WorkDir {
    path: PathBuf,
    _lock: Flock<File>,
}

impl WorkDir {
    /// Makes the directory if need be and locks it for the life of the value.
    pub(crate) fn open(dir: &Path) -> anyhow::Result<Self> {
        fs::create_dir_all(dir.join("logs"))
            .with_context(|| format!("cannot make the directory {}", dir.display()))?;
        let path = dir.canonicalize()?;
        let file = private_file().truncate(false).open(path.join("lock"))?;
        match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(lock) => Ok(Self { path, _lock: lock }),
            Err((_, nix::errno::Errno::EWOULDBLOCK)) => bail!(
                "another wahacast is already running from {}; stop it or choose another --dir",
                path.display()
            ),
            Err((_, cause)) => Err(cause).context("cannot lock the directory"),
        }
    }

    /// The directory itself, absolute.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Where the output of process `name` goes.
    pub(crate) fn log(&self, name: &str) -> PathBuf {
        self.path.join("logs").join(format!("{name}.log"))
    }

    /// The secret called `name`: made on first use, kept in `secrets.env` (mode 0600).
    pub(crate) fn secret(&self, name: &str) -> anyhow::Result<String> {
        let path = self.path.join("secrets.env");
        let mut kept = read_or_empty(&path)?;
        if let Some(found) = env_file::parse(&kept)?.remove(name) {
            return Ok(found);
        }
        let fresh: String = {
            let mut random = rand::rng();
            (0..40)
                .map(|_| char::from(random.sample(rand::distr::Alphanumeric)))
                .collect()
        };
        kept.push_str(&format!("{name}={fresh}\n"));
        write_private(&path, &kept)?;
        Ok(fresh)
    }

    /// The ports that an earlier start used, by purpose.
    pub(crate) fn ports(&self) -> BTreeMap<String, u16> {
        let text = read_or_empty(&self.path.join("ports.json")).unwrap_or_default();
        serde_json::from_str(&text).unwrap_or_default()
    }

    /// Remembers the ports, so that the next start has the same addresses when they are free.
    pub(crate) fn keep_ports(&self, ports: &BTreeMap<String, u16>) -> anyhow::Result<()> {
        write_private(
            &self.path.join("ports.json"),
            &serde_json::to_string_pretty(ports)?,
        )
    }
}

/// Replaces a file by one that only its owner can read; a reader sees the old or the new one.
pub(crate) fn write_private(path: &Path, text: &str) -> anyhow::Result<()> {
    let fresh = path.with_extension("new");
    let mut file = private_file()
        .truncate(true)
        .open(&fresh)
        .with_context(|| format!("cannot write {}", fresh.display()))?;
    file.set_permissions(Permissions::from_mode(0o600))?;
    file.write_all(text.as_bytes())?;
    fs::rename(&fresh, path).with_context(|| format!("cannot replace {}", path.display()))
}

fn private_file() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).mode(0o600);
    options
}

fn read_or_empty(path: &Path) -> anyhow::Result<String> {
    let mut text = String::new();
    match File::open(path) {
        Ok(mut file) => file
            .read_to_string(&mut text)
            .map(|_| text)
            .map_err(Into::into),
        Err(cause) if cause.kind() == std::io::ErrorKind::NotFound => Ok(text),
        Err(cause) => Err(cause).with_context(|| format!("cannot read {}", path.display())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_made_once_and_private() {
        let dir = tempfile::tempdir().unwrap();
        let work = WorkDir::open(dir.path()).unwrap();
        let first = work.secret("ADMIN_API_KEY").unwrap();
        assert_eq!(first.len(), 40);
        assert_ne!(first, work.secret("WEBHOOK_HMAC_KEY").unwrap());
        assert_eq!(first, work.secret("ADMIN_API_KEY").unwrap());
        let mode = fs::metadata(dir.path().join("secrets.env"))
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn a_directory_is_held_by_one() {
        let dir = tempfile::tempdir().unwrap();
        let held = WorkDir::open(dir.path()).unwrap();
        let refusal = WorkDir::open(dir.path()).unwrap_err().to_string();
        assert!(refusal.contains("already running"), "{refusal}");
        drop(held);
        WorkDir::open(dir.path()).unwrap();
    }
}
