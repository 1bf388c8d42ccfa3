// A broker with a TLS port, and its certificates.
import Certificates
import Foundation
import Streams
import Testing

/// A directory with certificates for libvirt's clients and for the broker.
final class CertificateDirectory: Sendable {
  let directory: String
  let root: MadeCertificate

  init() throws {
    directory = try Scratch.directory("pki")
    root = try MadeCertificate(.authority("CN=Test CA"))
    try write("cacert.pem", root.pem)
    try serve(.server())
    try show(.client("CN=client1,O=Acme"))
  }

  func path(_ name: String) -> String { "\(directory)/\(name)" }

  /// Replaces a file atomically.
  func write(_ name: String, _ text: String) throws {
    try text.write(toFile: path(name), atomically: true, encoding: .utf8)
    guard chmod(path(name), 0o600) == 0 else { throw Trouble("chmod: \(errnoText())") }
  }

  /// Replaces the broker's certificate.
  @discardableResult
  func serve(_ wish: CertificateWish, from issuer: MadeCertificate? = nil) throws
    -> MadeCertificate
  {
    try make("server", wish, from: issuer)
  }

  /// Replaces virsh's certificate.
  @discardableResult
  func show(_ wish: CertificateWish, from issuer: MadeCertificate? = nil) throws
    -> MadeCertificate
  {
    try make("client", wish, from: issuer)
  }

  private func make(
    _ whose: String, _ wish: CertificateWish, from issuer: MadeCertificate?
  ) throws -> MadeCertificate {
    let certificate = try MadeCertificate(wish, from: issuer ?? root)
    try write("\(whose)key.pem", certificate.keyPEM)
    try write("\(whose)cert.pem", certificate.pem)
    return certificate
  }

  func identity(_ name: String = "CN=client1,O=Acme") throws -> ClientIdentity {
    try ClientIdentity(MadeCertificate(.client(name), from: root))
  }

  /// The lines of the configuration.
  func settings(port: Int) -> [String] {
    [
      "listen_tls = 1", "tls_port = \"\(port)\"",
      "cert_file = \"\(path("servercert.pem"))\"", "key_file = \"\(path("serverkey.pem"))\"",
      "ca_file = \"\(path("cacert.pem"))\"",
    ]
  }
}

/// A broker with TLS in front of some daemons.
final class TLSBroker: Sendable {
  let broker: BrokerProcess
  let certificates: CertificateDirectory
  let port: Int

  init(
    backends: String, settings: [String] = [], certificates: CertificateDirectory? = nil,
    environment: [String: String] = [:]
  ) async throws {
    let certificates = try certificates ?? CertificateDirectory()
    port = try BrokerProcess.freePort()
    self.certificates = certificates
    broker = try await BrokerProcess.start(
      backends: backends, settings: certificates.settings(port: port) + settings,
      environment: environment)
  }

  /// The URI for virsh.
  var uri: String { "qemu+tls://localhost:\(port)/system?pkipath=\(certificates.directory)" }

  /// A client on a socket of its own, connected, before the handshake.
  func connected(_ identity: ClientIdentity) throws -> (RawClient, TLSClient) {
    let socket = try RawClient(tcp: port)
    _ = fcntl(socket.descriptor, F_SETFL, 0)
    return (socket, try TLSClient(socket.descriptor, as: identity))
  }

  /// The same after the handshake and the welcome byte.
  func client(_ identity: ClientIdentity) throws -> (RawClient, TLSClient) {
    let (socket, session) = try connected(identity)
    try session.handshake()
    let byte = try session.receive(1)
    guard byte == [1] else { throw Trouble("the confirmation was \(byte)") }
    return (socket, session)
  }

  func logged(_ text: String) -> Bool { eventually { broker.log.contains(text) } }
}

extension TLSClient {
  /// Sends a packet. Returns the next received packet that is not a PING.
  func exchange(_ packet: [UInt8]) throws -> RawPacket {
    try send(packet)
    var cutter = PacketCutter()
    while true {
      if let packet = cutter.next() {
        if packet.isPing { continue }
        return packet
      }
      let bytes = try receive(1 << 16)
      guard !bytes.isEmpty else { throw Trouble("the server said goodbye") }
      bytes.withUnsafeBytes { cutter.add($0) }
    }
  }
}
