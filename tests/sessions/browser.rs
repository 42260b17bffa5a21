//! The chat room in a real browser: two tabs of Chromium, typed into by its DevTools protocol, over `wss://`.
//!
//! Where it is not installed the test says so and passes, unless `CI=true`.

use std::net::TcpStream;

use support::beside::{Beside, is_installed};
use support::chromium::chromium;
use support::{PATIENCE, Setup, Signal, beside_others, proc};
use tungstenite::{Message, client};

use super::Socket;
use super::secure::certified;

#[test]
fn two_tabs_chat_on_through_five_restarts() {
    if !is_installed("chromium", "--version") {
        return;
    }
    let _beside_others = beside_others();
    let (setup, _) = certified(Setup::example("chat"));
    let server = setup.start();
    let mut command = chromium(&server.dir().join("profile"));
    let mut chromium =
        Beside::start(command.args(["--remote-debugging-port=0", "--ignore-certificate-errors"]));
    let mut devtools = Devtools::of(&chromium);
    let page = format!("https://{}/", server.target());
    let mut tabs = ["ann", "bob"].map(|name| Tab::open(&mut devtools, &page, name));
    let mut pid = server.first_pid;
    for restart in 0..5 {
        let (old, mark) = (pid, server.mark());
        proc::signal(old, if restart % 2 == 0 { Signal::SIGHUP } else { Signal::SIGUSR2 });
        // From the signal to the old process's end, in the middle of words too.
        while proc::is_alive(old) {
            tabs.iter_mut().for_each(|tab| tab.say_one_more(&mut devtools));
        }
        pid = server.wait_for_settled(mark);
        tabs.iter_mut().for_each(|tab| tab.say_one_more(&mut devtools));
    }

    let count = tabs.iter().map(|tab| tab.said).sum();
    let [first, second] = tabs.each_ref().map(|tab| tab.shown(&mut devtools, count));
    assert_eq!(first, second, "both see the same, in the same order");
    for tab in &tabs {
        let of_this: Vec<_> = first.iter().filter(|line| line.starts_with(tab.name)).collect();
        let said: Vec<_> = (1..=tab.said).map(|number| format!("{}: {number} words", tab.name)).collect();
        assert_eq!(of_this, said.iter().collect::<Vec<_>>());
        assert_eq!(tab.evaluate(&mut devtools, "document.title"), "chat");
    }
    let heard = |method: &str| devtools.events.iter().filter(|event| event.contains(method)).count();
    assert_eq!(heard("Network.webSocketCreated"), 2, "one for each tab, and no other after it");
    assert_eq!(heard("Network.webSocketClosed") + heard("Network.webSocketFrameError"), 0);
    println!("{count} lines of two tabs, typed through 5 restarts");
    drop(devtools);
    chromium.end().unwrap();
}

/// A page of the chat room, and how many lines were said there.
struct Tab {
    name: &'static str,
    session: String,
    said: usize,
}

