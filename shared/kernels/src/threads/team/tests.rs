use std::panic::AssertUnwindSafe;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};

use super::{alone, available, divide, together};
use crate::unless_interpreted;

fn pool(threads: usize) -> rayon::ThreadPool {
    rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap()
}

#[test]
fn each_part_of_each_pass_is_done_once_before_the_next_begins() {
    for threads in [1, 2, 3, 7].into_iter().take(unless_interpreted(4, 3)) {
        pool(threads).install(|| {
            together(|| {
                for parts in (1..=threads).cycle().take(unless_interpreted(500, 20)) {
                    let done: Vec<AtomicU32> = (0..parts).map(|_| AtomicU32::new(0)).collect();
                    divide(parts, &|part: usize| {
                        done[part].fetch_add(1, Ordering::Relaxed);
                    });
                    assert!(done.iter().all(|done| done.load(Ordering::Relaxed) == 1));
                }
            });
        });
    }
}

#[test]
fn a_team_whose_helpers_are_busy_does_its_work_alone() {
    let pool = pool(2);
    let held = Mutex::new(());
    let guard = held.lock().unwrap();
    let sum = AtomicU32::new(0);
    pool.in_place_scope(|scope| {
        scope.spawn(|_| drop(held.lock()));
        pool.install(|| {
            let divide = || {
                divide(2, &|part: usize| {
                    sum.fetch_add(1 + part as u32, Ordering::Relaxed);
                });
            };
            together(divide);
        });
        drop(guard);
    });
    assert_eq!(sum.into_inner(), 3);
}

#[test]
fn a_panic_in_any_part_ends_the_team_and_reaches_the_caller() {
    let pool = pool(3);
    for bad in 0..3 {
        let caught = std::panic::catch_unwind(AssertUnwindSafe(|| {
            pool.install(|| together(|| divide(3, &|part: usize| assert_ne!(part, bad, "a bad part"))));
        }));
        assert!(caught.is_err());
    }
    assert_eq!(pool.install(|| together(|| 5)), 5, "the pool is of use afterwards");
}

#[test]
fn work_alone_is_not_divided() {
    pool(3).install(|| {
        assert_eq!((available(), alone(available), available()), (3, 1, 3));
    });
}
