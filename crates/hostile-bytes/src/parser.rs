use std::{
    env, fs,
    hash::{DefaultHasher, Hash, Hasher},
    panic::{self, AssertUnwindSafe},
    path::PathBuf,
    sync::mpsc::{self, RecvTimeoutError},
    thread,
    time::Duration,
};

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use rustix::time::{ClockId, clock_gettime};

use crate::Mutator;

/// What a parser answered: it read something, or it refused, and said why.
pub type Answer = Result<(), String>;

/// A parser under hostile bytes.
pub struct Parser {
    name: &'static str,
    cases: u32,
    memory: usize,
}

/// Bytes of memory for each byte of input.
const A_BYTE: usize = 64;
/// Processor time of one case.
const LONGEST_CASE: Duration = Duration::from_secs(2);
/// A case that takes this long on any machine does not end.
const ENDLESS: Duration = Duration::from_secs(300);
/// A refusal repeats little of what it refuses.
const LONGEST_REFUSAL: usize = 4 << 10;

impl Parser {
    /// `name` says what is read: it stands in failures, and names the file of the case that failed.
    pub fn of(name: &'static str) -> Self {
        Self { name, cases: 2000, memory: 1 << 20 }
    }

    /// Other than 2,000 cases.
    pub fn cases(mut self, cases: u32) -> Self {
        self.cases = cases;
        self
    }

    /// Bytes of memory that reading takes beside 64 for each byte of input; without this a mebibyte.
    pub fn memory(mut self, bytes: usize) -> Self {
        self.memory = bytes;
        self
    }

    /// Reads the seeds, each of which must be read, and then every case. `read` may check more of what it reads: a panic
    /// is a failure.
    ///
    /// # Panics
    /// A seed is refused; or a case panics, takes too long or too much memory, or is refused without a reason. The
    /// message says how to repeat it, and where its bytes are.
    pub fn run(self, seeds: &[Vec<u8>], mut read: impl FnMut(&[u8]) -> Answer) {
        for (index, seed) in seeds.iter().enumerate() {
            if let Err(problem) = self.case(seed, &mut read) {
                panic!("{}: valid input {index} was not read: {problem}", self.name);
            }
        }
        let chosen = env::var("HOSTILE_SEED").ok();
        let mut hasher = DefaultHasher::new();
        (self.name, chosen.as_deref().unwrap_or("0")).hash(&mut hasher);
        let mut random = ChaCha8Rng::seed_from_u64(hasher.finish());
        let (mutator, alive) = (Mutator::new(seeds), Watch::start(self.name, self.last_case()));
        let (mut refused, cases) = (0, self.cases);
        for number in 0..cases {
            let bytes = mutator.spoilt(&mut random);
            alive.go_on();
            // Before it is read: a stack that overflows leaves no word.
            self.keep(&bytes);
            match self.judged(&bytes, &mut read) {
                Ok(Ok(())) => {}
                Ok(Err(_)) => refused += 1,
                Err(problem) => panic!(
                    "{}, case {number} of {cases}: {problem}\n  its bytes: {}\n  again: HOSTILE_SEED={} and test {} of {}",
                    self.name,
                    self.last_case().display(),
                    chosen.as_deref().unwrap_or("0"),
                    thread::current().name().unwrap_or_default(),
                    program(),
                ),
            }
        }
        let _ = fs::remove_file(self.last_case());
        assert!(refused > 0, "{}: none of {cases} spoilt inputs was refused", self.name);
    }

    fn case(&self, bytes: &[u8], read: &mut impl FnMut(&[u8]) -> Answer) -> Answer {
        self.judged(bytes, read).and_then(|answer| answer)
    }

    /// The parser's answer, or what is wrong with how it answered.
    fn judged(&self, bytes: &[u8], read: &mut impl FnMut(&[u8]) -> Answer) -> Result<Answer, String> {
        let mut answer = Ok(Ok(()));
        let begun = processor_time();
        let memory = allocation_counter::measure(|| answer = panic::catch_unwind(AssertUnwindSafe(|| read(bytes))));
        let took = processor_time().saturating_sub(begun);
        let answer = answer.map_err(|payload| format!("panicked: {}", words(&*payload)))?;
        let limit = self.memory.saturating_add(A_BYTE.saturating_mul(bytes.len()));
        if memory.bytes_max > limit as u64 {
            return Err(format!("took {} bytes of memory for {} of input", memory.bytes_max, bytes.len()));
        }
        if took > LONGEST_CASE {
            return Err(format!("took {took:?} of processor time for {} bytes", bytes.len()));
        }
        match &answer {
            Err(problem) if problem.trim().is_empty() => Err("refused without a reason".into()),
            Err(problem) if problem.len() > LONGEST_REFUSAL + bytes.len().min(2 * LONGEST_REFUSAL) => {
                Err(format!("refused with {} bytes of words", problem.len()))
            }
            _ => Ok(answer),
        }
    }

    fn last_case(&self) -> PathBuf {
        env::temp_dir().join(format!("hostile-{}-{}", self.name.replace(' ', "-"), std::process::id()))
    }

    fn keep(&self, bytes: &[u8]) {
        fs::write(self.last_case(), bytes).expect("the temporary folder can be written");
    }
}

/// The name of the tests that run: Cargo adds a hash to it.
fn program() -> String {
    let path = env::current_exe().unwrap_or_default();
    let name = path.file_stem().unwrap_or_default().to_string_lossy();
    name.rsplit_once('-').map_or(&*name, |(name, _)| name).to_owned()
}

/// Of this thread: a busy machine makes it no longer.
fn processor_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

fn words(payload: &(dyn std::any::Any + Send)) -> String {
    let text = payload.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| payload.downcast_ref::<String>().cloned()).unwrap_or_else(|| "without words".into())
}

/// Ends the process when a case does not end.
struct Watch(mpsc::Sender<()>);

impl Watch {
    fn start(name: &'static str, bytes: PathBuf) -> Self {
        let (alive, heard) = mpsc::channel();
        thread::spawn(move || {
            loop {
                match heard.recv_timeout(ENDLESS) {
                    Ok(()) => {}
                    Err(RecvTimeoutError::Disconnected) => return,
                    Err(RecvTimeoutError::Timeout) => {
                        eprintln!("{name}: a case does not end; its bytes: {}", bytes.display());
                        std::process::exit(101);
                    }
                }
            }
        });
        Self(alive)
    }

    fn go_on(&self) {
        let _ = self.0.send(());
    }
}
