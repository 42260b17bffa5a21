//! A thread for each connection, and no runtime. Lines come back with the process's id.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::thread;

fn main() -> Result<heirloom::Ending, Box<dyn std::error::Error>> {
    let address = std::env::args().nth(1).ok_or("an address is missing")?;
    let restarter = heirloom::Restarter::new()?;
    let listener = restarter.listen(address)?.into_blocking()?;
    println!("listening on {:?}", listener.local_addr());
    thread::spawn(|| accept(listener));
    Ok(restarter.run_blocking()?)
}

fn accept(mut listener: heirloom::BlockingListener) {
    while let Some(stream) = listener.accept() {
        thread::spawn(|| serve(BufReader::new(stream)));
    }
}

fn serve(mut stream: BufReader<heirloom::BlockingConnection>) -> io::Result<()> {
    while heirloom_frameworks::threads::is_asked(&stream)? && answer(&mut stream)? {}
    heirloom_frameworks::threads::move_on(stream, answer)
}

/// Whether there was a line.
fn answer(stream: &mut BufReader<impl Read + Write>) -> io::Result<bool> {
    let mut line = String::new();
    if stream.read_line(&mut line)? == 0 {
        return Ok(false);
    }
    let answer = format!("{} {line}", std::process::id());
    stream.get_mut().write_all(answer.as_bytes())?;
    Ok(true)
}
