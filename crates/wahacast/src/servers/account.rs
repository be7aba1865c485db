//! Whom the servers run as, and where their data can live.
//!
//! Neither server may run as root. Called by an ordinary user, both run as that user. Called by
//! root, each runs as the owner of its data if there is any, else as the system user that its
//! package has made, else as `nobody`. Data lies in `DIR/servers` where that user can reach it
//! (a clone in a home folder with mode 0700 is out of reach); otherwise it lies in a folder
//! below `/var/lib/wahacast` named after DIR, and `DIR/servers` is a link to it.

use std::fs::{self, Permissions};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use nix::unistd::{User, geteuid};

/// A user to run a child as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Account {
    /// User id.
    pub(crate) uid: u32,
    /// Group id.
    pub(crate) gid: u32,
}

/// A folder that a server owns, and whom it runs as (`None`: as ourselves).
#[derive(Debug, Clone)]
pub(crate) struct Home {
    /// The server's own folder.
    pub(crate) path: PathBuf,
    /// Whom to run it as.
    pub(crate) account: Option<Account>,
}

/// Makes (or finds) the folder of the server called `name` for the directory `dir`.
pub(crate) fn home(dir: &Path, name: &str, users: &[&str]) -> anyhow::Result<Home> {
    if !geteuid().is_root() {
        let path = dir.join("servers").join(name);
        fs::create_dir_all(&path)?;
        if fs::metadata(&path)?.uid() != geteuid().as_raw() {
            bail!(
                "{} belongs to another user; choose another --dir",
                path.display()
            );
        }
        return Ok(Home {
            path,
            account: None,
        });
    }
    let wanted = system_user(users)?;
    let path = servers_dir(dir, wanted)?.join(name);
    fs::create_dir_all(&path)?;
    let meta = fs::metadata(&path)?;
    let account = if meta.uid() == 0 {
        chown(&path, Some(wanted.uid), Some(wanted.gid))?;
        wanted
    } else {
        Account {
            uid: meta.uid(),
            gid: meta.gid(),
        }
    };
    Ok(Home {
        path,
        account: Some(account),
    })
}

/// Gives a file or folder that we made to the user that the server runs as.
pub(crate) fn give(path: &Path, account: Option<Account>) -> anyhow::Result<()> {
    let Some(account) = account else {
        return Ok(());
    };
    chown(path, Some(account.uid), Some(account.gid))
        .with_context(|| format!("cannot give {} to the server's user", path.display()))
}

fn system_user(users: &[&str]) -> anyhow::Result<Account> {
    for name in users.iter().chain(&["nobody"]) {
        if let Some(user) = User::from_name(name)? {
            return Ok(Account {
                uid: user.uid.as_raw(),
                gid: user.gid.as_raw(),
            });
        }
    }
    bail!("root may not run the servers and no other user was found; call wahacast as one")
}

/// `dir/servers`, or what it links to.
fn servers_dir(dir: &Path, account: Account) -> anyhow::Result<PathBuf> {
    let near = dir.join("servers");
    if let Ok(existing) = near.canonicalize() {
        return Ok(existing);
    }
    if can_enter(&permissions_above(dir)?, account) {
        make_open_dir(&near)?;
        return Ok(near);
    }
    let far = Path::new("/var/lib/wahacast").join(folder_name(dir));
    if far.exists() {
        // The link is gone, so `dir` was deleted, and with it the password of this data.
        fs::remove_dir_all(&far)?;
    }
    fs::create_dir_all(&far)?;
    for part in [Path::new("/var/lib/wahacast"), &far] {
        fs::set_permissions(part, Permissions::from_mode(0o755))?;
    }
    if near.is_symlink() {
        fs::remove_file(&near)?;
    }
    symlink(&far, &near)?;
    Ok(far)
}

fn make_open_dir(path: &Path) -> anyhow::Result<()> {
    fs::create_dir_all(path)?;
    Ok(fs::set_permissions(path, Permissions::from_mode(0o755))?)
}

/// A short name for the data of a directory, the same at every start.
fn folder_name(dir: &Path) -> String {
    let mut hasher = DefaultHasher::new();
    dir.hash(&mut hasher);
    format!("{:016x}", hasher.finish())
}

/// Mode, owner and group of a directory.
type Permission = (u32, u32, u32);

fn permissions_above(dir: &Path) -> anyhow::Result<Vec<Permission>> {
    dir.ancestors()
        .map(|part| Ok(fs::metadata(part).map(|meta| (meta.mode(), meta.uid(), meta.gid()))?))
        .collect()
}

/// Whether `account` may pass through every one of these directories.
fn can_enter(directories: &[Permission], account: Account) -> bool {
    directories.iter().all(|&(mode, uid, gid)| {
        let needed = match (uid == account.uid, gid == account.gid) {
            (true, _) => 0o100,
            (false, true) => 0o010,
            (false, false) => 0o001,
        };
        mode & needed != 0
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entering_needs_every_directory() {
        let account = Account { uid: 101, gid: 104 };
        let table = [
            (vec![(0o755, 0, 0), (0o755, 0, 0)], true),
            (vec![(0o755, 0, 0), (0o700, 0, 0)], false),
            (vec![(0o700, 101, 0)], true),
            (vec![(0o010, 0, 104)], true),
            (vec![(0o701, 0, 104)], false),
            (vec![(0o711, 0, 0)], true),
        ];
        for (directories, expected) in table {
            assert_eq!(
                can_enter(&directories, account),
                expected,
                "{directories:?}"
            );
        }
    }

    #[test]
    fn folder_names_differ_and_stay() {
        let (a, b) = (folder_name(Path::new("/a")), folder_name(Path::new("/b")));
        assert_eq!(a, folder_name(Path::new("/a")));
        assert_ne!(a, b);
        assert_eq!(a.len(), 16);
    }
}
