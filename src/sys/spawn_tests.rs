//! Each test with a real child.

use super::*;
use crate::sys::alone::{alone, await_exit, fill_fds, limit_fds, open_fds, scratch, starts_processes};
use crate::sys::pidfd::Exit;
use std::fs::File;
use std::io::{Read, Seek, Write, pipe};
use std::os::unix::fs::PermissionsExt;

fn request<'fd>(program: impl Into<PathBuf>, arguments: &[&str]) -> Spawn<'fd> {
    let program = program.into();
    let argv = [program.clone().into_os_string()].into_iter().chain(arguments.iter().map(OsString::from));
    Spawn {
        argv: argv.collect(),
        program,
        env: Vec::new(),
        directory: None,
        fds: Vec::new(),
        blocked: Vec::new(),
        defaults: Vec::new(),
    }
}

fn shell<'fd>(script: &str) -> Spawn<'fd> {
    request("/bin/sh", &["-c", script])
}

fn succeed(request: &Spawn<'_>) {
    let spawned = spawn(request).unwrap();
    await_exit(&spawned.pidfd);
    assert_eq!(spawned.pidfd.reap().unwrap(), Some(Exit::Code(0)));
}

/// What the child prints before it exits with 0.
fn said(request: &Spawn<'_>) -> String {
    let (mut reader, writer) = pipe().unwrap();
    let mut request = request.clone();
    request.fds.push((writer.as_fd(), 1));
    let spawned = spawn(&request).unwrap();
    drop(writer);
    let mut said = String::new();
    reader.read_to_string(&mut said).unwrap();
    await_exit(&spawned.pidfd);
    assert_eq!(spawned.pidfd.reap().unwrap(), Some(Exit::Code(0)), "{said}");
    said
}

/// Every source arrives at its target, whatever the order, and even if one writes over another.
#[test]
fn no_source_is_written_over_before_its_turn() {
    let files: Vec<OwnedFd> = (0..12).map(|_| File::open("/dev/null").unwrap().into()).collect();
    let numbers: Vec<RawFd> = files.iter().map(AsRawFd::as_raw_fd).collect();
    let mut random = 1_u32;
    let mut below = |limit: usize| {
        random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (random >> 16) as usize % limit
    };
    for _ in 0..2000 {
        // Among them shifts, circles, the same source twice, and such as stay in their place.
        let mut targets: Vec<RawFd> = numbers.iter().copied().chain(500..504).collect();
        let count = 1 + below(targets.len());
        let fds: Vec<_> = (0..count)
            .map(|_| (files[below(files.len())].as_fd(), targets.swap_remove(below(targets.len()))))
            .collect();
        let (order, copies) = in_order(&fds).unwrap();
        let mut table: BTreeMap<RawFd, RawFd> = numbers.iter().map(|number| (*number, *number)).collect();
        for (copy, (source, _)) in copies.iter().zip(&fds) {
            table.extend(copy.as_ref().map(|copy| (copy.as_raw_fd(), source.as_raw_fd())));
        }
        for at in order {
            let source = copies[at].as_ref().map_or(fds[at].0, AsFd::as_fd);
            table.insert(fds[at].1, table[&source.as_raw_fd()]);
        }
        assert!(fds.iter().all(|(source, target)| table[target] == source.as_raw_fd()), "{fds:?} {copies:?}");
    }
}

#[test]
fn what_only_moves_down_needs_no_copies() {
    let files: Vec<OwnedFd> = (0..100).map(|_| File::open("/dev/null").unwrap().into()).collect();
    let lowest = files.iter().map(AsRawFd::as_raw_fd).min().unwrap();
    let fds: Vec<_> = files.iter().map(AsFd::as_fd).zip(lowest - 1..).collect();
    let (order, copies) = in_order(&fds).unwrap();
    assert_eq!(order.len(), 100);
    // Between other tests' numbers the row may have gaps, but it has no circle.
    assert!(copies.iter().all(Option::is_none));
}

