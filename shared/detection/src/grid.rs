//! Where the predictions of an anchor-free head sit in the input.

use crate::boxes::BBox;

/// Most locations a grid may have: a 4096-pixel square at stride 4, far above any edge preset.
pub const LOCATIONS_MAX: usize = 1 << 20;

/// Why a grid cannot be made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GridError {
    /// No level, or a stride that is zero or not larger than the one before.
    #[error("strides must be positive and rising, found {found:?}")]
    Strides {
        /// The strides given.
        found: Vec<u32>,
    },
    /// An input without pixels, or with more locations than [`LOCATIONS_MAX`].
    #[error("an input of {width} x {height} pixels gives {found} locations, expected 1 to {max}", max = LOCATIONS_MAX)]
    Size {
        /// Input width in pixels.
        width: u32,
        /// Input height in pixels.
        height: u32,
        /// Locations it would have.
        found: u64,
    },
}

/// One feature map of the head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Level {
    /// Pixels of the input per cell.
    pub stride: u32,
    /// Cells per row: input width over stride, rounded up as a padded strided convolution does.
    pub columns: u32,
    /// Cells per column.
    pub rows: u32,
    /// Index of the level's first location.
    pub first: usize,
}

impl Level {
    /// Number of cells.
    pub fn len(&self) -> usize {
        self.columns as usize * self.rows as usize
    }

    /// Whether the level has no cells; never in a [`LocationGrid`].
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// One place where the head predicts a box.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Location {
    /// Centre of the cell, `(column + 0.5) * stride` input pixels.
    pub x: f32,
    /// Centre of the cell, `(row + 0.5) * stride` input pixels.
    pub y: f32,
    /// Stride of its level in pixels, as a number to multiply distances with.
    pub stride: f32,
    /// Index of its level.
    pub level: u32,
}

/// All locations of a head, level by level, row by row; the order of the model's outputs.
#[derive(Clone, Debug, PartialEq)]
pub struct LocationGrid {
    width: u32,
    height: u32,
    levels: Vec<Level>,
    locations: Vec<Location>,
}

impl LocationGrid {
    /// The grid of a network input of `width` x `height` pixels with levels of the given strides.
    ///
    /// # Errors
    /// Strides that do not rise from a positive number; an empty or absurdly large input.
    pub fn new(width: u32, height: u32, strides: &[u32]) -> Result<Self, GridError> {
        let rising = strides.windows(2).all(|pair| pair[0] < pair[1]);
        if strides.is_empty() || strides[0] == 0 || !rising {
            return Err(GridError::Strides { found: strides.to_vec() });
        }
        let cells = |stride: u32| u64::from(width.div_ceil(stride)) * u64::from(height.div_ceil(stride));
        let found = strides.iter().fold(0_u64, |sum, &stride| sum.saturating_add(cells(stride)));
        if found == 0 || found > LOCATIONS_MAX as u64 {
            return Err(GridError::Size { width, height, found });
        }
        let mut levels = Vec::with_capacity(strides.len());
        let mut locations = Vec::with_capacity(found as usize);
        for (index, &stride) in strides.iter().enumerate() {
            let level = Level {
                stride,
                columns: width.div_ceil(stride),
                rows: height.div_ceil(stride),
                first: locations.len(),
            };
            let size = stride as f32;
            for row in 0..level.rows {
                locations.extend((0..level.columns).map(|column| Location {
                    x: (column as f32 + 0.5) * size,
                    y: (row as f32 + 0.5) * size,
                    stride: size,
                    level: index as u32,
                }));
            }
            levels.push(level);
        }
        Ok(Self { width, height, levels, locations })
    }

    /// Input width in pixels.
    pub fn width(&self) -> u32 {
        self.width
    }

    /// Input height in pixels.
    pub fn height(&self) -> u32 {
        self.height
    }

    /// Number of locations over all levels.
    pub fn len(&self) -> usize {
        self.locations.len()
    }

    /// Whether there are no locations; never.
    pub fn is_empty(&self) -> bool {
        self.locations.is_empty()
    }

    /// The levels, finest first.
    pub fn levels(&self) -> &[Level] {
        &self.levels
    }

    /// The locations in output order.
    pub fn locations(&self) -> &[Location] {
        &self.locations
    }

