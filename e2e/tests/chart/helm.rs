//! Helm, with folders of its own, and the objects that it renders.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use quorate_e2e::kubernetes::{Tools, run};
use serde::Deserialize;
use serde_json::Value;

use crate::common::Error;

/// Objects by `Kind [NAMESPACE/]NAME`.
pub type Objects = BTreeMap<String, Value>;

pub struct Helm {
    program: PathBuf,
    /// What a user has set up for Helm must not reach the tests, nor they the user's.
    home: tempfile::TempDir,
}

impl Helm {
    pub fn find() -> Result<Self, Error> {
        Ok(Self { program: Tools::find()?.program("helm")?, home: tempfile::tempdir()? })
    }

    /// A command of Helm; `CHART` among the arguments stands for the chart's folder.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let chart = sources().join("charts/quorate-operator");
        let mut command = Command::new(&self.program);
        for (variable, folder) in
            [("HELM_CACHE_HOME", "cache"), ("HELM_CONFIG_HOME", "config"), ("HELM_DATA_HOME", "data")]
        {
            command.env(variable, self.home.path().join(folder));
        }
        for argument in arguments {
            if *argument == "CHART" {
                command.arg(&chart)
            } else {
                command.arg(argument)
            };
        }
        command
    }

    /// What a release of that name in that namespace would consist of.
    pub fn template(&self, release: &str, namespace: &str, arguments: &[&str]) -> Result<Objects, Error> {
        let fixed = ["template", release, "CHART", "--namespace", namespace];
        objects(&run(&mut self.command(&[&fixed, arguments].concat()))?)
    }
}

/// The top of the repository.
pub fn sources() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// The documents of a YAML text.
pub fn objects(yaml: &str) -> Result<Objects, Error> {
    let mut objects = Objects::new();
    for document in serde_yaml::Deserializer::from_str(yaml) {
        let object = Value::deserialize(document)?;
        if object.is_null() {
            continue;
        }
        let word = |value: &Value| value.as_str().map(str::to_owned);
        let name = word(&object["metadata"]["name"]).ok_or("an object has no name")?;
        let name = word(&object["metadata"]["namespace"]).map_or(name.clone(), |space| format!("{space}/{name}"));
        let key = format!("{} {name}", word(&object["kind"]).ok_or("an object has no kind")?);
        if objects.insert(key.clone(), object).is_some() {
            return Err(format!("{key} is there twice").into());
        }
    }
    Ok(objects)
}
