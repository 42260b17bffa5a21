use super::Action::*;
use super::*;

const START: Duration = Duration::from_secs(60);
const PROBATION: Duration = Duration::from_secs(1);
const COMMIT: Message = Message::Commit { probation: PROBATION };
const SETTLED: Message = Message::Settled { restart_again: false };

fn waiting(now: Instant) -> Succeed {
    let mut succeed = Succeed::new(START);
    succeed.ready(now, vec![1]);
    assert_eq!(
        actions(&mut succeed),
        [Send(Message::Ready { unclaimed: vec![1], takes: Takes::ALL, answers: true })]
    );
    succeed
}

fn accepting(now: Instant) -> Succeed {
    let mut succeed = waiting(now);
    succeed.message(now, COMMIT);
    assert_eq!(actions(&mut succeed), [StartAccepting, Send(Message::Accepting)]);
    succeed
}

fn actions(succeed: &mut Succeed) -> Vec<Action> {
    std::iter::from_fn(|| succeed.poll_action()).collect()
}

fn serve(restart: bool) -> Action {
    Serve { restart }
}

#[test]
fn the_first_generation_serves_when_it_is_ready() {
    let mut succeed = Succeed::first(START);
    succeed.ready(Instant::now(), vec![]);
    assert_eq!(actions(&mut succeed), [StartAccepting, AnnounceOwn, serve(false)]);
    assert!(succeed.is_serving());
}

#[test]
fn it_accepts_on_commit_and_serves_on_settled() {
    let now = Instant::now();
    let mut succeed = accepting(now);
    assert!(!succeed.is_serving());
    succeed.message(now, SETTLED);
    assert_eq!(actions(&mut succeed), [serve(false)]);
    assert_eq!(succeed.deadline(), None);
}

#[test]
fn it_answers_as_long_as_it_is_watched() {
    let now = Instant::now();
    let mut succeed = waiting(now);
    succeed.message(now, Message::Probe);
    assert_eq!(actions(&mut succeed), [], "it accepts nothing yet");
    let mut succeed = accepting(now);
    for _ in 0..2 {
        succeed.message(now, Message::Probe);
        assert_eq!(actions(&mut succeed), [Send(Message::Accepting)]);
    }
    succeed.stop(None, Message::Leaving);
    actions(&mut succeed);
    succeed.message(now, Message::Probe);
    assert_eq!(actions(&mut succeed), [], "LEAVING has said it all");
}

#[test]
fn g1_a_predecessor_that_dies_before_ready_is_succeeded_at_ready() {
    let mut succeed = Succeed::new(START);
    succeed.predecessor_died();
    assert_eq!(actions(&mut succeed), []);
    succeed.ready(Instant::now(), vec![]);
    assert_eq!(actions(&mut succeed), [StartAccepting, AnnounceOwn, serve(false)]);
}

#[test]
fn g1_a_predecessor_that_dies_after_ready_is_succeeded_at_once() {
    let mut succeed = waiting(Instant::now());
    succeed.predecessor_died();
    assert_eq!(actions(&mut succeed), [StartAccepting, AnnounceOwn, serve(false)]);
}

#[test]
fn a_predecessor_that_dies_in_probation_leaves_the_announcement_to_us() {
    let mut succeed = accepting(Instant::now());
    succeed.predecessor_died();
    assert_eq!(actions(&mut succeed), [AnnounceOwn, serve(false)]);
}

#[test]
fn a_predecessor_that_exits_after_settled_is_no_event() {
    let now = Instant::now();
    let mut succeed = accepting(now);
    succeed.message(now, SETTLED);
    actions(&mut succeed);
    succeed.predecessor_died();
    assert_eq!(actions(&mut succeed), []);
}

#[test]
fn g3_a_failed_initialisation_is_said_and_takes_nothing() {
    let mut succeed = Succeed::new(START);
    succeed.failed("no config".into());
    let said = Message::Failed { reason: "no config".into() };
    assert_eq!(actions(&mut succeed), [Send(said), Leave(Departure::Failed)]);
    succeed.ready(Instant::now(), vec![]);
    succeed.predecessor_died();
    assert_eq!(actions(&mut succeed), [], "nothing is done after it left");
}

