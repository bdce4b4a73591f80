//! Makes a sequence that shows a difference small: takes away steps, larger chunks first, and then fields of the steps that are left,
//! each time on fresh servers, as long as the same RPC still differs.

use std::time::{Duration, Instant};

use prost_reflect::{DynamicMessage, Value};

use crate::Error;
use crate::generate::Sequence;
use crate::run::{Divergence, play};
use crate::server::Programs;
use crate::step::Step;

/// The smallest sequence that was found within the time, and its difference. Never more steps than given.
///
/// # Errors
/// Those of the judge itself.
pub async fn shrink(
    programs: &Programs,
    sequence: Sequence,
    divergence: Divergence,
    within: Duration,
) -> Result<(Sequence, Divergence), Error> {
    let mut steps = sequence.steps;
    steps.truncate(divergence.step + 1);
    let mut search = Search {
        programs,
        wanted: rpc(&divergence),
        best: (Sequence { setting: sequence.setting, steps }, divergence),
        deadline: Instant::now() + within,
    };
    search.steps().await?;
    search.fields().await?;
    // A field less may have made another step superfluous.
    search.steps().await?;
    Ok(search.best)
}

fn rpc(divergence: &Divergence) -> String {
    Step::parse(&divergence.line).map(|step| step.name().to_owned()).unwrap_or_default()
}

struct Search<'a> {
    programs: &'a Programs,
    wanted: String,
    best: (Sequence, Divergence),
    deadline: Instant,
}

impl Search<'_> {
    fn out_of_time(&self) -> bool {
        Instant::now() >= self.deadline
    }

    /// Keeps the steps when the servers still differ on them, cut after the step that does.
    async fn accepts(&mut self, mut steps: Vec<Step>) -> Result<bool, Error> {
        let setting = self.best.0.setting.clone();
        let played = play(self.programs, &setting, &steps).await?;
        let Some(divergence) = played.divergence.filter(|divergence| rpc(divergence) == self.wanted) else {
            return Ok(false);
        };
        steps.truncate(divergence.step + 1);
        self.best = (Sequence { setting, steps }, divergence);
        Ok(true)
    }

    async fn steps(&mut self) -> Result<(), Error> {
        let mut chunk = self.best.0.steps.len().div_ceil(2);
        while chunk > 0 && !self.out_of_time() {
            // From the end: later steps depend on earlier ones.
            let mut end = self.best.0.steps.len();
            while end > 0 && !self.out_of_time() {
                let start = end.saturating_sub(chunk);
                let mut fewer = self.best.0.steps.clone();
                fewer.drain(start..end);
                if !fewer.is_empty() {
                    self.accepts(fewer).await?;
                }
                end = start.min(self.best.0.steps.len());
            }
            chunk = if chunk == 1 { 0 } else { chunk.div_ceil(2) };
        }
        Ok(())
    }

    async fn fields(&mut self) -> Result<(), Error> {
        let mut step = 0;
        while step < self.best.0.steps.len() {
            let mut tried = 0;
            while !self.out_of_time() {
                let mut fewer = self.best.0.steps.clone();
                let Some(request) = fewer[step].request_mut() else { break };
                let mut skip = tried;
                if !without_one(request, &mut skip) {
                    break;
                }
                // Accepted, the next part has this one's number.
                if !self.accepts(fewer).await? {
                    tried += 1;
                }
                if step >= self.best.0.steps.len() {
                    return Ok(());
                }
            }
            step += 1;
        }
        Ok(())
    }
}

/// Takes the n-th part (a field, or one of a repeated field's values) out of a message; false when there are fewer.
fn without_one(message: &mut DynamicMessage, skip: &mut usize) -> bool {
    let fields: Vec<_> = message.fields().map(|(field, _)| field).collect();
    for field in fields {
        let count = message.get_field(&field).as_list().map_or(1, <[Value]>::len);
        if *skip < count {
            match message.get_field_mut(&field) {
                Value::List(values) if count > 1 => drop(values.remove(*skip)),
                _ => message.clear_field(&field),
            }
            return true;
        }
        *skip -= count;
        let inner: &mut [Value] = match message.get_field_mut(&field) {
            Value::List(values) => values,
            value => std::slice::from_mut(value),
        };
        for value in inner {
            if let Value::Message(inner) = value
                && without_one(inner, skip)
            {
                return true;
            }
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_part_of_a_message_is_taken_out_once() {
        let line =
            "KV.Txn success { request_put { key: \"a\" value: \"1\" } } success { request_range { key: \"b\" } }";
        let step = Step::parse(line).unwrap();
        let mut seen = Vec::new();
        for n in 0.. {
            let mut request = step.request().unwrap().clone();
            if !without_one(&mut request, &mut { n }) {
                break;
            }
            assert_ne!(&request, step.request().unwrap());
            assert!(!seen.contains(&request), "part {n} was taken before");
            seen.push(request);
        }
        // Two operations, their two requests, and three fields of these.
        assert_eq!(seen.len(), 7);
    }
}
