//! Joining as etcd's users do it: the member was added by `MemberAdd`, and is started with `--initial-cluster-state=existing`. It asks
//! the others who it is.

use quorate_api::admin;

use super::Error;
use crate::config::{Config, InitialMember};
use crate::directory::{Admission, Directory, Identity, Origin, Seed};
use crate::peer;
use crate::tls::Plane;

/// Binds an empty directory to the cluster that the others say they are, under the id with which this member was added.
///
/// # Errors
/// None of the others answers, or none knows a member with this one's peer URLs.
pub async fn join(
    config: &Config,
    members: &[InitialMember],
    tls: Option<&Plane>,
    directory: &Directory,
) -> Result<(), Error> {
    let configuration = ask(config, members, tls).await?;
    let mut advertised: Vec<String> = config.advertise_peer_urls.iter().map(ToString::to_string).collect();
    advertised.sort();
    let own = configuration.members.iter().find(|member| sorted(&member.peer_urls) == advertised);
    let own = own.ok_or_else(|| Error::NotAdded { urls: advertised.join(","), cluster: configuration.cluster_id })?;
    let identity = Identity { cluster_id: configuration.cluster_id, member_id: own.id, name: config.name.clone() };
    let seeds = configuration.members.iter().cloned().map(Seed::from).collect();
    directory.bind(&identity, Admission { origin: Origin::Admitted, members: seeds }, None)?;
    Ok(())
}

fn sorted(urls: &[String]) -> Vec<String> {
    let mut urls = urls.to_vec();
    urls.sort();
    urls
}

async fn ask(config: &Config, members: &[InitialMember], tls: Option<&Plane>) -> Result<admin::Configuration, Error> {
    let mut failures = Vec::new();
    for member in members.iter().filter(|member| member.name != config.name) {
        for url in &member.peer_urls {
            match peer::discover(tls, &url.to_string()).await {
                Ok(configuration) => return Ok(configuration),
                Err(error) => failures.push(format!("{url}: {error}")),
            }
        }
    }
    Err(Error::NoPeer { failures: failures.join("; ") })
}
