// A certificate authority for tests.
import Certificates
import Glibc

@testable import Broker

/// A certificate authority and the certificates it signed, in a directory of its own.
final class Authority {
  let scratch: Scratch
  let root: MadeCertificate

  init() throws {
    scratch = try Scratch()
    root = try MadeCertificate(.authority("CN=Test CA"))
    try write("cacert.pem", root.pem)
  }

  @discardableResult
  func write(_ name: String, _ text: String) throws -> String {
    let path = "\(scratch.path)/\(name)"
    let file = Descriptor(open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0o600))
    let bytes = Array(text.utf8)
    guard Glibc.write(file.number, bytes, bytes.count) == bytes.count else {
      throw Trouble(what: "writing \(path): \(errno)")
    }
    return path
  }

  /// Writes a server's certificate and key to files and returns settings that name them.
  func serve(
    _ wish: CertificateWish = .server(), from issuer: MadeCertificate? = nil,
    chain: [MadeCertificate] = []
  ) throws -> TLSSettings {
    let certificate = try MadeCertificate(wish, from: issuer ?? root)
    return try serve(certificate, chain: chain)
  }

  func serve(_ certificate: MadeCertificate, chain: [MadeCertificate] = []) throws -> TLSSettings {
    TLSSettings(
      pairs: [
        .init(
          certificateFile: try write(
            "servercert.pem", ([certificate] + chain).map { try $0.pem }.joined()),
          keyFile: try write("serverkey.pem", certificate.keyPEM))
      ], authorityFile: "\(scratch.path)/cacert.pem")
  }
}
