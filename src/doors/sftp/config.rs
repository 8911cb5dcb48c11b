//! Bounds of the SFTP door and the SSH parameters it speaks with.

use std::borrow::Cow;
use std::time::Duration;

use russh::keys::PrivateKey;
use russh::keys::ssh_key::{Algorithm, EcdsaCurve, HashAlg};
use russh::server::Config;
use serde::Deserialize;

use russh::{MethodKind, MethodSet, Preferred, SshId, cipher, compression, kex, mac};

/// The largest SFTP packet taken or sent, without its length field: what OpenSSH's client and server allow.
pub const PACKET_BYTES_MAX: usize = 256 * 1024;
/// The largest content of one `SSH_FXP_READ` or `SSH_FXP_WRITE`, as `limits@openssh.com` announces it: the packet
/// less 1 KiB for its header, as OpenSSH does.
pub const CONTENT_BYTES_MAX: usize = PACKET_BYTES_MAX - 1024;
/// How much of one listing goes into one `SSH_FXP_NAME`. Below every client's own packet limit.
pub(crate) const NAME_BYTES_MAX: usize = 60 * 1024;
/// What a session may always hold in its queue, whatever the others do: room for one packet under way and one being
/// worked on, so that a full house slows everybody down but stops nobody.
pub(crate) const QUEUE_BYTES_FLOOR: usize = 2 * (PACKET_BYTES_MAX + 64 * 1024);
/// The longest account name that is worth asking the gate about, in bytes.
pub(crate) const ACCOUNT_BYTES_MAX: usize = 128;

/// Everything a stranger or a client controls, with its bound.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Connections at the same time, logged in or not.
    pub connections_max: usize,
    /// Connections that have not logged in yet. The oldest of the source that has most gives way to a new one.
    pub startups_max: usize,
    /// The same for one source (an IPv4 address, an IPv6 /64).
    pub startups_per_source_max: usize,
    /// Seconds from the connection to the end of login.
    pub login_grace_seconds: u64,
    /// Refused login requests in one connection. Probes that are answered with "yes" count a quarter.
    pub auth_attempts_max: usize,
    /// Channels of one connection that are open at the same time.
    pub channels_max: usize,
    /// Seconds without any SFTP request after which a session ends.
    pub idle_seconds: u64,
    /// Seconds between SSH keep-alives when nothing is heard; three unanswered end the connection.
    pub keepalive_seconds: u64,
    /// Seconds without progress in sending after which a session whose client does not read ends.
    pub stall_seconds: u64,
    /// Open handles in one channel.
    pub handles_max: usize,
    /// Closes and renames of one channel whose verdict is still to come. More wait their turn.
    pub verdicts_max: usize,
    /// Bytes of requests that one channel has sent and that are not worked on yet.
    pub queue_bytes_max: usize,
    /// The same over all channels.
    pub queue_bytes_total_max: usize,
    /// Bytes of replies that one channel has not taken yet; beyond it, requests wait.
    pub output_bytes_max: usize,
    /// Bytes of a path as the client wrote it.
    pub path_bytes_max: usize,
    /// Bytes of one part of a path, before and after normalisation.
    pub name_bytes_max: usize,
    /// Parts of a path.
    pub path_parts_max: usize,
    /// Bytes under one set of keys before new ones are exchanged; at most 1 GiB.
    pub rekey_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections_max: 1024,
            startups_max: 200,
            startups_per_source_max: 50,
            login_grace_seconds: 60,
            auth_attempts_max: 10,
            channels_max: 8,
            idle_seconds: 900,
            keepalive_seconds: 30,
            stall_seconds: 180,
            handles_max: 1024,
            verdicts_max: 256,
            queue_bytes_max: 32 * 1024 * 1024,
            queue_bytes_total_max: 256 * 1024 * 1024,
            output_bytes_max: 4 * 1024 * 1024,
            path_bytes_max: 4096,
            name_bytes_max: 255,
            path_parts_max: 32,
            rekey_bytes: 1 << 30,
        }
    }
}

impl Limits {
    /// Queued bytes above which a client that sends faster than the disk takes it is slowed down by TCP. Well below
    /// `queue_bytes_max`, which only a client that does not read its replies can reach.
    pub(crate) fn queue_bytes_soft(&self) -> usize {
        (self.queue_bytes_max / 4).max(QUEUE_BYTES_FLOOR)
    }

