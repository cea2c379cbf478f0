//! Compiles the engine, with the compiler that CC names or `cc`, and links it.

use std::env;
use std::path::Path;
use std::process::Command;

fn run(program: &str, arguments: &[&str]) {
    let status = Command::new(program).args(arguments).status();
    assert!(
        status.is_ok_and(|status| status.success()),
        "{program} failed"
    );
}

fn main() {
    let source =
        Path::new(&env::var("CARGO_MANIFEST_DIR").unwrap()).join("src");
    let out = env::var("OUT_DIR").unwrap();
    let (object, library) = (
        format!("{out}/pocketrnn.o"),
        format!("{out}/libpocketrnn.a"),
    );
    let engine = source.join("pocketrnn.c");
    let compiler = env::var("CC").unwrap_or("cc".into());
    let flags = ["-std=gnu11", "-O3", "-fPIC", "-Wno-psabi", "-c"];
    run(
        &compiler,
        &[&flags[..], &[engine.to_str().unwrap(), "-o", &object]].concat(),
    );
    run(
        &env::var("AR").unwrap_or("ar".into()),
        &["crs", &library, &object],
    );
    println!("cargo:rerun-if-changed={}", source.display());
    println!("cargo:rerun-if-env-changed=CC");
    println!("cargo:rerun-if-env-changed=AR");
    println!("cargo:rustc-link-search=native={out}");
    println!("cargo:rustc-link-lib=static=pocketrnn");
    println!("cargo:rustc-link-lib=m");
}
