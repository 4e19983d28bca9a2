//! The door for writing: what it refuses, what it keeps, what it clears away.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use sluice_core::Error;
use sluice_core::files::{
    LOCK, Lock, Staged, There, claim_apart, claim_file, claim_folder, free, names, recover, write,
    write_atomic,
};

/// As a killed writer leaves one, of a process that cannot be.
fn left(folder: &Path, stem: &str, end: &str) -> PathBuf {
    folder.join(format!(".{stem}.4294967295-0123456789abcdef{end}"))
}

fn sorted(folder: &Path) -> Vec<String> {
    let mut names = names(folder).unwrap();
    names.sort();
    names
}

fn text(path: PathBuf) -> String {
    fs::read_to_string(path).unwrap()
}

#[test]
fn a_file_that_is_there_stays_unless_it_is_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x");
    write(&path, b"old", There::Keep).unwrap();
    for refused in [claim_file(&path, There::Keep), write(&path, b"new", There::Keep)] {
        assert!(
            matches!(&refused, Err(error @ Error::Taken { .. }) if error.next_step().contains("--overwrite"))
        );
    }
    assert_eq!(text(path.clone()), "old");
    claim_file(&path, There::Replace).unwrap();
    write(&path, b"new", There::Replace).unwrap();
    assert_eq!((text(path), sorted(folder.path())), ("new".into(), vec!["x".into()]));
}

#[test]
#[cfg(unix)]
fn what_is_no_regular_file_is_never_replaced() {
    use std::os::unix::fs::{FileTypeExt as _, symlink};
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    fs::write(at("kept"), "kept").unwrap();
    symlink(at("kept"), at("link")).unwrap();
    symlink(at("nowhere"), at("dangling")).unwrap();
    fs::create_dir(at("folder")).unwrap();
    assert!(std::process::Command::new("mkfifo").arg(at("pipe")).status().unwrap().success());
    let _socket = std::os::unix::net::UnixListener::bind(at("socket")).unwrap();
    let cases = [
        ("link", "a link"),
        ("dangling", "a link"),
        ("folder", "a folder"),
        ("pipe", "a pipe"),
        ("socket", "a socket"),
    ];
    let paths =
        cases.map(|(name, what)| (at(name), what)).into_iter().chain([("/dev/null".into(), "a device")]);
    for (path, what) in paths {
        for there in [There::Keep, There::Replace] {
            for refused in [claim_file(&path, there), write(&path, b"x", there)] {
                let error = refused.unwrap_err();
                assert!(matches!(error, Error::Target { .. }) && error.to_string().contains(what), "{error}");
            }
        }
    }
    assert_eq!((text(at("kept")), at("nowhere").exists()), ("kept".into(), false));
    assert!(fs::symlink_metadata(at("pipe")).unwrap().file_type().is_fifo());
    // Of a folder too; a link to one is as good as one.
    for name in ["kept", "dangling", "pipe"] {
        assert!(matches!(claim_folder(&at(name)), Err(Error::Target { .. })), "{name}");
    }
    symlink(at("folder"), at("to-folder")).unwrap();
    claim_folder(&at("to-folder")).unwrap();
    // No name, or that of a folder.
    for path in [at("new/"), "..".into(), "".into()] {
        assert!(claim_file(&path, There::Replace).is_err(), "{path:?}");
    }
}

#[test]
#[cfg(unix)]
fn a_target_that_cannot_be_written_is_known_before() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    fs::write(at("file"), "kept").unwrap();
    let cause = |path: &Path| claim_file(path, There::Replace).unwrap_err().to_string();
    assert!(cause(&at("none/x")).contains("none: No such file"), "{}", cause(&at("none/x")));
    assert!(cause(&at("file/x")).contains("file is not a folder"), "{}", cause(&at("file/x")));
    // Where nobody may make a file, root neither.
    assert!(cause(Path::new("/proc/x")).contains("/proc/x"));
    assert!(claim_folder(Path::new("/proc/x")).is_err());
    assert!(claim_folder(&at("file/x")).is_err());
    fs::set_permissions(at("file"), fs::Permissions::from_mode(0o444)).unwrap();
    assert!(cause(&at("file")).contains("read-only"));
    assert_eq!(sorted(folder.path()), ["file"]);
}

#[test]
#[cfg(unix)]
fn permissions_are_those_of_the_file_before_and_of_the_system_for_a_new_one() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let mode = |name: &str| fs::metadata(at(name)).unwrap().permissions().mode() & 0o7777;
    for before in [0o600, 0o640, 0o755] {
        fs::write(at("x"), "old").unwrap();
        fs::set_permissions(at("x"), fs::Permissions::from_mode(before)).unwrap();
        write_atomic(&at("x"), b"new").unwrap();
        assert_eq!(mode("x"), before);
    }
    write_atomic(&at("new"), b"").unwrap();
    fs::write(at("plain"), "").unwrap();
    assert_eq!(mode("new"), mode("plain"));
}

