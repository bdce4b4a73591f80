//! The calls that exist, from the descriptors of the services, and a codec that leaves messages as they are on the wire.
//!
//! Nothing here knows a message by a Rust type: what a server sends beyond our .proto files is kept and compared too.

use std::sync::LazyLock;

use bytes::{Buf, BufMut, Bytes};
use http::uri::PathAndQuery;
use prost_reflect::{DescriptorPool, DynamicMessage, FieldDescriptor, MessageDescriptor, Value};
use tonic::Status;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};

static POOL: LazyLock<DescriptorPool> = LazyLock::new(|| {
    let bytes: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));
    DescriptorPool::decode(bytes).expect("the build made these descriptors")
});

static METHODS: LazyLock<Vec<Method>> = LazyLock::new(|| {
    let services: Vec<_> = POOL.services().collect();
    services.iter().flat_map(|service| service.methods().map(|method| Method::new(&method))).collect()
});

/// One RPC.
#[derive(Debug)]
pub struct Method {
    /// As `KV.Range`: unique over all services.
    pub name: String,
    pub path: PathAndQuery,
    pub request: MessageDescriptor,
    pub response: MessageDescriptor,
    pub client_streams: bool,
    pub server_streams: bool,
}

impl Method {
    fn new(method: &prost_reflect::MethodDescriptor) -> Method {
        let service = method.parent_service();
        let path = format!("/{}/{}", service.full_name(), method.name());
        Method {
            name: format!("{}.{}", service.name(), method.name()),
            path: PathAndQuery::try_from(path).expect("names of services and methods are letters and dots"),
            request: method.input(),
            response: method.output(),
            client_streams: method.is_client_streaming(),
            server_streams: method.is_server_streaming(),
        }
    }
}

/// All RPCs of all services.
pub fn methods() -> &'static [Method] {
    &METHODS
}

/// The RPC of a name such as `KV.Range`.
pub fn method(name: &str) -> Option<&'static Method> {
    METHODS.iter().find(|method| method.name == name)
}

/// Visits every value of a message, also those inside lists and messages, with the field that holds it.
pub fn visit(message: &mut DynamicMessage, with: &mut dyn FnMut(&FieldDescriptor, &mut Value)) {
    for (field, value) in message.fields_mut() {
        match value {
            Value::List(values) => values.iter_mut().for_each(|value| visit_value(&field, value, with)),
            value => visit_value(&field, value, with),
        }
    }
}

fn visit_value(field: &FieldDescriptor, value: &mut Value, with: &mut dyn FnMut(&FieldDescriptor, &mut Value)) {
    with(field, value);
    if let Value::Message(message) = value {
        visit(message, with);
    }
}

/// A number at a path of field names, such as `["header", "revision"]`; 0 where any of them is missing.
pub fn number(message: &DynamicMessage, path: &[&str]) -> i64 {
    let Some((first, rest)) = path.split_first() else { return 0 };
    let Some(value) = message.get_field_by_name(first) else { return 0 };
    match &*value {
        Value::Message(inner) => number(inner, rest),
        Value::I64(number) => *number,
        Value::U64(number) => number.cast_signed(),
        Value::U32(number) => i64::from(*number),
        Value::EnumNumber(number) => i64::from(*number),
        Value::Bool(set) => i64::from(*set),
        _ => 0,
    }
}

/// Messages as bytes.
pub struct RawCodec;

impl Codec for RawCodec {
    type Encode = Bytes;
    type Decode = Bytes;
    type Encoder = RawCodec;
    type Decoder = RawCodec;

    fn encoder(&mut self) -> RawCodec {
        RawCodec
    }

    fn decoder(&mut self) -> RawCodec {
        RawCodec
    }
}

impl Encoder for RawCodec {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, item: Bytes, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        buffer.put(item);
        Ok(())
    }
}

impl Decoder for RawCodec {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        let len = buffer.remaining();
        Ok(Some(buffer.copy_to_bytes(len)))
    }
}
