//! Waiting for several things side by side.
//!
//! Promises: every future is polled until it is ready, whatever becomes of the others; the results come in the order of the
//! futures. Each is asked again whenever one of them wakes the task, so it is meant for the hundred or so that a batch or the
//! shards of an object make. Out of scope: limits on how many run at once.

use std::cell::Cell;
use std::future::poll_fn;
use std::pin::Pin;
use std::task::Poll;

type Running<'a> = Pin<Box<dyn Future<Output = ()> + 'a>>;

/// The results of all `futures`, in their order.
pub(crate) async fn all<T, F>(futures: F) -> Vec<T>
where
    F: IntoIterator<Item: Future<Output = T>, IntoIter: ExactSizeIterator>,
{
    let futures = futures.into_iter();
    let results: Vec<Cell<Option<T>>> = std::iter::repeat_with(Cell::default).take(futures.len()).collect();
    let put = |(future, result): (F::Item, _)| -> Running<'_> { Box::pin(fill(future, result)) };
    run(futures.zip(&results).map(put).collect()).await;
    results.into_iter().filter_map(Cell::into_inner).collect()
}

async fn fill<T>(future: impl Future<Output = T>, result: &Cell<Option<T>>) {
    result.set(Some(future.await));
}

/// The part that is the same for all types, compiled once.
async fn run(mut running: Vec<Running<'_>>) {
    poll_fn(|context| {
        running.retain_mut(|future| future.as_mut().poll(context).is_pending());
        if running.is_empty() { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
}
