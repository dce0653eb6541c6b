//! The page in a browser without a window: it trains, NFE falls, and the same is learnt twice to the bit.
//!
//! `web/test.sh` builds the page and runs this where there are a browser and the target.
#![cfg(not(target_arch = "wasm32"))]

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Sender};
use std::time::Duration;

/// Software draws and computes here.
const PATIENCE: Duration = Duration::from_secs(600);

/// A browser that ends with the test.
struct Browser(Child);

impl Drop for Browser {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn variable(name: &str) -> PathBuf {
    std::env::var_os(name).unwrap_or_else(|| panic!("{name} is not set: run web/test.sh")).into()
}

/// Answers one request: a file of the folder, or the result that the page posts.
fn answer(mut stream: TcpStream, folder: &Path, results: &Sender<String>) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let (mut request, mut length) = (String::new(), 0);
    reader.read_line(&mut request)?;
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 || line.trim().is_empty() {
            break;
        }
        if let Some(bytes) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            length = bytes.trim().parse().unwrap_or(0);
        }
    }
    if request.starts_with("POST") {
        let mut body = vec![0; length];
        reader.read_exact(&mut body)?;
        let _ = results.send(String::from_utf8_lossy(&body).into_owned());
        return stream.write_all(b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n");
    }
    let name = request.split([' ', '?']).nth(1).unwrap_or("/").trim_start_matches('/');
    let name = if name.is_empty() { "index.html" } else { name };
    let found = if name.contains('/') { None } else { std::fs::read(folder.join(name)).ok() };
    let kind = match name.rsplit('.').next() {
        Some("html") => "text/html",
        Some("js") => "text/javascript",
        Some("css") => "text/css",
        Some("wasm") => "application/wasm",
        _ => "application/octet-stream",
    };
    let (status, body) = found.map_or(("404 Not Found", Vec::new()), |body| ("200 OK", body));
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes())?;
    stream.write_all(&body)
}

/// What the page tells of itself: a name and its numbers or words a line.
fn told() -> HashMap<String, String> {
    let (browser, folder) = (variable("WEB_BROWSER"), variable("WEB_PAGE"));
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let (results, result) = mpsc::channel();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let (folder, results) = (folder.clone(), results.clone());
            std::thread::spawn(move || answer(stream, &folder, &results));
        }
    });
    let profile = tempfile::tempdir().expect("a folder");
    let started = Command::new(browser)
        .args(["--headless=new", "--no-sandbox", "--no-first-run", "--disable-background-networking"])
        // Software for all of it: what a page draws with WebGPU is shown by Vulkan.
        .args(["--enable-unsafe-webgpu", "--enable-unsafe-swiftshader", "--use-webgpu-adapter=swiftshader"])
        .args([
            "--enable-features=Vulkan",
            "--use-vulkan=swiftshader",
            "--use-angle=swiftshader",
            "--ignore-gpu-blocklist",
        ])
        // Compiling a shader takes it longer than the browser would wait.
        .arg("--disable-gpu-watchdog")
        .arg(format!("--user-data-dir={}", profile.path().display()))
        .arg(format!("http://127.0.0.1:{port}/?test"))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
    let _browser = Browser(started.expect("the browser starts"));
    let text = result.recv_timeout(PATIENCE).expect("the page answers in time");
    println!("{text}");
    assert!(!text.starts_with("error"), "{text}");
    text.lines().filter_map(|line| line.split_once(' ')).map(|(name, rest)| (name.into(), rest.into())).collect()
}

#[test]
#[ignore = "needs a browser and the built page: web/test.sh runs it, and ./test.sh where there are both"]
fn a_page_learns_to_need_few_steps() {
    let told = told();
    let numbers = |name: &str| -> Vec<f64> {
        let rest = told.get(name).unwrap_or_else(|| panic!("the page tells {name}"));
        rest.split(' ').map(|number| number.parse().unwrap_or(f64::NAN)).collect()
    };
    // The first five steps, and the last twenty of 200.
    let [before, after] = numbers("digits-regularized-nfe")[..] else { panic!("two numbers") };
    assert!(before > 20.0 && after < 15.0, "digits: NFE from {before} to {after}");
    let [before, after] = numbers("digits-regularized-loss")[..] else { panic!("two numbers") };
    assert!(after < 0.3 * before, "digits: loss from {before} to {after}");
    assert!(numbers("digits-regularized-test")[2] > 0.93, "digits: {:?}", numbers("digits-regularized-test"));
    let spiral = ["regularized", "vanilla"].map(|kind| {
        let [before, after] = numbers(&format!("spiral-{kind}-loss"))[..] else { panic!("two numbers") };
        assert!(after < 0.1 * before, "spiral, {kind}: loss from {before} to {after}");
        numbers(&format!("spiral-{kind}-nfe"))[1]
    });
    assert!(spiral[0] < spiral[1], "spiral: NFE {spiral:?}");
    assert!(numbers("painted")[0] > 1000.0, "trajectories are drawn: {:?} pixels", numbers("painted"));
    let [first, second] = numbers("digests")[..] else { panic!("two numbers") };
    assert!(first == second, "the same bits twice: {first} and {second}");
}
