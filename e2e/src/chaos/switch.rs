//! The network between members and clients: each has a network namespace with one TUN device, and a thread of this process
//! carries the packets from one to the other. What a cable can do wrong (loss, delay, silence in one direction) is so decided
//! here, by a seed; the kernels that this runs on have no netem. The machine's own network has no part in it, and
//! everything goes with the process that holds the devices.

use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::net::Ipv4Addr;
use std::os::fd::AsRawFd;
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sched::{CloneFlags, setns};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use tokio::io::unix::AsyncFd;
use tokio::sync::watch;

use crate::crash::Error;
use crate::crash::disk::run;

/// Every node is here, by its number.
const SUBNET: [u8; 3] = [10, 77, 0];

/// Large, so that a snapshot takes few packets.
const MTU: usize = 9_000;

/// Packets under way at once; what comes on top is dropped, as a router does. Far above what the load has in flight.
const DELAYED_MAX: usize = 4_096;

mod ioctl {
    // TUNSETIFF of the kernel's if_tun.h: _IOW('T', 202, int).
    nix::ioctl_write_ptr_bad!(
        #[doc = "Makes a TUN device and ties it to the descriptor."]
        tun_set_iff,
        nix::request_code_write!(b'T', 202, size_of::<nix::libc::c_int>()),
        nix::libc::ifreq
    );
}

/// The address of a node; they count from 0.
pub fn address(node: usize) -> Ipv4Addr {
    let [a, b, c] = SUBNET;
    Ipv4Addr::new(a, b, c, 1 + u8::try_from(node).unwrap_or(u8::MAX - 1))
}

fn node_of(packet: &[u8]) -> Option<usize> {
    // Version 4, and the destination in bytes 16 to 19.
    let destination: [u8; 4] = packet.get(16..20)?.try_into().ok()?;
    let ours = packet[0] >> 4 == 4 && destination[..3] == SUBNET;
    ours.then(|| usize::from(destination[3]).checked_sub(1)).flatten()
}

/// One direction from one node to another.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Link {
    pub cut: bool,
    /// Packets lost of a hundred.
    pub loss: u32,
    pub delay: Duration,
    /// Up to so much is added to the delay.
    pub jitter: Duration,
}

/// All links, `[from][to]`.
type Links = Arc<Mutex<Vec<Vec<Link>>>>;

/// The devices of all nodes and the thread that carries packets between them.
pub struct Switch {
    links: Links,
    nodes: usize,
    stop: watch::Sender<bool>,
    carrier: Option<JoinHandle<()>>,
}

impl Switch {
    /// Makes a device in the network namespace of each process named, in the order of their node numbers.
    pub fn start(processes: &[u32], seed: u64) -> Result<Switch, Error> {
        let mut devices = Vec::new();
        for (node, process) in processes.iter().enumerate() {
            devices.push(device(node, *process)?);
        }
        let nodes = devices.len();
        let links: Links = Arc::new(Mutex::new(vec![vec![Link::default(); nodes]; nodes]));
        let (stop, stopped) = watch::channel(false);
        let carried = Arc::clone(&links);
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(Error::io("start the runtime of", "the switch"))?;
        let carrier = std::thread::Builder::new()
            .name("switch".into())
            .spawn(move || runtime.block_on(carry(devices, carried, seed, stopped)))
            .map_err(Error::io("start the thread of", "the switch"))?;
        Ok(Switch { links, nodes, stop, carrier: Some(carrier) })
    }

    /// Changes every link between two different nodes; `change` gets their numbers.
    pub fn change(&self, mut change: impl FnMut(usize, usize, &mut Link)) {
        let mut links = lock(&self.links);
        for from in 0..self.nodes {
            for to in (0..self.nodes).filter(|to| *to != from) {
                change(from, to, &mut links[from][to]);
            }
        }
    }
}

impl Drop for Switch {
    fn drop(&mut self) {
        self.stop.send_replace(true);
        if let Some(carrier) = self.carrier.take() {
            // A panic of the carrier has been printed, and there is nothing to carry any more.
            let _ = carrier.join();
        }
    }
}

fn lock(links: &Links) -> MutexGuard<'_, Vec<Vec<Link>>> {
    links.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A TUN device with a node's address in the network namespace of a process.
