// Sessions handed to the kernel. What needs a kernel that has TLS is left out where there is none;
// Tests/Kernel/ktls runs it in a guest that has.
import CGnuTLS
import Certificates
import Foundation
import Streams
import Testing

@testable import Broker

@Suite("TLS in the kernel")
struct KernelTLSTests {
  private static let offer = KernelTLS.Offer.probe()

  private let authority: Authority
  private let credentials: TLSCredentials
  private let identity: ClientIdentity

  init() throws {
    authority = try Authority()
    credentials = try TLSCredentials(
      authority.serve(), at: Int64(Date().timeIntervalSince1970))
    identity = try ClientIdentity(MadeCertificate(.client("CN=c1"), from: authority.root))
  }

  private func identity(_ priority: String) -> ClientIdentity {
    var identity = identity
    identity.priority = priority
    return identity
  }

  private final class Lines {
    var lines: [String] = []
    var log: BrokerLog { BrokerLog(threshold: .debug) { [self] in lines.append("\($0) \($1)") } }
  }

  // MARK: Without a kernel's help

  @Test("a kernel without TLS is one warning with the reason")
  func none() {
    let lines = Lines()
    #expect(KernelTLS.find(.nothing(because: "there is no module 'tls'"), log: lines.log) == nil)
    #expect(
      lines.lines == [
        "warning TLS is not handed to the kernel (tls_kernel), which has none: there is no module 'tls'"
      ])
  }

  @Test("a kernel that cannot change keys gets no session that may have to")
  func lasting() throws {
    let lines = Lines()
    let kernel = try #require(KernelTLS.find(.lastingKeys, log: lines.log))
    #expect(lines.lines.count == 1)
    #expect(kernel.takes(GNUTLS_TLS1_2) && !kernel.takes(GNUTLS_TLS1_3))
    #expect(!kernel.takes(GNUTLS_TLS1_1))
  }

  @Test("what the kernel refuses goes on as before, and is mentioned once")
  func refused() throws {
    let lines = Lines()
    let kernel = KernelTLS(changesKeys: true, log: lines.log)
    for _ in 0..<3 {
      // UNIX sockets are nothing the kernel speaks TLS on.
      let ends = try Ends(credentials)
      let data = Ends.bytes(100_000)
      let client = ends.client(identity) { session in
        try session.send(data)
        guard try session.receiveAll(data.count) == data else {
          throw Trouble(what: "bytes differ")
        }
      }
      #expect(try ends.shake() == .done)
      let transport = ends.transport(kernel)
      #expect(!ends.server.readsInKernel && !ends.server.writesInKernel)
      #expect(try ends.receive(data.count, over: transport) == data)
      try ends.send(data, over: transport)
      try client.join()
    }
    #expect(lines.lines.count == 1, "\(lines.lines)")
    #expect(lines.lines.first?.hasPrefix("warning the kernel did not take a TLS session") == true)
  }

  @Test("keys are laid out as the kernel's header says")
  func layout() throws {
    let iv = (0..<12).map { UInt8(100 + $0) }
    let key = (0..<32).map { UInt8($0) }
    let number: [UInt8] = [0, 0, 0, 0, 0, 0, 1, 2]
    func bytes(
      _ isModern: Bool, _ cipher: KernelKeys.Cipher, _ key: [UInt8], _ iv: [UInt8]
    ) -> [UInt8]? {
      KernelKeys(isModern: isModern, cipher: cipher, key: key, iv: iv, sequence: 258)?
        .withBytes { Array($0) }
    }
    func joined(_ parts: [UInt8]...) -> [UInt8] { parts.flatMap { $0 } }
    let (salt, nonce, short) = (Array(iv.prefix(4)), Array(iv.suffix(8)), Array(key.prefix(16)))
    #expect(
      bytes(true, .aes256GCM, key, iv)
        == joined([4, 3, 52, 0], nonce, key, salt, number))
    #expect(
      bytes(false, .aes128GCM, short, salt)
        == joined([3, 3, 51, 0], number, short, salt, number))
    #expect(
      bytes(true, .chaCha20Poly1305, key, iv)
        == joined([4, 3, 54, 0], iv, key, number))
    #expect(bytes(true, .aes256GCM, short, iv) == nil)
    #expect(bytes(false, .aes256GCM, key, iv) == nil)
    #expect(bytes(true, .aes256GCM, key, []) == nil)
  }

  @Test(
    "GnuTLS reads what the kernel has decrypted",
    arguments: ["NORMAL", "NORMAL:-VERS-TLS1.3:-CIPHER-ALL:+AES-256-GCM"])
  func heeded(priority: String) throws {
    let ends = try Ends(credentials)
    let client = ends.client(identity(priority)) { _ in }
    #expect(try ends.shake() == .done)
    try client.join()
    let session = ends.server
    func heed(_ kind: UInt8, _ content: [UInt8]) -> Outcome? {
      var content = content
      return content.withUnsafeMutableBytes { bytes in
        bytes.baseAddress.flatMap { session.heed(kind, $0, bytes.count) }
      }
    }
    if priority.contains("-VERS-TLS1.3") {
      #expect(heed(21, [1, 90]) == nil, "a warning is no end")
    } else {
      let before = try #require(KernelKeys(of: session.handle, .receiving))
      #expect(heed(22, [24, 0, 0, 1, 0]) == nil)
      let after = try #require(KernelKeys(of: session.handle, .receiving))
      #expect(!after.isSameKey(as: before), "new keys were announced")
    }
    #expect(!session.holdsBuffers)
    #expect(heed(21, [2, 40]) == .failed(EPROTO))
    #expect(session.trouble == "the other side sent the TLS alert 'Handshake failed'")
  }

  // MARK: With a kernel that has TLS

  private static let hasTLS =
    switch offer {
    case .nothing: false
    default: true
    }
  private static let hasFreshKeys = offer == .freshKeys
  private static let old = [
    "NORMAL:-VERS-TLS1.3:-CIPHER-ALL:+AES-256-GCM",
    "NORMAL:-VERS-TLS1.3:-CIPHER-ALL:+AES-128-GCM",
    "NORMAL:-VERS-TLS1.3:-CIPHER-ALL:+CHACHA20-POLY1305",
  ]
  private static let new = [
    "NORMAL:-CIPHER-ALL:+AES-256-GCM", "NORMAL:-CIPHER-ALL:+AES-128-GCM",
    "NORMAL:-CIPHER-ALL:+CHACHA20-POLY1305",
  ]

  /// The broker's side of a session that has been handed over.
  private func handedOver(_ ends: Ends) throws -> TLSTransport {
    #expect(try ends.shake() == .done)
    let lines = Lines()
    let kernel = try #require(KernelTLS.find(Self.offer, log: lines.log))
    let transport = ends.transport(kernel)
    #expect(ends.server.writesInKernel, "\(lines.lines)")
    return transport
  }

  @Test(
    "bytes arrive in both directions, and a goodbye after them", .enabled(if: hasTLS),
    arguments: old + (hasFreshKeys ? new : []), [nil, 65_536] as [Int32?])
  func bothWays(priority: String, sendBuffer: Int32?) throws {
    let ends = try Ends(credentials, sendBuffer: sendBuffer, isTCP: true)
    let (up, down) = (Ends.bytes(3 << 20), Ends.bytes(3 << 20, seed: 7))
    let client = ends.client(identity(priority)) { session in
      try session.send(up)
      let got = try session.receiveAll(down.count)
      guard got == down else { throw Trouble(what: "the download differs") }
      try session.send([1])
      session.close()
      guard try session.receive(1).isEmpty else { throw Trouble(what: "the goodbye is missing") }
    }
    let transport = try handedOver(ends)
    #expect(try ends.receive(up.count, over: transport) == up)
    #expect(ends.server.readsInKernel)
    try ends.send(down, over: transport)
    #expect(try ends.receive(1, over: transport) == [1])
    try ends.wait(for: .read)
    #expect(ends.outcome(of: transport) == .end)
    // As it does when it goes.
    ends.server.sendAlert(GNUTLS_AL_WARNING, GNUTLS_A_CLOSE_NOTIFY)
    try client.join()
  }

  @Test("TLS 1.3 stays with the broker where keys cannot be changed", .enabled(if: hasTLS))
  func kept() throws {
    guard !Self.hasFreshKeys else { return }
    let ends = try Ends(credentials, isTCP: true)
    let data = Ends.bytes(100_000)
    let client = ends.client(identity(Self.new[0])) { try $0.send(data) }
    #expect(try ends.shake() == .done)
    let transport = ends.transport(KernelTLS.find(Self.offer, log: Lines().log))
    #expect(!ends.server.writesInKernel && !ends.server.readsInKernel)
    #expect(try ends.receive(data.count, over: transport) == data)
    try client.join()
  }

  @Test(
    "what came before the hand-over is read before what the kernel has", .enabled(if: hasTLS),
    arguments: old + (hasFreshKeys ? new : []))
  func impatient(priority: String) throws {
    let ends = try Ends(credentials, isTCP: true)
    let (early, late) = (Ends.bytes(40_000), Ends.bytes(400_000, seed: 5))
    let sent = DispatchSemaphore(value: 0)
    let readOn = DispatchSemaphore(value: 0)
    let client = ends.client(identity(priority)) { session in
      try session.send(early)
      sent.signal()
      guard readOn.wait(timeout: .now() + 20) == .success else { throw Trouble(what: "no answer") }
      try session.send(late)
    }
    // TLS 1.2 has the broker say something last, after which the client may speak.
    if priority.contains("-VERS-TLS1.3") {
      #expect(try ends.shake() == .done)
      #expect(sent.wait(timeout: .now() + 20) == .success)
    } else {
      try ends.wait(for: .read)
      guard case .blocked = ends.server.handshake() else { throw Trouble(what: "no handshake") }
      #expect(sent.wait(timeout: .now() + 20) == .success)
    }
    let transport = try handedOver(ends)
    #expect(try ends.receive(early.count, over: transport) == early)
    readOn.signal()
    #expect(try ends.receive(late.count, over: transport) == late)
    #expect(ends.server.readsInKernel)
    try client.join()
  }

  @Test(
    "new keys of the client's change nothing for the data", .enabled(if: hasFreshKeys),
    arguments: new, [false, true])
  func newKeys(priority: String, both: Bool) throws {
    let ends = try Ends(credentials, isTCP: true)
    let (up, down) = (Ends.bytes(200_000), Ends.bytes(100_000, seed: 3))
    let client = ends.client(identity(priority)) { session in
      for _ in 0..<4 {
        try session.send(up)
        try session.updateKeys(both: both)
        try session.send(up)
        guard try session.receiveAll(down.count) == down else {
          throw Trouble(what: "the download differs")
        }
      }
    }
    let transport = try handedOver(ends)
    for _ in 0..<4 {
      #expect(try ends.receive(2 * up.count, over: transport) == up + up)
      try ends.send(down, over: transport)
    }
    try client.join()
    #expect(ends.server.readsInKernel && ends.server.writesInKernel)
  }

  @Test(
    "keys that have been used often enough are changed while data go on",
    .enabled(if: hasFreshKeys), arguments: new)
  func wornOut(priority: String) throws {
    let ends = try Ends(credentials, isTCP: true)
    let down = Ends.bytes(3 << 20)
    let client = ends.client(identity(priority)) { session in
      guard try session.receiveAll(down.count) == down else {
        throw Trouble(what: "the download differs")
      }
    }
    let transport = try handedOver(ends)
    ends.server.mostRecords = 100
    let before = try #require(KernelKeys(of: ends.server.handle, .sending))
    try ends.send(down, over: transport)
    try client.join()
    let after = try #require(KernelKeys(of: ends.server.handle, .sending))
    #expect(!after.isSameKey(as: before))
  }

  @Test(
    "a byte changed on the way ends the session, with the reason", .enabled(if: hasTLS),
    arguments: old + (hasFreshKeys ? new : []))
  func tampered(priority: String) throws {
    let ends = try Ends(credentials, isTCP: true)
    let client = ends.client(identity(priority)) { _ in }
    let transport = try handedOver(ends)
    try client.join()
    let forged: [UInt8] = [23, 3, 3, 0, 64] + [UInt8](repeating: 9, count: 64)
    #expect(Glibc.send(ends.far, forged, forged.count, 0) == forged.count)
    try ends.wait(for: .read)
    #expect(ends.outcome(of: transport) == .failed(EPROTO))
    #expect(transport.trouble == "TLS: a record was changed on its way")
  }

  @Test("bytes that are no record end the session, with the reason", .enabled(if: hasTLS))
  func noRecord() throws {
    let ends = try Ends(credentials, isTCP: true)
    let client = ends.client(identity(Self.old[0])) { _ in }
    let transport = try handedOver(ends)
    try client.join()
    let nonsense = [UInt8](repeating: 0xff, count: 64)
    #expect(Glibc.send(ends.far, nonsense, nonsense.count, 0) == nonsense.count)
    try ends.wait(for: .read)
    #expect(ends.outcome(of: transport) == .failed(EPROTO))
    #expect(transport.trouble == "TLS: what came is no record")
  }

  @Test("a client of TLS 1.2 that wants a new handshake is told no", .enabled(if: hasTLS))
  func renegotiation() throws {
    let ends = try Ends(credentials, isTCP: true)
    let client = ends.client(identity(Self.old[0])) { session in
      try session.send([1, 2, 3])
      guard gnutls_handshake(session.session) == GNUTLS_E_FATAL_ALERT_RECEIVED,
        gnutls_alert_get(session.session) == GNUTLS_A_NO_RENEGOTIATION
      else { throw Trouble(what: "no alert came") }
    }
    let transport = try handedOver(ends)
    #expect(try ends.receive(3, over: transport) == [1, 2, 3])
    try ends.wait(for: .read)
    #expect(ends.outcome(of: transport) == .failed(EPROTO))
    #expect(transport.trouble == "the other side wanted a new TLS handshake, which is not done")
    try client.join()
  }
}
