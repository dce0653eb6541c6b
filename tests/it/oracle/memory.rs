//! Memory that this thread asks for: how much, and none where a test says so. The allocator is the crate's; what it counts
//! and refuses is each thread's own, so that tests do not see each other.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

thread_local! {
    static ALLOCATED: Cell<usize> = const { Cell::new(0) };
    /// A size in bytes, and how many more allocations of that size this thread has.
    static SCARCE: Cell<(usize, usize)> = const { Cell::new((0, 0)) };
}

/// Bytes that this thread has asked for until now, whatever it gave back.
pub(crate) fn allocated() -> usize {
    ALLOCATED.get()
}

/// Does `work` while this thread gets no more than `left` allocations of `size` bytes.
pub(crate) fn without_memory<T>(size: usize, left: usize, work: impl FnOnce() -> T) -> T {
    SCARCE.set((size, left));
    let done = work();
    SCARCE.set((0, 0));
    done
}

struct Counting;

// SAFETY: hands every request on to the system's allocator unchanged, or refuses it.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATED.set(ALLOCATED.get() + layout.size());
        let (size, left) = SCARCE.get();
        if size == layout.size() {
            if left == 0 {
                return std::ptr::null_mut();
            }
            SCARCE.set((size, left - 1));
        }
        // SAFETY: the caller's promise, handed on.
        unsafe { System.alloc(layout) }
    }
    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise, handed on.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;
