// Certificate chains made to cost time: the broker refuses them before it computes anything with their keys.
import CGnuTLS
import Certificates
import Foundation
import Streams
import Testing

@testable import Broker

@Suite("Hostile certificates")
struct HostileChainTests {
  static let versions = ["NORMAL", "NORMAL:-VERS-TLS1.3"]

  // The signatures are wrong, and verifying one would take seconds. The broker gives its own reason only when it
  // checks the key before the signature.
  @Test(
    "a client's RSA key with too many bits is refused before a signature is verified with it",
    arguments: versions, [16_384, 98_304])
  func largeKey(priority: String, bits: Int) throws {
    let key = DER.rsaKey(bits: bits, exponentBits: bits)
    #expect(
      try error([DER.certificate(key: key)], signatureBytes: bits / 8, priority: priority)
        == Message(.rsaKeyTooLong, [bits, 8192]))
  }

  @Test(
    "a client's RSA key with a long exponent is refused before a signature is verified with it",
    arguments: versions)
  func longExponent(priority: String) throws {
    let key = DER.rsaKey(bits: 4096, exponentBits: 4095)
    #expect(
      try error([DER.certificate(key: key)], signatureBytes: 512, priority: priority)
        == Message(.rsaExponentTooLong, [4095, 64]))
  }

  @Test("an issuer's key in the chain is checked like the leaf's", arguments: versions)
  func issuerKey(priority: String) throws {
    let leaf = DER.certificate(key: DER.rsaKey(bits: 2048, exponentBits: 17))
    let issuer = DER.certificate(
      key: DER.rsaKey(bits: 9000, exponentBits: 17), subject: DER.name(["y"]))
    #expect(
      try error([leaf, issuer], priority: priority)
        == Message(.rsaKeyTooLong, [9000, 8192]))
  }

  @Test(
    "another host's RSA key with too many bits is refused before a signature is verified with it",
    arguments: versions)
  func server(priority: String) throws {
    let key = DER.rsaKey(bits: 16_384, exponentBits: 16_384)
    #expect(
      try error(
        [DER.certificate(key: key)], ofServer: true, signatureBytes: 2048, priority: priority)
        == Message(.rsaKeyTooLong, [16_384, 8192]))
  }

  @Test(
    "a certificate made to be slow to parse is refused without being parsed", arguments: versions)
  func slowToParse(priority: String) throws {
    let key = DER.rsaKey(bits: 2048, exponentBits: 17)
    let names = DER.certificate(key: key, subject: DER.name(Array(repeating: "x", count: 700)))
    let purposes = DER.certificate(
      key: key,
      extensions: DER.extension(
        [0x55, 0x1d, 0x25], DER.element(0x30, (0..<3000).flatMap { _ in [6, 1, 0x2a] as [UInt8] })))
    for certificate in [names, purposes] {
      #expect(
        try error([certificate], priority: priority)
          == Message(.chainTooComplex, [2048]))
    }
    let small = DER.certificate(key: key)
    #expect(
      try error(Array(repeating: small, count: 11), priority: priority)
        == Message(.chainTooLong, [10]))
  }

  @Test("certificates larger than 64 KiB are refused", arguments: versions)
  func largeMessage(priority: String) throws {
    let padding = DER.extension([0x2a, 3], [UInt8](repeating: 9, count: 66_000))
    let certificate = DER.certificate(
      key: DER.rsaKey(bits: 2048, exponentBits: 17), extensions: padding)
    #expect(
      try error([certificate], priority: priority)
        == Message(.certificateMessageTooLong, [64]))
  }

  @Test("a client whose certificate is longer than a record is accepted", arguments: versions)
  func longCertificate(priority: String) throws {
    let authority = try Authority()
    let hosts = (0..<700).map { "a-host-with-a-longish-name-\($0).example.org" }
    let client = try MadeCertificate(
      .client("CN=c1").with { $0.hosts = hosts }, from: authority.root)
    var identity = try ClientIdentity(client)
    identity.priority = priority
    let ends = try Ends(TLSCredentials(authority.serve(), at: TLSAcceptor.now))
    let session = ends.client(identity) { _ in }
    #expect(try ends.shake() == .done)
    try session.join()
    #expect(ends.server.verifyClient(at: TLSAcceptor.now).diagnostics == [])
  }

  @Test("a client that sends records without effect endlessly is refused")
  func endlessHandshake() throws {
    let authority = try Authority()
    let ends = try Ends(TLSCredentials(authority.serve(), at: TLSAcceptor.now))
    // Under TLS 1.3 every peer ignores a change_cipher_spec record.
    let hello = try Hello.bytes()
    let record: [UInt8] = [20, 3, 3, 0, 1, 1]
    let flood = hello + (0..<60_000).flatMap { _ in record }
    let far = ends.far
    Thread {
      var sent = 0
      while sent < flood.count {
        let count = flood.withUnsafeBytes {
          Glibc.send(far, $0.baseAddress.map { $0 + sent }, $0.count - sent, Int32(MSG_NOSIGNAL))
        }
        guard count > 0 else { break }
        sent += count
      }
    }.start()
    guard case .failed(let error) = try ends.shake() else {
      throw Trouble(what: "the handshake did not fail")
    }
    #expect(!error.has(.peerClosedDuringHandshake), "\(error)")
    shutdown(far, Int32(SHUT_RDWR))
  }

  @Test("data between the records of a handshake message end the handshake")
  func interleaved() throws {
    let hello = try Hello.bytes()
    let body = hello.dropFirst(5)
    func record(_ kind: UInt8, _ content: some Collection<UInt8>) -> [UInt8] {
      [kind, 3, 3, UInt8(content.count >> 8), UInt8(content.count & 255)] + content
    }
    let authority = try Authority()
    let ends = try Ends(TLSCredentials(authority.serve(), at: TLSAcceptor.now))
    let bytes =
      record(22, body.prefix(50)) + record(23, [1, 2, 3]) + record(22, body.dropFirst(50))
    #expect(write(ends.far, bytes, bytes.count) == bytes.count)
    guard case .failed = try ends.shake() else {
      throw Trouble(what: "the handshake did not fail")
    }
  }

  @Test("keys are accepted by kind and size")
  func keys() throws {
    func error(_ key: [UInt8]) throws -> Message? {
      var bytes = DER.certificate(key: key)
      let certificate = try bytes.withUnsafeMutableBufferPointer {
        var datum = gnutls_datum_t(data: $0.baseAddress, size: UInt32($0.count))
        return try X509(der: &datum)
      }
      return ChainLimits.error(inKeyOf: certificate)
    }
    #expect(try error(DER.rsaKey(bits: 8192, exponentBits: 64)) == nil)
    #expect(try error(DER.rsaKey(bits: 8193, exponentBits: 17)) != nil)
    #expect(try error(DER.rsaKey(bits: 2048, exponentBits: 65)) != nil)
    let number = DER.integer(DER.number(bits: 2048))
    let dsa = DER.key(
      DER.element(0x30, DER.dsa, DER.element(0x30, number, number, number)), number)
    #expect(
      try error(dsa) == Message(.keyTypeNotAccepted, ["DSA"]))
  }

  @Test("DER elements are counted, also inside octet strings; data that are not DER are refused")
  func scan() {
    func left(_ bytes: [UInt8], of most: Int = 10) -> Int? {
      var left = most
      return bytes.withUnsafeBytes { DERScan.consume($0, left: &left) } ? left : nil
    }
    #expect(left([0x30, 3, 2, 1, 5]) == 8)
    #expect(left([4, 5, 0x30, 3, 2, 1, 5]) == 7)
    #expect(left([4, 2, 2, 9]) == 8, "bytes that are no DER may be in an octet string")
    #expect(left([0x30, 2, 2, 9]) == nil, "a length that leads out of what is around it")
    #expect(left([0x30, 0x80, 0, 0]) == nil, "an indefinite length")
    #expect(left([0x1f, 1, 0]) == nil, "a long tag")
    #expect(left([2]) == nil)
    #expect(left([0x30, 0x84, 0xff, 0xff, 0xff, 0xff]) == nil)
    #expect(left([0x30, 3, 2, 1, 5], of: 1) == nil)
    #expect(left((0..<100).reduce([]) { bytes, _ in DER.element(0x30, bytes) }, of: 1000) == nil)
    #expect(left((0..<100).reduce([]) { bytes, _ in DER.element(4, bytes) }, of: 1000) != nil)
  }

  /// The reason the broker gives when it ends the handshake with a peer that presents this chain.
  private func error(
    _ chain: [[UInt8]], ofServer isServer: Bool = false, signatureBytes: Int = 256,
    priority: String = "NORMAL"
  ) throws -> Message {
    let authority = try Authority()
    let credentials = try TLSCredentials(authority.serve(), at: TLSAcceptor.now)
    let (near, far) = try socketPair()
    defer { close(far) }
    let buffers = TLSBuffers()
    let session =
      isServer
      ? try TLSSession(connecting: Descriptor(near), with: credentials, buffers: buffers)
      : try TLSSession(serving: Descriptor(near), with: credentials, buffers: buffers)
    let done = DispatchSemaphore(value: 0)
    Thread {
      let peer = try? ForgedPeer(
        far, isServer: isServer, chain: chain, signatureBytes: signatureBytes, priority: priority)
      try? peer?.handshake()
      // Read until the broker closes the connection: unread data would turn the close into a reset.
      var byte: UInt8 = 0
      while read(far, &byte, 1) > 0 {}
      done.signal()
    }.start()
    defer {
      shutdown(far, Int32(SHUT_RDWR))
      done.wait()
    }
    var step = session.handshake()
    while case .blocked(let on) = step {
      var item = pollfd(
        fd: near, events: Int16(on.contains(.write) ? POLLOUT : POLLIN), revents: 0)
      guard poll(&item, 1, 20_000) == 1 else { throw Trouble(what: "nothing happened for 20 s") }
      step = session.handshake()
    }
    guard case .failed(let error) = step else { throw Trouble(what: "the handshake succeeded") }
    return error
  }
}

/// The first record of a TLS 1.3 client.
enum Hello {
  static func bytes() throws -> [UInt8] {
    let (near, far) = try socketPair()
    defer { close(near) }
    let done = DispatchSemaphore(value: 0)
    Thread {
      if let session = try? TLSClient(far, as: ClientIdentity()) { try? session.handshake() }
      close(far)
      done.signal()
    }.start()
    var buffer = [UInt8](repeating: 0, count: 1 << 14)
    let count = read(near, &buffer, buffer.count)
    shutdown(near, Int32(SHUT_RDWR))
    done.wait()
    guard count > 5 else { throw Trouble(what: "no ClientHello: \(errnoText())") }
    return Array(buffer.prefix(count))
  }

  private static func errnoText() -> String { String(cString: strerror(errno)) }
}
