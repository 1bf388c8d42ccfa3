// Records other than data after the handshake: bounded in number, and never in the middle of a message.
import CGnuTLS
import Certificates
import Foundation
import Streams
import Testing

@testable import Broker

@Suite("TLS records other than data")
struct TLSControlTests {
  private let authority: Authority
  private let credentials: TLSCredentials
  private let identity: ClientIdentity
  private static let flood = Message(.recordFlood, [32])

  init() throws {
    authority = try Authority()
    credentials = try TLSCredentials(authority.serve(), at: TLSAcceptor.now)
    identity = try ClientIdentity(MadeCertificate(.client("CN=c1"), from: authority.root))
  }

  private func identity(_ priority: String) -> ClientIdentity {
    var identity = identity
    identity.priority = priority
    return identity
  }

  @Test(
    "a client that sends warnings endlessly loses its session",
    arguments: [
      "NORMAL:-VERS-TLS1.3:-CIPHER-ALL:+AES-256-GCM",
      "NORMAL:-VERS-TLS1.3:-CIPHER-ALL:+AES-128-CBC",
    ])
  func warnings(priority: String) throws {
    let ends = try Ends(credentials)
    let client = ends.client(identity(priority)) { session in
      for _ in 0..<200 {
        guard gnutls_alert_send(session.session, GNUTLS_AL_WARNING, GNUTLS_A_USER_CANCELED) >= 0
        else { return }
      }
    }
    #expect(try ends.shake() == .done)
    let transport = ends.transport
    #expect(try end(ends, transport) == .failed(EPROTO))
    #expect(transport.error == TLSControlTests.flood)
    try client.join()
  }

  @Test("a few warnings do not affect the data")
  func fewWarnings() throws {
    let ends = try Ends(credentials)
    let client = ends.client(identity("NORMAL:-VERS-TLS1.3")) { session in
      for byte in UInt8(0)..<8 {
        gnutls_alert_send(session.session, GNUTLS_AL_WARNING, GNUTLS_A_USER_CANCELED)
        try session.send([byte])
      }
    }
    #expect(try ends.shake() == .done)
    #expect(try ends.receive(8, over: ends.transport) == Array(0..<8))
    try client.join()
  }

  @Test("a client that rekeys endlessly loses its session")
  func keyUpdates() throws {
    let ends = try Ends(credentials)
    let client = ends.client(identity("NORMAL")) { session in
      for _ in 0..<200 {
        do { try session.updateKeys(both: false) } catch { return }
      }
    }
    #expect(try ends.shake() == .done)
    let transport = ends.transport
    #expect(try end(ends, transport) == .failed(EPROTO))
    try client.join()
  }

  @Test("the budget for records other than data refills by one per second")
  func budget() {
    var budget = ControlBudget()
    func spent(at second: Int) -> Int {
      var count = 0
      while budget.spend(at: second) { count += 1 }
      return count
    }
    #expect(spent(at: 1000) == 32)
    #expect(spent(at: 1000) == 0)
    #expect(spent(at: 1003) == 3)
    #expect(spent(at: 900) == 0)
    #expect(spent(at: 1_000_000) == 32)
  }

  @Test(
    "a flood of empty records is handled in several turns, and the data after it arrive",
    arguments: ["NORMAL:-CIPHER-ALL:+AES-256-GCM", "NORMAL:-VERS-TLS1.3:-CIPHER-ALL:+AES-256-GCM"])
  func emptyRecords(priority: String) throws {
    let ends = try Ends(credentials, sendBuffer: 1 << 20)
    let far = ends.far
    let client = ends.client(identity(priority)) { session in
      let keys = try TLSControlTests.keys(of: session)
      var bytes: [UInt8] = []
      for _ in 0..<3000 { bytes += try TLSControlTests.record(keys, 23, []) }
      bytes += try TLSControlTests.record(keys, 23, [7])
      guard write(far, bytes, bytes.count) == bytes.count else {
        throw Trouble(what: "not all was sent")
      }
    }
    #expect(try ends.shake() == .done)
    try client.join()
    let transport = ends.transport
    var turns = 0
    var outcome = ends.outcome(of: transport)
    while outcome == .blocked(.read) {
      turns += 1
      guard turns < 100 else { throw Trouble(what: "the data did not arrive") }
      if !transport.holdsBytes { try ends.wait(for: .read) }
      outcome = ends.outcome(of: transport)
    }
    #expect(outcome == .moved(1))
    #expect(turns >= 2)
  }

