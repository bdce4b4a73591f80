//! The Helm chart: what Helm makes of it with and without values, beside `config/` and `crds/`, and a release of it in a
//! real Kubernetes from its installation to its end.

#[path = "../common/mod.rs"]
mod common;
mod helm;
mod installed;
mod rendered;

use std::process::ExitCode;

use futures::FutureExt;
use helm::Helm;
use quorate_e2e::scenario::Runner;

#[tokio::main]
async fn main() -> ExitCode {
    let mut runner = Runner::from_arguments();
    let helm = match Helm::find() {
        Ok(helm) => helm,
        Err(error) => {
            eprintln!("{error}");
            return ExitCode::FAILURE;
        }
    };
    runner.run("helm_finds_nothing_to_complain_about", rendered::lint(&helm).boxed()).await;
    runner.run("without_values_the_chart_is_what_config_holds", rendered::beside_config(&helm).boxed()).await;
    runner.run("every_value_reaches_the_object_it_is_for", rendered::with_values(&helm).boxed()).await;
    let release = "a_release_runs_clusters_and_leaves_them_when_it_goes";
    runner.run(release, installed::from_install_to_uninstall(&helm).boxed()).await;
    runner.finish()
}
