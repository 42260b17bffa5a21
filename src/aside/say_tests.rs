use super::*;
use std::io::{self, Write};
use std::sync::Arc;

#[derive(Clone, Default)]
struct Page(Arc<Mutex<Vec<u8>>>);

impl Write for Page {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What a subscriber of one's own has written of it. One after the other: who waits for the log has what was
/// to come later said at once, whoever it is of.
fn written(speak: impl FnOnce()) -> String {
    static ONE: Mutex<()> = Mutex::new(());
    let _one = ONE.lock().unwrap_or_else(PoisonError::into_inner);
    let page = Page::default();
    let writer = page.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(Level::TRACE)
        .without_time()
        .with_ansi(false)
        .with_writer(move || writer.clone());
    tracing::subscriber::with_default(subscriber.finish(), speak);
    LOG.finish(Duration::from_secs(60));
    String::from_utf8(page.0.lock().unwrap().clone()).unwrap()
}

#[test]
fn a_line_looks_as_tracing_itself_would_have_it() {
    let (name, count, error) = ("x y".to_owned(), 3_usize, io::Error::other("no"));
    let within = Duration::from_millis(1500);
    let deep = crate::ListenError::Bind {
        address: crate::Address::Unnamed,
        source: io::ErrorKind::NotConnected.into(),
    };
    let chain: &(dyn Error + 'static) = &deep;
    let plain = written(|| {
        let _in = tracing::info_span!("heirloom", generation = 7_u64).entered();
        tracing::warn!(target: "heirloom", name, count, %error, ?within, half = count / 2, "it {count} {}", "went");
        tracing::info!(target: "heirloom", error = chain, "and on");
    });
    let aside = written(|| {
        let _in = tracing::info_span!("heirloom", generation = 7_u64).entered();
        say!(warn: name, count, %error, ?within, half = count / 2, "it {count} {}", "went");
        say!(info: error = chain, "and on");
    });
    assert_eq!(aside, plain);
    assert!(plain.contains("generation=7") && plain.contains("1.5s"), "{plain}");
}

#[test]
fn a_voice_has_its_span() {
    let said = std::thread::spawn(|| {
        written(|| {
            Voice::Generation(4).speaks_here();
            say!(info: "hear");
        })
    });
    let said = said.join().unwrap();
    assert!(said.contains("heirloom{generation=4}: ") && said.contains("hear"), "{said}");
}

#[test]
fn what_comes_again_and_again_is_counted() {
    let said = written(|| {
        for number in 0..1000 {
            say_seldom!(warn: number = number as u64, "a stranger");
        }
    });
    let lines: Vec<_> = said.lines().collect();
    assert_eq!(lines.len(), 2, "{said}");
    assert!(lines[0].contains("a stranger number=0"), "{said}");
    assert!(lines[1].contains("times=999") && lines[1].contains("a stranger"), "{said}");
}