    /// Calls `visit` with every location of a level whose centre lies strictly inside the box, in output order.
    pub(crate) fn inside(&self, level: usize, bbox: &BBox, mut visit: impl FnMut(usize)) {
        let Some(level) = self.levels.get(level) else { return };
        let (columns, rows) = (level.columns as usize, level.rows as usize);
        let stride = level.stride as f32;
        // One cell of slack on either side, so that rounding here cannot lose a location. Casts saturate.
        let from = |edge: f32| (edge / stride - 1.5).floor() as usize;
        let to = |edge: f32, cells: usize| ((edge / stride + 1.5).ceil() as usize).min(cells);
        for row in from(bbox.y1)..to(bbox.y2, rows) {
            for column in from(bbox.x1)..to(bbox.x2, columns) {
                let index = level.first + row * columns + column;
                let location = &self.locations[index];
                if bbox.contains(location.x, location.y) {
                    visit(index);
                }
            }
        }
    }

    /// The location of a level nearest to a point; the first of equals.
    pub(crate) fn nearest(&self, level: usize, x: f32, y: f32) -> usize {
        let level = &self.levels[level.min(self.levels.len() - 1)];
        // Ceil - 1 takes the lower index when the point lies on the border of two cells.
        let cell = |at: f32, cells: u32| {
            let index = (at / level.stride as f32).ceil() - 1.0;
            (index.max(0.0) as usize).min(cells as usize - 1)
        };
        level.first + cell(y, level.rows) * level.columns as usize + cell(x, level.columns)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn presets_have_the_locations_stated_for_them() {
        for (size, strides, expected) in [
            (96, &[8, 16][..], 180),
            (160, &[8, 16, 32], 525),
            (192, &[8, 16, 32], 756),
            (256, &[8, 16, 32], 1344),
            (320, &[8, 16, 32], 2100),
        ] {
            assert_eq!(LocationGrid::new(size, size, strides).unwrap().len(), expected, "{size} px");
        }
    }

    #[test]
    fn order_is_level_by_level_row_by_row() {
        let grid = LocationGrid::new(20, 9, &[8, 16]).unwrap();
        let found: Vec<_> = grid.locations().iter().map(|l| (l.x, l.y, l.stride, l.level)).collect();
        let expected = [
            (4.0, 4.0, 8.0, 0),
            (12.0, 4.0, 8.0, 0),
            (20.0, 4.0, 8.0, 0),
            (4.0, 12.0, 8.0, 0),
            (12.0, 12.0, 8.0, 0),
            (20.0, 12.0, 8.0, 0),
            (8.0, 8.0, 16.0, 1),
            (24.0, 8.0, 16.0, 1),
        ];
        assert_eq!(found, expected);
        assert_eq!(grid.levels()[1], Level { stride: 16, columns: 2, rows: 1, first: 6 });
    }

    #[test]
    fn bad_grids_are_refused() {
        for strides in [&[][..], &[0, 8], &[8, 8], &[16, 8]] {
            assert_eq!(
                LocationGrid::new(64, 64, strides),
                Err(GridError::Strides { found: strides.to_vec() })
            );
        }
        for (width, height) in [(0, 64), (64, 0), (u32::MAX, u32::MAX)] {
            assert!(matches!(LocationGrid::new(width, height, &[8]), Err(GridError::Size { .. })));
        }
    }

    proptest! {
        #[test]
        fn inside_and_nearest_equal_a_scan(
            width in 1_u32..200, height in 1_u32..200,
            x in -40.0_f32..220.0, y in -40.0_f32..220.0, w in 0.1_f32..120.0, h in 0.1_f32..120.0,
        ) {
            let grid = LocationGrid::new(width, height, &[8, 16, 32]).unwrap();
            let bbox = BBox::from_xywh([x, y, w, h]);
            for level in 0..3 {
                let mut found = Vec::new();
                grid.inside(level, &bbox, |index| found.push(index));
                let of_level = || grid.locations().iter().enumerate().filter(|(_, l)| l.level as usize == level);
                let expected: Vec<_> =
                    of_level().filter(|(_, l)| bbox.contains(l.x, l.y)).map(|(index, _)| index).collect();
                prop_assert_eq!(found, expected);
                let distance = |l: &Location| (l.x - x).abs().max((l.y - y).abs());
                let least = of_level().map(|(_, l)| distance(l)).fold(f32::INFINITY, f32::min);
                let nearest = grid.nearest(level, x, y);
                prop_assert!(distance(&grid.locations()[nearest]) <= least + 1e-3);
            }
        }
    }
}
