// Captures of real connections, parsed and encoded to the same bytes.
import Streams
import Testing

@Suite("golden captures")
struct GoldenTests {
  @Test("the length words lead from packet to packet, and each header equals the table's")
  func walk() throws {
    let rows = Dictionary(grouping: try Golden.rows(), by: \.file)
    #expect(rows.keys.sorted() == (try Golden.files()))
    for (file, rows) in rows {
      let bytes = try Golden.bytes(file)
      var offset = 0
      for row in rows {
        #expect(row.offset == offset, "\(row)")
        try #require(offset + row.length <= bytes.count, "\(row)")
        if let expected = row.header {
          try #require(offset + Limits.header <= bytes.count, "\(row)")
          let header = try bytes.withUnsafeBytes {
            PacketHeader(at: try #require($0.baseAddress) + offset)
          }
          #expect(header == expected, "\(row)")
          // The packet's own length leads to the next packet, not the table's.
          offset += Int(header.length)
        } else {
          if row.kind == "CARRIER" { #expect(bytes[offset] == 0, "\(row)") }
          offset += row.length
        }
      }
      #expect(offset == bytes.count, "\(file) is told to its end")
    }
  }

  @Test("an encoded header equals the recorded one")
  func headers() throws {
    for row in try Golden.rows() {
      guard let header = row.header else { continue }
      let packet = try Golden.bytes(row.file)[row.offset..<row.offset + Limits.header]
      let written = [UInt8](unsafeUninitializedCapacity: Limits.header) { room, count in
        if let start = room.baseAddress { header.write(at: start) }
        count = Limits.header
      }
      #expect(written == Array(packet), "\(row)")
    }
  }

  @Test("each known body is parsed, and the packet made from it has the same bytes")
  func bodies() throws {
    var seen: [String: Int] = [:]
    for row in try Golden.rows() {
      guard let header = row.header, let type = bodyType(header) else { continue }
      let packet = try Golden.bytes(row.file)[row.offset..<row.offset + row.length]
      func check<Body: XDRBody>(_: Body.Type) throws {
        let payload = packet.dropFirst(Limits.header)
        let body = try Body.read(payload)
        var unmeasured = header
        unmeasured.length = 0
        #expect(Packets.make(unmeasured, body) == Array(packet), "\(row): \(body)")
        for count in 0..<payload.count {
          #expect(throws: Violation.self, "\(row) cut to \(count) bytes") {
            try Body.read(payload.prefix(count))
          }
        }
      }
      try check(type)
      seen["\(type)", default: 0] += 1
    }
    // The counts come from the table, so that no body is skipped unnoticed.
    #expect(
      seen == [
        "AuthListResult": 14, "FeatureArguments": 35, "FeatureResult": 35,
        "ConnectOpenArguments": 12, "VolumeTransferArguments": 6, "StreamHole": 4,
        "SetIdentityArguments": 2, "RemoteError": 2,
      ])
  }

  /// The type of the packet's body, if the broker reads or writes it.
  private func bodyType(_ header: PacketHeader) -> (any XDRBody.Type)? {
    switch (header.kind, header.status, header.procedure) {
    case _ where header.program != Program.remote: nil
    case (.reply, .error, _): RemoteError.self
    // An error without a body is a client's abort.
    case (.stream, .error, _) where header.length > Limits.header: RemoteError.self
    case (.streamHole, _, _): StreamHole.self
    case (.call, _, Remote.connectOpen): ConnectOpenArguments.self
    case (.call, _, Remote.connectSupportsFeature): FeatureArguments.self
    case (.reply, _, Remote.connectSupportsFeature): FeatureResult.self
    case (.reply, _, Remote.authList): AuthListResult.self
    case (.call, _, Remote.storageVolUpload), (.call, _, Remote.storageVolDownload):
      VolumeTransferArguments.self
    case (.call, _, Remote.connectSetIdentity): SetIdentityArguments.self
    default: nil
    }
  }

  @Test("packets without a body are encoded to the same bytes")
  func bodiless() throws {
    var count = 0
    for row in try Golden.rows() where row.length == Limits.header {
      guard var header = row.header else { continue }
      header.length = 0
      let packet = try Golden.bytes(row.file)[row.offset..<row.offset + row.length]
      #expect(Packets.make(header) == Array(packet), "\(row)")
      count += 1
    }
    #expect(count > 100)
  }

  @Test("keepalive packets have the bytes that libvirt sends")
  func keepAlive() throws {
    let bytes = try Golden.bytes("15-keepalive.c2s")
    #expect(
      bytes.suffix(56)
        == Packets.keepAlive(KeepAliveProcedure.pong) + Packets.keepAlive(KeepAliveProcedure.ping))
  }

  @Test("the broker's error has the bytes of libvirt's: template, detail and errno")
  func systemError() throws {
    let packet = try Golden.bytes("12-stream-abort-and-error.s2c")[1236..<1420]
    let noSpace: Int32 = 28
    let error = RemoteError(
      .systemError, domain: .streams, "cannot write to stream: No space left on device",
      int1: noSpace)
    #expect(
      Packets.streamError(
        program: Program.remote, procedure: Remote.storageVolUpload, serial: 4, error)
        == Array(packet))
  }

  @Test("the identity of a local client is parsed field by field")
  func identity() throws {
    let payload = try Golden.bytes("11-backend-identity-unix.c2s")[180 + Limits.header..<388]
    let identity = try SetIdentityArguments.read(payload)
    #expect(
      identity.parameters.map(\.field) == [
        "user-name", "unix-user-id", "group-name", "unix-group-id", "process-id", "process-time",
      ])
    #expect(identity.parameters[0].value == .string("root"))
    #expect(identity.parameters[1].value == .ullong(0))
    guard case .llong(let process) = identity.parameters[4].value else {
      Issue.record("process-id is \(identity.parameters[4].value)")
      return
    }
    #expect(process > 0)
  }
}
