//! A worker that is cut off: a proxy between it and its coordinator falls silent, without closing anything.

use std::{
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use rewind_job::JobState;
use rewind_tests::{
    cluster::{Cluster, bits},
    small_job,
};

/// Passes bytes on, until it is cut; then it swallows them.
struct Proxy {
    port: u16,
    cut: Arc<AtomicBool>,
}

impl Proxy {
    fn to(target: String) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("binds");
        let port = listener.local_addr().expect("an address").port();
        let cut = Arc::new(AtomicBool::new(false));
        let is_cut = cut.clone();
        thread::spawn(move || {
            for near in listener.incoming().flatten() {
                let Ok(far) = TcpStream::connect(&target) else { continue };
                let (near_again, far_again) = (near.try_clone().expect("clones"), far.try_clone().expect("clones"));
                for (mut from, mut to) in [(near, far), (far_again, near_again)] {
                    let is_cut = is_cut.clone();
                    thread::spawn(move || {
                        let mut buffer = [0; 16 << 10];
                        while let Ok(read) = from.read(&mut buffer) {
                            if read == 0 {
                                return;
                            }
                            if !is_cut.load(Ordering::Relaxed) && to.write_all(&buffer[..read]).is_err() {
                                return;
                            }
                        }
                    });
                }
            }
        });
        Self { port, cut }
    }
}

#[test]
fn a_worker_that_is_cut_off_is_replaced_and_comes_back() {
    let mut cluster = Cluster::start(1, 1, 2);
    let undisturbed = cluster.submit(&small_job(2));
    let expected = bits(&cluster.report(&undisturbed));
    // Its name is before the others': it is taken first.
    let proxy = Proxy::to(cluster.coordinator_url(0).trim_start_matches("https://").to_owned());
    cluster.launch_worker("worker-0", &format!("https://127.0.0.1:{}", proxy.port));
    cluster.eventually("it has joined", |cluster| cluster.log("worker-0").contains("session began").then_some(()));

    let job = cluster.submit(&small_job(2));
    cluster.wait_for_round(&job, 0, 2);
    assert!(cluster.events(&job).contains("assigned to worker-0"), "{}", cluster.events(&job));
    let begun = Instant::now();
    proxy.cut.store(true, Ordering::Relaxed);
    cluster.eventually("the gang trains again without it", |cluster| {
        let status = cluster.status(&job)?;
        (status.generation.0 == 2 && status.state == JobState::Running).then_some(())
    });
    println!("a cut connection to training again with a spare: {:?}", begun.elapsed());
    assert!(begun.elapsed() < Duration::from_secs(30));
    let sessions = cluster.log("worker-0").matches("session began").count();
    proxy.cut.store(false, Ordering::Relaxed);
    let report = cluster.report(&job);
    assert_eq!(bits(&report), expected);
    cluster.eventually("it comes back", |cluster| {
        (cluster.log("worker-0").matches("session began").count() > sessions).then_some(())
    });
    // It has left what is over, and works again.
    let job = cluster.submit(&small_job(2));
    let report = cluster.report(&job);
    assert_eq!(bits(&report), expected);
    assert!(cluster.events(&job).contains("assigned to worker-0"), "{}", cluster.events(&job));
}
