//! The queues beside a model that walks all leases for every answer.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

#[derive(Debug, Clone)]
enum Step {
    Grant {
        id: i64,
        ttl_s: i64,
    },
    Revoke(i64),
    Renew(i64),
    /// Milliseconds pass, with nothing looking: a short while, or a pause of the whole process.
    Pass(u64),
    Promote {
        extend_ms: u64,
    },
    Demote,
    /// Take up to this many due leases and begin their expiry.
    Expire(usize),
    /// Apply the expiry of one lease.
    Outcome(usize),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        6 => (0i64..30, 1i64..6).prop_map(|(id, ttl_s)| Step::Grant { id, ttl_s }),
        2 => (0i64..30).prop_map(Step::Revoke),
        6 => (0i64..30).prop_map(Step::Renew),
        6 => prop_oneof![4 => 0u64..800, 1 => 0u64..20_000].prop_map(Step::Pass),
        1 => (0u64..3000).prop_map(|extend_ms| Step::Promote { extend_ms }),
        1 => Just(Step::Demote),
        4 => (1usize..8).prop_map(Step::Expire),
        4 => any::<usize>().prop_map(Step::Outcome),
    ];
    prop::collection::vec(step, 1..300)
}

#[derive(Debug, Clone)]
struct Naive {
    ttl_s: i64,
    grant_index: u64,
    expires_ms: u64,
    expiring: bool,
}

#[derive(Default)]
struct Model {
    leases: BTreeMap<i64, Naive>,
    leads: bool,
}

impl Model {
    /// When a lease that gets its TTL now is over: not before another of the same TTL.
    fn expiry(&self, now_ms: u64, id: i64, ttl_s: i64) -> u64 {
        let queue =
            self.leases.iter().filter(|(other, lease)| **other != id && lease.ttl_s == ttl_s && !lease.expiring);
        queue.map(|(_, lease)| lease.expires_ms).fold(now_ms + ttl_s as u64 * 1000, u64::max)
    }

