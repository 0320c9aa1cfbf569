//! The architecture, checked: who may depend on whom, what is registered, how long a file may be.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use cargo_metadata::{Metadata, MetadataCommand};

/// Longest source file, lines. Past 400 ask which second idea has moved in; past this the build fails.
const LINES_MAX: usize = 600;

/// What a crate may never reach, directly or through others (normal and build dependencies, default features).
const WALLS: &[(&str, &[&str])] = &[
    ("params", &["protocol", "codec", "tokio", "prost", "burn"]),
    ("protocol", &["tokio", "prost", "burn", "wire", "model"]),
    ("codec", &["tokio", "prost", "burn", "wire", "model"]),
    ("detection", &["params", "protocol", "tokio", "prost", "burn", "image"]),
    ("dataset", &["params", "protocol", "tokio", "prost", "burn", "wire", "model"]),
    ("kernels", &["params", "protocol", "tokio", "prost", "burn"]),
    ("model", &["tokio", "tonic", "prost", "wire"]),
    ("export", &["tokio", "tonic", "prost", "wire"]),
    ("identity", &["tokio", "tonic", "prost", "burn", "wire", "model", "dataset"]),
    ("wire", &["coordinator-core", "client-core", "model", "burn", "dataset", "image"]),
    (
        "coordinator-core",
        &["tokio", "tonic", "sled", "rustls", "prost", "wire", "model", "burn", "dataset", "image"],
    ),
    (
        "client-core",
        &["tokio", "tonic", "sled", "rustls", "prost", "wire", "model", "burn", "dataset", "image"],
    ),
    ("coordinator", &["client", "client-core"]),
    ("client", &["coordinator", "coordinator-core", "sled"]),
    ("simulations", &["coordinator", "client", "tokio", "tonic", "sled", "rustls"]),
];

/// Folders whose files are entries of a table: the parent file must name each of them in its registry.
const REGISTRIES: &[(&str, &str)] = &[
    ("coordinator/core/src/select.rs", "coordinator/core/src/select"),
    ("coordinator/core/src/combine.rs", "coordinator/core/src/combine"),
    ("coordinator/core/src/server_opt.rs", "coordinator/core/src/server_opt"),
    ("client/core/src/personalise.rs", "client/core/src/personalise"),
    ("shared/dataset/src/partition.rs", "shared/dataset/src/partition"),
    ("shared/detection/src/assign.rs", "shared/detection/src/assign"),
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("tests/ lies in the workspace").to_path_buf()
}

fn metadata() -> Metadata {
    let mut command = MetadataCommand::new();
    command.manifest_path(root().join("Cargo.toml"));
    command.no_deps();
    command.exec().expect("cargo metadata runs where cargo test does")
}

/// Names of everything `start` reaches through normal and build dependencies with its default features, as cargo builds it.
fn reach(start: &str) -> BTreeSet<String> {
    let mut tree = Command::new(env!("CARGO"));
    tree.current_dir(root()).args([
        "tree",
        "--package",
        start,
        "--edges",
        "normal,build",
        "--prefix",
        "none",
    ]);
    let output = tree.args(["--format", "{p}"]).output().expect("cargo tree runs where cargo test does");
    assert!(output.status.success(), "cargo tree -p {start}: {}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).expect("names are ASCII");
    let names = text.lines().filter_map(|line| line.split_whitespace().next());
    names.filter(|name| *name != start).map(str::to_owned).collect()
}

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    for entry in entries.flatten() {
        let path = entry.path();
        let name = entry.file_name().to_string_lossy().into_owned();
        if path.is_dir() && !name.starts_with("target") && !name.starts_with('.') {
            sources(&path, found);
        } else if name.ends_with(".rs") {
            found.push(path);
        }
    }
}

#[test]
fn walls_hold() {
    let mut crossed = Vec::new();
    for (name, never) in WALLS {
        let reached = reach(name);
        crossed.extend(
            never.iter().filter(|other| reached.contains(**other)).map(|other| format!("{name} -> {other}")),
        );
    }
    assert!(crossed.is_empty(), "walls crossed (cargo tree -p CRATE -i OTHER shows how): {crossed:#?}");
}

#[test]
fn the_wall_check_sees_a_crossing() {
    // A check that cannot fail proves nothing: the coordinator does reach tonic, and this must be seen.
    let reached = reach("coordinator");
    assert!(reached.contains("tonic") && reached.contains("params"));
}

#[test]
fn every_member_has_a_wall_or_a_reason() {
    let metadata = metadata();
    let walled: BTreeSet<_> = WALLS.iter().map(|(name, _)| (*name).to_owned()).collect();
    let members = metadata.workspace_packages().into_iter().map(|p| p.name.to_string());
    let open: Vec<_> = members.filter(|name| !walled.contains(name) && name != "fovea-tests").collect();
    assert!(open.is_empty(), "crates without a line in WALLS: {open:?}");
}

#[test]
fn unsafe_lives_in_kernels_alone() {
    let mut files = Vec::new();
    sources(&root(), &mut files);
    let kernels = root().join("shared/kernels");
    for file in files.iter().filter(|file| !file.starts_with(&kernels)) {
        let text = fs::read_to_string(file).expect("source files are UTF-8");
        let uses = text.lines().filter(|line| !line.trim_start().starts_with("//"));
        let found = uses
            .clone()
            .any(|line| line.contains(concat!("unsafe", " {")) || line.contains(concat!("unsafe", " fn")));
        assert!(!found, "{} uses unsafe code", file.display());
    }
}

#[test]
fn files_stay_readable() {
    let mut files = Vec::new();
    sources(&root(), &mut files);
    assert!(files.len() > 50, "the walk found only {} files", files.len());
    let long: Vec<_> = files
        .iter()
        .map(|file| (file, fs::read_to_string(file).map_or(0, |text| text.lines().count())))
        .filter(|(_, lines)| *lines > LINES_MAX)
        .collect();
    assert!(long.is_empty(), "past {LINES_MAX} lines: {long:#?}");
}

#[test]
fn every_algorithm_is_registered() {
    for (table, folder) in REGISTRIES {
        let table_path = root().join(table);
        let text = fs::read_to_string(&table_path).unwrap_or_else(|error| panic!("{table}: {error}"));
        for entry in
            fs::read_dir(root().join(folder)).unwrap_or_else(|error| panic!("{folder}: {error}")).flatten()
        {
            let file = entry.file_name().to_string_lossy().into_owned();
            let Some(stem) = file.strip_suffix(".rs").filter(|stem| *stem != "tests") else { continue };
            assert!(text.contains(&format!("{stem}::")), "{folder}/{file} is not in the table of {table}");
        }
    }
}
