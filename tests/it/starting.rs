//! A host that is just starting again when it has its next step before it, and nobody waits for that one any more.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use super::support::Lab;

/// How long a host takes to start again.
const STARTS: Duration = Duration::from_millis(1_500);

/// The only way to a host; while it is shut whoever comes is refused, as by a machine on which nobody listens yet.
struct Door {
    to: SocketAddr,
    at: SocketAddr,
    is_shut: Arc<AtomicBool>,
    open: Arc<Mutex<Vec<TcpStream>>>,
    listening: JoinHandle<()>,
}

impl Door {
    fn of(lab: &Lab, host: &str) -> Self {
        let to = lab.address(host);
        let door = Self::listen(to, SocketAddr::new(to.ip(), 0));
        lab.reach_by(host, door.at);
        door
    }

    fn listen(to: SocketAddr, at: SocketAddr) -> Self {
        let listener = TcpListener::bind(at).unwrap();
        let at = listener.local_addr().unwrap();
        let (is_shut, open) = (Arc::new(AtomicBool::new(false)), Arc::new(Mutex::new(Vec::new())));
        let (shut, streams) = (Arc::clone(&is_shut), Arc::clone(&open));
        let listening = std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                if shut.load(Ordering::SeqCst) {
                    return;
                }
                let host = TcpStream::connect(to).unwrap();
                for (from, to) in [(&client, &host), (&host, &client)] {
                    let (from, to) = (from.try_clone().unwrap(), to.try_clone().unwrap());
                    std::thread::spawn(move || pass_on(from, to));
                }
                streams.lock().unwrap().extend([client, host]);
            }
        });
        Self { to, at, is_shut, open, listening }
    }

    /// The host goes down, and is back a while later.
    fn starts_again(self) -> Self {
        self.is_shut.store(true, Ordering::SeqCst);
        drop(TcpStream::connect(self.at).unwrap());
        self.listening.join().unwrap();
        for stream in self.open.lock().unwrap().iter() {
            let _closed = stream.shutdown(Shutdown::Both);
        }
        std::thread::sleep(STARTS);
        Self::listen(self.to, self.at)
    }
}

fn pass_on(mut from: TcpStream, mut to: TcpStream) {
    let mut bytes = [0; 16_384];
    while let Ok(count @ 1..) = from.read(&mut bytes) {
        if to.write_all(&bytes[..count]).is_err() {
            break;
        }
    }
    let _closed = to.shutdown(Shutdown::Both);
}

#[test]
fn a_host_that_starts_again_on_its_way_back_is_waited_for_when_it_is_to_show_the_old_value() {
    let lab = Lab::up();
    let before = lab.held();
    let door = Door::of(&lab, "worker-2");
    lab.fault("worker-1", "refuses-new-secret");
    // While the control plane is told of the old value the workers have nothing to do but to wait.
    lab.fault("control", "slow-restart 1000");
    let running = lab.start(&mut lab.rotation(&["--output", "json"]));
    let control = |line: &str| line.contains(r#""step":"reactivate""#) && line.contains(r#""host":"control""#);
    assert!(running.until(1, |line| line.contains("step-began") && control(line)));
    let _open_again = door.starts_again();
    let said = running.ended().with(1);
    assert!(said.contains("ROLLED BACK") || said.contains("rolled-back"), "{said}");
    assert!(!lab.whole(&before, "a host started again on its way back"));
}
