//! What `protoc` and `tonic-prost-build` make of a `.proto` file, for a service whose messages are written by hand.

fn main() {
    #[cfg(feature = "tonic")]
    echo();
}

#[cfg(feature = "tonic")]
fn echo() {
    use tonic_build::manual::{Builder, Method, Service};

    let method = |name: &str, route: &str| {
        Method::builder()
            .name(name)
            .route_name(route)
            .input_type("crate::echo::Said")
            .output_type("crate::echo::Said")
            .codec_path("tonic_prost::ProstCodec")
    };
    let service = Service::builder()
        .package("heirloom")
        .name("Echo")
        .method(method("say", "Say").build())
        .method(method("repeat", "Repeat").server_streaming().build())
        .method(method("talk", "Talk").client_streaming().server_streaming().build());
    Builder::new().compile(&[service.build()]);
}
