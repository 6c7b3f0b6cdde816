//! What the TPM costs: starts of a server whose keys open by a file and by the TPM, in turn; a quote; its verification.
//!
//! `cargo bench --bench seal` starts a TPM in software (swtpm), which answers at memory's speed; `-- --tpm
//! device:/dev/tpmrm0` takes the machine's own, and leaves it as it was. It is no test: nothing here depends on how fast a
//! machine is.

#![expect(clippy::indexing_slicing, reason = "a measurement: a panic is the report")]

mod site;
mod software;

use site::Site;
use software::Swtpm;
use std::path::PathBuf;
use std::time::{Duration, Instant};

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

/// What is measured.
struct Options {
    binary: PathBuf,
    tpm: Option<String>,
    runs: usize,
}

fn main() {
    // `cargo test --all-targets` runs this program too, without `--bench`.
    if !std::env::args().any(|argument| argument == "--bench") {
        return;
    }
    if let Err(error) = options().and_then(|options| run(&options)) {
        eprintln!("failed: {error}");
        std::process::exit(1);
    }
}

fn options() -> Outcome<Options> {
    let mut options = Options {
        binary: env!("CARGO_BIN_EXE_lamchat").into(),
        tpm: None,
        runs: 25,
    };
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().ok_or(format!("{argument} needs a value"));
        match argument.as_str() {
            "--bench" => {}
            "--binary" => options.binary = value()?.into(),
            "--tpm" => options.tpm = Some(value()?),
            "--runs" => options.runs = value()?.parse()?,
            other => return Err(format!("{other}: there are --binary FILE, --tpm ADDRESS and --runs N").into()),
        }
    }
    Ok(options)
}

fn run(options: &Options) -> Outcome<()> {
    let software = options.tpm.is_none().then(Swtpm::start).transpose()?;
    let address = software.as_ref().map(Swtpm::address).or(options.tpm.clone());
    let address = address.ok_or("no TPM")?;
    let (plain, sealed) = (
        Site::new(&options.binary, "none")?,
        Site::new(&options.binary, &address)?,
    );
    for site in [&plain, &sealed] {
        site.start()?.stop()?;
    }
    seal(&sealed)?;
    let (mut without, mut with, mut asked) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..options.runs {
        let started = plain.start()?;
        without.push(started.took);
        started.stop()?;
        let started = sealed.start()?;
        with.push(started.took);
        asked.push(sealed.logged("the TPM was asked to open the keys")?);
        started.stop()?;
    }
    println!("TPM at {address}, {} starts in turn", options.runs);
    println!("start to the first answer, by the file slot:  {}", told(&mut without));
    println!("start to the first answer, by the TPM:        {}", told(&mut with));
    println!("of it opening the keys in the TPM:            {}", told(&mut asked));
    let (file, tpm) = (median(&mut without), median(&mut with));
    let share = 100.0 * tpm.saturating_sub(file).as_secs_f64() / tpm.as_secs_f64();
    println!("share of the start that the TPM adds (opening, comparing and writing the anchor): {share:.0} %");
    attest(&sealed, options.runs)?;
    let server = sealed.start()?;
    let slot = sealed.slot("tpm")?;
    sealed.command(&["seal", "remove", &slot], "")?;
    server.stop()
}

/// Seals the keys to the TPM, and takes the file slot out.
fn seal(site: &Site) -> Outcome<()> {
    let server = site.start()?;
    let made = site.command(&["seal", "add-recovery"], "")?;
    let key = made["recovery_key"].as_str().ok_or("no recovery key")?.to_owned();
    site.command(&["seal", "init", "--force"], "")?;
    site.command(&["seal", "remove", &site.slot("file")?], &format!("{key}\n"))?;
    server.stop()?;
    // The next start encrypts everything anew.
    site.start()?.stop()
}

/// Evidence, with its command.
fn attest(site: &Site, runs: usize) -> Outcome<()> {
    let server = site.start()?;
    let mut quotes = Vec::new();
    for run in 0..runs {
        let nonce = format!("{run:032x}");
        let bundle = format!("evidence-{run}.json");
        let began = Instant::now();
        site.plain_command(&["attest", "quote", "--nonce", &nonce, "--out", &bundle])?;
        quotes.push(began.elapsed());
    }
    println!("a quote, with its command:                    {}", told(&mut quotes));
    server.stop()
}

fn median(times: &mut [Duration]) -> Duration {
    times.sort();
    times[times.len() / 2]
}

fn told(times: &mut [Duration]) -> String {
    let middle = median(times);
    let (least, most) = (times[0], times[times.len() - 1]);
    format!("{middle:.1?} (from {least:.1?} to {most:.1?})")
}
