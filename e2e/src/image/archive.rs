//! The docker archive: a tar of one layer's tar, the configuration of the image and a manifest that names both
//! (docker image specification 1.2, which `ctr images import` reads). The same input gives the same bytes.

use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use serde_json::json;
use sha2::{Digest, Sha256};
use tar::{Builder, EntryType, Header};

#[derive(Debug, thiserror::Error)]
#[error("image {}: {source}", path.display())]
pub struct Error {
    /// The file that was being read or written.
    path: PathBuf,
    source: io::Error,
}

/// How the image runs.
#[derive(Debug, Clone, Default)]
pub struct Config {
    /// Full names with tags, such as `docker.io/library/quorate:0.1.0`; each names this image.
    pub references: Vec<String>,
    pub entrypoint: Vec<String>,
    /// `uid:gid`; empty means root.
    pub user: String,
    pub environment: Vec<String>,
    /// Empty means `/`.
    pub working_folder: String,
}

/// What the one layer holds.
#[derive(Debug, Clone)]
pub enum Content {
    /// One program at the root, besides an empty `/tmp`.
    Program(PathBuf),
    /// A folder that is the root, with its owners and modes.
    Root(PathBuf),
}

/// Writes the archive; the file appears whole or not at all.
pub fn write(to: &Path, config: &Config, content: &Content) -> Result<(), Error> {
    let layer_path = to.with_extension("layer");
    let part = to.with_extension("part");
    let layer = write_layer(&layer_path, content)?;
    let written = write_archive(&part, config, layer).map_err(at(&part));
    fs::remove_file(&layer_path).map_err(at(&layer_path))?;
    written?;
    fs::rename(&part, to).map_err(at(to))
}

struct Layer {
    file: File,
    bytes: u64,
    sha256: String,
}

fn write_layer(path: &Path, content: &Content) -> Result<Layer, Error> {
    let file = File::options().create(true).truncate(true).read(true).write(true).open(path).map_err(at(path))?;
    let mut builder = Builder::new(Hashing { inner: file, hash: Sha256::new(), bytes: 0 });
    match content {
        Content::Program(program) => append_program(&mut builder, program).map_err(at(program))?,
        Content::Root(root) => append_tree(&mut builder, root, Path::new(""))?,
    }
    let Hashing { mut inner, hash, bytes } = builder.into_inner().map_err(at(path))?;
    inner.seek(SeekFrom::Start(0)).map_err(at(path))?;
    Ok(Layer { file: inner, bytes, sha256: hex::encode(hash.finalize()) })
}

fn append_program(builder: &mut Builder<impl Write>, program: &Path) -> io::Result<()> {
    let mut folder = header(EntryType::Directory, 0o1777, 0);
    builder.append_data(&mut folder, "tmp", io::empty())?;
    let file = File::open(program)?;
    let mut entry = header(EntryType::Regular, 0o755, file.metadata()?.len());
    builder.append_data(&mut entry, program.file_name().unwrap_or_default(), file)
}

/// Appends a folder's entries in the order of their names.
fn append_tree(builder: &mut Builder<impl Write>, root: &Path, below: &Path) -> Result<(), Error> {
    use std::os::unix::fs::MetadataExt;
    let folder = root.join(below);
    let entries = fs::read_dir(&folder).map_err(at(&folder))?.map(|entry| Ok(entry?.file_name()));
    let mut names = entries.collect::<io::Result<Vec<_>>>().map_err(at(&folder))?;
    names.sort();
    for name in names {
        let (path, inside) = (folder.join(&name), below.join(&name));
        let metadata = fs::symlink_metadata(&path).map_err(at(&path))?;
        let kind = metadata.file_type();
        let mode = metadata.mode() & 0o7777;
        let (entry_type, size) = if kind.is_dir() {
            (EntryType::Directory, 0)
        } else if kind.is_symlink() {
            (EntryType::Symlink, 0)
        } else {
            (EntryType::Regular, metadata.len())
        };
        let mut entry = header(entry_type, mode, size);
        entry.set_uid(metadata.uid().into());
        entry.set_gid(metadata.gid().into());
        let appended = match entry_type {
            EntryType::Directory => builder.append_data(&mut entry, &inside, io::empty()),
            EntryType::Symlink => fs::read_link(&path).and_then(|to| builder.append_link(&mut entry, &inside, to)),
            _ => File::open(&path).and_then(|file| builder.append_data(&mut entry, &inside, file)),
        };
        appended.map_err(at(&path))?;
        if kind.is_dir() {
            append_tree(builder, root, &inside)?;
        }
    }
    Ok(())
}

