//! The material in use, replaced when its files change.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use rustls::SignatureScheme;
use rustls::client::ResolvesClientCert;
use rustls::crypto::CryptoProvider;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use super::Error;
use super::material::{Material, Stamps};
use crate::config::tls::Files;

/// Files are looked at no more often than this: a handshake costs milliseconds, six stats nothing beside it, but a storm of
/// connections should not become a storm of stats.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

pub struct Live {
    files: Files,
    provider: Arc<CryptoProvider>,
    material: ArcSwap<Material>,
    /// Held while files are read, so that they are read once.
    seen: Mutex<Seen>,
}

struct Seen {
    at: Instant,
    stamps: Stamps,
}

impl Live {
    pub fn load(files: Files, provider: Arc<CryptoProvider>) -> Result<Live, Error> {
        let stamps = Stamps::of(&files);
        let material = ArcSwap::from_pointee(Material::load(&files, &provider)?);
        let seen = Mutex::new(Seen { at: Instant::now(), stamps });
        Ok(Live { files, provider, material, seen })
    }

    pub fn files(&self) -> &Files {
        &self.files
    }

    /// The material as it is.
    pub fn current(&self) -> Arc<Material> {
        self.material.load_full()
    }

    /// The material for a handshake, read again when files changed. Files that cannot be used leave the old material: a rotation
    /// is often seen half done.
    pub fn fresh(&self) -> Arc<Material> {
        if let Ok(mut seen) = self.seen.try_lock()
            && seen.at.elapsed() >= LOOK_INTERVAL
        {
            seen.at = Instant::now();
            let stamps = Stamps::of(&self.files);
            if stamps != seen.stamps {
                match self.replace() {
                    Ok(()) => seen.stamps = stamps,
                    Err(error) => tracing::warn!(%error, "changed TLS files cannot be used; keeping the old ones"),
                }
            }
        }
        self.current()
    }

    pub fn reload(&self) -> Result<(), Error> {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let stamps = Stamps::of(&self.files);
        self.replace()?;
        *seen = Seen { at: Instant::now(), stamps };
        Ok(())
    }

    fn replace(&self) -> Result<(), Error> {
        let material = Material::load(&self.files, &self.provider)?;
        tracing::info!(certificate = %self.files.server.certificate.display(), "reloaded TLS files");
        self.material.store(Arc::new(material));
        Ok(())
    }
}

impl fmt::Debug for Live {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Live").field("files", &self.files).finish_non_exhaustive()
    }
}

/// Presents the certificate of one side of a plane.
#[derive(Debug)]
pub struct Side {
    live: Arc<Live>,
    outgoing: bool,
}

impl Side {
    pub fn server(live: Arc<Live>) -> Side {
        Side { live, outgoing: false }
    }

    pub fn client(live: Arc<Live>) -> Side {
        Side { live, outgoing: true }
    }

    fn key(&self) -> Arc<CertifiedKey> {
        let material = self.live.fresh();
        if self.outgoing { material.client.clone() } else { material.server.clone() }
    }
}

impl ResolvesServerCert for Side {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.key())
    }
}

impl ResolvesClientCert for Side {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        Some(self.key())
    }

    fn has_certs(&self) -> bool {
        true
    }
}
