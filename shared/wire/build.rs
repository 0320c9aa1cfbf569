//! Compiles `proto/` in Rust: no `protoc` on the machine is needed.

use std::path::Path;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let proto = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../proto");
    println!("cargo::rerun-if-changed={}", proto.display());
    let files = ["fovea/v1/messages.proto", "fovea/v1/service.proto"];
    let descriptors = protox::compile(files.map(|file| proto.join(file)), [&proto])?;
    let stubs = std::env::var_os("CARGO_FEATURE_GRPC").is_some();
    tonic_prost_build::configure()
        .build_client(stubs)
        .build_server(stubs)
        // The stubs take any transport; connecting is the shells' business.
        .build_transport(false)
        .codec_path("crate::buffers::SmallBuffers")
        // Chunks are slices of one buffer that all downloads share.
        .bytes(".fovea.v1.DownloadPart.chunk")
        .bytes(".fovea.v1.UploadPart.chunk")
        .compile_fds(descriptors)?;
    Ok(())
}
