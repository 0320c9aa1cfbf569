//! Sigmoid and softplus from basic IEEE operations only.
//!
//! The loss evaluates both for every class logit of every location. Written without calls into the platform's
//! maths library they vectorise, and give the same bits on every machine, which the promise "same seed, same
//! model" needs.

/// `exp(z)` for `z <= 0`, relative error below 2e-7; arguments under -87 are taken as -87.
#[inline(always)]
fn exp_nonpositive(z: f32) -> f32 {
    const LOG2_E: f32 = std::f32::consts::LOG2_E;
    // ln 2 in two parts, so that subtracting n ln 2 is exact to single precision (Cody and Waite 1980).
    const LN2_HIGH: f32 = 0.693_359_4;
    const LN2_LOW: f32 = -2.121_944_4e-4;
    // Adding 1.5 * 2^23 rounds to an integer and leaves that integer in the low mantissa bits.
    const ROUND: f32 = 12_582_912.0;
    let z = if z < -87.0 { -87.0 } else { z };
    let shifted = z * LOG2_E + ROUND;
    let n = shifted - ROUND;
    let r = z - n * LN2_HIGH - n * LN2_LOW;
    let p = 1.0 / 5040.0;
    let p = p * r + 1.0 / 720.0;
    let p = p * r + 1.0 / 120.0;
    let p = p * r + 1.0 / 24.0;
    let p = p * r + 1.0 / 6.0;
    let p = p * r + 0.5;
    let p = p * r + 1.0;
    let p = p * r + 1.0;
    let exponent = shifted.to_bits().wrapping_sub(ROUND.to_bits()).wrapping_add(127);
    p * f32::from_bits(exponent << 23)
}

/// `ln(1 + e)` for `0 <= e <= 1`, relative error below 2e-7: 2 artanh(e / (2 + e)) as a series.
#[inline(always)]
fn ln_1p_unit(e: f32) -> f32 {
    let s = e / (2.0 + e);
    let s2 = s * s;
    let p = 1.0 / 13.0;
    let p = p * s2 + 1.0 / 11.0;
    let p = p * s2 + 1.0 / 9.0;
    let p = p * s2 + 1.0 / 7.0;
    let p = p * s2 + 1.0 / 5.0;
    let p = p * s2 + 1.0 / 3.0;
    let p = p * s2 + 1.0;
    2.0 * s * p
}

/// A logit with everything the losses need of it; no term loses precision for large `|x|`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Logistic {
    /// `1 / (1 + exp(-x))`.
    pub(crate) p: f32,
    /// `1 - p`, without cancellation.
    pub(crate) q: f32,
    /// `ln(1 + exp(x))`, the cross-entropy of a negative; that of a positive is `softplus - x`.
    pub(crate) softplus: f32,
}

/// Probability, its complement and softplus of a logit.
#[inline(always)]
pub(crate) fn logistic(x: f32) -> Logistic {
    let positive = x >= 0.0;
    let e = exp_nonpositive(-x.abs());
    let large = 1.0 / (1.0 + e);
    let small = e * large;
    let (p, q) = if positive { (large, small) } else { (small, large) };
    let ramp = if positive { x } else { 0.0 };
    Logistic { p, q, softplus: ramp + ln_1p_unit(e) }
}

/// `1 / (1 + exp(-x))`.
#[inline(always)]
pub(crate) fn sigmoid(x: f32) -> f32 {
    logistic(x).p
}

/// `ln(1 + exp(x))`.
#[inline(always)]
pub(crate) fn softplus(x: f32) -> f32 {
    logistic(x).softplus
}

/// `base` to a whole power by multiplication, so that it too is the same everywhere.
#[inline]
pub(crate) fn power(base: f32, exponent: u32) -> f32 {
    (0..exponent).fold(1.0, |product, _| product * base)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn logistic_agrees_with_double_precision() {
        for step in -800..=800 {
            let x = step as f32 * 0.1 + 0.013;
            let l = logistic(x);
            let exact = f64::from(x);
            let softplus = exact.max(0.0) + (-exact.abs()).exp().ln_1p();
            for (name, found, expected) in [
                ("p", l.p, 1.0 / (1.0 + (-exact).exp())),
                ("q", l.q, 1.0 / (1.0 + exact.exp())),
                ("softplus", l.softplus, softplus),
            ] {
                let relative = (f64::from(found) - expected).abs() / expected;
                assert!(relative < 5e-7, "{name}({x}) = {found}, expected {expected}, relative {relative}");
            }
        }
    }

    #[test]
    fn extremes_stay_finite_and_nan_is_kept() {
        for x in [f32::MAX, f32::MIN, f32::INFINITY, f32::NEG_INFINITY, 0.0, -0.0] {
            let l = logistic(x);
            assert!(l.p >= 0.0 && l.p <= 1.0 && l.q >= 0.0 && l.q <= 1.0, "{x}: {l:?}");
            assert!(l.softplus >= 0.0, "{x}: {l:?}");
        }
        assert!(logistic(f32::NAN).p.is_nan());
    }

    #[test]
    fn power_is_repeated_multiplication() {
        assert_eq!(power(0.5, 0), 1.0);
        assert_eq!(power(0.5, 3), 0.125);
    }
}
