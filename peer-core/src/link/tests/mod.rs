extern crate std;

mod hostile;
mod lab;
mod life;
mod vectors;

impl super::Leaf<'_> {
    /// Sends a message that the engine would not.
    fn inject(&mut self, parts: &[&[u8]]) {
        if self.is_up() {
            let _ = self.endpoint.outgoing.push(parts);
        }
    }
}

impl super::Gateway<'_> {
    fn inject(&mut self, parts: &[&[u8]]) {
        if self.is_up() {
            let _ = self.endpoint.outgoing.push(parts);
        }
    }
}
