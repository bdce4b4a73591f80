//! Exhaustive exploration of the planner in a small world, mostly of up to three members: every order of the operator's acts,
//! Kubernetes' own steps, faults, changes of the spec, deletion and adoption, with a second operator that acts on what it
//! saw earlier.
//!
//! A crash of the operator may come after each of its requests. It keeps nothing between rounds, so "did not act" and
//! "acted and forgot" are both states that are explored anyway; a step of its own have only the status that was written
//! before an act that then did not come, and acts of two requests. For each guard that is planted away the exploration
//! must find a violation; else it would prove nothing.

mod world;

use std::collections::{HashSet, VecDeque};
use std::hash::{DefaultHasher, Hash, Hasher};

use jiff::Timestamp;

use crate::claim::Claim;
use crate::crd::VolumePolicy;

use super::guard::{Guard, planted};
use super::{Step, plan};
use world::{Planned, Violation, World};

/// States that one exploration may visit. With a guard taken away the operator may go in circles for ever.
const STATES_MAX: usize = 20_000;
/// Steps within which a world without further faults has to come to rest.
const REST_STEPS_MAX: usize = 400;

/// What may still go wrong.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct Budget {
    pods: u8,
    disks: u8,
    resizes: u8,
    stale: u8,
    latches: u8,
    /// Changes of timers and limits.
    tunings: u8,
    deletions: u8,
    /// Times that the object is created anew after a deletion.
    creations: u8,
}

#[derive(Clone)]
struct State {
    world: World,
    budget: Budget,
    /// The second operator's plan.
    held: Option<Planned>,
}

impl State {
    fn key(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        self.world.hash(&mut hasher);
        self.budget.hash(&mut hasher);
        self.held.as_ref().map(|planned| format!("{planned:?}")).hash(&mut hasher);
        hasher.finish()
    }
}

/// What was found.
struct Explored {
    states: usize,
    violation: Option<Violation>,
}

fn explore(first: World, budget: Budget) -> Explored {
    let first = State { world: first, budget, held: None };
    let mut seen = HashSet::from([first.key()]);
    let mut queue = VecDeque::from([first]);
    while let Some(state) = queue.pop_front() {
        let next = match successors(&state) {
            Ok(next) => next,
            Err(violation) => return Explored { states: seen.len(), violation: Some(violation) },
        };
        for state in next {
            if seen.len() < STATES_MAX && seen.insert(state.key()) {
                queue.push_back(state);
            }
        }
    }
    Explored { states: seen.len(), violation: None }
}

fn successors(state: &State) -> Result<Vec<State>, Violation> {
    let State { world, budget, held } = state;
    let mut next: Vec<State> = Vec::new();
    let mut push = |world: World, budget: Budget, held: Option<Planned>| next.push(State { world, budget, held });
    // The operator, seeing everybody or all but one.
    let views = std::iter::once(None).chain(world.pods.keys().map(|ordinal| Some(*ordinal)));
    for silent in views {
        let Some(planned) = next_act(world, silent) else { continue };
        push(world.act(&planned)?, *budget, held.clone());
        push(world.with_status(), *budget, held.clone());
        if let Some(world) = world.half(&planned) {
            push(world, *budget, held.clone());
        }
        if held.is_none() && budget.stale > 0 {
            push(world.clone(), Budget { stale: budget.stale - 1, ..*budget }, Some(planned));
        }
    }
    if let Some(planned) = held {
        push(world.act(planned)?, *budget, None);
    }
    for world in world.environment() {
        push(world, *budget, held.clone());
    }
    for ordinal in world.pods.keys() {
        if budget.pods > 0 {
            push(world.without_pod(*ordinal), Budget { pods: budget.pods - 1, ..*budget }, held.clone());
        }
        for claim in Claim::ALL.into_iter().filter(|claim| budget.disks > 0 && world.has_claim(*claim, *ordinal)) {
            push(world.without_disk(claim, *ordinal), Budget { disks: budget.disks - 1, ..*budget }, held.clone());
        }
    }
    if budget.latches > 0 && world.latch.is_some() {
        push(world.without_latch(), Budget { latches: budget.latches - 1, ..*budget }, held.clone());
    }
    if budget.resizes > 0 {
        let other = if world.desired.replicas == 1 { 3 } else { 1 };
        push(world.resized(other), Budget { resizes: budget.resizes - 1, ..*budget }, held.clone());
    }
    if budget.tunings > 0 {
        push(world.retuned(), Budget { tunings: budget.tunings - 1, ..*budget }, held.clone());
    }
    if budget.deletions > 0 && world.exists && !world.desired.deleting {
        push(world.deleted(), Budget { deletions: budget.deletions - 1, ..*budget }, held.clone());
    }
    if budget.creations > 0 && !world.exists {
        for adopts in [true, false] {
            push(world.created_again(adopts), Budget { creations: budget.creations - 1, ..*budget }, held.clone());
        }
    }
    Ok(next)
}

