use super::Action::*;
use super::*;
use crate::handover::message::Takes;

const START: Duration = Duration::from_secs(60);
const PROBATION: Duration = Duration::from_secs(1);
const BRIEF: Duration = Duration::from_millis(1);

fn idle() -> Launch {
    Launch::new(START, PROBATION)
}

fn starting(now: Instant) -> Launch {
    let mut launch = idle();
    assert_eq!(launch.request(now), Ok(Requested::Started));
    assert_eq!(actions(&mut launch), [Report(super::Report::Starting), Spawn]);
    launch.spawned();
    launch
}

/// Of a successor that does not answer, as those of older releases.
fn in_probation(now: Instant) -> Launch {
    let mut launch = starting(now);
    launch.message(now, Message::Ready { unclaimed: vec![1], takes: Takes::ALL, answers: false });
    actions(&mut launch);
    launch
}

fn committed(now: Instant, probation: Duration) -> Launch {
    let mut launch = Launch::new(START, probation);
    launch.request(now).unwrap();
    launch.message(now, Message::Ready { unclaimed: vec![1], takes: Takes::ALL, answers: true });
    actions(&mut launch);
    launch
}

fn settling(now: Instant) -> Launch {
    let mut launch = in_probation(now);
    launch.timeout(now + PROBATION);
    assert_eq!(actions(&mut launch), [Announce]);
    launch
}

fn settled(now: Instant) -> Launch {
    let mut launch = settling(now);
    launch.announced();
    actions(&mut launch);
    launch
}

fn actions(launch: &mut Launch) -> Vec<Action> {
    std::iter::from_fn(|| launch.poll_action()).collect()
}

fn death() -> Failure {
    Failure::Died { how: "was killed by signal 9".into() }
}

fn gave_up() -> Failure {
    Failure::Reported { reason: "no config".into() }
}

fn failed(why: Failure) -> Action {
    Report(super::Report::Failed(why))
}

fn taken_back(why: Failure) -> Action {
    Report(super::Report::TakenBack(why))
}

/// It serves as if nothing had happened, and the next restart starts.
fn assert_serves_on(mut launch: Launch, now: Instant) {
    assert!(launch.owns_service() && !launch.in_progress());
    assert_eq!(launch.deadline(), None);
    assert_eq!(launch.request(now), Ok(Requested::Started));
}

#[test]
fn ready_stops_accepting_before_the_commit() {
    let now = Instant::now();
    let mut launch = starting(now);
    launch.message(now, Message::Ready { unclaimed: vec![1], takes: Takes::ALL, answers: false });
    let commit = Message::Commit { probation: PROBATION };
    assert_eq!(
        actions(&mut launch),
        [PauseAccepting { unclaimed: vec![1] }, Send(commit), Report(super::Report::Ready)]
    );
    assert_eq!(launch.deadline(), Some(now + PROBATION));
}

#[test]
fn the_end_of_probation_announces_and_then_settles() {
    let now = Instant::now();
    let mut launch = in_probation(now);
    launch.timeout(now + PROBATION - BRIEF);
    assert_eq!(actions(&mut launch), []);
    launch.timeout(now + PROBATION);
    assert_eq!(actions(&mut launch), [Announce]);
    launch.announced();
    let said = Message::Settled { restart_again: false };
    let handed_over = HandOver { unclaimed: vec![1] };
    assert_eq!(actions(&mut launch), [Send(said), handed_over, Report(super::Report::Settled)]);
    assert!(!launch.owns_service());
}

#[test]
fn without_probation_it_settles_at_once() {
    let now = Instant::now();
    let mut launch = Launch::new(START, Duration::ZERO);
    launch.request(now).unwrap();
    launch.message(now, Message::Ready { unclaimed: vec![], takes: Takes::ALL, answers: false });
    assert_eq!(actions(&mut launch).last(), Some(&Announce));
}

