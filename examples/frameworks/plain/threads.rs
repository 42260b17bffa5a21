//! A thread for each connection, and no runtime. Lines come back with the process's id.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::thread;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let address = std::env::args().nth(1).ok_or("an address is missing")?;
    let listener = std::net::TcpListener::bind(address)?;
    println!("listening on {:?}", listener.local_addr());
    accept(listener);
    Ok(())
}

fn accept(listener: std::net::TcpListener) {
    while let Ok((stream, _)) = listener.accept() {
        thread::spawn(|| serve(BufReader::new(stream)));
    }
}

fn serve(mut stream: BufReader<std::net::TcpStream>) -> io::Result<()> {
    while answer(&mut stream)? {}
    Ok(())
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
