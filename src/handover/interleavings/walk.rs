//! Every order of events, breadth first.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::{Duration, Instant};

use super::steps::Step;
use super::world::{PROBATION, Settings, World};

/// What a walk went over.
#[derive(Debug)]
struct Walked {
    states: usize,
    steps: usize,
    depth: usize,
    /// Whether there is no state left that was not looked at.
    complete: bool,
}

/// Goes through every state that is at most `depth` steps away from the one that `first` leads to.
fn walk(settings: Settings, first: &[Step], depth: usize) -> Walked {
    let mut start = World::new(Instant::now(), settings);
    for step in first {
        start.take(*step).expect("the way to the start is an ordinary one");
    }
    let mut trail: Vec<(usize, Option<Step>)> = vec![(0, None)];
    let mut seen = HashMap::from([(fingerprint(&start), 0)]);
    let mut by_itself: Vec<(usize, usize)> = Vec::new();
    let mut frontier = vec![(0, start)];
    let mut walked = Walked { states: 1, steps: 0, depth: 0, complete: false };
    while walked.depth < depth && !frontier.is_empty() {
        walked.depth += 1;
        for (from, world) in std::mem::take(&mut frontier) {
            let steps = world.steps();
            if steps.iter().all(|step| step.is_input())
                && let Err(broken) = world.holds_at_rest()
            {
                fail(&trail, from, None, &broken, &world);
            }
            for step in steps {
                walked.steps += 1;
                let mut next = world.clone();
                if let Err(broken) = next.take(step) {
                    fail(&trail, from, Some(step), &broken, &next);
                }
                let number = *seen.entry(fingerprint(&next)).or_insert_with(|| {
                    trail.push((from, Some(step)));
                    frontier.push((trail.len() - 1, next));
                    trail.len() - 1
                });
                if !step.is_input() {
                    by_itself.push((from, number));
                }
            }
        }
    }
    walked.states = trail.len();
    walked.complete = frontier.is_empty();
    comes_to_rest(walked.states, &by_itself);
    walked
}

/// G5: without a step from outside no state comes again, so that everything that happens by itself ends.
fn comes_to_rest(states: usize, by_itself: &[(usize, usize)]) {
    let mut into = vec![0_usize; states];
    let mut out = vec![Vec::new(); states];
    for &(from, to) in by_itself {
        into[to] += 1;
        out[from].push(to);
    }
    let mut free: Vec<usize> = (0..states).filter(|state| into[*state] == 0).collect();
    let mut ordered = 0;
    while let Some(state) = free.pop() {
        ordered += 1;
        for &next in &out[state] {
            into[next] -= 1;
            if into[next] == 0 {
                free.push(next);
            }
        }
    }
    assert_eq!(ordered, states, "G5: some states come again by themselves");
}

fn fail(
    trail: &[(usize, Option<Step>)],
    mut at: usize,
    last: Option<Step>,
    broken: &str,
    world: &World,
) -> ! {
    let mut steps = Vec::from_iter(last);
    while let (before, Some(step)) = trail[at] {
        steps.push(step);
        at = before;
    }
    steps.reverse();
    panic!("{broken}, after {steps:?}\n{world:#?}");
}

/// 64 bits stand for a state: that any two of a million share them has a chance of one in thirty million, and
/// the same states meet again in the other walks under other numbers.
fn fingerprint(world: &World) -> u64 {
    let mut hasher = DefaultHasher::new();
    world.hash(&mut hasher);
    hasher.finish()
}

#[test]
fn two_generations_in_every_order_to_the_last_state() {
    for probation in [PROBATION, Duration::ZERO] {
        let walked = walk(Settings { probation, processes: 2, clock: false }, &[], usize::MAX);
        println!("two generations, probation {probation:?}: {walked:?}");
        assert!(walked.complete && walked.states > 40_000, "{walked:?}");
    }
}

#[test]
fn three_generations_in_every_order_to_a_depth() {
    three_generations(13);
}

#[test]
#[ignore = "minutes and gigabytes: for changes to the protocol, with --release"]
fn three_generations_in_every_order_to_a_far_depth() {
    three_generations(25);
}

/// What comes before is in the walk of two generations.
const TO_PROBATION: [Step; 5] =
    [Step::Initialised(0), Step::Request(0), Step::Spawned(0), Step::Initialised(1), Step::FromSuccessor(0)];

fn three_generations(depth: usize) {
    for probation in [PROBATION, Duration::ZERO] {
        let walked = walk(Settings { probation, processes: 3, clock: false }, &TO_PROBATION, depth);
        println!("three generations, probation {probation:?}: {walked:?}");
        assert_eq!(walked.depth, depth);
    }
}
