//! Examples one by one.

use super::*;

pub(super) const SECOND: Duration = Duration::from_secs(1);

pub(super) fn limits() -> Limits {
    Limits {
        start: 60 * SECOND,
        probation: SECOND,
        drain: 60 * SECOND,
        shutdown: 9 * SECOND,
        backoff: SECOND,
        backoff_ceiling: 4 * SECOND,
        stable: 10 * SECOND,
        rollback_after: 3,
        early: false,
    }
}

pub(super) fn actions(machine: &mut Supervise) -> Vec<Action> {
    std::iter::from_fn(|| machine.poll_action()).collect()
}

pub(super) fn ready() -> Message {
    Message::Ready { unclaimed: vec![], takes: Takes::ALL, answers: false }
}

/// A machine whose `worker` runs `binary` and has settled.
fn settle(machine: &mut Supervise, now: Instant, worker: Worker, binary: u64) {
    machine.spawned(now, worker, Some(binary));
    machine.message(now, worker, ready());
    machine.timeout(now + SECOND);
    assert_eq!(machine.serving(), Some(worker));
    assert!(actions(machine).contains(&Action::Report(Report::Settled { worker })));
}

fn serving(now: Instant) -> Supervise {
    let mut machine = Supervise::new(limits());
    machine.request(now).unwrap();
    settle(&mut machine, now, 1, 1);
    machine
}

pub(super) fn spawns(actions: &[Action]) -> Option<(Worker, Program)> {
    actions.iter().find_map(|action| match action {
        Action::Spawn { worker, program, .. } => Some((*worker, *program)),
        _ => None,
    })
}

#[test]
fn the_old_worker_pauses_before_the_new_one_accepts_and_drains_after_probation() {
    let now = Instant::now();
    let mut machine = serving(now);
    machine.request(now).unwrap();
    let spawn = Action::Spawn { worker: 2, program: Program::Current, replaces: Some(1) };
    assert_eq!(actions(&mut machine), [Action::Report(Report::Starting { worker: 2 }), spawn]);
    machine.spawned(now, 2, Some(1));
    machine.message(now, 2, Message::Ready { unclaimed: vec![1], takes: Takes::ALL, answers: false });
    assert_eq!(
        actions(&mut machine),
        [
            Action::Pause(1, vec![1]),
            Action::Send(2, Message::Commit { probation: SECOND }),
            Action::Report(Report::Ready { worker: 2 }),
        ]
    );
    machine.timeout(now + SECOND);
    let did = actions(&mut machine);
    assert!(did.contains(&Action::HandOver { worker: 1, unclaimed: vec![1], takes: Takes::ALL }), "{did:?}");
    assert_eq!(machine.serving(), Some(2));
    machine.died(now, 1, "exited".into());
    assert_eq!(actions(&mut machine), []);
}

#[test]
fn g3_a_death_in_probation_takes_back_and_is_told_to_the_worker_that_serves() {
    let now = Instant::now();
    let mut machine = serving(now);
    machine.request(now).unwrap();
    machine.spawned(now, 2, Some(2));
    machine.message(now, 2, ready());
    actions(&mut machine);
    machine.died(now, 2, "was killed".into());
    let did = actions(&mut machine);
    assert_eq!(did[0], Action::Resume(1), "{did:?}");
    let why = Failure::Died { how: "was killed".into() };
    assert!(did.contains(&Action::Send(1, Message::Restarted(Told::TakenBack(why)))), "{did:?}");
    assert!(machine.serving() == Some(1) && machine.candidate().is_none());
}

#[test]
fn a_dead_worker_is_replaced_at_once_and_then_after_a_doubling_wait() {
    let now = Instant::now();
    let mut machine = serving(now);
    let mut waits = Vec::new();
    for worker in 1..=6 {
        machine.died(now, worker, "was killed".into());
        let within = actions(&mut machine).into_iter().find_map(|action| match action {
            Action::Report(Report::Respawning { within, crashes, .. }) => {
                assert_eq!(u64::from(crashes), worker);
                Some(within)
            }
            _ => None,
        });
        waits.push(within.unwrap());
        machine.timeout(now + waits[waits.len() - 1]);
        assert_eq!(spawns(&actions(&mut machine)), Some((worker + 1, Program::Current)));
        settle(&mut machine, now, worker + 1, 1);
    }
    assert_eq!(waits, [0, 1, 2, 4, 4, 4].map(|seconds| seconds * SECOND));
    machine.timeout(now + 11 * SECOND);
    machine.died(now + 11 * SECOND, 7, "was killed".into());
    let did = actions(&mut machine);
    let first = Report::Respawning { within: Duration::ZERO, crashes: 1, at_ceiling: false };
    assert!(did.contains(&Action::Report(first)), "it had served for long enough: {did:?}");
}

