use super::*;

#[test]
fn widths_round_to_eight_without_losing_a_tenth() {
    for (base, width, expected) in [
        (32.0, 0.35, 16),
        (96.0, 0.35, 32),
        (16.0, 0.35, 8),
        (24.0, 0.5, 16),
        (32.0, 1.0, 32),
        (160.0, 0.5, 80),
    ] {
        assert_eq!(scaled(base, width), expected, "{base} x {width}");
    }
}
