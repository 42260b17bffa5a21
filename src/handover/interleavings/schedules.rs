//! Long random schedules with a clock that counts, beyond the depth of the walk.

use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::driver::ensure;
use super::steps::Step;
use super::world::{DRAIN_TIMEOUT, PROBATION, SHUTDOWN_TIMEOUT, Settings, World};

/// How many steps a world may take by itself before it rests: each process of four goes through fewer than
/// 20, and a remembered trigger makes one more.
const STEPS_TO_REST: usize = 200;

fn world(probation: Duration, processes: usize) -> World {
    World::new(Instant::now(), Settings { probation, processes, clock: true })
}

/// Takes the steps that `choices` choose, most of them such as happen by themselves.
fn run(world: &mut World, choices: &[(u8, u16)], inputs: impl Fn(Step) -> bool) -> Result<(), String> {
    for &(kind, choice) in choices {
        let wants_input = kind < INPUTS_IN_256;
        let steps: Vec<Step> = world
            .steps()
            .into_iter()
            .filter(|step| if step.is_input() { wants_input && inputs(*step) } else { !wants_input })
            .filter(|step| kind < ENDS_IN_256 || !is_kill(*step) && !is_stop(*step) && !is_freeze(*step))
            .collect();
        if !steps.is_empty() {
            world.take(steps[usize::from(choice) % steps.len()])?;
        }
    }
    Ok(())
}

/// Lets everything happen that happens by itself, in an order that `order` chooses.
fn rest(world: &mut World, order: &[u16]) -> Result<(), String> {
    for count in 0..STEPS_TO_REST {
        let mut steps = world.steps();
        steps.retain(|step| !step.is_input());
        if steps.is_empty() {
            return world.holds_at_rest();
        }
        let choice = order.get(count % order.len().max(1)).copied().unwrap_or_default();
        world.take(steps[usize::from(choice) % steps.len()])?;
    }
    Err("G5: it never comes to rest".to_owned())
}

/// Of 256 steps, so many come from outside: enough to meet every state, few enough for whole restarts between
/// them.
const INPUTS_IN_256: u8 = 40;

/// And so many may end a process; with more, few worlds would grow old.
const ENDS_IN_256: u8 = 6;

fn choices(most: usize) -> impl Strategy<Value = Vec<(u8, u16)>> {
    proptest::collection::vec(any::<(u8, u16)>(), 0..most)
}

fn order() -> impl Strategy<Value = Vec<u16>> {
    proptest::collection::vec(any::<u16>(), 1..STEPS_TO_REST)
}

fn probation() -> impl Strategy<Value = Duration> {
    prop_oneof![Just(PROBATION), Just(Duration::ZERO)]
}

fn is_kill(step: Step) -> bool {
    matches!(step, Step::Kill(..))
}

fn is_stop(step: Step) -> bool {
    matches!(step, Step::Stop(_))
}

fn is_freeze(step: Step) -> bool {
    matches!(step, Step::Freeze(_))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_schedule_of_four_generations_keeps_the_invariants(
        probation in probation(), choices in choices(400), order in order(),
    ) {
        let mut world = world(probation, 4);
        let ran = run(&mut world, &choices, |_| true).and_then(|()| rest(&mut world, &order));
        prop_assert!(ran.is_ok(), "{ran:?}\n{world:#?}");
    }

    /// Nobody kills and nobody stops the service: then nothing at all may end it.
    #[test]
    fn g3_no_failure_of_a_successor_ends_the_service(
        probation in probation(), choices in choices(400), order in order(),
    ) {
        let mut world = world(probation, 4);
        world.take(Step::Initialised(0)).expect("the first generation starts");
        let ran = run(&mut world, &choices, |step| !is_kill(step) && !is_stop(step) && !is_freeze(step))
            .and_then(|()| rest(&mut world, &order))
            .and_then(|()| ensure(!world.lost && world.processes[0].accepting, "G3: the service is lost"));
        prop_assert!(ran.is_ok(), "{ran:?}\n{world:#?}");
    }

    /// However many requests come while one restart is on its way, to whichever side: two successors.
    #[test]
    fn g4_a_burst_makes_at_most_two_restarts(
        probation in probation(), burst in 1_usize..1000, choices in choices(200), order in order(),
    ) {
        let mut world = world(probation, 4);
        world.take(Step::Initialised(0)).expect("the first generation starts");
        for _ in 0..burst {
            world.take(Step::Request(0)).expect("a request is possible");
        }
        let first = |world: &World| world.spawns == 1 && world.processes.iter().all(|one| !one.draining);
        let mut ran = Ok(());
        for choice in &choices {
            if ran.is_ok() && first(&world) {
                // A request in the middle of the restart belongs to the burst while that goes on.
                ran = run(&mut world, &[*choice], |step| matches!(step, Step::Request(0)));
            }
        }
        let ran = ran.and_then(|()| rest(&mut world, &order));
        prop_assert!(ran.is_ok(), "{ran:?}\n{world:#?}");
        prop_assert!(world.spawns <= 2, "{} successors for {burst} requests", world.spawns);
        // One that is not heard for a minute loses what it remembers: its successor goes on without it.
        prop_assert!(burst == 1 || world.spawns == 2 || world.forsaken, "a remembered request was lost");
    }

    /// A process that was asked to stop is gone by its deadline, whatever else happens.
    #[test]
    fn g5_a_stop_ends_every_process_by_its_deadline(
        probation in probation(), choices in choices(200), order in order(),
    ) {
        let mut world = world(probation, 3);
        world.take(Step::Initialised(0)).expect("the first generation starts");
        let ran = run(&mut world, &choices, |step| !is_kill(step) && !is_stop(step) && !is_freeze(step));
        prop_assert!(ran.is_ok() && !world.processes.is_empty(), "{ran:?}\n{world:#?}");
        let asked_at = world.now;
        for at in 0..world.processes.len() {
            let stopped = if world.processes[at].can_be_asked() { world.take(Step::Stop(at)) } else { Ok(()) };
            prop_assert!(stopped.is_ok(), "{stopped:?}\n{world:#?}");
        }
        let ran = rest(&mut world, &order);
        prop_assert!(ran.is_ok(), "{ran:?}\n{world:#?}");
        prop_assert!(world.processes.is_empty(), "{world:#?}");
        prop_assert!(world.now <= asked_at + SHUTDOWN_TIMEOUT.min(DRAIN_TIMEOUT), "late by {:?}", world.now - asked_at);
    }
}