#[test]
fn a_new_program_that_keeps_dying_is_given_up_for_the_last_good_one() {
    let now = Instant::now();
    let mut machine = serving(now);
    machine.timeout(now + 10 * SECOND + SECOND);
    machine.request(now).unwrap();
    settle(&mut machine, now, 2, 2);
    for worker in 2..=4 {
        assert!(machine.needed().any(|binary| binary == 1), "the good one is kept");
        machine.died(now, worker, "was killed".into());
        machine.timeout(now + 4 * SECOND);
        let did = actions(&mut machine);
        if worker < 4 {
            assert_eq!(spawns(&did), Some((worker + 1, Program::Current)));
            settle(&mut machine, now, worker + 1, 2);
        } else {
            assert!(did.contains(&Action::Report(Report::RolledBack { crashes: 3 })), "{did:?}");
            assert_eq!(spawns(&did), Some((5, Program::Good(1))));
        }
    }
    settle(&mut machine, now, 5, 1);
    machine.request(now).unwrap();
    assert_eq!(spawns(&actions(&mut machine)), Some((6, Program::Current)), "the operator has a new one");
}

#[test]
fn a_good_program_that_crashes_is_not_given_up_for_itself() {
    let now = Instant::now();
    let mut machine = serving(now);
    machine.timeout(now + 11 * SECOND);
    for worker in 1..=5 {
        machine.died(now, worker, "was killed".into());
        machine.timeout(now + 4 * SECOND);
        let did = actions(&mut machine);
        assert_eq!(spawns(&did), Some((worker + 1, Program::Current)));
        assert!(!did.iter().any(|action| matches!(action, Action::Report(Report::RolledBack { .. }))));
        settle(&mut machine, now, worker + 1, 1);
    }
}

#[test]
fn a_worker_that_leaves_by_itself_is_replaced_and_finishes_what_it_holds() {
    let now = Instant::now();
    let mut machine = serving(now);
    machine.message(now, 1, Message::Leaving);
    machine.timeout(now);
    let did = actions(&mut machine);
    assert_eq!(spawns(&did), Some((2, Program::Current)));
    assert!(!did.contains(&Action::Kill(1)));
    settle(&mut machine, now, 2, 1);
    machine.timeout(now + 60 * SECOND);
    assert!(actions(&mut machine).contains(&Action::Kill(1)), "at the drain's deadline");
}

#[test]
fn g5_a_stop_reaches_every_worker_and_a_second_one_is_the_hammer() {
    let now = Instant::now();
    let mut machine = serving(now);
    machine.request(now).unwrap();
    machine.spawned(now, 2, Some(1));
    actions(&mut machine);
    machine.stop(now);
    let did = actions(&mut machine);
    assert!(did.contains(&Action::Kill(2)) && did.contains(&Action::Stop(1)), "{did:?}");
    machine.died(now, 2, "was killed".into());
    machine.stop(now);
    assert_eq!(actions(&mut machine), [Action::Hammer(1)]);
    machine.timeout(now + leaving::DIE);
    assert_eq!(actions(&mut machine), [Action::Kill(1), Action::Report(Report::Killed { worker: 1 })]);
    machine.died(now, 1, "was killed".into());
    assert_eq!(actions(&mut machine), [Action::End(End::Stopped)]);
}

#[test]
fn a_workers_wish_to_stop_is_about_itself_unless_it_serves() {
    let now = Instant::now();
    let mut machine = serving(now);
    machine.request(now).unwrap();
    machine.spawned(now, 2, Some(1));
    actions(&mut machine);
    machine.message(now, 2, Message::Stop);
    assert_eq!(actions(&mut machine), [], "its FAILED follows");
    machine.message(now, 2, ready());
    machine.message(now, 2, Message::Stop);
    assert!(!machine.is_stopping());
    assert_eq!(machine.serving(), Some(1), "the one before it goes on");
    machine.died(now, 2, "it has left".to_owned());
    actions(&mut machine);
    machine.request(now).unwrap();
    settle(&mut machine, now, 3, 1);
    machine.message(now, 1, Message::Stop);
    assert!(
        !machine.is_stopping() && actions(&mut machine).is_empty(),
        "it drains, and is the service no more"
    );
    // Its own SETTLED may not have reached it yet.
    machine.message(now, 3, Message::Stop);
    assert!(machine.is_stopping());
}

#[test]
fn g2_a_worker_that_accepts_early_is_told_to_stop_before_it_is_killed() {
    let now = Instant::now();
    let early = Limits { early: true, ..limits() };
    let serving = || {
        let mut machine = Supervise::new(early);
        machine.request(now).unwrap();
        settle(&mut machine, now, 1, 1);
        machine.request(now).unwrap();
        machine.spawned(now, 2, Some(2));
        actions(&mut machine);
        machine
    };
    let mut late = serving();
    late.timeout(now + 60 * SECOND);
    let did = actions(&mut late);
    assert!(did.contains(&Action::Stop(2)) && !did.contains(&Action::Kill(2)), "{did:?}");
    let why = Failure::TimedOut { after: 60 * SECOND };
    assert!(did.contains(&Action::Report(Report::Failed { worker: 2, why })), "{did:?}");
    late.timeout(now + 120 * SECOND);
    assert!(actions(&mut late).contains(&Action::Kill(2)), "at the drain's deadline");
    late.request(now).unwrap();
    assert_eq!(spawns(&actions(&mut late)), Some((3, Program::Current)));
    let mut stopped = serving();
    stopped.stop(now);
    let did = actions(&mut stopped);
    assert!(did.contains(&Action::Stop(2)) && !did.contains(&Action::Kill(2)), "{did:?}");
    stopped.timeout(now + 9 * SECOND);
    assert!(actions(&mut stopped).contains(&Action::Kill(2)), "at the stop's deadline");
}

