//! The model as one flat vector with a layout, and exact fixed-point sums.
