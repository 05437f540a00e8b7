//! So many hosts in one process, to measure what a fleet costs the coordinator: real SSH, and behind it a host of a few variables that
//! answers each request of the protocol at once. What hosts themselves cost is measured with OpenSSH (`run.py`).
//!
//! `light_hosts COUNT DIR` writes an inventory, a playbook and keys into DIR, says `up`, says after each run how far the hosts' cuts
//! lay apart, and ends with its standard input.
#![expect(clippy::print_stdout, reason = "it is a program, and this is its output")]

use std::error::Error;
use std::fmt::Write as _;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use lockturn::runtime::random;
use russh::keys::ssh_key::LineEnding;
use russh::keys::ssh_key::private::Ed25519Keypair;
use russh::keys::{PrivateKey, PublicKey};
use russh::server::{Auth, ChannelOpenHandle, Config, Handler, Msg, PublicKeyOffer, Session, VerifiedPublicKey};
use russh::{Channel, ChannelId, ChannelStream};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpListener;

const PLAYBOOK: &str = "version: 1
name: token
secrets: { token: { generate: { hex: 32 } } }
targets:
  - hosts: all
    put: [ { secret: token, dotenv: { file: .env, key: TOKEN } } ]
    activate: [ { command: { run: [./restart] } } ]
    verify: [ { command: { name: it takes the value, run: [./takes], expect: { new: 0, old: 1 } } } ]
";

type Failure = Box<dyn Error + Send + Sync>;

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let words: Vec<String> = std::env::args().collect();
    let [_, count, dir] = &words[..] else { return Err("light_hosts COUNT DIR".into()) };
    let count: usize = count.parse()?;
    // Two descriptors a host at most; the limit that is there may be a small one.
    let files = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    let most = rustix::process::Rlimit { current: files.maximum, maximum: files.maximum };
    rustix::process::setrlimit(rustix::process::Resource::Nofile, most)?;
    let listener = TcpListener::bind(("0.0.0.0", 0)).await?;
    let (client, server) = (new_key(), new_key());
    write_fleet(Path::new(dir), count, listener.local_addr()?.port(), &client, &server)?;
    let config = Arc::new(Config { keys: vec![server], nodelay: true, inactivity_timeout: None, ..Config::default() });
    let cuts = Arc::new(Cuts { hosts: count, seen: Mutex::default() });
    let client = Arc::new(client.public_key().clone());
    println!("up");
    tokio::spawn(async move {
        loop {
            let Ok((stream, _)) = listener.accept().await else { continue };
            let Ok(address) = stream.local_addr() else { continue };
            let host = Connection {
                env: format!("# {address}\nTOKEN=old\n"),
                client: Arc::clone(&client),
                cuts: Arc::clone(&cuts),
                open: None,
            };
            let config = Arc::clone(&config);
            tokio::spawn(async move {
                if let Ok(session) = russh::server::run_stream(config, stream, host).await {
                    let _how_it_ended = session.await;
                }
            });
        }
    });
    tokio::task::spawn_blocking(|| std::io::copy(&mut std::io::stdin(), &mut std::io::sink())).await??;
    Ok(())
}

fn new_key() -> PrivateKey {
    PrivateKey::from(Ed25519Keypair::from_seed(&random::bytes()))
}

fn write_fleet(dir: &Path, count: usize, port: u16, client: &PrivateKey, server: &PrivateKey) -> Result<(), Failure> {
    let public = server.public_key().to_openssh()?;
    let at = dir.display();
    let mut inventory = format!(
        "all:\n  vars: {{ user: light, port: {port}, identity_file: {at}/key, known_hosts: {at}/known_hosts }}\n  hosts:\n"
    );
    let mut known = String::new();
    for number in 0..count {
        let address = format!("127.2.{}.{}", number / 250, number % 250 + 1);
        writeln!(inventory, "    light-{number}: {{ address: {address} }}")?;
        writeln!(known, "[{address}]:{port} {public}")?;
    }
    client.write_openssh_file(dir.join("key"), LineEnding::LF)?;
    std::fs::write(dir.join("inventory.yml"), inventory)?;
    std::fs::write(dir.join("known_hosts"), known)?;
    std::fs::write(dir.join("token.yml"), PLAYBOOK)?;
    Ok(())
}

/// When the hosts were cut, as they see it.
struct Cuts {
    hosts: usize,
    seen: Mutex<Vec<Instant>>,
}

