//! Reads a handwritten digit with LeNet-5 through the C interface of its module.
//!
//!     cnncc compile lenet5 -o lenet5.so
//!     rustc -O classify.rs -C link-arg=./lenet5.so -C link-arg=-Wl,-rpath,.
//!     ./classify digit.pgm          (binary PGM, 32 x 32 pixels, white on black)

use std::alloc::{alloc, dealloc, handle_alloc_error, Layout};
use std::ffi::CStr;
use std::os::raw::{c_char, c_int, c_void};
use std::{env, fs, process};

const SIDE: usize = 32;
const CLASSES: usize = 10;
const ARENA_ALIGN: usize = 64; // LENET5_ARENA_ALIGN

/// What `lenet5.h` declares, as far as it is used here.
mod ffi {
    use super::{c_char, c_int, c_void};

    /// Only ever seen behind a pointer.
    #[repr(C)]
    pub struct Model {
        _private: [u8; 0],
    }

    extern "C" {
        pub fn lenet5_model_get() -> *const Model;
        pub fn lenet5_arena_bytes() -> usize;
        pub fn lenet5_error(code: c_int) -> *const c_char;
        pub fn lenet5_run(model: *const Model, images: i32, input: *const f32, output: *mut f32, arena: *mut c_void) -> c_int;
    }
}

/// The scratch memory of one run at a time.
struct Arena {
    memory: *mut u8,
    layout: Layout,
}

impl Arena {
    fn new() -> Arena {
        let bytes = unsafe { ffi::lenet5_arena_bytes() }.max(1);
        let layout = Layout::from_size_align(bytes, ARENA_ALIGN).expect("sizes of modules are valid");
        let memory = unsafe { alloc(layout) };
        if memory.is_null() {
            handle_alloc_error(layout);
        }
        Arena { memory, layout }
    }
}

impl Drop for Arena {
    fn drop(&mut self) {
        unsafe { dealloc(self.memory, self.layout) }
    }
}

/// The probability of each digit.
fn classify(image: &[f32; SIDE * SIDE], arena: &mut Arena) -> Result<[f32; CLASSES], String> {
    let mut scores = [0.0; CLASSES];
    let code = unsafe {
        ffi::lenet5_run(ffi::lenet5_model_get(), 1, image.as_ptr(), scores.as_mut_ptr(), arena.memory.cast())
    };
    if code == 0 {
        return Ok(scores);
    }
    let text = unsafe { CStr::from_ptr(ffi::lenet5_error(code)) };
    Err(text.to_string_lossy().into_owned())
}

/// The pixels of a binary PGM file, 0 to 255.
fn read_pgm(path: &str) -> Result<[f32; SIDE * SIDE], String> {
    let bytes = fs::read(path).map_err(|error| format!("{path}: {error}"))?;
    let head = format!("P5 {SIDE} {SIDE} 255 ");
    let mut fields = bytes.split(u8::is_ascii_whitespace).filter(|field| !field.is_empty());
    let fits = head.split_whitespace().all(|wanted| fields.next() == Some(wanted.as_bytes()));
    if !fits || bytes.len() < head.len() + SIDE * SIDE {
        return Err(format!("{path}: not a binary PGM of {SIDE} x {SIDE} pixels"));
    }
    let pixels = &bytes[bytes.len() - SIDE * SIDE..];
    let mut image = [0.0; SIDE * SIDE];
    for (value, &pixel) in image.iter_mut().zip(pixels) {
        *value = pixel.into();
    }
    Ok(image)
}

fn main() {
    let path = env::args().nth(1).unwrap_or_else(|| {
        eprintln!("usage: classify digit.pgm");
        process::exit(2);
    });
    match read_pgm(&path).and_then(|image| classify(&image, &mut Arena::new())) {
        Ok(scores) => print(&scores),
        Err(message) => {
            eprintln!("classify: {message}");
            process::exit(1);
        }
    }
}

fn print(scores: &[f32; CLASSES]) {
    let mut ranked: Vec<(usize, f32)> = scores.iter().copied().enumerate().collect();
    ranked.sort_by(|a, b| b.1.total_cmp(&a.1));
    println!("class  probability");
    for (digit, share) in ranked {
        println!("{digit:5}  {share:.9}");
    }
}