fn next_act(world: &World, silent: Option<u32>) -> Option<Planned> {
    if !world.exists {
        return None;
    }
    let observed = world.observe(silent);
    match plan(&world.desired, &observed, Timestamp::UNIX_EPOCH, 0).step {
        Step::Act { action, .. } => Some(world.planned(action, &observed)),
        _ => None,
    }
}

/// Lets Kubernetes and the operator run without faults until nothing moves, and returns how it ended.
fn rest(mut world: World) -> Result<(World, Step), Violation> {
    for _ in 0..REST_STEPS_MAX {
        if let Some(next) = world.environment().into_iter().next() {
            world = next;
            continue;
        }
        match next_act(&world, None) {
            Some(planned) => world = world.act(&planned)?,
            None if !world.exists => return Ok((world, Step::Gone)),
            None => {
                let step = plan(&world.desired, &world.observe(None), Timestamp::UNIX_EPOCH, 0).step;
                return Ok((world, step));
            }
        }
    }
    Err(Violation("the world never comes to rest".to_owned()))
}

/// A world at rest of this size.
fn whole(replicas: u32) -> World {
    at_rest(World::new(replicas))
}

fn at_rest(world: World) -> World {
    let (world, _) = rest(world).expect("nothing goes wrong without faults");
    assert!(world.is_whole());
    world
}

/// A world at rest of this size, with the logs on volumes of their own.
fn whole_with_logs(replicas: u32) -> World {
    at_rest(World::with_logs(replicas))
}

const NONE: Budget =
    Budget { pods: 0, disks: 0, resizes: 0, stale: 0, latches: 0, tunings: 0, deletions: 0, creations: 0 };

/// One that was three, with the volumes of the two that were removed.
fn shrunk_and_retained(mut world: World) -> World {
    world.desired.storage.when_scaled = VolumePolicy::Retain;
    let (before, (world, _)) =
        (world.claims().count(), rest(world.resized(1)).expect("nothing goes wrong without faults"));
    assert_eq!(world.claims().count(), before, "volumes are retained");
    world
}

/// The same world, whose volumes go with the object.
fn without_retention(mut world: World) -> World {
    world.desired.storage.when_deleted = VolumePolicy::Delete;
    world
}