#[test]
fn one_that_answers_is_settled_on_when_it_has_answered_twice() {
    let now = Instant::now();
    let mut launch = committed(now, PROBATION);
    launch.message(now, Message::Accepting);
    assert_eq!((actions(&mut launch), launch.deadline()), (vec![], Some(now + PROBATION)));
    launch.timeout(now + PROBATION);
    assert_eq!(actions(&mut launch), [Send(Message::Probe)]);
    launch.message(now + PROBATION, Message::Accepting);
    assert_eq!(actions(&mut launch), [], "what it has said behind that comes first");
    launch.timeout(launch.deadline().unwrap());
    assert_eq!(actions(&mut launch), [Announce]);
    launch.announced();
    assert!(!launch.owns_service());
    let mut launch = committed(now, Duration::ZERO);
    launch.message(now, Message::Accepting);
    launch.timeout(now);
    assert_eq!(actions(&mut launch), [Announce], "without probation the first word is the last");
}

#[test]
fn g3_one_that_freezes_is_killed_and_what_it_had_is_taken_back_when_it_is_dead() {
    let now = Instant::now();
    let mut at_the_end = committed(now, PROBATION);
    at_the_end.message(now, Message::Accepting);
    at_the_end.timeout(now + PROBATION);
    actions(&mut at_the_end);
    let mut long = committed(now, 1000 * PROBATION);
    assert_eq!(long.deadline(), Some(now + ANSWER), "a long probation does not wait for a frozen one");
    long.message(now, Message::Probe);
    actions(&mut long);
    for mut launch in [committed(now, Duration::ZERO), long, at_the_end] {
        let late = launch.deadline().unwrap();
        launch.timeout(late);
        assert_eq!(actions(&mut launch), [Kill], "nobody accepts beside it while it lives");
        launch.message(late, Message::Accepting);
        assert_eq!(actions(&mut launch), [], "it thawed, and is being killed all the same");
        let mut hangs = launch.clone();
        launch.died(late, death());
        let back = [ResumeAccepting, taken_back(Failure::Silent { after: ANSWER })];
        assert_eq!(actions(&mut launch), back);
        assert_serves_on(launch, late);
        hangs.timeout(late + DIE);
        assert_eq!(actions(&mut hangs)[..2], [Abandon, ResumeAccepting]);
    }
}

#[test]
fn one_that_cannot_be_heard_any_more_is_not_taken_for_frozen() {
    let now = Instant::now();
    let mut probing = committed(now, PROBATION);
    probing.message(now, Message::Accepting);
    let watched = probing.clone();
    probing.timeout(now + PROBATION);
    actions(&mut probing);
    for mut launch in [committed(now, PROBATION), watched, probing] {
        launch.unheard(now + PROBATION);
        launch.timeout(now + PROBATION);
        assert_eq!(actions(&mut launch), [Announce]);
    }
}

#[test]
fn g5_a_stop_while_a_frozen_one_is_being_killed_ends_the_service() {
    let now = Instant::now();
    let mut launch = committed(now, PROBATION);
    launch.timeout(now + ANSWER);
    actions(&mut launch);
    launch.stop(None);
    assert_eq!(actions(&mut launch), [Kill, Shutdown { within: None }]);
    launch.died(now, death());
    assert_eq!(actions(&mut launch), []);
}

#[test]
fn g5_a_manager_that_hangs_does_not_hold_the_settling() {
    let now = Instant::now();
    let mut launch = settling(now);
    launch.timeout(launch.deadline().unwrap());
    assert!(actions(&mut launch).contains(&HandOver { unclaimed: vec![1] }));
    launch.announced();
    assert_eq!(actions(&mut launch), [], "it settles once");
}

#[test]
fn g3_a_program_that_cannot_be_started_changes_nothing() {
    let now = Instant::now();
    let mut launch = idle();
    launch.request(now).unwrap();
    actions(&mut launch);
    let why = Failure::Spawn { reason: "/srv/hello: no such file".into() };
    launch.spawn_failed(now, why.clone());
    assert_eq!(actions(&mut launch), [failed(why)]);
    assert_serves_on(launch, now);
}

#[test]
fn g3_a_successor_that_dies_before_ready_changes_nothing() {
    let now = Instant::now();
    let mut launch = starting(now);
    launch.died(now, death());
    assert_eq!(actions(&mut launch), [failed(death())]);
    assert_serves_on(launch, now);
}

