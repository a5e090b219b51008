//! The command `peer`.

fn main() {}
