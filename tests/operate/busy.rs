//! The control socket of a program whose runtime does nothing but wait.

use std::time::{Duration, Instant};

use heirloom::Restarter;
use heirloom::control::{Client, ClientError, Reply, Request, Role, socket_of};

#[tokio::test]
async fn it_answers_while_the_programs_only_thread_is_blocked() {
    let restarter = Restarter::bare().control(true).start().unwrap();
    restarter.ready().await.unwrap();
    let deadline = Some(Instant::now() + Duration::from_secs(20));
    // All of this blocks the thread of the runtime.
    let socket = socket_of(std::process::id()).unwrap();
    let mut client = Client::ask(&socket, &Request::Status, deadline).unwrap();
    let Some(Reply::Status(status)) = client.next(deadline).unwrap() else { panic!("a status") };
    assert_eq!((status.serving, status.generations[0].role), (Some(std::process::id()), Role::Serving));
    assert!(client.next(deadline).unwrap().is_none(), "one request for each connection");
    let mut client = Client::ask(&socket, &Request::Hammer, deadline).unwrap();
    while !matches!(client.next(deadline).unwrap(), Some(Reply::Drained { aborted: 0, .. })) {}
    assert!(!socket.exists(), "its file goes with it");
    assert!(matches!(Client::ask(&socket, &Request::Status, deadline), Err(ClientError::Gone { .. })));
    restarter.ended().await;
}
