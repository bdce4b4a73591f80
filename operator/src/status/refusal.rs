//! An action that was refused is tried again, because the rule that forbids it may be gone; until it gets through, the status goes on
//! saying what it was refused for. A condition that was taken back at every try would show everybody who looks at the wrong moment
//! that nothing is the matter, and each of its turns, a change of the object, would begin the next try at once.

use crate::act;
use crate::crd::QuorateClusterStatus;
use crate::plan::{Stall, Step};

use super::type_;

/// By the API server or an admission controller.
const REFUSED: &str = "Refused";
/// By a member of an older release.
const NOT_SUPPORTED: &str = "NotSupported";

/// What an action's failure means to a person, if only a person helps.
pub fn stall(action: &'static str, error: &act::Error) -> Option<Stall> {
    let reason = match error {
        error if error.is_refused() => REFUSED,
        error if error.is_unsupported() => NOT_SUPPORTED,
        _ => return None,
    };
    let said = match error {
        act::Error::Kubernetes(kube::Error::Api(status)) => status.message.clone(),
        error => error.to_string(),
    };
    Some(Stall { reason, message: format!("{action}: {said}") })
}

/// What the previous status says of an action like the one of this step, as long as the spec is that of `generation` still.
pub fn standing(previous: Option<&QuorateClusterStatus>, generation: i64, step: &Step) -> Option<Stall> {
    let Step::Act { action, .. } = step else { return None };
    let stalled = previous?.conditions.iter().find(|one| one.type_ == type_::STALLED && one.status == "True")?;
    let reason = [REFUSED, NOT_SUPPORTED].into_iter().find(|reason| *reason == stalled.reason)?;
    let is_of_it = stalled.message.strip_prefix(action.name()).is_some_and(|rest| rest.starts_with(": "));
    let stands = is_of_it && stalled.observed_generation == Some(generation);
    stands.then(|| Stall { reason, message: stalled.message.clone() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observed::Observed;
    use crate::plan::{Action, fixture, plan};
    use crate::render::Child;
    use crate::status::{View, view};
    use jiff::Timestamp;

    fn status(generation: i64, step: &Step, previous: Option<&QuorateClusterStatus>) -> QuorateClusterStatus {
        let mut desired = fixture::desired(1);
        desired.generation = generation;
        let observed: Observed = fixture::running(&desired, 1);
        let now = Timestamp::from_second(generation).unwrap();
        let facts = plan(&desired, &observed, now, 7).facts;
        let certificates = Vec::new();
        let overdue = None;
        view(&View {
            desired: &desired,
            observed: &observed,
            facts: &facts,
            step,
            overdue,
            certificates,
            previous,
            now,
        })
    }

    fn apply() -> Step {
        Step::Act { action: Action::Apply(Child::StatefulSet), why: "it is missing".to_owned() }
    }

    fn refused(generation: i64) -> QuorateClusterStatus {
        let error =
            kube::Error::Api(Box::new(kube::core::Status::failure("no such operator", "Invalid").with_code(422)));
        let stall = stall("Apply", &act::Error::Kubernetes(error)).expect("it is a refusal");
        assert_eq!((stall.reason, stall.message.as_str()), (REFUSED, "Apply: no such operator"));
        status(generation, &Step::Stall(stall), None)
    }

    #[test]
    fn refusal_stands_while_the_action_is_tried_again() {
        let before = refused(4);
        let stands = standing(Some(&before), 4, &apply()).expect("the same action, the same spec");
        assert_eq!(status(4, &Step::Stall(stands), Some(&before)), before, "and nothing is written for the try");
    }

    #[test]
    fn refusal_is_taken_back_for_another_spec_another_action_and_when_nothing_was_refused() {
        let before = refused(4);
        assert_eq!(standing(Some(&before), 5, &apply()), None, "another spec");
        let other = Step::Act { action: Action::AddFinalizer, why: "it is missing".to_owned() };
        assert_eq!(standing(Some(&before), 4, &other), None, "another action");
        assert_eq!(standing(Some(&before), 4, &Step::Steady), None, "nothing is left to do");
        assert_eq!(standing(None, 4, &apply()), None, "the first round");
        let conflict = Stall { reason: "NameConflict", message: "Apply: somebody else's".to_owned() };
        let before = status(4, &Step::Stall(conflict), None);
        assert_eq!(standing(Some(&before), 4, &apply()), None, "planned afresh at every round");
    }
}
