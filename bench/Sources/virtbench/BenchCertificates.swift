// The certificates of a comparison over TLS. They are made for it and removed with it.
import Ends
import Foundation

/// An authority with a server's and a client's certificate, as PEM files in one directory.
struct BenchCertificates: Sendable {
  let directory: URL
  let credentials: TLSCredentials

  var authority: String { file("ca.pem") }
  func key(_ name: String) -> String { file("\(name).key") }
  func certificate(_ name: String) -> String { file("\(name).pem") }
  /// The server's certificate and key in one file, as HAProxy requires.
  var bundle: String { file("bundle.pem") }

  private func file(_ name: String) -> String { directory.appendingPathComponent(name).path }

  /// RSA keys of 2048 bits, the most common kind. Needs certtool.
  init(in directory: URL) throws {
    guard let certtool = Program.find("certtool") else {
      throw EndFailure("certtool is not installed, and TLS needs certificates")
    }
    func path(_ name: String) -> String { directory.appendingPathComponent(name).path }
    func make(_ name: String, _ lines: [String], by signer: [String]) throws {
      let template = path("\(name).template")
      try (["cn = localhost", "expiration_days = 2"] + lines).joined(separator: "\n")
        .write(toFile: template, atomically: false, encoding: .utf8)
      _ = try Program.run(
        certtool,
        [
          "--generate-privkey", "--key-type", "rsa", "--bits", "2048", "--outfile",
          path("\(name).key"),
        ])
      _ = try Program.run(
        certtool,
        signer + [
          "--load-privkey", path("\(name).key"), "--template", template, "--outfile",
          path("\(name).pem"),
        ])
    }
    try FileManager.default.createDirectory(at: directory, withIntermediateDirectories: true)
    try make("ca", ["ca", "cert_signing_key"], by: ["--generate-self-signed"])
    let signed = [
      "--generate-certificate", "--load-ca-certificate", path("ca.pem"), "--load-ca-privkey",
      path("ca.key"),
    ]
    for name in ["server", "client"] {
      try make(
        name,
        [
          "dns_name = localhost", "ip_address = 127.0.0.1", "tls_www_\(name)", "signing_key",
          "encryption_key",
        ], by: signed)
    }
    let parts = try ["server.pem", "server.key"].map {
      try String(contentsOfFile: path($0), encoding: .utf8)
    }
    try parts.joined().write(toFile: path("bundle.pem"), atomically: false, encoding: .utf8)
    self.directory = directory
    credentials = try TLSCredentials(
      authorities: path("ca.pem"), certificate: path("client.pem"), key: path("client.key"))
  }
}
