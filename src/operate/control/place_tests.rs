//! Who owns which path, and what is left behind.

use super::*;
use crate::sys::alone::drops_at_once;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

fn scratch(name: &str) -> PathBuf {
    let directory = env::temp_dir().join(format!("heirloom-{name}-{}", std::process::id()));
    let _ = fs::remove_dir_all(&directory);
    fs::create_dir_all(&directory).unwrap();
    directory
}

#[test]
fn the_stable_path_leads_to_whoever_it_was_pointed_at() {
    let _guard = drops_at_once();
    let directory = scratch("place");
    let path = directory.join("control");
    let wanted = Wanted::At(path.clone());
    let (listener, place) = Place::take(&wanted, None).unwrap();
    let place = Arc::new(place);
    assert_eq!(fs::metadata(place.own()).unwrap().permissions().mode() & 0o777, 0o600);
    assert!(!path.exists(), "nobody serves yet");
    place.point_to(std::process::id());
    UnixStream::connect(&path).unwrap();
    assert_eq!(fs::read_link(&path).unwrap(), Path::new(place.own().file_name().unwrap()), "relative");
    // Another generation's, as far as its name goes.
    let other = UnixListener::bind(directory.join("control.77.heirloom")).unwrap();
    place.point_to(77);
    assert_eq!(fs::read_link(&path).unwrap(), Path::new("control.77.heirloom"));
    place.point_to(78);
    assert_eq!(fs::read_link(&path).unwrap(), Path::new("control.77.heirloom"), "78 has no socket");
    place.clear(77);
    assert!(path.exists(), "that one is alive");
    drop(other);
    place.clear(77);
    assert!(!path.exists(), "its socket is removed with it");
    assert!(matches!(Place::take(&wanted, None), Err(ControlError::Held { .. })));
    place.point_to(std::process::id());
    place.give_up();
    drop(listener);
    assert_eq!(fs::read_dir(&directory).unwrap().count(), 0, "nothing stays behind");
    fs::remove_dir_all(directory).unwrap();
}

#[test]
fn a_path_that_cannot_be_swapped_is_swapped_once_it_can() {
    let _guard = drops_at_once();
    let directory = scratch("place-full");
    let path = directory.join("control");
    let (_listener, place) = Place::take(&Wanted::At(path.clone()), None).unwrap();
    let place = Arc::new(place);
    // In the way of the draft: as if the disk had no name left, for root as well.
    let in_the_way = directory.join(format!("control.{}.new", std::process::id()));
    fs::create_dir(&in_the_way).unwrap();
    place.point_to(std::process::id());
    assert!(!path.exists());
    fs::remove_dir(&in_the_way).unwrap();
    let deadline = Instant::now() + Duration::from_secs(60);
    while !path.exists() {
        assert!(Instant::now() < deadline, "{path:?} still leads nowhere");
        std::thread::sleep(Duration::from_millis(10));
    }
    // What was to be overtaken is.
    fs::create_dir(&in_the_way).unwrap();
    place.point_to(std::process::id());
    let other = UnixListener::bind(directory.join("control.77.heirloom")).unwrap();
    fs::remove_dir(&in_the_way).unwrap();
    place.point_to(77);
    // What was put off is done now.
    FILES.finish(Duration::from_secs(60));
    assert_eq!(fs::read_link(&path).unwrap(), Path::new("control.77.heirloom"));
    drop(other);
    fs::remove_dir_all(directory).unwrap();
}

#[test]
fn what_a_killed_server_left_is_cleared_away() {
    let _guard = drops_at_once();
    let directory = scratch("place-killed");
    let path = directory.join("control");
    let stale = directory.join("control.77.heirloom");
    drop(UnixListener::bind(&stale).unwrap());
    let alive = UnixListener::bind(directory.join("control.78.heirloom")).unwrap();
    let stranger = directory.join("other.77.heirloom");
    drop(UnixListener::bind(&stranger).unwrap());
    symlink("control.77.heirloom", &path).unwrap();
    let own = directory.join(format!("control.{}.heirloom", std::process::id()));
    drop(UnixListener::bind(&own).unwrap());
    let (_listener, place) = Place::take(&Wanted::At(path.clone()), None).unwrap();
    let place = Arc::new(place);
    assert!(!stale.exists() && stranger.exists() && directory.join("control.78.heirloom").exists());
    place.point_to(std::process::id());
    UnixStream::connect(&path).unwrap();
    drop(alive);
    fs::remove_dir_all(directory).unwrap();
}

#[test]
fn what_is_not_ours_is_left_alone() {
    let directory = scratch("place-strange");
    let path = directory.join("control");
    fs::write(&path, "precious").unwrap();
    let refused = Place::take(&Wanted::At(path.clone()), None).unwrap_err();
    assert!(matches!(refused, ControlError::InTheWay { .. }), "{refused}");
    assert_eq!(fs::read_dir(&directory).unwrap().count(), 1, "not even a lock");
    let open = directory.join("open");
    fs::create_dir(&open).unwrap();
    fs::set_permissions(&open, fs::Permissions::from_mode(0o755)).unwrap();
    assert!(matches!(prepare(&open), Err(ControlError::NotOurs { .. })));
    symlink("/tmp", directory.join("link")).unwrap();
    assert!(matches!(prepare(&directory.join("link")), Err(ControlError::NotOurs { .. })));
    let long = directory.join("x".repeat(200));
    assert!(matches!(Place::take(&Wanted::At(long), None), Err(ControlError::Other { .. })));
    fs::remove_dir_all(directory).unwrap();
}

#[test]
fn the_socket_of_another_generation_lies_beside() {
    let beside = |own: &str| sibling(Path::new(own), 7).unwrap();
    assert_eq!(beside("/run/heirloom/4711.heirloom"), Path::new("/run/heirloom/7.heirloom"));
    assert_eq!(beside("/run/app.4711.heirloom"), Path::new("/run/app.7.heirloom"));
    assert_eq!(sibling(Path::new("/run/app.sock"), 7), None);
}
