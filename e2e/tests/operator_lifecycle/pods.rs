//! What the spec says of pods reaches the pods that run, and TLS that asks clients for no certificate.

use k8s_openapi::api::core::v1::{Node, Pod, PodSpec};
use k8s_openapi::api::node::v1::RuntimeClass;
use k8s_openapi::api::scheduling::v1::PriorityClass;
use kube::Api;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use quorate_e2e::scenario::Outcome;
use serde_json::{Value, json};

use crate::world::World;

/// A cluster with every field of `spec.pods`, on the one node that it asks for.
pub async fn passed_on(world: &World) -> Outcome {
    let nodes: Api<Node> = Api::all(world.client.clone());
    let node = world.node_names().await?.pop().ok_or("there are no nodes")?;
    let label = json!({"metadata": {"labels": {"disk": "fast"}}});
    nodes.patch(&node, &PatchParams::default(), &Patch::Merge(label)).await?;
    let priorities: Api<PriorityClass> = Api::all(world.client.clone());
    let priority = json!({"metadata": {"name": "members"}, "value": 1000});
    priorities.create(&PostParams::default(), &serde_json::from_value(priority)?).await?;
    let runtimes: Api<RuntimeClass> = Api::all(world.client.clone());
    let runtime = json!({"metadata": {"name": "plain"}, "handler": "runc"});
    runtimes.create(&PostParams::default(), &serde_json::from_value(runtime)?).await?;
    let spec = json!({"pods": pods(), "raft": {"preVote": false}, "storage": {"retention": {"whenDeleted": "Delete"}}});
    world.create("passed", 1, json!({"spec": spec})).await?;
    world.await_ready("passed", 1).await?;
    check(&world.pods().get("passed-0").await?, &node);
    world.session("passed", 0).await?.put("served", "there").await?;
    world.delete("passed").await?;
    runtimes.delete("plain", &DeleteParams::default()).await?;
    priorities.delete("members", &DeleteParams::default()).await?;
    Ok(())
}

fn pods() -> Value {
    let node_term = json!({"matchExpressions": [{"key": "kubernetes.io/os", "operator": "In", "values": ["linux"]}]});
    json!({
        "resources": {"requests": {"cpu": "50m", "memory": "64Mi"}, "limits": {"cpu": 2, "memory": "1Gi"}},
        "nodeSelector": {"disk": "fast"},
        "tolerations": [{"key": "dedicated", "operator": "Equal", "value": "quorate", "effect": "NoSchedule"}],
        "affinity": {"nodeAffinity": {
            "requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [node_term]},
        }},
        "topologySpreadConstraints": [{
            "maxSkew": 2, "topologyKey": "kubernetes.io/hostname", "whenUnsatisfiable": "ScheduleAnyway",
        }],
        "metadata": {"labels": {"team": "storage"}, "annotations": {"example.com/note": "kept"}},
        "priorityClassName": "members",
        "runtimeClassName": "plain",
        "terminationGracePeriodSeconds": 30,
    })
}

fn check(pod: &Pod, node: &str) {
    let labels = pod.metadata.labels.clone().unwrap_or_default();
    assert_eq!(labels.get("team").map(String::as_str), Some("storage"));
    assert_eq!(labels.get("quorate.io/cluster").map(String::as_str), Some("passed"), "ours besides");
    let annotations = pod.metadata.annotations.clone().unwrap_or_default();
    assert_eq!(annotations.get("example.com/note").map(String::as_str), Some("kept"));
    let spec: &PodSpec = pod.spec.as_ref().expect("a pod has a spec");
    assert_eq!(spec.node_name.as_deref(), Some(node));
    assert_eq!(spec.priority, Some(1_000));
    let got = serde_json::to_value(spec).expect("a pod is a document");
    let wanted = pods();
    for field in ["nodeSelector", "affinity", "topologySpreadConstraints", "priorityClassName", "runtimeClassName"] {
        assert_eq!(got[field], wanted[field], "{field}");
    }
    assert_eq!(got["terminationGracePeriodSeconds"], wanted["terminationGracePeriodSeconds"]);
    let tolerations = got["tolerations"].as_array().expect("Kubernetes adds its own");
    assert!(tolerations.contains(&wanted["tolerations"][0]), "{tolerations:?}");
    let container = &got["containers"][0];
    assert_eq!(container["resources"]["requests"], wanted["resources"]["requests"]);
    assert_eq!(container["resources"]["limits"], json!({"cpu": "2", "memory": "1Gi"}));
    assert!(container["args"].as_array().is_some_and(|all| all.contains(&json!("--pre-vote=false"))), "{container}");
}

/// The server shows who it is, and takes whoever comes.
pub async fn clients_without_certificates(world: &World) -> Outcome {
    let open = json!({"client": {"requireClientCertificates": false}});
    world
        .create("open", 1, json!({"spec": {"tls": open, "storage": {"retention": {"whenDeleted": "Delete"}}}}))
        .await?;
    world.await_ready("open", 1).await?;
    let mut nobody = world.anonymous_session("open", 0).await?;
    nobody.put("from", "anybody").await?;
    assert_eq!(nobody.get("from").await?.as_deref(), Some("anybody"));
    // One that has a certificate is served too, and where certificates are asked for nobody is without.
    assert_eq!(world.session("open", 0).await?.get("from").await?.as_deref(), Some("anybody"));
    let refused = async { world.anonymous_session("main", 0).await?.get("first").await }.await;
    assert!(refused.is_err(), "main asks for certificates");
    world.delete("open").await
}
