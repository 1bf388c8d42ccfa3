// Packets that the broker makes, compared with bytes written by hand.
import Streams
import Testing

@Suite("packet making")
struct PacketMakingTests {
  /// The header of a call of CONNECT_OPEN with an unusual version and serial.
  private let call = PacketHeader(
    length: 99, program: 0x2000_8086, version: 3, procedure: 1, kind: .callWithDescriptors,
    serial: 0x0a0b_0c0d)

  private func header(_ packet: [UInt8]) -> PacketHeader {
    packet.withUnsafeBytes { bytes in
      bytes.baseAddress.map { PacketHeader(at: $0) }
        ?? PacketHeader(procedure: -1, kind: .call, serial: 0)
    }
  }

  @Test("a packet of every kind has its length", arguments: sampleBodies)
  func length(body: any XDRBody & Sendable) {
    let packet = Packets.make(call, body)
    #expect(header(packet).length == UInt32(packet.count))
    #expect(Array(packet.dropFirst(Limits.header)) == body.encoded)
  }

  @Test("a keepalive PING and PONG have libvirt's bytes")
  func keepAlive() {
    let ping: [UInt8] = [
      0, 0, 0, 0x1c, 0x6b, 0x65, 0x65, 0x70, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 0,
      0, 0, 0, 0,
    ]
    var pong = ping
    pong[15] = 2
    #expect(Packets.keepAlive(KeepAliveProcedure.ping) == ping)
    #expect(Packets.keepAlive(KeepAliveProcedure.pong) == pong)
  }

  @Test(
    "a reply has the program, version, procedure and serial of its call, and never the kind with descriptors"
  )
  func replies() {
    let good = Packets.reply(answering: call, FeatureResult(supported: 1))
    let empty = Packets.reply(answering: call)
    let failed = Packets.error(answering: call, RemoteError(.rpc, "unknown procedure: 1"))
    for packet in [good, empty, failed] {
      var expected = call
      expected.length = UInt32(packet.count)
      expected.kind = .reply
      expected.status = packet == failed ? .error : .ok
      #expect(header(packet) == expected)
    }
    #expect(good.suffix(4) == [0, 0, 0, 1])
    #expect(empty.count == Limits.header)
  }

  @Test("a stream error has the procedure and serial of the call that opened the stream")
  func streamError() throws {
    let error = RemoteError(.operationFailed, "the daemon is gone")
    let packet = Packets.streamError(program: 5, procedure: 209, serial: 10, error)
    #expect(
      header(packet)
        == PacketHeader(
          length: UInt32(packet.count), program: 5, procedure: 209, kind: .stream, serial: 10,
          status: .error))
    #expect(try RemoteError.read(packet.dropFirst(Limits.header)) == error)
  }

  @Test("an event has the serial that libvirt gives events")
  func event() {
    let packet = Packets.event(
      Remote.connectEventConnectionClosed, ConnectionClosedEvent(reason: 1))
    #expect(
      header(packet)
        == PacketHeader(length: 32, procedure: 362, kind: .message, serial: 1, status: .ok))
  }

  @Test("an error has its template, its detail, and both combined")
  func errorText() {
    let error = RemoteError(.internalError, "hypervisor connection not open")
    #expect(error.message == "internal error: hypervisor connection not open")
    #expect(error.str1 == "internal error: %s")
    #expect(error.str2 == "hypervisor connection not open")
    #expect(error.str3 == nil)
    #expect(error.domain == .rpc)
    #expect([error.level, error.int1, error.int2] == [2, -1, -1])
    let rpc = RemoteError(.rpc, "unknown procedure: 9")
    #expect(rpc.message == "unknown procedure: 9")
    #expect(rpc.str1 == "%s")
  }

  @Test("a detail is cut at its limit and never inside a character", arguments: 0..<4)
  func detailLimit(shift: Int) throws {
    let long = String(repeating: "x", count: shift) + String(repeating: "𝄞", count: 2_000_000)
    let detail = try #require(RemoteError(.systemError, long).str2)
    #expect(long.hasPrefix(detail))
    #expect((RemoteError.detailLimit - 3...RemoteError.detailLimit).contains(detail.utf8.count))
    let whole = String(repeating: "x", count: RemoteError.detailLimit)
    #expect(RemoteError(.systemError, whole).str2 == whole)
    #expect(RemoteError(.systemError, whole + "x").str2 == whole)
  }
}
