// The client over TLS with a server like libvirt's: certificates in both directions, and the welcome byte.
import CGnuTLS
import Foundation
import Testing

@testable import Ends

@Suite("TLS")
struct TLSTests {
  @Test("calls, streams in both directions and a console work over TLS")
  func everything() throws {
    let papers = try Papers()
    let server = try Server(papers)
    let client = try Client(to: server.place(try papers.client()))
    var count = 0
    try client.callRepeatedly(depth: 16, seconds: 0.05) { _ in count += 1 }
    #expect(count >= 16)
    for bytes: UInt64 in [1, 16_383, 16_384, 16_385, 5_000_001] {
      try client.download(bytes: bytes, streams: 2, isChecking: true)
      try client.upload(bytes: bytes, streams: 2)
    }
    for isBusy in [false, true] {
      count = 0
      let bulk = try client.type(Typing(perSecond: 200, seconds: 0.3), isBusy: isBusy) { _ in
        count += 1
      }
      #expect(count == 60)
      #expect((bulk > 0) == isBusy)
    }
    count = 0
    try client.call(at: Schedule(perSecond: 1000), seconds: 0.1) { _ in count += 1 }
    #expect(count == 100)
    try client.close()
  }

  @Test("a server with a certificate of another authority is refused, unless verification is off")
  func wrongServer() throws {
    let (papers, others) = (try Papers(), try Papers())
    let server = try Server(papers)
    let trusting = try TLSCredentials(
      authorities: others.authority, certificate: papers.certificate, key: papers.key)
    #expect {
      _ = try Client(to: server.place(trusting))
    } throws: {
      "\($0)".contains("certificate does not pass")
    }
    let careless = try TLSCredentials(
      authorities: nil, certificate: papers.certificate, key: papers.key, isVerifying: false)
    try Client(to: server.place(careless)).close()
  }

  @Test("the certificate must name the requested host")
  func wrongName() throws {
    let papers = try Papers()
    let server = try Server(papers)
    // The certificate names 127.0.0.1; the same machine has other addresses.
    #expect {
      _ = try Client(to: server.place(try papers.client(), host: "127.0.0.2"))
    } throws: {
      "\($0)".contains("certificate does not pass")
    }
  }

  @Test(
    "a server that closes instead of sending the welcome byte, or sends another byte, has refused the client",
    arguments: [nil, UInt8(0)])
  func refused(welcome: UInt8?) throws {
    let papers = try Papers()
    let server = try Server(papers, welcome: welcome)
    #expect {
      _ = try Client(to: server.place(try papers.client()))
    } throws: {
      "\($0)".contains("refused our certificate")
    }
  }

  @Test("the error names a file that cannot be read or lacks its pair")
  func files() throws {
    let papers = try Papers()
    #expect {
      _ = try TLSCredentials(authorities: "/nowhere/ca.pem")
    } throws: {
      "\($0)".contains("/nowhere/ca.pem")
    }
    #expect(throws: EndFailure.self) {
      try TLSCredentials(authorities: papers.authority, certificate: papers.certificate)
    }
    #expect {
      _ = try Client(to: .tls(host: "127.0.0.1", port: "1"))
    } throws: {
      "\($0)".contains("needs credentials")
    }
  }
}

/// A certificate authority and one certificate of it, for both ends.
private final class Papers {
  let directory: URL
  var authority: String { directory.appendingPathComponent("ca.pem").path }
  var certificate: String { directory.appendingPathComponent("cert.pem").path }
  var key: String { directory.appendingPathComponent("key.pem").path }

  init() throws {
    directory = URL(fileURLWithPath: NSTemporaryDirectory())
      .appendingPathComponent("virtbench-tls.\(UUID().uuidString.prefix(8))")
    try FileManager.default.createDirectory(at: directory, withIntermediateDirectories: true)
    let authorityKey = directory.appendingPathComponent("cakey.pem").path
    func certtool(_ arguments: String...) throws {
      let log = directory.appendingPathComponent("log").path
      let child = try Child("/usr/bin/certtool", arguments, log: log)
      while child.isRunning { usleep(5_000) }
    }
    func template(_ name: String, _ text: String) throws -> String {
      let path = directory.appendingPathComponent(name).path
      try text.write(toFile: path, atomically: false, encoding: .utf8)
      return path
    }
    for path in [authorityKey, key] {
      try certtool("--generate-privkey", "--key-type", "ecdsa", "--outfile", path)
    }
    try certtool(
      "--generate-self-signed", "--load-privkey", authorityKey, "--outfile", authority,
      "--template",
      try template("ca.cfg", "cn = \"bench CA\"\nca\ncert_signing_key\nexpiration_days = 30\n"))
    try certtool(
      "--generate-certificate", "--load-privkey", key, "--load-ca-certificate", authority,
      "--load-ca-privkey", authorityKey, "--outfile", certificate, "--template",
      try template(
        "cert.cfg",
        "cn = \"bench\"\nip_address = \"127.0.0.1\"\ntls_www_server\ntls_www_client\n"
          + "signing_key\nexpiration_days = 30\n"))
  }

  deinit { try? FileManager.default.removeItem(at: directory) }

  func client() throws -> TLSCredentials {
    try TLSCredentials(authorities: authority, certificate: certificate, key: key)
  }
}

/// The synthetic daemon behind TLS on a port of 127.0.0.1; the port is open on all of 127.0.0.0/8.
private final class Server {
  private let listener: Socket
  private let port: UInt16

  /// Sends `welcome` after the handshake, or closes if it is nil.
  init(_ papers: Papers, welcome: UInt8? = 1) throws {
    let credentials = try papers.client()
    let descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
    let listener = Socket(owning: descriptor)
    var address = sockaddr_in()
    address.sin_family = sa_family_t(AF_INET)
    var size = socklen_t(MemoryLayout<sockaddr_in>.size)
    let isListening = withUnsafeMutablePointer(to: &address) {
      $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
        bind(descriptor, $0, size) == 0 && listen(descriptor, 16) == 0
          && getsockname(descriptor, $0, &size) == 0
      }
    }
    try #require(isListening)
    self.listener = listener
    port = UInt16(bigEndian: address.sin_port)
    try detach {
      while case let accepted = accept(listener.descriptor, nil, nil), accepted >= 0 {
        try? detach {
          let role: gnutls_init_flags_t = GNUTLS_SERVER
          guard let session = try? TLSSession(role, over: accepted, credentials) else {
            close(accepted)
            return
          }
          let socket = Socket(owning: accepted, tls: session)
          guard (try? socket.shakeHands()) != nil, var welcome else { return }
          let isWelcome = withUnsafeMutableBytes(of: &welcome) {
            var piece = iovec(iov_base: $0.baseAddress, iov_len: 1)
            return (try? socket.send(&piece, 1, waiting: true)) == 1
          }
          guard isWelcome else { return }
          try? EndpointConnection(socket, Endpoint.Settings(isChecking: true)).serve()
        }
      }
    }
  }

  deinit { shutdown(listener.descriptor, Int32(SHUT_RDWR)) }

  func place(_ credentials: TLSCredentials, host: String = "127.0.0.1") -> Place {
    .tls(host: host, port: String(port), credentials)
  }
}
