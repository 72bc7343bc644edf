//! The terms of an entropy over a whole column, and the probabilities of a group.

use super::dispatched;
use super::exp::ln;

/// Floor of a probability inside a logarithm (METRICS.md).
pub const PROBABILITY_FLOOR: f64 = 1e-12;

dispatched! {
    /// `terms[i]` = -m ln m with m = max(`masses[i]`, 1e-12): the terms of the entropy of q.
    pub fn floored_terms(masses: &[f64], terms: &mut [f64]) = floored_terms_body
}

#[inline(always)]
fn floored_terms_body(masses: &[f64], terms: &mut [f64]) {
    for (term, &mass) in terms.iter_mut().zip(masses) {
        let m = mass.max(PROBABILITY_FLOOR);
        *term = -(m * ln(m));
    }
}

dispatched! {
    /// `terms[i]` = -w ln max(w, 1e-12): the terms of the entropy of the update weights.
    pub fn weight_terms(weights: &[f64], terms: &mut [f64]) = weight_terms_body
}

#[inline(always)]
fn weight_terms_body(weights: &[f64], terms: &mut [f64]) {
    for (term, &w) in terms.iter_mut().zip(weights) {
        *term = -(w * ln(w.max(PROBABILITY_FLOOR)));
    }
}

dispatched! {
    /// `terms[i]` = -p ln p, 0 where p is: the terms of the entropy of probabilities, however small.
    pub fn entropy_terms(probabilities: &[f64], terms: &mut [f64]) = entropy_terms_body
}

#[inline(always)]
fn entropy_terms_body(probabilities: &[f64], terms: &mut [f64]) {
    for (term, &p) in terms.iter_mut().zip(probabilities) {
        // Below the smallest normal double p ln p is nothing beside the other terms, whichever logarithm it has.
        *term = -(p * ln(p.max(f64::MIN_POSITIVE)));
    }
}