fn write_archive(path: &Path, config: &Config, layer: Layer) -> io::Result<()> {
    let configuration = serde_json::to_vec(&json!({
        "architecture": if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" },
        "os": "linux",
        "config": {
            "Entrypoint": config.entrypoint,
            "User": config.user,
            "Env": config.environment,
            "WorkingDir": if config.working_folder.is_empty() { "/" } else { &config.working_folder },
        },
        "rootfs": {"type": "layers", "diff_ids": [format!("sha256:{}", layer.sha256)]},
    }))?;
    let manifest = serde_json::to_vec(&json!([
        {"Config": "config.json", "RepoTags": config.references, "Layers": ["layer.tar"]},
    ]))?;
    let mut builder = Builder::new(io::BufWriter::new(File::create(path)?));
    let mut append = |name: &str, bytes: u64, data: &mut dyn Read| {
        builder.append_data(&mut header(EntryType::Regular, 0o644, bytes), name, data)
    };
    append("config.json", configuration.len() as u64, &mut configuration.as_slice())?;
    append("layer.tar", layer.bytes, &mut io::BufReader::new(layer.file))?;
    append("manifest.json", manifest.len() as u64, &mut manifest.as_slice())?;
    builder.into_inner()?.flush()
}

/// Without a time of its own, so that equal content gives equal digests.
fn header(kind: EntryType, mode: u32, size: u64) -> Header {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_size(size);
    header.set_mtime(0);
    header.set_uid(0);
    header.set_gid(0);
    header
}

/// Hashes and counts what passes through.
struct Hashing<W> {
    inner: W,
    hash: Sha256,
    bytes: u64,
}

impl<W: Write> Write for Hashing<W> {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        let written = self.inner.write(data)?;
        self.hash.update(&data[..written]);
        self.bytes += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

fn at(path: &Path) -> impl FnOnce(io::Error) -> Error {
    let path = path.to_owned();
    move |source| Error { path, source }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn entries(archive: &Path) -> BTreeMap<String, Vec<u8>> {
        let mut archive = tar::Archive::new(File::open(archive).unwrap());
        let read = |entry: io::Result<tar::Entry<'_, File>>| {
            let mut entry = entry.unwrap();
            let mut bytes = Vec::new();
            entry.read_to_end(&mut bytes).unwrap();
            (entry.path().unwrap().display().to_string(), bytes)
        };
        archive.entries().unwrap().map(read).collect()
    }

    #[test]
    fn the_configuration_names_the_layer_by_its_digest() {
        let folder = tempfile::tempdir().unwrap();
        let program = folder.path().join("hello");
        fs::write(&program, "#!/bin/sh\n").unwrap();
        let config = Config { references: vec!["quorate.local/hello:1".into()], ..Config::default() };
        let to = folder.path().join("hello.tar");
        write(&to, &config, &Content::Program(program)).unwrap();

        let found = entries(&to);
        let configuration: serde_json::Value = serde_json::from_slice(&found["config.json"]).unwrap();
        let digest = format!("sha256:{}", hex::encode(Sha256::digest(&found["layer.tar"])));
        assert_eq!(configuration["rootfs"]["diff_ids"][0], digest);
        let manifest: serde_json::Value = serde_json::from_slice(&found["manifest.json"]).unwrap();
        assert_eq!(manifest[0]["RepoTags"][0], "quorate.local/hello:1");
    }

    #[test]
    fn equal_folders_give_equal_archives_whatever_their_times() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("root");
        fs::create_dir_all(root.join("usr/bin")).unwrap();
        fs::write(root.join("usr/bin/quorate"), "program").unwrap();
        std::os::unix::fs::symlink("usr/bin", root.join("bin")).unwrap();
        let config = Config { references: vec!["quorate:1".into()], user: "65532:65532".into(), ..Config::default() };
        let archive = |name: &str| {
            let to = folder.path().join(name);
            write(&to, &config, &Content::Root(root.clone())).unwrap();
            fs::read(to).unwrap()
        };
        let first = archive("first.tar");
        let touched = fs::File::options().write(true).open(root.join("usr/bin/quorate")).unwrap();
        touched.set_modified(std::time::SystemTime::UNIX_EPOCH).unwrap();
        assert!(first == archive("second.tar"), "the archives differ");
    }
}