fn device(node: usize, process: u32) -> Result<File, Error> {
    let path = format!("/proc/{process}/ns/net");
    let namespace = File::open(&path).map_err(Error::io("open", &path))?;
    let made = std::thread::scope(|scope| {
        let work = scope.spawn(|| {
            setns(&namespace, CloneFlags::CLONE_NEWNET).map_err(|errno| Error::Io {
                doing: "enter",
                path: path.clone().into(),
                source: errno.into(),
            })?;
            open_tun()
        });
        work.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })?;
    let inside = |arguments: &[&str]| {
        run(Command::new("nsenter").arg(format!("--net={path}")).args(["--", "ip"]).args(arguments))
    };
    inside(&["addr", "add", &format!("{}/24", address(node)), "dev", "lan0"])?;
    inside(&["link", "set", "lan0", "mtu", &MTU.to_string(), "up"])?;
    Ok(made)
}

/// Opens a new device `lan0` in the namespace of this thread.
fn open_tun() -> Result<File, Error> {
    let path = "/dev/net/tun";
    let file = File::options().read(true).write(true).open(path).map_err(Error::io("open", path))?;
    let refused = |errno: nix::Error| Error::Io { doing: "make a device of", path: path.into(), source: errno.into() };
    // SAFETY: all zeroes is a valid ifreq: bytes and integers.
    let mut request: nix::libc::ifreq = unsafe { std::mem::zeroed() };
    for (place, byte) in request.ifr_name.iter_mut().zip(b"lan0") {
        *place = nix::libc::c_char::from_ne_bytes([*byte]);
    }
    request.ifr_ifru.ifru_flags = nix::libc::c_short::try_from(nix::libc::IFF_TUN | nix::libc::IFF_NO_PI)
        .expect("both flags are among the low 15 bits");
    // SAFETY: the descriptor is open and the request lives through the call.
    unsafe { ioctl::tun_set_iff(file.as_raw_fd(), &request) }.map_err(refused)?;
    fcntl(&file, FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).map_err(refused)?;
    Ok(file)
}

async fn carry(devices: Vec<File>, links: Links, seed: u64, mut stopped: watch::Receiver<bool>) {
    let wait_for = |file: File| {
        // SAFETY: the file stays open as long as the registration that owns it, and its descriptor never changes.
        let registered = unsafe { AsyncFd::register(file) };
        Arc::new(registered.expect("a TUN device can be waited for"))
    };
    let devices: Vec<Arc<AsyncFd<File>>> = devices.into_iter().map(wait_for).collect();
    let delayed = Arc::new(AtomicUsize::new(0));
    let mut readers = tokio::task::JoinSet::new();
    for from in 0..devices.len() {
        let port = Port {
            from,
            devices: devices.clone(),
            links: Arc::clone(&links),
            rng: ChaCha8Rng::seed_from_u64(seed ^ (from as u64) << 48),
            delayed: Arc::clone(&delayed),
        };
        readers.spawn(port.run());
    }
    // The sender lives as long as the switch.
    let _ = stopped.wait_for(|stopped| *stopped).await;
}

/// Where the packets of one node come in.
struct Port {
    from: usize,
    devices: Vec<Arc<AsyncFd<File>>>,
    links: Links,
    rng: ChaCha8Rng,
    delayed: Arc<AtomicUsize>,
}

impl Port {
    async fn run(mut self) {
        let mut packet = vec![0; MTU];
        let device = Arc::clone(&self.devices[self.from]);
        loop {
            // An error is the end of the device, which goes with its namespace.
            let Ok(mut ready) = device.readable().await else { return };
            let mut source = device.get_ref();
            match source.read(&mut packet) {
                Ok(length) => self.forward(&packet[..length]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => ready.clear_ready(),
                Err(_) => return,
            }
        }
    }

    fn forward(&mut self, packet: &[u8]) {
        let Some(to) = node_of(packet).filter(|to| *to < self.devices.len() && *to != self.from) else { return };
        let link = lock(&self.links)[self.from][to];
        if link.cut || (link.loss > 0 && self.rng.random_range(0..100) < link.loss) {
            return;
        }
        let device = Arc::clone(&self.devices[to]);
        let jitter = link.jitter.mul_f64(self.rng.random_range(0.0..1.0));
        let wait = link.delay + jitter;
        if wait.is_zero() {
            put(&device, packet);
        } else if self.delayed.fetch_add(1, Ordering::Relaxed) < DELAYED_MAX {
            let (packet, delayed) = (packet.to_vec(), Arc::clone(&self.delayed));
            tokio::spawn(async move {
                tokio::time::sleep(wait).await;
                delayed.fetch_sub(1, Ordering::Relaxed);
                put(&device, &packet);
            });
        } else {
            self.delayed.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

/// What the device does not take is lost, as on a cable.
fn put(device: &AsyncFd<File>, packet: &[u8]) {
    let mut sink = device.get_ref();
    let _ = sink.write(packet);
}
