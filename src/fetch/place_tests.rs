use super::*;

struct Directory(PathBuf);

impl Directory {
    fn new(name: &str) -> Directory {
        let path = std::env::temp_dir().join(format!("heirloom-place-{}-{name}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Directory(path)
    }

    fn place(&self) -> Place {
        Place::new(self.0.join("app"))
    }

    fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(&self.0).unwrap();
        let mut names: Vec<_> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn temporary(place: &Place, bytes: &str) -> Temporary {
    let path = place.temporary();
    let (_, temporary) = Temporary::create(&path).unwrap();
    fs::write(path, bytes).unwrap();
    temporary
}

#[test]
fn a_new_one_keeps_the_mode_and_the_previous_one() {
    let directory = Directory::new("mode");
    let place = directory.place();
    assert_eq!(place.install(temporary(&place, "1")).unwrap(), Previous::None);
    assert_eq!(fs::metadata(place.path()).unwrap().mode() & 0o7777, 0o755);
    assert!(matches!(place.roll_back(), Err(InstallError::NoPrevious { .. })));
    fs::set_permissions(place.path(), fs::Permissions::from_mode(0o750)).unwrap();
    for (version, before) in [("2", "1"), ("3", "2")] {
        assert_eq!(place.install(temporary(&place, version)).unwrap(), Previous::Kept);
        assert_eq!(fs::read_to_string(place.path()).unwrap(), version);
        assert_eq!(fs::read_to_string(place.previous()).unwrap(), before);
        assert_eq!(fs::metadata(place.path()).unwrap().mode() & 0o7777, 0o750);
    }
    place.roll_back().unwrap();
    assert_eq!(fs::read_to_string(place.path()).unwrap(), "2");
    assert_eq!(directory.names(), ["app"]);
}

#[test]
fn a_link_stays_a_link() {
    let directory = Directory::new("link");
    let release = directory.0.join("app-1");
    fs::write(&release, "1").unwrap();
    std::os::unix::fs::symlink("app-1", directory.0.join("app")).unwrap();
    let place = directory.place();
    place.install(temporary(&place, "2")).unwrap();
    assert_eq!(fs::read_link(place.path()).unwrap(), Path::new("app-1"));
    assert_eq!(fs::read_to_string(&release).unwrap(), "2");
    place.roll_back().unwrap();
    assert_eq!(fs::read_to_string(place.path()).unwrap(), "1");
    assert_eq!(directory.names(), ["app", "app-1"]);
}

#[test]
fn one_at_a_time_and_who_works_here_cleans_up() {
    let directory = Directory::new("lock");
    let place = directory.place();
    std::mem::forget(temporary(&place, "half of"));
    fs::write(directory.0.join(".other.heirloom-fetch-1-1"), "another program's").unwrap();
    let lock = place.lock().unwrap().unwrap();
    assert!(place.lock().unwrap().is_none());
    place.clean(&lock);
    assert_eq!(directory.names(), [".app.heirloom-fetch.lock", ".other.heirloom-fetch-1-1"]);
    drop(lock);
    assert!(place.lock().unwrap().is_some());
}

#[test]
fn a_lock_is_its_owners_alone_and_no_link_fifo_or_directory() {
    use std::os::unix::fs::symlink;
    let directory = Directory::new("lock-file");
    let place = directory.place();
    let path = place.lock_path();
    // As an earlier release has made it.
    fs::write(&path, "").unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    drop(place.lock().unwrap().unwrap());
    assert_eq!(fs::metadata(&path).unwrap().mode() & 0o7777, 0o600);
    let refused = || assert!(matches!(place.lock(), Err(InstallError::NotALock { .. })));
    fs::remove_file(&path).unwrap();
    symlink("elsewhere", &path).unwrap();
    refused();
    assert!(!directory.0.join("elsewhere").exists());
    fs::remove_file(&path).unwrap();
    nix::unistd::mkfifo(&path, nix::sys::stat::Mode::from_bits_truncate(0o600)).unwrap();
    refused();
    fs::remove_file(&path).unwrap();
    fs::create_dir(&path).unwrap();
    refused();
}

#[test]
fn what_is_not_used_is_removed() {
    let directory = Directory::new("unused");
    let place = directory.place();
    drop(temporary(&place, "1"));
    assert!(directory.names().is_empty());
    let other = Place::new(directory.0.join("missing/app"));
    let error = other.lock().unwrap_err().to_string();
    assert!(error.contains("missing"), "{error}");
}
