//! A host does what it is asked, and the answer is lost on its way, at one certain moment of a `resume`.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::support::Lab;

/// Stands between this machine and a host. When the host has made this file it cuts the connection at the next answer, and refuses the
/// next connection; from then on it is in nobody's way.
struct Between {
    to: SocketAddr,
    made: PathBuf,
    has_cut: AtomicBool,
    has_refused: AtomicBool,
}

impl Between {
    fn start(to: SocketAddr, made: PathBuf) -> (Arc<Self>, SocketAddr) {
        let listener = TcpListener::bind((to.ip(), 0)).unwrap();
        let at = listener.local_addr().unwrap();
        let this = Arc::new(Self { to, made, has_cut: AtomicBool::new(false), has_refused: AtomicBool::new(false) });
        let of = Arc::clone(&this);
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let refuses = of.has_cut.load(Ordering::SeqCst) && !of.has_refused.swap(true, Ordering::SeqCst);
                if !refuses {
                    of.serve(&client);
                }
            }
        });
        (this, at)
    }

    fn serve(self: &Arc<Self>, client: &TcpStream) {
        let host = TcpStream::connect(self.to).unwrap();
        for (from, to, answers) in [(client, &host, false), (&host, client, true)] {
            let (mut from, mut to, of) = (from.try_clone().unwrap(), to.try_clone().unwrap(), Arc::clone(self));
            std::thread::spawn(move || {
                let mut bytes = [0; 16_384];
                while let Ok(count @ 1..) = from.read(&mut bytes) {
                    let cuts = answers && of.made.exists() && !of.has_cut.swap(true, Ordering::SeqCst);
                    if cuts || to.write_all(&bytes[..count]).is_err() {
                        break;
                    }
                }
                let _closed = from.shutdown(Shutdown::Both);
                let _closed = to.shutdown(Shutdown::Both);
            });
        }
    }
}

/// Puts it between this machine and a host.
fn between(lab: &Lab, host: &str, made: PathBuf) -> Arc<Between> {
    let (between, at) = Between::start(lab.address(host), made);
    lab.reach_by(host, at);
    between
}

#[test]
fn a_host_whose_answer_to_being_taken_is_lost_is_taken_by_its_next_step() {
    for (at, host) in [("activate", "worker-2"), ("verify", "worker-2"), ("activate", "control"), ("stage", "worker-1")]
    {
        let lab = Lab::up();
        let before = lab.held();
        let running = lab.start(&mut lab.rotation(&["--output", "json"]));
        let wanted = format!(r#""step":"{at}""#);
        assert!(running.until(1, |line| line.contains("step-began") && line.contains(&wanted)));
        running.killed();
        let run = lab.latest()["run"].as_str().unwrap().to_owned();
        // Whoever takes it is the second one.
        let between = between(&lab, host, lab.on(host, &format!(".lockturn/{run}/session2")));
        let what = format!("{host} was taken after `{at}`, and nobody heard it");
        let ended = lab.say(&["resume"]);
        assert!(between.has_cut.load(Ordering::SeqCst) && between.has_refused.load(Ordering::SeqCst), "{what}");
        let wanted = if at == "stage" { Some(4) } else { Some(0) };
        assert_eq!(ended.code, wanted, "{what}: {}", ended.err);
        assert_eq!(lab.whole(&before, &what), at != "stage", "{what}");
    }
}
