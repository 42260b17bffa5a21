//! Every order of events to a depth.

use std::collections::{BTreeMap, HashSet, VecDeque as Queue};

use super::tests::{SECOND, limits};
use super::*;

/// The machine among its workers.
#[derive(Clone, PartialEq, Eq, Hash)]
struct World {
    machine: Supervise,
    pending: Option<Worker>,
    alive: BTreeMap<Worker, Seen>,
    /// How many requests, deaths, departures and stops are still to come.
    left: [u8; 4],
    ended: bool,
}

/// What a worker was told.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
struct Seen {
    said: bool,
    accepts: bool,
    paused: bool,
    going: bool,
}

#[derive(Clone, Copy, Debug)]
enum Event {
    Request,
    Spawned,
    SpawnFailed,
    Ready(Worker),
    Failed(Worker),
    Leaving(Worker),
    Accepting(Worker),
    Dies(Worker),
    Timeout,
    Stop,
}

impl World {
    fn new(now: Instant, early: bool) -> World {
        let mut machine = Supervise::new(Limits { early, ..limits() });
        machine.request(now).unwrap();
        let mut world =
            World { machine, pending: None, alive: BTreeMap::new(), left: [2, 3, 1, 2], ended: false };
        world.act();
        world
    }

    fn events(&self) -> Vec<Event> {
        let [requests, deaths, departures, stops] = self.left;
        let mut events = Vec::new();
        if self.ended {
            return events;
        }
        if requests > 0 {
            events.push(Event::Request);
        }
        if stops > 0 {
            events.push(Event::Stop);
        }
        if self.pending.is_some() {
            events.extend([Event::Spawned, Event::SpawnFailed]);
        }
        for (worker, seen) in &self.alive {
            if !seen.said {
                events.extend([Event::Ready(*worker), Event::Failed(*worker)]);
            }
            // A worker that was told to stop may end at any time.
            if seen.accepts && !seen.going && self.machine.candidate() == Some(*worker) {
                events.push(Event::Accepting(*worker));
            }
            if deaths > 0 || seen.going {
                events.push(Event::Dies(*worker));
            }
            if departures > 0 && seen.accepts && !seen.going {
                events.push(Event::Leaving(*worker));
            }
        }
        if self.machine.deadline().is_some() {
            events.push(Event::Timeout);
        }
        events
    }

    fn apply(&mut self, now: Instant, event: Event) {
        match event {
            Event::Request => {
                self.left[0] -= 1;
                let _ = self.machine.request(now);
            }
            Event::Stop => {
                self.left[3] -= 1;
                self.machine.stop(now);
            }
            Event::Spawned => {
                let worker = self.pending.take().unwrap();
                self.alive.insert(worker, Seen::default());
                self.machine.spawned(now, worker, Some(worker % 2));
            }
            Event::SpawnFailed => {
                let worker = self.pending.take().unwrap();
                self.machine.spawn_failed(now, worker, Failure::Spawn { reason: String::new() });
            }
            Event::Ready(worker) | Event::Failed(worker) | Event::Leaving(worker) => {
                let seen = self.alive.get_mut(&worker).unwrap();
                seen.said = true;
                let message = match event {
                    // Every other one is of a release that does not answer.
                    Event::Ready(_) => Message::Ready {
                        unclaimed: vec![],
                        takes: Takes::ALL,
                        answers: worker.is_multiple_of(2),
                    },
                    Event::Failed(_) => Message::Failed { reason: String::new() },
                    _ => {
                        (seen.going, seen.accepts) = (true, false);
                        self.left[2] -= 1;
                        Message::Leaving
                    }
                };
                self.machine.message(now, worker, message);
            }
            Event::Accepting(worker) => self.machine.message(now, worker, Message::Accepting),
            Event::Dies(worker) => {
                let seen = self.alive.remove(&worker).unwrap();
                if !seen.going {
                    self.left[1] -= 1;
                }
                self.machine.died(now, worker, String::new());
            }
            Event::Timeout => self.machine.timeout(now + 1000 * SECOND),
        }
        self.act();
        self.machine.forget_time(now + SECOND);
    }

    fn act(&mut self) {
        while let Some(action) = self.machine.poll_action() {
            let mut seen = |worker: Worker, tell: &dyn Fn(&mut Seen)| {
                if let Some(seen) = self.alive.get_mut(&worker) {
                    tell(seen);
                }
            };
            match action {
                Action::Spawn { worker, .. } => {
                    assert!(self.pending.is_none(), "two are being started");
                    self.pending = Some(worker);
                }
                Action::Send(worker, Message::Commit { .. }) => seen(worker, &|seen| seen.accepts = true),
                Action::Pause(worker, _) => seen(worker, &|seen| seen.paused = true),
                Action::Resume(worker) => seen(worker, &|seen| seen.paused = false),
                Action::HandOver { worker, .. } | Action::Stop(worker) | Action::Hammer(worker) => {
                    seen(worker, &|seen| (seen.going, seen.accepts) = (true, false));
                }
                Action::Kill(worker) => seen(worker, &|seen| seen.going = true),
                Action::Abandon(worker) => {
                    self.alive.remove(&worker);
                    self.pending.take_if(|pending| *pending == worker);
                }
                Action::End(End::Stopped) => {
                    assert!(self.alive.is_empty() && self.pending.is_none(), "it ends before its workers");
                    self.ended = true;
                }
                Action::End(End::CannotStart(_)) => self.ended = true,
                Action::Send(..) | Action::Report(_) => {}
            }
        }
    }

    fn check(&self) {
        if self.ended || self.machine.is_stopping() {
            return;
        }
        let is_served = self.alive.values().any(|seen| seen.accepts && !seen.paused && !seen.going);
        let is_coming = self.pending.is_some() || self.machine.deadline().is_some();
        assert!(is_served || is_coming, "G1: nobody serves, and nobody will");
        let candidate = self.machine.candidate().and_then(|worker| self.alive.get(&worker));
        let is_tried = candidate.is_some_and(|seen| seen.accepts);
        let is_paused = self.alive.values().any(|seen| seen.paused && !seen.going);
        assert!(!is_paused || is_tried, "G3: a worker is paused for nobody");
        if let Some(serving) = self.machine.serving() {
            assert!(self.alive.contains_key(&serving), "the dead one serves");
        }
    }

    /// G5: a stop comes to its end, whatever the workers do not do.
    fn stop_ends(&self, now: Instant) {
        let mut world = self.clone();
        world.left[3] += 1;
        if !world.machine.is_stopping() {
            world.apply(now, Event::Stop);
        }
        for _ in 0..20 {
            if world.ended {
                return;
            }
            world.apply(now, Event::Timeout);
        }
        panic!("G5: a stop does not end");
    }
}

#[test]
fn every_order_of_events() {
    let now = Instant::now();
    // What differs for those that accept early shows in fewer steps.
    let mut queue = Queue::from([(World::new(now, false), 0), (World::new(now, true), DEPTH / 4)]);
    let mut seen = HashSet::new();
    let mut steps = 0;
    while let Some((world, depth)) = queue.pop_front() {
        if depth == DEPTH {
            continue;
        }
        for event in world.events() {
            let mut next = world.clone();
            next.apply(now, event);
            steps += 1;
            next.check();
            if seen.insert(next.clone()) {
                next.stop_ends(now);
                queue.push_back((next, depth + 1));
            }
        }
    }
    println!("{} states, {steps} steps, depth {DEPTH}", seen.len());
    assert!(seen.len() > 1000);
}

/// All of them end by 40, with 741,682 states; half a minute there finds nothing that this does not.
const DEPTH: usize = 16;
