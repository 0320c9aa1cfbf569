use super::*;

fn member(secure: bool) -> Member {
    let client = ClientId::new("camera-1").unwrap();
    Member { client, coordinator: "gateway:7843".parse().unwrap(), secure }
}

fn joined(path: &Path) -> Folder {
    let folder = Folder::prepare(path).unwrap();
    folder.settle(&member(false), None).unwrap();
    folder
}

#[test]
fn a_joined_folder_gives_back_who_the_device_is() {
    let outer = tempfile::tempdir().unwrap();
    let path = outer.path().join("deep/state");
    let key = DeviceKey::generate().unwrap();
    let folder = Folder::prepare(&path).unwrap();
    folder.store_key(&key).unwrap();
    folder.settle(&member(true), Some((b"certificate", b"authority"))).unwrap();
    drop(folder);

    let (folder, found) = Folder::open(&path).unwrap();
    assert_eq!(found, member(true));
    let credentials = folder.credentials().unwrap();
    assert_eq!(credentials.key.pem(), key.pem());
    assert_eq!(&*credentials.certificate, b"certificate");
    assert_eq!(&*credentials.authority, b"authority");
    let choice = DataChoice { split: Some("train".to_owned()), held_out: 0.25 };
    assert_eq!(folder.data_choice().unwrap(), None);
    folder.store_data_choice(&choice).unwrap();
    assert_eq!(folder.data_choice().unwrap(), Some(choice));
}

#[test]
fn state_survives_and_nothing_else_is_read() {
    let outer = tempfile::tempdir().unwrap();
    let folder = joined(outer.path());
    assert!(folder.load().unwrap().is_empty());
    folder.store(NAMES[0], b"one").unwrap();
    folder.store(NAMES[1], b"two").unwrap();
    folder.store(NAMES[1], b"three").unwrap();
    fs::write(outer.path().join("state/.outgoing.partial"), b"half").unwrap();
    fs::write(outer.path().join("state/unknown"), b"?").unwrap();
    let expected = Stored::from([(NAMES[0], b"one".to_vec()), (NAMES[1], b"three".to_vec())]);
    assert_eq!(folder.load().unwrap(), expected);
}

#[cfg(unix)]
#[test]
fn only_the_owner_may_look() {
    use std::os::unix::fs::PermissionsExt;
    let outer = tempfile::tempdir().unwrap();
    let path = outer.path().join("state");
    // A folder that was made by hand, open to all.
    fs::create_dir(&path).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    let folder = joined(&path);
    folder.store_key(&DeviceKey::generate().unwrap()).unwrap();
    folder.store(NAMES[0], b"one").unwrap();
    let mode = |name: &str| fs::metadata(path.join(name)).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(""), mode("state")), (0o700, 0o700));
    for name in [MARK, KEY, LOCK, "state/membership"] {
        assert_eq!(mode(name), 0o600, "{name}");
    }
}

#[test]
fn each_wrong_folder_is_refused_with_one_line() {
    #[track_caller]
    fn check(
        files: &[(&str, &str)],
        open: impl FnOnce(&Path) -> Result<(), FolderError>,
        expected: &str,
        usage: bool,
    ) {
        let outer = tempfile::tempdir().unwrap();
        for (name, content) in files {
            fs::write(outer.path().join(name), content).unwrap();
        }
        let error = open(outer.path()).unwrap_err();
        let line = error.to_string();
        assert!(line.contains(expected), "{line}");
        assert!(!line.contains('\n'));
        assert_eq!(error.is_usage(), usage, "{line}");
    }
    fn run(path: &Path) -> Result<(), FolderError> {
        Folder::open(path).map(|_| ())
    }
    fn join(path: &Path) -> Result<(), FolderError> {
        Folder::prepare(path).map(|_| ())
    }
    fn prove(path: &Path) -> Result<(), FolderError> {
        Folder::open(path)?.0.credentials().map(|_| ())
    }
    let mark = r#"{"kind": "client", "format": 1, "client": "c", "coordinator": "h:1", "secure": true}"#;
    check(&[], run, "not joined: run `client join ADDRESS", true);
    check(&[], |path| run(&path.join("missing")), "not joined", true);
    check(&[("lock", ""), ("key.pem", "half a join")], run, "not joined", true);
    check(&[(MARK, mark)], join, "belongs to client c of the coordinator at h:1", true);
    check(&[("holiday.jpg", "")], join, "it holds \"holiday.jpg\" but no fovea.json", true);
    check(&[("holiday.jpg", "")], run, "it holds \"holiday.jpg\" but no fovea.json", true);
    check(&[(MARK, r#"{"kind": "coordinator", "format": 1}"#)], run, "state folder of a coordinator", true);
    check(
        &[(MARK, r#"{"kind": "client", "format": 2, "new": 1}"#)],
        run,
        "format 2, this build reads format 1",
        true,
    );
    check(&[(MARK, "")], run, "fovea.json: damaged: EOF", false);
    check(&[(MARK, &mark[..40])], run, "damaged", false);
    check(&[(MARK, &mark.replace("h:1", "h"))], run, "damaged: \"h\" has no port", false);
    check(&[(MARK, mark)], prove, "key.pem: damaged: it is missing", false);
    check(&[(MARK, mark), (KEY, "no key")], prove, "key.pem: damaged: cannot read device key", false);
    check(&[(MARK, "{}")], |path| run(&path.join(MARK)), "cannot read", false);
}

#[test]
fn what_an_interrupted_join_has_left_is_no_obstacle() {
    let outer = tempfile::tempdir().unwrap();
    let folder = Folder::prepare(outer.path()).unwrap();
    folder.store_key(&DeviceKey::generate().unwrap()).unwrap();
    fs::write(outer.path().join(".certificate.der.partial"), b"half").unwrap();
    drop(folder);
    joined(outer.path());
    assert!(Folder::open(outer.path()).is_ok());
}

#[test]
fn a_folder_has_one_process_and_any_number_of_onlookers() {
    let outer = tempfile::tempdir().unwrap();
    let first = joined(outer.path());
    let error = Folder::open(outer.path()).unwrap_err();
    assert!(matches!(error, FolderError::InUse { .. }), "{error}");
    assert!(Folder::look(outer.path()).is_ok());
    drop(first);
    assert!(Folder::open(outer.path()).is_ok());
}

#[test]
fn a_write_that_fails_leaves_what_was_there() {
    let outer = tempfile::tempdir().unwrap();
    let folder = joined(outer.path());
    folder.store(NAMES[0], b"one").unwrap();
    // Nothing can be renamed over a folder.
    fs::create_dir(outer.path().join("state").join(NAMES[1])).unwrap();
    let error = folder.store(NAMES[1], b"two").unwrap_err();
    assert!(error.to_string().contains("cannot write"), "{error}");
    let names: Vec<String> = fs::read_dir(outer.path().join("state"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
        .filter(|name| durable::is_partial(name))
        .collect();
    assert!(names.is_empty(), "{names:?}");
    assert_eq!(folder.load_one(NAMES[0]).unwrap().as_deref(), Some(&b"one"[..]));
}