#[test]
fn g3_a_successor_that_fails_is_given_time_to_exit() {
    let now = Instant::now();
    let mut launch = starting(now);
    launch.message(now, Message::Failed { reason: "no config".into() });
    assert_eq!(actions(&mut launch), []);
    launch.died(now, death());
    assert_eq!(actions(&mut launch), [failed(gave_up())], "its own words, not how it exited");
    assert_serves_on(launch, now);
}

#[test]
fn g5_a_successor_that_fails_and_does_not_exit_is_killed() {
    let now = Instant::now();
    let mut launch = starting(now);
    launch.message(now, Message::Failed { reason: "no config".into() });
    launch.timeout(now + LEAVE);
    assert_eq!(actions(&mut launch), [Kill]);
    launch.died(now, death());
    assert_eq!(actions(&mut launch), [failed(gave_up())]);
}

#[test]
fn g3_a_successor_that_hangs_is_killed_at_the_deadline() {
    let now = Instant::now();
    let mut launch = starting(now);
    launch.timeout(now + START - BRIEF);
    assert_eq!(actions(&mut launch), []);
    launch.timeout(now + START);
    assert_eq!(actions(&mut launch), [Kill]);
    launch.died(now + START, death());
    assert_eq!(actions(&mut launch), [failed(Failure::TimedOut { after: START })]);
    assert_serves_on(launch, now);
}

#[test]
fn g5_a_successor_that_cannot_be_killed_is_given_up() {
    let now = Instant::now();
    let mut launch = starting(now);
    launch.timeout(now + START);
    actions(&mut launch);
    launch.timeout(now + START + DIE);
    assert_eq!(actions(&mut launch), [Abandon, failed(Failure::TimedOut { after: START })]);
    assert_serves_on(launch, now);
}

#[test]
fn g3_a_successor_that_breaks_the_protocol_before_ready_is_killed() {
    let now = Instant::now();
    let mut launch = starting(now);
    launch.garbage(now, "version 9".into());
    assert_eq!(actions(&mut launch), [Kill]);
    let mut launch = starting(now);
    launch.message(now, Message::Leaving);
    assert_eq!(actions(&mut launch), [Kill]);
}

#[test]
fn a_successor_that_serves_is_not_killed_for_garbage() {
    let now = Instant::now();
    let mut launch = in_probation(now);
    launch.garbage(now, "version 9".into());
    assert_eq!(actions(&mut launch), []);
}

#[test]
fn g1_a_death_in_probation_is_taken_back() {
    let now = Instant::now();
    let mut launch = in_probation(now);
    launch.died(now, death());
    assert_eq!(actions(&mut launch), [ResumeAccepting, taken_back(death())]);
    assert_serves_on(launch, now);
}

#[test]
fn g1_a_death_while_settling_is_taken_back_and_the_world_is_told() {
    let now = Instant::now();
    let mut launch = settling(now);
    launch.died(now, death());
    assert_eq!(actions(&mut launch), [AnnounceOwn, ResumeAccepting, taken_back(death())]);
    launch.announced();
    assert_eq!(actions(&mut launch), [], "the announcement that was on its way is of no interest");
    assert_serves_on(launch, now);
}

#[test]
fn a_death_after_settle_is_none_of_our_business() {
    let now = Instant::now();
    let mut launch = settled(now);
    launch.died(now, death());
    assert_eq!(actions(&mut launch), []);
    assert_eq!(launch.request(now), Err(Refusal::Settled));
}

#[test]
fn g1_a_failure_that_crossed_the_commit_is_taken_back_before_the_exit() {
    let now = Instant::now();
    let mut launch = in_probation(now);
    launch.message(now, Message::Failed { reason: "no config".into() });
    assert_eq!(actions(&mut launch), [ResumeAccepting]);
    launch.died(now, death());
    assert_eq!(actions(&mut launch), [taken_back(gave_up())]);
    assert_serves_on(launch, now);

    let mut launch = settling(now);
    launch.message(now, Message::Failed { reason: "no config".into() });
    assert_eq!(actions(&mut launch), [AnnounceOwn, ResumeAccepting]);
    launch.announced();
    assert_eq!(actions(&mut launch), [], "it does not settle on one that has left");
}