#[test]
fn arguments_environment_and_directory_arrive() {
    let _guard = starts_processes();
    let mut request = shell(r#"printf '%s|' "$0" "$1" "$GREETING" "$(env | grep -c =)"; pwd -P"#);
    request.argv.extend(["zero".into(), "one two".into()]);
    request.env = vec![("GREETING".into(), "hello".into())];
    request.directory = Some("/proc/self".into());
    let text = said(&request);
    let (rest, directory) = text.rsplit_once('|').unwrap();
    assert!(rest.starts_with("zero|one two|hello|"), "{rest}");
    // The directory was opened here, so "self" is this process.
    assert_eq!(directory, format!("/proc/{}\n", std::process::id()));
}

#[test]
fn descriptors_that_swap_places_arrive_whole() {
    alone("sys::spawn::tests::descriptors_that_swap_places_arrive_whole", &[], || {
        let directory = scratch("swap");
        let open = |name: &str| {
            std::fs::write(directory.join(name), name).unwrap();
            File::open(directory.join(name)).unwrap()
        };
        let (a, b, c, d) = (open("a"), open("b"), open("c"), open("d"));
        let numbers = [&a, &b, &c, &d].map(|file| file.as_raw_fd());
        assert_eq!(numbers, [3, 4, 5, 6], "this process was started with more open than it should");
        // A swap, a source that stays where it is, and one that others write over.
        let mut swap = shell("cat <&3; cat <&4; cat <&5; cat <&6");
        swap.fds = vec![(b.as_fd(), 3), (a.as_fd(), 4), (c.as_fd(), 5), (d.as_fd(), 6)];
        assert_eq!(said(&swap), "bacd");
        // Nothing else arrives: the copies that made the swap possible stay here.
        let count = |fds| said(&Spawn { fds, ..request("/bin/ls", &["/proc/self/fd"]) }).lines().count();
        assert_eq!(count(swap.fds), count(Vec::new()) + 4);
        // In every order of the actions.
        for turn in 0..4 {
            let mut fds = vec![(a.as_fd(), 6), (b.as_fd(), 3), (c.as_fd(), 4), (d.as_fd(), 5)];
            fds.rotate_left(turn);
            let mut request = shell("cat <&3; cat <&4; cat <&5; cat <&6");
            request.fds = fds;
            for mut file in [&a, &b, &c, &d] {
                file.rewind().unwrap();
            }
            assert_eq!(said(&request), "bcda", "turn {turn}");
        }
        std::fs::remove_dir_all(directory).unwrap();
    });
}

#[test]
fn a_descriptor_that_stays_where_it_is_survives_the_exec() {
    let _guard = starts_processes();
    let file = File::open("/dev/null").unwrap();
    let number = file.as_raw_fd();
    let mut request = shell(&format!("readlink /proc/self/fd/{number}"));
    request.fds = vec![(file.as_fd(), number)];
    assert_eq!(said(&request), "/dev/null\n");
    // And only in the child.
    let flags = fcntl(&file, FcntlArg::F_GETFD).unwrap();
    assert_eq!(flags, libc::FD_CLOEXEC);
}

#[test]
fn the_directory_is_entered_whatever_number_it_has() {
    alone("sys::spawn::tests::the_directory_is_entered_whatever_number_it_has", &[], || {
        let file = File::open("/dev/null").unwrap();
        let mut request = shell("pwd; readlink /proc/self/fd/3 /proc/self/fd/4 /proc/self/fd/5");
        request.directory = Some("/proc".into());
        request.fds = vec![(file.as_fd(), 3), (file.as_fd(), 4), (file.as_fd(), 5)];
        assert_eq!(said(&request), "/proc\n/dev/null\n/dev/null\n/dev/null\n");
    });
}

#[test]
fn a_target_is_asked_for_once() {
    let _guard = starts_processes();
    let file = File::open("/dev/null").unwrap();
    for targets in [[3, 3], [3, -1], [3, RawFd::MAX]] {
        let mut request = request("/bin/true", &[]);
        request.fds = targets.iter().map(|target| (file.as_fd(), *target)).collect();
        let error = spawn(&request).unwrap_err();
        assert!(matches!(error, SpawnError::Target { target, .. } if target == targets[1]), "{error}");
    }
}

fn signal_line(said: &str, name: &str) -> u64 {
    let line = said.lines().find_map(|line| line.strip_prefix(name)).unwrap();
    u64::from_str_radix(line.trim(), 16).unwrap()
}

fn bits(signals: &[c_int]) -> u64 {
    signals.iter().map(|signal| 1 << (signal - 1)).sum()
}

#[test]
fn mask_and_dispositions_are_as_asked() {
    alone("sys::spawn::tests::mask_and_dispositions_are_as_asked", &[libc::SIGTERM], || {
        for signal in [libc::SIGUSR1, libc::SIGUSR2, libc::SIGPIPE] {
            // SAFETY: SIG_IGN runs no code, and this process runs this test alone.
            unsafe { libc::signal(signal, libc::SIG_IGN) };
        }
        let mut request = request("/bin/cat", &["/proc/self/status"]);
        request.blocked = vec![libc::SIGHUP, libc::SIGUSR2, 40];
        request.defaults = vec![libc::SIGUSR2, libc::SIGPIPE];
        let status = said(&request);
        // Not SIGTERM, which this thread blocks.
        assert_eq!(signal_line(&status, "SigBlk:"), bits(&request.blocked));
        let ignored = signal_line(&status, "SigIgn:");
        assert_eq!(ignored & bits(&[libc::SIGUSR1, libc::SIGUSR2, libc::SIGPIPE]), bits(&[libc::SIGUSR1]));
        assert_eq!(signal_line(&status, "SigCgt:"), 0);
    });
}

#[test]
fn a_signal_before_the_handlers_waits_for_them() {
    let _guard = starts_processes();
    let (gate, mut opener) = pipe().unwrap();
    let (mut reader, writer) = pipe().unwrap();
    let mut request = shell("read line; exec cat /proc/self/status");
    request.blocked = vec![libc::SIGHUP];
    request.fds = vec![(gate.as_fd(), 0), (writer.as_fd(), 1)];
    let spawned = spawn(&request).unwrap();
    assert!(spawned.pid > 0);
    spawned.pidfd.signal(libc::SIGHUP).unwrap();
    opener.write_all(b"\n").unwrap();
    await_exit(&spawned.pidfd);
    assert_eq!(spawned.pidfd.reap().unwrap(), Some(Exit::Code(0)));
    drop(writer);
    let mut status = String::new();
    reader.read_to_string(&mut status).unwrap();
    assert_eq!(signal_line(&status, "ShdPnd:"), bits(&[libc::SIGHUP]));
}

#[test]
fn a_signal_that_cannot_be_blocked_by_number_is_an_error() {
    let _guard = starts_processes();
    let mut request = request("/bin/true", &[]);
    request.blocked = vec![99];
    assert!(matches!(spawn(&request), Err(SpawnError::Other { .. })));
}

/// A file that is executable and holds these bytes.
fn program(directory: &Path, name: &str, bytes: &[u8]) -> PathBuf {
    let path = directory.join(name);
    std::fs::write(&path, bytes).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    path
}

#[test]
fn each_reason_has_its_name() {
    // Alone, since a child that another test starts at the wrong moment keeps a file open for writing for as
    // long as it takes to exec, and that is ETXTBSY here.
    alone("sys::spawn::tests::each_reason_has_its_name", &[], || {
        let directory = scratch("reasons");
        let fail = |path: &Path| spawn(&request(path, &[])).unwrap_err();

        let missing = directory.join("missing");
        let error = fail(&missing);
        assert!(matches!(&error, SpawnError::NotFound { program } if *program == missing), "{error}");
        assert!(error.to_string().contains(missing.to_str().unwrap()), "{error}");
        let error = fail(&program(&directory, "file", b"").join("below"));
        assert!(matches!(error, SpawnError::NotFound { .. }), "{error}");

        let error = fail(&directory);
        assert!(matches!(error, SpawnError::NotExecutable { .. }), "{error}");
        let plain = program(&directory, "plain", b"#!/bin/sh\n");
        std::fs::set_permissions(&plain, std::fs::Permissions::from_mode(0o644)).unwrap();
        let error = fail(&plain);
        assert!(matches!(error, SpawnError::NotExecutable { .. }), "{error}");

        let own = std::fs::read(std::env::current_exe().unwrap()).unwrap();
        let mut foreign = own.clone();
        // e_machine: 2 is SPARC.
        foreign[18..20].copy_from_slice(&2_u16.to_ne_bytes());
        let contents = [
            ("empty", &b""[..]),
            ("garbage", b"\x00garbage\xff\n"),
            ("foreign", &foreign),
            ("cut", &own[..64]),
        ];
        for (name, bytes) in contents {
            let error = fail(&program(&directory, name, bytes));
            assert!(matches!(error, SpawnError::NotAProgram { .. }), "{name}: {error:?}");
        }
        let error = fail(&program(&directory, "script", b"#!/nowhere/interpreter\n"));
        assert!(matches!(error, SpawnError::NoInterpreter { .. }), "{error:?}");

        let busy = program(&directory, "busy", &own);
        let writing = std::fs::OpenOptions::new().append(true).open(&busy).unwrap();
        let error = fail(&busy);
        assert!(matches!(error, SpawnError::Busy { .. }), "{error:?}");
        drop(writing);

        let mut large = request("/bin/true", &[]);
        large.env = vec![("LARGE".into(), "x".repeat(256 * 1024).into())];
        let error = spawn(&large).unwrap_err();
        assert!(matches!(error, SpawnError::TooLarge { .. }), "{error:?}");

        let gone = directory.join("gone");
        std::fs::create_dir(&gone).unwrap();
        let held = File::open(&gone).unwrap();
        let through = PathBuf::from(format!("/proc/self/fd/{}", held.as_raw_fd()));
        std::fs::remove_dir(&gone).unwrap();
        // Nobody can find it by name any more, but who holds it can still start there.
        let mut nameless = request("/bin/true", &[]);
        nameless.directory = Some(through);
        succeed(&nameless);
        for place in [gone, plain, "/nowhere".into()] {
            let mut request = request("/bin/true", &[]);
            request.directory = Some(place.clone());
            match spawn(&request).unwrap_err() {
                SpawnError::Directory { directory, .. } => assert_eq!(directory, place),
                error => panic!("{}: {error:?}", place.display()),
            }
        }

        let mut nul = request("/bin/true", &["a\0b"]);
        let error = spawn(&nul).unwrap_err();
        assert_eq!(error.to_string(), "cannot start /bin/true: one of its arguments contains a NUL byte");
        nul.argv.truncate(1);
        nul.env = vec![("NAME".into(), "a\0b".into())];
        assert!(matches!(spawn(&nul), Err(SpawnError::Nul { .. })));
        nul.program = "/bin/\0".into();
        assert!(matches!(spawn(&nul), Err(SpawnError::Nul { what: "its path", .. })));
        std::fs::remove_dir_all(directory).unwrap();
    });
}

#[test]
fn a_child_that_cannot_be_held_is_gone() {
    fn refuse(_pid: i32) -> io::Result<Pidfd> {
        Err(Errno::EMFILE.into())
    }
    alone("sys::spawn::tests::a_child_that_cannot_be_held_is_gone", &[], || {
        let (reader, writer) = pipe().unwrap();
        let mut request = request("/bin/cat", &[]);
        request.fds = vec![(reader.as_fd(), 0)];
        let error = spawn_with(&request, refuse).unwrap_err();
        assert!(matches!(error, SpawnError::Descriptors { .. }), "{error:?}");
        let left = nix::sys::wait::waitpid(None, Some(nix::sys::wait::WaitPidFlag::WNOHANG));
        assert_eq!(left, Err(Errno::ECHILD));
        drop(writer);
    });
}

#[test]
fn without_descriptors_there_is_no_child_and_later_there_is() {
    alone("sys::spawn::tests::without_descriptors_there_is_no_child_and_later_there_is", &[], || {
        limit_fds(32);
        let before = open_fds();
        let mut filler = fill_fds();
        let last = filler.last().unwrap().as_fd().try_clone_to_owned();
        assert_eq!(last.unwrap_err().raw_os_error(), Some(libc::EMFILE));
        let (first, rest) = filler.split_first().unwrap();
        let mut swap = request("/bin/true", &[]);
        swap.fds = vec![(first.as_fd(), rest[0].as_raw_fd()), (rest[0].as_fd(), first.as_raw_fd())];
        let mut elsewhere = request("/bin/true", &[]);
        elsewhere.directory = Some("/".into());
        for request in [&swap, &elsewhere, &request("/bin/true", &[])] {
            let error = spawn_with(request, |pid| panic!("started as {pid}")).unwrap_err();
            assert!(matches!(error, SpawnError::Descriptors { .. }), "{error:?}");
        }
        let left = nix::sys::wait::waitpid(None, Some(nix::sys::wait::WaitPidFlag::WNOHANG));
        assert_eq!(left, Err(Errno::ECHILD));
        // A number above the limit cannot be moved to either.
        swap.fds[1].1 = 1000;
        swap.fds[0].1 = swap.fds[1].0.as_raw_fd();
        assert!(matches!(spawn(&swap), Err(SpawnError::Descriptors { .. })));
        // One is enough for a child.
        filler.pop();
        succeed(&request("/bin/true", &[]));
        drop(filler);
        assert_eq!(open_fds(), before);
    });
}

#[test]
fn a_thousand_children_leave_nothing_behind() {
    alone("sys::spawn::tests::a_thousand_children_leave_nothing_behind", &[], || {
        let (near, far) = crate::sys::channel::Channel::pair().unwrap();
        let null = File::open("/dev/null").unwrap();
        let before = open_fds();
        for round in 0..1000 {
            let mut request = request("/bin/true", &[]);
            request.directory = Some("/".into());
            request.fds = vec![(far.as_fd(), 3), (null.as_fd(), 4), (near.as_fd(), 5)];
            if round % 4 == 3 {
                request.program = "/nowhere".into();
                spawn(&request).unwrap_err();
            } else {
                succeed(&request);
            }
        }
        assert_eq!(open_fds(), before);
        let left = nix::sys::wait::waitpid(None, Some(nix::sys::wait::WaitPidFlag::WNOHANG));
        assert_eq!(left, Err(Errno::ECHILD));
    });
}
