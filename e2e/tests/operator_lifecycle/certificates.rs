//! Leaves near their end are renewed, and members present the new ones without a restart, to clients and to each other.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use kube::Api;
use kube::api::{DeleteParams, Patch, PatchParams};
use quorate_e2e::scenario::Outcome;
use quorate_operator::desired::Desired;
use quorate_operator::tls::{self, LEAF_LIFE, LeafKind, Pair, Plane, SecretKind};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use serde_json::json;
use tokio::io::AsyncWriteExt as _;

use crate::ELECTION;
use crate::common::Error;
use crate::load::Load;
use crate::world::World;

/// What is left of the leaves' lives: kubelets take up to 20 s to bring a Secret into its pods, here twice.
const LEFT: Duration = Duration::from_secs(90);
/// The leaves that pods mount, with the port on which members present them.
const LEAVES: [(LeafKind, u16); 3] = [(LeafKind::Server, 2379), (LeafKind::Peer, 2380), (LeafKind::Admin, 2382)];

/// Gives the members leaves that end soon, under load, and lets the operator renew them. Returns when the short ones end.
pub async fn renewed(world: &World, ends: &mut Option<Timestamp>) -> Outcome {
    let restarts = world.all_restarts("main").await?;
    let load = Load::start(world.session("main", 0).await?);
    world.run_operators(0).await?;
    let desired = Desired::parse(&world.clusters().get("main").await?)?;
    let short = Timestamp::now() - LEAF_LIFE + LEFT;
    for kind in LEAVES.map(|(kind, _)| kind).into_iter().chain([LeafKind::Client]) {
        let authority = pair(world, &SecretKind::Authority(kind.plane()).name(&desired)).await?;
        let leaf = tls::leaf(&desired, kind, &authority, short)?;
        let data = json!({"data": {"tls.crt": bytes(&leaf.certificate), "tls.key": bytes(&leaf.key)}});
        let secrets: Api<Secret> = Api::default_namespaced(world.client.clone());
        let name = SecretKind::Leaf(kind).name(&desired);
        secrets.patch(&name, &PatchParams::default(), &Patch::Merge(data)).await?;
    }
    let short_lived = await_presented(world, &desired).await?;
    println!("       members present leaves that end in {} s", seconds_until(short + LEAF_LIFE));

    world.run_operators(1).await?;
    world
        .await_until("renewed leaves in the Secrets", async || {
            let mut renewed = true;
            for (kind, _) in LEAVES {
                let leaf = pair(world, &SecretKind::Leaf(kind).name(&desired)).await?;
                renewed &= tls::life(leaf.certificate.as_bytes())?.not_after > Timestamp::now() + LEAF_LIFE / 2;
            }
            Ok(renewed)
        })
        .await?;
    let renewed = await_presented(world, &desired).await?;
    assert!(renewed.iter().all(|leaf| !short_lived.contains(leaf)), "a short-lived leaf is still presented");
    println!("       members present renewed leaves, {} s before the others end", seconds_until(short + LEAF_LIFE));
    world.await_ready("main", 3).await?;
    load.stop().await.check(ELECTION)?;
    assert_eq!(world.all_restarts("main").await?, restarts, "without a restart");
    *ends = Some(short + LEAF_LIFE);
    Ok(())
}

/// After the end of the short leaves: new connections of clients and of members work.
pub async fn outlived(world: &World, ends: Option<Timestamp>) -> Outcome {
    let ends = ends.ok_or("the leaves were not renewed")?;
    world.await_until("the end of the short-lived leaves", async || Ok(Timestamp::now() > ends)).await?;
    // A new process speaks to both others, and they to it, over new connections.
    world.pods().delete("main-1", &DeleteParams::default()).await?;
    world.await_gone_and_ready("main", "main-1", 3).await?;
    for ordinal in 0..3 {
        let mut session = world.session("main", ordinal).await?;
        session.put("after the renewal", "put").await?;
        assert_eq!(session.get("after the renewal").await?.as_deref(), Some("put"));
    }
    let ready = world.condition("main", "CertificatesReady").await?.map(|one| one.status);
    assert_eq!(ready.as_deref(), Some("True"));
    Ok(())
}

/// Waits until every member presents on each plane what its Secret holds, and returns those certificates.
async fn await_presented(world: &World, desired: &Desired) -> Result<Vec<CertificateDer<'static>>, Error> {
    let mut leaves = Vec::new();
    for (kind, port) in LEAVES {
        let leaf = pair(world, &SecretKind::Leaf(kind).name(desired)).await?;
        let wanted = CertificateDer::from_pem_slice(leaf.certificate.as_bytes())?;
        for ordinal in 0..desired.replicas {
            world
                .await_until(&format!("main-{ordinal} presenting the leaf of its Secret on {port}"), async || {
                    Ok(presented(world, desired, kind.plane(), ordinal, port).await? == wanted)
                })
                .await?;
        }
        leaves.push(wanted);
    }
    Ok(leaves)
}

/// The certificate that a member presents on a port, checked against the plane's authority and the member's name.
async fn presented(
    world: &World,
    desired: &Desired,
    plane: Plane,
    ordinal: u32,
    port: u16,
) -> Result<CertificateDer<'static>, Error> {
    let authority = pair(world, &SecretKind::Authority(plane).name(desired)).await?;
    // Any certificate of the plane's authority will do as a client's.
    let client = match plane {
        Plane::Admin => tls::operator_client(&authority, Timestamp::now())?,
        Plane::Peers => tls::leaf(desired, LeafKind::Peer, &authority, Timestamp::now())?,
        Plane::Clients => tls::leaf(desired, LeafKind::Client, &authority, Timestamp::now())?,
    };
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(authority.certificate.as_bytes())?)?;
    let certificate = CertificateDer::from_pem_slice(client.certificate.as_bytes())?;
    let key = PrivateKeyDer::from_pem_slice(client.key.as_bytes())?;
    let mut config =
        rustls::ClientConfig::builder().with_root_certificates(roots).with_client_auth_cert(vec![certificate], key)?;
    config.alpn_protocols = vec![b"h2".to_vec()];
    let address: IpAddr = world.pod_address(&desired.pod(ordinal)).await?;
    let stream = world.cluster.dialer().connect(SocketAddr::new(address, port)).await?;
    let name = ServerName::try_from(desired.pod_host(ordinal))?;
    let mut stream = tokio_rustls::TlsConnector::from(Arc::new(config)).connect(name, stream).await?;
    let certificate = stream.get_ref().1.peer_certificates().and_then(|chain| chain.first()).cloned();
    // The member notices the end either way.
    let _ = stream.shutdown().await;
    certificate.ok_or_else(|| "the member presented no certificate".into())
}

async fn pair(world: &World, name: &str) -> Result<Pair, Error> {
    let secrets: Api<Secret> = Api::default_namespaced(world.client.clone());
    let data = secrets.get(name).await?.data.unwrap_or_default();
    let text = |key: &str| -> Result<String, Error> {
        let bytes = data.get(key).ok_or_else(|| format!("Secret {name} lacks {key}"))?;
        Ok(String::from_utf8(bytes.0.clone())?)
    };
    Ok(Pair { certificate: text("tls.crt")?, key: text("tls.key")? })
}

fn bytes(text: &str) -> ByteString {
    ByteString(text.as_bytes().to_vec())
}

fn seconds_until(moment: Timestamp) -> i64 {
    moment.as_second() - Timestamp::now().as_second()
}
