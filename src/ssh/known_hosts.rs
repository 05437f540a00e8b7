//! Who a host is: OpenSSH's `known_hosts` (sshd(8), "SSH_KNOWN_HOSTS FILE FORMAT").
//!
//! **Invariant:** a file that cannot be read is an error, never an empty one. A key of another algorithm for a known host is a changed
//! key, never an unknown host.

use std::collections::HashMap;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use hmac::{Hmac, KeyInit as _, Mac as _};
use russh::keys::ssh_key::known_hosts::{Entry, HostPatterns, Marker};
use russh::keys::{Algorithm, PublicKey};
use sha1::Sha1;

use crate::model::{Reason, ReasonKind};

/// A larger file is a mistake.
const FILE_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// The entries of one or more files.
#[derive(Debug, Clone, Default)]
pub struct KnownHosts {
    files: Vec<PathBuf>,
    entries: Vec<(Entry, Place)>,
    /// Entries by the names in them, in lower case: in a large fleet each host is one of thousands.
    exact: HashMap<String, Vec<usize>>,
    /// Entries with a hash, a pattern or a negation, which must be tried one by one.
    others: Vec<usize>,
    /// Lines that could not be read; the others count.
    bad_lines: Vec<Place>,
}

/// What the files say of one host.
#[derive(Debug, Clone, Default)]
pub struct HostKeys {
    files: Vec<PathBuf>,
    keys: Vec<(PublicKey, Place)>,
    revoked: Vec<(PublicKey, Place)>,
    bad_line: Option<Place>,
    /// Found under the bare name, not under the one with the port.
    bare: bool,
}

/// A line of a file, as `file:line`.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Place(PathBuf, usize);

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.0.display(), self.1)
    }
}

/// What the files say of a key that a host shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Trust {
    /// It is the host's.
    Known,
    /// The files do not know the host.
    Unknown,
    /// The files have other keys for the host.
    Changed {
        /// Where, as `file:line`.
        place: String,
    },
    /// The key is marked as revoked.
    Revoked {
        /// Where, as `file:line`.
        place: String,
    },
}

impl KnownHosts {
    /// Reads these files. One that does not exist has no entries; one that cannot be read is an error.
    ///
    /// # Errors
    /// `known-hosts-unreadable` with the file.
    pub fn read(files: &[PathBuf]) -> Result<Self, Reason> {
        let mut known = Self { files: files.to_vec(), ..Self::default() };
        for path in files {
            let unreadable = |why: &dyn fmt::Display| {
                Reason::new(ReasonKind::KnownHostsUnreadable, format!("{} cannot be read: {why}", path.display()))
            };
            match fs::metadata(path) {
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
                Err(error) => return Err(unreadable(&error)),
                Ok(metadata) if metadata.len() > FILE_BYTES_MAX => return Err(unreadable(&"it is larger than 16 MiB")),
                Ok(_) => {}
            }
            let bytes = fs::read(path).map_err(|error| unreadable(&error))?;
            known.add(path, &String::from_utf8_lossy(&bytes));
        }
        Ok(known)
    }

    fn add(&mut self, path: &Path, text: &str) {
        for (index, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            // The parser knows blanks only; OpenSSH takes tabs too.
            match line.replace('\t', " ").parse::<Entry>() {
                Ok(entry) => self.take(entry, Place(path.to_owned(), index + 1)),
                Err(_) => self.bad_lines.push(Place(path.to_owned(), index + 1)),
            }
        }
    }

    fn take(&mut self, entry: Entry, place: Place) {
        let position = self.entries.len();
        match entry.host_patterns() {
            HostPatterns::Patterns(names) if !names.iter().any(|name| name.contains(['*', '?', '!'])) => {
                for name in names {
                    let same = self.exact.entry(name.to_ascii_lowercase()).or_default();
                    // A line may name a host twice.
                    if same.last() != Some(&position) {
                        same.push(position);
                    }
                }
            }
            HostPatterns::Patterns(_) | HostPatterns::HashedName { .. } => self.others.push(position),
        }
        self.entries.push((entry, place));
    }

    /// What they say of this host: under its name with the port, or (as ssh does) under its bare name if that is not known.
    #[must_use]
    pub fn lookup(&self, address: &str, port: u16) -> HostKeys {
        let mut found = self.named(&lookup_name(address, port));
        if port != 22 && found.keys.is_empty() {
            let bare = self.named(&lookup_name(address, 22));
            found.revoked.extend(bare.revoked);
            (found.keys, found.bare) = (bare.keys, true);
        }
        found
    }

