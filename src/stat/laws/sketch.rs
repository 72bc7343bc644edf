//! Sketches against the values that they stand for.

use super::*;

#[test]
fn fractions_above_count_whole_buckets_on_either_side_of_zero() {
    let sketch = Sketch::of(&[-4.0, -2.0, -1.0, 0.0, 0.0, 1.0, 2.0, 4.0]);
    let above = |threshold| sketch.fraction_above(threshold).unwrap() * 8.0;
    assert_eq!(
        [-5.0, -4.1, -3.0, -1.5, -0.5, 0.0, 0.5, 1.5, 3.0, 4.0].map(above),
        [8.0, 8.0, 7.0, 6.0, 5.0, 3.0, 3.0, 2.0, 1.0, 0.0]
    );
    assert_eq!([f64::NEG_INFINITY, f64::INFINITY].map(above), [8.0, 0.0]);
    assert_eq!(sketch.fraction_above(f64::NAN), None);
    assert_eq!(Sketch::default().fraction_above(0.0), None);
}
