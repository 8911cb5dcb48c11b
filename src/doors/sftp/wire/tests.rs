use proptest::prelude::*;

use super::*;

/// The content of a packet: type, id and parts.
fn content(kind: u8, id: u32, parts: &[&[u8]]) -> Vec<u8> {
    let mut bytes = vec![kind];
    bytes.extend_from_slice(&id.to_be_bytes());
    bytes.extend(parts.concat());
    bytes
}

fn string(bytes: &[u8]) -> Vec<u8> {
    [&u32::try_from(bytes.len()).unwrap().to_be_bytes()[..], bytes].concat()
}

#[test]
fn requests_are_parsed_in_place() {
    let write = content(SSH_FXP_WRITE, 7, &[&string(b"h"), &5u64.to_be_bytes(), &string(b"data")]);
    let parsed = parse(&write).unwrap();
    assert_eq!(parsed, Packet { id: 7, request: Request::Write { handle: b"h", offset: 5, data: b"data" } });
    let Request::Write { data, .. } = parsed.request else { unreachable!() };
    assert!(write.as_ptr_range().contains(&data.as_ptr()), "no copy");

    let attributes =
        [&0x8000_000f_u32.to_be_bytes()[..], &9u64.to_be_bytes(), &[0; 8], &0o100_640_u32.to_be_bytes()]
            .concat();
    let attributes =
        [attributes, vec![0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 1], string(b"a@b"), string(b"c")].concat();
    let open = content(SSH_FXP_OPEN, 1, &[&string(b"/x"), &0x1a_u32.to_be_bytes(), &attributes]);
    let flags = OpenFlags { write: true, create: true, truncate: true, ..OpenFlags::default() };
    let set = SetAttributes { size: Some(9), mode: Some(0o640), modified: Some(2) };
    assert_eq!(parse(&open).unwrap().request, Request::Open { path: b"/x", flags, attributes: set });
}

#[test]
fn every_truncation_is_noticed() {
    let attributes = 0u32.to_be_bytes();
    for whole in [
        content(SSH_FXP_OPEN, 1, &[&string(b"/x"), &[0; 4], &attributes]),
        content(SSH_FXP_READ, 1, &[&string(b"handle"), &[0; 8], &[0; 4]]),
        content(SSH_FXP_WRITE, 1, &[&string(b"handle"), &[0; 8], &string(b"content")]),
        content(SSH_FXP_RENAME, 1, &[&string(b"/a"), &string(b"/b")]),
        content(SSH_FXP_SETSTAT, 1, &[&string(b"/a"), &attributes]),
        content(SSH_FXP_MKDIR, 1, &[&string(b"/a"), &attributes]),
        content(SSH_FXP_EXTENDED, 1, &[&string(b"posix-rename@openssh.com"), &string(b"/a"), &string(b"/b")]),
        content(SSH_FXP_EXTENDED, 1, &[&string(b"fsync@openssh.com"), &string(b"handle")]),
    ] {
        assert!(parse(&whole).is_ok());
        for length in 0..whole.len() {
            assert!(parse(&whole[..length]).is_err(), "{length} of {whole:?}");
        }
        let longer = [whole.clone(), vec![0xff; 9]].concat();
        assert_eq!(parse(&longer), parse(&whole), "what is left over is not read");
    }
}

#[test]
fn replies_are_framed() {
    let mut replies = Replies::default();
    replies.status(1, SSH_FX_OK, &"長".repeat(1000), "ja");
    assert_eq!(
        replies.data(2, 4, |into| {
            into.extend_from_slice(b"0123456789");
            Ok::<_, ()>(())
        }),
        Ok(4)
    );
    assert_eq!(replies.data(3, 4, |_| Ok::<_, ()>(())), Ok(0));
    assert_eq!(
        replies.data(4, 4, |into| {
            into.push(0);
            Err(())
        }),
        Err(())
    );
    let mut names = replies.begin_names(5);
    let attributes = Attributes { folder: true, size: 1, mode: 0o755, modified: u64::MAX };
    replies.name(&mut names, "a", &attributes, |into| into.extend_from_slice(b"line"));
    replies.finish_names(&names);
    let abandoned = replies.begin_names(6);
    replies.abandon_names(&abandoned);
    let bytes = replies.take();
    let mut packets = Vec::new();
    let mut rest = bytes.as_slice();
    while let Some((length, tail)) = rest.split_first_chunk() {
        let (packet, tail) = tail.split_at(u32::from_be_bytes(*length) as usize);
        packets.push((packet[0], packet[4], packet.len()));
        rest = tail;
    }
    assert!(rest.is_empty());
    // The status text is cut between characters: 341 of three bytes each.
    assert_eq!(packets, [(101, 1, 1 + 4 + 4 + 4 + 1023 + 4 + 2), (103, 2, 13), (104, 5, 46)]);
    assert!(replies.is_empty());
}

proptest! {
    /// Whatever comes, parsing neither panics nor hands out bytes that are not the packet's.
    #[test]
    fn anything_can_be_parsed(kind in 0u8..=255, rest in proptest::collection::vec(any::<u8>(), 0..200)) {
        let packet = [vec![kind], rest].concat();
        if let Ok(Packet { request: Request::Write { handle, data, .. }, .. }) = parse(&packet) {
            prop_assert_eq!(1 + 4 + 4 + handle.len() + 8 + 4 + data.len() <= packet.len(), true);
        }
    }

    /// A request is made of exactly the bytes that it says it is made of.
    #[test]
    fn what_was_written_is_read(
        id: u32,
        handle in proptest::collection::vec(any::<u8>(), 0..300),
        offset: u64,
        data in proptest::collection::vec(any::<u8>(), 0..3000),
        flipped in 0usize..3000,
    ) {
        let mut packet = content(SSH_FXP_WRITE, id, &[&string(&handle), &offset.to_be_bytes(), &string(&data)]);
        prop_assert_eq!(
            parse(&packet),
            Ok(Packet { id, request: Request::Write { handle: &handle, offset, data: &data } })
        );
        // Damage anywhere may change what is read, but never makes it panic.
        let at = flipped % packet.len();
        packet[at] ^= 0x80;
        let _ = parse(&packet);
    }
}
