// Bytes through TLS: each arrives once and in order, whatever the sockets and the other end do.
import CGnuTLS
import Certificates
import Foundation
import Streams
import Testing

@testable import Broker

@Suite("TLS sessions")
struct TLSTransportTests {
  private let authority: Authority
  private let credentials: TLSCredentials
  private let identity: ClientIdentity

  init() throws {
    authority = try Authority()
    credentials = try TLSCredentials(
      authority.serve(), at: Int64(Date().timeIntervalSince1970))
    identity = try ClientIdentity(MadeCertificate(.client("CN=c1"), from: authority.root))
  }

  /// Priorities that cover every record format: versions and kinds of ciphers.
  static let priorities = [
    "NORMAL:-CIPHER-ALL:+AES-256-GCM", "NORMAL:-CIPHER-ALL:+AES-128-GCM",
    "NORMAL:-CIPHER-ALL:+CHACHA20-POLY1305", "NORMAL:-CIPHER-ALL:+AES-128-CCM",
    "NORMAL:-VERS-TLS1.3:-CIPHER-ALL:+AES-256-GCM",
    "NORMAL:-VERS-TLS1.3:-CIPHER-ALL:+CHACHA20-POLY1305",
    "NORMAL:-VERS-TLS1.3:-CIPHER-ALL:+AES-128-CBC",
  ]

  private func identity(_ priority: String) -> ClientIdentity {
    var identity = identity
    identity.priority = priority
    return identity
  }

