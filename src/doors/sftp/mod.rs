//! The SFTP door: SSH by russh, and an own SFTP v3 server layer, because that layer is the drop-box.

pub mod port;