impl Tab {
    fn open(devtools: &mut Devtools, page: &str, name: &'static str) -> Tab {
        let target = field(&devtools.ask("", "Target.createTarget", r#""url":"about:blank""#), "targetId");
        let attached =
            devtools.ask("", "Target.attachToTarget", &format!(r#""targetId":"{target}","flatten":true"#));
        let tab = Tab { name, session: field(&attached, "sessionId"), said: 0 };
        for domain in ["Page.enable", "Network.enable"] {
            tab.ask(devtools, domain, "");
        }
        // A browser has one tab in front, and both are typed into.
        tab.ask(devtools, "Emulation.setFocusEmulationEnabled", r#""enabled":true"#);
        devtools.send(&tab.session, "Page.navigate", &format!(r#""url":"{page}""#));
        devtools.wait_for(&tab.session, r#""Page.javascriptDialogOpening""#);
        let name = format!(r#""accept":true,"promptText":"{name}""#);
        tab.ask(devtools, "Page.handleJavaScriptDialog", &name);
        devtools.wait_for(&tab.session, r#""Network.webSocketHandshakeResponseReceived""#);
        tab
    }

    /// By the keyboard, key by key.
    fn say_one_more(&mut self, devtools: &mut Devtools) {
        self.said += 1;
        for letter in format!("{} words\r", self.said).chars().map(|letter| letter.escape_default()) {
            for kind in ["keyDown", "keyUp"] {
                let key = format!(r#""type":"{kind}","text":"{letter}""#);
                self.ask(devtools, "Input.dispatchKeyEvent", &key);
            }
        }
    }

    /// What the page shows of the conversation, once it has that many lines.
    fn shown(&self, devtools: &mut Devtools, count: usize) -> Vec<String> {
        let lines = format!(
            "new Promise((resolve) => {{ const look = () => said.children.length < {count} ? setTimeout(look, 10) : \
             resolve([...said.children].map((line) => line.textContent).join(';')); look(); }})"
        );
        self.evaluate(devtools, &lines).split(';').map(str::to_owned).collect()
    }

    fn evaluate(&self, devtools: &mut Devtools, expression: &str) -> String {
        let parameters = format!(r#""expression":"{expression}","awaitPromise":true"#);
        field(&self.ask(devtools, "Runtime.evaluate", &parameters), "value")
    }

    fn ask(&self, devtools: &mut Devtools, method: &str, parameters: &str) -> String {
        devtools.ask(&self.session, method, parameters)
    }
}

/// Chromium's own protocol: a question has a number, and what happens meanwhile is told between the answers.
struct Devtools {
    socket: Socket,
    asked: u64,
    events: Vec<String>,
}

impl Devtools {
    fn of(chromium: &Beside) -> Devtools {
        let line = chromium.wait_for_line("DevTools listening on ws://");
        let url = line.split("listening on ").nth(1).expect("an address");
        let address = url.trim_start_matches("ws://").split('/').next().expect("an address");
        let stream = TcpStream::connect(address).expect("DevTools");
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        stream.set_nodelay(true).expect("a socket");
        Devtools { socket: client(url, stream).expect("DevTools").0, asked: 0, events: Vec::new() }
    }

    fn ask(&mut self, session: &str, method: &str, parameters: &str) -> String {
        let number = self.send(session, method, parameters);
        let answer = self.hear(|message| message.starts_with(&format!(r#"{{"id":{number},"#)));
        assert!(!answer.contains(r#""error":"#), "{method}: {answer}");
        answer
    }

    fn send(&mut self, session: &str, method: &str, parameters: &str) -> u64 {
        self.asked += 1;
        let of = if session.is_empty() { String::new() } else { format!(r#","sessionId":"{session}""#) };
        let question =
            format!(r#"{{"id":{},"method":"{method}","params":{{{parameters}}}{of}}}"#, self.asked);
        self.socket.send(Message::text(question)).expect("open");
        self.asked
    }

    /// Waits for something that happens in one tab, if it has not yet.
    fn wait_for(&mut self, session: &str, event: &str) {
        let is_it = |message: &str| message.contains(session) && message.contains(event);
        if !self.events.iter().any(|told| is_it(told)) {
            self.hear(is_it);
        }
    }

    fn hear(&mut self, is_it: impl Fn(&str) -> bool) -> String {
        loop {
            let message = self.socket.read().expect("an answer of DevTools").into_text().expect("text");
            if !message.starts_with(r#"{"id":"#) {
                self.events.push(message.to_string());
            }
            if is_it(&message) {
                return message.to_string();
            }
        }
    }
}

/// A string in an answer that has no quotes in it.
fn field(answer: &str, name: &str) -> String {
    let after = answer.split(&format!(r#""{name}":""#)).nth(1).and_then(|rest| rest.split('"').next());
    after.unwrap_or_else(|| panic!("no {name} in {answer}")).to_owned()
}
