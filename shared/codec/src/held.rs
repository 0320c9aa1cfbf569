//! What is added to values on their way into a codec.

use std::borrow::Cow;
use std::ops::Range;

use params::Layout;

use crate::EncodeError;
use crate::select::Source;

/// Values held back earlier, and by what each tensor of them is multiplied before it is added.
#[derive(Clone, Debug)]
pub struct Held<'a> {
    /// As many as the layout has, or none for zero everywhere.
    values: &'a [f32],
    scales: Vec<f32>,
}

impl<'a> Held<'a> {
    /// `values` in `layout` (or none: zero everywhere), times one of `scales` for each tensor.
    ///
    /// # Errors
    /// A wrong number of values or scales.
    pub fn new(layout: &Layout, values: &'a [f32], scales: Vec<f32>) -> Result<Self, EncodeError> {
        let check = |what, expected, found| {
            if found == expected { Ok(()) } else { Err(EncodeError::Length { what, expected, found }) }
        };
        if !values.is_empty() {
            check("values held back", layout.len(), values.len())?;
            check("scales", layout.tensors().len(), scales.len())?;
        }
        Ok(Self { values, scales })
    }

    /// Adds to `to`, the values of a range of tensor number `tensor`.
    fn add(&self, tensor: usize, range: Range<usize>, to: &mut [f32]) {
        if let (Some(held), Some(&scale)) = (self.values.get(range), self.scales.get(tensor)) {
            to.iter_mut().zip(held).for_each(|(value, held)| *value += scale * held);
        }
    }

    /// Adds to `values`, which are as many as the layout has.
    pub(crate) fn add_all(&self, layout: &Layout, values: &mut [f32]) {
        for (number, tensor) in layout.tensors().iter().enumerate() {
            self.add(number, tensor.range(), &mut values[tensor.range()]);
        }
    }
}

/// Values to which others are added when they are asked for: both are read from memory once.
pub(crate) struct Sum<'a> {
    values: &'a mut [f32],
    held: &'a Held<'a>,
    /// So many are added up.
    ready: usize,
}

impl<'a> Sum<'a> {
    /// Both are of one layout.
    pub(crate) fn new(values: &'a mut [f32], held: &'a Held<'a>) -> Self {
        Self { values, held, ready: 0 }
    }
}

impl Source for Sum<'_> {
    fn ready(&mut self, tensor: usize, range: Range<usize>) -> &[f32] {
        if range.start >= self.ready {
            self.ready = range.end;
            self.held.add(tensor, range.clone(), &mut self.values[range.clone()]);
        }
        &self.values[range]
    }

    fn ahead(&self, tensor: usize, range: Range<usize>) -> impl Iterator<Item = f32> {
        let waiting = range.start >= self.ready;
        let held = self.held.values.get(range.clone()).filter(|_| waiting).unwrap_or_default();
        let scale = self.held.scales.get(tensor).copied().unwrap_or_default();
        let held = held.iter().map(move |held| scale * held).chain(std::iter::repeat(-0.0));
        self.values[range].iter().zip(held).map(|(value, held)| value + held)
    }

    fn again(&self, _: usize, range: Range<usize>) -> Cow<'_, [f32]> {
        Cow::Borrowed(&self.values[range])
    }
}
