//! Packed classifiers, answered by pocketrnn's engine in C, which `build.rs` compiles: what a program needs of
//! pocketrnn.h, and a safe type around it.
//!
//! ```no_run
//! use pocketrnn::{Classifier, Work};
//!
//! let classifier = Classifier::open(&std::fs::read("news.prnn").unwrap()).unwrap();
//! let mut work = Work::default();
//! let (label, probability) = classifier.classify(b"Oil prices rise again", &mut work).unwrap();
//! println!("{label} {probability:.4}");
//! ```

use std::ffi::{c_char, c_int, c_void, CStr};
use std::ptr::{null, null_mut};

#[repr(C)]
struct Prnn {
    _private: [u8; 0],
}

const OK: c_int = 0;
const MEMORY: c_int = 1;

/// One head of a classifier, as pocketrnn.h has it.
#[repr(C)]
#[derive(Default)]
struct Head {
    name: usize,
    bytes: usize,
    first: u32,
    labels: u32,
    is_multi_label: c_int,
}

extern "C" {
    fn prnn_error(status: c_int) -> *const c_char;
    fn prnn_open(
        opened: *mut *const Prnn,
        file: *const c_void,
        file_size: usize,
        memory: *mut c_void,
        size: *mut usize,
    ) -> c_int;
    fn prnn_classes(classifier: *const Prnn) -> u32;
    fn prnn_label(classifier: *const Prnn, index: u32, bytes: *mut usize) -> *const c_char;
    fn prnn_head(classifier: *const Prnn, index: u32, head: *mut Head) -> c_int;
    fn prnn_classify(
        classifier: *const Prnn,
        text: *const c_char,
        bytes: usize,
        logits: *mut f32,
        memory: *mut c_void,
        size: *mut usize,
    ) -> c_int;
    fn prnn_probabilities(
        classifier: *const Prnn,
        logits: *const f32,
        probabilities: *mut f32,
    ) -> c_int;
}

fn error_of(status: c_int) -> String {
    // It is always a constant of the engine's, in ASCII.
    unsafe { CStr::from_ptr(prnn_error(status)) }
        .to_string_lossy()
        .into_owned()
}

/// Products of frequent words are kept in this: a fifth less time for a text.
const EXTRA: usize = 1 << 18;

/// An open packed file. Threads may share it, each with working memory of its own.
pub struct Classifier {
    opened: *const Prnn,
    /// The labels, in the order of the logits.
    pub labels: Vec<String>,
    // `opened` points into these. They are of u32 since the engine asks for a file that is aligned to 4.
    _file: Vec<u32>,
    _memory: Vec<u8>,
}

// The engine never writes to what it has opened.
unsafe impl Send for Classifier {}
unsafe impl Sync for Classifier {}

/// Working memory for one thread, which grows with the longest text.
#[derive(Default)]
pub struct Work(Vec<u8>);

impl Classifier {
    /// Opens and checks the bytes of a packed file.
    pub fn open(content: &[u8]) -> Result<Classifier, String> {
        let mut file = vec![0u32; content.len().div_ceil(4)];
        for (word, bytes) in file.iter_mut().zip(content.chunks(4)) {
            let mut all = [0; 4];
            all[..bytes.len()].copy_from_slice(bytes);
            *word = u32::from_ne_bytes(all);
        }
        let (mut opened, mut size, mut memory) = (null(), 0, Vec::new());
        let at = file.as_ptr().cast();
        // Without memory it checks the file, and says what it needs.
        let mut status =
            unsafe { prnn_open(&mut opened, at, content.len(), null_mut(), &mut size) };
        if status == MEMORY {
            size += EXTRA;
            memory = vec![0u8; size];
            status = unsafe {
                prnn_open(
                    &mut opened,
                    at,
                    content.len(),
                    memory.as_mut_ptr().cast(),
                    &mut size,
                )
            };
        }
        if status != OK {
            return Err(error_of(status));
        }
        if unsafe { prnn_head(opened, 1, &mut Head::default()) } != 0 {
            return Err("The classifier has several heads, but this package answers with one.".into());
        }
        let labels = (0..unsafe { prnn_classes(opened) }).map(|index| {
            let mut bytes = 0;
            let label = unsafe { prnn_label(opened, index, &mut bytes) };
            let utf8 = unsafe { std::slice::from_raw_parts(label.cast(), bytes) };
            String::from_utf8_lossy(utf8).into_owned()
        });
        Ok(Classifier {
            opened,
            labels: labels.collect(),
            _file: file,
            _memory: memory,
        })
    }

    /// A text's label and its probability. The text is UTF-8, and is refused if it is not.
    pub fn classify(&self, text: &[u8], work: &mut Work) -> Result<(&str, f32), String> {
        let mut logits = vec![0f32; self.labels.len()];
        loop {
            let mut size = work.0.len();
            let (at, memory) = (text.as_ptr().cast(), work.0.as_mut_ptr().cast());
            let status = unsafe {
                match prnn_classify(
                    self.opened,
                    at,
                    text.len(),
                    logits.as_mut_ptr(),
                    memory,
                    &mut size,
                ) {
                    OK => prnn_probabilities(self.opened, logits.as_ptr(), logits.as_mut_ptr()),
                    status => status,
                }
            };
            match status {
                OK => break,
                MEMORY => work.0 = vec![0; size],
                _ => return Err(error_of(status)),
            }
        }
        let best =
            (0..logits.len()).fold(0, |best, i| if logits[i] > logits[best] { i } else { best });
        Ok((&self.labels[best], logits[best]))
    }
}
