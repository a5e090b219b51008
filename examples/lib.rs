//! Small programs that use peer-net.
