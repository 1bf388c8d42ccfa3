// Makes whole packets from a header and a body.

/// The packets that the broker makes itself, ready to send. It relays all other packets unchanged.
public enum Packets {
  /// A packet without a body. The header's length is filled in.
  public static func make(_ header: PacketHeader) -> [UInt8] {
    finish(header, XDRWriter(reserved: Limits.header))
  }

  /// A packet with a body. The header's length is filled in.
  public static func make(_ header: PacketHeader, _ body: some XDRBody) -> [UInt8] {
    var writer = XDRWriter(reserved: Limits.header)
    body.encode(into: &writer)
    return finish(header, writer)
  }

  /// A packet with an encoded body. The header's length is filled in.
  public static func make(_ header: PacketHeader, arguments: [UInt8]) -> [UInt8] {
    var writer = XDRWriter(reserved: Limits.header)
    writer.append(arguments)
    return finish(header, writer)
  }

  /// The successful reply to `call` without a result.
  public static func reply(answering call: PacketHeader) -> [UInt8] {
    make(answer(to: call, .ok))
  }

  /// The successful reply to `call` with its result.
  public static func reply(answering call: PacketHeader, _ result: some XDRBody) -> [UInt8] {
    make(answer(to: call, .ok), result)
  }

  /// The failed reply to `call`. It never has descriptors, even if the call had some.
  public static func error(answering call: PacketHeader, _ error: RemoteError) -> [UInt8] {
    make(answer(to: call, .error), error)
  }

  /// The failure of the stream that this call opened, from server to client. No packet of the stream follows.
  public static func streamError(
    program: UInt32, procedure: Int32, serial: UInt32, _ error: RemoteError
  ) -> [UInt8] {
    make(
      PacketHeader(
        program: program, procedure: procedure, kind: .stream, serial: serial, status: .error),
      error)
  }

  /// An event of the REMOTE program. Its serial is 1, as in all events of libvirt's servers.
  public static func event(_ procedure: Int32, _ body: some XDRBody) -> [UInt8] {
    make(PacketHeader(procedure: procedure, kind: .message, serial: 1), body)
  }

  /// `KeepAliveProcedure.ping` or `.pong`.
  public static func keepAlive(_ procedure: Int32) -> [UInt8] {
    make(
      PacketHeader(program: Program.keepAlive, procedure: procedure, kind: .message, serial: 0))
  }

  /// The header of an answer. It repeats the call's identifying fields, including an unknown version.
  private static func answer(to call: PacketHeader, _ status: PacketStatus) -> PacketHeader {
    PacketHeader(
      program: call.program, version: call.version, procedure: call.procedure, kind: .reply,
      serial: call.serial, status: status)
  }

  private static func finish(_ header: PacketHeader, _ writer: consuming XDRWriter) -> [UInt8] {
    var header = header
    // Only a body of gigabytes would be clamped, and `Limits.packet` is far below that.
    header.length = UInt32(clamping: writer.bytes.count)
    writer.patch { bytes in
      if let start = bytes.baseAddress { header.write(at: start) }
    }
    return writer.bytes
  }
}
