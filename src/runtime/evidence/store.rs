//! Where evidence of one host lies on this machine: files of fixed names, each with its hash, encrypted while they are written where there
//! are recipients.
//!
//! **Invariant:** nothing of the host names a file; nothing that was there before is opened, changed or removed; with recipients no plain
//! byte reaches the disk.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use age::stream::StreamWriter;
use age::x25519::Recipient;
use serde::Serialize;
use sha2::{Digest as _, Sha256};

use crate::host::EvidenceItem;
use crate::model::{HostName, RunId};

/// The version of `manifest.json`.
const MANIFEST_VERSION: u32 = 1;

/// How often evidence of one host is taken in one run: more than once only where whoever took it died.
const TIMES_MAX: u32 = 100;

/// The directory that evidence of one host goes to.
pub(super) struct Store {
    directory: PathBuf,
    recipients: Vec<Recipient>,
    sums: Vec<(String, String)>,
}

/// A file that is being written.
pub(super) struct ItemFile {
    name: String,
    into: Into,
}

enum Into {
    Plain(Hashed),
    Sealed(Box<StreamWriter<Hashed>>),
}

/// What `manifest.json` says.
#[derive(Serialize)]
pub(super) struct Manifest<'a> {
    version: u32,
    pub(super) run: &'a RunId,
    pub(super) host: &'a HostName,
    pub(super) began: String,
    pub(super) ended: String,
    pub(super) encrypted_to: &'a [String],
    pub(super) items: &'a [ItemEntry],
}

/// What it says of one item.
#[derive(Serialize)]
pub(super) struct ItemEntry {
    pub(super) item: &'static str,
    /// 1 is gone first.
    pub(super) class: u8,
    /// None where there is nothing of it.
    pub(super) file: Option<String>,
    /// As they came, also where the file is encrypted.
    pub(super) bytes: u64,
    pub(super) asked: Option<String>,
    pub(super) took_ms: u64,
    /// `whole`, `nothing` there, `cut`, `late`, `failed`, `lost` with the connection, or `not-taken`.
    pub(super) state: &'static str,
    pub(super) why: Option<String>,
}

/// Reads a recipient: the public key of an age identity.
///
/// # Errors
/// What is wrong with it, without the text: it may be the secret part.
pub fn recipient(text: &str) -> Result<String, String> {
    let read: Recipient = text.trim().parse().map_err(|why: &str| format!("no age recipient: {why}"))?;
    Ok(read.to_string())
}

/// Makes a directory of our own, or takes one that is there.
///
/// # Errors
/// If it cannot be made, or others could put files there.
pub fn directory(path: &Path) -> io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(path)?;
    let metadata = fs::metadata(path)?;
    if metadata.uid() != rustix::process::geteuid().as_raw() || metadata.mode() & 0o022 != 0 {
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, "others than you may write there"));
    }
    Ok(())
}

impl Store {
    /// Makes the directory of a host in a run. One that an earlier process left in the middle stays as it is, with ours in it.
    pub(super) fn begin(into: &Path, run: &RunId, host: &HostName, recipients: &[String]) -> io::Result<Self> {
        directory(into)?;
        let of_run = into.join(run.as_str());
        directory(&of_run)?;
        let first = of_run.join(host.as_str());
        let again = (2..TIMES_MAX).map(|time| first.join(format!("again-{time}")));
        for directory in std::iter::once(first.clone()).chain(again) {
            match fs::DirBuilder::new().mode(0o700).create(&directory) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                made => {
                    made?;
                    let recipients = recipients.iter().map(|text| text.parse());
                    let recipients = recipients.collect::<Result<_, &str>>().map_err(io::Error::other)?;
                    return Ok(Self { directory, recipients, sums: Vec::new() });
                }
            }
        }
        Err(io::Error::new(io::ErrorKind::AlreadyExists, "evidence of this host was begun too often"))
    }

    /// Where it lies, below the run's directory.
    pub(super) fn place(&self, into: &Path, run: &RunId) -> String {
        let below = self.directory.strip_prefix(into.join(run.as_str())).unwrap_or(&self.directory);
        below.display().to_string()
    }

    /// Begins the file of an item.
    pub(super) fn item(&self, number: usize, item: &EvidenceItem) -> io::Result<ItemFile> {
        let ending = if self.recipients.is_empty() { "" } else { ".age" };
        let name = format!("{number:02}-{}{ending}", item.name);
        let file = Hashed::create(&self.directory.join(&name))?;
        let into = if self.recipients.is_empty() {
            Into::Plain(file)
        } else {
            let recipients = self.recipients.iter().map(|recipient| recipient as &dyn age::Recipient);
            let sealed = age::Encryptor::with_recipients(recipients).map_err(io::Error::other)?;
            Into::Sealed(Box::new(sealed.wrap_output(file)?))
        };
        Ok(ItemFile { name, into })
    }

    /// Ends the file of an item, whole or not: what is there is durable, and can be opened. Its name.
    pub(super) fn end(&mut self, file: ItemFile) -> io::Result<String> {
        let hashed = match file.into {
            Into::Plain(hashed) => hashed,
            Into::Sealed(sealed) => sealed.finish()?,
        };
        self.sums.push((file.name.clone(), hashed.end()?));
        Ok(file.name)
    }

    /// Writes what is said of it all, and the hashes of it all. SHA-256 of these.
    pub(super) fn finish(mut self, manifest: &Manifest<'_>) -> io::Result<String> {
        let mut file = Hashed::create(&self.directory.join("manifest.json"))?;
        serde_json::to_writer_pretty(&mut file, manifest)?;
        file.write_all(b"\n")?;
        self.sums.push(("manifest.json".to_owned(), file.end()?));
        let mut sums = Hashed::create(&self.directory.join("SHA256SUMS"))?;
        for (name, hash) in &self.sums {
            writeln!(sums, "{hash}  {name}")?;
        }
        let hash = sums.end()?;
        // The directories as well: a file whose name a power cut takes away is not there.
        for directory in self.directory.ancestors().take(3) {
            File::open(directory)?.sync_all()?;
        }
        Ok(hash)
    }
}

impl<'a> Manifest<'a> {
    pub(super) fn new(
        (run, host): (&'a RunId, &'a HostName),
        (began, ended): (String, String),
        encrypted_to: &'a [String],
        items: &'a [ItemEntry],
    ) -> Self {
        Self { version: MANIFEST_VERSION, run, host, began, ended, encrypted_to, items }
    }
}

impl Write for ItemFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &mut self.into {
            Into::Plain(file) => file.write(bytes),
            Into::Sealed(sealed) => sealed.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A new file, and the hash of what was written to it.
struct Hashed {
    file: BufWriter<File>,
    hash: Sha256,
}

impl Hashed {
    fn create(path: &Path) -> io::Result<Self> {
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
        Ok(Self { file: BufWriter::new(file), hash: Sha256::new() })
    }

    /// Durable; its hash in hex.
    fn end(self) -> io::Result<String> {
        self.file.into_inner().map_err(io::IntoInnerError::into_error)?.sync_all()?;
        Ok(self.hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
    }
}

impl Write for Hashed {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.file.write(bytes)?;
        self.hash.update(&bytes[..written]);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}
