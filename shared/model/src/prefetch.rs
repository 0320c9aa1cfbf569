//! The next batch while the present one is being learnt from.

/// Calls `work` for each of `orders`, in their order, with what `draw` makes of it. While `work` is at one of them, threads
/// of the current rayon pool `draw` the next.
///
/// There are no other threads than the pool's, and at most two drawn values at a time. A parallel pass of `work` never waits
/// for a thread that is drawing: what no thread has taken over, the one that needs it does itself. On a pool of one thread,
/// drawing and working take turns.
///
/// # Errors
/// The first of `work`; nothing is drawn after it but what was under way.
pub(crate) fn ahead<Order: Sync, Drawn: Send, Error>(
    orders: &[Order],
    draw: impl Fn(&Order) -> Drawn + Sync,
    mut work: impl FnMut(&Order, Drawn) -> Result<(), Error>,
) -> Result<(), Error> {
    let mut ready = orders.first().map(&draw);
    for (at, order) in orders.iter().enumerate() {
        let Some(drawn) = ready.take() else { break };
        rayon::in_place_scope(|scope| {
            if let Some(next) = orders.get(at + 1) {
                let (ready, draw) = (&mut ready, &draw);
                scope.spawn(move |_| *ready = Some(draw(next)));
            }
            work(order, drawn)
        })?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::mpsc::channel;

    use super::*;
    use crate::device::pool;

    #[test]
    fn everything_is_worked_on_in_order_whatever_the_threads() {
        for threads in [1, 2, 5] {
            for count in [0, 1, 2, 9] {
                let orders: Vec<usize> = (0..count).collect();
                let mut found = Vec::new();
                pool(threads).unwrap().install(|| {
                    let work = |&order: &usize, drawn: usize| {
                        found.push((order, drawn));
                        Ok::<_, ()>(())
                    };
                    ahead(&orders, |order| order * 10, work).unwrap();
                });
                let expected: Vec<_> = orders.iter().map(|order| (*order, order * 10)).collect();
                assert_eq!(found, expected, "{threads} threads");
            }
        }
    }

    #[test]
    fn no_more_than_two_are_there_at_a_time() {
        let (drawn, most) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let draw = |_: &usize| most.fetch_max(drawn.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
        let work = |_: &usize, _| {
            drawn.fetch_sub(1, Ordering::SeqCst);
            Ok::<_, ()>(())
        };
        let orders: Vec<usize> = (0..20).collect();
        pool(3).unwrap().install(|| ahead(&orders, draw, work)).unwrap();
        assert!(most.into_inner() <= 2);
    }

    /// With two threads, work can wait for the next draw: it is under way, not put off until work has ended.
    #[test]
    fn the_next_is_drawn_while_work_goes_on() {
        let (tell, told) = channel();
        let draw = |&order: &usize| tell.send(order).unwrap();
        let work = move |&order: &usize, ()| {
            while order < 3 && told.recv().unwrap() <= order {}
            Ok::<_, ()>(())
        };
        pool(2).unwrap().install(|| ahead(&[0, 1, 2, 3], draw, work)).unwrap();
    }

    #[test]
    fn an_error_ends_it() {
        let drawn = AtomicUsize::new(0);
        let work = |&order: &usize, _| if order == 2 { Err(order) } else { Ok(()) };
        let orders: Vec<usize> = (0..20).collect();
        let outcome =
            pool(2).unwrap().install(|| ahead(&orders, |_| drawn.fetch_add(1, Ordering::SeqCst), work));
        assert_eq!((outcome, drawn.into_inner()), (Err(2), 4));
    }
}