  @Test("a client that sends only warnings is refused")
  func warnings() throws {
    let recorded = try Recording.of(identity("NORMAL:-VERS-TLS1.3"), to: credentials)
    try #require(recorded.count > 5)
    let hello = recorded.prefix(5 + (Int(recorded[3]) << 8 | Int(recorded[4])))
    let ends = try Ends(credentials)
    let flood = hello + (0..<1000).flatMap { _ in [21, 3, 3, 0, 2, 1, 90] as [UInt8] }
    #expect(write(ends.far, Array(flood), flood.count) == flood.count)
    #expect(
      try ends.shake()
        == .failed(Message(.peerSentOnlyWarnings, ["User canceled"])))
  }

  @Test("bytes arrive in both directions", arguments: priorities, [4096, 1 << 20])
  func bothWays(priority: String, sendBuffer: Int32) throws {
    let ends = try Ends(credentials, sendBuffer: sendBuffer)
    let (up, down) = (Ends.bytes(3 << 20), Ends.bytes(3 << 20, seed: 7))
    let client = ends.client(identity(priority)) { session in
      try session.send(up)
      let got = try session.receiveAll(down.count)
      guard got == down else { throw Trouble(what: "the download differs") }
      try session.send([1])
      session.close()
    }
    #expect(try ends.shake() == .done)
    let transport = ends.transport
    #expect(try ends.receive(up.count, over: transport) == up)
    try ends.send(down, over: transport)
    #expect(try ends.receive(1, over: transport) == [1])
    try client.join()
    if !transport.holdsBytes { try ends.wait(for: .read) }
    #expect(ends.outcome(of: transport) == .end)
  }

  @Test("every packet starts a record", arguments: priorities, [4096, 1 << 20])
  func records(priority: String, sendBuffer: Int32) throws {
    let ends = try Ends(credentials, sendBuffer: sendBuffer)
    let packets = (0..<600).map { index -> [UInt8] in
      let length = [28, 31, 60, 1000, 16_384, 16_385, 70_000, 28][index % 8]
      let word = (0..<4).map { UInt8(truncatingIfNeeded: length >> (24 - 8 * $0)) }
      return word + Ends.bytes(length - 4, seed: index)
    }
    let all = packets.flatMap { $0 }
    let client = ends.client(identity(priority)) { session in
      // One call returns the content of one record at most.
      var got: [UInt8] = []
      var next = packets[...]
      var left = 0
      while got.count < all.count {
        let record = try session.receive(1 << 16)
        guard !record.isEmpty else { throw Trouble(what: "the data ended early") }
        got += record
        if left == 0 { left = next.removeFirst().count }
        guard record.count <= left else {
          throw Trouble(what: "a record of \(record.count) bytes where a packet had \(left) left")
        }
        left -= record.count
      }
      guard got == all else { throw Trouble(what: "the bytes differ") }
    }
    #expect(try ends.shake() == .done)
    try ends.send(all, over: ends.transport)
    try client.join()
  }

  @Test(
    "new keys do not affect the data",
    arguments: [
      "NORMAL:-CIPHER-ALL:+AES-256-GCM", "NORMAL:-CIPHER-ALL:+AES-128-GCM",
      "NORMAL:-CIPHER-ALL:+CHACHA20-POLY1305", "NORMAL:-CIPHER-ALL:+AES-128-CCM",
    ], [false, true])
  func newKeys(priority: String, both: Bool) throws {
    let ends = try Ends(credentials)
    let (up, down) = (Ends.bytes(200_000), Ends.bytes(100_000, seed: 3))
    let client = ends.client(identity(priority)) { session in
      for _ in 0..<5 {
        try session.send(up)
        try session.updateKeys(both: both)
        try session.send(up)
        guard try session.receiveAll(down.count) == down else {
          throw Trouble(what: "the download differs")
        }
      }
    }
    #expect(try ends.shake() == .done)
    let transport = ends.transport
    for _ in 0..<5 {
      #expect(try ends.receive(2 * up.count, over: transport) == up + up)
      try ends.send(down, over: transport)
    }
    try client.join()
  }

  @Test(
    "keys are changed after their limit of records while data are transferred",
    arguments: ["NORMAL:-CIPHER-ALL:+AES-256-GCM", "NORMAL:-CIPHER-ALL:+CHACHA20-POLY1305"])
  func wornOut(priority: String) throws {
    let ends = try Ends(credentials)
    let down = Ends.bytes(3 << 20)
    let client = ends.client(identity(priority)) { session in
      guard try session.receiveAll(down.count) == down else {
        throw Trouble(what: "the download differs")
      }
    }
    #expect(try ends.shake() == .done)
    let transport = ends.transport
    ends.server.records.mostWithKeys = 100
    try ends.send(down, over: transport)
    try client.join()
    // The sequence number restarts after each key update; 3 MiB are far more than 100 records.
    let sequence = try #require(ends.server.records.writing).sequence
    #expect(sequence > 0 && sequence <= 100)
  }

  @Test(
    "the broker encrypts records of AEAD ciphers itself; GnuTLS those of other ciphers",
    arguments: priorities)
  func owner(priority: String) throws {
    let ends = try Ends(credentials)
    let client = ends.client(identity(priority)) { _ in }
    #expect(try ends.shake() == .done)
    try client.join()
    _ = ends.transport
    #expect((ends.server.records.reading != nil) == !priority.hasSuffix("CBC"))
  }

  @Test(
    "an empty handshake record ends the session, also in the middle of a message",
    arguments: ["NORMAL:-CIPHER-ALL:+AES-256-GCM", "NORMAL:-CIPHER-ALL:+AES-128-CCM"],
    [[], [24, 0, 0, 1]] as [[UInt8]])
  func hollow(priority: String, begun: [UInt8]) throws {
    let ends = try Ends(credentials)
    let far = ends.far
    let client = ends.client(identity(priority)) { session in
      guard let keys = TLSRecordKeys(of: session.session, reading: false) else {
        throw Trouble(what: "the client's keys cannot be taken")
      }
      for content in begun.isEmpty ? [[]] : [begun, []] {
        var content = content + [0]
        var record = [UInt8](repeating: 0, count: 64)
        let size = content.withUnsafeMutableBytes { content in
          record.withUnsafeMutableBytes { record -> Int? in
            guard let from = content.baseAddress, let to = record.baseAddress else { return nil }
            return keys.seal(from, content.count - 1, as: 22, at: to)
          }
        }
        guard let size, write(far, record, size) == size else {
          throw Trouble(what: "nothing was sent")
        }
      }
      var byte: UInt8 = 0
      guard gnutls_record_recv(session.session, &byte, 1) == GNUTLS_E_FATAL_ALERT_RECEIVED,
        gnutls_alert_get(session.session) == GNUTLS_A_UNEXPECTED_MESSAGE
      else { throw Trouble(what: "no alert came") }
    }
    #expect(try ends.shake() == .done)
    let transport = ends.transport
    var outcome = ends.outcome(of: transport)
    while outcome == .blocked(.read) {
      try ends.wait(for: .read)
      outcome = ends.outcome(of: transport)
    }
    #expect(outcome == .failed(EPROTO))
    #expect(
      transport.error
        == Message(.recordEmpty))
    try client.join()
  }

  @Test("renegotiation is refused under TLS 1.2 and ends the session")
  func renegotiation() throws {
    let ends = try Ends(credentials)
    let client = ends.client(identity("NORMAL:-VERS-TLS1.3")) { session in
      try session.send([1, 2, 3])
      guard gnutls_handshake(session.session) == GNUTLS_E_FATAL_ALERT_RECEIVED,
        gnutls_alert_get(session.session) == GNUTLS_A_NO_RENEGOTIATION
      else { throw Trouble(what: "no alert came") }
    }
    #expect(try ends.shake() == .done)
    let transport = ends.transport
    #expect(try ends.receive(3, over: transport) == [1, 2, 3])
    if !transport.holdsBytes { try ends.wait(for: .read) }
    #expect(ends.outcome(of: transport) == .failed(EPROTO))
    #expect(transport.error == Message(.renegotiationRequested))
    try client.join()
  }

  @Test("a byte changed in transit ends the session, with the reason", arguments: priorities)
  func tampered(priority: String) throws {
    let ends = try Ends(credentials)
    let client = ends.client(identity(priority)) { _ in }
    #expect(try ends.shake() == .done)
    try client.join()
    // An application data record that was not encrypted with the session's keys.
    let forged: [UInt8] = [23, 3, 3, 0, 64] + [UInt8](repeating: 9, count: 64)
    #expect(Glibc.send(ends.far, forged, forged.count, 0) == forged.count)
    let transport = ends.transport
    #expect(ends.outcome(of: transport) == .failed(EPROTO))
    #expect(transport.error != nil)
  }

  @Test("an idle session holds no buffer")
  func idle() throws {
    let ends = try Ends(credentials)
    let data = Ends.bytes(40_000)
    let client = ends.client(identity) { session in
      try session.send(data)
      _ = try session.receiveAll(data.count)
    }
    #expect(try ends.shake() == .done)
    let transport = ends.transport
    _ = try ends.receive(data.count, over: transport)
    try ends.send(data, over: transport)
    try client.join()
    #expect(!ends.server.holdsBuffers)
  }

  @Test("a handshake cut at any byte fails with a reason and never succeeds")
  func cut() throws {
    // The bytes of a real client, recorded at the socket.
    let authority = authority
    let recorded = try Recording.of(identity, to: credentials)
    #expect(recorded.count > 200)
    _ = authority
    for length in stride(from: 0, to: recorded.count, by: 7) {
      let ends = try Ends(credentials)
      #expect(Glibc.send(ends.far, recorded, length, Int32(MSG_NOSIGNAL)) == length)
      let step = ends.server.handshake()
      guard case .blocked = step else {
        // The recorded bytes answer another session, so the handshake cannot complete.
        if case .failed = step { continue }
        Issue.record("\(length) bytes of another handshake were enough")
        continue
      }
      shutdown(ends.far, Int32(SHUT_WR))
      #expect(
        ends.server.handshake()
          == .failed(Message(.peerClosedDuringHandshake)))
    }
  }
}

/// The bytes a client sends in a handshake.
private enum Recording {
  static func of(_ identity: ClientIdentity, to credentials: TLSCredentials) throws -> [UInt8] {
    let ends = try Ends(credentials)
    let (near, far) = try socketPair()
    defer { close(near) }
    let done = DispatchSemaphore(value: 0)
    Thread {
      if let session = try? TLSClient(far, as: identity) { try? session.handshake() }
      close(far)
      done.signal()
    }.start()
    var recorded: [UInt8] = []
    var buffer = [UInt8](repeating: 0, count: 1 << 16)
    while true {
      let count = read(near, &buffer, buffer.count)
      guard count > 0 else { break }
      recorded += buffer[..<count]
      guard write(ends.far, buffer, count) == count else { break }
      if ends.server.handshake() == .done { break }
      let answer = recv(ends.far, &buffer, buffer.count, Int32(MSG_DONTWAIT))
      if answer > 0 { _ = write(near, buffer, answer) }
    }
    shutdown(near, Int32(SHUT_RDWR))
    done.wait()
    return recorded
  }
}
