//! Test vocabulary: real Gloo gangs whose ranks are threads of this process.

use std::{sync::Arc, time::Duration};

use rewind_collective::{Collective, GroupOptions, InMemoryStore, ProcessGroup, Solo, cuda};
use rewind_job::{Layout, Rank, ShardPlan, WorldSize};
use rewind_unlearning::Gang;

/// Runs `work` on every rank of a gang and returns the results in rank order.
pub fn on_every_rank<T: Send + 'static>(
    world: u32,
    layout: &Layout,
    work: impl Fn(Gang) -> T + Copy + Send + 'static,
) -> Vec<T> {
    let store = Arc::new(InMemoryStore::new());
    let plan = ShardPlan::balanced(layout, WorldSize(world));
    let grid = layout.tiles();
    for rank in WorldSize(world).ranks() {
        assert!(plan.tiles_of(rank, &grid).len() >= 2, "each rank owns at least two tiles");
    }
    let ranks: Vec<_> = WorldSize(world)
        .ranks()
        .map(|rank| {
            let (store, plan, layout) = (store.clone(), plan.clone(), layout.clone());
            std::thread::spawn(move || work(Gang::new(collective(rank, WorldSize(world), store), layout, plan)))
        })
        .collect();
    ranks.into_iter().map(|rank| rank.join().expect("a rank ended well")).collect()
}

fn collective(rank: Rank, world: WorldSize, store: Arc<InMemoryStore>) -> Box<dyn Collective> {
    let device = cuda::device_of_test(rank);
    if world.0 == 1 {
        return Box::new(Solo::on(device));
    }
    let options = GroupOptions {
        device,
        ..GroupOptions::loopback(rank, world, store, "test".to_owned(), Duration::from_secs(30))
    };
    Box::new(ProcessGroup::connect(options).expect("the gang forms"))
}