    fn named(&self, name: &str) -> HostKeys {
        let bad_line = self.bad_lines.first().cloned();
        let mut found = HostKeys { files: self.files.clone(), bad_line, ..HostKeys::default() };
        let fits = |position: &&usize| matches(self.entries[**position].0.host_patterns(), name);
        let exact = self.exact.get(name).into_iter().flatten();
        let mut mine: Vec<usize> = exact.chain(self.others.iter().filter(fits)).copied().collect();
        mine.sort_unstable();
        for (entry, place) in mine.into_iter().map(|position| &self.entries[position]) {
            let key = (entry.public_key().clone(), place.clone());
            match entry.marker() {
                None => found.keys.push(key),
                Some(Marker::Revoked) => found.revoked.push(key),
                // Certificates of hosts are not asked for.
                Some(Marker::CertAuthority) => {}
            }
        }
        found
    }
}

impl HostKeys {
    /// What the files say of this key.
    #[must_use]
    pub fn check(&self, key: &PublicKey) -> Trust {
        let find = |keys: &[(PublicKey, Place)]| {
            let same = keys.iter().find(|(known, _)| known.key_data() == key.key_data());
            same.map(|(_, place)| place.to_string())
        };
        if let Some(place) = find(&self.revoked) {
            return Trust::Revoked { place };
        }
        match (find(&self.keys), self.keys.first()) {
            (Some(_), _) => Trust::Known,
            // The same address at another port may be another machine.
            (None, Some(_)) if self.bare => Trust::Unknown,
            (None, Some((_, place))) => Trust::Changed { place: place.to_string() },
            (None, None) => Trust::Unknown,
        }
    }

    /// The algorithms of its keys: those are asked for first, so that a host with several keys shows one that is known.
    #[must_use]
    pub fn algorithms(&self) -> Vec<Algorithm> {
        self.keys.iter().map(|(key, _)| key.algorithm()).collect()
    }

    /// The files, for a message.
    pub(super) fn files(&self) -> String {
        self.files.iter().map(|file| file.display().to_string()).collect::<Vec<_>>().join(", ")
    }

    /// The first of them, where a new key belongs.
    pub(super) fn first_file(&self) -> Option<String> {
        self.files.first().map(|file| file.display().to_string())
    }

    /// A line that could not be read, and may have been the host's.
    pub(super) fn bad_line(&self) -> Option<String> {
        self.bad_line.as_ref().map(Place::to_string)
    }
}

/// As OpenSSH writes it: lower case, with the port where it is not 22.
pub(super) fn lookup_name(address: &str, port: u16) -> String {
    let address = address.to_ascii_lowercase();
    if port == 22 { address } else { format!("[{address}]:{port}") }
}

fn matches(patterns: &HostPatterns, name: &str) -> bool {
    match patterns {
        HostPatterns::HashedName { salt, hash } => {
            let mut mac = Hmac::<Sha1>::new_from_slice(salt).expect("HMAC takes keys of any length");
            mac.update(name.as_bytes());
            mac.verify_slice(hash).is_ok()
        }
        HostPatterns::Patterns(patterns) => {
            let mut found = false;
            for pattern in patterns {
                match pattern.strip_prefix('!') {
                    // One negated pattern that fits takes the host out of the line.
                    Some(pattern) if glob(pattern.as_bytes(), name.as_bytes()) => return false,
                    Some(_) => {}
                    None => found |= glob(pattern.as_bytes(), name.as_bytes()),
                }
            }
            found
        }
    }
}

/// `*` and `?`, as in ssh_config(5), whatever the case. Linear: the last `*` alone is tried again.
fn glob(pattern: &[u8], text: &[u8]) -> bool {
    let (mut p, mut t) = (0, 0);
    let mut again: Option<(usize, usize)> = None;
    while t < text.len() {
        match pattern.get(p) {
            Some(b'*') => {
                again = Some((p, t));
                p += 1;
            }
            Some(byte) if *byte == b'?' || byte.eq_ignore_ascii_case(&text[t]) => (p, t) = (p + 1, t + 1),
            Some(_) | None => {
                let Some((star, from)) = again else { return false };
                again = Some((star, from + 1));
                (p, t) = (star + 1, from + 1);
            }
        }
    }
    pattern[p..].iter().all(|byte| *byte == b'*')
}

#[cfg(test)]
mod tests {
    use super::*;

    const ED: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJdD7y3aLq454yWBdwLWbieU1ebz9/cu7/QEXn9OIeZJ";
    const ED2: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIA6rWI3G1sz07DnfFlrouTcysQlj2P+jpNSOEWD9OJ3X";
    const ECDSA: &str = "ecdsa-sha2-nistp256 AAAAE2VjZHNhLXNoYTItbmlzdHAyNTYAAAAIbmlzdHAyNTYAAABBBMq9VXFWEi0RwNpQ2jWOEfIvyY9IVhPBNW3rIqZ2Nt8kh1/PeKxr6MQBlWCZ4Xm4G2MdNIFIKZRzHJ4dwnNLRqw=";