#[test]
fn leaving_stops_both() {
    let now = Instant::now();
    for mut launch in [in_probation(now), settling(now)] {
        launch.message(now, Message::Leaving);
        assert_eq!(actions(&mut launch), [Shutdown { within: None }]);
        launch.died(now, death());
        assert_eq!(actions(&mut launch), [], "an exit after LEAVING is not a death");
        assert_eq!(launch.request(now), Err(Refusal::Stopping));
    }
}

#[test]
fn g2_leaving_and_our_own_signal_are_one_request_to_stop() {
    let now = Instant::now();
    let mut launch = in_probation(now);
    launch.message(now, Message::Leaving);
    assert_eq!(actions(&mut launch), [Shutdown { within: None }]);
    launch.stop(None);
    assert_eq!(actions(&mut launch), []);
    launch.stop(None);
    assert_eq!(actions(&mut launch), [Shutdown { within: None }], "the second to this process is the hammer");
}

#[test]
fn a_successor_that_went_on_alone_is_the_service() {
    let now = Instant::now();
    for mut launch in [in_probation(now), settling(now)] {
        launch.message(now, Message::Settled { restart_again: false });
        let handed_over = HandOver { unclaimed: vec![1] };
        assert_eq!(actions(&mut launch), [handed_over, Report(super::Report::Settled)]);
        assert_eq!(launch.request(now), Err(Refusal::Settled));
    }
}

#[test]
fn a_stop_before_ready_kills_the_successor() {
    let now = Instant::now();
    let mut launch = starting(now);
    launch.stop(None);
    assert_eq!(actions(&mut launch), [Kill, Shutdown { within: None }]);
    launch.message(now, Message::Ready { unclaimed: vec![], takes: Takes::ALL, answers: true });
    launch.died(now, death());
    assert_eq!(actions(&mut launch), []);
}

#[test]
fn a_stop_while_the_spawn_is_on_kills_what_comes_of_it() {
    let now = Instant::now();
    let mut launch = idle();
    launch.request(now).unwrap();
    launch.stop(None);
    actions(&mut launch);
    launch.spawned();
    assert_eq!(actions(&mut launch), [Kill]);
}

#[test]
fn a_stop_in_probation_goes_to_both_and_after_settle_to_this_process_alone() {
    let now = Instant::now();
    for mut launch in [in_probation(now), settling(now)] {
        launch.stop(None);
        assert_eq!(actions(&mut launch), [Send(Message::Stop), Shutdown { within: None }]);
    }
    let mut launch = settled(now);
    launch.stop(None);
    assert_eq!(actions(&mut launch), [Shutdown { within: None }]);
}

#[test]
fn g4_requests_on_the_way_are_remembered_once_and_given_to_the_successor() {
    let now = Instant::now();
    let mut launch = in_probation(now);
    for _ in 0..1000 {
        assert_eq!(launch.request(now), Ok(Requested::Remembered));
    }
    assert_eq!(actions(&mut launch), [Report(super::Report::Remembered)]);
    launch.timeout(now + PROBATION);
    launch.announced();
    assert!(actions(&mut launch).contains(&Send(Message::Settled { restart_again: true })));
}

#[test]
fn g4_a_remembered_request_is_acted_on_here_after_a_failure() {
    let now = Instant::now();
    for mut launch in [starting(now), in_probation(now), settling(now)] {
        launch.request(now).unwrap();
        launch.died(now, death());
        assert!(actions(&mut launch).ends_with(&[Report(super::Report::Starting), Spawn]));
        launch.died(now, death());
        assert!(!actions(&mut launch).contains(&Spawn), "once");
    }
}

#[test]
fn a_message_out_of_turn_is_reported_and_changes_nothing() {
    let now = Instant::now();
    let mut launch = in_probation(now);
    let again = Message::Ready { unclaimed: vec![], takes: Takes::ALL, answers: false };
    launch.message(now, again.clone());
    assert_eq!(actions(&mut launch), [Report(super::Report::OutOfTurn(again))]);
    assert_eq!(launch.deadline(), Some(now + PROBATION));
}