/// Explorations that must find nothing: from an empty world, and from whole ones under different mishaps.
fn scenarios() -> Vec<(&'static str, World, Budget)> {
    vec![
        ("founding, two operators", World::new(1), Budget { pods: 1, disks: 1, stale: 1, ..NONE }),
        ("founding and growing to three", World::new(3), Budget { pods: 1, disks: 1, ..NONE }),
        ("growing to three, two operators", World::new(3), Budget { stale: 1, ..NONE }),
        ("one loses its latch and its disk", whole(1), Budget { disks: 1, latches: 1, ..NONE }),
        ("three lose their latch and a disk", whole(3), Budget { disks: 1, latches: 1, ..NONE }),
        ("three lose two disks", whole(3), Budget { pods: 1, disks: 2, ..NONE }),
        ("three lose a disk, two operators", whole(3), Budget { disks: 1, stale: 1, ..NONE }),
        ("one grows and shrinks again", whole(1), Budget { pods: 1, resizes: 2, ..NONE }),
        ("three shrink and grow again", whole(3), Budget { disks: 1, resizes: 2, ..NONE }),
        ("three shrink, two operators", whole(3), Budget { resizes: 2, stale: 1, ..NONE }),
        (
            "three shrink and use retained disks again",
            shrunk_and_retained(whole(3)),
            Budget { resizes: 1, pods: 1, ..NONE },
        ),
        ("one is deleted while it is founded", World::new(1), Budget { deletions: 1, creations: 1, ..NONE }),
        (
            "one goes with its disks while it is founded",
            without_retention(World::new(1)),
            Budget { deletions: 1, creations: 1, ..NONE },
        ),
        (
            "one is deleted and adopted, two operators",
            whole(1),
            Budget { deletions: 1, creations: 1, stale: 1, ..NONE },
        ),
        ("three are deleted and adopted", whole(3), Budget { deletions: 1, creations: 1, ..NONE }),
        (
            "three go with their disks, two operators",
            without_retention(whole(3)),
            Budget { deletions: 1, creations: 1, stale: 1, ..NONE },
        ),
        ("three change their timers", whole(3), Budget { tunings: 2, pods: 1, ..NONE }),
        ("three change their timers, two operators", whole(3), Budget { tunings: 2, stale: 1, ..NONE }),
        ("three change their timers and lose a disk", whole(3), Budget { tunings: 1, disks: 1, ..NONE }),
        ("one changes its timers and grows", whole(1), Budget { tunings: 1, resizes: 1, ..NONE }),
        ("founding with a log elsewhere, two operators", World::with_logs(1), Budget { disks: 1, stale: 1, ..NONE }),
        ("growing to three with logs elsewhere", World::with_logs(3), Budget { disks: 1, ..NONE }),
        ("three lose a disk or a log, two operators", whole_with_logs(3), Budget { disks: 1, stale: 1, ..NONE }),
        ("three lose two disks or logs", whole_with_logs(3), Budget { disks: 2, ..NONE }),
        (
            "three with logs elsewhere shrink, two operators",
            whole_with_logs(3),
            Budget { resizes: 1, stale: 1, ..NONE },
        ),
        (
            "three use retained disks and logs again",
            shrunk_and_retained(whole_with_logs(3)),
            Budget { resizes: 1, pods: 1, ..NONE },
        ),
        (
            "one with its log elsewhere is deleted, loses its disk or log, and is adopted",
            whole_with_logs(1),
            Budget { disks: 1, deletions: 1, creations: 1, ..NONE },
        ),
        (
            "one goes with its disk and its log, two operators",
            without_retention(whole_with_logs(1)),
            Budget { deletions: 1, creations: 1, stale: 1, ..NONE },
        ),
    ]
}

#[test]
fn no_order_of_acts_and_faults_breaks_an_invariant() {
    for (name, world, budget) in scenarios() {
        let Explored { states, violation } = explore(world, budget);
        println!("{name}: {states} states");
        assert_eq!(violation, None, "{name}");
        assert!(states < STATES_MAX, "{name} is not explored to its end");
        assert!(states > 3, "{name} explores next to nothing");
    }
}

#[test]
fn every_planted_removal_of_a_guard_is_caught() {
    let everything =
        [Guard::FoundOnce, Guard::FoundSameDisk, Guard::DiskIdentity, Guard::Votes, Guard::Evidence, Guard::MemberGone];
    for guard in everything {
        // The worlds are made while the guard is there.
        let scenarios = scenarios();
        planted::REMOVED.with(|removed| removed.set(Some(guard)));
        let caught = scenarios
            .into_iter()
            .find_map(|(name, world, budget)| explore(world, budget).violation.map(|violation| (name, violation)));
        planted::REMOVED.with(|removed| removed.set(None));
        println!("{guard:?}: {caught:?}");
        assert!(caught.is_some(), "without {guard:?} nothing goes wrong: the exploration proves nothing about it");
    }
}

