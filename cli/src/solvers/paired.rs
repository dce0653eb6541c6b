//! How much worse may one solver be than another, judged on the same samples? Bounds at 95 %, to one side.

/// The 95th percentile of the standard normal distribution.
const QUANTILE: f64 = 1.644_853_626_951_472_2;

/// A bound on the loss of accuracy, as a share, where of so many samples some are `lost` (right before, wrong now) and
/// others `won`. Samples on which both agree tell nothing; the interval is Wald's with half a sample more in each of the
/// four cells, which keeps its level where few disagree (A. Agresti, Y. Min, Statistics in Medicine 24, 2005).
pub(super) fn drop_of_accuracy(lost: usize, won: usize, samples: usize) -> f64 {
    let n = samples as f64 + 2.0;
    let (lost, won) = (lost as f64 + 0.5, won as f64 + 0.5);
    let difference = lost - won;
    (difference + QUANTILE * (lost + won - difference * difference / n).sqrt()) / n
}

/// A bound on the rise of the mean loss, relative to what it was: Student's, of the differences.
pub(super) fn rise_of_loss(before: &[f64], after: &[f64]) -> f64 {
    let n = before.len() as f64;
    if n < 2.0 {
        return f64::INFINITY;
    }
    let differences: Vec<f64> = after.iter().zip(before).map(|(after, before)| after - before).collect();
    let mean = differences.iter().sum::<f64>() / n;
    let variance = differences.iter().map(|x| (x - mean) * (x - mean)).sum::<f64>() / (n - 1.0);
    let rise = mean + student(n - 1.0) * (variance / n).sqrt();
    // Nats may be negative.
    rise / (before.iter().sum::<f64>() / n).abs()
}

/// The 95th percentile of Student's distribution, by the expansion of Cornish and Fisher: to 1 % from 4 degrees of
/// freedom on.
fn student(freedom: f64) -> f64 {
    let z = QUANTILE;
    let first = (z.powi(3) + z) / 4.0;
    let second = (5.0 * z.powi(5) + 16.0 * z.powi(3) + 3.0 * z) / 96.0;
    z + first / freedom + second / (freedom * freedom)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_of_a_share_by_hand() {
        assert!((drop_of_accuracy(0, 0, 2000) - QUANTILE / 2002.0).abs() < 1e-15, "what 2,000 agreements leave open");
        // b = 12.5, c = 4.5 of n = 102: (8 + z sqrt(17 - 64/102)) / 102.
        let expected = (8.0 + 1.644_853_627 * (17.0f64 - 64.0 / 102.0).sqrt()) / 102.0;
        assert!((drop_of_accuracy(12, 4, 100) - expected).abs() < 1e-9);
        assert!(drop_of_accuracy(0, 40, 1000) < 0.0, "surely better");
    }

    /// Binomial disagreements, lost and won alike: the bound is below the truth, 0, in about a twentieth of the cases.
    #[test]
    fn the_level_is_kept() {
        let mut random = fewsteps::Random::new(1, fewsteps::Purpose::Data, 0);
        let below = |rate: f64, random: &mut fewsteps::Random| {
            let counts = (0..2000).fold([0, 0], |[lost, won], _| {
                let x = random.uniform();
                [lost + usize::from(x < rate), won + usize::from((rate..2.0 * rate).contains(&x))]
            });
            drop_of_accuracy(counts[0], counts[1], 2000) < 0.0
        };
        for rate in [0.001, 0.01] {
            let count = (0..1000).filter(|_| below(rate, &mut random)).count();
            assert!((10..=75).contains(&count), "at {rate}: {count} of 1,000, where 50 are expected");
        }
    }

    #[test]
    fn bounds_of_a_loss_by_hand() {
        // Differences 0.1, 0.3: mean 0.2, standard error 0.1; the mean before is 2.
        let found = rise_of_loss(&[1.0, 3.0], &[1.1, 3.3]);
        assert!((found - (0.2 + student(1.0) * 0.1) / 2.0).abs() < 1e-15, "{found}");
        assert_eq!(rise_of_loss(&[1.0, 2.0, 3.0], &[1.0, 2.0, 3.0]), 0.0, "the same");
        for (freedom, table) in [(4.0, 2.132), (9.0, 1.833), (30.0, 1.697), (1e6, 1.645)] {
            assert!((student(freedom) / table - 1.0).abs() < 0.01, "{freedom}: {}", student(freedom));
        }
    }
}