    fn due(&self, now_ms: u64) -> Vec<Due> {
        let over = |lease: &&Naive| self.leads && !lease.expiring && lease.expires_ms <= now_ms;
        let rows = self.leases.iter().filter(|(_, lease)| over(lease));
        rows.map(|(id, lease)| Due { id: *id, grant_index: lease.grant_index }).collect()
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn leases_expire_as_in_a_model_that_walks_all_of_them(steps in steps()) {
        let (mut leases, mut model) = (Leases::default(), Model::default());
        let (mut now_ms, mut index, mut term) = (1000, 0, 0);
        for step in steps {
            index += 1;
            match step {
                Step::Grant { id, ttl_s } => {
                    leases.grant(now_ms, id, ttl_s, index);
                    let expires_ms = model.expiry(now_ms, id, ttl_s);
                    model.leases.insert(id, Naive { ttl_s, grant_index: index, expires_ms, expiring: false });
                }
                Step::Revoke(id) => prop_assert_eq!(leases.revoke(id), model.leases.remove(&id).is_some()),
                Step::Renew(id) if model.leads => {
                    let renewed_ms = model.leases.get(&id).map(|lease| model.expiry(now_ms, id, lease.ttl_s));
                    let expected = match (model.leases.get_mut(&id), renewed_ms) {
                        (Some(lease), Some(_)) if lease.expiring || lease.expires_ms <= now_ms => Renewal::Expiring,
                        (Some(lease), Some(renewed_ms)) => {
                            lease.expires_ms = lease.expires_ms.max(renewed_ms);
                            Renewal::Renewed { ttl_s: lease.ttl_s }
                        }
                        _ => Renewal::Missing,
                    };
                    prop_assert_eq!(leases.renew(now_ms, now_ms, id), expected);
                }
                Step::Renew(_) => {}
                Step::Pass(ms) => now_ms += ms,
                Step::Promote { extend_ms } => {
                    term += 1;
                    leases.promote(now_ms, term, extend_ms);
                    let base_ms = now_ms + extend_ms;
                    model.leads = true;
                    for lease in model.leases.values_mut() {
                        (lease.expires_ms, lease.expiring) = (base_ms + lease.ttl_s as u64 * 1000, false);
                    }
                }
                Step::Demote => {
                    leases.demote();
                    model.leads = false;
                    model.leases.values_mut().for_each(|lease| lease.expiring = false);
                }
                Step::Expire(max) => {
                    let all = model.due(now_ms);
                    let due = leases.due(now_ms, max);
                    prop_assert_eq!(due.len(), all.len().min(max));
                    for due in due {
                        prop_assert!(all.contains(&due));
                        prop_assert!(!leases.is_expiring(due) && leases.expire(now_ms, due) && leases.is_expiring(due));
                        prop_assert!(!leases.expire(now_ms, due));
                        model.leases.get_mut(&due.id).expect("it is due").expiring = true;
                    }
                }
                Step::Outcome(at) => {
                    let expiring: Vec<i64> =
                        model.leases.iter().filter(|(_, lease)| lease.expiring).map(|(id, _)| *id).collect();
                    prop_assert_eq!(leases.expiring_len(), expiring.len());
                    if let Some(id) = expiring.get(at % expiring.len().max(1)) {
                        prop_assert!(leases.revoke(*id));
                        model.leases.remove(id);
                    }
                }
            }
            let mut due = leases.due(now_ms, usize::MAX);
            due.sort_unstable();
            prop_assert_eq!(&due, &model.due(now_ms));
            let waiting = model.leases.values().filter(|lease| !lease.expiring).map(|lease| lease.expires_ms).min();
            match (leases.next_due_ms(), waiting.filter(|_| model.leads)) {
                (Some(wake_ms), Some(first_ms)) => prop_assert!(wake_ms <= first_ms),
                (None, first_ms) => prop_assert_eq!(first_ms, None),
                (Some(_), None) => prop_assert!(false, "woken for nothing"),
            }
            for (id, lease) in &model.leases {
                let expected = model.leads.then_some(Remaining {
                    granted_s: lease.ttl_s,
                    remaining_ms: lease.expires_ms.saturating_sub(now_ms),
                });
                prop_assert_eq!(leases.remaining(now_ms, *id), expected);
            }
            prop_assert_eq!(leases.len(), model.leases.len());
        }
    }
}

#[test]
fn a_renewal_counts_from_its_arrival_however_long_the_confirmation_took() {
    let mut leases = Leases::default();
    leases.promote(0, 1, 0);
    leases.grant(0, 7, 2, 1);
    assert_eq!(leases.renew(2500, 1999, 7), Renewal::Renewed { ttl_s: 2 });
    assert_eq!(leases.renew(4500, 4500, 7), Renewal::Expiring, "over when it arrived");
    assert_eq!(leases.renew(4500, 4499, 8), Renewal::Missing);
}

#[test]
fn a_lease_renewed_between_being_due_and_being_proposed_does_not_expire() {
    let mut leases = Leases::default();
    leases.promote(0, 1, 0);
    leases.grant(0, 7, 2, 1);
    let due = leases.due(2000, 10);
    assert_eq!(due, [Due { id: 7, grant_index: 1 }]);
    assert_eq!(leases.renew(2001, 1990, 7), Renewal::Renewed { ttl_s: 2 });
    assert!(!leases.expire(2001, due[0]));
    leases.grant(2001, 7, 2, 9);
    assert!(!leases.expire(9000, due[0]), "granted again, it is another lease");
}

#[test]
fn a_promotion_gives_every_lease_its_whole_ttl_after_the_extension() {
    let mut leases = Leases::default();
    (0..1000).for_each(|id| leases.grant(0, id, 5, 1));
    assert_eq!((leases.due(49_000, 10), leases.next_due_ms()), (vec![], None), "a follower expires nothing");
    leases.promote(50_000, 2, 1000);
    assert_eq!(leases.next_due_ms(), Some(56_000));
    assert_eq!(leases.due(55_999, 2000), []);
    assert_eq!(leases.due(56_000, 2000).len(), 1000);
}

#[test]
fn a_lease_of_the_first_second_of_a_leadership_lives_for_its_ttl_unless_older_ones_stand_before_it() {
    let mut leases = Leases::default();
    leases.grant(0, 1, 5, 1);
    leases.promote(0, 1, 1000);
    leases.grant(100, 2, 7, 2);
    leases.grant(100, 3, 5, 3);
    let left = |id| leases.remaining(200, id).map(|remaining| remaining.remaining_ms);
    assert_eq!(left(2), Some(6900), "nobody was promised more");
    assert_eq!((left(1), left(3)), (Some(5800), Some(5800)), "in the order of their queue");
    assert_eq!(leases.next_due_ms(), Some(6000));
}

#[test]
fn a_renewal_never_takes_back_what_a_promotion_gave() {
    let mut leases = Leases::default();
    leases.grant(0, 1, 5, 1);
    leases.promote(0, 1, 1000);
    let left = |leases: &Leases| leases.remaining(100, 1).map(|remaining| remaining.remaining_ms);
    assert_eq!(left(&leases), Some(5900), "so a client may have been told");
    assert_eq!(leases.renew(100, 100, 1), Renewal::Renewed { ttl_s: 5 });
    assert_eq!(left(&leases), Some(5900));
    assert_eq!(leases.due(5999, 10), []);
}

#[test]
fn leases_are_listed_by_the_time_they_have_left() {
    let mut leases = Leases::default();
    for (id, ttl_s) in [(1, 9), (2, 5), (-3, 5), (4, 7)] {
        leases.grant(0, id, ttl_s, leases.len() as u64);
    }
    let sorted = |leases: &Leases| {
        let mut rows = leases.list();
        rows.sort_unstable();
        rows.iter().map(|row| row.id).collect::<Vec<i64>>()
    };
    assert_eq!(sorted(&leases), [2, -3, 4, 1], "on a follower by TTL");
    leases.promote(0, 1, 0);
    assert_eq!(leases.renew(4500, 4500, 2), Renewal::Renewed { ttl_s: 5 });
    assert_eq!(sorted(&leases), [-3, 4, 1, 2], "by when they are over: after 5, 7, 9 and 9.5 s");
}