#[test]
fn leftovers_of_killed_writers_go_and_nothing_else_does() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    fs::write(left(folder, "x.png", ".part"), "half").unwrap();
    let held = left(folder, "y", ".part");
    let file = File::create(&held).unwrap();
    file.lock().unwrap();
    let foreign = [
        ".x.part",
        "x.1-0123456789abcdef.part",
        ".x.1-0123456789abcdeg.part",
        ".x.y-0123456789abcdef.part",
        ".x.1-ab.part",
    ];
    foreign.iter().for_each(|name| fs::write(folder.join(name), "kept").unwrap());
    fs::create_dir(left(folder, "z", ".part")).unwrap();
    claim_file(&folder.join("new"), There::Keep).unwrap();
    assert!(!left(folder, "x.png", ".part").exists());
    assert!(held.exists() && left(folder, "z", ".part").is_dir(), "{:?}", sorted(folder));
    foreign.iter().for_each(|name| assert!(folder.join(name).exists(), "{name}"));
    // Its writer is gone.
    drop(file);
    claim_folder(folder).unwrap();
    assert!(!held.exists());
}

#[test]
fn a_name_as_long_as_names_may_be_can_be_written() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["x".repeat(255), "é".repeat(127)] {
        write_atomic(&folder.path().join(&name), b"x").unwrap();
        assert!(names(folder.path()).unwrap().contains(&name));
    }
}

#[test]
fn a_folder_is_written_by_one_at_a_time() {
    let folder = tempfile::tempdir().unwrap();
    // A process that is gone left this one.
    fs::write(folder.path().join(LOCK), "4294967295\n").unwrap();
    let lock = Lock::take(folder.path()).unwrap();
    let own = std::process::id().to_string();
    assert_eq!(text(folder.path().join(LOCK)).trim(), own);
    let refused = Lock::take(folder.path()).unwrap_err();
    assert!(matches!(&refused, Error::Busy { process, .. } if *process == own), "{refused}");
    drop(lock);
    assert_eq!(sorted(folder.path()), [""; 0]);
    drop(Lock::take(folder.path()).unwrap());
    // A link's target is nobody's lock.
    #[cfg(unix)]
    {
        fs::write(folder.path().join("kept"), "kept").unwrap();
        std::os::unix::fs::symlink("kept", folder.path().join(LOCK)).unwrap();
        assert!(Lock::take(folder.path()).is_err());
        assert_eq!(text(folder.path().join("kept")), "kept");
    }
}

#[test]
fn of_two_that_take_a_folder_at_once_one_gets_it() {
    let folder = tempfile::tempdir().unwrap();
    let counter = folder.path().join("counter");
    fs::write(&counter, "0").unwrap();
    let add = || {
        for _ in 0..50 {
            let _lock = loop {
                match Lock::take(folder.path()) {
                    Ok(lock) => break lock,
                    Err(Error::Busy { .. }) => std::thread::yield_now(),
                    Err(error) => panic!("{error}"),
                }
            };
            let before: u32 = text(counter.clone()).parse().unwrap();
            fs::write(&counter, (before + 1).to_string()).unwrap();
        }
    };
    std::thread::scope(|scope| (0..4).for_each(|_| drop(scope.spawn(add))));
    assert_eq!(text(counter), "200");
}

#[test]
fn writers_of_one_folder_do_not_clear_each_other_away() {
    let folder = tempfile::tempdir().unwrap();
    let write_many = |number: usize| {
        for round in 0..40 {
            let path = folder.path().join(format!("{number}-{}", round % 4));
            claim_file(&path, There::Replace).unwrap();
            write_atomic(&path, &[0; 4096]).unwrap();
        }
    };
    std::thread::scope(|scope| (0..4).for_each(|number| drop(scope.spawn(move || write_many(number)))));
    assert_eq!(names(folder.path()).unwrap().len(), 16);
}

const OWN: [&str; 2] = ["config", "model"];

fn is_own(name: &str) -> bool {
    OWN.contains(&name)
}

fn run(folder: &Path, text: &str) {
    fs::create_dir_all(folder).unwrap();
    OWN.iter().for_each(|name| fs::write(folder.join(name), text).unwrap());
}

