//! What people see when something is wrong.

use std::fs;
use std::net::TcpListener;
use std::path::Path;

use clap::Parser;
use dataset::Image;

use super::*;
use crate::folder::{Folder, Member};

/// Exit code and line of a command that fails.
#[track_caller]
fn check(line: &[&str], code: u8, expected: &str) {
    let cli = Cli::try_parse_from([&["client"], line].concat()).unwrap();
    let failure = execute(cli.command).unwrap_err();
    assert!(failure.line.contains(expected), "{failure}");
    assert!(!failure.line.contains('\n'), "{failure}");
    assert_eq!(failure.code, code, "{failure}");
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// A port of this machine on which nobody listens.
fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

fn joined(path: &Path) {
    let member = Member {
        client: "camera".to_owned().try_into().unwrap(),
        coordinator: "127.0.0.1:1".parse().unwrap(),
        secure: false,
    };
    Folder::prepare(path).unwrap().settle(&member, None).unwrap();
}

fn png(path: &Path) {
    let image = Image::filled(32, 24, [200, 30, 30]);
    image::save_buffer(path, image.pixels(), 32, 24, image::ColorType::Rgb8).unwrap();
}

const TOKEN: &str = "fovea1-aaaaaaaaaaaaaaaaaaaaaaaaaa-aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";

#[test]
fn joining() {
    let outer = tempfile::tempdir().unwrap();
    let state = outer.path().join("state");
    let nobody = format!("127.0.0.1:{}", free_port());
    let join = |address: &str, token: &str, code, expected: &str| {
        check(&["join", address, "--token", token, "--state", text(&state)], code, expected);
    };
    join(&nobody, "secret", 2, "not a token: expected fovea1-");
    join(&nobody, &TOKEN[..60], 2, "copy the whole token");
    join(&nobody, TOKEN, 1, &format!("cannot reach the coordinator at {nobody}: Connection refused"));
    check(
        &["join", "192.0.2.1:7843", "--insecure", "--name", "a", "--state", text(&state)],
        2,
        "192.0.2.1:7843 is not on this machine: --insecure works over loopback only",
    );
    check(
        &["join", &nobody, "--insecure", "--name", "a", "--state", text(&state)],
        1,
        "cannot reach the coordinator",
    );
    joined(&state);
    join(&nobody, TOKEN, 2, "belongs to client camera of the coordinator at 127.0.0.1:1");
    let held = Folder::open(&state).unwrap();
    join(&nobody, TOKEN, 2, "belongs to client camera");
    drop(held);
    let file = outer.path().join("file");
    fs::write(&file, "").unwrap();
    check(&["join", &nobody, "--token", TOKEN, "--state", text(&file)], 1, "file: cannot make");
}

#[test]
fn checking_data() {
    let outer = tempfile::tempdir().unwrap();
    let dir = outer.path().join("images");
    check(&["data", "check", text(&dir)], 1, "images: no such folder");
    fs::create_dir(&dir).unwrap();
    check(&["data", "check", text(&dir)], 1, "the folder is empty");
    png(&dir.join("a.png"));
    check(&["data", "check", text(&dir)], 1, "1 images but no labels");
}

#[test]
fn scoring_files() {
    let outer = tempfile::tempdir().unwrap();
    let (found, truth) = (outer.path().join("found.json"), outer.path().join("truth.json"));
    check(&["score", text(&found), text(&truth)], 2, "found.json: cannot be read: No such file");
    fs::write(&found, "{}").unwrap();
    fs::write(&truth, "[").unwrap();
    check(&["score", text(&found), text(&truth)], 1, "annotations file: EOF");
    fs::write(&truth, r#"{"images": [], "categories": []}"#).unwrap();
    check(&["score", text(&found), text(&truth)], 1, "expected a JSON list of detections");
}

#[cfg(feature = "detector")]
#[test]
fn working_without_what_it_takes() {
    let outer = tempfile::tempdir().unwrap();
    let (state, data) = (outer.path().join("state"), outer.path().join("data"));
    let run = |code, expected: &str| {
        check(&["run", "--state", text(&state), "--data", text(&data)], code, expected);
    };
    run(2, "not joined: run `client join ADDRESS --token TOKEN --state");
    joined(&state);
    run(2, "data: no such folder");
    fs::create_dir(&data).unwrap();
    run(2, "the folder is empty");
    fs::write(data.join("a.png"), "no picture").unwrap();
    fs::write(data.join("a.txt"), "0 0.5 0.5 0.2 0.2\n").unwrap();
    run(2, "YOLO labels without class names");
    fs::write(data.join("classes.txt"), "cat\n").unwrap();
    run(2, "none of the 1 labelled images can be used");
    check(
        &["run", "--state", text(&state), "--data", text(&data), "--device", "gpu"],
        2,
        "--device: device \"gpu\" is not part of this build",
    );
    let held = Folder::open(&state).unwrap();
    run(1, "in use by another client process");
    drop(held);
    let out = outer.path().join("out");
    check(&["predict", "a.png", "--state", text(&state), "--out", text(&out)], 2, "there is no model yet");
    check(&["evaluate", "--state", text(&state), "--data", text(&data)], 2, "there is no model yet");
}
