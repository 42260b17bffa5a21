//! A name server that answers any question with its process id: `dns 127.0.0.1:5300`, `kill -USR2 PID`, and
//! `dig @127.0.0.1 -p 5300 anything TXT +short` as often as you like.
//!
//! Each question stands by itself, so there are no conversations: whichever generation reads answers, and only one reads.

use heirloom::udp::{Classifier, Transmit};
use heirloom::{Ending, Restarter};

#[tokio::main]
async fn main() -> Result<Ending, Box<dyn std::error::Error>> {
    tracing_subscriber::fmt().with_writer(std::io::stderr).with_target(false).init();
    let address =
        std::env::args().next_back().filter(|last| last.contains(':')).unwrap_or("127.0.0.1:5300".into());

    let restarter = Restarter::new()?;
    let flows = restarter.check(restarter.flows(address, Classifier::requests())).await?;
    println!("listening on {}", flows.local_addr());

    tokio::spawn(async move {
        let mut question = [0; 4096];
        // Ends when a successor reads.
        while let Some(meta) = flows.recv(&mut question).await {
            let Some(answer) = answer(&question[..meta.length]) else { continue };
            // From the address that was asked, which may be one of many.
            let transmit =
                Transmit { peer: meta.peer, local: meta.local, ecn: 0, segment: None, bytes: &answer };
            if let Err(error) = flows.send(&transmit).await {
                eprintln!("{}: {error}", meta.peer);
            }
        }
    });
    Ok(restarter.run().await?)
}

/// A TXT record with the process id for what is asked first; RFC 1035 has the format.
fn answer(question: &[u8]) -> Option<Vec<u8>> {
    const HEAD: usize = 12;
    let is_question = question.len() > HEAD && question[2] & 0x80 == 0 && question[5] == 1;
    let mut end = HEAD;
    while is_question && *question.get(end)? != 0 {
        end += 1 + usize::from(question[end]);
    }
    // The zero, a type, and a class.
    let asked = question.get(HEAD..end + 5).filter(|_| is_question)?;
    let text = std::process::id().to_string();
    let mut answer = question[..2].to_vec();
    // An authoritative answer, recursion as it was desired; one question, one answer.
    answer.extend_from_slice(&[0x84 | question[2] & 1, 0, 0, 1, 0, 1, 0, 0, 0, 0]);
    answer.extend_from_slice(asked);
    // The same name, TXT, IN, not to be kept.
    answer.extend_from_slice(&[0xc0, HEAD as u8, 0, 16, 0, 1, 0, 0, 0, 0]);
    answer.extend_from_slice(&(text.len() as u16 + 1).to_be_bytes());
    answer.push(text.len() as u8);
    answer.extend_from_slice(text.as_bytes());
    Some(answer)
}