impl Cuts {
    fn one_more(&self) {
        let mut seen = self.seen.lock().expect("nobody panics while holding it");
        seen.push(Instant::now());
        if seen.len() == self.hosts {
            let spread = seen[seen.len() - 1] - seen[0];
            println!("spread {}", spread.as_secs_f64());
            seen.clear();
        }
    }
}

struct Connection {
    env: String,
    client: Arc<PublicKey>,
    cuts: Arc<Cuts>,
    open: Option<Channel<Msg>>,
}

impl Connection {
    fn check(&self, key: &PublicKey) -> Auth {
        if key.key_data() == self.client.key_data() { Auth::Accept } else { Auth::reject() }
    }
}

impl Handler for Connection {
    type Error = russh::Error;

    async fn auth_publickey_offered(&mut self, _user: &str, offer: PublicKeyOffer<'_>) -> Result<Auth, Self::Error> {
        Ok(self.check(offer.public_key))
    }

    async fn auth_publickey(&mut self, _user: &str, key: VerifiedPublicKey<'_>) -> Result<Auth, Self::Error> {
        Ok(self.check(key.public_key))
    }

    async fn channel_open_session(
        &mut self,
        channel: Channel<Msg>,
        reply: ChannelOpenHandle,
        _session: &mut Session,
    ) -> Result<(), Self::Error> {
        self.open = Some(channel);
        reply.accept().await;
        Ok(())
    }

    async fn exec_request(&mut self, id: ChannelId, _command: &[u8], session: &mut Session) -> Result<(), Self::Error> {
        let Some(channel) = self.open.take() else { return session.channel_failure(id) };
        session.channel_success(id)?;
        let host = Host { held: self.env.clone(), staged: String::new(), cuts: Arc::clone(&self.cuts) };
        tokio::spawn(async move {
            let _how_it_ended = host.serve(channel.into_stream()).await;
        });
        Ok(())
    }
}

/// What a host is: a file, and what lies beside it.
struct Host {
    held: String,
    staged: String,
    cuts: Arc<Cuts>,
}

impl Host {
    /// Plays the program (`src/docs/protocol.md`) until the connection ends.
    async fn serve(mut self, stream: ChannelStream<Msg>) -> Result<(), Failure> {
        let mut stream = BufReader::new(stream);
        let mut line = String::new();
        // The program's own text, up to its last line.
        while line != "lockturn_serve\n" {
            line.clear();
            stream.read_line(&mut line).await?;
        }
        stream.write_all(b"LOCKTURN-READY 1\n").await?;
        let mut nonce = String::new();
        stream.read_line(&mut nonce).await?;
        loop {
            line.clear();
            stream.read_line(&mut line).await?;
            let words: Vec<&str> = line.split_ascii_whitespace().collect();
            let [seq, verb, arguments, bytes] = words[..] else { return Ok(()) };
            let (seq, verb) = (seq.to_owned(), verb.to_owned());
            let mut payload = vec![0; bytes.parse()?];
            for _ in 0..arguments.parse()? {
                stream.read_line(&mut String::new()).await?;
            }
            stream.read_exact(&mut payload).await?;
            let answer = self.answer(&verb, &String::from_utf8(payload)?);
            let frame = format!("{} {seq} ok {}\n{answer}\n", nonce.trim_end(), answer.len());
            stream.write_all(frame.as_bytes()).await?;
            stream.flush().await?;
        }
    }

    fn answer(&mut self, verb: &str, payload: &str) -> String {
        match verb {
            "hello" => "uid 0\nstate /state\nlogin /\nsystemd no\ntool sha256sum".to_owned(),
            "read-file" => {
                format!("real /.env\nmode -rw-------\nowner 0 0\nnlink 1\nsize {}\n\n{}", self.held.len(), self.held)
            }
            "stage-file" => {
                payload.clone_into(&mut self.staged);
                String::new()
            }
            "cut" => {
                self.cuts.one_more();
                self.held.clone_from(&self.staged);
                String::new()
            }
            // Activation sends nothing; a probe sends a value, which is taken if the file holds it.
            "command" if payload.is_empty() || self.held.contains(&format!("TOKEN={payload}\n")) => "0\n".to_owned(),
            "command" => "1\n".to_owned(),
            "arm" => "switch none".to_owned(),
            _ => String::new(),
        }
    }
}
