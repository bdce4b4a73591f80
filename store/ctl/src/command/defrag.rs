//! `defrag`: each endpoint by itself, one after the other, because a member may not answer meanwhile.

use quorate_api::etcdserverpb::DefragmentRequest;
use tokio::time::Instant;

use super::{Context, endpoint, write};
use crate::Error;
use crate::flags::{Flag, Kind, flag};
use crate::go::duration;

const CLUSTER: Flag = flag("cluster", Kind::Bool(false), "defragment every member of the cluster");

pub const FLAGS: &[Flag] = &[CLUSTER];

pub async fn run(context: &Context) -> Result<(), Error> {
    let mut failed = false;
    for (name, options) in endpoint::endpoints(context, &CLUSTER).await? {
        let start = Instant::now();
        let call =
            context.call_with(&options, async |client| client.maintenance().defragment(DefragmentRequest {}).await);
        let result = call.await;
        let took = duration::format(start.elapsed());
        match result {
            Ok(_) => write(format!("Finished defragmenting etcd member[{name}]. took {took}\n").as_bytes())?,
            Err(error) => {
                failed = true;
                eprintln!("Failed to defragment etcd member[{name}]. took {took}. ({error})");
            }
        }
    }
    if failed { Err(Error::Reported) } else { Ok(()) }
}
