//! Every parser of bytes from strangers, fed with mutations of good input for a bounded time. Each target checks a
//! property, not only that nothing panics; no input may take long.
//!
//! Time per target: `LAMCHAT_FUZZ_SECONDS` (default 2). The seed is printed; `LAMCHAT_SEED` repeats it. A target is
//! a `fn(&[u8])`, as coverage-guided fuzzers call them.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "tests: a panic is the report"
)]

mod evidence;
mod files;
mod machine;
mod mutate;
mod texts;

use mutate::Mutator;
use std::time::{Duration, Instant};

/// The longest that one input may take, on a busy machine and without optimisation.
const INPUT_TIME_MAX: Duration = Duration::from_secs(2);

fn environment(name: &str) -> Option<u64> {
    std::env::var(name).ok().and_then(|text| text.parse().ok())
}

/// Runs one target on its seeds, then on mutations of them.
fn fuzz(name: &str, seeds: &[&[u8]], target: fn(&[u8])) {
    let seed = environment("LAMCHAT_SEED").unwrap_or_else(|| {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        now.unwrap().as_nanos() as u64
    });
    let end = Instant::now() + Duration::from_secs(environment("LAMCHAT_FUZZ_SECONDS").unwrap_or(2));
    let mut mutator = Mutator::new(seed, seeds);
    let mut inputs = 0u64;
    let run = |input: &[u8]| {
        let began = Instant::now();
        let outcome = std::panic::catch_unwind(|| target(input));
        let took = began.elapsed();
        if let Err(panic) = outcome {
            println!("{name}, seed {seed}: panicked on {:?}", String::from_utf8_lossy(input));
            std::panic::resume_unwind(panic);
        }
        assert!(
            took < INPUT_TIME_MAX,
            "{name}, seed {seed}: {took:?} for {} bytes",
            input.len()
        );
    };
    for input in seeds {
        run(input);
        inputs += 1;
    }
    while Instant::now() < end {
        run(&mutator.next_input());
        inputs += 1;
    }
    println!("{name}: {inputs} inputs, seed {seed}");
}