#[test]
fn the_first_generation_has_nobody_to_tell_of_its_failure() {
    let mut succeed = Succeed::first(START);
    succeed.failed("no config".into());
    assert_eq!(actions(&mut succeed), [Leave(Departure::Failed)]);
}

#[test]
fn a_stop_before_commit_is_a_failure() {
    for mut succeed in [Succeed::new(START), waiting(Instant::now())] {
        succeed.stop(None, Message::Leaving);
        let actions = actions(&mut succeed);
        assert!(matches!(actions[..], [Send(Message::Failed { .. }), Leave(Departure::Stopped)]));
        succeed.message(Instant::now(), COMMIT);
        assert_eq!(succeed.poll_action(), None, "COMMIT crossed our FAILED");
    }
}

#[test]
fn g5_without_an_answer_to_ready_it_leaves() {
    let now = Instant::now();
    let mut succeed = waiting(now);
    assert_eq!(succeed.deadline(), Some(now + START));
    succeed.timeout(now + START);
    let actions = actions(&mut succeed);
    assert!(matches!(actions[..], [Send(Message::Failed { .. }), Leave(Departure::Unanswered)]));
}

#[test]
fn a_stop_in_probation_is_leaving_and_a_second_one_the_hammer() {
    let mut succeed = accepting(Instant::now());
    succeed.stop(None, Message::Leaving);
    assert_eq!(actions(&mut succeed), [Send(Message::Leaving), Shutdown { within: None }]);
    succeed.stop(None, Message::Leaving);
    assert_eq!(actions(&mut succeed), [Shutdown { within: None }]);
}

#[test]
fn g2_stop_and_our_own_signal_are_one_request_to_stop() {
    let now = Instant::now();
    let mut succeed = accepting(now);
    succeed.message(now, Message::Stop);
    assert_eq!(actions(&mut succeed), [Shutdown { within: None }]);
    succeed.stop(None, Message::Leaving);
    assert_eq!(actions(&mut succeed), []);
    succeed.stop(None, Message::Leaving);
    assert_eq!(actions(&mut succeed), [Shutdown { within: None }]);
}

#[test]
fn stop_that_crosses_leaving_is_one_stop() {
    let now = Instant::now();
    let mut succeed = accepting(now);
    succeed.stop(None, Message::Leaving);
    actions(&mut succeed);
    succeed.message(now, Message::Stop);
    succeed.message(now, SETTLED);
    succeed.predecessor_died();
    assert_eq!(actions(&mut succeed), []);
}

#[test]
fn stop_right_behind_commit_stops() {
    let now = Instant::now();
    let mut succeed = waiting(now);
    succeed.message(now, COMMIT);
    succeed.message(now, Message::Stop);
    assert_eq!(actions(&mut succeed), [StartAccepting, Send(Message::Accepting), Shutdown { within: None }]);
}

#[test]
fn g5_a_predecessor_that_is_silent_does_not_hold_restarts_for_ever() {
    let now = Instant::now();
    let mut succeed = accepting(now);
    let end = now + PROBATION + SILENCE;
    assert_eq!(succeed.deadline(), Some(end));
    succeed.timeout(end);
    assert_eq!(actions(&mut succeed), [Send(SETTLED), AnnounceOwn, serve(false)]);
}

#[test]
fn g4_a_request_is_remembered_until_it_is_the_service() {
    let now = Instant::now();
    let mut own = accepting(now);
    own.request();
    own.message(now, SETTLED);
    assert_eq!(actions(&mut own), [serve(true)]);
    let mut given = accepting(now);
    given.message(now, Message::Settled { restart_again: true });
    assert_eq!(actions(&mut given), [serve(true)]);
    let mut early = Succeed::new(START);
    early.request();
    early.predecessor_died();
    early.ready(now, vec![]);
    assert_eq!(actions(&mut early).last(), Some(&serve(true)));
}