  @Test("data in the middle of a handshake message end the session")
  func interleaved() throws {
    let ends = try Ends(credentials)
    let far = ends.far
    let client = ends.client(identity("NORMAL:-CIPHER-ALL:+AES-256-GCM")) { session in
      let keys = try TLSControlTests.keys(of: session)
      let bytes =
        try TLSControlTests.record(keys, 22, [24, 0, 0])
        + TLSControlTests.record(keys, 23, [1, 2, 3])
      guard write(far, bytes, bytes.count) == bytes.count else {
        throw Trouble(what: "not all was sent")
      }
      var byte: UInt8 = 0
      guard gnutls_record_recv(session.session, &byte, 1) == GNUTLS_E_FATAL_ALERT_RECEIVED,
        gnutls_alert_get(session.session) == GNUTLS_A_UNEXPECTED_MESSAGE
      else { throw Trouble(what: "no alert came") }
    }
    #expect(try ends.shake() == .done)
    let transport = ends.transport
    #expect(try end(ends, transport) == .failed(EPROTO))
    #expect(
      transport.error == Message(.recordInterleaved))
    try client.join()
  }

  @Test("the first part of a renegotiation ends a TLS 1.2 session")
  func partOfRenegotiation() throws {
    let ends = try Ends(credentials)
    let far = ends.far
    let client = ends.client(identity("NORMAL:-VERS-TLS1.3:-CIPHER-ALL:+AES-256-GCM")) { session in
      let keys = try TLSControlTests.keys(of: session)
      let bytes =
        try TLSControlTests.record(keys, 22, [1, 0, 1, 0, 3, 3])
        + TLSControlTests.record(keys, 23, [1, 2, 3])
      guard write(far, bytes, bytes.count) == bytes.count else {
        throw Trouble(what: "not all was sent")
      }
    }
    #expect(try ends.shake() == .done)
    let transport = ends.transport
    #expect(try end(ends, transport) == .failed(EPROTO))
    #expect(transport.error == Message(.renegotiationRequested))
    try client.join()
  }

  @Test("handshake messages are tracked through records of any size")
  func messages() {
    let message: [UInt8] = [4, 0, 0, 10] + [UInt8](repeating: 24, count: 10)
    let update: [UInt8] = [24, 0, 0, 1, 0]
    let bytes = message + update + [5, 0, 0, 0] + update
    let ends: Set = [14, 19, 23, 28]
    for size in [1, 2, 3, 5, 28] {
      var tracker = MessageTracker()
      var place = 0
      while place < bytes.count {
        let part = Array(bytes[place..<min(place + size, bytes.count)])
        part.withUnsafeBytes { tracker.follow($0) }
        place += part.count
        #expect(tracker.isInside == !ends.contains(place), "\(size) \(place)")
      }
    }
  }

  /// Receives until the outcome is something other than waiting.
  private func end(_ ends: Ends, _ transport: TLSTransport) throws -> Outcome {
    var outcome = ends.outcome(of: transport)
    while outcome == .blocked(.read) {
      if !transport.holdsBytes { try ends.wait(for: .read) }
      outcome = ends.outcome(of: transport)
    }
    return outcome
  }

  private static func keys(of session: TLSClient) throws -> TLSRecordKeys {
    guard let keys = TLSRecordKeys(of: session.session, reading: false) else {
      throw Trouble(what: "the client's keys cannot be taken")
    }
    return keys
  }

  private static func record(_ keys: TLSRecordKeys, _ kind: UInt8, _ content: [UInt8]) throws
    -> [UInt8]
  {
    var content = content + [0]
    var record = [UInt8](repeating: 0, count: 64)
    let size = content.withUnsafeMutableBytes { content in
      record.withUnsafeMutableBytes { record -> Int? in
        guard let from = content.baseAddress, let to = record.baseAddress else { return nil }
        return keys.seal(from, content.count - 1, as: kind, at: to)
      }
    }
    guard let size else { throw Trouble(what: "a record cannot be made") }
    return Array(record.prefix(size))
  }
}
