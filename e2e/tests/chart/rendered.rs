//! What Helm makes of the chart, without a cluster.

use std::fs;

use quorate_e2e::kubernetes::run;
use quorate_e2e::scenario::Outcome;
use serde_json::{Value, json};

use crate::helm::{Helm, objects, sources};

/// A value for everything that `values.yaml` lists, none of them the default.
const VALUES: &str = "
replicas: 3
image: {repository: registry.example/operator, tag: v9, pullPolicy: Always, pullSecrets: [first, second]}
crds: {install: false}
watchNamespaces: [red, blue]
logLevel: debug,kube=info
resources: {limits: {memory: 1Gi}}
nodeSelector: {disk: fast}
tolerations: [{key: dedicated, operator: Exists}]
";

pub async fn lint(helm: &Helm) -> Outcome {
    run(&mut helm.command(&["lint", "--strict", "CHART"]))?;
    let values = values_file()?;
    let shown = run(&mut helm.command(&["lint", "--strict", "CHART", "--values", &values.path().to_string_lossy()]))?;
    assert!(shown.contains("1 chart(s) linted, 0 chart(s) failed"), "{shown}");
    Ok(())
}

pub async fn beside_config(helm: &Helm) -> Outcome {
    let mut rendered = helm.template("quorate-operator", "quorate-system", &["--set=image.tag=dev"])?;
    let mut config = objects(&fs::read_to_string(sources().join("config/operator.yaml"))?)?;
    config.extend(objects(&fs::read_to_string(sources().join("crds/quorate.io_quorateclusters.yaml"))?)?);
    // The namespace is Helm's to make.
    config.remove("Namespace quorate-system").ok_or("config/operator.yaml makes no namespace")?;

    let definition = rendered.get_mut("CustomResourceDefinition quorateclusters.quorate.io").ok_or("no definition")?;
    let annotations = take(definition, "/metadata", "annotations");
    assert_eq!(annotations, json!({"helm.sh/resource-policy": "keep"}));

    // What only a release has: its name beside the program's, and settings, here with the program's own defaults.
    let deployment = rendered.get_mut("Deployment quorate-system/quorate-operator").ok_or("no Deployment")?;
    let pod = "/spec/template/spec";
    for labels in [
        "/metadata/labels",
        "/spec/selector/matchLabels",
        "/spec/template/metadata/labels",
        "/spec/template/spec/topologySpreadConstraints/0/labelSelector/matchLabels",
    ] {
        assert_eq!(take(deployment, labels, "app.kubernetes.io/instance"), "quorate-operator", "{labels}");
    }
    let settings = deployment.pointer_mut(&format!("{pod}/containers/0/env")).and_then(Value::as_array_mut);
    let settings = settings.ok_or("no environment")?.split_off(2);
    let named = |name: &str, value: &str| json!({"name": name, "value": value});
    let expected = [named("LEASE_NAME", "quorate-operator"), named("WATCH_NAMESPACES", ""), named("LOG_LEVEL", "info")];
    assert_eq!(settings, expected);

    let names = |objects: &crate::helm::Objects| objects.keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(&rendered), names(&config));
    for (name, object) in &config {
        assert_eq!(&rendered[name], object, "{name} of the chart and of config/");
    }
    Ok(())
}

pub async fn with_values(helm: &Helm) -> Outcome {
    let file = values_file()?;
    let rendered = helm.template("mine", "ops", &["--values", &file.path().to_string_lossy()])?;
    let plain = helm.template("mine", "ops", &[])?;
    let names: Vec<&str> = rendered.keys().map(String::as_str).collect();
    assert_eq!(
        names,
        [
            "ClusterRole mine",
            "Deployment ops/mine",
            "Role ops/mine-lease",
            "RoleBinding blue/mine",
            "RoleBinding ops/mine-lease",
            "RoleBinding red/mine",
            "ServiceAccount ops/mine",
        ],
        "rights in the watched namespaces only, and no definitions"
    );
    for namespace in ["red", "blue"] {
        let binding = &rendered[&format!("RoleBinding {namespace}/mine")];
        assert_eq!(binding["roleRef"]["name"], "mine");
        let subjects = json!([{"kind": "ServiceAccount", "name": "mine", "namespace": "ops"}]);
        assert_eq!(binding["subjects"], subjects);
    }
    assert_eq!(rendered["ClusterRole mine"], plain["ClusterRole mine"], "the same rights, however they are bound");
    assert!(plain.contains_key("ClusterRoleBinding mine"));

    let spec = &rendered["Deployment ops/mine"]["spec"];
    assert_eq!(spec["replicas"], 3);
    let pod = &spec["template"]["spec"];
    assert_eq!(pod["imagePullSecrets"], json!([{"name": "first"}, {"name": "second"}]));
    assert_eq!(pod["nodeSelector"], json!({"disk": "fast"}));
    assert_eq!(pod["tolerations"], json!([{"key": "dedicated", "operator": "Exists"}]));
    let container = &pod["containers"][0];
    assert_eq!(container["image"], "registry.example/operator:v9");
    assert_eq!(container["imagePullPolicy"], "Always");
    // Helm merges maps: what is not said stays as it is.
    let resources = json!({"requests": {"cpu": "50m", "memory": "64Mi"}, "limits": {"memory": "1Gi"}});
    assert_eq!(container["resources"], resources);
    let environment = container["env"].as_array().ok_or("no environment")?;
    for (name, value) in [("LEASE_NAME", "mine"), ("WATCH_NAMESPACES", "red,blue"), ("LOG_LEVEL", "debug,kube=info")] {
        assert!(environment.contains(&json!({"name": name, "value": value})), "{name}: {environment:?}");
    }
    // A value that is added to the chart is added here, with what it does.
    let keys = |yaml: &str| serde_yaml::from_str::<Value>(yaml).map(|values| keys_of("", &values));
    let listed = keys(&fs::read_to_string(sources().join("charts/quorate-operator/values.yaml"))?)?;
    let given = keys(VALUES)?;
    let missing: Vec<&String> = listed.iter().filter(|key| !given.iter().any(|one| one.starts_with(*key))).collect();
    assert_eq!(missing, ["resources.requests.cpu", "resources.requests.memory"], "values that this test does not set");
    Ok(())
}

fn values_file() -> std::io::Result<tempfile::NamedTempFile> {
    let file = tempfile::NamedTempFile::new()?;
    fs::write(file.path(), VALUES)?;
    Ok(file)
}

/// Paths of the values that are no maps with something in them, joined by dots.
fn keys_of(path: &str, values: &Value) -> Vec<String> {
    match values.as_object() {
        Some(map) if !map.is_empty() => {
            let below = |(key, value): (&String, &Value)| keys_of(&format!("{path}.{key}"), value);
            map.iter().flat_map(below).collect()
        }
        _ => vec![path.trim_start_matches('.').to_owned()],
    }
}

/// Removes a key of the map at a path and returns its value; null if it was not there.
fn take(object: &mut Value, path: &str, key: &str) -> Value {
    let map = object.pointer_mut(path).and_then(Value::as_object_mut);
    map.and_then(|map| map.remove(key)).unwrap_or_default()
}
