//! What the running services of the fleet answer, asked over an SSH client that shares no code with the product's.

use std::path::Path;
use std::sync::Arc;

use http_body_util::Full;
use hyper::Request;
use hyper::body::Bytes;
use lockturn::lab::{Lab, LabHost};
use lockturn::model::{Secret, hmac_sha256};
use russh::client::{self, Handle};
use russh::keys::{PrivateKey, PrivateKeyWithHashAlg, PublicKeyOrCertificate};

struct AnyHostKey;

impl client::Handler for AnyHostKey {
    type Error = russh::Error;
    async fn check_server_key(&mut self, _key: &PublicKeyOrCertificate) -> Result<bool, Self::Error> {
        Ok(true)
    }
}

/// What is asked of one worker's value: on which host, as which worker, with which value.
pub(crate) struct Question<'a> {
    pub(crate) host: &'a str,
    pub(crate) worker: &'a str,
    pub(crate) value: &'a str,
}

/// The status codes that the services answer to these: 400 takes the value (and not the body), 401 refuses it.
pub(crate) fn ask(lab: &Path, questions: &[Question<'_>]) -> Vec<u16> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let lab = Lab::open(lab).unwrap();
        let mut answers = Vec::new();
        let mut open: Option<(&str, Handle<AnyHostKey>)> = None;
        for question in questions {
            if open.as_ref().is_none_or(|(host, _)| *host != question.host) {
                open = Some((question.host, login(&lab, question.host).await));
            }
            let host = lab.hosts().iter().find(|host| host.name == question.host).unwrap();
            answers.push(one(host, &open.as_ref().unwrap().1, question).await);
        }
        answers
    })
}

async fn login(lab: &Lab, host: &str) -> Handle<AnyHostKey> {
    let address = lab.hosts().iter().find(|one| one.name == host).unwrap().address;
    let mut handle = client::connect(Arc::new(client::Config::default()), address, AnyHostKey).await.unwrap();
    let key = PrivateKey::read_openssh_file(lab.client_key()).unwrap();
    let key = PrivateKeyWithHashAlg::new(Arc::new(key), None);
    assert!(handle.authenticate_publickey("deploy", key).await.unwrap().success());
    handle
}

/// A service that does not run answers 0.
async fn one(host: &LabHost, handle: &Handle<AnyHostKey>, question: &Question<'_>) -> u16 {
    let port = u32::from(host.role.service_port());
    let path = if port == 7700 { "/ops/worker/completion" } else { "/worker/dispatch" };
    let Ok(channel) = handle.channel_open_direct_tcpip("127.0.0.1", port, "127.0.0.1", 0).await else { return 0 };
    let stream = hyper_util::rt::TokioIo::new(channel.into_stream());
    let (mut sender, connection) = hyper::client::conn::http1::handshake(stream).await.unwrap();
    tokio::spawn(connection);
    let (now, id) = (jiff::Timestamp::now().to_string(), uuid::Uuid::new_v4().to_string());
    let digest = hmac_sha256(&Secret::new(question.value.into()), format!("{now}\n{id}\nprobe").as_bytes());
    let digest: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    let request = Request::post(path)
        .header("host", "127.0.0.1")
        .header("X-Worker-Id", question.worker)
        .header("X-Worker-Timestamp", now)
        .header("X-Worker-RequestId", id)
        .header("X-Worker-HMAC", digest)
        .body(Full::new(Bytes::from_static(b"probe")))
        .unwrap();
    sender.send_request(request).await.unwrap().status().as_u16()
}
