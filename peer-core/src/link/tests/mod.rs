extern crate std;

mod ends;
mod handshake;
mod hostile;
mod lab;
mod life;
mod old;
mod pressure;
mod streams;
mod vectors;
mod wire;

/// A message of bytes that the engine, or the driver, would not say.
struct Raw<'a>(&'a [u8]);

impl serde::Serialize for Raw<'_> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use serde::ser::SerializeTuple as _;

        let mut tuple = serializer.serialize_tuple(self.0.len())?;
        for byte in self.0 {
            tuple.serialize_element(byte)?;
        }
        tuple.end()
    }
}

impl super::Leaf<'_> {
    fn inject(&mut self, message: &[u8]) {
        if self.is_up() {
            let _ = self.endpoint.send(&Raw(message));
        }
    }
}

impl super::Gateway<'_> {
    fn inject(&mut self, message: &[u8]) {
        if self.is_up() {
            let _ = self.endpoint.send(&Raw(message));
        }
    }
}