#[test]
fn world_without_further_faults_comes_to_rest_whole_or_says_why_not() {
    let firsts = [World::new(1), World::new(3), whole(3), without_retention(whole(3)), shrunk_and_retained(whole(3))];
    let with_logs = [
        World::with_logs(1),
        World::with_logs(3),
        without_retention(whole_with_logs(3)),
        shrunk_and_retained(whole_with_logs(3)),
    ];
    let firsts = firsts.into_iter().chain(with_logs);
    let mut first: Vec<(World, u8)> = firsts.map(|world| (world, 0)).collect();
    let mut ends = std::collections::BTreeMap::<String, usize>::new();
    // One mishap at every point of an undisturbed run; what was deleted is created again at every point of its going.
    while let Some((world, faults)) = first.pop() {
        let (end, step) = rest(world.clone()).unwrap();
        let name = match step {
            Step::Steady => {
                assert!(end.is_whole(), "steady without being whole");
                "whole".to_owned()
            }
            Step::Stall(stall) => {
                assert!(["FoundingDiskLost", "DisksLost"].contains(&stall.reason), "{stall:?}");
                stall.reason.to_owned()
            }
            Step::Gone => {
                assert!(end.is_gone(), "gone and not all of it went");
                if faults < 2 {
                    first.push((end.created_again(true), 2));
                }
                "gone".to_owned()
            }
            other => panic!("neither whole nor stalled: {other:?}"),
        };
        *ends.entry(name).or_default() += 1;
        if faults == 0 {
            first.extend(along(world).into_iter().map(|disturbed| (disturbed, 1)));
        }
    }
    println!("{ends:?}");
    assert!(ends["whole"] > 20 && ends["gone"] > 20);
    assert!(ends["DisksLost"] > 0);
}

/// Every world on the way to rest, with each pod or disk taken away, the size or the timers changed, or the object deleted.
fn along(mut world: World) -> Vec<World> {
    let mut disturbed = Vec::new();
    for _ in 0..REST_STEPS_MAX {
        for ordinal in world.pods.keys() {
            disturbed.push(world.without_pod(*ordinal));
            let lost = Claim::ALL.into_iter().filter(|claim| world.has_claim(*claim, *ordinal));
            disturbed.extend(lost.map(|claim| world.without_disk(claim, *ordinal)));
        }
        disturbed.push(world.resized(if world.desired.replicas == 1 { 3 } else { 1 }));
        disturbed.extend([world.retuned(), world.deleted()]);
        let act = next_act(&world, None);
        disturbed.extend(act.iter().filter_map(|planned| world.half(planned)));
        let next = match world.environment().into_iter().next() {
            Some(next) => Some(next),
            None => act.map(|planned| world.act(&planned).expect("no violation")),
        };
        match next {
            Some(next) => world = next,
            None => break,
        }
    }
    disturbed
}

#[test]
fn every_size_becomes_every_other() {
    let sizes = [1, 3, 5, 7];
    for (from, to) in sizes.into_iter().flat_map(|from| sizes.map(|to| (from, to))) {
        let (end, step) = rest(whole(from).resized(to)).unwrap();
        assert!(matches!(step, Step::Steady) && end.is_whole(), "{from} to {to}: {step:?}");
    }
}

#[test]
fn five_and_seven_survive_the_loss_of_a_disk_at_any_moment() {
    for size in [5, 7] {
        let Explored { states, violation } = explore(whole(size), Budget { disks: 1, ..NONE });
        println!("{size} lose a disk: {states} states");
        assert_eq!(violation, None, "{size}");
        assert!(states < STATES_MAX && states > 20, "{size}: {states} states");
    }
}
