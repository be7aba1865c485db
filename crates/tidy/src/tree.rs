//! The repository's text files.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// Folders that are not the repository's: what is built, and what begins with a dot but this.
const BUILT: &str = "target";
const OURS: &str = ".ci";

/// One text file.
#[derive(Debug, Clone)]
pub struct File {
    /// From the root of the repository, with `/` between the parts.
    pub path: String,
    /// What it says.
    pub text: String,
}

impl File {
    /// A file made up for a test.
    pub fn sample(path: &str, text: &str) -> Self {
        let (path, text) = (path.to_owned(), text.to_owned());
        Self { path, text }
    }

    /// The folder below `crates/` that the file lies in.
    pub fn krate(&self) -> Option<&str> {
        self.path.strip_prefix("crates/")?.split('/').next()
    }

    /// Whether it is Rust.
    pub fn is_rust(&self) -> bool {
        self.path.ends_with(".rs")
    }

    /// Whether it holds nothing but tests.
    pub fn is_test(&self) -> bool {
        self.path.contains("/tests/") || self.path.ends_with("/tests.rs")
    }
}

/// All of the repository's text files.
#[derive(Debug, Clone, Default)]
pub struct Tree {
    /// In the order of their paths.
    pub files: Vec<File>,
}

impl Tree {
    /// Files made up for a test: path, text.
    pub fn sample(files: &[(&str, &str)]) -> Self {
        let files = files.iter().map(|(path, text)| File::sample(path, text));
        Self {
            files: files.collect(),
        }
    }

    /// Reads the repository at `root`. Files that are not UTF-8 are passed over, and so are those
    /// that vanish meanwhile.
    ///
    /// # Errors
    /// When a folder or a file cannot be read.
    pub fn read(root: &Path) -> io::Result<Self> {
        let mut paths = Vec::new();
        walk(root, &mut paths)?;
        paths.sort();
        let mut files = Vec::new();
        for path in paths {
            let bytes = match fs::read(&path) {
                Err(cause) if cause.kind() == io::ErrorKind::NotFound => continue,
                bytes => bytes?,
            };
            let Ok(text) = String::from_utf8(bytes) else {
                continue;
            };
            let path = path.strip_prefix(root).unwrap_or(&path);
            let path = path.to_string_lossy().replace('\\', "/");
            files.push(File { path, text });
        }
        Ok(Self { files })
    }

    /// The text of a file, if there is one.
    pub fn text(&self, path: &str) -> Option<&str> {
        let file = self.files.iter().find(|file| file.path == path)?;
        Some(&file.text)
    }

    /// Whether there is such a file or folder.
    pub fn has(&self, path: &str) -> bool {
        let path = path.trim_end_matches('/');
        let inside = format!("{path}/");
        let mut files = self.files.iter();
        files.any(|file| file.path == path || file.path.starts_with(&inside))
    }

    /// The Rust files.
    pub fn rust(&self) -> impl Iterator<Item = &File> {
        self.files.iter().filter(|file| file.is_rust())
    }
}

fn walk(folder: &Path, found: &mut Vec<PathBuf>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let (path, kind) = (entry.path(), entry.file_type()?);
        let name = entry.file_name();
        let foreign = name == BUILT || (name.as_encoded_bytes()[0] == b'.' && name != OURS);
        if kind.is_dir() && !foreign {
            walk(&path, found)?;
        } else if kind.is_file() {
            found.push(path);
        }
    }
    Ok(())
}
