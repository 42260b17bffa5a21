//! Every datagram of a conversation reaches the generation that it began with.

use support::{Setup, Signal, beside_others, proc, says};

use super::clients::{Conversation, Crowd, Outcome, Report, address, flows};

/// What is kept while a few restarts follow each other, and those of one mode or another.
fn crowd_through_restarts(name: &str, args: &[&str], restarts: usize) -> Report {
    let server = Setup::example("conversing").args(args).args(&["--probation", "50ms"]).start();
    let asked = std::env::var("HEIRLOOM_UDP_RESTARTS").ok().and_then(|count| count.parse().ok());
    let restarts = asked.unwrap_or(restarts);
    let is_supervised = args.contains(&"--supervised");
    let mut serving = server.first_pid;
    let crowd = Crowd::begin(address(&server), 16);
    for _ in 0..restarts {
        crowd.wait_for(200);
        let mark = server.mark();
        proc::signal(serving, Signal::SIGUSR2);
        if is_supervised {
            server.wait_for_line(mark, "worker settled");
        } else {
            serving = server.wait_for_settled(mark);
        }
    }
    crowd.wait_for(200);
    let report = crowd.end();
    println!("{:<12}  {}\n{name:<12}  {report}   ({restarts} restarts)", "", Report::HEADER);
    report
}

#[test]
fn g2_a_conversation_stays_where_it_began_by_its_address() {
    let _shared = beside_others();
    let report = crowd_through_restarts("flows", &["--how", "by-peer"], 5);
    assert_eq!(Report { conversations: 0, kept: 0, ..report }, Report::default());
}

#[test]
fn g2_a_conversation_stays_where_it_began_by_its_id() {
    let _shared = beside_others();
    let report = crowd_through_restarts("flows by id", &["--how", "by-id", "--drain-timeout", "20s"], 3);
    assert_eq!(Report { conversations: 0, kept: 0, ..report }, Report::default());
}

#[test]
fn g2_a_conversation_stays_where_it_began_under_a_supervisor() {
    let _shared = beside_others();
    let report = crowd_through_restarts("supervised", &["--supervised", "yes"], 3);
    assert_eq!(Report { conversations: 0, kept: 0, ..report }, Report::default());
}

#[test]
fn without_flows_conversations_break() {
    let _shared = beside_others();
    let report = crowd_through_restarts("plain", &["--how", "plain"], 3);
    assert!(report.broken > 0, "so the tests beside this one can fail: {report}");
}

#[test]
fn g2_four_generations_at_once_have_their_own() {
    let _shared = beside_others();
    let server = Setup::example("conversing").args(&["--probation", "50ms", "--idle", "30s"]).start();
    let mut conversations = vec![Conversation::begun(address(&server))];
    for generation in 2..=4 {
        let mark = server.mark();
        proc::signal(conversations.last().unwrap().pid, Signal::SIGUSR2);
        server.wait_for_line(mark, says::SETTLED);
        let new = Conversation::begun(address(&server));
        assert_eq!(new.generation, generation);
        conversations.push(new);
    }
    for _ in 0..20 {
        for conversation in &mut conversations {
            assert_eq!(conversation.say(), Outcome::Kept, "generation {}", conversation.generation);
        }
    }
}

#[test]
fn g2_a_stream_goes_on_in_order_through_forwarding() {
    let _shared = beside_others();
    let server = Setup::example("conversing").args(&["--probation", "50ms", "--idle", "30s"]).start();
    let mut old = Conversation::begun(address(&server));
    let direct = old.stream(5_000);
    let mark = server.mark();
    proc::signal(old.pid, Signal::SIGUSR2);
    server.wait_for_line(mark, says::SETTLED);
    let forwarded = old.stream(5_000);
    println!("5,000 datagrams there and back: {direct:?} direct, {forwarded:?} forwarded");
}

#[test]
fn by_its_id_a_conversation_may_change_its_address_in_a_drain() {
    let _shared = beside_others();
    let server = Setup::example("conversing").args(&["--probation", "50ms", "--how", "by-id"]).start();
    let mut conversation = Conversation::begun(address(&server));
    for _ in 0..3 {
        let mark = server.mark();
        let newest = Conversation::begun(address(&server)).pid;
        proc::signal(newest, Signal::SIGUSR2);
        server.wait_for_line(mark, says::SETTLED);
        conversation.move_to_another_port();
        assert_eq!(conversation.say(), Outcome::Kept);
    }
}

#[test]
fn g5_a_generation_whose_conversations_are_idle_ends() {
    let _shared = beside_others();
    let server = Setup::example("conversing").args(&["--probation", "50ms", "--idle", "300ms"]).start();
    let old = Conversation::begun(address(&server));
    let mark = server.mark();
    proc::signal(old.pid, Signal::SIGUSR2);
    server.wait_for_line(mark, says::SETTLED);
    server.wait_for_line(mark, "no more conversations: generation 1");
    server.wait_for_exit(old.pid);
    // Its peer begins anew, and the successor notices the end by itself.
    server.wait_for_line(mark, "an older generation's conversations have ended");
    let new = Conversation::begun(address(&server));
    assert_eq!(new.generation, 2);
}

#[test]
fn g5_a_conversation_that_lasts_ends_at_the_drain_deadline() {
    let _shared = beside_others();
    let args = ["--probation", "50ms", "--idle", "100s", "--drain-timeout", "300ms"];
    let server = Setup::example("conversing").args(&args).start();
    let mut old = Conversation::begun(address(&server));
    let mark = server.mark();
    proc::signal(old.pid, Signal::SIGUSR2);
    server.wait_for_line(mark, says::SETTLED);
    server.wait_for_exit(old.pid);
    server.wait_for_line(mark, "an older generation's conversations have ended");
    assert_eq!(old.say(), Outcome::Elsewhere);
}

#[test]
fn g6_the_status_has_flows_by_generation() {
    let _shared = beside_others();
    let server = Setup::example("conversing").args(&["--probation", "50ms", "--idle", "30s"]).start();
    let mut first: Vec<_> = (0..3).map(|_| Conversation::begun(address(&server))).collect();
    let mark = server.mark();
    proc::signal(first[0].pid, Signal::SIGUSR2);
    server.wait_for_line(mark, says::SETTLED);
    let second = Conversation::begun(address(&server));
    first.iter_mut().for_each(|conversation| assert_eq!(conversation.say(), Outcome::Kept));
    let flows = flows(second.pid);
    assert!(flows.reads, "{flows:?}");
    assert_eq!((flows.forwarded, flows.dropped, flows.unknown), (3, 0, 0), "{flows:?}");
    let by_generation: Vec<_> =
        flows.by_generation.iter().map(|(number, count)| (&number[..], *count)).collect();
    assert_eq!(by_generation, [("1", 3), ("2", 1)]);
}
