//! Recycled 64-byte aligned memory for saved tensors and scratch.
//!
//! A training step takes and returns the same few dozen buffers every time. Returning them to the allocator costs
//! page faults on each step, which at these speeds is a tenth of the time.

use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};
use std::collections::BTreeMap;
use std::ops::{Deref, DerefMut};
use std::ptr::NonNull;
use std::sync::Mutex;

use crate::threads::Output;
use crate::unless_interpreted;

/// One cache line: also the widest vector.
const ALIGN: usize = 64;
/// Free buffers kept, in bytes; beyond it a returned buffer goes back to the allocator.
/// Few under miri, which sees a use after the return only of what was given back.
const KEPT_BYTES_MAX: usize = unless_interpreted(512 << 20, 4 << 10);
/// A free buffer is reused for a request of at least `1 / WASTE_MAX` of its size.
const WASTE_MAX: usize = unless_interpreted(2, 1);

struct Free {
    by_capacity: BTreeMap<usize, Vec<Block>>,
    bytes: usize,
}

static FREE: Mutex<Free> = Mutex::new(Free { by_capacity: BTreeMap::new(), bytes: 0 });

/// An owned allocation of `capacity` initialised values.
struct Block {
    data: NonNull<f32>,
    capacity: usize,
}

// SAFETY: a Block owns its memory like a Vec<f32> does.
unsafe impl Send for Block {}
// SAFETY: shared access reads only.
unsafe impl Sync for Block {}

impl Block {
    fn layout(capacity: usize) -> Layout {
        let bytes =
            capacity.checked_mul(size_of::<f32>()).and_then(|b| Layout::from_size_align(b, ALIGN).ok());
        bytes.expect("a buffer is smaller than the address space")
    }

    fn new(capacity: usize) -> Self {
        let layout = Self::layout(capacity);
        // SAFETY: capacity is at least 1 (see Buffer::take), so the layout is not empty.
        let raw = unsafe { alloc_zeroed(layout) };
        let Some(data) = NonNull::new(raw.cast()) else { handle_alloc_error(layout) };
        Self { data, capacity }
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        // SAFETY: allocated in `new` with this very layout, and owned.
        unsafe { dealloc(self.data.as_ptr().cast(), Self::layout(self.capacity)) }
    }
}

/// `len` values of recycled memory. The content is whatever the last user left, never uninitialised.
pub(crate) struct Buffer {
    block: Option<Block>,
    len: usize,
}

impl Buffer {
    /// A buffer of `len` values of unspecified content.
    pub(crate) fn take(len: usize) -> Self {
        let capacity = len.max(1).next_multiple_of(ALIGN / size_of::<f32>());
        let mut free = FREE.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let found =
            free.by_capacity.range_mut(capacity..=capacity * WASTE_MAX).find_map(|(_, list)| list.pop());
        if let Some(block) = &found {
            free.bytes -= block.capacity * size_of::<f32>();
        }
        drop(free);
        Self { block: Some(found.unwrap_or_else(|| Block::new(capacity))), len }
    }

    /// A buffer of `len` zeros.
    pub(crate) fn zeroed(len: usize) -> Self {
        let mut buffer = Self::take(len);
        buffer.fill(0.0);
        buffer
    }
}

impl Deref for Buffer {
    type Target = [f32];
    fn deref(&self) -> &[f32] {
        match &self.block {
            // SAFETY: len <= capacity values were initialised by alloc_zeroed and are owned by the block.
            Some(block) => unsafe { std::slice::from_raw_parts(block.data.as_ptr(), self.len) },
            None => &[],
        }
    }
}

impl DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut [f32] {
        match &self.block {
            // SAFETY: as for Deref, and `&mut self` makes the access unique.
            Some(block) => unsafe { std::slice::from_raw_parts_mut(block.data.as_ptr(), self.len) },
            None => &mut [],
        }
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        let Some(block) = self.block.take() else { return };
        let bytes = block.capacity * size_of::<f32>();
        let mut free = FREE.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        if free.bytes + bytes <= KEPT_BYTES_MAX {
            free.bytes += bytes;
            free.by_capacity.entry(block.capacity).or_default().push(block);
        }
    }
}

impl std::fmt::Debug for Buffer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Buffer({})", self.len)
    }
}

/// A vector in the making: memory that a pass fills before anybody reads it, without zeroing it first.
pub(crate) struct Fresh(Vec<f32>, usize);

impl Fresh {
    pub(crate) fn new(len: usize) -> Self {
        Self(Vec::with_capacity(len), len)
    }

    /// Where a pass writes all values.
    pub(crate) fn output(&mut self) -> Output<'_> {
        Output::spare(&mut self.0.spare_capacity_mut()[..self.1])
    }

    /// The vector.
    ///
    /// # Safety
    /// Every value was written through [`Fresh::output`].
    pub(crate) unsafe fn finish(mut self) -> Vec<f32> {
        // SAFETY: the capacity is at least the length; the values were written by the contract.
        unsafe { self.0.set_len(self.1) };
        self.0
    }
}

/// Gives the recycled memory nobody uses now back to the allocator.
pub fn release_memory() {
    let mut free = FREE.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    let blocks = std::mem::take(&mut free.by_capacity);
    free.bytes = 0;
    drop(free);
    drop(blocks);
}
