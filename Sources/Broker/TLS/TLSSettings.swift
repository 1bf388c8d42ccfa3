// The settings of TLS: files, names and limits.

/// How the broker accepts clients over TLS.
public struct TLSSettings: Sendable, Equatable {
  /// The broker's own certificates. Each client gets the first that suits it, for example of an RSA and an ECDSA
  /// certificate.
  public var pairs: [Pair]
  /// The authorities that must have issued the clients' certificates.
  public var authorityFile: String
  /// The revocation list; nil: none.
  public var revocationFile: String?
  /// The revocation list may be missing, because the configuration does not name it.
  public var mayLackRevocationFile = false
  /// Whether the broker's own certificates are checked before use.
  public var checksOwnCertificates = true
  /// Whether the broker refuses a client whose certificate has an error. Otherwise the error is only logged.
  public var refusesClients = true
  /// Patterns of the distinguished names that are accepted; nil: all.
  public var allowedNames: [String]?
  /// A GnuTLS priority string; nil: the built-in choice.
  public var priority: String?
  /// How long a handshake may take, in seconds.
  public var handshakeSeconds = 10.0
  /// Limit of handshakes under way. One more ends the oldest of them.
  public var maxHandshakes = 256

  /// A certificate, followed by those that lead from it to an authority, and its key.
  public struct Pair: Sendable, Equatable {
    public var certificateFile: String
    public var keyFile: String
    public init(certificateFile: String, keyFile: String) {
      self.certificateFile = certificateFile
      self.keyFile = keyFile
    }
  }

  public init(pairs: [Pair], authorityFile: String, revocationFile: String? = nil) {
    self.pairs = pairs
    self.authorityFile = authorityFile
    self.revocationFile = revocationFile
  }

  /// The files that TLS requires.
  public var necessaryFiles: [String] {
    mayLackRevocationFile ? files.filter { $0 != revocationFile } : files
  }

  /// Every file to read or to watch.
  var files: [String] {
    pairs.flatMap { [$0.certificateFile, $0.keyFile] } + [authorityFile]
      + (revocationFile.map { [$0] } ?? [])
  }
}
