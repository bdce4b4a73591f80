//! Certificates of a run: one authority for peers and one for clients, a certificate of each for every member, and the
//! clients' own.

use std::fs;
use std::path::{Path, PathBuf};

use tonic::transport::{Certificate, ClientTlsConfig, Identity};

use super::Error;
use super::switch::address;
use crate::authority::{Authority, Issued};

/// The files of a run's certificates, and the configuration of its clients.
pub struct Tls {
    folder: PathBuf,
    pub clients: ClientTlsConfig,
}

impl Tls {
    /// Writes the files of `members` members into a folder that it makes.
    pub fn make(folder: PathBuf, members: usize) -> Result<Tls, Error> {
        fs::create_dir(&folder).map_err(crate::crash::Error::io("create", &folder))?;
        let (peers, clients) = (Authority::new("chaos peers")?, Authority::new("chaos clients")?);
        write(&folder.join("peer-ca.crt"), &peers.certificate())?;
        write(&folder.join("client-ca.crt"), &clients.certificate())?;
        for member in 0..members {
            let name = format!("m{}", member + 1);
            let names = vec![address(member).to_string()];
            write_issued(&folder, &format!("{name}-peer"), &peers.issue(&name, None, names.clone())?)?;
            write_issued(&folder, &format!("{name}-server"), &clients.issue(&name, None, names)?)?;
        }
        let client = clients.issue("chaos", None, Vec::new())?;
        let clients = ClientTlsConfig::new()
            .ca_certificate(Certificate::from_pem(clients.certificate()))
            .identity(Identity::from_pem(&client.certificate, &client.key));
        Ok(Tls { folder, clients })
    }

    /// The flags by which a member uses its certificates and requires those of others.
    pub fn flags(&self, name: &str) -> Vec<String> {
        let file = |flag: &str, file: String| format!("--{flag}={}", self.folder.join(file).display());
        vec![
            file("cert-file", format!("{name}-server.crt")),
            file("key-file", format!("{name}-server.key")),
            file("trusted-ca-file", "client-ca.crt".into()),
            "--client-cert-auth".into(),
            file("peer-cert-file", format!("{name}-peer.crt")),
            file("peer-key-file", format!("{name}-peer.key")),
            file("peer-trusted-ca-file", "peer-ca.crt".into()),
            "--peer-client-cert-auth".into(),
        ]
    }
}

fn write_issued(folder: &Path, name: &str, issued: &Issued) -> Result<(), Error> {
    write(&folder.join(format!("{name}.crt")), &issued.certificate)?;
    write(&folder.join(format!("{name}.key")), &issued.key)
}

fn write(path: &Path, text: &str) -> Result<(), Error> {
    crate::kubernetes::write_secret(path, text).map_err(|error| {
        let source = std::io::Error::other(error.to_string());
        crate::crash::Error::Io { doing: "write", path: path.to_owned(), source }.into()
    })
}
