//! What operators see of connections, whichever process they look at.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use heirloom::control::{Client, Reply, Request, socket_of};
use support::operator::{code, heirloom};
use support::{PATIENCE, beside_others, proc};

use super::{ask, connect, start};

/// Connections by generation, as this process alone says it.
fn by_generation(pid: i32) -> BTreeMap<String, u64> {
    let (socket, deadline) = (socket_of(pid.cast_unsigned()).unwrap(), Some(Instant::now() + PATIENCE));
    let reply = Client::ask(&socket, &Request::Status, deadline).unwrap().next(deadline).unwrap();
    let Some(Reply::Status(status)) = reply else { panic!("{reply:?}") };
    let own = status.generations.iter().find(|generation| generation.pid == pid.cast_unsigned()).unwrap();
    own.detail.as_ref().unwrap().flows[0].by_generation.clone()
}

/// Waits until it says so: what it knows of other processes they tell it once a second.
fn wait_until(pid: i32, expected: &[(&str, u64)]) {
    let expected: BTreeMap<_, _> =
        expected.iter().map(|(name, count)| ((*name).to_owned(), *count)).collect();
    let deadline = Instant::now() + PATIENCE;
    loop {
        let said = by_generation(pid);
        if said == expected {
            return;
        }
        assert!(Instant::now() < deadline, "{said:?}, not {expected:?}");
        // allow: sleep (as often as somebody looks at a status)
        std::thread::sleep(Duration::from_millis(100));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_newest_process_knows_what_older_ones_have() {
    let _shared = tokio::task::block_in_place(beside_others);
    let served = start(&["--drain-timeout", "100s"]);
    let (client, address) = (served.client(), served.address());
    let (one, two) = (connect(&client, address).await.unwrap(), connect(&client, address).await.unwrap());
    let (first, mut serving, mut later) = (served.server.first_pid, served.server.first_pid, Vec::new());
    for _ in 0..2 {
        serving = served.restart(serving).await;
        later.push(connect(&client, address).await.unwrap());
        assert_eq!(ask(later.last().unwrap()).await.unwrap(), serving);
    }
    assert_eq!((ask(&one).await.unwrap(), ask(&two).await.unwrap()), (first, first));
    tokio::task::block_in_place(|| wait_until(serving, &[("1", 2), ("2", 1), ("3", 1)]));
    // Each knows its own by itself, and those who read no more know of no others.
    assert_eq!(tokio::task::block_in_place(|| by_generation(first)), [("1".to_owned(), 2)].into());

    let said = tokio::task::block_in_place(|| heirloom(&["status", "--pid", &serving.to_string()]));
    let told = said.is(code::DONE, &["CONVERSATIONS", "is still there for 2 conversations over datagrams"]);
    let row = told.stdout.lines().find(|line| line.starts_with(&format!("{first} "))).unwrap_or_default();
    let cells: Vec<_> = row.split_whitespace().collect();
    assert_eq!(cells[..3], [&first.to_string(), "1", "draining"], "{told:?}");
    assert!(row.contains(" 2  "), "{told:?}");

    two.close(0_u32.into(), b"");
    tokio::task::block_in_place(|| wait_until(serving, &[("1", 1), ("2", 1), ("3", 1)]));
    one.close(0_u32.into(), b"");
    tokio::task::block_in_place(|| served.server.wait_for_exit(first));
    tokio::task::block_in_place(|| wait_until(serving, &[("2", 1), ("3", 1)]));
    assert!(proc::is_alive(serving));
}
