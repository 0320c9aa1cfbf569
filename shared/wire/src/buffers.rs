//! The codec of the stubs: protobuf in buffers that begin small. Every call of every connection holds two, and most messages are
//! short.

use std::marker::PhantomData;

use prost::Message;
use tonic::codec::{BufferSettings, Codec};
use tonic_prost::ProstCodec;

/// Bytes of a buffer before the first message; it grows with the messages.
const BEGIN_BYTES: usize = 256;
/// Encoded bytes that are handed on although more messages wait: less than a piece of bulk data, so that pieces do not gather.
const READY_BYTES: usize = 4 << 10;

/// Protobuf, as [`ProstCodec`], which begins with 8 kB for each buffer.
#[derive(Clone, Copy, Debug)]
pub struct SmallBuffers<T, U>(PhantomData<(T, U)>);

impl<T, U> Default for SmallBuffers<T, U> {
    fn default() -> Self {
        Self(PhantomData)
    }
}

impl<T, U> Codec for SmallBuffers<T, U>
where
    T: Message + Send + 'static,
    U: Message + Default + Send + 'static,
{
    type Encode = T;
    type Decode = U;
    type Encoder = <ProstCodec<T, U> as Codec>::Encoder;
    type Decoder = <ProstCodec<T, U> as Codec>::Decoder;

    fn encoder(&mut self) -> Self::Encoder {
        ProstCodec::<T, U>::raw_encoder(BufferSettings::new(BEGIN_BYTES, READY_BYTES))
    }

    fn decoder(&mut self) -> Self::Decoder {
        ProstCodec::<T, U>::raw_decoder(BufferSettings::new(BEGIN_BYTES, READY_BYTES))
    }
}
