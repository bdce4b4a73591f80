//! Medians and spreads. Rounds on a shared machine have outliers, so nothing here is a mean.

use serde::Serialize;

/// A median with the smallest and largest of what it stands for.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Spread {
    /// Middle one; of an even number the mean of the two in the middle.
    pub median: f64,
    /// Smallest.
    pub min: f64,
    /// Largest.
    pub max: f64,
}

impl Spread {
    /// Of these numbers; none when there are no numbers or one is not finite.
    pub fn of(numbers: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut sorted: Vec<f64> = numbers.into_iter().collect();
        if sorted.iter().any(|number| !number.is_finite()) {
            return None;
        }
        sorted.sort_by(f64::total_cmp);
        let (min, max) = (*sorted.first()?, *sorted.last()?);
        let upper = sorted.get(sorted.len() / 2)?;
        let lower = sorted.get((sorted.len() - 1) / 2)?;
        Some(Self { median: f64::midpoint(*lower, *upper), min, max })
    }

    /// Of the quotients of pairs measured next to each other in one round; a zero below leaves its round out.
    pub fn of_ratios(pairs: impl IntoIterator<Item = (f64, f64)>) -> Option<Self> {
        Self::of(pairs.into_iter().filter(|(_, below)| *below != 0.0).map(|(above, below)| above / below))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spread(median: f64, min: f64, max: f64) -> Option<Spread> {
        Some(Spread { median, min, max })
    }

    #[test]
    fn the_median_is_the_middle_and_not_the_mean() {
        assert_eq!(Spread::of([100.0, 1.0, 2.0]), spread(2.0, 1.0, 100.0));
        assert_eq!(Spread::of([4.0, 1.0, 2.0, 100.0]), spread(3.0, 1.0, 100.0));
        assert_eq!(Spread::of([7.0]), spread(7.0, 7.0, 7.0));
    }

    #[test]
    fn nothing_has_no_median() {
        assert_eq!(Spread::of([]), None);
        assert_eq!(Spread::of([1.0, f64::NAN]), None);
    }

    #[test]
    fn ratios_are_made_within_a_round() {
        // The machine was half as fast in the second round: the ratio does not see it.
        assert_eq!(Spread::of_ratios([(200.0, 100.0), (100.0, 50.0)]), spread(2.0, 2.0, 2.0));
        assert_eq!(Spread::of_ratios([(6.0, 2.0), (1.0, 0.0)]), spread(3.0, 3.0, 3.0));
        assert_eq!(Spread::of_ratios([(1.0, 0.0)]), None);
    }
}
