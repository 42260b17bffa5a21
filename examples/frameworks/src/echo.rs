//! The service of the tonic programs: a call, a stream of answers, and a talk.

use std::pin::Pin;
use std::time::Duration;

use tokio_stream::{Stream, StreamExt};
use tonic::{Request, Response, Status, Streaming};

pub use generated::echo_client::EchoClient;
use generated::echo_server;
pub use generated::echo_server::EchoServer;

#[allow(unreachable_pub, clippy::all, reason = "it is generated")]
mod generated {
    include!(concat!(env!("OUT_DIR"), "/heirloom.Echo.rs"));
}

/// What is said, and by whom.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Said {
    /// How often it is to be repeated.
    #[prost(uint32, tag = "1")]
    pub times: u32,
    /// The process that answers.
    #[prost(uint32, tag = "2")]
    pub by: u32,
}

impl Said {
    /// What the server answers.
    fn again(self) -> Said {
        Said { by: std::process::id(), ..self }
    }
}

/// Answers with what it hears.
#[derive(Clone, Copy, Debug)]
pub struct Echo;

type Answers = Pin<Box<dyn Stream<Item = Result<Said, Status>> + Send>>;

#[tonic::async_trait]
impl echo_server::Echo for Echo {
    type RepeatStream = Answers;
    type TalkStream = Answers;

    async fn say(&self, request: Request<Said>) -> Result<Response<Said>, Status> {
        request.remote_addr().ok_or_else(|| Status::internal("from nobody"))?;
        Ok(Response::new(request.into_inner().again()))
    }

    async fn repeat(&self, request: Request<Said>) -> Result<Response<Answers>, Status> {
        let said = request.into_inner();
        let times = said.times as usize;
        let answers = tokio_stream::iter(std::iter::repeat_n(said.again(), times)).map(Ok);
        Ok(Response::new(Box::pin(answers.throttle(PAUSE))))
    }

    async fn talk(&self, request: Request<Streaming<Said>>) -> Result<Response<Answers>, Status> {
        Ok(Response::new(Box::pin(request.into_inner().map(|said| said.map(Said::again)))))
    }
}

/// Between two answers of a stream.
const PAUSE: Duration = Duration::from_millis(10);