#[test]
fn a_folder_takes_the_place_of_another_and_what_was_beside_stays() {
    let around = tempfile::tempdir().unwrap();
    let place = around.path().join("run");
    run(&place, "old");
    fs::create_dir(place.join("routers")).unwrap();
    fs::write(place.join("routers/one"), "kept").unwrap();
    fs::write(place.join("notes"), "kept").unwrap();
    let mut lock = Lock::take(&place).unwrap();
    let staged = Staged::beside(&place).unwrap();
    run(staged.path(), "new");
    // Who is at work is left alone.
    recover(&place, &is_own).unwrap();
    staged.commit(&is_own, &mut lock).unwrap();
    assert_eq!(sorted(around.path()), ["run"]);
    assert_eq!(sorted(&place), [LOCK, "config", "model", "notes", "routers"]);
    assert_eq!((text(place.join("model")), text(place.join("routers/one"))), ("new".into(), "kept".into()));
    assert!(matches!(Lock::take(&place), Err(Error::Busy { .. })), "the lock moves with the place");
    drop(lock);
    assert!(Lock::take(&place).is_ok());
    let staged = Staged::beside(&place).unwrap();
    run(staged.path(), "newer");
    staged.discard().unwrap();
    assert_eq!((sorted(around.path()), text(place.join("model"))), (vec!["run".into()], "new".into()));
}

#[test]
fn a_swap_that_was_killed_is_brought_to_an_end() {
    let around = tempfile::tempdir().unwrap();
    let place = around.path().join("run");
    // Not swapped yet, or swapped, and a note not yet moved.
    run(&place, "one");
    run(&left(around.path(), "run", ".part"), "other");
    fs::write(left(around.path(), "run", ".part").join("notes"), "kept").unwrap();
    fs::write(left(around.path(), "run", ".part").join(LOCK), "4294967295").unwrap();
    // Another place's, and one that only looks alike.
    run(&left(around.path(), "run.x", ".part"), "kept");
    run(&left(around.path(), "runs", ".part"), "kept");
    run(&around.path().join(".run.part"), "kept");
    recover(&place, &is_own).unwrap();
    let others = [
        ".run.part".to_owned(),
        ".run.x.4294967295-0123456789abcdef.part".to_owned(),
        ".runs.4294967295-0123456789abcdef.part".to_owned(),
    ];
    assert_eq!(sorted(around.path()), [&others[..], &["run".to_owned()]].concat());
    assert_eq!((text(place.join("model")), text(place.join("notes"))), ("one".into(), "kept".into()));
    // Between the two steps of a system that cannot swap: the old one comes back.
    fs::rename(&place, left(around.path(), "run", ".old")).unwrap();
    run(&left(around.path(), "run", ".part"), "new");
    recover(&place, &is_own).unwrap();
    assert_eq!(sorted(around.path()), [&others[..], &["run".to_owned()]].concat());
    assert_eq!(text(place.join("model")), "one");
    // A note of one name in both: both stay.
    run(&left(around.path(), "run", ".part"), "new");
    fs::write(left(around.path(), "run", ".part").join("notes"), "other").unwrap();
    recover(&place, &is_own).unwrap();
    assert_eq!(text(left(around.path(), "run", ".part").join("notes")), "other");
    assert_eq!(text(place.join("notes")), "kept");
}

#[test]
#[cfg(unix)]
fn nothing_is_written_among_a_checkpoints_files() {
    let around = tempfile::tempdir().unwrap();
    let at = |name: &str| around.path().join(name);
    fs::create_dir_all(at("model/routers")).unwrap();
    fs::create_dir(at("elsewhere")).unwrap();
    fs::write(at("elsewhere/blob"), "weights").unwrap();
    std::os::unix::fs::symlink(at("elsewhere/blob"), at("model/model.safetensors")).unwrap();
    std::os::unix::fs::symlink(at("model"), at("alias")).unwrap();
    fs::write(at("model/config.json"), "{}").unwrap();
    fs::hard_link(at("model/config.json"), at("elsewhere/twin")).unwrap();
    for inside in
        ["model", "model/x", "model/../model/x", "alias", "alias/x", "elsewhere/blob", "elsewhere/twin"]
    {
        for checkpoint in ["model", "alias", "model/config.json"] {
            let refused = claim_apart(&at(inside), &at(checkpoint));
            assert!(matches!(refused, Err(Error::Target { .. })), "{inside} of {checkpoint}");
        }
    }
    for outside in ["x", "elsewhere", "elsewhere/x", "model/routers", "model/routers/x", "none/x"] {
        claim_apart(&at(outside), &at("model")).unwrap();
    }
}

#[test]
fn a_name_that_is_taken_gets_a_number() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    for (name, numbered) in [("plan.json", "plan-2.json"), ("a.b.png", "a.b-2.png"), ("figures", "figures-2")]
    {
        assert_eq!(free(&at(name)), at(name));
        fs::write(at(name), "").unwrap();
        assert_eq!(free(&at(name)), at(numbered));
    }
    fs::write(at("plan-2.json"), "").unwrap();
    assert_eq!(free(&at("plan.json")), at("plan-3.json"));
}