#[test]
fn g3_a_worker_that_freezes_is_killed_before_the_old_one_resumes() {
    let now = Instant::now();
    let mut machine = serving(now);
    machine.request(now).unwrap();
    machine.spawned(now, 2, Some(2));
    machine.message(now, 2, Message::Ready { unclaimed: vec![], takes: Takes::ALL, answers: true });
    actions(&mut machine);
    machine.timeout(machine.deadline().unwrap());
    assert_eq!(actions(&mut machine), [Action::Kill(2)]);
    machine.died(now, 2, "was killed".into());
    let did = actions(&mut machine);
    assert_eq!(did[0], Action::Resume(1), "{did:?}");
    assert!(
        matches!(did[1], Action::Report(Report::TakenBack { why: Failure::Silent { .. }, .. })),
        "{did:?}"
    );
}

#[test]
fn g3_a_worker_that_freezes_and_may_hold_requests_is_told_to_stop() {
    let now = Instant::now();
    let mut machine = Supervise::new(Limits { early: true, ..limits() });
    machine.request(now).unwrap();
    settle(&mut machine, now, 1, 1);
    machine.request(now).unwrap();
    machine.spawned(now, 2, Some(2));
    machine.message(now, 2, Message::Ready { unclaimed: vec![], takes: Takes::default(), answers: true });
    machine.message(now, 2, Message::Accepting);
    assert!(machine.is_on_probation());
    actions(&mut machine);
    machine.timeout(now + SECOND);
    assert_eq!(actions(&mut machine), [Action::Send(2, Message::Probe)]);
    machine.timeout(machine.deadline().unwrap());
    let did = actions(&mut machine);
    assert!(did.contains(&Action::Stop(2)) && !did.contains(&Action::Kill(2)), "{did:?}");
    let is_taken_back = |action: &Action| {
        matches!(action, Action::Report(Report::TakenBack { why: Failure::Silent { .. }, .. }))
    };
    assert!(did.iter().any(is_taken_back) && machine.serving() == Some(1), "{did:?}");
}

#[test]
fn more_time_moves_the_deadline_of_what_a_worker_is_about_and_no_other() {
    let now = Instant::now();
    let mut machine = serving(now);
    machine.request(now).unwrap();
    machine.spawned(now, 2, Some(1));
    assert!(!machine.extend(now, 2, 30 * SECOND), "the deadline is later than that");
    assert!(machine.extend(now + 50 * SECOND, 2, 30 * SECOND));
    assert!(!machine.extend(now, 1, 3600 * SECOND), "it serves");
    actions(&mut machine);
    machine.timeout(now + 79 * SECOND);
    assert!(actions(&mut machine).is_empty() && machine.candidate() == Some(2));
    machine.timeout(now + 80 * SECOND);
    assert_eq!(actions(&mut machine), [Action::Kill(2)]);
    assert!(!machine.extend(now + 80 * SECOND, 2, 3600 * SECOND), "it was given up");
}

#[test]
fn more_time_for_the_end_too() {
    let now = Instant::now();
    let mut machine = serving(now);
    machine.stop(now);
    assert!(machine.extend(now + 8 * SECOND, 1, 5 * SECOND));
    actions(&mut machine);
    machine.timeout(now + 12 * SECOND);
    assert!(actions(&mut machine).is_empty());
    machine.timeout(now + 13 * SECOND);
    assert_eq!(actions(&mut machine), [Action::Kill(1), Action::Report(Report::Killed { worker: 1 })]);
    assert!(!machine.extend(now + 14 * SECOND, 1, 3600 * SECOND));
}

#[test]
fn what_cannot_even_be_executed_ends_the_first_start_and_no_later_one() {
    let now = Instant::now();
    let why = Failure::Spawn { reason: "no such file".into() };
    let mut machine = Supervise::new(limits());
    machine.request(now).unwrap();
    machine.spawn_failed(now, 1, why.clone());
    assert!(actions(&mut machine).contains(&Action::End(End::CannotStart(why.clone()))));
    let mut machine = serving(now);
    machine.request(now).unwrap();
    machine.spawn_failed(now, 2, why);
    assert_eq!(machine.serving(), Some(1));
}

#[test]
fn g4_a_request_on_the_way_is_remembered_once() {
    let now = Instant::now();
    let mut machine = serving(now);
    for _ in 0..1000 {
        machine.request(now).unwrap();
    }
    machine.spawned(now, 2, Some(1));
    machine.message(now, 2, ready());
    machine.timeout(now + SECOND);
    assert_eq!(spawns(&actions(&mut machine)), Some((2, Program::Current)), "the first of them");
    assert_eq!((machine.serving(), machine.candidate()), (Some(2), Some(3)), "and one more");
    settle(&mut machine, now, 3, 1);
    assert!(machine.candidate().is_none());
}
