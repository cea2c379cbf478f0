//! A packed classifier from Rust: the label and the probability of every text that is given, or of every line of
//! standard input.
//!
//!     cargo run --release -- news.prnn "Oil prices rise again"

use pocketrnn::{Classifier, Work};
use std::env;
use std::ffi::OsString;
use std::io::{self, BufRead, Write};
use std::process::ExitCode;

fn answered(classifier: &Classifier, texts: &[OsString]) -> Result<(), String> {
    let (mut work, mut out) = (Work::default(), io::BufWriter::new(io::stdout().lock()));
    let mut print = |text: &[u8]| {
        let (label, probability) = classifier.classify(text, &mut work)?;
        writeln!(out, "{label}\t{probability:.4}").map_err(|error| error.to_string())
    };
    for text in texts {
        print(text.as_encoded_bytes())?;
    }
    if texts.is_empty() {
        let (mut input, mut line) = (io::stdin().lock(), Vec::new());
        while input
            .read_until(b'\n', &mut line)
            .map_err(|error| error.to_string())?
            > 0
        {
            while matches!(line.last(), Some(b'\n' | b'\r')) {
                line.pop();
            }
            print(&line)?;
            line.clear();
        }
    }
    out.flush().map_err(|error| error.to_string())
}

fn main() -> ExitCode {
    let arguments: Vec<OsString> = env::args_os().skip(1).collect();
    let Some((path, texts)) = arguments.split_first() else {
        eprintln!("Usage: classify FILE.prnn [TEXT ...]");
        return ExitCode::from(2);
    };
    let opened = std::fs::read(path).map_err(|error| error.to_string());
    let done = match opened.and_then(|content| Classifier::open(&content)) {
        Err(why) => Err(format!("{}: {why}", path.display())),
        Ok(classifier) => answered(&classifier, texts).map_err(|why| format!("a text: {why}")),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(what) => {
            eprintln!("Error: {what}");
            ExitCode::FAILURE
        }
    }
}