    fn trust(file: &str, address: &str, port: u16) -> Trust {
        let mut known = KnownHosts::default();
        known.add(Path::new("kh"), file);
        known.lookup(address, port).check(&PublicKey::from_openssh(ED).unwrap())
    }

    #[test]
    fn a_host_is_known_by_name_port_pattern_or_hash() {
        assert_eq!(trust(&format!("h {ED}"), "H", 22), Trust::Known);
        assert_eq!(trust(&format!("[h]:2222 {ED}"), "h", 2222), Trust::Known);
        assert_eq!(trust(&format!("Host.Net {ED}"), "hOST.nET", 22), Trust::Known);
        assert_eq!(trust(&format!("a,*.net,!b.net {ED}"), "c.net", 22), Trust::Known);
        assert_eq!(trust(&format!("h\t{ED}\r\n"), "h", 22), Trust::Known);
        assert_eq!(trust(&format!("a,*.net,!b.net {ED}"), "b.net", 22), Trust::Unknown);
        assert_eq!(trust("", "h", 22), Trust::Unknown);
    }

    #[test]
    fn a_bare_name_stands_for_every_port_but_never_makes_a_key_changed() {
        assert_eq!(trust(&format!("h {ED}"), "h", 2222), Trust::Known);
        assert_eq!(trust(&format!("h {ED2}"), "h", 2222), Trust::Unknown);
        assert_eq!(trust(&format!("h {ED}\n[h]:2222 {ED2}"), "h", 2222), Trust::Changed { place: "kh:2".to_owned() });
        assert_eq!(trust(&format!("h {ED}\n@revoked h {ED}"), "h", 2222), Trust::Revoked { place: "kh:2".to_owned() });
        assert_eq!(trust(&format!("[h]:2222 {ED}"), "h", 22), Trust::Unknown);
    }

    #[test]
    fn the_first_line_that_fits_is_named_whatever_its_form() {
        let first = |file: &str| trust(file, "h", 22);
        let changed = |line: usize| Trust::Changed { place: format!("kh:{line}") };
        assert_eq!(first(&format!("x {ED2}\n* {ED2}\nh,h {ED2}")), changed(2));
        assert_eq!(first(&format!("x {ED2}\nh {ED2}\n* {ED2}")), changed(2));
    }

    #[test]
    fn another_key_is_changed_whatever_its_algorithm() {
        let place = || "kh:1".to_owned();
        assert_eq!(trust(&format!("h {ED2}"), "h", 22), Trust::Changed { place: place() });
        assert_eq!(trust(&format!("h {ECDSA}"), "h", 22), Trust::Changed { place: place() });
        assert_eq!(trust(&format!("h {ED2}\nh {ED}"), "h", 22), Trust::Known);
    }

    #[test]
    fn a_revoked_key_is_refused_even_if_another_line_knows_it() {
        let file = format!("h {ED}\n@revoked * {ED}");
        assert_eq!(trust(&file, "h", 22), Trust::Revoked { place: "kh:2".to_owned() });
        assert_eq!(trust(&format!("@cert-authority h {ED}"), "h", 22), Trust::Unknown);
    }

    #[test]
    fn a_bad_line_is_named_and_the_others_count() {
        let mut known = KnownHosts::default();
        known.add(Path::new("kh"), &format!("garbage\n# comment\n\nh ssh-ed25519 !!!\nh {ED}"));
        assert_eq!(known.bad_lines.iter().map(|Place(_, line)| *line).collect::<Vec<_>>(), [1, 4]);
        assert_eq!(known.lookup("h", 22).check(&PublicKey::from_openssh(ED).unwrap()), Trust::Known);
    }

    #[test]
    fn a_file_that_cannot_be_read_is_not_an_empty_one() {
        let dir = tempfile::tempdir().unwrap();
        assert!(KnownHosts::read(&[dir.path().join("none")]).is_ok());
        let error = KnownHosts::read(&[dir.path().to_owned()]).unwrap_err();
        assert_eq!(error.kind, ReasonKind::KnownHostsUnreadable);
    }

    #[test]
    fn a_glob_does_what_ssh_config_says_and_never_takes_long() {
        assert!(glob(b"*", b"") && glob(b"a*c?", b"abccd") && !glob(b"a?", b"a") && glob(b"**", b"x"));
        assert!(!glob("*a".repeat(200).as_bytes(), "a".repeat(199).as_bytes()));
    }
}