    /// The stall limit as a duration, never zero.
    pub(crate) fn stall(&self) -> Duration {
        Duration::from_secs(self.stall_seconds.max(1))
    }

    /// The idle limit as a duration, never zero.
    pub(crate) fn idle(&self) -> Duration {
        Duration::from_secs(self.idle_seconds.max(1))
    }
}

/// Ciphers on offer, best first for both sides: AEAD, then counter mode. No CBC.
const CIPHERS: &[cipher::Name] = &[
    cipher::AES_128_GCM,
    cipher::AES_256_GCM,
    cipher::CHACHA20_POLY1305,
    cipher::AES_256_CTR,
    cipher::AES_192_CTR,
    cipher::AES_128_CTR,
];

/// Key exchanges on offer, and the markers of RFC 8308 and of strict key exchange.
const KEXES: &[kex::Name] = &[
    kex::MLKEM768X25519_SHA256,
    kex::CURVE25519,
    kex::CURVE25519_PRE_RFC_8731,
    kex::ECDH_SHA2_NISTP256,
    kex::ECDH_SHA2_NISTP384,
    kex::ECDH_SHA2_NISTP521,
    kex::DH_G18_SHA512,
    kex::DH_G16_SHA512,
    kex::DH_G14_SHA256,
    kex::EXTENSION_SUPPORT_AS_CLIENT,
    kex::EXTENSION_SUPPORT_AS_SERVER,
    kex::EXTENSION_OPENSSH_STRICT_KEX_AS_CLIENT,
    kex::EXTENSION_OPENSSH_STRICT_KEX_AS_SERVER,
];

/// MACs for counter mode.
const MACS: &[mac::Name] = &[mac::HMAC_SHA256_ETM, mac::HMAC_SHA512_ETM, mac::HMAC_SHA256, mac::HMAC_SHA512];

/// Key algorithms, for host keys and (as `server-sig-algs`) for logins. `ssh-rsa` (SHA-1) is not among them.
const KEYS: &[Algorithm] = &[
    Algorithm::Ed25519,
    Algorithm::Ecdsa { curve: EcdsaCurve::NistP256 },
    Algorithm::Ecdsa { curve: EcdsaCurve::NistP384 },
    Algorithm::Ecdsa { curve: EcdsaCurve::NistP521 },
    Algorithm::Rsa { hash: Some(HashAlg::Sha512) },
    Algorithm::Rsa { hash: Some(HashAlg::Sha256) },
];

/// The SSH parameters for these host keys.
pub(crate) fn ssh_config(limits: &Limits, host_keys: Vec<PrivateKey>) -> Config {
    let stall = limits.stall();
    let rekey = limits.rekey_bytes.clamp(1 << 20, 1 << 30);
    Config {
        // No version: it helps nobody but scanners.
        server_id: SshId::Standard(Cow::Borrowed("SSH-2.0-todoke")),
        // Advisory only: the handler refuses the other methods itself.
        methods: MethodSet::from(&[MethodKind::PublicKey][..]),
        // Keys are not guessed one by one, and a client with five of them should not wait five seconds.
        auth_rejection_time: Duration::ZERO,
        auth_rejection_time_initial: Some(Duration::ZERO),
        keys: host_keys,
        limits: russh::Limits::new(rekey, rekey, Duration::from_hours(1)),
        // The receiving half of each channel is dropped at once, so this buffer is never used.
        channel_buffer_size: 1,
        event_buffer_size: 32,
        preferred: Preferred {
            kex: Cow::Borrowed(KEXES),
            key: Cow::Borrowed(KEYS),
            host_key_certificates: Cow::Borrowed(&[]),
            cipher: Cow::Borrowed(CIPHERS),
            mac: Cow::Borrowed(MACS),
            compression: Cow::Borrowed(&[compression::NONE]),
        },
        max_auth_attempts: limits.auth_attempts_max.max(1),
        // Any answer to a keep-alive resets it, so it only strikes a peer that is gone or that leaves the socket
        // full; sessions that are merely idle are ended by the server's own clock (`idle_seconds`).
        inactivity_timeout: Some(stall),
        keepalive_interval: Some(Duration::from_secs(limits.keepalive_seconds.max(1)).min(stall / 3)),
        keepalive_max: 3,
        nodelay: true,
        ..Config::default()
    }
}
