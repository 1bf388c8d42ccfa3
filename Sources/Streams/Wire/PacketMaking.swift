// Whole packets, made from a header and a body.

/// The packets the broker makes itself, ready to send. Everything else it relays as it came.
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

  /// A packet with a body that is written already. The header's length is filled in.
  public static func make(_ header: PacketHeader, arguments: [UInt8]) -> [UInt8] {
    var writer = XDRWriter(reserved: Limits.header)
    writer.append(arguments)
    return finish(header, writer)
  }

  /// The good reply to `call` without a result.
  public static func reply(answering call: PacketHeader) -> [UInt8] {
    make(answer(to: call, .ok))
  }

  /// The good reply to `call` with its result.
  public static func reply(answering call: PacketHeader, _ result: some XDRBody) -> [UInt8] {
    make(answer(to: call, .ok), result)
  }

  /// The failed reply to `call`. It is never one with descriptors, whatever the call was.
  public static func error(answering call: PacketHeader, _ error: RemoteError) -> [UInt8] {
    make(answer(to: call, .error), error)
  }

  /// The failure of the stream that the named call opened, from server to client. Nothing follows it.
  public static func streamError(
    program: UInt32, procedure: Int32, serial: UInt32, _ error: RemoteError
  ) -> [UInt8] {
    make(
      PacketHeader(
        program: program, procedure: procedure, kind: .stream, serial: serial, status: .error),
      error)
  }

  /// An event of the REMOTE program. libvirt's servers give every event the serial 1, and so do we.
  public static func event(_ procedure: Int32, _ body: some XDRBody) -> [UInt8] {
    make(PacketHeader(procedure: procedure, kind: .message, serial: 1), body)
  }

  /// `KeepAliveProcedure.ping` or `.pong`.
  public static func keepAlive(_ procedure: Int32) -> [UInt8] {
    make(
      PacketHeader(program: Program.keepAlive, procedure: procedure, kind: .message, serial: 0))
  }

  /// Echoes what names the call, its version included: an unknown version is answered in kind.
  private static func answer(to call: PacketHeader, _ status: PacketStatus) -> PacketHeader {
    PacketHeader(
      program: call.program, version: call.version, procedure: call.procedure, kind: .reply,
      serial: call.serial, status: status)
  }

  private static func finish(_ header: PacketHeader, _ writer: consuming XDRWriter) -> [UInt8] {
    var header = header
    // Only a body of gigabytes could be clamped, and `Limits.packet` ends a connection long before.
    header.length = UInt32(clamping: writer.bytes.count)
    writer.patch { bytes in
      if let start = bytes.baseAddress { header.write(at: start) }
    }
    return writer.bytes
  }
}
